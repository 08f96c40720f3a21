//! How much stack the programs take. Kernels before 6.13 give a program and all it calls 512 bytes together.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use aya_obj::{Object, generated::bpf_insn};

/// Bytes of stack of a program and what it calls.
const LIMIT: u32 = 512;
/// A frame takes a multiple of this.
const STEP: u32 = 32;
/// The register that points behind the frame.
const FRAME: u8 = 10;

const LOAD: u8 = 1;
const STORES: [u8; 2] = [2, 3];
const MOVE: u8 = 0xbf;
const ADD: u8 = 0x07;
const CALL: u8 = 0x85;
const ADDRESS: u8 = 0x18;
/// What a call and an address say of functions of the same object.
const OWN_CALL: u8 = 1;
const OWN_ADDRESS: u8 = 4;

/// Where the function is that an instruction calls or hands out.
fn target(at: usize, instruction: bpf_insn) -> Option<usize> {
    let is_own = match instruction.code {
        CALL => instruction.src_reg() == OWN_CALL,
        ADDRESS => instruction.src_reg() == OWN_ADDRESS,
        _ => false,
    };
    is_own.then(|| (at as i64 + 1 + i64::from(instruction.imm)) as usize)
}

/// How deep an instruction reaches into the frame.
fn depth(instruction: bpf_insn, next: Option<bpf_insn>) -> u32 {
    let class = instruction.code & 7;
    let below = |offset: i64| offset.min(0).unsigned_abs() as u32;
    if class == LOAD && instruction.src_reg() == FRAME
        || STORES.contains(&class) && instruction.dst_reg() == FRAME
    {
        return below(instruction.off.into());
    }
    match next {
        Some(next)
            if instruction.code == MOVE
                && instruction.src_reg() == FRAME
                && next.code == ADD
                && next.dst_reg() == instruction.dst_reg() =>
        {
            below(next.imm.into())
        }
        _ => 0,
    }
}

/// The stack of a program by the deepest way through what it calls.
fn stack(instructions: &[bpf_insn]) -> u32 {
    let mut starts = BTreeSet::from([0]);
    starts.extend(instructions.iter().enumerate().filter_map(|(at, one)| target(at, *one)));
    let mut functions: BTreeMap<usize, (u32, BTreeSet<usize>)> = BTreeMap::new();
    for (at, instruction) in instructions.iter().enumerate() {
        let start = *starts.range(..=at).next_back().unwrap();
        let (frame, calls) = functions.entry(start).or_default();
        *frame = (*frame).max(depth(*instruction, instructions.get(at + 1).copied()));
        calls.extend(target(at, *instruction));
    }
    way(&functions, 0)
}

fn way(functions: &BTreeMap<usize, (u32, BTreeSet<usize>)>, start: usize) -> u32 {
    let (frame, calls) = &functions[&start];
    let below = calls.iter().map(|call| way(functions, *call)).max().unwrap_or(0);
    (*frame).max(1).next_multiple_of(STEP) + below
}

#[test]
fn programs_fit_the_stack_of_older_kernels() {
    let objects = [super::OBJECT, super::limiter::OBJECT, super::services::OBJECT];
    let mut count = 0;
    for bytes in objects {
        let mut object = Object::parse(bytes).unwrap();
        let sections: HashSet<usize> = object.functions.keys().map(|(section, _)| *section).collect();
        object.relocate_calls(&sections).unwrap();
        for (name, program) in &object.programs {
            let taken = stack(&object.functions[&program.function_key()].instructions);
            assert!(taken <= LIMIT, "`{name}` takes {taken} bytes of stack with what it calls");
            assert!(taken > 0, "`{name}` was not understood");
            count += 1;
        }
    }
    assert!(count > 20, "only {count} programs");
}

#[test]
fn frames_of_a_way_add_up() {
    let insn = |code: u8, dst: u8, src: u8, off: i16, imm: i32| bpf_insn {
        code,
        _bitfield_align_1: [],
        _bitfield_1: bpf_insn::new_bitfield_1(dst, src),
        off,
        imm,
    };
    let exit = insn(0x95, 0, 0, 0, 0);
    let store = |off| insn(0x7b, FRAME, 1, off, 0);
    // A function with 40 bytes that calls one with 8.
    let program = [store(-40), insn(CALL, 0, OWN_CALL, 0, 1), exit, store(-8), exit];
    assert_eq!(stack(&program), 64 + 32);
    assert_eq!(stack(&[insn(MOVE, 1, FRAME, 0, 0), insn(ADD, 1, 0, 0, -100), exit]), 128);
}
