//! The tables of a plan as the words of the kernel's map value.

use std::mem::offset_of;

use rampart_common::{
    abi::SYSCALL_SLOTS,
    pushdown::{Automaton, CallTable, Mask, OUTPUTS, Signature, TRANSITIONS, Tables},
};

/// Where the automaton lies.
const PATHS: usize = offset_of!(Tables, paths);

/// A [`Tables`] under construction, as words in machine order. Never a value of that type: it is too large for a stack.
#[derive(Debug)]
pub(super) struct Image {
    words: Box<[u64]>,
}

impl Image {
    /// All zero.
    pub(super) fn new() -> Self {
        Self { words: vec![0; size_of::<Tables>() / 8].into() }
    }

    /// As the map takes it.
    pub(super) fn words(&self) -> &[u64] {
        &self.words
    }

    /// Sets the masks of a call: `[succeeded, failed]`.
    pub(super) fn call(&mut self, number: u32, base: &[Mask; 2], plain: &[Mask; 2], looks: u8) {
        if number >= SYSCALL_SLOTS {
            return;
        }
        let at = number as usize;
        for (field, masks) in [(offset_of!(CallTable, base), base), (offset_of!(CallTable, plain), plain)] {
            let start = offset_of!(Tables, calls) + field + at * size_of::<[Mask; 2]>();
            for (word, value) in masks.iter().flatten().enumerate() {
                self.put(start + word * 8, &value.to_ne_bytes());
            }
        }
        self.put(offset_of!(Tables, calls) + offset_of!(CallTable, looks) + at, &[looks]);
    }

    /// Sets the class of a port.
    pub(super) fn port(&mut self, port: u16, class: u16) {
        self.put(offset_of!(Tables, ports) + usize::from(port) * 2, &class.to_ne_bytes());
    }

    /// Sets the small members of the automaton.
    pub(super) fn automaton(&mut self, start: u32, first_output: u32, shift: u32, verbatim: &Signature) {
        for (field, value) in [
            (offset_of!(Automaton, start), start),
            (offset_of!(Automaton, first_output), first_output),
            (offset_of!(Automaton, shift), shift),
        ] {
            self.put(PATHS + field, &value.to_ne_bytes());
        }
        for (word, value) in verbatim.iter().enumerate() {
            self.put(PATHS + offset_of!(Automaton, verbatim) + word * 8, &value.to_ne_bytes());
        }
    }

    /// Sets the class of a byte.
    pub(super) fn class(&mut self, byte: u8, class: u8) {
        self.put(PATHS + offset_of!(Automaton, classes) + usize::from(byte), &[class]);
    }

    /// Sets an output, by its number.
    pub(super) fn output(&mut self, number: usize, bits: &Signature) {
        if number < OUTPUTS {
            let start = PATHS + offset_of!(Automaton, outputs) + number * size_of::<Signature>();
            for (word, value) in bits.iter().enumerate() {
                self.put(start + word * 8, &value.to_ne_bytes());
            }
        }
    }

    /// Sets a transition, by its index.
    pub(super) fn transition(&mut self, index: usize, state: u16) {
        if index < TRANSITIONS {
            self.put(PATHS + offset_of!(Automaton, transitions) + index * 2, &state.to_ne_bytes());
        }
    }

    /// The class of a port.
    pub(super) fn port_class(&self, port: u16) -> u16 {
        self.u16(offset_of!(Tables, ports) + usize::from(port) * 2)
    }

    /// What the kernel's walk over the automaton finds in a path: the same steps over the same bytes.
    pub(super) fn signature(&self, path: &[u8]) -> Signature {
        let member = |field: usize| u32::from_ne_bytes(self.get(PATHS + field));
        let (first_output, shift) =
            (member(offset_of!(Automaton, first_output)), member(offset_of!(Automaton, shift)));
        let mut state = member(offset_of!(Automaton, start));
        let mut found = Signature::default();
        for byte in path.iter().rev().chain([&rampart_common::pushdown::END]) {
            let [class] = self.get(PATHS + offset_of!(Automaton, classes) + usize::from(*byte));
            let index = ((state << (shift & 15)) | u32::from(class)) as usize & (TRANSITIONS - 1);
            state = u32::from(self.u16(PATHS + offset_of!(Automaton, transitions) + index * 2));
            if let Some(number) = state.checked_sub(first_output) {
                let start = PATHS
                    + offset_of!(Automaton, outputs)
                    + (number as usize & (OUTPUTS - 1)) * size_of::<Signature>();
                for (word, value) in found.iter_mut().enumerate() {
                    *value |= u64::from_ne_bytes(self.get(start + word * 8));
                }
            }
        }
        found
    }

    /// Base and plain masks of a call.
    #[cfg(test)]
    pub(super) fn call_masks(&self, number: u32) -> ([Mask; 2], [Mask; 2]) {
        let masks = |field: usize| {
            let start = offset_of!(Tables, calls) + field + number as usize * size_of::<[Mask; 2]>();
            let word = |at: usize| u64::from_ne_bytes(self.get(start + at * 8));
            [0, 4].map(|first| [0, 1, 2, 3].map(|at| word(first + at)))
        };
        (masks(offset_of!(CallTable, base)), masks(offset_of!(CallTable, plain)))
    }

    fn u16(&self, offset: usize) -> u16 {
        u16::from_ne_bytes(self.get(offset))
    }

    /// Writes bytes that do not cross a word.
    fn put(&mut self, offset: usize, bytes: &[u8]) {
        if let Some(word) = self.words.get_mut(offset / 8) {
            let mut old = word.to_ne_bytes();
            if let Some(place) = old.get_mut(offset % 8..offset % 8 + bytes.len()) {
                place.copy_from_slice(bytes);
            }
            *word = u64::from_ne_bytes(old);
        }
    }

    /// Reads bytes that do not cross a word.
    fn get<const N: usize>(&self, offset: usize) -> [u8; N] {
        let bytes = self.words.get(offset / 8).copied().unwrap_or(0).to_ne_bytes();
        bytes.get(offset % 8..).and_then(|rest| rest.first_chunk().copied()).unwrap_or([0; N])
    }
}
