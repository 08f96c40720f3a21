//! Which rules are left out for a while, by event family, because the family costs more than it may.

use rampart_common::event::{FAMILY_COUNT, Family};

/// Rules by their position in the rule set, for each family. A rule may be left out in one family and tried in another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shed {
    /// One bit per rule; no words of zeros at the end, so that equal sets are equal values.
    families: [Vec<u64>; FAMILY_COUNT],
}

/// Rules of one family by their position.
#[derive(Clone, Copy, Debug)]
pub struct ShedOf<'s>(&'s [u64]);

impl ShedOf<'_> {
    /// Whether a rule is left out.
    #[inline]
    pub fn contains(self, rule: usize) -> bool {
        self.0.get(rule / 64).is_some_and(|word| word & (1 << (rule % 64)) != 0)
    }
}

impl Shed {
    /// What is left out on the events of a family.
    pub fn of(&self, family: Family) -> ShedOf<'_> {
        ShedOf(self.families.get(family as usize).map_or(&[], Vec::as_slice))
    }

    /// Whether a rule is left out on the events of a family.
    pub fn contains(&self, family: Family, rule: usize) -> bool {
        self.of(family).contains(rule)
    }

    /// Whether no rule is left out.
    pub fn is_empty(&self) -> bool {
        self.families.iter().all(Vec::is_empty)
    }

    /// Leaves a rule out.
    pub fn add(&mut self, family: Family, rule: usize) {
        let Some(words) = self.families.get_mut(family as usize) else { return };
        if words.len() <= rule / 64 {
            words.resize(rule / 64 + 1, 0);
        }
        if let Some(word) = words.get_mut(rule / 64) {
            *word |= 1 << (rule % 64);
        }
    }

    /// Takes a rule back.
    pub fn remove(&mut self, family: Family, rule: usize) {
        let Some(words) = self.families.get_mut(family as usize) else { return };
        if let Some(word) = words.get_mut(rule / 64) {
            *word &= !(1 << (rule % 64));
        }
        while words.last() == Some(&0) {
            words.pop();
        }
    }

    /// What either set leaves out.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let mut all = self.clone();
        for (family, rule) in other.iter() {
            all.add(family, rule);
        }
        all
    }

    /// Families in which a rule is left out.
    pub fn families_of(&self, rule: usize) -> impl Iterator<Item = Family> {
        Family::ALL.into_iter().filter(move |family| self.contains(*family, rule))
    }

    /// All pairs of family and rule.
    pub fn iter(&self) -> impl Iterator<Item = (Family, usize)> {
        Family::ALL.into_iter().flat_map(move |family| {
            let words = self.families.get(family as usize).map_or(0, Vec::len);
            (0..words * 64).filter(move |rule| self.contains(family, *rule)).map(move |rule| (family, rule))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_sets_are_equal_whatever_way_they_came_about() {
        let mut shed = Shed::default();
        assert!(shed.is_empty());
        shed.add(Family::Open, 3);
        let small = shed.clone();
        shed.add(Family::Open, 200);
        shed.add(Family::Net, 3);
        assert!(shed.contains(Family::Open, 200) && !shed.contains(Family::Net, 200));
        assert_eq!(shed.families_of(3).collect::<Vec<_>>(), [Family::Open, Family::Net]);
        let all = [(Family::Open, 3), (Family::Open, 200), (Family::Net, 3)];
        assert_eq!(shed.iter().collect::<Vec<_>>(), all);
        assert_eq!(small.union(&shed), shed);
        shed.remove(Family::Open, 200);
        shed.remove(Family::Net, 3);
        shed.remove(Family::Fd, 1000);
        assert_eq!(shed, small);
        shed.remove(Family::Open, 3);
        assert!(shed.is_empty());
    }
}
