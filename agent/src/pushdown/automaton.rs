//! The automaton that searches a path for the strings of all comparisons at once.
//!
//! Built by the `aho-corasick` crate and written out as the dense table of [`rampart_common::pushdown::Automaton`].

use std::collections::{BTreeMap, HashMap};

use aho_corasick::{
    Anchored,
    automaton::{Automaton as _, StateID},
    nfa::noncontiguous::NFA,
};
use rampart_common::pushdown::{END, OUTPUTS, Signature, TRANSITIONS};

use super::image::Image;

/// Strings in reading order (see [`rampart_common::pushdown::Automaton`]) and the bits each makes true.
pub(super) type Strings = BTreeMap<Vec<u8>, Signature>;

/// Why a table was not built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLarge;

/// A finished table, not written out yet.
#[derive(Debug)]
pub(super) struct Table {
    start: u32,
    first_output: u32,
    shift: u32,
    classes: [u8; 256],
    outputs: Vec<Signature>,
    /// Next states of each state, one per class.
    transitions: Vec<Vec<u16>>,
}

/// Size of a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// States.
    pub states: usize,
    /// States that make a bit true.
    pub outputs: usize,
    /// Byte classes.
    pub classes: usize,
}

impl Table {
    /// Builds the table of some strings, none of them empty.
    pub(super) fn new(strings: &Strings) -> Result<Self, TooLarge> {
        let (classes, bytes) = classes(strings);
        let shift = bytes.len().next_power_of_two().trailing_zeros();
        let nfa = NFA::builder().prefilter(false).build(strings.keys()).map_err(|_| TooLarge)?;
        let bits: Vec<&Signature> = strings.values().collect();
        let root = nfa.start_state(Anchored::No).map_err(|_| TooLarge)?;
        let first = nfa.next_state(Anchored::No, root, END);
        let mut found = vec![first];
        let mut numbers: HashMap<StateID, usize> = HashMap::from([(first, 0)]);
        let mut steps: Vec<Vec<usize>> = Vec::new();
        while let Some(state) = found.get(steps.len()).copied() {
            let next = bytes.iter().map(|byte| {
                let next = nfa.next_state(Anchored::No, state, *byte);
                *numbers.entry(next).or_insert_with(|| {
                    found.push(next);
                    found.len() - 1
                })
            });
            steps.push(next.collect());
            if found.len() << shift > TRANSITIONS || found.len() > usize::from(u16::MAX) {
                return Err(TooLarge);
            }
        }
        let output = |state: StateID| {
            let mut all = Signature::default();
            if nfa.is_match(state) {
                for index in 0..nfa.match_len(state) {
                    let pattern = nfa.match_pattern(state, index).as_usize();
                    for (all, one) in all.iter_mut().zip(bits.get(pattern).copied().unwrap_or(&[0; 2])) {
                        *all |= one;
                    }
                }
            }
            all
        };
        let outputs: Vec<Signature> = found.iter().map(|state| output(*state)).collect();
        // States with an output come last.
        let mut order: Vec<usize> = (0..found.len()).collect();
        order.sort_by_key(|state| outputs.get(*state).is_some_and(|bits| *bits != Signature::default()));
        let mut renumbered = vec![0u16; order.len()];
        for (new, old) in order.iter().enumerate() {
            if let Some(slot) = renumbered.get_mut(*old) {
                *slot = new as u16;
            }
        }
        let number = |state: &usize| renumbered.get(*state).copied().unwrap_or(0);
        let sorted = |state: &usize| steps.get(*state).map(|next| next.iter().map(number).collect());
        let transitions: Vec<Vec<u16>> = order.iter().filter_map(sorted).collect();
        let outputs: Vec<Signature> = order
            .iter()
            .filter_map(|state| outputs.get(*state).copied())
            .filter(|bits| *bits != Signature::default())
            .collect();
        if outputs.len() > OUTPUTS {
            return Err(TooLarge);
        }
        let first_output = (transitions.len() - outputs.len()) as u32;
        Ok(Self { start: u32::from(number(&0)), first_output, shift, classes, outputs, transitions })
    }

    /// How large it is.
    pub(super) fn size(&self) -> Size {
        Size {
            states: self.transitions.len(),
            outputs: self.outputs.len(),
            classes: self.transitions.first().map_or(0, Vec::len),
        }
    }

    /// Writes it out. `verbatim` are the bits about the path as given.
    pub(super) fn write(&self, verbatim: &Signature, image: &mut Image) {
        image.automaton(self.start, self.first_output, self.shift, verbatim);
        for (byte, class) in (0..=u8::MAX).zip(self.classes) {
            image.class(byte, class);
        }
        for (number, bits) in self.outputs.iter().enumerate() {
            image.output(number, bits);
        }
        for (state, next) in self.transitions.iter().enumerate() {
            for (class, to) in next.iter().enumerate() {
                image.transition(state << self.shift | class, *to);
            }
        }
    }
}

/// The class of each byte, and one byte of each class. Bytes that no string has are one class.
fn classes(strings: &Strings) -> ([u8; 256], Vec<u8>) {
    let mut used = [false; 256];
    for byte in strings.keys().flatten().chain([&END]) {
        if let Some(used) = used.get_mut(usize::from(*byte)) {
            *used = true;
        }
    }
    let mut classes = [0; 256];
    let mut bytes: Vec<u8> = Vec::new();
    // All 256 in use at once cannot be: a path has no zero but its ends.
    let other = used.iter().zip(0..=u8::MAX).find(|(used, _)| !**used).map(|(_, byte)| byte);
    bytes.extend(other);
    for ((byte, used), class) in (0..=u8::MAX).zip(used).zip(&mut classes) {
        if used {
            *class = bytes.len() as u8;
            bytes.push(byte);
        }
    }
    (classes, bytes)
}
