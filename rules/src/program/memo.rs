//! Comparisons that several conditions make: found when a set is compiled, made once per event.

use std::collections::HashMap;

use super::merge;
use crate::{
    typed::{Node, Test},
    value::Truth,
};

/// Comparisons that can be remembered. More than twice what all upstream rules together share; what does not fit is
/// made anew each time.
const SLOTS: u16 = 512;
const WORDS: usize = SLOTS as usize / 64;

/// Places of the comparisons that more than one condition makes.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    slots: HashMap<String, u16>,
}

/// Results on one event.
#[derive(Debug, Default)]
pub(crate) struct Memo {
    known: [u64; WORDS],
    holds: [u64; WORDS],
}

impl Shared {
    /// Finds what the conditions have in common.
    pub(crate) fn new<'a>(conditions: impl Iterator<Item = &'a Node>, strict: bool) -> Self {
        let mut counts: HashMap<String, u32> = HashMap::new();
        let mut order = Vec::new();
        for condition in conditions {
            count(condition, strict, &mut |test| {
                let key = key(test);
                let count = counts.entry(key.clone()).or_insert(0);
                if *count == 0 {
                    order.push(key);
                }
                *count += 1;
            });
        }
        order.retain(|key| counts.get(key).is_some_and(|&count| count > 1));
        Self { slots: order.into_iter().zip(0..SLOTS).collect() }
    }

    /// The place of a comparison, whether negated or not.
    pub(super) fn slot(&self, test: &Test) -> Option<u16> {
        if self.slots.is_empty() { None } else { self.slots.get(&key(test)).copied() }
    }
}

/// Calls `f` with every comparison as it will be compiled.
fn count(node: &Node, strict: bool, f: &mut impl FnMut(&Test)) {
    let (parts, all) = match node {
        Node::Const(_) => return,
        Node::Test(test) => return f(test),
        Node::All(parts) => (parts, true),
        Node::Any(parts) => (parts, false),
    };
    for part in merge::parts(parts, all, strict) {
        count(&part, strict, f);
    }
}

/// Comparisons with the same key have the same result.
pub(crate) fn key(test: &Test) -> String {
    format!("{:?} {:?} {:?}", test.left, test.op, test.right)
}

impl Memo {
    /// What a comparison gave on this event.
    pub(super) fn get(&self, slot: u16) -> Option<Truth> {
        let (word, bit) = (usize::from(slot) / 64, 1u64 << (slot % 64));
        (self.known.get(word)? & bit != 0)
            .then(|| (self.holds.get(word).is_some_and(|holds| holds & bit != 0)).into())
    }

    /// Remembers a result, unless it is not certain.
    pub(super) fn set(&mut self, slot: u16, truth: Truth) {
        let (word, bit) = (usize::from(slot) / 64, 1u64 << (slot % 64));
        if let (Some(known), Some(holds)) = (self.known.get_mut(word), self.holds.get_mut(word))
            && truth != Truth::Unknown
        {
            *known |= bit;
            if truth == Truth::True {
                *holds |= bit;
            }
        }
    }
}
