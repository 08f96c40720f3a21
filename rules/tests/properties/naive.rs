//! The meaning of typed conditions, written for clarity: no sets, no prepared patterns, no short cuts.

use std::net::IpAddr;

use rampart_rules::{
    condition::ast::{Modifier, Op},
    typed::{Const, Node, Right, Source, Test},
    value::{FieldSource, Value},
};

/// A value that owns its bytes.
#[derive(Clone, Debug, PartialEq)]
enum Owned {
    Null,
    One(Single),
    List(Vec<Owned>),
    Any(Vec<Owned>),
    Either(Vec<Owned>),
}

#[derive(Clone, Debug, PartialEq)]
enum Single {
    Bytes(Vec<u8>),
    Number(i128),
    Bool(bool),
    Ip(IpAddr),
}

/// Whether a condition holds on an event of which everything is known.
pub(crate) fn holds<S: FieldSource>(node: &Node, event: &S) -> bool {
    match node {
        Node::Const(value) => *value,
        Node::All(parts) => parts.iter().all(|part| holds(part, event)),
        Node::Any(parts) => parts.iter().any(|part| holds(part, event)),
        Node::Test(test) => compares(test, event) != test.negated,
    }
}

fn compares<S: FieldSource>(test: &Test, event: &S) -> bool {
    let left = value(&test.left, event);
    match &test.right {
        Right::None => match left {
            Owned::Null => false,
            Owned::List(items) | Owned::Any(items) => !items.is_empty(),
            Owned::Either(_) | Owned::One(_) => true,
        },
        Right::Values(modifier, values) => {
            spread(&left, test.op, &|one| many(one, test.op, *modifier, values))
        }
        Right::Source(right) => match value(right, event) {
            Owned::One(right) => spread(&left, test.op, &|one| binary(one, test.op, &right)),
            _ => false,
        },
    }
}

/// One value against constants.
fn many(one: &Single, op: Op, modifier: Option<Modifier>, values: &[Const]) -> bool {
    let hits = values.iter().filter(|value| constant(one, op, value)).count();
    match modifier {
        Some(Modifier::OneOf) => hits == 1,
        Some(Modifier::AllOf) => !values.is_empty() && hits == values.len(),
        Some(Modifier::AnyOf) | None => hits > 0,
    }
}

fn spread(value: &Owned, op: Op, single: &dyn Fn(&Single) -> bool) -> bool {
    match value {
        Owned::Null => false,
        Owned::One(one) => single(one),
        Owned::Any(items) => items.iter().any(|item| spread(item, op, single)),
        Owned::Either(items) if op == Op::Ne => items.iter().all(|item| spread(item, op, single)),
        Owned::Either(items) => items.iter().any(|item| spread(item, op, single)),
        Owned::List(items) if op == Op::In => {
            !items.is_empty() && items.iter().all(|item| spread(item, op, single))
        }
        Owned::List(items) => items.iter().any(|item| spread(item, op, single)),
    }
}

fn constant(one: &Single, op: Op, value: &Const) -> bool {
    match value {
        Const::Bytes(bytes) => binary(one, op, &Single::Bytes(bytes.clone())),
        Const::Int(number) => binary(one, op, &Single::Number(*number)),
        Const::Bool(truth) => binary(one, op, &Single::Bool(*truth)),
        Const::Ip(address) => binary(one, op, &Single::Ip(*address)),
        Const::Net(base, length) => {
            let Single::Ip(address) = one else { return false };
            in_network(*address, *base, *length) != (op == Op::Ne)
        }
        Const::Set(set) => match one {
            Single::Ip(address) => {
                set.iter_networks().any(|(base, length)| in_network(*address, base, length))
            }
            Single::Bytes(bytes) => set.has_text(bytes),
            _ => false,
        },
    }
}

fn binary(left: &Single, op: Op, right: &Single) -> bool {
    if op == Op::Ne {
        return left != right;
    }
    if matches!(op, Op::Eq | Op::In | Op::Intersects) {
        return left == right;
    }
    match (left, right) {
        (Single::Number(left), Single::Number(right)) => ordered(op, left, right),
        (Single::Bytes(left), Single::Bytes(right)) => match op {
            Op::Contains => find(left, right),
            Op::IContains => find(&left.to_ascii_lowercase(), &right.to_ascii_lowercase()),
            Op::StartsWith => left.starts_with(right),
            Op::EndsWith => left.ends_with(right),
            Op::Glob => glob(right, left),
            Op::IGlob => glob(&right.to_ascii_lowercase(), &left.to_ascii_lowercase()),
            Op::PMatch => under(right, left),
            op => ordered(op, left, right),
        },
        _ => false,
    }
}

