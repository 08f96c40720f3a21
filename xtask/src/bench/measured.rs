//! A measured number: its median with the extremes, what it is compared with, and how it is shown.

use serde_json::{Value, json};

use crate::console;

/// Header of the table of results, on the terminal and in a document.
pub(super) const HEADER: [&str; 9] =
    ["id", "median", "unit", "min … max", "pushdown off", "bare hook", "no agent", "goal", ""];

/// Repeated measurements of one thing in one variant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Summary {
    pub(super) median: f64,
    pub(super) min: f64,
    pub(super) max: f64,
}

/// What a value is compared with.
#[derive(Clone, Copy, Debug)]
pub(super) enum Goal {
    AtMost(f64),
    AtLeast(f64),
}

/// One number with its baselines and goal.
#[derive(Clone, Debug)]
pub(super) struct Measured {
    id: String,
    unit: &'static str,
    value: Summary,
    /// The same from an agent that filters nothing in the kernel, where that was measured.
    unpushed: Option<Summary>,
    /// The same from a program that does nothing at the end of every system call, where that was measured.
    bare: Option<Summary>,
    /// The same without the agent, where that means anything.
    baseline: Option<Summary>,
    goal: Option<Goal>,
}

/// Everything one bench has to say.
#[derive(Debug)]
pub(super) struct Report {
    /// Its name on the command line.
    pub(super) bench: &'static str,
    pub(super) results: Vec<Measured>,
    /// What the numbers are about, in sentences.
    pub(super) notes: Vec<String>,
    /// Whether everything that must hold does. A missed goal is shown, not a failure.
    pub(super) holds: bool,
}

impl Summary {
    /// Summarises measurements; nothing measured is shown as zero.
    pub(super) fn of(values: &[f64]) -> Self {
        let (min, max) = spread(values).unwrap_or_default();
        Self { median: median(values), min, max }
    }

    /// Something that was measured once.
    pub(super) fn one(value: f64) -> Self {
        Self { median: value, min: value, max: value }
    }

    /// The same in another unit.
    pub(super) fn scaled(self, by: f64) -> Self {
        Self { median: self.median * by, min: self.min * by, max: self.max * by }
    }

    /// The extremes, if they say more than the median.
    fn extremes(self) -> Option<String> {
        (self.min < self.max).then(|| format!("{} … {}", number(self.min), number(self.max)))
    }

    fn text(self) -> String {
        match self.extremes() {
            Some(extremes) => format!("{} ({extremes})", number(self.median)),
            None => number(self.median),
        }
    }
}

impl Goal {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::AtMost(limit) => value <= limit,
            Self::AtLeast(limit) => value >= limit,
        }
    }

    fn limit(self) -> f64 {
        let (Self::AtMost(limit) | Self::AtLeast(limit)) = self;
        limit
    }

    fn text(self) -> String {
        match self {
            Self::AtMost(limit) => format!("≤ {limit}"),
            Self::AtLeast(limit) => format!("≥ {limit}"),
        }
    }
}

impl Measured {
    pub(super) fn new(id: impl Into<String>, unit: &'static str, value: Summary) -> Self {
        Self { id: id.into(), unit, value, unpushed: None, bare: None, baseline: None, goal: None }
    }

    /// Something that was measured once.
    pub(super) fn once(id: impl Into<String>, unit: &'static str, value: f64) -> Self {
        Self::new(id, unit, Summary::one(value))
    }

    pub(super) fn unpushed(self, unpushed: Option<Summary>) -> Self {
        Self { unpushed, ..self }
    }

    pub(super) fn bare(self, bare: Option<Summary>) -> Self {
        Self { bare, ..self }
    }

    pub(super) fn baseline(self, baseline: Summary) -> Self {
        Self { baseline: Some(baseline), ..self }
    }

    pub(super) fn goal(self, goal: Goal) -> Self {
        Self { goal: Some(goal), ..self }
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// Whether the goal is reached, if there is one.
    pub(super) fn ok(&self) -> Option<bool> {
        self.goal.map(|goal| goal.holds(self.value.median))
    }

    fn json(&self) -> Value {
        let Self { id, unit, value, unpushed, bare, baseline, goal } = self;
        let several = value.min < value.max;
        json!({
            "id": id,
            "value": rounded(value.median),
            "unit": unit,
            "min": several.then(|| rounded(value.min)),
            "max": several.then(|| rounded(value.max)),
            "pushdown_off": unpushed.map(|one| rounded(one.median)),
            "pushdown_off_min": unpushed.map(|one| rounded(one.min)),
            "pushdown_off_max": unpushed.map(|one| rounded(one.max)),
            "bare_hook": bare.map(|one| rounded(one.median)),
            "baseline": baseline.map(|one| rounded(one.median)),
            "goal": goal.map(Goal::limit),
            "ok": self.ok(),
        })
    }

    /// The cells under [`HEADER`].
    pub(super) fn row(&self) -> Vec<String> {
        let optional = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        let verdict = self.ok().map(|ok| if ok { "ok" } else { "missed" }.to_owned());
        vec![
            self.id.clone(),
            number(self.value.median),
            self.unit.to_owned(),
            optional(self.value.extremes()),
            optional(self.unpushed.map(Summary::text)),
            optional(self.bare.map(Summary::text)),
            optional(self.baseline.map(Summary::text)),
            optional(self.goal.map(Goal::text)),
            optional(verdict),
        ]
    }
}

impl Report {
    pub(super) fn new(bench: &'static str, results: Vec<Measured>) -> Self {
        Self { bench, results, notes: Vec::new(), holds: true }
    }

