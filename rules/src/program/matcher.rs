//! Single values against constants.

use std::{
    cmp::Ordering,
    collections::HashSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use memchr::memmem::{self, Finder};
use regex::Regex;
use rustc_hash::FxBuildHasher;

use crate::{
    catalog::ids,
    condition::ast::{Modifier, Op},
    pattern::{self, Glob, PathPrefixes, Prefixes},
    set::Set,
    typed::{Const, FieldUse, Source},
    value::Value,
};

/// Sets up to this size are searched one by one; that is faster than hashing a path.
const SMALL: usize = 4;

/// A comparison of one value with constants. Values of another type than the constants do not match.
#[derive(Debug)]
pub(super) enum Matcher {
    Never,
    Not(Box<Matcher>),
    /// Exactly one, at least one or all of several.
    Count(Modifier, Box<[Matcher]>),
    Equal(Box<[u8]>),
    FewTexts(Box<[Box<[u8]>]>),
    ManyTexts(Texts),
    Order(Op, Box<[u8]>),
    Contains(Box<Finder<'static>>),
    ContainsIgnoreCase(Box<[u8]>),
    Starts(Box<[u8]>),
    /// Begins with one of several.
    Prefixes(Prefixes),
    /// Ends with one of several, which are stored reversed.
    Suffixes(Prefixes),
    Ends(Box<[u8]>),
    Glob(Glob),
    Regex(Box<Regex>),
    Paths(PathPrefixes),
    Number(Op, i128),
    Numbers(HashSet<i128, FxBuildHasher>),
    Bool(bool),
    Address(IpAddr),
    Addresses(HashSet<IpAddr, FxBuildHasher>),
    Networks(Box<[(IpAddr, u8)]>),
    /// Is in a named set.
    Named(Arc<Set>),
}

/// A hashed set of texts; lengths outside its range are refused without hashing.
#[derive(Debug)]
pub(super) struct Texts {
    shortest: usize,
    longest: usize,
    set: HashSet<Box<[u8]>, FxBuildHasher>,
}

/// Builds the matcher of a comparison of `left` with constants.
pub(super) fn build(
    left: &Source,
    op: Op,
    modifier: Option<Modifier>,
    values: &[Const],
    strict: bool,
) -> Matcher {
    if let Some(modifier) = modifier {
        // An empty list satisfies no modifier, not even `allof`.
        if values.is_empty() {
            return Matcher::Never;
        }
        if modifier == Modifier::AnyOf && values.iter().all(|value| bytes(value).is_some()) {
            let texts = values.iter().filter_map(bytes);
            match op {
                Op::Eq => return self::texts(texts),
                Op::StartsWith => return Matcher::Prefixes(Prefixes::new(texts, false)),
                Op::EndsWith => return Matcher::Suffixes(Prefixes::new(texts, true)),
                _ => {}
            }
        }
        return Matcher::Count(modifier, values.iter().map(|value| one(op, value)).collect());
    }
    match op {
        Op::In | Op::Intersects => set(left, values, strict),
        Op::PMatch => Matcher::Paths(PathPrefixes::new(values.iter().filter_map(bytes))),
        _ => values.first().map_or(Matcher::Never, |value| one(op, value)),
    }
}

/// Upstream never finds these fields in a set, and looks only at the first of several networks of `fd.net`.
fn set(left: &Source, values: &[Const], strict: bool) -> Matcher {
    let id = match left {
        Source::Field(FieldUse { id, .. }) => Some(*id),
        _ => None,
    };
    let values = match id {
        Some(ids::FD_IP | ids::PROC_APID) if strict => return Matcher::Never,
        Some(ids::FD_NET) if strict => values.get(..1).unwrap_or_default(),
        _ => values,
    };
    if values.iter().any(|value| matches!(value, Const::Set(_))) {
        return with_named(values, plain_set);
    }
    plain_set(values)
}

/// Constants among which are named sets.
fn with_named(values: &[Const], plain: impl Fn(&[Const]) -> Matcher) -> Matcher {
    let (named, others): (Vec<&Const>, Vec<&Const>) =
        values.iter().partition(|value| matches!(value, Const::Set(_)));
    let others: Vec<Const> = others.into_iter().cloned().collect();
    let mut parts: Vec<Matcher> = Vec::with_capacity(named.len() + 1);
    if !others.is_empty() {
        parts.push(plain(&others));
    }
    parts.extend(named.into_iter().map(|value| one(Op::Eq, value)));
    match parts.len() {
        1 => parts.swap_remove(0),
        _ => Matcher::Count(Modifier::AnyOf, parts.into()),
    }
}

fn plain_set(values: &[Const]) -> Matcher {
    match values {
        // Sets were taken out before.
        [] | [Const::Set(_), ..] => Matcher::Never,
        [Const::Bytes(_), ..] => texts(values.iter().filter_map(bytes)),
        [Const::Int(_), ..] => Matcher::Numbers(
            values
                .iter()
                .filter_map(|value| match value {
                    Const::Int(number) => Some(*number),
                    _ => None,
                })
                .collect(),
        ),
        [Const::Ip(_), ..] => Matcher::Addresses(
            values
                .iter()
                .filter_map(|value| match value {
                    Const::Ip(address) => Some(*address),
                    _ => None,
                })
                .collect(),
        ),
        [Const::Net(..), ..] => Matcher::Networks(
            values
                .iter()
                .filter_map(|value| match value {
                    Const::Net(address, length) => Some((*address, *length)),
                    _ => None,
                })
                .collect(),
        ),
        [Const::Bool(_), ..] => {
            Matcher::Count(Modifier::AnyOf, values.iter().map(|value| one(Op::Eq, value)).collect())
        }
    }
}

fn texts<'a>(values: impl Iterator<Item = &'a [u8]>) -> Matcher {
    let set: HashSet<Box<[u8]>, FxBuildHasher> = values.map(Box::from).collect();
    if set.len() <= SMALL {
        return Matcher::FewTexts(set.into_iter().collect());
    }
    let shortest = set.iter().map(|text| text.len()).min().unwrap_or(0);
    let longest = set.iter().map(|text| text.len()).max().unwrap_or(0);
    Matcher::ManyTexts(Texts { shortest, longest, set })
}

fn bytes(value: &Const) -> Option<&[u8]> {
    match value {
        Const::Bytes(bytes) => Some(bytes),
        _ => None,
    }
}

/// Matcher of one constant.
fn one(op: Op, value: &Const) -> Matcher {
    if op == Op::Ne {
        return Matcher::Not(Box::new(one(Op::Eq, value)));
    }
    match value {
        Const::Bytes(text) => one_text(op, text),
        Const::Int(number) => Matcher::Number(op, *number),
        Const::Bool(wanted) => Matcher::Bool(*wanted),
        Const::Ip(address) => Matcher::Address(*address),
        Const::Net(address, length) => Matcher::Networks([(*address, *length)].into()),
        Const::Set(set) => Matcher::Named(Arc::clone(set)),
    }
}

fn one_text(op: Op, text: &[u8]) -> Matcher {
    let owned = || Box::from(text);
    match op {
        Op::Lt | Op::Le | Op::Gt | Op::Ge => Matcher::Order(op, owned()),
        Op::Contains | Op::BContains => Matcher::Contains(Box::new(Finder::new(text).into_owned())),
        Op::IContains => Matcher::ContainsIgnoreCase(text.to_ascii_lowercase().into_boxed_slice()),
        Op::StartsWith | Op::BStartsWith => Matcher::Starts(owned()),
        Op::EndsWith => Matcher::Ends(owned()),
        Op::Glob | Op::IGlob => Matcher::Glob(Glob::new(text, op == Op::IGlob)),
        Op::Regex => pattern::regex(&String::from_utf8_lossy(text))
            .map_or(Matcher::Never, |regex| Matcher::Regex(Box::new(regex))),
        _ => Matcher::Equal(owned()),
    }
}

impl Matcher {
    /// Whether a single value matches.
    pub(super) fn matches(&self, value: &Value<'_>) -> bool {
        match (self, value) {
            (Self::Not(inner), value) => !inner.matches(value),
            (Self::Count(modifier, parts), value) => {
                let mut hits = parts.iter().filter(|part| part.matches(value));
                match modifier {
                    Modifier::AnyOf => hits.next().is_some(),
                    Modifier::OneOf => hits.next().is_some() && hits.next().is_none(),
                    Modifier::AllOf => hits.count() == parts.len(),
                }
            }
            (matcher, Value::Bytes(text)) => matcher.text(text),
            (matcher, Value::Ip(address)) => matcher.address(*address),
            (Self::Bool(wanted), Value::Bool(value)) => wanted == value,
            (Self::Number(op, wanted), Value::Float(value)) => {
                #[expect(clippy::cast_precision_loss, reason = "constants of rules are far below 2^53")]
                let wanted = *wanted as f64;
                value.partial_cmp(&wanted).is_some_and(|order| holds(*op, order))
            }
            (Self::Number(op, wanted), value) => {
                number(value).is_some_and(|value| holds(*op, value.cmp(wanted)))
            }
            (Self::Numbers(set), Value::Float(value)) => {
                #[expect(clippy::cast_precision_loss, reason = "constants of rules are far below 2^53")]
                let mut found = set.iter().map(|wanted| *wanted as f64);
                found.any(|wanted| wanted.total_cmp(value) == Ordering::Equal)
            }
            (Self::Numbers(set), value) => number(value).is_some_and(|value| set.contains(&value)),
            _ => false,
        }
    }

    /// Relative cost of a match.
    pub(super) fn cost(&self) -> u32 {
        match self {
            Self::Never | Self::Bool(_) | Self::Number(..) => 0,
            Self::Address(_) | Self::Equal(_) | Self::Order(..) | Self::Starts(_) | Self::Ends(_) => 1,
            Self::Numbers(_) | Self::Addresses(_) | Self::FewTexts(_) => 2,
            Self::ManyTexts(_) | Self::Networks(_) | Self::Prefixes(_) | Self::Suffixes(_) => 3,
            Self::Named(_) => 4,
            Self::Paths(_) => 6,
            Self::Contains(_) => 8,
            Self::ContainsIgnoreCase(_) | Self::Glob(_) => 10,
            Self::Regex(_) => 40,
            Self::Not(inner) => inner.cost(),
            Self::Count(_, parts) => parts.iter().map(Self::cost).fold(1, u32::saturating_add),
        }
    }

    fn text(&self, text: &[u8]) -> bool {
        match self {
            Self::Equal(wanted) => **wanted == *text,
            Self::FewTexts(wanted) => wanted.iter().any(|wanted| **wanted == *text),
            Self::ManyTexts(texts) => {
                (texts.shortest..=texts.longest).contains(&text.len()) && texts.set.contains(text)
            }
            Self::Order(op, wanted) => holds(*op, text.cmp(wanted)),
            Self::Contains(finder) => finder.find(text).is_some(),
            Self::ContainsIgnoreCase(lower) => pattern::contains_ignore_case(text, lower),
            Self::Starts(prefix) => text.starts_with(prefix),
            Self::Ends(suffix) => text.ends_with(suffix),
            Self::Prefixes(prefixes) => prefixes.begins(text),
            Self::Suffixes(suffixes) => suffixes.ends(text),
            Self::Glob(glob) => glob.matches(text),
            Self::Regex(regex) => regex.is_match(&String::from_utf8_lossy(text)),
            Self::Paths(paths) => paths.matches(text),
            Self::Named(set) => set.has_text(text),
            _ => false,
        }
    }

    fn address(&self, address: IpAddr) -> bool {
        match self {
            Self::Address(wanted) => *wanted == address,
            Self::Addresses(set) => set.contains(&address),
            Self::Networks(networks) => networks.iter().any(|&(base, length)| within(address, base, length)),
            Self::Named(set) => set.has_address(address),
            _ => false,
        }
    }
}

/// Compares two single values of the same type.
pub(super) fn compare(left: &Value<'_>, op: Op, right: &Value<'_>) -> bool {
    if op == Op::Ne {
        return !compare(left, Op::Eq, right);
    }
    match (left, right) {
        (Value::Bytes(left), Value::Bytes(right)) => match op {
            Op::Contains | Op::BContains => memmem::find(left, right).is_some(),
            Op::IContains => pattern::contains_ignore_case(left, &right.to_ascii_lowercase()),
            Op::StartsWith | Op::BStartsWith => left.starts_with(right),
            Op::EndsWith => left.ends_with(right),
            Op::Glob | Op::IGlob => Glob::new(right, op == Op::IGlob).matches(left),
            op => holds(op, left.cmp(right)),
        },
        (Value::Float(left), Value::Float(right)) => {
            left.partial_cmp(right).is_some_and(|order| holds(op, order))
        }
        (Value::Bool(left), Value::Bool(right)) => holds(op, left.cmp(right)),
        (Value::Ip(left), Value::Ip(right)) => left == right,
        (left, right) => match (number(left), number(right)) {
            (Some(left), Some(right)) => holds(op, left.cmp(&right)),
            _ => false,
        },
    }
}

fn number(value: &Value<'_>) -> Option<i128> {
    match value {
        Value::Int(number) => Some(i128::from(*number)),
        Value::Uint(number) => Some(i128::from(*number)),
        _ => None,
    }
}

/// Whether an order satisfies an operator; sets and equality take only equal ones.
fn holds(op: Op, order: Ordering) -> bool {
    match op {
        Op::Lt => order == Ordering::Less,
        Op::Le => order != Ordering::Greater,
        Op::Gt => order == Ordering::Greater,
        Op::Ge => order != Ordering::Less,
        _ => order == Ordering::Equal,
    }
}

/// Whether an address lies in a network; one of another family never does.
fn within(address: IpAddr, base: IpAddr, length: u8) -> bool {
    let high = |bits: u32| bits.saturating_sub(u32::from(length));
    match (address, base) {
        (IpAddr::V4(address), IpAddr::V4(base)) => {
            let same = Ipv4Addr::to_bits(address) ^ Ipv4Addr::to_bits(base);
            same.checked_shr(high(32)).unwrap_or(0) == 0
        }
        (IpAddr::V6(address), IpAddr::V6(base)) => {
            let same = Ipv6Addr::to_bits(address) ^ Ipv6Addr::to_bits(base);
            same.checked_shr(high(128)).unwrap_or(0) == 0
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_hold_their_addresses() {
        let v4 = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(within(v4("142.251.111.147"), v4("128.0.0.0"), 4));
        assert!(within(v4("1.2.3.4"), v4("0.0.0.0"), 0));
        assert!(!within(v4("11.0.0.1"), v4("10.0.0.0"), 8));
        assert!(!within(v4("::1"), v4("0.0.0.0"), 0));
        assert!(within(v4("2001::5"), v4("2001::"), 16));
        assert!(within(v4("10.0.0.1"), v4("10.0.0.1"), 32));
    }
}
