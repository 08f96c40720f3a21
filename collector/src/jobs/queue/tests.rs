use rampart_proto::v1::job_report::Outcome as Said;

use super::*;
use crate::{
    jobs::{Priority, Task},
    store::Place,
};

const SECOND: u64 = 1_000_000_000;

struct Fixture {
    _dir: tempfile::TempDir,
    book: Box<dyn Book>,
}

fn fixture() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::File(dir.path().join("c.db"));
    drop(place.writer().unwrap());
    Fixture { book: place.book().unwrap(), _dir: dir }
}

impl Fixture {
    fn submit(&mut self, wish: Wish, now: u64) -> String {
        submit(&mut *self.book, wish, "cli:test", now).unwrap()
    }

    fn state(&mut self, id: &str) -> &'static str {
        get(&mut *self.book, id).unwrap().state.name()
    }

    fn given(&mut self, view: &View, now: u64) -> Vec<(String, String)> {
        let step = step(&mut *self.book, view, now).unwrap();
        step.given.into_iter().map(|(node, id, _)| (node, id)).collect()
    }

    fn say(&mut self, node: &str, id: &str, outcome: Said, now: u64) -> bool {
        let report = JobReport { id: id.to_owned(), outcome: Some(outcome) };
        super::report(&mut *self.book, node, report, now).unwrap().is_some()
    }
}

fn wish(node: Option<&str>, priority: Priority) -> Wish {
    Wish { task: Task::Diagnostics {}, node: node.map(str::to_owned), priority }
}

fn view(nodes: &[(&str, &str)]) -> View {
    let there = |boot: &str| Connected { boot: boot.to_owned(), kinds: ["diagnostics".to_owned()].into() };
    let connected = nodes.iter().map(|(node, boot)| ((*node).to_owned(), there(boot))).collect();
    View { me: "me".to_owned(), connected, silent: BTreeSet::new() }
}

fn done(text: &str) -> Said {
    Said::Done(JobDone { text: text.to_owned(), content: b"abc".to_vec(), ..JobDone::default() })
}

fn refusal(is_final: bool) -> Said {
    Said::Failed(JobFailed { reason: "no\u{1b}[2J room".to_owned(), is_final })
}

#[test]
fn a_node_gets_one_job_at_a_time_the_urgent_ones_first() {
    let mut queue = fixture();
    let low = queue.submit(wish(Some("n1"), Priority::Low), SECOND);
    let other = queue.submit(wish(Some("n2"), Priority::High), 2 * SECOND);
    let high = queue.submit(wish(None, Priority::High), 3 * SECOND);
    let n1 = view(&[("n1", "b1")]);
    assert_eq!(queue.given(&n1, 4 * SECOND), [("n1".to_owned(), high.clone())]);
    assert!(queue.given(&n1, 5 * SECOND).is_empty());
    assert!(!queue.say("n2", &high, done("not mine"), 6 * SECOND));
    assert!(queue.say("n1", &high, done("fine"), 6 * SECOND));
    assert_eq!(queue.given(&n1, 7 * SECOND), [("n1".to_owned(), low)]);
    assert_eq!(queue.state(&other), "waiting");
    let job = get(&mut *queue.book, &high).unwrap();
    assert_eq!(
        job.outcome.unwrap(),
        Outcome {
            node: "n1".to_owned(),
            ended_ns: 6 * SECOND,
            text: "fine".to_owned(),
            bytes: 3,
            ..Outcome::default()
        }
    );
    assert_eq!(result(&mut *queue.book, &high).unwrap().unwrap(), ("fine".to_owned(), b"abc".to_vec()));
    // Once only.
    assert!(!queue.say("n1", &high, refusal(false), 8 * SECOND));
}

