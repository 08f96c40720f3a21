//! Whether a rollout goes on, waits, or goes back: a pure function of what is seen of the nodes.
//!
//! Each node is compared with itself: the minutes before it had the bundle with the time since. What the chosen nodes do
//! together is judged, so that one busy node among many does not end a rollout, and none of few is overlooked.

use serde::{Deserialize, Serialize};

use super::{Kept, NodeSight, Rollout, Sights, State, plan::chosen};

/// Time beyond the watched one for nodes that do not answer.
const GRACE_NS: u64 = 10 * 60 * 1_000_000_000;
/// Nodes that a reason names.
const NAMED: usize = 3;
/// Letters of a node's own words in a reason.
const WORDS: usize = 300;

/// What must not get worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Gates {
    /// Alerts of the chosen nodes since, in percent of those before. Two hundred is twice as many.
    pub alerts_percent: u32,
    /// So many alerts per minute and node more are no reason, whatever the percentage.
    pub alerts_per_min: u32,
    /// Events and alerts lost per minute and node beyond those lost before.
    pub losses_per_min: u32,
    /// Processor time of an agent beyond that of before, in percent of a core, on average.
    pub cpu_points: u32,
    /// Nodes that may refuse the bundle.
    pub refusals: u32,
    /// Share of the chosen nodes that may be missing when the time is over, in percent.
    pub missing_percent: u32,
}

/// What becomes of a rollout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is watched on.
    Wait,
    /// The next step begins.
    Next,
    /// It is done.
    Done,
    /// It goes back, for this reason.
    Back(String),
}

/// How many nodes are how, for people and metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Nodes that take bundles.
    pub accepting: usize,
    /// Those that the rollout has chosen.
    pub chosen: usize,
    /// Those of them that have the bundle in force.
    pub loaded: usize,
    /// Those that refuse it.
    pub refused: usize,
    /// Those that were there and do not have it, or are gone.
    pub missing: usize,
}

impl Default for Gates {
    fn default() -> Self {
        Self {
            alerts_percent: 200,
            alerts_per_min: 5,
            losses_per_min: 60,
            cpu_points: 20,
            refusals: 0,
            missing_percent: 20,
        }
    }
}

/// The chosen nodes, sorted by how they are.
struct Sorted<'a> {
    accepting: usize,
    loaded: Vec<&'a NodeSight>,
    refused: Vec<(&'a str, &'a str)>,
    missing: Vec<&'a str>,
}

impl<'a> Sorted<'a> {
    fn new(kept: &Kept, sights: &'a Sights) -> Self {
        let rollout = &kept.rollout;
        let mut sorted = Self { accepting: 0, loaded: Vec::new(), refused: Vec::new(), missing: Vec::new() };
        for (name, node) in &sights.nodes {
            // Who has gone before this step says nothing about it.
            if !node.is_accepting || !(node.is_connected || node.seen_ns > rollout.step_ns) {
                continue;
            }
            sorted.accepting += 1;
            if !chosen(kept, name, &node.labels) {
                continue;
            }
            if node.fault_digest == rollout.bundle {
                sorted.refused.push((name, &node.fault));
            } else if node.is_connected && node.digest == rollout.bundle {
                sorted.loaded.push(node);
            } else {
                sorted.missing.push(name);
            }
        }
        sorted
    }
}

/// How the nodes are.
pub fn tally(kept: &Kept, sights: &Sights) -> Tally {
    let Sorted { accepting, loaded, refused, missing } = Sorted::new(kept, sights);
    let (loaded, refused, missing) = (loaded.len(), refused.len(), missing.len());
    Tally { accepting, chosen: loaded + refused + missing, loaded, refused, missing }
}

/// What becomes of a rollout.
pub fn decide(kept: &Kept, sights: &Sights, now_ns: u64) -> Verdict {
    let Rollout { state, gates, bake_secs, step, steps, step_ns, .. } = &kept.rollout;
    if *state != State::Running {
        return Verdict::Wait;
    }
    let sorted = Sorted::new(kept, sights);
    if sorted.refused.len() > gates.refusals as usize {
        let told: Vec<String> =
            sorted.refused.iter().take(NAMED).map(|(name, why)| format!("`{name}`: {}", cut(why))).collect();
        return Verdict::Back(format!("{} refused it; {}", nodes(sorted.refused.len()), told.join("; ")));
    }
    if let Some(why) = gates.worse(&sorted.loaded) {
        return Verdict::Back(why);
    }
    let (watched_ns, bake_ns) = (now_ns.saturating_sub(*step_ns), bake_secs.saturating_mul(1_000_000_000));
    // Without any node nothing was tried: it waits for the first.
    if watched_ns < bake_ns || sorted.accepting == 0 {
        return Verdict::Wait;
    }
    let there = sorted.loaded.len() + sorted.missing.len();
    if sorted.missing.len() * 100 > there * gates.missing_percent as usize {
        if watched_ns < bake_ns.saturating_add(GRACE_NS) {
            return Verdict::Wait;
        }
        let named: Vec<String> = sorted.missing.iter().take(NAMED).map(|name| format!("`{name}`")).collect();
        let count = nodes(sorted.missing.len());
        return Verdict::Back(format!("{count} of {there} do not have it or are gone: {}", named.join(", ")));
    }
    if *step + 1 < steps.len() { Verdict::Next } else { Verdict::Done }
}

