use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use proptest::prelude::*;
use rampart_common::event::FAMILY_COUNT;

use super::{family::WAIT_MAX, *};

const SECOND: u64 = 1_000_000_000;
const FAMILY: Family = Family::Open;

/// 5 % of a core over a second, with two calm windows.
fn settings() -> config::Budgets {
    let mut families = [None; FAMILY_COUNT];
    families[FAMILY as usize] = Some(50_000);
    config::Budgets {
        shed_below: Priority::Notice,
        families,
        window: Duration::from_secs(1),
        return_below_percent: 50,
        return_windows: 2,
    }
}

/// Rules that cost as told as long as they are tried.
struct Node {
    budgets: Budgets,
    now_ns: u64,
    costs: Vec<Cost>,
}

impl Node {
    fn new(priorities: &[Priority]) -> Self {
        let mut node = Self {
            budgets: Budgets::of_priorities(&settings(), priorities.to_vec()),
            now_ns: 7 * SECOND,
            costs: vec![Cost::default(); priorities.len()],
        };
        assert_eq!(node.look(), [], "the first look only begins");
        node
    }

    fn look(&mut self) -> Vec<Change> {
        let costs = &self.costs;
        self.budgets.look(self.now_ns, |family| if family == FAMILY { costs } else { &[] })
    }

    /// A window in which each rule takes so many thousandths of a core.
    fn window(&mut self, load: &[u64]) -> Vec<Change> {
        let shed = self.budgets.shed();
        for (rule, (cost, load)) in self.costs.iter_mut().zip(load).enumerate() {
            if !shed.contains(FAMILY, rule) {
                cost.candidates += 640;
                cost.samples += 10;
                cost.ns += load * 1_000_000;
            }
        }
        self.now_ns += SECOND;
        self.look()
    }

    fn shed(&self) -> Vec<usize> {
        self.budgets.shed().iter().map(|(_, rule)| rule).collect()
    }
}

fn rules_of(changes: &[Change]) -> Vec<(char, usize)> {
    changes
        .iter()
        .map(|change| match change {
            Change::Shed(step) => ('-', step.rule),
            Change::Returned(step) => ('+', step.rule),
            Change::Stuck { .. } => ('!', 0),
        })
        .collect()
}

const MIXED: [Priority; 5] =
    [Priority::Critical, Priority::Notice, Priority::Informational, Priority::Debug, Priority::Informational];

#[test]
fn the_costliest_go_first_and_come_back_by_severity_when_it_is_calm() {
    let mut node = Node::new(&MIXED);
    assert_eq!(node.window(&[10, 10, 5, 5, 5]), [], "35 of 50");
    // 80: without the two costliest that may go it is 40.
    let changes = node.window(&[10, 20, 10, 25, 15]);
    assert_eq!(rules_of(&changes), [('-', 3), ('-', 4)]);
    let first = Step { rule: 3, family: FAMILY, cost: 25_000, used: 80_000, budget: 50_000, wait: 2 };
    assert_eq!(changes[0], Change::Shed(first));
    // Kept, but with no room.
    for _ in 0..5 {
        assert_eq!(node.window(&[10, 15, 5, 99, 99]), []);
    }
    assert_eq!(node.window(&[5, 5, 5, 1, 1]), []);
    assert_eq!(rules_of(&node.window(&[5, 5, 5, 1, 1])), [('+', 4)]);
    assert_eq!(rules_of(&node.window(&[5, 5, 5, 1, 1])), [('+', 3)]);
    assert_eq!(node.window(&[5, 5, 5, 1, 1]), []);
    let standing = node.budgets.standing();
    assert_eq!(standing.len(), 1, "only one family has a budget");
    assert_eq!((standing[0].sheds, standing[0].returns, standing[0].shed), (2, 2, 0));
    assert_eq!(standing[0].used, Some(17_000));
}

#[test]
fn a_budget_that_protected_rules_exceed_is_said_once() {
    let mut node = Node::new(&MIXED);
    let load = [60, 10, 10, 0, 0];
    assert_eq!(rules_of(&node.window(&load)), [('-', 2), ('!', 0)]);
    assert_eq!(node.window(&load), []);
    assert!(node.budgets.standing()[0].stuck);
    assert_eq!(node.window(&[30, 10, 0, 0, 0]), []);
    assert!(!node.budgets.standing()[0].stuck);
    assert_eq!(rules_of(&node.window(&load)), [('!', 0)]);
}

#[test]
fn one_interrupted_trial_takes_no_rule_away() {
    let mut node = Node::new(&MIXED);
    node.costs[3] = Cost { candidates: 3, samples: 3, ns: SECOND };
    node.now_ns += SECOND;
    assert_eq!(rules_of(&node.look()), [('!', 0)]);
    assert!(node.shed().is_empty());
}

#[test]
fn a_rule_that_takes_next_to_nothing_stays() {
    let mut node = Node::new(&MIXED);
    for cost in &mut node.costs {
        *cost = Cost { candidates: 640, samples: 10, ns: 49_000 };
    }
    node.costs[0].ns = SECOND;
    node.costs[2].ns = 50_000;
    node.now_ns += SECOND;
    assert_eq!(rules_of(&node.look()), [('-', 2), ('!', 0)], "49 µs of 50 ms are not worth a rule");
}

