//! Which node is to have which bundle: a pure function of the rollouts that are kept.

use std::collections::BTreeMap;

use super::{KEPT_NS, Kept, State, Step};

/// All rollouts that say something, the newest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    rollouts: Vec<Kept>,
}

impl Plan {
    /// Of all that are kept, the newest first.
    pub fn new(rollouts: Vec<Kept>) -> Self {
        Self { rollouts }
    }

    /// The bundle that a node is to have: that of the newest rollout that was not rolled back and has chosen it by now.
    /// `Some(None)` when it is to have none; `None` when nobody has ever said anything, so that it keeps what it has.
    pub fn target(&self, node: &str, labels: &BTreeMap<String, String>) -> Option<Option<&str>> {
        let has = |kept: &&Kept| chosen(kept, node, labels);
        (!self.rollouts.is_empty())
            .then(|| self.rollouts.iter().find(has).map(|kept| kept.rollout.bundle.as_str()))
    }

    /// The rollout that has not ended.
    pub fn under_way(&self) -> Option<&Kept> {
        self.rollouts.iter().find(|kept| kept.rollout.state.is_under_way())
    }

    /// All, the newest first.
    pub fn rollouts(&self) -> &[Kept] {
        &self.rollouts
    }

    /// Rollouts that no node's bundle depends on any more, and that ended so long ago that nobody goes back to them.
    pub fn outdated(&self, now_ns: u64) -> Vec<&Kept> {
        let mut covered_ns: Option<u64> = None;
        let mut outdated = Vec::new();
        for (at, kept) in self.rollouts.iter().enumerate() {
            let rollout = &kept.rollout;
            // What is covered since then is not needed since then; what was rolled back is not since it was.
            let free_ns = match rollout.state {
                State::RolledBack => rollout.ended_ns,
                State::Done => covered_ns,
                State::Running | State::Paused => None,
            };
            // The newest stays: without any, a node that was away would keep what was taken back meanwhile.
            if at > 0 && free_ns.is_some_and(|free| now_ns.saturating_sub(free) > KEPT_NS) {
                outdated.push(kept);
            }
            if rollout.state == State::Done && covered_ns.is_none() && rollout.steps.contains(&Step::ALL) {
                covered_ns = rollout.ended_ns;
            }
        }
        outdated
    }
}

/// Whether a rollout has chosen a node by now.
pub fn chosen(kept: &Kept, node: &str, labels: &BTreeMap<String, String>) -> bool {
    let rollout = &kept.rollout;
    rollout.state != State::RolledBack
        && rollout.steps.iter().take(rollout.step + 1).any(|step| step.has(&kept.id, node, labels))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::tests::kept;

    const HOUR: u64 = 3600 * 1_000_000_000;

    #[test]
    fn the_newest_rollout_that_has_chosen_a_node_counts() {
        let canary = BTreeMap::from([("stage".to_owned(), "canary".to_owned())]);
        let none = BTreeMap::new();
        assert_eq!(Plan::default().target("n", &none), None);
        let old = kept("old", &["100%"], State::Done, 0);
        let mut new = kept("new", &["stage=canary", "100%"], State::Running, 0);
        let of = |rollouts: &[&Kept], labels| {
            let plan = Plan::new(rollouts.iter().map(|kept| (*kept).clone()).collect());
            plan.target("n", labels).unwrap().map(str::to_owned)
        };
        assert_eq!(of(&[&new, &old], &canary).as_deref(), Some("new"));
        assert_eq!(of(&[&new, &old], &none).as_deref(), Some("old"));
        assert_eq!(of(&[&new], &none), None);
        new.rollout.state = State::Paused;
        assert_eq!(of(&[&new, &old], &canary).as_deref(), Some("new"), "what is stopped stays where it is");
        new.rollout.step = 1;
        assert_eq!(of(&[&new, &old], &none).as_deref(), Some("new"));
        new.rollout.state = State::RolledBack;
        assert_eq!(of(&[&new, &old], &canary).as_deref(), Some("old"));
        assert_eq!(of(&[&new], &canary), None);
    }

    #[test]
    fn what_can_be_gone_back_to_is_kept_for_72_hours() {
        let ended = |name: &str, steps: &[&str], state, ns| {
            let mut one = kept(name, steps, state, steps.len() - 1);
            one.rollout.ended_ns = Some(ns);
            one
        };
        let plan = Plan::new(vec![
            kept("running", &["100%"], State::Running, 0),
            ended("back", &["100%"], State::RolledBack, 30 * HOUR),
            ended("partial", &["50%"], State::Done, 20 * HOUR),
            ended("full", &["10%", "100%"], State::Done, 10 * HOUR),
            ended("older", &["100%"], State::Done, HOUR),
        ]);
        let outdated = |hours: u64| -> Vec<&str> {
            plan.outdated(hours * HOUR + 1).iter().map(|kept| kept.id.as_str()).collect()
        };
        assert!(outdated(81).is_empty());
        assert_eq!(outdated(82), ["older"]);
        assert_eq!(outdated(102), ["back", "older"]);
        assert_eq!(outdated(10_000), ["back", "older"], "what is in force is kept, however old");
    }
}
