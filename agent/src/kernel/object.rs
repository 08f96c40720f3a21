//! The kernel object before it is loaded: puts this kernel's numbers in place of what stands for them.
//!
//! Neither the compiler nor the loader know calls of the kernel's own functions, nor relocations by structure member; so
//! the programs call a helper whose number no kernel has, and load numbers that stand for members. Instructions with
//! plain numbers cost less than loads from a table, and the verifier knows them.

use std::ops::Range;

use object::{
    Object as _, ObjectSection as _, SectionKind,
    read::elf::{ElfFile64, FileHeader as _},
};
use rampart_common::{
    abi::{CALL_RDONLY_CAST, PLACE_IN_LOAD, PLACE_OF_OFFSET, PLACE_OF_TYPE},
    member::{ABSENT, MEMBER_COUNT},
};

use super::layout::LayoutTable;

/// `BPF_JMP | BPF_CALL`.
const CALL: u8 = 0x85;
/// In the place of the source register: a call of a function of the kernel (`BPF_PSEUDO_KFUNC_CALL`).
const KERNEL_FUNCTION: u8 = 2;
/// `BPF_ALU64 | BPF_MOV | BPF_K` and `BPF_ALU | BPF_MOV | BPF_K`: a number into a register.
const MOVES: [u8; 2] = [0xb7, 0xb4];
/// `BPF_LDX | BPF_MEM`, of 2, 4 and 8 bytes: a number from memory.
const LOADS: [u8; 3] = [0x69, 0x61, 0x79];
/// Bytes of an instruction.
const INSTRUCTION: usize = 8;

/// What the programs need to know of this kernel.
pub(super) struct Facts<'a> {
    /// Offsets of the members.
    pub(super) offsets: &'a LayoutTable,
    /// BTF ids of the structures that they are in.
    pub(super) types: &'a LayoutTable,
    /// BTF id of `bpf_rdonly_cast`, where it is there.
    pub(super) cast: Option<u32>,
}

/// The object with these facts filled in; `None` when the bytes are no object, hold no place for them, or an offset is too
/// large for an instruction.
pub(super) fn filled(bytes: &[u8], facts: &Facts<'_>) -> Option<Vec<u8>> {
    let mut changed = bytes.to_vec();
    let mut places = 0;
    for range in programs(bytes)? {
        for instruction in changed.get_mut(range)?.chunks_exact_mut(INSTRUCTION) {
            let [code, registers, low, high, number @ ..] = instruction else { continue };
            if LOADS.contains(code)
                && let Some(index) = in_load(i16::from_le_bytes([*low, *high]))
            {
                let offset = facts.offsets.get(index).copied().unwrap_or(ABSENT);
                // A member that is not there is not loaded, whatever the instruction says.
                let offset = if offset == ABSENT { 0 } else { i16::try_from(offset).ok()? };
                [*low, *high] = offset.to_le_bytes();
                places += 1;
                continue;
            }
            let Ok(value) = <[u8; 4]>::try_from(&*number).map(u32::from_le_bytes) else { continue };
            let destination = *registers & 0xf;
            if *registers != destination {
                continue;
            }
            if MOVES.contains(code)
                && let Some(fact) = facts.behind(value)
            {
                number.copy_from_slice(&fact.to_le_bytes());
                places += 1;
            }
            if *code == CALL
                && value == CALL_RDONLY_CAST as u32
                && let Some(function) = facts.cast
            {
                *registers = KERNEL_FUNCTION << 4;
                number.copy_from_slice(&function.to_le_bytes());
            }
        }
    }
    (places > 0).then_some(changed)
}

/// Index of the member that an offset in a load stands for, if it does.
fn in_load(offset: i16) -> Option<usize> {
    let distance = usize::try_from(offset.checked_sub(PLACE_IN_LOAD)?).ok()?;
    (distance % 2 == 0 && distance / 2 < MEMBER_COUNT).then_some(distance / 2)
}

/// Where the programs are.
fn programs(bytes: &[u8]) -> Option<Vec<Range<usize>>> {
    let file = ElfFile64::<object::Endianness>::parse(bytes).ok()?;
    file.elf_header().endian().ok()?;
    let sections = file.sections().filter(|section| section.kind() == SectionKind::Text);
    let range = |(start, len): (u64, u64)| {
        Some(usize::try_from(start).ok()?..usize::try_from(start.checked_add(len)?).ok()?)
    };
    sections.map(|section| section.file_range().and_then(range)).collect()
}

