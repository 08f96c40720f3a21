//! What came out, by rule, and how it is told.

use std::collections::BTreeMap;

use super::case::Case;
use crate::compare::Heard;
use crate::console;

/// Passed and run cases of a rule.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    passed: usize,
    total: usize,
}

/// What became of all cases.
#[derive(Debug, Default)]
pub(crate) struct Score {
    rules: BTreeMap<String, Count>,
    failures: Vec<(String, String)>,
    /// Failed at first and passed alone, with what was said of them.
    unsteady: Vec<(String, String)>,
    /// Number of skipped cases by reason.
    skips: BTreeMap<String, usize>,
    heard: Heard,
}

impl Score {
    pub(super) fn pass(&mut self, case: &Case) {
        let count = self.count(case);
        count.passed += 1;
        count.total += 1;
    }

    pub(super) fn fail(&mut self, case: &Case, complaint: String) {
        self.count(case).total += 1;
        self.failures.push((case.title(), complaint));
    }

    pub(super) fn skip(&mut self, reason: &str) {
        *self.skips.entry(reason.to_owned()).or_default() += 1;
    }

    /// Notes all alerts of a case.
    pub(super) fn hear(&mut self, case: &Case, alerts: Vec<String>) {
        self.heard.insert(case.title(), alerts);
    }

    /// The alerts of each case that was played.
    pub(crate) fn heard(&self) -> &Heard {
        &self.heard
    }

    /// Cases judged so far, and failures among them.
    pub(super) fn so_far(&self) -> (usize, usize) {
        (self.rules.values().map(|count| count.total).sum(), self.failures.len())
    }

    /// Cases that passed.
    pub(crate) fn passed(&self) -> usize {
        self.rules.values().map(|count| count.passed).sum()
    }

    /// Cases that failed, each with its complaint.
    pub(crate) fn failures(&self) -> &[(String, String)] {
        &self.failures
    }

    /// Cases that failed at first and passed alone, each with its complaint.
    pub(crate) fn unsteady(&self) -> &[(String, String)] {
        &self.unsteady
    }

    /// Whether a case failed.
    pub(super) fn has_failed(&self, case: &Case) -> bool {
        let title = case.title();
        self.failures.iter().any(|(failed, _)| *failed == title)
    }

    /// Takes over what became of the failed cases when they were played again, alone: what passes then counts, and is named.
    pub(super) fn second(&mut self, again: Self) {
        let is_steady =
            |(title, _): &(String, String)| again.failures.iter().any(|(other, _)| other == title);
        let (failures, unsteady) = std::mem::take(&mut self.failures).into_iter().partition(is_steady);
        (self.failures, self.unsteady) = (failures, unsteady);
        for (rule, count) in again.rules {
            self.rules.entry(rule).or_default().passed += count.passed;
        }
        self.heard.extend(again.heard);
    }

    /// A line for each skipped case.
    pub(crate) fn skipped(&self) -> Vec<String> {
        let each = |(reason, number): (&String, &usize)| vec![format!("trigger case: {reason}"); *number];
        self.skips.iter().flat_map(each).collect()
    }

    /// Prints everything; says whether nothing failed.
    pub(super) fn report(&self) -> bool {
        for (title, complaint) in &self.failures {
            console::say(format!("FAILED: {title}"));
            for line in complaint.lines() {
                console::say(format!("    {line}"));
            }
        }
        for (rule, count) in &self.rules {
            console::say(format!("{rule}: {}/{}", count.passed, count.total));
        }
        for (reason, number) in &self.skips {
            console::say(format!("SKIP: {number} cases: {reason}"));
        }
        let skipped: usize = self.skips.values().sum();
        console::say(format!("{} passed, {} failed, {skipped} skipped", self.passed(), self.failures.len()));
        self.failures.is_empty()
    }

    fn count(&mut self, case: &Case) -> &mut Count {
        self.rules.entry(case.rule.clone()).or_default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_passes_alone_counts_and_is_named() {
        let case =
            |number| Case::new(number, &json!({"rule": "R", "test": "t", "expect": {"priority": "warning"}}));
        let (mut first, mut again) = (Score::default(), Score::default());
        first.pass(&case(0));
        for number in [1, 2] {
            first.fail(&case(number), format!("complaint {number}"));
            first.hear(&case(number), vec!["nothing".to_owned()]);
            assert!(first.has_failed(&case(number)));
        }
        again.fail(&case(1), "again".to_owned());
        again.pass(&case(2));
        again.hear(&case(2), vec!["something".to_owned()]);
        first.second(again);
        assert_eq!((first.passed(), first.so_far()), (2, (3, 1)));
        assert_eq!(first.failures(), [(case(1).title(), "complaint 1".to_owned())]);
        assert_eq!(first.unsteady(), [(case(2).title(), "complaint 2".to_owned())]);
        assert_eq!(first.heard()[&case(2).title()], ["something"]);
        assert!(!first.has_failed(&case(2)));
    }
}