fn ordered<T: Ord>(op: Op, left: &T, right: &T) -> bool {
    match op {
        Op::Lt => left < right,
        Op::Le => left <= right,
        Op::Gt => left > right,
        Op::Ge => left >= right,
        _ => false,
    }
}

fn find(text: &[u8], part: &[u8]) -> bool {
    (0..=text.len()).any(|at| text[at..].starts_with(part))
}

/// Patterns of these tests have `*`, `?` and one kind of set only.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern, text) {
        ([], []) => true,
        ([b'*', rest @ ..], _) => (0..=text.len()).any(|at| glob(rest, &text[at..])),
        ([b'?', rest @ ..], [_, after @ ..]) => glob(rest, after),
        ([b'[', low, b'-', high, b']', rest @ ..], [byte, after @ ..]) => {
            (low..=high).contains(&byte) && glob(rest, after)
        }
        ([first, rest @ ..], [byte, after @ ..]) => first == byte && glob(rest, after),
        _ => false,
    }
}

fn under(prefix: &[u8], path: &[u8]) -> bool {
    let parts = |path: &[u8]| -> Vec<Vec<u8>> {
        path.split(|&byte| byte == b'/').filter(|part| !part.is_empty()).map(<[u8]>::to_vec).collect()
    };
    let (prefix, path) = (parts(prefix), parts(path));
    prefix.len() <= path.len() && prefix.iter().zip(&path).all(|(pattern, part)| glob(pattern, part))
}

fn in_network(address: IpAddr, base: IpAddr, length: u8) -> bool {
    let bits = |address: IpAddr| match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    let (address, base) = (bits(address), bits(base));
    let bit = |bytes: &[u8], at: usize| bytes[at / 8] >> (7 - at % 8) & 1;
    address.len() == base.len() && (0..usize::from(length)).all(|at| bit(&address, at) == bit(&base, at))
}

fn value<S: FieldSource>(source: &Source, event: &S) -> Owned {
    match source {
        Source::Field(field) => owned(&event.field(field.id, field.arg.as_ref())),
        Source::Text(text) => Owned::One(Single::Bytes(text.clone())),
        Source::List(items) => Owned::List(items.iter().map(|item| value(item, event)).collect()),
        Source::Transform(transform) => {
            let args: Vec<Owned> = transform.args.iter().map(|arg| value(arg, event)).collect();
            let text = |f: &dyn Fn(&[u8]) -> Single| match &args[0] {
                Owned::One(Single::Bytes(bytes)) => Owned::One(f(bytes)),
                _ => Owned::Null,
            };
            match transform.name {
                "tolower" => text(&|bytes| Single::Bytes(bytes.to_ascii_lowercase())),
                "len" => text(&|bytes| Single::Number(bytes.len() as i128)),
                "basename" => text(&|bytes| {
                    Single::Bytes(bytes.rsplit(|&byte| byte == b'/').next().unwrap_or_default().to_vec())
                }),
                "concat" => glued(&args, b""),
                "join" => match &args[1] {
                    Owned::List(items) => glued(items, b"-"),
                    _ => Owned::Null,
                },
                other => panic!("no meaning of {other} here"),
            }
        }
    }
}

fn glued(parts: &[Owned], separator: &[u8]) -> Owned {
    let texts: Option<Vec<Vec<u8>>> = parts
        .iter()
        .map(|part| match part {
            Owned::One(Single::Bytes(bytes)) => Some(bytes.clone()),
            _ => None,
        })
        .collect();
    texts.map_or(Owned::Null, |texts| Owned::One(Single::Bytes(texts.join(separator))))
}

fn owned(value: &Value<'_>) -> Owned {
    let all = |items: &[Value<'_>]| items.iter().map(owned).collect();
    Owned::One(match value {
        Value::Null | Value::Unknown | Value::Float(_) => return Owned::Null,
        Value::List(items) => return Owned::List(all(items)),
        Value::Any(items) => return Owned::Any(all(items)),
        Value::Either(items) => return Owned::Either(all(&items[..])),
        Value::Bool(truth) => Single::Bool(*truth),
        Value::Int(number) => Single::Number(i128::from(*number)),
        Value::Uint(number) => Single::Number(i128::from(*number)),
        Value::Bytes(bytes) => Single::Bytes(bytes.to_vec()),
        Value::Ip(address) => Single::Ip(*address),
    })
}
