//! What each kernel must do and what it must refuse, and whether it did: a refusal is tested as much as a success.

use std::collections::BTreeMap;

use super::Target;
use super::archive::Kernel;
use super::guest::Guest;
use super::machine::Said;
use super::report::{Hook, Leg};

/// From here on (README), by the sets of `rampart-hooks`.
const EVENTS: (u32, u32) = (5, 10);
const SINCE: [(&str, (u32, u32)); 5] = [
    ("events", EVENTS),
    ("events, untyped", EVENTS),
    ("limits", (5, 12)),
    ("services", (6, 1)),
    ("deny", (5, 12)),
];
/// What an agent says whose programs are refused.
const REFUSAL: &str = "the kernel refused the program `";
/// Kernels that take tc programs by a link.
const TCX: (u32, u32) = (6, 6);

/// Reads what was said and compares it with what must be.
pub(super) fn judge(target: &Target, kernel: &Kernel, guest: &Guest, said: &Said) -> Leg {
    let is_locked = target.is_locked;
    let mut leg = Leg::new(target.arch, target.name(), kernel.package.clone());
    let mut ends: BTreeMap<String, String> = BTreeMap::new();
    let mut alerts: Vec<usize> = vec![0; guest.alerts.len()];
    let mut agent_log = String::new();
    for line in said.text.lines() {
        if let Some(release) = line.strip_prefix("VM-START ") {
            release.clone_into(&mut leg.release);
        }
        let cells: Vec<&str> = line.split('\t').collect();
        match cells.as_slice() {
            ["HOOK", set, program, state, attached, verified, kept] => leg.hooks.push(Hook {
                set: (*set).to_owned(),
                program: (*program).to_owned(),
                loads: *state == "loads",
                attached: (*attached).to_owned(),
                verified: verified.parse().ok(),
                kept: kept.parse().unwrap_or_default(),
            }),
            ["WHY", set, why] => leg.reasons.push(format!("{set}: {why}")),
            ["BROKEN", what] => leg.complaints.push((*what).to_owned()),
            ["END", what, code] => drop(ends.insert((*what).to_owned(), (*code).to_owned())),
            ["ALERT", alert] => {
                for (rule, count) in guest.alerts.iter().zip(&mut alerts) {
                    *count += usize::from(alert.contains(&format!("\"rule\":\"{rule}\"")));
                }
            }
            ["AGENT-LOG", log] => {
                agent_log.push_str(log);
                agent_log.push('\n');
            }
            _ => tests(line, &mut leg),
        }
    }
    leg.passed = leg.passed.saturating_sub(leg.skips.len());
    if leg.release.is_empty() {
        leg.complaints.push(format!("did not reach its first process:\n    {}", said.console));
        return leg;
    }
    if said.was_killed {
        leg.complaints.push("did not end within its time".to_owned());
    } else if !said.text.contains("\nVM-END ") {
        leg.complaints.push(format!("died:\n    {}", said.console));
    }
    let version = version(&leg.release);
    if !is_locked {
        hooks(version, &mut leg);
    }
    let detects = version >= EVENTS && !is_locked;
    let mut want = |what: &str, codes: &[&str]| {
        let code = ends.get(what).map_or("none", String::as_str);
        if !codes.contains(&code) {
            leg.complaints.push(format!("`{what}` ended with {code}, not {}", codes.join(" or ")));
        }
    };
    want("hooks", &["0"]);
    if detects {
        for test in &guest.tests {
            want(test, &["0"]);
        }
    }
    if guest.has_agent {
        // Under lockdown it must refuse, and say why.
        want("doctor", if is_locked { &["1"] } else { &["0"] });
        want("agent", if detects { &["0"] } else { &["2"] });
        if is_locked && !agent_log.contains("lockdown") {
            leg.complaints.push(format!("the agent does not name the lockdown: {}", agent_log.trim()));
        }
        if !detects && !is_locked && !agent_log.contains(REFUSAL) {
            leg.complaints.push(format!("the agent does not name the program: {}", agent_log.trim()));
        }
        for (rule, count) in guest.alerts.iter().zip(&alerts) {
            if detects && *count != 1 {
                let log = agent_log.trim();
                leg.complaints
                    .push(format!("{count} alerts of `{rule}` instead of one; the agent's log: {log}"));
            }
        }
        let done = match (is_locked, detects) {
            (true, _) => "refuses to start, naming the lockdown",
            (false, true) => "detects",
            (false, false) => "refuses to start, naming the program",
        };
        done.clone_into(&mut leg.agent);
    }
    leg
}

/// Whether the agent must detect on the kernel of a package.
pub(super) fn detects(package: &str) -> bool {
    version(package.trim_start_matches(|character: char| !character.is_ascii_digit())) >= EVENTS
}

/// A line of a test program.
fn tests(line: &str, leg: &mut Leg) {
    if let Some(rest) = line.strip_prefix("test result: ") {
        let number = |word: &str| {
            let before = rest.split(word).next().unwrap_or_default();
            before.split_whitespace().next_back().and_then(|text| text.parse::<usize>().ok()).unwrap_or(0)
        };
        leg.passed += number(" passed");
        leg.failed += number(" failed");
    } else if let Some(name) = line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED")) {
        leg.complaints.push(format!("test failed: {name}"));
    } else if let Some(skip) = line.strip_prefix("SKIP: ") {
        // The test's program, which knows nothing of skipping, counts it among those that passed, and says so later.
        leg.skips.push(skip.to_owned());
    }
}

