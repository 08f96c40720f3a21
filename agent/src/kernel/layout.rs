//! Resolves the structure members that the programs read to offsets of the running kernel.

use rampart_common::member::{ABSENT, MEMBER_COUNT, MEMBERS};

use super::btf::{Btf, BtfError};

/// The frozen table of the programs.
pub(super) type LayoutTable = [u32; MEMBER_COUNT];

/// Ids of the structures that the members are in, for programs that give addresses a type.
pub(super) fn structures(btf: &Btf<'_>, table: &LayoutTable) -> LayoutTable {
    let mut ids = [0; MEMBER_COUNT];
    for ((member, offset), id) in MEMBERS.iter().zip(table).zip(ids.iter_mut()) {
        if *offset != ABSENT && !member.name().contains(':') {
            let mut names = member.name().trim_end_matches('?').split('|');
            let there = names.find(|name| one(btf, name).is_ok());
            let structure = there.and_then(|name| name.split('.').next());
            *id = structure.and_then(|structure| btf.structure_id(structure).ok()).unwrap_or(0);
        }
    }
    ids
}

/// Resolves all members. Every missing one that the programs cannot do without is listed.
pub(super) fn resolve(btf: &Btf<'_>) -> Result<LayoutTable, Vec<BtfError>> {
    let mut table = [ABSENT; MEMBER_COUNT];
    let mut faults = Vec::new();
    for (member, slot) in MEMBERS.iter().zip(table.iter_mut()) {
        match lookup(btf, member.name()) {
            Ok(value) => *slot = value,
            Err(None) => {}
            Err(Some(fault)) => faults.push(fault),
        }
    }
    if faults.is_empty() { Ok(table) } else { Err(faults) }
}

/// The number of a name. `Err(None)`: absent, and that is fine.
pub(super) fn lookup(btf: &Btf<'_>, name: &str) -> Result<u32, Option<BtfError>> {
    let (names, optional) = match name.strip_suffix('?') {
        Some(names) => (names, true),
        None => (name, false),
    };
    let mut last = BtfError::NoType(names.to_owned());
    for alternative in names.split('|') {
        match one(btf, alternative) {
            Ok(value) => return Ok(value),
            Err(fault) => last = fault,
        }
    }
    Err((!optional).then_some(last))
}

fn one(btf: &Btf<'_>, name: &str) -> Result<u32, BtfError> {
    let dotted = |text: &str| match text.split_once('.') {
        Some((ty, rest)) => Ok((ty.to_owned(), rest.to_owned())),
        None => Err(BtfError::NoType(text.to_owned())),
    };
    if let Some(ty) = name.strip_prefix("sizeof:") {
        return btf.size_of(ty);
    }
    if let Some(text) = name.strip_prefix("enum:") {
        let (ty, value) = dotted(text)?;
        return Ok(btf.enum_value(&ty, &value)? as u32);
    }
    if let Some(text) = name.strip_prefix("has:") {
        let (ty, value) = dotted(text)?;
        return btf.enum_value(&ty, &value).map(|_| 1);
    }
    let (ty, path) = dotted(name)?;
    btf.offset_of(&ty, &path)
}

#[cfg(test)]
mod tests {
    use rampart_common::member::Member;

    use super::resolve;
    use crate::kernel::btf::Btf;

    #[test]
    fn the_running_kernel_has_every_needed_member() {
        let path = "/sys/kernel/btf/vmlinux";
        let Ok(bytes) = std::fs::read(path) else {
            println!("SKIP: the_running_kernel_has_every_needed_member: no {path}");
            return;
        };
        let btf = Btf::parse(&bytes).expect("the kernel's own BTF parses");
        let table = resolve(&btf).expect("every member that is not optional");
        let at = |member: Member| table[member as usize];
        assert_ne!(at(Member::TaskComm), at(Member::TaskPid));
        assert_eq!(at(Member::UpidNr), 0);
    }

    #[test]
    fn missing_members_are_all_named() {
        let empty = b"\x9f\xeb\x01\x00\x18\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00";
        let btf = Btf::parse(empty).expect("an empty image parses");
        let faults = resolve(&btf).expect_err("nothing is there");
        assert!(faults.len() > 50);
    }
}
