//! The same things done against an agent with pushdown and against one without: whatever the kernel keeps to itself,
//! the alerts must be the same.

use std::collections::BTreeMap;

use anyhow::{Result, bail};

use crate::agent::Line;
use crate::console;

/// What the agent's own alert is called when a rule matched an event that pushdown would have rejected.
pub(crate) const DISAGREEMENT: &str = "Rampart internal: pushdown disagreement";

/// Lines of an agent's configuration that switch pushdown on or off. When it is on, every fourth event that it rejects
/// is tried on the rules all the same.
pub(crate) fn setting(on: bool) -> &'static str {
    if on { "pushdown: {enabled: true, shadow_every: 4}\n" } else { "pushdown: {enabled: false}\n" }
}

/// Fails when a line is that alert.
pub(crate) fn hear_disagreement(line: &Line) -> Result<()> {
    if line.text.contains(DISAGREEMENT) {
        bail!("pushdown is wrong: {}", line.text);
    }
    Ok(())
}

/// What was alerted in one run: the alerts of each case, in words that do not differ between two runs.
pub(crate) type Heard = BTreeMap<String, Vec<String>>;

/// Two runs beside each other.
#[derive(Debug, Default)]
pub(crate) struct Comparison {
    cases: usize,
    /// Each case that differs, and how.
    differences: Vec<(String, String)>,
}

impl Comparison {
    /// Compares case by case; the order of a case's alerts does not count.
    pub(crate) fn new(on: &Heard, off: &Heard) -> Self {
        let mut comparison = Self::default();
        let mut names: Vec<&String> = on.keys().chain(off.keys()).collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            comparison.cases += 1;
            let difference = match (on.get(name), off.get(name)) {
                (Some(on), Some(off)) => difference(on, off),
                (Some(_), None) => vec!["only played with pushdown on".to_owned()],
                (None, _) => vec!["only played with pushdown off".to_owned()],
            };
            if !difference.is_empty() {
                comparison.differences.push((name.clone(), difference.join("\n")));
            }
        }
        comparison
    }

    /// Cases that are the same.
    pub(crate) fn same(&self) -> usize {
        self.cases - self.differences.len()
    }

    /// Cases that differ, each with what differs.
    pub(crate) fn differences(&self) -> &[(String, String)] {
        &self.differences
    }

    /// Prints the result; says whether nothing differs.
    pub(crate) fn report(&self, cases: &str) -> bool {
        for (name, difference) in &self.differences {
            console::say(format!("DIFFERS: {name}"));
            for line in difference.lines() {
                console::say(format!("    {line}"));
            }
        }
        if self.differences.is_empty() {
            console::say(format!("{} {cases}, same alerts with pushdown on and off", self.cases));
        } else {
            console::say(format!("{} of {} {cases} differ", self.differences.len(), self.cases));
        }
        self.differences.is_empty()
    }
}

/// Alerts that only one side has, or has more often.
fn difference(on: &[String], off: &[String]) -> Vec<String> {
    let count = |alerts: &[String], alert: &String| alerts.iter().filter(|other| *other == alert).count();
    let mut alerts: Vec<&String> = on.iter().chain(off).collect();
    alerts.sort_unstable();
    alerts.dedup();
    let line = |alert: &String| match (count(on, alert), count(off, alert)) {
        (on, off) if on == off => None,
        (on, off) => Some(format!("{on} times with pushdown, {off} times without: {alert}")),
    };
    alerts.into_iter().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(cases: &[(&str, &[&str])]) -> Heard {
        let alerts = |alerts: &[&str]| alerts.iter().map(|alert| (*alert).to_owned()).collect();
        cases.iter().map(|(case, list)| ((*case).to_owned(), alerts(list))).collect()
    }

    #[test]
    fn order_does_not_count_and_number_does() {
        let on = heard(&[("1", &["a", "b", "a"]), ("2", &[])]);
        assert_eq!(Comparison::new(&on, &heard(&[("1", &["b", "a", "a"]), ("2", &[])])).same(), 2);
        let other = Comparison::new(&on, &heard(&[("1", &["b", "a", "c"]), ("2", &[])]));
        assert_eq!((other.same(), other.differences().len()), (1, 1));
        let (name, text) = &other.differences()[0];
        assert_eq!(name, "1");
        assert_eq!(
            text,
            "2 times with pushdown, 1 times without: a\n0 times with pushdown, 1 times without: c"
        );
        assert!(!other.report("cases"));
    }

    #[test]
    fn a_case_of_one_run_only_differs() {
        let both = Comparison::new(&heard(&[("1", &[])]), &heard(&[("2", &[])]));
        assert_eq!((both.same(), both.differences().len()), (0, 2));
    }
}