impl Gates {
    /// What got worse on nodes that have the bundle.
    fn worse(&self, loaded: &[&NodeSight]) -> Option<String> {
        let both: Vec<_> = loaded.iter().filter_map(|node| Some((node.before?, node.since?))).collect();
        if both.is_empty() {
            return None;
        }
        let count = u32::try_from(both.len()).map_or(f64::from(u32::MAX), f64::from);
        let sum = |of: &dyn Fn(&(super::trend::Rates, super::trend::Rates)) -> f64| {
            both.iter().map(of).sum::<f64>()
        };
        let (before, since) =
            (sum(&|(before, _)| before.alerts_per_min), sum(&|(_, since)| since.alerts_per_min));
        let most = before * f64::from(self.alerts_percent) / 100.0 + f64::from(self.alerts_per_min) * count;
        if since > most {
            return Some(format!(
                "alerts went from {before:.1} to {since:.1} a minute on {}",
                nodes(both.len())
            ));
        }
        let (before, since) =
            (sum(&|(before, _)| before.losses_per_min), sum(&|(_, since)| since.losses_per_min));
        if since - before > f64::from(self.losses_per_min) * count {
            return Some(format!(
                "losses went from {before:.1} to {since:.1} a minute on {}",
                nodes(both.len())
            ));
        }
        let (before, since) =
            (sum(&|(before, _)| before.cpu_percent) / count, sum(&|(_, since)| since.cpu_percent) / count);
        if since - before > f64::from(self.cpu_points) {
            let text = format!(
                "processor time went from {before:.1} % to {since:.1} % of a core on {}",
                nodes(both.len())
            );
            return Some(text);
        }
        None
    }
}

fn nodes(count: usize) -> String {
    if count == 1 { "1 node".to_owned() } else { format!("{count} nodes") }
}

