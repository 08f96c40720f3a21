//! What happened between two looks at the agent. Pure.

use std::{cmp::Reverse, collections::HashMap};

use clap::ValueEnum;
use serde::Serialize;

use crate::admin::top::{Top, TopFamily, TopRule};

/// What comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Order {
    /// Rules that take most time
    Time,
    /// Rules that are tried most often
    Candidates,
    /// Rules that match most often
    Matches,
    /// By name
    Name,
}

/// One report. All numbers are about its span of time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Report {
    pub(super) version: String,
    pub(super) hostname: String,
    pub(super) pid: u32,
    pub(super) uptime_seconds: f64,
    /// Whether the span began with the agent, and not with the last report.
    pub(super) since_start: bool,
    pub(super) span_seconds: f64,
    pub(super) sample_every: u32,
    pub(super) digest: String,
    pub(super) families: Vec<FamilyLine>,
    pub(super) rules: Vec<RuleLine>,
}

/// A family of events.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct FamilyLine {
    pub(super) family: String,
    pub(super) seen: u64,
    pub(super) rejected: u64,
    /// 0 to 1, of those seen.
    pub(super) rejected_share: f64,
    pub(super) sent: u64,
    pub(super) lost: u64,
    pub(super) ns: u64,
    /// Of one core.
    pub(super) cpu_percent: f64,
    pub(super) budget_percent: Option<f64>,
    pub(super) used_percent: Option<f64>,
    /// Rules left out on its events.
    pub(super) shed: usize,
    pub(super) stuck: bool,
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct RuleLine {
    pub(super) rule: String,
    pub(super) priority: String,
    pub(super) candidates: u64,
    pub(super) matches: u64,
    /// Trials whose time was taken; without any, nothing is known of its time.
    pub(super) samples: u64,
    pub(super) ns: u64,
    /// Of one trial.
    pub(super) ns_each: f64,
    /// Of one core.
    pub(super) cpu_percent: f64,
    /// 0 to 1, of the time of all rules.
    pub(super) share: f64,
    /// Families on whose events it is left out.
    pub(super) shed: Vec<String>,
}

impl Order {
    pub(super) fn of_key(key: u8) -> Option<Self> {
        match key {
            b't' => Some(Self::Time),
            b'c' => Some(Self::Candidates),
            b'm' => Some(Self::Matches),
            b'n' => Some(Self::Name),
            _ => None,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Time => "time",
            Self::Candidates => "candidates",
            Self::Matches => "matches",
            Self::Name => "name",
        }
    }
}

impl Report {
    /// What happened since `before`, or since the start of the agent when it is another one or there is none. `None`
    /// when the agent has nothing new to tell.
    pub(super) fn between(before: Option<&Top>, now: &Top) -> Option<Self> {
        let before = before.filter(|before| before.pid == now.pid && before.at_seconds <= now.at_seconds);
        let span_seconds = now.at_seconds - before.map_or(0.0, |before| before.at_seconds);
        if before.is_some() && span_seconds <= 0.0 {
            return None;
        }
        let rules: HashMap<&str, &TopRule> =
            before.iter().flat_map(|top| &top.rules).map(|rule| (rule.rule.as_str(), rule)).collect();
        let families: HashMap<&str, &TopFamily> =
            before.iter().flat_map(|top| &top.families).map(|one| (one.family.as_str(), one)).collect();
        let cpu_percent = |ns: u64| float(ns) / 1e7 / span_seconds.max(f64::MIN_POSITIVE);
        let mut report = Self {
            version: now.version.clone(),
            hostname: now.hostname.clone(),
            pid: now.pid,
            uptime_seconds: now.at_seconds,
            since_start: before.is_none(),
            span_seconds,
            sample_every: now.sample_every,
            digest: now.digest.clone(),
            families: Vec::new(),
            rules: Vec::new(),
        };
        for now in &now.rules {
            let old = rules.get(now.rule.as_str());
            let since = |of: fn(&TopRule) -> u64| grown(old.map(|old| of(old)), of(now));
            let (candidates, ns) = (since(|rule| rule.candidates), since(|rule| rule.ns));
            report.rules.push(RuleLine {
                rule: now.rule.clone(),
                priority: now.priority.clone(),
                candidates,
                matches: since(|rule| rule.matches),
                samples: since(|rule| rule.samples),
                ns,
                ns_each: ratio(ns, candidates),
                cpu_percent: cpu_percent(ns),
                share: 0.0,
                shed: now.shed.clone(),
            });
        }
        let all_ns: u64 = report.rules.iter().map(|rule| rule.ns).sum();
        for rule in &mut report.rules {
            rule.share = ratio(rule.ns, all_ns);
        }
        for now in &now.families {
            let old = families.get(now.family.as_str());
            let since = |of: fn(&TopFamily) -> u64| grown(old.map(|old| of(old)), of(now));
            let (seen, rejected, ns) =
                (since(|one| one.seen), since(|one| one.rejected), since(|one| one.ns));
            report.families.push(FamilyLine {
                family: now.family.clone(),
                seen,
                rejected,
                rejected_share: ratio(rejected, seen),
                sent: since(|one| one.sent),
                lost: since(|one| one.lost),
                ns,
                cpu_percent: cpu_percent(ns),
                budget_percent: now.budget_percent,
                used_percent: now.used_percent,
                shed: report.rules.iter().filter(|rule| rule.shed.contains(&now.family)).count(),
                stuck: now.stuck,
            });
        }
        Some(report)
    }

