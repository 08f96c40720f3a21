//! Fields of trading and rules that count, on records.

use rampart_rules::window::Withheld;

use super::*;
use crate::{
    config::{self, trading::PathPattern, trading::Role},
    trading::Trading,
};

/// `/k/` is a key, the programs `cat` are gateways.
fn section() -> config::Trading {
    let key = PathPattern::Below("/k/".to_owned());
    let role = Role { comms: vec!["cat".to_owned()], ..Role::default() };
    config::Trading {
        assets: [("api_key".to_owned(), vec![key])].into(),
        roles: [("gateway".to_owned(), role)].into(),
        ..config::Trading::default()
    }
}

fn bench(text: &str, matching: Matching, section: &config::Trading) -> Detector {
    let source = Source { name: "test.yaml".into(), text: text.into() };
    let meanings = Trading::meanings(section);
    let loaded = load(&[source], &LoadOptions { matching, meanings, ..LoadOptions::default() });
    let trading = Trading::new(section).unwrap().map(Arc::new);
    let policy = Arc::new(loaded.rules.unwrap_or_else(|| panic!("{:?}", loaded.diagnostics)));
    with_cat(policy, Options { trading, ..options() })
}

fn key(pid: u32, comm: &str, at_ms: u64) -> RecordBuilder {
    by(open("/k/a", libc::O_RDONLY), pid, 1, comm).at(101 * SECOND + at_ms * 1_000_000)
}

const READS: &str = "
- {rule: key, desc: d, condition: evt.type=openat and trading.asset=api_key, output: '%trading.role %trading.session', priority: INFO}
";

#[test]
fn fields_of_trading_follow_the_configuration() {
    let mut detector = bench(READS, Matching::First, &section());
    let alerts = feed(&mut detector, &key(30, "cat", 0));
    assert_eq!(alerts[0].fields["trading.role"], "gateway");
    assert_eq!(alerts[0].fields["trading.session"], "closed");
    assert!(feed(&mut detector, &by(open("/etc/hosts", 0), 30, 20, "cat")).is_empty());
    let alerts = feed(&mut detector, &key(20, "bash", 0));
    assert!(alerts[0].fields["trading.role"].is_null(), "{:?}", alerts[0].fields);
    // Without the section nothing is an asset; a reload may bring it.
    let mut without = bench(READS, Matching::First, &config::Trading::default());
    assert!(feed(&mut without, &key(30, "cat", 0)).is_empty());
    without.set_trading(Trading::new(&section()).unwrap().map(Arc::new));
    without.swap(rules(READS, Matching::First), None);
    assert_eq!(feed(&mut without, &key(30, "cat", 1)).len(), 1);
}

#[test]
fn the_other_process_of_a_call_has_a_role_too() {
    let text = "
- {rule: aimed, desc: d, condition: 'evt.type in (kill, ptrace) and trading.target.role=gateway', output: o, priority: INFO}
";
    let mut detector = bench(text, Matching::First, &section());
    let kill =
        |pid: u64| by(RecordBuilder::syscall(libc::SYS_kill, Family::Scalar, 0, &[pid, 9]), 20, 1, "bash");
    assert_eq!(feed(&mut detector, &kill(30)).len(), 1);
    assert!(feed(&mut detector, &kill(1)).is_empty(), "not a gateway");
    assert!(feed(&mut detector, &kill(20)).is_empty(), "itself");
    let trace = RecordBuilder::syscall(libc::SYS_ptrace, Family::Scalar, 0, &[16, 30]);
    assert_eq!(feed(&mut detector, &by(trace, 20, 1, "bash")).len(), 1);
    let own = RecordBuilder::syscall(libc::SYS_ptrace, Family::Scalar, 0, &[16, 30]);
    assert!(feed(&mut detector, &by(own, 30, 20, "cat")).is_empty(), "itself");
}

#[test]
fn a_rule_that_counts_leaves_events_to_the_next_until_it_is_told() {
    let text = "
- {rule: many, desc: d, condition: evt.type=openat and trading.asset=api_key, output: o, priority: INFO, threshold: {count: 3, within: 1s, by: [proc.pid]}}
- {rule: each, desc: d, condition: evt.type=openat and fd.name startswith /k/, output: o, priority: INFO, throttle: {burst: 1, per: 1s}}
- {rule: rest, desc: d, condition: evt.type=openat and fd.name startswith /k/, output: o, priority: INFO}
";
    let told = |matching| {
        let mut detector = bench(text, matching, &section());
        let at = [0, 100, 200, 300, 3000].map(|at| {
            let alerts = feed(&mut detector, &key(30, "cat", at));
            names(&alerts).join(" ")
        });
        (at, detector.stats())
    };
    let (first, stats) = told(Matching::First);
    assert_eq!(first, ["each", "", "many", "", "each"], "what is throttled is a match all the same");
    assert_eq!(stats.windows.withheld[Withheld::Threshold as usize], 4);
    assert_eq!(stats.windows.withheld[Withheld::Throttle as usize], 2);
    assert_eq!(stats.rule_matches.get("many"), Some(&1));
    let (all, _) = told(Matching::All);
    assert_eq!(all, ["each rest", "rest", "many rest", "rest", "each rest"]);
}

#[test]
fn steps_of_a_sequence_are_counted_on_the_times_of_records() {
    let text = "
- {rule: then, desc: d, condition: evt.type=openat and fd.name=/etc/hosts, output: o, priority: INFO, sequence: {after: 'evt.type=openat and trading.asset=api_key', within: 1s, by: [proc.pid]}}
";
    let mut detector = bench(text, Matching::First, &section());
    let hosts = |at_ms: u64| by(open("/etc/hosts", 0), 30, 20, "cat").at(101 * SECOND + at_ms * 1_000_000);
    assert!(feed(&mut detector, &hosts(0)).is_empty());
    assert!(feed(&mut detector, &key(30, "cat", 100)).is_empty());
    assert_eq!(names(&feed(&mut detector, &hosts(900))), ["then"]);
    assert!(feed(&mut detector, &key(30, "cat", 1000)).is_empty());
    assert!(feed(&mut detector, &hosts(2100)).is_empty(), "too late");
    // Other rules begin anew.
    assert!(feed(&mut detector, &key(30, "cat", 3000)).is_empty());
    detector.swap(Arc::clone(detector.policy()), None);
    assert!(feed(&mut detector, &hosts(3100)).is_empty());
}
