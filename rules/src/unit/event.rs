//! An event given by its fields, by a call, or by both.

use std::fmt;

use crate::{
    catalog::{self, EventId, FieldId, FieldType, ids},
    diagnostic::{Diagnostic, code},
    filter::Filter,
    typed::{self, Arg, Environment},
    unit::{
        call::{self, Call},
        derive,
    },
    value::{FieldArg, FieldSource, Value},
    yaml::Node,
};

/// Fields with their values; what is not there is missing.
#[derive(Clone, Debug)]
pub struct Event<'a> {
    id: EventId,
    fields: Vec<(FieldId, Arg, Held<'a>)>,
}

/// A value that owns what a [`Value`] borrows.
#[derive(Clone, Debug)]
pub enum Held<'a> {
    /// One value.
    One(Value<'a>),
    /// A text, a path or a buffer.
    Text(Vec<u8>),
    /// The values of a list.
    List(Vec<Value<'a>>),
    /// The values of all ancestors, nearest first.
    Any(Vec<Value<'a>>),
    /// Both ends of a connection.
    Either([Value<'a>; 2]),
}

impl<'a> Event<'a> {
    /// An event without fields.
    pub fn new(id: EventId) -> Self {
        Self { id, fields: Vec::new() }
    }

    /// Its type.
    pub fn id(&self) -> EventId {
        self.id
    }

    /// Sets a field.
    pub fn set(&mut self, field: FieldId, arg: Arg, held: Held<'a>) {
        match self.fields.iter_mut().find(|(id, known, _)| *id == field && *known == arg) {
            Some((.., known)) => *known = held,
            None => self.fields.push((field, arg, held)),
        }
    }

    /// Sets a field, unless it is set.
    pub fn set_missing(&mut self, field: FieldId, arg: Arg, held: Held<'a>) {
        if !self.fields.iter().any(|(id, known, _)| *id == field && *known == arg) {
            self.fields.push((field, arg, held));
        }
    }

    /// Sets the fields that follow from a call; those that are set stay.
    pub fn fill(&mut self, call: &Call) {
        self.id = call.event;
        derive::fill(self, call);
    }

    /// The value of a field without argument.
    pub(super) fn value(&self, field: FieldId) -> Value<'_> {
        self.field(field, FieldArg::None)
    }

    /// A copy of the text a field holds.
    pub(super) fn owned(&self, field: FieldId) -> Option<Vec<u8>> {
        match self.value(field) {
            Value::Bytes(bytes) => Some(bytes.to_vec()),
            _ => None,
        }
    }

    /// Reads an event of a test file, whose text is `file`.
    pub(crate) fn read(node: &'a Node, file: &str) -> Result<Self, Vec<Diagnostic>> {
        let Some(pairs) = node.as_map() else {
            let message = format!("an event is a map of fields, not {}", node.describe());
            return Err(vec![Diagnostic::new(code::WRONG_TYPE, message).at(node.span)]);
        };
        let (mut fields, mut faults) = (Vec::new(), Vec::new());
        for (key, value) in pairs {
            if key.as_text() == Some(CALL) {
                continue;
            }
            match field(key).and_then(|(id, arg)| Ok((id, arg, held(id, value)?))) {
                Ok(field) => fields.push(field),
                Err(finding) => faults.push(finding),
            }
        }
        let id = match (node.get(CALL), node.get("evt.type")) {
            (Some(call), None) => read_call(call, file).map(|call| (call.event, Some(call))),
            (Some(_), Some(both)) => {
                let message = "the call tells the event type: `evt.type` must not stand beside it";
                Err(Diagnostic::new(code::WRONG_TYPE, message).at(both.span))
            }
            (None, Some(name)) => named(name).map(|id| (id, None)),
            (None, None) => Err(Diagnostic::new(code::MISSING_KEY, "event has no `evt.type`")
                .at(node.span)
                .help("or write it as a call: `call: open(\"/etc/shadow\", O_RDONLY) = 3`")),
        };
        match id {
            Ok((id, call)) if faults.is_empty() => {
                let mut event = Self { id, fields };
                if let Some(call) = call {
                    event.fill(&call);
                }
                Ok(event)
            }
            Ok(_) => Err(faults),
            Err(finding) => {
                faults.push(finding);
                Err(faults)
            }
        }
    }
}

/// The key of an event that holds a call.
pub(crate) const CALL: &str = "call";

fn read_call(node: &Node, file: &str) -> Result<Call, Diagnostic> {
    let Some(text) = node.as_text() else {
        let message = format!("a call is a text, not {}", node.describe());
        return Err(Diagnostic::new(code::WRONG_TYPE, message).at(node.span));
    };
    call::parse(text).map_err(|error| {
        let mut finding =
            Diagnostic::new(code::SYNTAX, error.message).at(node.mapped(file).span(error.range));
        finding.help = error.help;
        finding
    })
}

fn named(name: &Node) -> Result<EventId, Diagnostic> {
    let shown = name.as_text().unwrap_or("");
    catalog::event(shown).ok_or_else(|| {
        let message = format!("unknown event type `{}`", shown.escape_debug());
        let known = catalog::EVENTS.iter().map(|event| event.name);
        Diagnostic::new(code::UNKNOWN_EVENT, message).at(name.span).did_you_mean(shown, known)
    })
}

impl FieldSource for Event<'_> {
    fn field<'v>(&'v self, field: FieldId, arg: FieldArg<'_>) -> Value<'v> {
        let known = self.fields.iter().find(|(id, known, _)| *id == field && known.as_ref() == arg);
        match known.map(|(.., held)| held) {
            None => Value::Null,
            Some(Held::One(value)) => *value,
            Some(Held::Text(text)) => Value::Bytes(text),
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
