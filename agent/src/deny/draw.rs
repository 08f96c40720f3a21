//! Draws the tables: for each class of each thing that terms are about, the terms whose comparisons on it all hold.
//!
//! A class is a set of values that no comparison of a term tells apart, so one of them stands for all: the comparisons
//! themselves are asked about it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv6Addr},
};

use rampart_common::deny::{Operation, PathTerms, Terms};
use rampart_rules::{
    catalog::FieldId,
    comparisons::{ComparisonId, Comparisons},
    condition::ast::Op,
    typed::{Const, Right},
    value::{FieldArg, FieldSource, Value},
};

use super::{
    kind::kinds,
    literal::Dimension,
    plan::{Certain, holds, rows},
    tables::{Node, Tables, longest},
};
use crate::pushdown::networks;

/// Terms and what they compare.
struct Drawing<'t> {
    terms: &'t [Certain],
    comparisons: &'t Comparisons,
}

/// The tables of some terms.
pub(super) fn tables(terms: &[Certain], comparisons: &Comparisons) -> Tables {
    let drawing = Drawing { terms, comparisons };
    let mut tables = Tables {
        paths: drawing.paths(Dimension::Path),
        exes: drawing.paths(Dimension::Executable),
        addresses: drawing.addresses(),
        ..Tables::default()
    };
    (tables.ports, tables.settings.other_ports) = drawing.numbers(Dimension::Port, 1);
    (tables.users, tables.settings.other_users) = drawing.numbers(Dimension::User, 0);
    (tables.names, tables.settings.other_names) = drawing.names();
    tables.settings.nameless =
        drawing.terms(|term| !term.literals.iter().any(|(_, dimension)| *dimension == Dimension::Name));
    drawing.kinds(&mut tables);
    tables
}