impl Facts<'_> {
    /// What a number stands for, if it does.
    fn behind(&self, number: u32) -> Option<u32> {
        let index = (number & 0xffff) as usize;
        if index >= MEMBER_COUNT {
            return None;
        }
        match number & 0xffff_0000 {
            PLACE_OF_OFFSET => self.offsets.get(index).copied(),
            PLACE_OF_TYPE => self.types.get(index).copied(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use rampart_common::member::Member;

    use super::*;
    use crate::kernel::OBJECT;

    /// Facts that can be told from each other.
    fn tables() -> (LayoutTable, LayoutTable) {
        let mut tables = ([0; MEMBER_COUNT], [0; MEMBER_COUNT]);
        for index in 0..MEMBER_COUNT {
            tables.0[index] = 0x1000 + 2 * index as u32;
            tables.1[index] = 0x200_0000 + index as u32;
        }
        tables
    }

    fn number(instruction: &[u8]) -> u32 {
        u32::from_le_bytes(instruction[4..8].try_into().expect("four bytes"))
    }

    #[test]
    fn every_place_is_filled_and_nothing_else() {
        let (offsets, types) = tables();
        let facts = Facts { offsets: &offsets, types: &types, cast: Some(0x1234_5678) };
        let changed = filled(OBJECT, &facts).expect("places");
        assert_eq!(changed.len(), OBJECT.len());
        let (mut calls, mut seen) = (0, std::collections::BTreeSet::new());
        for (old, new) in OBJECT.chunks_exact(INSTRUCTION).zip(changed.chunks_exact(INSTRUCTION)) {
            if old == new {
                continue;
            }
            let (before, after) = (number(old), number(new));
            if LOADS.contains(&old[0]) {
                let index = in_load(i16::from_le_bytes([old[2], old[3]])).expect("a place");
                assert_eq!(i16::from_le_bytes([new[2], new[3]]), 0x1000 + 2 * index as i16);
                assert_eq!((&old[..2], before), (&new[..2], after));
                seen.insert(PLACE_OF_OFFSET | index as u32);
            } else if old[0] == CALL {
                assert_eq!((before, after), (CALL_RDONLY_CAST as u32, 0x1234_5678));
                assert_eq!((old[1], new[1]), (0, 0x20));
                calls += 1;
            } else {
                assert!(MOVES.contains(&old[0]) && old[..4] == new[..4], "{old:?} {new:?}");
                let index = before & 0xffff;
                let offset = before & 0xffff_0000 == PLACE_OF_OFFSET;
                assert_eq!(after, if offset { 0x1000 + 2 * index } else { 0x200_0000 + index });
                seen.insert(before);
            }
        }
        assert!(calls > 10 && seen.len() > MEMBER_COUNT / 2, "{calls}, {}", seen.len());
        assert!(seen.contains(&(PLACE_OF_OFFSET | Member::TaskPid as u32)));
        assert!(filled(&changed, &facts).is_none(), "no place is left");
    }

    #[test]
    fn no_other_load_looks_like_a_place() {
        for range in programs(OBJECT).expect("programs") {
            for load in OBJECT[range].chunks_exact(INSTRUCTION).filter(|load| LOADS.contains(&load[0])) {
                let offset = i16::from_le_bytes([load[2], load[3]]);
                assert!(offset % 2 == 0 || in_load(offset).is_some(), "{load:?}");
            }
        }
    }

    #[test]
    fn an_offset_too_large_for_an_instruction_is_refused() {
        let (_, types) = tables();
        let offsets = [0x8000; MEMBER_COUNT];
        assert_eq!(filled(OBJECT, &Facts { offsets: &offsets, types: &types, cast: None }), None);
    }

    #[test]
    fn without_the_function_its_calls_stay() {
        let (offsets, types) = tables();
        let changed =
            filled(OBJECT, &Facts { offsets: &offsets, types: &types, cast: None }).expect("places");
        let pairs = OBJECT.chunks_exact(INSTRUCTION).zip(changed.chunks_exact(INSTRUCTION));
        assert!(pairs.filter(|(old, _)| old[0] == CALL).all(|(old, new)| old == new));
    }

    #[test]
    fn what_is_no_object_is_left_alone() {
        let (offsets, types) = tables();
        let facts = Facts { offsets: &offsets, types: &types, cast: None };
        assert_eq!(filled(b"\x7fELF", &facts), None);
        assert_eq!(filled(&[], &facts), None);
    }
}