/// Which sets of programs load, and by what they are attached.
fn hooks(version: (u32, u32), leg: &mut Leg) {
    for (set, since) in SINCE {
        let of: Vec<&Hook> = leg.hooks.iter().filter(|hook| hook.set == set).collect();
        let refused: Vec<&str> =
            of.iter().filter(|hook| !hook.loads).map(|hook| hook.program.as_str()).collect();
        let loose: Vec<&str> =
            of.iter().filter(|hook| hook.attached == "no").map(|hook| hook.program.as_str()).collect();
        let must = version >= since;
        if must && (of.is_empty() || !refused.is_empty()) {
            leg.complaints.push(format!("{set}: refused: {}", refused.join(", ")));
        } else if must && !loose.is_empty() {
            leg.complaints.push(format!("{set}: not attached: {}", loose.join(", ")));
        } else if !must && refused.is_empty() {
            leg.complaints.push(format!("{set}: loads, though it needs {}.{}", since.0, since.1));
        }
        if !must && !leg.reasons.iter().any(|reason| reason.starts_with(set)) {
            leg.complaints.push(format!("{set}: refused without a reason"));
        }
    }
    for hook in leg.hooks.iter().filter(|hook| hook.set == "limits" && hook.program.ends_with("gress")) {
        let (tcx, clsact) = (hook.attached.contains("tcx"), hook.attached.contains("clsact"));
        if tcx != (version >= TCX) || !clsact {
            leg.complaints.push(format!("{}: attached by `{}`", hook.program, hook.attached));
        }
    }
}

/// The first two numbers of a release.
fn version(release: &str) -> (u32, u32) {
    let mut numbers =
        release.split(|character: char| !character.is_ascii_digit()).map(|word| word.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::Arch;
    use crate::vm::target;

    fn said(text: &str) -> Said {
        Said { text: text.to_owned(), console: "panic".to_owned(), was_killed: false }
    }

    fn judged(text: &str) -> Leg {
        let kernel = Kernel { package: "p".to_owned(), image: "/i".into(), modules: BTreeMap::new() };
        let guest =
            Guest { files: Vec::new(), tests: vec!["kernel"], has_agent: true, alerts: vec!["Secret read"] };
        judge(&target("6.1", Arch::OWN).unwrap(), &kernel, &guest, &said(text))
    }

    #[test]
    fn what_must_work_and_does_not_is_a_complaint() {
        let mut text = "VM-START 6.18.0-56-cloud-amd64\n".to_owned();
        for set in ["events", "events, untyped", "services", "deny"] {
            text.extend(["HOOK\t", set, "\tone\tloads\ttp_btf\t12\t10\n"]);
        }
        text.push_str("HOOK\tlimits\tlimit_ingress\tloads\ttcx, clsact\t12\t10\n");
        text.push_str(
            "END\thooks\t0\ntest a ... ok\nSKIP: a: no b\ntest result: ok. 3 passed; 0 failed; 0 ignored\n",
        );
        text.push_str("END\tkernel\t0\nEND\tdoctor\t0\nEND\tagent\t0\nALERT\t{\"rule\":\"Secret read\"}\n");
        let good = judged(&format!("{text}VM-END 9\n"));
        assert_eq!(good.complaints, Vec::<String>::new());
        assert_eq!((good.passed, good.skips.len()), (2, 1));
        assert_eq!((good.hooks.len(), good.hooks[0].verified), (5, Some(12)));
        assert!(judged(&text).complaints[0].starts_with("died"), "no end");
        let tcx = judged(&format!("{}VM-END 9\n", text.replace("tcx, clsact", "clsact")));
        assert_eq!(tcx.complaints, ["limit_ingress: attached by `clsact`"]);
        let mute = judged(&format!("{}VM-END 9\n", text.replace("ALERT", "")));
        assert!(mute.complaints[0].starts_with("0 alerts of `Secret read`"), "{:?}", mute.complaints);
        let old = judged(&format!("{}VM-END 9\n", text.replace("6.18.0", "5.4.0")));
        assert!(
            old.complaints.iter().any(|complaint| complaint.contains("needs 5.10")),
            "{:?}",
            old.complaints
        );
        assert!(judged("").complaints[0].contains("panic"));
    }

    #[test]
    fn an_agent_that_cannot_start_must_say_why() {
        assert!(
            detects("linux-image-6.12.117+deb13-cloud-amd64 6.12.117-1")
                && detects("linux-image-7.3.4+deb13 7")
        );
        assert!(detects("linux-image-5.10.0-46-cloud-amd64 5.10.262-1"));
        assert!(!detects("linux-image-4.19.0-27-cloud-amd64 4.19.316-1"));
        let end = "END\thooks\t0\nEND\tdoctor\t0\nEND\tagent\t2\nVM-END 9\n";
        let about = |log: &str| {
            let leg = judged(&format!("VM-START 4.19.0-27\nAGENT-LOG\t{log}\n{end}"));
            leg.complaints.iter().any(|complaint| complaint.contains("does not name the program"))
        };
        assert!(about("error: no") && !about("error: the kernel refused the program `family_open`"));
    }
}