impl Drawing<'_> {
    fn terms(&self, mut is_one: impl FnMut(&Certain) -> bool) -> Terms {
        let terms = self.terms.iter().enumerate().filter(|(_, term)| is_one(term));
        terms.fold(0, |all, (bit, _)| all | 1 << bit)
    }

    /// The comparisons of all terms that are about something.
    fn about(&self, wanted: Dimension) -> Vec<ComparisonId> {
        let all = self.terms.iter().flat_map(|term| &term.literals);
        let ids: BTreeSet<ComparisonId> = all
            .filter(|(_, dimension)| *dimension == wanted)
            .map(|(literal, _)| literal.comparison)
            .collect();
        ids.into_iter().collect()
    }

    /// The terms whose comparisons about something hold for a value.
    fn of(&self, wanted: Dimension, value: Value<'static>) -> Terms {
        self.terms(|term| {
            term.literals.iter().filter(|(_, dimension)| *dimension == wanted).all(|(literal, _)| {
                holds(*literal, self.comparisons.evaluate(literal.comparison, None, &OneValue(value)))
            })
        })
    }

    fn constants(&self, wanted: Dimension) -> Vec<(Op, &Const)> {
        let tests = self.about(wanted).into_iter().filter_map(|id| self.comparisons.test(id));
        tests
            .flat_map(|test| match &test.right {
                Right::Values(_, values) => values.iter().map(|value| (test.op, value)).collect(),
                _ => Vec::new(),
            })
            .collect()
    }

    fn paths(&self, dimension: Dimension) -> BTreeMap<Node, PathTerms> {
        let mut nodes: BTreeMap<Node, PathTerms> = BTreeMap::from([(Node::new(), PathTerms::default())]);
        for (op, value) in self.constants(dimension) {
            let Const::Bytes(text) = value else { continue };
            let with = |end: &[u8]| -> Node { text.iter().chain(end).copied().collect() };
            let places: &[Node] = &match op {
                Op::StartsWith => vec![with(b"")],
                // As itself, and as a directory; a slash at its end means the same without.
                Op::PMatch => {
                    let named = text.iter().rposition(|byte| *byte != b'/').map_or(0, |last| last + 1);
                    let below = |end: u8| text.iter().take(named).copied().chain([end]).collect::<Node>();
                    vec![below(0), below(b'/'), with(b""), with(&[0])]
                }
                _ => vec![with(&[0])],
            };
            for place in places {
                nodes.insert(place.clone(), PathTerms::default());
            }
        }
        let all: Vec<Node> = nodes.keys().cloned().collect();
        for node in all {
            let terms = inside(&nodes, &node).map_or(0, |path| self.of_text(dimension, &path));
            nodes.insert(node, PathTerms { terms, flags: 0 });
        }
        nodes
    }

    fn of_text(&self, wanted: Dimension, text: &[u8]) -> Terms {
        self.terms(|term| {
            term.literals.iter().filter(|(_, dimension)| *dimension == wanted).all(|(literal, _)| {
                holds(*literal, self.comparisons.evaluate(literal.comparison, None, &OneText(text)))
            })
        })
    }

    fn numbers(&self, dimension: Dimension, least: u32) -> (BTreeMap<u32, Terms>, Terms) {
        let constants = self.constants(dimension).into_iter().filter_map(|(_, value)| match value {
            Const::Int(number) => u32::try_from(*number).ok(),
            _ => None,
        });
        let named: BTreeSet<u32> = constants.collect();
        let of = |number: u32| self.of(dimension, Value::Uint(u64::from(number)));
        // There are more numbers than any rule names.
        let other = (least..=u32::MAX).find(|number| !named.contains(number)).map_or(0, of);
        let entries = named.iter().map(|number| (*number, of(*number)));
        (entries.filter(|(_, terms)| *terms != other).collect(), other)
    }

    fn names(&self) -> (BTreeMap<[u8; 16], Terms>, Terms) {
        let mut named: BTreeSet<Vec<u8>> = BTreeSet::new();
        for (_, value) in self.constants(Dimension::Name) {
            // A longer name is nobody's.
            if let Const::Bytes(text) = value
                && text.len() < 16
                && !text.contains(&0)
            {
                named.insert(text.clone());
            }
        }
        let mut other = b"-".to_vec();
        while named.contains(&other) {
            other.push(b'-');
        }
        let others = self.of_text(Dimension::Name, &other);
        let entry = |text: &Vec<u8>| {
            let mut key = [0; 16];
            key.iter_mut().zip(text).for_each(|(to, from)| *to = *from);
            (key, self.of_text(Dimension::Name, text))
        };
        (named.iter().map(entry).filter(|(_, terms)| *terms != others).collect(), others)
    }

    fn addresses(&self) -> BTreeMap<(u8, [u8; 16]), Terms> {
        let found = networks(self.comparisons, &self.about(Dimension::Address));
        let of =
            |address: Ipv6Addr| self.of(Dimension::Address, Value::Ip(IpAddr::V6(address).to_canonical()));
        let entry = |(base, bits, inner): (u128, u8, Option<Ipv6Addr>)| {
            ((bits, base.to_be_bytes()), inner.map_or(0, of))
        };
        found.into_iter().map(entry).collect()
    }

    /// What the operation's kind decides: a term counts for a kind when its comparisons hold for every call.
    fn kinds(&self, tables: &mut Tables) {
        for (bit, term) in self.terms.iter().enumerate() {
            let calls = rows(term.operation);
            let mut counts: BTreeMap<usize, bool> = BTreeMap::new();
            for row in calls {
                for kind in kinds(term.operation, row) {
                    let of_kind = term.literals.iter().filter(|(_, dimension)| *dimension == Dimension::Kind);
                    let mut all = of_kind.map(|(literal, _)| {
                        holds(*literal, kind.truth(self.comparisons, literal.comparison))
                    });
                    let is_true = all.all(|holds| holds);
                    *counts.entry(kind.class).or_insert(true) &= is_true;
                }
            }
            for class in counts.into_iter().filter(|(_, counts)| *counts).map(|(class, _)| class) {
                let place = match term.operation {
                    Operation::Open => tables.settings.open.get_mut(class),
                    Operation::Exec => Some(&mut tables.settings.exec),
                    Operation::Connect => tables.settings.connect.get_mut(class),
                };
                if let Some(terms) = place {
                    *terms |= 1 << bit;
                }
            }
        }
    }
}

/// A path for which a node is the longest; `None` when others take all of them.
fn inside(nodes: &BTreeMap<Node, PathTerms>, node: &Node) -> Option<Vec<u8>> {
    if let Some((0, path)) = node.split_last() {
        return Some(path.to_vec());
    }
    let start: &[u8] = if node.is_empty() { b"/" } else { node };
    let candidates = (1..=u8::MAX).map(|byte| start.iter().copied().chain([byte]).collect::<Vec<u8>>());
    candidates.into_iter().find(|path| longest(nodes, path) == Some(node))
}

/// One value in every field.
struct OneValue(Value<'static>);

impl FieldSource for OneValue {
    fn field<'a>(&'a self, _: FieldId, _: FieldArg<'_>) -> Value<'a> {
        self.0
    }
}

/// One text in every field.
struct OneText<'t>(&'t [u8]);

impl FieldSource for OneText<'_> {
    fn field<'a>(&'a self, _: FieldId, _: FieldArg<'_>) -> Value<'a> {
        Value::Bytes(self.0)
    }
}
