//! Rules as expressions over distinct comparisons, for whoever decides comparisons one by one: the planner of
//! pushdown evaluates the same rules on events of which it knows only a part.
//!
//! Comparisons are those the compiled programs make: neighbours are merged, `strict` is honoured, and two rules that
//! compare the same share one [`ComparisonId`], negated or not.

use std::collections::HashMap;

use crate::{
    catalog::EventId,
    program::{self, Prepared},
    rule::RuleSet,
    typed::{Node, Test},
    value::{FieldSource, Truth},
};

/// A comparison of a [`Comparisons`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ComparisonId(pub u32);

/// The distinct comparisons of a rule set and what each rule makes of them.
#[derive(Debug)]
pub struct Comparisons {
    all: Vec<Comparison>,
    rules: Vec<Expression>,
}

#[derive(Debug)]
struct Comparison {
    test: Test,
    prepared: Prepared,
}

/// A condition over comparisons. `All` of nothing is true, `Any` of nothing is false.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Expression {
    /// Always the same.
    Const(bool),
    /// All must hold.
    All(Box<[Expression]>),
    /// One must hold.
    Any(Box<[Expression]>),
    /// A comparison.
    Test {
        /// Which.
        comparison: ComparisonId,
        /// Whether it must not hold.
        negated: bool,
    },
}

impl Comparisons {
    /// Takes the enabled rules of a set apart.
    pub fn new(rules: &RuleSet) -> Self {
        let mut builder = Builder { strict: rules.strict(), known: HashMap::new(), all: Vec::new() };
        let rules = rules.rules().iter().map(|rule| builder.expression(&rule.condition)).collect();
        Self { all: builder.all, rules }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Their ids.
    pub fn ids(&self) -> impl Iterator<Item = ComparisonId> + use<> {
        (0..self.all.len() as u32).map(ComparisonId)
    }

    /// What is compared with what. `negated` says nothing here; the expressions have it.
    pub fn test(&self, comparison: ComparisonId) -> Option<&Test> {
        Some(&self.all.get(comparison.0 as usize)?.test)
    }

    /// The condition of an enabled rule, by its position in [`RuleSet::rules`].
    pub fn rule(&self, position: usize) -> Option<&Expression> {
        self.rules.get(position)
    }

    /// Makes one comparison. `event` is the event type, when it is known; else the source is asked.
    pub fn evaluate<S: FieldSource>(
        &self,
        comparison: ComparisonId,
        event: Option<EventId>,
        source: &S,
    ) -> Truth {
        let found = self.all.get(comparison.0 as usize);
        found.map_or(Truth::Unknown, |found| found.prepared.holds(event, source))
    }
}

impl Expression {
    /// Its truth when `holds` says what each comparison gives.
    pub fn truth(&self, holds: &mut dyn FnMut(ComparisonId) -> Truth) -> Truth {
        match self {
            Self::Const(value) => (*value).into(),
            Self::All(parts) => {
                let mut result = Truth::True;
                for part in parts {
                    result = result.and(part.truth(holds));
                    if result == Truth::False {
                        break;
                    }
                }
                result
            }
            Self::Any(parts) => {
                let mut result = Truth::False;
                for part in parts {
                    result = result.or(part.truth(holds));
                    if result == Truth::True {
                        break;
                    }
                }
                result
            }
            Self::Test { comparison, negated } => {
                let truth = holds(*comparison);
                if *negated { !truth } else { truth }
            }
        }
    }

    /// What remains of it when `holds` decides some of the comparisons.
    #[must_use]
    pub fn reduced(&self, holds: &mut dyn FnMut(ComparisonId) -> Truth) -> Self {
        let (parts, all) = match self {
            Self::Const(value) => return Self::Const(*value),
            Self::Test { .. } => {
                return match self.truth(holds) {
                    Truth::False => Self::Const(false),
                    Truth::True => Self::Const(true),
                    Truth::Unknown => self.clone(),
                };
            }
            Self::All(parts) => (parts, true),
            Self::Any(parts) => (parts, false),
        };
        let mut kept: Vec<Self> = Vec::with_capacity(parts.len());
        for part in parts {
            match part.reduced(holds) {
                // True adds nothing to an `and`, false nothing to an `or`; the other decides it.
                Self::Const(value) if value == all => {}
                Self::Const(value) => return Self::Const(value),
                part => kept.push(part),
            }
        }
        match (kept.len(), all) {
            (0, all) => Self::Const(all),
            (1, _) => kept.swap_remove(0),
            (_, true) => Self::All(kept.into()),
            (_, false) => Self::Any(kept.into()),
        }
    }

    /// Calls `f` with every comparison it makes.
    pub fn for_each(&self, f: &mut dyn FnMut(ComparisonId)) {
        match self {
            Self::Const(_) => {}
            Self::All(parts) | Self::Any(parts) => parts.iter().for_each(|part| part.for_each(f)),
            Self::Test { comparison, .. } => f(*comparison),
        }
    }
}

struct Builder {
    strict: bool,
    known: HashMap<String, ComparisonId>,
    all: Vec<Comparison>,
}

impl Builder {
    fn expression(&mut self, node: &Node) -> Expression {
        let (parts, all) = match node {
            Node::Const(value) => return Expression::Const(*value),
            Node::Test(test) => {
                return Expression::Test { comparison: self.comparison(test), negated: test.negated };
            }
            Node::All(parts) => (parts, true),
            Node::Any(parts) => (parts, false),
        };
        let merged = program::merged(parts, all, self.strict);
        let parts = merged.iter().map(|part| self.expression(part)).collect();
        if all { Expression::All(parts) } else { Expression::Any(parts) }
    }

    fn comparison(&mut self, test: &Test) -> ComparisonId {
        let next = ComparisonId(self.all.len() as u32);
        let id = *self.known.entry(program::key(test)).or_insert(next);
        if id == next {
            let test = Test { negated: false, ..test.clone() };
            let prepared = Prepared::new(&test, self.strict);
            self.all.push(Comparison { test, prepared });
        }
        id
    }
}
