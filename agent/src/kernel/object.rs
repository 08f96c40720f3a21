//! The kernel object before it is loaded: puts calls of the kernel's own functions in place of what stands for them.
//!
//! Neither the compiler nor the loader know such calls, so the programs call a helper whose number no kernel has.

use object::{
    Object as _, ObjectSection as _, SectionKind,
    read::elf::{ElfFile64, FileHeader as _},
};
use rampart_common::abi::CALL_RDONLY_CAST;

/// `BPF_JMP | BPF_CALL`.
const CALL: u8 = 0x85;
/// In the place of the source register: a call of a function of the kernel (`BPF_PSEUDO_KFUNC_CALL`).
const KERNEL_FUNCTION: u8 = 2;
/// Bytes of an instruction.
const INSTRUCTION: usize = 8;

/// The object with every call of [`CALL_RDONLY_CAST`] made one of the function with this BTF id; `None` when the bytes
/// are no object, or hold no such call.
pub(super) fn with_casts(bytes: &[u8], function: u32) -> Option<Vec<u8>> {
    let file = ElfFile64::<object::Endianness>::parse(bytes).ok()?;
    file.elf_header().endian().ok()?;
    let mut changed = bytes.to_vec();
    let mut calls = 0;
    for section in file.sections().filter(|section| section.kind() == SectionKind::Text) {
        let (start, len) = section.file_range()?;
        let range = usize::try_from(start).ok()?..usize::try_from(start.checked_add(len)?).ok()?;
        for instruction in changed.get_mut(range)?.chunks_exact_mut(INSTRUCTION) {
            let [code, registers, _, _, number @ ..] = instruction else { continue };
            if *code == CALL && *registers == 0 && *number == CALL_RDONLY_CAST.to_le_bytes() {
                *registers = KERNEL_FUNCTION << 4;
                number.copy_from_slice(&function.to_le_bytes());
                calls += 1;
            }
        }
    }
    (calls > 0).then_some(changed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::OBJECT;

    #[test]
    fn every_call_in_the_object_is_replaced_and_nothing_else() {
        let changed = with_casts(OBJECT, 0x1234_5678).expect("calls");
        assert_eq!(changed.len(), OBJECT.len());
        let mut count = 0;
        for (old, new) in OBJECT.chunks_exact(INSTRUCTION).zip(changed.chunks_exact(INSTRUCTION)) {
            if old != new {
                assert_eq!((old[0], old[1], &old[4..]), (CALL, 0, &CALL_RDONLY_CAST.to_le_bytes()[..]));
                assert_eq!((new[0], new[1], &new[4..]), (CALL, 0x20, &0x1234_5678u32.to_le_bytes()[..]));
                count += 1;
            }
        }
        assert!(count > 10, "{count}");
        assert_eq!(with_casts(&changed, 1), None, "none is left");
    }

    #[test]
    fn what_is_no_object_is_left_alone() {
        assert_eq!(with_casts(b"\x7fELF", 1), None);
        assert_eq!(with_casts(&[], 1), None);
    }
}
