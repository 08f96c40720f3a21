//! An event of a test file.

use std::fmt;

use crate::{
    catalog::{self, EventId, FieldId, FieldType, ids},
    diagnostic::{Diagnostic, code},
    filter::Filter,
    typed::{self, Arg, Environment},
    value::{FieldArg, FieldSource, Value},
    yaml::Node,
};

/// Fields with their values; what is not there is missing.
pub(super) struct Event<'a> {
    pub(super) id: EventId,
    fields: Vec<(FieldId, Arg, Held<'a>)>,
}

/// A value that owns what a [`Value`] borrows.
enum Held<'a> {
    One(Value<'a>),
    List(Vec<Value<'a>>),
    Any(Vec<Value<'a>>),
    Either([Value<'a>; 2]),
}

impl<'a> Event<'a> {
    pub(super) fn read(node: &'a Node) -> Result<Self, Vec<Diagnostic>> {
        let Some(pairs) = node.as_map() else {
            let message = format!("an event is a map of fields, not {}", node.describe());
            return Err(vec![Diagnostic::new(code::WRONG_TYPE, message).at(node.span)]);
        };
        let (mut fields, mut faults) = (Vec::new(), Vec::new());
        for (key, value) in pairs {
            match field(key).and_then(|(id, arg)| Ok((id, arg, held(id, value)?))) {
                Ok(field) => fields.push(field),
                Err(finding) => faults.push(finding),
            }
        }
        let id = match node.get("evt.type") {
            None => Err(Diagnostic::new(code::MISSING_KEY, "event has no `evt.type`").at(node.span)),
            Some(name) => catalog::event(name.as_text().unwrap_or("")).ok_or_else(|| {
                let shown = name.as_text().unwrap_or("");
                let message = format!("unknown event type `{}`", shown.escape_debug());
                let known = catalog::EVENTS.iter().map(|event| event.name);
                Diagnostic::new(code::UNKNOWN_EVENT, message).at(name.span).did_you_mean(shown, known)
            }),
        };
        match id {
            Ok(id) if faults.is_empty() => Ok(Self { id, fields }),
            Ok(_) => Err(faults),
            Err(finding) => {
                faults.push(finding);
                Err(faults)
            }
        }
    }
}

impl FieldSource for Event<'_> {
    fn field<'v>(&'v self, field: FieldId, arg: FieldArg<'_>) -> Value<'v> {
        let known = self.fields.iter().find(|(id, known, _)| *id == field && known.as_ref() == arg);
        match known.map(|(.., held)| held) {
            None => Value::Null,
            Some(Held::One(value)) => *value,
            Some(Held::List(values)) => Value::List(values),
            Some(Held::Any(values)) => Value::Any(values),
            Some(Held::Either(values)) => Value::Either(values),
        }
    }
}

/// The field of a key, as a condition would name it.
fn field(key: &Node) -> Result<(FieldId, Arg), Diagnostic> {
    let name = key.as_text().unwrap_or("");
    let environment = Environment { container_fields: true, strict: false };
    let (filter, findings) = Filter::compile(&format!("{name} exists"), environment);
    if let Some(filter) = &filter
        && let typed::Node::Test(test) = filter.condition()
        && let typed::Source::Field(used) = &test.left
    {
        return Ok((used.id, used.arg.clone()));
    }
    let unknown = || Diagnostic::new(code::UNKNOWN_FIELD, format!("unknown field `{}`", name.escape_debug()));
    let finding = findings.into_iter().find(Diagnostic::is_error).unwrap_or_else(unknown);
    Err(finding.at(key.span))
}

fn held(id: FieldId, node: &Node) -> Result<Held<'_>, Diagnostic> {
    let Some(items) = node.as_seq() else { return Ok(Held::One(value(id, node)?)) };
    let values = items.iter().map(|item| value(id, item)).collect::<Result<Vec<_>, _>>()?;
    Ok(match values.as_slice() {
        [one, other] if matches!(id, ids::FD_IP | ids::FD_NET | ids::FD_PORT) => Held::Either([*one, *other]),
        _ if id.def().list => Held::List(values),
        // Several values of a field that has one are those of all ancestors.
        _ => Held::Any(values),
    })
}

fn value(id: FieldId, node: &Node) -> Result<Value<'_>, Diagnostic> {
    if node.is_null() {
        return Ok(Value::Null);
    }
    let wrong = |wanted: &dyn fmt::Display| {
        let message = format!(
            "`{id}` is {wanted}, not {}",
            node.as_text()
                .map_or_else(|| node.describe().to_owned(), |text| format!("`{}`", text.escape_debug()))
        );
        Diagnostic::new(code::WRONG_TYPE, message).at(node.span)
    };
    let text = node.as_text().ok_or_else(|| wrong(&"one value"))?;
    Ok(match id.def().ty {
        FieldType::Int | FieldType::RelTime => Value::Int(text.parse().map_err(|_| wrong(&"a number"))?),
        FieldType::Uint | FieldType::Port | FieldType::AbsTime => {
            Value::Uint(text.parse().map_err(|_| wrong(&"a number that is not negative"))?)
        }
        FieldType::Float => Value::Float(text.parse().map_err(|_| wrong(&"a number"))?),
        FieldType::Bool => Value::Bool(text.parse().map_err(|_| wrong(&"`true` or `false`"))?),
        FieldType::Ip | FieldType::Net => Value::Ip(text.parse().map_err(|_| wrong(&"an address"))?),
        FieldType::Dyn => text.parse().map_or(Value::Bytes(text.as_bytes()), Value::Int),
        FieldType::Text | FieldType::Path | FieldType::Buffer => Value::Bytes(text.as_bytes()),
    })
}