#[test]
fn nothing_happens_within_a_window() {
    let mut node = Node::new(&MIXED);
    node.costs[3] = Cost { candidates: 640, samples: 10, ns: SECOND };
    node.now_ns += SECOND - 1;
    assert_eq!(node.look(), []);
    // A window that ends late is judged by its real length.
    node.now_ns += 30 * SECOND;
    assert_eq!(node.look(), [], "1 s of 31 s is less than 5 %");
}

#[test]
fn a_rule_that_goes_again_and_again_waits_longer_and_longer() {
    let mut node = Node::new(&MIXED);
    let load = [5, 5, 5, 70, 5];
    let mut waits = Vec::new();
    for _ in 0..3000 {
        for change in node.window(&load) {
            if let Change::Shed(step) = change {
                assert_eq!(step.rule, 3);
                waits.push(step.wait);
            }
        }
    }
    assert_eq!(waits[..9], [2, 4, 8, 16, 32, 64, 128, 256, 360]);
    assert!(waits.len() < 9 + 3000 / 360, "{waits:?}");
    // Once it stays for as long as it had to wait, all is forgotten.
    for _ in 0..2 * WAIT_MAX {
        node.window(&[5, 5, 5, 5, 5]);
    }
    assert!(node.shed().is_empty());
    let changes = node.window(&load);
    assert!(matches!(changes[..], [Change::Shed(Step { wait: 2, .. })]), "{changes:?}");
}

fn priority() -> impl Strategy<Value = Priority> {
    (0..Priority::ALL.len()).prop_map(|index| Priority::ALL[index])
}

proptest! {
    #[test]
    fn protected_rules_stay_others_come_back_and_nothing_flaps(
        priorities in prop::collection::vec(priority(), 1..12),
        loads in prop::collection::vec(prop::collection::vec(0u64..60, 12), 1..120),
        constant in 1u32..4,
    ) {
        let mut node = Node::new(&priorities);
        let mut absent = BTreeSet::new();
        let mut shed_at: BTreeMap<usize, u64> = BTreeMap::new();
        let mut last_shed = None;
        for (window, load) in (0u64..).zip(loads.iter().flat_map(|load| (0..constant).map(move |_| load))) {
            let changes = node.window(load);
            let (mut went, mut came) = (0, 0);
            for change in &changes {
                match change {
                    Change::Shed(step) => {
                        prop_assert!(priorities[step.rule] > Priority::Notice, "protected");
                        prop_assert!(absent.insert(step.rule), "gone already");
                        prop_assert!(step.used > step.budget);
                        shed_at.insert(step.rule, window);
                        last_shed = Some(window);
                        went += 1;
                    }
                    Change::Returned(step) => {
                        prop_assert!(absent.remove(&step.rule), "was not gone");
                        prop_assert!(step.used * 2 < step.budget, "there is room");
                        prop_assert!(window - shed_at[&step.rule] >= 2, "it waited");
                        prop_assert!(last_shed.is_none_or(|at| window - at >= 2), "it is calm");
                        came += 1;
                    }
                    Change::Stuck { used, budget, .. } => prop_assert!(used > budget),
                }
            }
            prop_assert!(came <= 1 && (came == 0 || went == 0), "one at a time");
            let expected: Vec<usize> = absent.iter().copied().collect();
            prop_assert_eq!(node.shed(), expected);
            // Either the rest keeps the budget, or no rule is left that could go.
            let left = |rule: &usize| !absent.contains(rule);
            let rest: u64 = (0..priorities.len()).filter(left).map(|rule| load[rule]).sum();
            let may_go = (0..priorities.len())
                .filter(left)
                .any(|rule| load[rule] > 0 && priorities[rule] > Priority::Notice);
            prop_assert!(came > 0 || rest <= 50 || !may_go, "{rest} of 50 is left");
        }
        // The load goes away.
        for _ in 0..WAIT_MAX as usize + 3 + priorities.len() {
            let changes = node.window(&[0; 12]);
            prop_assert!(changes.iter().all(|change| matches!(change, Change::Returned(_))));
        }
        prop_assert!(node.shed().is_empty());
    }

    #[test]
    fn under_a_constant_load_changes_become_rare(
        priorities in prop::collection::vec(priority(), 1..12),
        load in prop::collection::vec(0u64..80, 12),
    ) {
        let mut node = Node::new(&priorities);
        let mut sheds: BTreeMap<usize, usize> = BTreeMap::new();
        for _ in 0..2000 {
            for change in node.window(&load) {
                if let Change::Shed(step) = change {
                    *sheds.entry(step.rule).or_default() += 1;
                }
            }
        }
        // Doubling from 2 to 360 takes eight times; then at most one in 360 windows.
        for (rule, count) in sheds {
            prop_assert!(count <= 9 + 2000 / 360, "rule {rule} went {count} times");
        }
    }
}
