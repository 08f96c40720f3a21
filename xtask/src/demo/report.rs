//! The summary: which step was seen by which rule, with which facts.

use std::collections::BTreeSet;

use super::alert::Alert;
use super::step::{Expected, File, Pack, Step};
use crate::console;

/// One expected alert and what came of it.
pub(super) struct Seen {
    step: &'static str,
    expected: Expected,
    outcome: Outcome,
}

enum Outcome {
    Right(Alert),
    /// The rule fired, with other facts than the step's.
    Wrong(Alert),
    Missing,
}

impl Seen {
    pub(super) fn judge(step: &Step, expected: &Expected, alerts: &[Alert]) -> Self {
        let right = alerts.iter().find(|alert| expected.is(alert)).cloned().map(Outcome::Right);
        let wrong = || alerts.iter().find(|alert| alert.rule == expected.rule).cloned().map(Outcome::Wrong);
        Self {
            step: step.title,
            expected: expected.clone(),
            outcome: right.or_else(wrong).unwrap_or(Outcome::Missing),
        }
    }

    pub(super) fn is_missing(&self) -> bool {
        matches!(self.outcome, Outcome::Missing)
    }

    fn row(&self) -> Vec<String> {
        let (verdict, alert) = match &self.outcome {
            Outcome::Right(alert) => ("ok", Some(alert)),
            Outcome::Wrong(alert) => ("WRONG FACTS", Some(alert)),
            Outcome::Missing => ("MISSED", None),
        };
        let fact = |read: fn(&Alert) -> &Option<String>| {
            alert.and_then(|alert| read(alert).clone()).unwrap_or_else(|| "-".to_owned())
        };
        let latency = alert.and_then(|alert| alert.latency);
        vec![
            self.step.to_owned(),
            self.expected.rule.to_owned(),
            fact(|alert| &alert.proc_name),
            fact(|alert| &alert.proc_pname),
            shortened(&fact(|alert| &alert.fd_name)),
            latency.map_or_else(|| "-".to_owned(), |latency| format!("{:.1}", latency.as_secs_f64() * 1e3)),
            verdict.to_owned(),
        ]
    }

    fn wanted(&self) -> String {
        let file = match &self.expected.fd_name {
            File::None => "none".to_owned(),
            File::Is(name) => name.clone(),
            File::EndsWith(end) => format!("…{end}"),
        };
        let Expected { rule, proc_name, proc_pname, .. } = &self.expected;
        format!("{rule}: wanted proc.name={proc_name} proc.pname={proc_pname} fd.name={file}")
    }
}

/// Prints the table; says whether enough distinct rules fired with the right facts and none with wrong ones.
pub(super) fn summary(seen: &[Seen], needed: usize) -> bool {
    console::say("");
    let shown = |seen: &&Seen| seen.expected.pack != Pack::Upstream || !seen.is_missing();
    let rows: Vec<Vec<String>> = seen.iter().filter(shown).map(Seen::row).collect();
    console::table(&["step", "rule", "proc.name", "proc.pname", "fd.name", "ms", "verdict"], &rows);
    let right: BTreeSet<&str> = seen
        .iter()
        .filter(|seen| matches!(seen.outcome, Outcome::Right(_)))
        .map(|seen| seen.expected.rule)
        .collect();
    let wrong: Vec<&Seen> = seen.iter().filter(|seen| matches!(seen.outcome, Outcome::Wrong(_))).collect();
    let missed = seen.iter().filter(|seen| seen.is_missing() && seen.expected.pack != Pack::Upstream).count();
    console::say("");
    for seen in &wrong {
        console::say(seen.wanted());
    }
    console::say(format!(
        "{} distinct alerts with the right proc.name, proc.pname and fd.name ({needed} needed), {} with wrong facts, \
         {missed} missed",
        right.len(),
        wrong.len()
    ));
    right.len() >= needed && wrong.is_empty()
}

/// The end of a long path says more than its middle.
fn shortened(text: &str) -> String {
    const WIDTH: usize = 40;
    let count = text.chars().count();
    if count <= WIDTH {
        return text.to_owned();
    }
    let tail: String = text.chars().skip(count - WIDTH + 1).collect();
    format!("…{tail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alert(rule: &str, name: &str, file: Option<&str>) -> Alert {
        Alert {
            rule: rule.to_owned(),
            proc_name: Some(name.to_owned()),
            proc_pname: Some("sh".to_owned()),
            fd_name: file.map(ToOwned::to_owned),
            latency: None,
        }
    }

    fn judged(alerts: &[Alert]) -> Seen {
        let expected = Expected {
            rule: "R",
            pack: Pack::Base,
            proc_name: "cat".to_owned(),
            proc_pname: "sh".to_owned(),
            fd_name: File::EndsWith("->a:1".to_owned()),
        };
        let step = Step { title: "s", script: String::new(), expected: Vec::new() };
        Seen::judge(&step, &expected, alerts)
    }

    #[test]
    fn an_alert_counts_only_with_all_facts_right() {
        assert!(summary(&[judged(&[alert("R", "cat", Some("b:2->a:1"))])], 1));
        assert!(!summary(&[judged(&[alert("R", "cat", Some("b:2->a:2"))])], 0));
        assert!(!summary(&[judged(&[alert("R", "dog", Some("b:2->a:1"))])], 0));
        assert!(!summary(&[judged(&[alert("Q", "cat", Some("b:2->a:1"))])], 1));
    }

    #[test]
    fn the_right_alert_wins_over_another_of_the_same_rule() {
        let seen = judged(&[alert("R", "dog", None), alert("R", "cat", Some("b:2->a:1"))]);
        assert!(matches!(seen.outcome, Outcome::Right(_)));
    }
}
