//! Looks at a store, as one collector and as two.

use super::*;
use crate::{
    rollout::{
        desk::{Settings, begin, push},
        tests::{nodes, signed},
    },
    store::sqlite::{self, identity::SqliteBook},
};

const SEC: u64 = 1_000_000_000;

/// A store with a rollout to everybody in two steps that began at 100 s, and the digest of its bundle.
fn begun(dir: &tempfile::TempDir) -> (SqliteBook, String) {
    let mut book = sqlite::identity::book(&dir.path().join("db")).unwrap();
    let (bundle, bytes) = signed("v1");
    let actor = Actor { name: "test", now_ns: 100 * SEC };
    push(&mut book, actor, &bundle, &bytes).unwrap();
    let steps = vec!["stage=canary".parse().unwrap(), "100%".parse().unwrap()];
    begin(&mut book, actor, &bundle.digest, Settings { steps, bake_secs: 60, ..Settings::default() })
        .unwrap();
    (book, bundle.digest)
}

fn sight(count: usize, digest: &str) -> Sight {
    Sight { nodes: nodes(count, digest).nodes }
}

#[test]
fn one_collector_decides_and_another_takes_over_when_it_is_silent() {
    let dir = tempfile::tempdir().unwrap();
    let (mut book, digest) = begun(&dir);
    let all = sight(3, &digest);
    let mut at = |name: &str, secs: u64, sight: &Sight| {
        look(&mut book, name, (Some(sight), Duration::ZERO), false, secs * SEC).unwrap()
    };
    let none = Sight::default();
    assert_eq!(at("a", 101, &all).tally.unwrap().accepting, 3);
    assert!(at("b", 102, &none).tally.is_none(), "it is not its turn");
    let step = |look: &Look| look.plan.rollouts()[0].rollout.step;
    assert_eq!(step(&at("a", 120, &all)), 0);
    assert_eq!(step(&at("b", 139, &none)), 0);
    // The first one is silent for 20 s; what it has seen counts no less until then.
    let taken = at("b", 161, &sight(2, &digest));
    assert_eq!((step(&taken), taken.tally.unwrap().accepting), (1, 3), "{:?}", taken.plan);
    assert!(at("a", 165, &all).tally.is_none());
    assert_eq!(at("b", 180, &all).ended, None);
    assert_eq!(at("b", 199, &all).ended, None);
    let done = at("b", 222, &all);
    assert_eq!((done.ended, done.plan.under_way()), (Some(State::Done), None));
    assert!(at("b", 240, &all).tally.is_none(), "nothing is under way");
}

#[test]
fn a_refusal_ends_it_with_an_alert_that_is_the_same_whoever_makes_it() {
    let dir = tempfile::tempdir().unwrap();
    let (mut book, digest) = begun(&dir);
    let mut all = sight(2, "");
    for node in all.nodes.values_mut() {
        node.labels.insert("stage".to_owned(), "canary".to_owned());
        (node.fault, node.fault_digest) = ("bad rule".to_owned(), digest.clone());
    }
    let looked = look(&mut book, "a", (Some(&all), Duration::from_secs(99)), true, 101 * SEC).unwrap();
    assert_eq!(looked.ended, Some(State::RolledBack));
    let kept = &looked.plan.rollouts()[0];
    assert_eq!(kept.rollout.reason.as_deref(), Some("2 nodes refused it; `n0`: bad rule; `n1`: bad rule"));
    assert_eq!(alert(kept), alert(&Kept::list(&mut book).unwrap()[0]));
    let json: serde_json::Value = serde_json::from_str(&alert(kept).json).unwrap();
    assert_eq!(json["output_fields"]["digest"], digest.as_str());
    assert!(json["output"].as_str().unwrap().contains("`v1` was taken back at step 1: 2 nodes refused it"));
    // Another rollout may begin.
    let actor = Actor { name: "test", now_ns: 102 * SEC };
    begin(&mut book, actor, &digest, Settings::default()).unwrap();
}