    /// Brings the rules in order; of equal ones the name decides.
    pub(super) fn sort(&mut self, order: Order) {
        self.rules.sort_by(|one, other| {
            let key = |rule: &RuleLine| match order {
                Order::Time => (rule.ns, rule.candidates),
                Order::Candidates => (rule.candidates, rule.ns),
                Order::Matches => (rule.matches, rule.candidates),
                Order::Name => (0, 0),
            };
            let name = |rule: &RuleLine| rule.rule.to_lowercase();
            (Reverse(key(one)), name(one)).cmp(&(Reverse(key(other)), name(other)))
        });
    }
}

/// Growth of a counter; one that is smaller than before has started anew.
fn grown(before: Option<u64>, now: u64) -> u64 {
    match before {
        Some(before) if before <= now => now - before,
        _ => now,
    }
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { float(part) / float(whole) }
}

#[expect(clippy::cast_precision_loss, reason = "it is shown to a few digits")]
fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
pub(super) mod tests {
    use super::{Order, Report, Top, TopFamily, TopRule};

    pub(in crate::cli::top) fn top(at_seconds: f64, factor: u64) -> Top {
        let rule = |name: &str, priority: &str, candidates, matches, ns, shed: &[&str]| TopRule {
            rule: name.to_owned(),
            priority: priority.to_owned(),
            candidates: candidates * factor,
            matches: matches * factor,
            samples: candidates / 50 * factor,
            ns: ns * factor,
            shed: shed.iter().map(|&one| one.to_owned()).collect(),
        };
        let family = |family: &str, seen, rejected| TopFamily {
            family: family.to_owned(),
            seen: seen * factor,
            rejected: rejected * factor,
            sent: (seen - rejected) * factor,
            ns: 4_000_000 * factor,
            ..TopFamily::default()
        };
        Top {
            version: "0.1.0".to_owned(),
            hostname: "n".to_owned(),
            pid: 7,
            at_seconds,
            sample_every: 64,
            digest: "d".to_owned(),
            rules: vec![
                rule("Cheap", "Warning", 1000, 0, 1_000_000, &[]),
                rule("Dear\u{1b}[31m", "Debug", 100, 10, 3_000_000, &[]),
                rule("Gone", "Debug", 0, 0, 0, &["open"]),
                rule("Idle", "Notice", 0, 0, 0, &[]),
            ],
            families: vec![
                TopFamily {
                    budget_percent: Some(5.0),
                    used_percent: Some(2.5),
                    ..family("open", 200_000, 199_000)
                },
                family("net", 0, 0),
            ],
        }
    }

    #[test]
    fn differences_are_those_of_the_span() {
        let (one, two) = (top(10.0, 1), top(12.0, 3));
        let first = Report::between(None, &one).unwrap();
        assert!(first.since_start && first.rules[0].candidates == 1000);
        let mut report = Report::between(Some(&one), &two).unwrap();
        assert!(!report.since_start);
        report.sort(Order::Time);
        assert_eq!(
            (report.rules[0].candidates, report.rules[0].matches, report.rules[0].ns),
            (200, 20, 6_000_000)
        );
        assert!((report.rules[0].share - 0.75).abs() < 1e-9);
        assert!((report.rules[0].ns_each - 30_000.0).abs() < 1e-9);
        assert!((report.rules[0].cpu_percent - 0.3).abs() < 1e-9, "6 ms of 2 s");
        let open = &report.families[0];
        assert_eq!((open.seen, open.rejected, open.sent, open.shed), (400_000, 398_000, 2000, 1));
        assert!((open.rejected_share - 0.995).abs() < 1e-9);
        assert!(report.families[1].rejected_share.abs() < 1e-9, "nothing of nothing");
        report.sort(Order::Candidates);
        assert_eq!(report.rules[0].rule, "Cheap");
        report.sort(Order::Name);
        let names: Vec<&str> = report.rules.iter().map(|rule| &rule.rule[..4]).collect();
        assert_eq!(names, ["Chea", "Dear", "Gone", "Idle"]);
    }

    #[test]
    fn another_agent_or_other_rules_begin_anew() {
        let one = top(10.0, 5);
        assert_eq!(Report::between(Some(&one), &one), None, "the agent has nothing new to tell");
        let restarted = Top { pid: 8, ..top(3.0, 1) };
        let report = Report::between(Some(&one), &restarted).unwrap();
        assert!(report.since_start && report.rules[0].candidates == 1000);
        let mut fewer = top(11.0, 5);
        fewer.rules[0].candidates = 7;
        let report = Report::between(Some(&one), &fewer).unwrap();
        assert_eq!(report.rules[0].candidates, 7, "a rule that was gone in between");
    }
}
