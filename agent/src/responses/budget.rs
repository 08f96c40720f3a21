//! How much may be done in a minute: so many of each kind, on a clock that never jumps.

use std::collections::{BTreeMap, VecDeque};

use rampart_rules::response::Kind;

/// Time over which they are counted, nanoseconds.
const MINUTE_NS: u64 = 60_000_000_000;

/// The times of what was done.
#[derive(Clone, Debug, Default)]
pub struct Budget {
    done: BTreeMap<Kind, VecDeque<u64>>,
}

impl Budget {
    /// Whether one more may be done now, which is then counted.
    pub fn take(&mut self, kind: Kind, per_minute: u32, now_ns: u64) -> bool {
        let done = self.done.entry(kind).or_default();
        while done.front().is_some_and(|at| at.saturating_add(MINUTE_NS) <= now_ns) {
            done.pop_front();
        }
        let is_left = done.len() < per_minute as usize;
        if is_left {
            done.push_back(now_ns);
        }
        is_left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_of_a_kind_in_any_minute() {
        let mut budget = Budget::default();
        let second = 1_000_000_000;
        assert!(budget.take(Kind::Kill, 2, 0));
        assert!(budget.take(Kind::Kill, 2, 30 * second));
        assert!(!budget.take(Kind::Kill, 2, 59 * second), "the first still counts");
        assert!(budget.take(Kind::BlockIp, 2, 59 * second), "others have their own");
        assert!(budget.take(Kind::Kill, 2, 60 * second));
        assert!(
            !budget.take(Kind::Kill, 2, 61 * second),
            "what was refused is not counted, what was done is"
        );
        assert!(budget.take(Kind::Kill, 2, 90 * second));
        assert!(!budget.take(Kind::Kill, 0, 900 * second));
    }
}
