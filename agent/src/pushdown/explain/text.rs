//! Comparisons as text.

use std::fmt::Write as _;

use rampart_rules::{
    condition::ast::{Modifier, Op},
    typed::{Arg, Const, Right, Source as Value, Test},
};

/// Constants of a comparison that are shown before the rest is only counted.
const SHOWN: usize = 3;

/// A comparison as a rule writes it, long lists cut.
pub(super) fn shown(test: &Test) -> String {
    let mut out = value(&test.left);
    // A list of one was merged from one.
    let one = matches!(&test.right, Right::Values(None, values) if values.len() == 1);
    let op = if one && test.op == Op::In { Op::Eq } else { test.op };
    let _ = write!(out, " {}", op.as_str());
    match &test.right {
        Right::None => {}
        Right::Source(source) => {
            let _ = write!(out, " val({})", value(source));
        }
        Right::Values(modifier, values) => {
            let single = values.len() == 1;
            match modifier {
                Some(_) if single => {}
                Some(Modifier::AnyOf) => out.push_str(" anyof"),
                Some(Modifier::OneOf) => out.push_str(" oneof"),
                Some(Modifier::AllOf) => out.push_str(" allof"),
                None => {}
            }
            let some: Vec<String> = values.iter().take(SHOWN).map(constant).collect();
            let rest = values.len().saturating_sub(SHOWN);
            let list = some.join(", ");
            let plain = (one || single) && !matches!(op, Op::Intersects | Op::PMatch);
            let _ = match (plain, rest) {
                (true, _) => write!(out, " {list}"),
                (false, 0) => write!(out, " ({list})"),
                (false, rest) => write!(out, " ({list} and {rest} more)"),
            };
        }
    }
    out
}

fn value(source: &Value) -> String {
    match source {
        Value::Field(field) => {
            let name = field.id.def().name;
            match &field.arg {
                Arg::None => name.to_owned(),
                Arg::Index(index) => format!("{name}[{index}]"),
                Arg::Key(key) if name.ends_with("arg") => format!("{name}.{key}"),
                Arg::Key(key) => format!("{name}[{key}]"),
            }
        }
        Value::Transform(transform) => {
            let args: Vec<String> = transform.args.iter().map(value).collect();
            format!("{}({})", transform.name, args.join(", "))
        }
        Value::Text(text) => format!("{:?}", String::from_utf8_lossy(text)),
        Value::List(items) => {
            let items: Vec<String> = items.iter().map(value).collect();
            format!("({})", items.join(", "))
        }
    }
}

fn constant(value: &Const) -> String {
    match value {
        Const::Bytes(bytes) if bytes.is_empty() => "\"\"".to_owned(),
        Const::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Const::Int(number) => number.to_string(),
        Const::Bool(value) => value.to_string(),
        Const::Ip(address) => address.to_string(),
        Const::Net(address, length) => format!("{address}/{length}"),
        Const::Set(set) => format!("{} of {} members", set.name(), set.len()),
    }
}
