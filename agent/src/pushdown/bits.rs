//! Which bit a rule has in the masks of an event family.

use rampart_common::{
    event::{FAMILY_COUNT, Family},
    pushdown::{MASK_BITS, Mask, NONE},
};
use rampart_rules::rule::RuleSet;

use crate::event::syscall;

/// Bits of all rules: per rule position and family.
#[derive(Debug)]
pub(super) struct Bits {
    of: Vec<[Option<u8>; FAMILY_COUNT]>,
}

impl Bits {
    /// Numbers the rules of each family in evaluation order. When there are more rules than bits, neighbours share.
    ///
    /// With `state`, the agent itself is one more rule of the family [`Family::Net`], behind the last: it may want an
    /// event that no rule does.
    pub(super) fn new(rules: &RuleSet, state: bool) -> Self {
        let mut counts = [0; FAMILY_COUNT];
        let mut members: Vec<[Option<usize>; FAMILY_COUNT]> = rules
            .rules()
            .iter()
            .map(|rule| {
                let mut member = [None; FAMILY_COUNT];
                for row in syscall::rows().filter(|row| rule.events.contains(row.event)) {
                    let family = row.family as usize;
                    if let (Some(slot), Some(count)) = (member.get_mut(family), counts.get_mut(family))
                        && slot.is_none()
                    {
                        *slot = Some(*count);
                        *count += 1;
                    }
                }
                member
            })
            .collect();
        if state && let Some(count) = counts.get_mut(Family::Net as usize) {
            let mut member = [None; FAMILY_COUNT];
            if let Some(slot) = member.get_mut(Family::Net as usize) {
                *slot = Some(*count);
            }
            *count += 1;
            members.push(member);
        }
        let bit = |number: usize, count: usize| {
            if count <= MASK_BITS { number as u8 } else { (number * MASK_BITS / count) as u8 }
        };
        let of = members
            .into_iter()
            .map(|member| {
                let mut bits = [None; FAMILY_COUNT];
                for ((slot, number), count) in bits.iter_mut().zip(member).zip(counts) {
                    *slot = number.map(|number| bit(number, count));
                }
                bits
            })
            .collect();
        Self { of }
    }

    /// The bit of a rule; `None` when it is on no event of the family.
    pub(super) fn bit(&self, rule: usize, family: Family) -> Option<u8> {
        self.of.get(rule)?.get(family as usize).copied().flatten()
    }

    /// How many other rules have the bit of a rule.
    pub(super) fn sharing(&self, rule: usize, family: Family) -> usize {
        let Some(bit) = self.bit(rule, family) else { return 0 };
        let same = (0..self.of.len()).filter(|other| self.bit(*other, family) == Some(bit)).count();
        same.saturating_sub(1)
    }

    /// The mask of those rules whose positions are given.
    pub(super) fn mask(&self, family: Family, rules: impl Iterator<Item = usize>) -> Mask {
        let mut mask = NONE;
        for bit in rules.filter_map(|rule| self.bit(rule, family)) {
            if let Some(word) = mask.get_mut(usize::from(bit) / 64) {
                *word |= 1 << (bit % 64);
            }
        }
        mask
    }

    /// Whether a rule is in a mask.
    pub(super) fn contains(&self, family: Family, mask: &Mask, rule: usize) -> bool {
        // A rule without a bit was not thought of, so nothing excludes it.
        self.bit(rule, family).is_none_or(|bit| {
            mask.get(usize::from(bit) / 64).is_none_or(|word| word & (1 << (bit % 64)) != 0)
        })
    }
}