fn cut(text: &str) -> String {
    text.chars().take(WORDS).map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::{
        tests::{kept, nodes as named},
        trend::Rates,
    };

    const SEC: u64 = 1_000_000_000;

    /// A rollout to everybody that began at 100 s and is watched for 60 s.
    fn running(steps: &[&str]) -> Kept {
        let mut kept = kept("b", steps, State::Running, 0);
        kept.rollout.step_ns = 100 * SEC;
        kept.rollout.bake_secs = 60;
        kept
    }

    const fn rates(alerts_per_min: f64, losses_per_min: f64, cpu_percent: f64) -> Rates {
        Rates { alerts_per_min, losses_per_min, cpu_percent }
    }

    #[test]
    fn a_step_is_over_when_it_was_watched_and_its_nodes_have_the_bundle() {
        let all = named(10, "b");
        let steps = running(&["100%", "100%"]);
        assert_eq!(decide(&steps, &all, 159 * SEC), Verdict::Wait);
        assert_eq!(decide(&steps, &all, 160 * SEC), Verdict::Next);
        let mut last = steps.clone();
        last.rollout.step = 1;
        assert_eq!(decide(&last, &all, 160 * SEC), Verdict::Done);
        last.rollout.state = State::Paused;
        assert_eq!(decide(&last, &all, 160 * SEC), Verdict::Wait);
        // Nobody there: nothing was tried.
        assert_eq!(decide(&steps, &Sights::default(), 10_000 * SEC), Verdict::Wait);
        let mut others = all;
        others.nodes.values_mut().for_each(|node| node.is_accepting = false);
        assert_eq!(decide(&steps, &others, 10_000 * SEC), Verdict::Wait);
    }

    #[test]
    fn one_refusal_is_enough_and_says_why() {
        let mut all = named(10, "b");
        let node = all.nodes.get_mut("n3").unwrap();
        (node.digest, node.fault, node.fault_digest) =
            (String::new(), "rules/a.yaml:2:5: bad\n".to_owned(), "b".to_owned());
        let mut kept = running(&["100%"]);
        assert_eq!(
            decide(&kept, &all, 101 * SEC),
            Verdict::Back("1 node refused it; `n3`: rules/a.yaml:2:5: bad ".to_owned())
        );
        assert_eq!(
            tally(&kept, &all),
            Tally { accepting: 10, chosen: 10, loaded: 9, refused: 1, missing: 0 }
        );
        kept.rollout.gates.refusals = 1;
        assert_eq!(decide(&kept, &all, 160 * SEC), Verdict::Done);
        // What was refused before is another bundle.
        all.nodes.get_mut("n3").unwrap().fault_digest = "a".to_owned();
        kept.rollout.gates.refusals = 0;
        assert_eq!(decide(&kept, &all, 101 * SEC), Verdict::Wait);
        // One that was not asked does not count.
        all.nodes.get_mut("n3").unwrap().fault_digest = "b".to_owned();
        kept.rollout.steps = vec!["stage=canary".parse().unwrap()];
        assert_eq!(decide(&kept, &all, 101 * SEC), Verdict::Wait);
    }

    #[test]
    fn nodes_that_are_missing_are_waited_for_and_then_end_it() {
        let mut all = named(10, "b");
        for name in ["n1", "n2", "n3"] {
            all.nodes.get_mut(name).unwrap().digest = String::new();
        }
        let kept = running(&["100%"]);
        assert_eq!(decide(&kept, &all, 160 * SEC), Verdict::Wait);
        assert_eq!(decide(&kept, &all, 759 * SEC), Verdict::Wait);
        let reason = "3 nodes of 10 do not have it or are gone: `n1`, `n2`, `n3`".to_owned();
        assert_eq!(decide(&kept, &all, 760 * SEC), Verdict::Back(reason));
        // Two of ten are allowed. One that died since the step began is missing too, one that died before is not.
        all.nodes.get_mut("n3").unwrap().digest = "b".to_owned();
        assert_eq!(decide(&kept, &all, 160 * SEC), Verdict::Done);
        all.nodes.get_mut("n4").unwrap().is_connected = false;
        assert_eq!(decide(&kept, &all, 160 * SEC), Verdict::Wait);
        all.nodes.get_mut("n4").unwrap().seen_ns = 99 * SEC;
        let two_of_nine = decide(&kept, &all, 160 * SEC);
        assert_eq!(two_of_nine, Verdict::Wait);
        all.nodes.get_mut("n2").unwrap().digest = "b".to_owned();
        assert_eq!(decide(&kept, &all, 160 * SEC), Verdict::Done);
    }

    #[test]
    fn what_gets_worse_ends_it_at_once() {
        let kept = running(&["100%"]);
        let judged = |before: Option<Rates>, since: Option<Rates>| {
            let mut all = named(4, "b");
            all.nodes.values_mut().for_each(|node| (node.before, node.since) = (before, since));
            decide(&kept, &all, 110 * SEC)
        };
        let quiet = Some(rates(10.0, 0.0, 1.0));
        assert_eq!(judged(quiet, None), Verdict::Wait);
        assert_eq!(judged(None, Some(rates(1e9, 1e9, 1e9))), Verdict::Wait, "nothing to compare with");
        assert_eq!(judged(quiet, Some(rates(24.9, 60.0, 20.9))), Verdict::Wait, "at the limits");
        for (since, why) in [
            (rates(25.1, 0.0, 1.0), "alerts went from 40.0 to 100.4 a minute on 4 nodes"),
            (rates(10.0, 60.5, 1.0), "losses went from 0.0 to 242.0 a minute on 4 nodes"),
            (rates(10.0, 0.0, 21.5), "processor time went from 1.0 % to 21.5 % of a core on 4 nodes"),
        ] {
            assert_eq!(judged(quiet, Some(since)), Verdict::Back(why.to_owned()));
        }
        // One node of four is loud: together they are not.
        let mut all = named(4, "b");
        all.nodes.values_mut().for_each(|node| (node.before, node.since) = (quiet, quiet));
        all.nodes.get_mut("n0").unwrap().since = Some(rates(60.0, 0.0, 1.0));
        assert_eq!(decide(&kept, &all, 110 * SEC), Verdict::Wait);
        all.nodes.get_mut("n0").unwrap().since = Some(rates(80.0, 0.0, 1.0));
        assert!(matches!(decide(&kept, &all, 110 * SEC), Verdict::Back(_)));
    }
}