#[test]
fn what_fails_waits_and_is_given_up_in_the_end() {
    let mut queue = fixture();
    let id = queue.submit(wish(Some("n1"), Priority::Normal), SECOND);
    let n1 = view(&[("n1", "b1")]);
    let mut now = SECOND;
    for attempt in 1..=ATTEMPTS {
        now += 600 * SECOND;
        assert_eq!(queue.given(&n1, now).len(), 1, "attempt {attempt}");
        assert!(queue.say("n1", &id, refusal(false), now));
    }
    assert_eq!(queue.state(&id), "dead");
    assert_eq!(get(&mut *queue.book, &id).unwrap().fault, "no [2J room");
    assert!(queue.given(&n1, now + 600 * SECOND).is_empty());
    redrive(&mut *queue.book, &id, "cli:test", now).unwrap();
    assert!(matches!(redrive(&mut *queue.book, &id, "cli:test", now), Err(JobError::State { .. })));
    assert_eq!(queue.given(&n1, now).len(), 1);
    // Another try would come to the same.
    assert!(queue.say("n1", &id, refusal(true), now));
    assert_eq!(queue.state(&id), "dead");
}

#[test]
fn what_is_lost_is_taken_over() {
    let mut queue = fixture();
    let id = queue.submit(wish(None, Priority::Normal), SECOND);
    let lease = Task::Diagnostics {}.lease().as_nanos() as u64;
    let both = view(&[("n1", "b1"), ("n2", "b2")]);
    let n2 = view(&[("n2", "b2")]);
    assert_eq!(queue.given(&both, 2 * SECOND)[0].0, "n1");
    // It may come back, until its lease ends.
    assert!(queue.given(&n2, lease).is_empty());
    assert!(queue.given(&n2, 2 * SECOND + lease).is_empty());
    assert_eq!(queue.state(&id), "waiting");
    let mut now = 600 * SECOND;
    assert_eq!(queue.given(&n2, now)[0].0, "n2");
    // Its agent starts anew.
    assert!(queue.given(&view(&[("n2", "b3")]), now + 1).iter().all(|(node, _)| node == "n2"));
    now += 600 * SECOND;
    let again = view(&[("n2", "b3")]);
    if queue.state(&id) == "waiting" {
        assert_eq!(queue.given(&again, now)[0].0, "n2");
    }
    assert_eq!(queue.state(&id), "running");
    // Nobody hears of it for three heartbeats; only the collector that gave it out may say so.
    let silent = |me: &str| View { me: me.to_owned(), silent: ["n2".to_owned()].into(), ..View::default() };
    assert_eq!(step(&mut *queue.book, &silent("other"), now).unwrap().running.len(), 1);
    assert_eq!(step(&mut *queue.book, &silent("me"), now).unwrap().running.len(), 0);
    assert_eq!(queue.state(&id), "waiting");
    // What the node says now is of no use.
    assert!(!queue.say("n2", &id, done("late"), now));
}

#[test]
fn what_is_cancelled_or_not_known_or_too_much_is_refused() {
    let mut queue = fixture();
    let id = queue.submit(wish(Some("n1"), Priority::Normal), SECOND);
    cancel(&mut *queue.book, &id, "cli:test", SECOND).unwrap();
    assert!(queue.given(&view(&[("n1", "b1")]), 2 * SECOND).is_empty());
    assert!(matches!(cancel(&mut *queue.book, &id, "cli:test", SECOND), Err(JobError::State { .. })));
    assert!(matches!(cancel(&mut *queue.book, "x", "cli:test", SECOND), Err(JobError::Absent(_))));
    let bad = wish(Some("a b"), Priority::Normal);
    assert!(matches!(submit(&mut *queue.book, bad, "cli:test", SECOND), Err(JobError::Node(_))));
    let capture =
        Wish { task: Task::Capture { secs: 1, max_bytes: 1 << 20 }, ..wish(None, Priority::Normal) };
    queue.submit(capture, SECOND);
    // That agent takes no captures.
    assert!(queue.given(&view(&[("n1", "b1")]), 2 * SECOND).is_empty());
    for number in 1..OPEN_MAX as u64 {
        queue.submit(wish(Some("n9"), Priority::Normal), SECOND + number);
    }
    let more = wish(None, Priority::High);
    assert!(matches!(submit(&mut *queue.book, more, "cli:test", SECOND), Err(JobError::Full(_))));
}

#[test]
fn texts_are_cut_at_letters_and_tame() {
    assert_eq!(short("añb", 2), "a");
    assert_eq!(short("a\tb\r\nc\u{7}", 100), "a\tb \nc ");
}
