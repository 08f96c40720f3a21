//! What fields that are defined by other fields mean.
//!
//! The host describes such a field by a condition for each of its values: a comparison with the field can hold only
//! where the condition of one of the values it asks for holds. A load adds these conditions to the comparisons, so that
//! whoever plans by paths, addresses and processes sees them; what the field is on an event is still asked from it.

use std::collections::HashMap;

use crate::{
    catalog::FieldId,
    condition::ast::Op,
    diagnostic::Diagnostic,
    filter::Filter,
    typed::{Const, Environment, Node, Right, Source, Test},
};

/// A field and when it can have which value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meaning {
    /// The field.
    pub field: FieldId,
    /// Its values, each with a condition that holds on every event on which the field has it. A field without any is
    /// always missing.
    pub values: Vec<(String, String)>,
}

/// Meanings, compiled.
#[derive(Debug, Default)]
pub(crate) struct Meanings {
    of: HashMap<FieldId, Vec<(Vec<u8>, Node)>>,
}

impl Meanings {
    /// Compiles the conditions; findings are the host's faults.
    pub(crate) fn new(meanings: &[Meaning], found: &mut Vec<Diagnostic>) -> Self {
        let environment = Environment { container_fields: true, strict: false };
        let mut of = HashMap::new();
        for meaning in meanings {
            let values: &mut Vec<(Vec<u8>, Node)> = of.entry(meaning.field).or_default();
            for (value, condition) in &meaning.values {
                let (filter, findings) = Filter::compile(condition, environment);
                // Without its place, which lies in a text that nobody has.
                found.extend(findings.into_iter().filter(Diagnostic::is_error).map(|mut finding| {
                    finding.span = None;
                    finding
                }));
                let node = filter.map_or(Node::Const(true), |filter| filter.condition().clone());
                values.push((value.clone().into_bytes(), node));
            }
        }
        Self { of }
    }

    /// A condition with everything its comparisons imply.
    pub(crate) fn narrow(&self, node: Node) -> Node {
        if self.of.is_empty() {
            return node;
        }
        match node {
            Node::Const(_) => node,
            Node::All(parts) => Node::All(parts.into_iter().map(|part| self.narrow(part)).collect()),
            Node::Any(parts) => Node::Any(parts.into_iter().map(|part| self.narrow(part)).collect()),
            Node::Test(test) => match self.implied(&test) {
                Some(implied) => Node::All(vec![implied, Node::Test(test)]),
                None => Node::Test(test),
            },
        }
    }

    /// What must hold where a comparison holds.
    fn implied(&self, test: &Test) -> Option<Node> {
        let Source::Field(field) = &test.left else { return None };
        let values = self.of.get(&field.id).filter(|_| !test.negated)?;
        let asked = match (&test.op, &test.right) {
            // Whether something is so is no value of the list.
            (Op::Eq | Op::In, Right::Values(None, asked))
                if asked.iter().all(|one| matches!(one, Const::Bytes(_))) =>
            {
                Some(asked)
            }
            _ => None,
        };
        let is_asked = |value: &[u8]| {
            asked.is_none_or(|asked| {
                asked.iter().any(|one| matches!(one, Const::Bytes(bytes) if bytes == value))
            })
        };
        let mut parts: Vec<Node> = Vec::new();
        for (_, node) in values.iter().filter(|(value, _)| is_asked(value)) {
            // Several values may share what they mean.
            if !parts.contains(node) {
                parts.push(node.clone());
            }
        }
        Some(match parts.len() {
            0 => Node::Const(false),
            1 => parts.swap_remove(0),
            _ => Node::Any(parts),
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        catalog::ids,
        comparisons::{Comparisons, Expression},
        load::{LoadOptions, Source, load},
        meaning::Meaning,
        rule::RuleSet,
    };

    fn rules(condition: &str) -> RuleSet {
        let text = format!(
            "- rule: r\n  desc: d\n  condition: evt.type = open and {condition}\n  output: o\n  priority: INFO\n"
        );
        let meanings = vec![
            Meaning {
                field: ids::TRADING_ASSET,
                values: vec![
                    ("wallet".to_owned(), "fd.name startswith /w/".to_owned()),
                    ("api_key".to_owned(), "fd.name = /k".to_owned()),
                ],
            },
            Meaning { field: ids::TRADING_ROLE, values: Vec::new() },
            Meaning {
                field: ids::TRADING_VENUE_LISTED,
                values: vec![("xetra".to_owned(), "fd.rport = 443".to_owned())],
            },
        ];
        let source = Source { name: "r".to_owned(), text: text.into_bytes() };
        let loaded = load(&[source], &LoadOptions { meanings, ..LoadOptions::default() });
        loaded.rules.unwrap_or_else(|| panic!("{:?}", loaded.diagnostics))
    }

    /// What the rule compares, apart from the event type.
    fn compared(condition: &str) -> usize {
        Comparisons::new(&rules(condition)).len() - 1
    }

    #[test]
    fn comparisons_bring_along_what_they_imply() {
        assert_eq!(compared("trading.asset = wallet"), 2);
        assert_eq!(compared("trading.asset exists"), 3);
        assert_eq!(compared("trading.asset startswith wal"), 3);
        assert_eq!(compared("trading.asset in (wallet, api_key)"), 3);
        assert_eq!(compared("trading.venue.listed = false"), 2);
        // What does not hold implies nothing.
        assert_eq!(compared("not trading.asset = wallet"), 1);
    }

    #[test]
    fn a_value_that_nothing_has_is_never_there() {
        for never in ["trading.asset = order_log", "trading.role exists", "trading.role = strategy"] {
            let rules = rules(never);
            let all = Comparisons::new(&rules);
            let rest = all.rule(0).unwrap().reduced(&mut |_| crate::value::Truth::Unknown);
            assert_eq!(rest, Expression::Const(false), "{never}");
        }
    }
}