    /// A bench that cannot run here, and why.
    pub(super) fn skipped(bench: &'static str, reason: &str) -> Self {
        Self { bench, results: Vec::new(), notes: vec![format!("SKIP: {bench}: {reason}")], holds: true }
    }

    pub(super) fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// Prints all numbers in the wanted form; columns that no number has are left out.
    pub(super) fn print(&self, json: bool) {
        if json {
            for result in &self.results {
                console::say(result.json().to_string());
            }
        } else if !self.results.is_empty() {
            let (header, rows) = self.table();
            console::table(&header, &rows);
        }
        for note in &self.notes {
            super::progress(json, &format!("  {note}"));
        }
    }

    /// Header and rows, without the columns that are empty for every number.
    pub(super) fn table(&self) -> (Vec<&'static str>, Vec<Vec<String>>) {
        let rows: Vec<Vec<String>> = self.results.iter().map(Measured::row).collect();
        let used: Vec<bool> = (0..HEADER.len())
            .map(|at| rows.iter().any(|row| row.get(at).is_some_and(|cell| cell != "-")))
            .collect();
        let keep = |at: usize| used.get(at).copied().unwrap_or(false);
        let header =
            HEADER.into_iter().enumerate().filter(|(at, _)| keep(*at)).map(|(_, name)| name).collect();
        let rows = rows
            .into_iter()
            .map(|row| {
                row.into_iter().enumerate().filter(|(at, _)| keep(*at)).map(|(_, cell)| cell).collect()
            })
            .collect();
        (header, rows)
    }
}

/// Three decimals of a small number, none of a large one: more than any of them deserves.
fn number(value: f64) -> String {
    let value = if value.abs() >= 1000.0 { value.round() } else { rounded(value) };
    value.to_string()
}

fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// Middle of the values; the mean of the middle two when their number is even, 0 when there are none.
pub(super) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |index: usize| sorted.get(index).copied().unwrap_or(0.0);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { at(middle) } else { f64::midpoint(at(middle.saturating_sub(1)), at(middle)) }
}

/// The value that `permille` of all are not above; 0 when there are none.
pub(super) fn percentile(values: &[f64], permille: usize) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (sorted.len() * permille).div_ceil(1000).max(1);
    sorted.get(rank - 1).copied().unwrap_or(0.0)
}

/// Smallest and largest value.
fn spread(values: &[f64]) -> Option<(f64, f64)> {
    let min = values.iter().copied().min_by(f64::total_cmp)?;
    let max = values.iter().copied().max_by(f64::total_cmp)?;
    Some((min, max))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_not_moved_by_one_outlier() {
        assert!((median(&[3.0, 1.0, 1000.0]) - 3.0).abs() < f64::EPSILON);
        assert!((median(&[1.0, 2.0, 3.0, 1000.0]) - 2.5).abs() < f64::EPSILON);
        assert_eq!(spread(&[3.0, 1.0, 2.0]), Some((1.0, 3.0)));
        assert_eq!(spread(&[]), None);
    }

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let values: Vec<f64> = (1..=1000).rev().map(f64::from).collect();
        let text = |values: &[f64], at| number(percentile(values, at));
        assert_eq!([500, 990, 999, 1000].map(|at| text(&values, at)), ["500", "990", "999", "1000"]);
        assert_eq!((text(&[7.0], 999).as_str(), text(&[], 500).as_str()), ("7", "0"));
    }

    #[test]
    fn a_result_says_whether_it_reaches_its_goal() {
        let result = Measured::new("a.b", "ns", Summary::of(&[20.0, 24.5, 30.0]))
            .baseline(Summary::one(60.0))
            .goal(Goal::AtMost(25.0));
        let value = result.json();
        assert_eq!((&value["id"], &value["goal"], &value["ok"]), (&json!("a.b"), &json!(25.0), &json!(true)));
        assert_eq!((&value["min"], &value["max"]), (&json!(20.0), &json!(30.0)));
        assert_eq!(value["pushdown_off"], Value::Null);
        let once = Measured::once("a.b", "ns", 24.5);
        assert_eq!(once.json()["min"], Value::Null, "one measurement has no extremes");
        assert_eq!((once.ok(), once.goal(Goal::AtLeast(25.0)).ok()), (None, Some(false)));
    }

    #[test]
    fn columns_nobody_fills_are_left_out() {
        let plain = Measured::once("a", "ns", 1234.56);
        let (header, rows) = Report::new("x", vec![plain.clone()]).table();
        assert_eq!(
            (header, rows),
            (vec!["id", "median", "unit"], vec![vec!["a".to_owned(), "1235".to_owned(), "ns".to_owned()]])
        );
        let judged = plain.clone().unpushed(Some(Summary::of(&[1.0, 2.0, 3.5]))).goal(Goal::AtMost(1.0));
        let (header, rows) = Report::new("x", vec![plain, judged]).table();
        assert_eq!(header, ["id", "median", "unit", "pushdown off", "goal", ""]);
        assert_eq!(rows[0][3..], ["-", "-", "-"]);
        assert_eq!(rows[1][3..], ["2 (1 … 3.5)", "≤ 1", "missed"]);
    }
}
