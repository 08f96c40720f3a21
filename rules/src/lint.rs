//! Lints: what loads, but is likely not meant so, or costs more than it needs to.
//!
//! A pass of its own over the typed conditions of a whole load, run only where nothing is broken and only for who
//! asks for it: `rampart check` does, the agent does not. A lint claims only what it can prove for every event,
//! missing values included; where a proof would cost too much it stays silent. Each is linear in the size of the
//! conditions, except for the search of shadowed rules, which has a budget.

mod absent;
mod constant;
mod costly;
mod domain;
mod event_types;
mod imply;
mod probe;
mod pushdown;
mod shadow;

pub use self::pushdown::changes_while_running;
use crate::{
    diagnostic::{Diagnostic, ItemRef, Severity},
    rule::{Matching, Rule},
};

/// Which lints to look for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Lints {
    /// None.
    None,
    /// Those that hardly ever are wrong.
    #[default]
    Default,
    /// Also notes: facts worth knowing about rules that are good as they are.
    All,
}

impl Lints {
    /// Whether findings of a severity are told.
    pub fn shows(self, severity: Severity) -> bool {
        match self {
            Self::None => false,
            Self::Default => severity < Severity::Note,
            Self::All => true,
        }
    }
}

/// Looks at all rules of a load, given in definition order.
pub(crate) fn check(rules: &[Rule], lints: Lints, matching: Matching, strict: bool) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let mut absent = absent::Lint::default();
    for rule in rules {
        let from = found.len();
        let fixed = constant::check(rule, strict, &mut found);
        absent.check(rule, fixed, &mut found);
        costly::check(rule, &mut found);
        pushdown::check(rule, &mut found);
        for finding in found.iter_mut().skip(from) {
            finding.item = Some(ItemRef { kind: "rule", name: rule.name.clone() });
        }
    }
    if matching == Matching::First {
        shadow::check(rules, strict, &mut found);
    }
    found.retain(|finding| lints.shows(finding.severity));
    found
}

#[cfg(test)]
mod tests;
