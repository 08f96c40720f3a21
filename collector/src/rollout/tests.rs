//! What the tests of rollouts are made of, and what people may do with them.

use std::collections::BTreeMap;

use super::{
    desk::{Actor, Settings, begin, bundles, pause, promote, prune, push, resume, rollback},
    plan::Plan,
    *,
};
use crate::{
    bundle::{self, Bundle, SigningKey},
    store::sqlite,
};

/// A rollout of the bundle of the same name.
pub(super) fn kept(name: &str, steps: &[&str], state: State, step: usize) -> Kept {
    let rollout = Rollout {
        bundle: name.to_owned(),
        name: format!("bundle {name}"),
        by: "test".to_owned(),
        began_ns: 0,
        steps: steps.iter().map(|step| step.parse().unwrap()).collect(),
        bake_secs: 60,
        gates: Gates::default(),
        state,
        step,
        step_ns: 0,
        ended_ns: None,
        reason: None,
        events: Vec::new(),
        is_told: false,
    };
    Kept { id: name.to_owned(), revision: 1, rollout }
}

/// So many nodes, `n0` and on, that are there and have a bundle.
pub(super) fn nodes(count: usize, digest: &str) -> Sights {
    let node = NodeSight {
        seen_ns: 1_000_000_000_000,
        is_connected: true,
        is_accepting: true,
        digest: digest.to_owned(),
        ..NodeSight::default()
    };
    Sights { nodes: (0..count).map(|number| (format!("n{number}"), node.clone())).collect() }
}

/// A signed bundle.
pub(super) fn signed(name: &str) -> (Bundle, Vec<u8>) {
    let dir = tempfile::tempdir().unwrap();
    let key = SigningKey::create(&dir.path().join("key")).unwrap();
    std::fs::create_dir_all(dir.path().join("p/rules")).unwrap();
    std::fs::write(dir.path().join("p/rules/a.yaml"), name).unwrap();
    let bytes = bundle::build(&dir.path().join("p"), name, 5, &key).unwrap();
    (bundle::open(&bytes).unwrap(), bytes)
}

const fn at(now_ns: u64) -> Actor<'static> {
    Actor { name: "user:ann", now_ns }
}

#[test]
fn one_rollout_is_under_way_and_everything_is_noted() {
    let dir = tempfile::tempdir().unwrap();
    let mut book = sqlite::identity::book(&dir.path().join("db")).unwrap();
    let book = &mut book;
    let ((one, bytes), (two, more)) = (signed("v1"), signed("v2"));
    assert!(matches!(begin(book, at(1), &one.digest, Settings::default()), Err(RolloutError::NoBundle(_))));
    push(book, at(2), &one, &bytes).unwrap();
    push(book, at(3), &two, &more).unwrap();
    assert!(matches!(pause(book, at(4), None), Err(RolloutError::NoneUnderWay)));
    assert!(matches!(rollback(book, at(4), None, "no"), Err(RolloutError::NoneUnderWay)));
    let first = begin(book, at(5), &one.digest, Settings::default()).unwrap();
    let second = begin(book, at(6), &two.digest, Settings::default());
    assert!(matches!(second, Err(RolloutError::UnderWay(id)) if id == first.id));
    assert!(matches!(resume(book, at(7), None), Err(RolloutError::State(State::Running))));
    pause(book, at(8), None).unwrap();
    assert!(matches!(pause(book, at(9), None), Err(RolloutError::State(State::Paused))));
    let resumed = resume(book, at(10), Some(&first.id)).unwrap();
    assert_eq!((resumed.rollout.state, resumed.rollout.step_ns), (State::Running, 10));
    assert_eq!(promote(book, at(11), None, false).unwrap().rollout.step, 1);
    // What was read before somebody else's change is not written.
    assert!(matches!(resumed.write(book, "x", "y", "z", 12), Err(RolloutError::Race)));
    let done = promote(book, at(13), None, true).unwrap();
    assert_eq!((done.rollout.state, done.rollout.step, done.rollout.ended_ns), (State::Done, 2, Some(13)));
    // The next one may begin; taking it back gives nodes the first.
    let second = begin(book, at(14_000_000_000), &two.digest, Settings::default()).unwrap();
    promote(book, at(15), None, true).unwrap();
    let plan = |book: &mut dyn Book| Plan::new(Kept::list(book).unwrap());
    let none = BTreeMap::new();
    assert_eq!(plan(book).target("n", &none), Some(Some(two.digest.as_str())));
    let back = rollback(book, at(16), None, "too loud").unwrap();
    assert_eq!((back.id, back.rollout.reason.as_deref()), (second.id.clone(), Some("too loud")));
    assert_eq!(plan(book).target("n", &none), Some(Some(one.digest.as_str())));
    assert!(matches!(
        rollback(book, at(17), Some(&second.id), ""),
        Err(RolloutError::State(State::RolledBack))
    ));
    rollback(book, at(18), None, "this one too").unwrap();
    assert_eq!(plan(book).target("n", &none), Some(None), "what was there before is nothing");
    let noted: Vec<String> =
        book.records_after(0, 100).unwrap().into_iter().map(|record| record.note.action).collect();
    assert_eq!(
        noted,
        [
            "bundle.push",
            "bundle.push",
            "rollout.begin",
            "rollout.pause",
            "rollout.resume",
            "rollout.promote",
            "rollout.promote",
            "rollout.begin",
            "rollout.promote",
            "rollout.rollback",
            "rollout.rollback",
        ]
    );
    // After 72 hours the first one and its bundle are forgotten. The newest stays: what it says of a node that was away
    // for longer still holds.
    let kept = plan(book);
    assert_eq!(prune(book, &kept, KEPT_NS).unwrap(), 0);
    assert_eq!(prune(book, &kept, KEPT_NS + 1_000).unwrap(), 1 + 2);
    let left: Vec<String> = bundles(book).unwrap().into_iter().map(|(digest, _)| digest).collect();
    assert_eq!(left, [two.digest]);
    let kept = plan(book);
    assert_eq!(prune(book, &kept, 100 * KEPT_NS).unwrap(), 0);
    assert_eq!(plan(book).target("n", &none), Some(None));
}

#[test]
fn senseless_settings_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut book = sqlite::identity::book(&dir.path().join("db")).unwrap();
    let (one, bytes) = signed("v1");
    push(&mut book, at(1), &one, &bytes).unwrap();
    for settings in [
        Settings { steps: Vec::new(), ..Settings::default() },
        Settings { steps: vec![Step::ALL; 21], ..Settings::default() },
        Settings { bake_secs: u64::MAX, ..Settings::default() },
    ] {
        assert!(matches!(begin(&mut book, at(2), &one.digest, settings), Err(RolloutError::Settings(_))));
    }
}
