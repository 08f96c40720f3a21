//! Rules that change while things happen: no moment is unprotected.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use nix::sys::signal::Signal;
use rampart_tests::{
    agent::Agent,
    require_root,
    vault::{Opens, Vault, end, text},
};

/// How often the rules change.
const RELOADS: u32 = 200;

/// A rule set: text of rules, and further ones with their conditions.
type Rules = (String, Vec<(String, String)>);

/// Rule sets with the same rule on intrusions. Everything else differs, so that in each the rule has another bit, its
/// strings have other bits, and other facts of processes and calls count.
fn rule_sets() -> [Rules; 3] {
    let open = "evt.type in (open, openat, openat2)";
    let intrusion = (
        "intrusion".to_owned(),
        format!(
            "{open} and fd.name startswith DIR/secret and not proc.name in (trusted, backup) and not user.uid = 77"
        ),
    );
    let few = vec![
        ("one".to_owned(), format!("{open} and fd.name = DIR/one")),
        intrusion.clone(),
        ("two".to_owned(), format!("{open} and fd.name endswith .nothing and evt.is_open_write = true")),
    ];
    let each = |number: usize| {
        let condition = match number % 6 {
            0 => format!("{open} and fd.name startswith DIR/{number}"),
            1 => format!("{open} and fd.name in (DIR/{number}, DIR/x{number}) and proc.pname = p{number}"),
            2 => format!("{open} and fd.name contains /sec{number}/ and user.uid = {}", 1000 + number),
            3 => format!("{open} and fd.name glob DIR/*{number}.conf and evt.is_open_write = true"),
            4 => format!("evt.type = connect and fd.sport = {number} and proc.name = q{number}"),
            _ => format!("spawned_by_nobody and proc.name = r{number}")
                .replace("spawned_by_nobody", "evt.type = execve"),
        };
        (format!("other {number}"), condition)
    };
    let mut many: Vec<(String, String)> = (0..60).map(each).collect();
    many.insert(41, intrusion.clone());
    let pack = concat!(include_str!("../../rules/packs/base.yaml"), "\n").to_owned();
    [(String::new(), few), (String::new(), many), (pack, vec![intrusion])]
}

/// Whatever is done while the rules change is alerted, and once.
#[test]
fn every_intrusion_during_200_reloads_alerts_once() {
    require_root!("every_intrusion_during_200_reloads_alerts_once");
    let vault = Vault::make();
    let sets = rule_sets();
    let put = |number: u32| {
        let (others, rules) = &sets[number as usize % sets.len()];
        vault.rules_after(others, rules)
    };
    let mut agent = Agent::start_with(&put(0), "rules: {watch: false}\npushdown: {shadow_every: 16}\n");
    let before = Opens::of(&agent);
    let stop = AtomicBool::new(false);
    let done = |number: u32| (number > 0 && stop.load(Ordering::Relaxed)).then_some(number);
    let (own, foreign) = thread::scope(|scope| {
        // One process all the time, whose masks are known to the kernel soon after each change.
        let own = scope.spawn(|| {
            (0..).find_map(|number| {
                File::create(vault.dir.join(format!("secret-own-{number}"))).expect("made");
                thread::sleep(Duration::from_millis(3));
                done(number)
            })
        });
        // A new process each time, of which the kernel knows nothing.
        let foreign = scope.spawn(|| {
            (0..).find_map(|number| {
                let name = vault.dir.join(format!("secret-foreign-{number}"));
                fs::hard_link(vault.dir.join("other"), &name).expect("linked");
                let status = Command::new("cat").arg(&name).stdout(Stdio::null()).status();
                assert!(status.expect("cat runs").success());
                thread::sleep(Duration::from_millis(20));
                done(number)
            })
        });
        // What no rule wants, so that the kernel has something to reject.
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                for _ in 0..20 {
                    drop(File::open(vault.dir.join("other")));
                }
                thread::sleep(Duration::from_millis(2));
            }
        });
        let _stopped = Stop(&stop);
        for number in 1..=RELOADS {
            put(number);
            agent.signal(Signal::SIGHUP);
            agent.until("on the new rules", |agent| {
                let outcome =
                    |name| agent.metric(&format!("rampart_policy_reloads_total{{outcome=\"{name}\"}}"));
                assert!(outcome("failure") < 1.0, "{}", agent.log());
                outcome("success") >= f64::from(number)
            });
        }
        stop.store(true, Ordering::Relaxed);
        (own.join().expect("it ends"), foreign.join().expect("it ends"))
    });
    let (own, foreign) = (own.expect("a number"), foreign.expect("a number"));
    let mut wanted = BTreeMap::new();
    for (name, last) in [("own", own), ("foreign", foreign)] {
        wanted.extend((0..=last).map(|number| (vault.path(&format!("secret-{name}-{number}")), 1)));
    }
    let intrusions = |agent: &Agent| {
        let mut seen = BTreeMap::new();
        for alert in
            agent.alerts().iter().filter(|alert| alert.get("rule").is_some_and(|name| name == "intrusion"))
        {
            *seen.entry(text(alert, "fd.name").to_owned()).or_insert(0) += 1;
        }
        seen
    };
    agent.until("done with all intrusions", |agent| intrusions(agent).len() >= wanted.len());
    let seen = intrusions(&agent);
    let wrong: Vec<_> = wanted.iter().filter(|(name, times)| seen.get(*name) != Some(*times)).collect();
    assert!(
        wrong.is_empty() && seen.len() == wanted.len(),
        "{} of {} wrong: {wrong:?}",
        wrong.len(),
        wanted.len()
    );
    let after = Opens::of(&agent);
    println!(
        "{own} intrusions of one process, {foreign} of others, {} of {} opened files rejected, {} samples",
        after.filtered - before.filtered,
        after.seen - before.seen,
        agent.metric("rampart_pushdown_samples_total"),
    );
    assert!(after.filtered - before.filtered > f64::from(own), "{before:?} {after:?}");
    assert!(agent.metric("rampart_pushdown_samples_total") > 0.0);
    agent.until("told of every rule set", |agent| {
        agent.metric("rampart_pushdown_generation") > f64::from(RELOADS)
    });
    end(agent);
}

/// Tells the threads to end, also when the test fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
