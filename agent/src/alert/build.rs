//! A match to an alert: fills the rule's output from the event's fields.

use std::{collections::BTreeMap, sync::Arc};

use rampart_rules::{
    catalog::{FIELDS, FieldId, ids},
    output::OutputFormat,
    rule::{Priority, Rule},
    value::{FieldSource, Value},
};
use serde_json::{Number, Value as Json};

use super::{Alert, AlertIds, INTERNAL_SOURCE};
use crate::engine::clock::{Clock, iso_into};

/// How alerts are written.
#[derive(Clone, Debug)]
pub struct Style {
    /// Name of the node.
    pub hostname: Arc<str>,
    /// Whether the text form shows the time in ISO 8601 and UTC.
    pub iso_time: bool,
    /// What is appended to every output, if anything.
    pub suffix: Option<OutputFormat>,
    /// Digest of the policy.
    pub policy_digest: Option<Arc<str>>,
}

/// The output that shows the fields which the catalogue suggests for every alert, in Falco's form.
pub fn suggested_output() -> Option<OutputFormat> {
    let mut format = String::from("*");
    for field in FIELDS.iter().filter(|field| field.suggested) {
        format.push(' ');
        format.push_str(&field.name.replace('.', "_"));
        format.push_str("=%");
        format.push_str(field.name);
    }
    OutputFormat::parse(&format).ok()
}

/// The alert of a rule that matched an event.
pub fn alert<S: FieldSource>(
    rule: &Rule,
    source: &S,
    wall_ns: u64,
    clock: &Clock,
    style: &Style,
    ids: &mut AlertIds,
) -> Alert {
    let mut message = String::with_capacity(256);
    let mut fields = BTreeMap::new();
    for format in std::iter::once(&rule.output).chain(&style.suffix) {
        format.render(source, &mut message);
        for field in format.fields() {
            let value = source.field(field.field, field.arg.as_ref());
            fields.insert(field.key.clone(), json(field.field, &value, wall_ns));
        }
    }
    let time_text = stamp(wall_ns, clock, style, &mut fields);
    let (sequence, uuid) = ids.next(wall_ns);
    Alert {
        rule: rule.name.clone(),
        priority: rule.priority,
        source: rule.source.clone(),
        tags: Some(rule.tags.clone()),
        hostname: Arc::clone(&style.hostname),
        time_ns: wall_ns,
        time_text,
        message,
        fields,
        uuid,
        sequence,
        policy_digest: style.policy_digest.clone(),
        wait: None,
        order: None,
    }
}

/// Something the agent says about itself.
#[derive(Clone, Debug)]
pub struct Internal {
    /// What happened; the rule's name is `Rampart internal: WHAT`.
    pub what: &'static str,
    /// Severity.
    pub priority: Priority,
    /// One sentence without a final period.
    pub message: String,
    /// The facts of the message, by name.
    pub fields: BTreeMap<String, Json>,
}

/// An alert of the agent about itself.
pub fn internal(notice: Internal, wall_ns: u64, clock: &Clock, style: &Style, ids: &mut AlertIds) -> Alert {
    let mut fields = notice.fields;
    let time_text = stamp(wall_ns, clock, style, &mut fields);
    let (sequence, uuid) = ids.next(wall_ns);
    let rule = format!("Rampart internal: {}", notice.what);
    Alert {
        message: format!("{rule}: {}", notice.message),
        rule,
        priority: notice.priority,
        source: INTERNAL_SOURCE.to_owned(),
        tags: None,
        hostname: Arc::clone(&style.hostname),
        time_ns: wall_ns,
        time_text,
        fields,
        uuid,
        sequence,
        policy_digest: style.policy_digest.clone(),
        wait: None,
        order: None,
    }
}

/// The time of the text form; also adds the field it stands for.
fn stamp(wall_ns: u64, clock: &Clock, style: &Style, fields: &mut BTreeMap<String, Json>) -> String {
    let mut text = String::with_capacity(32);
    let field = if style.iso_time {
        iso_into(wall_ns, "+0000", &mut text);
        ids::EVT_TIME_ISO8601
    } else {
        clock.time_into(wall_ns, &mut text);
        ids::EVT_TIME
    };
    fields.insert(field.def().name.to_owned(), wall_ns.into());
    text
}

/// A value in the JSON form of alerts: numbers as numbers, times of the event as nanoseconds, the rest as text.
fn json(field: FieldId, value: &Value<'_>, wall_ns: u64) -> Json {
    if matches!(field, ids::EVT_TIME | ids::EVT_TIME_S | ids::EVT_TIME_ISO8601) {
        return wall_ns.into();
    }
    match value {
        Value::Null | Value::Unknown | Value::Either(_) => Json::Null,
        Value::Bool(truth) => (*truth).into(),
        Value::Int(number) => (*number).into(),
        Value::Uint(number) => (*number).into(),
        Value::Float(number) => Number::from_f64(*number).map_or(Json::Null, Json::Number),
        Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned().into(),
        Value::Ip(ip) => ip.to_string().into(),
        Value::List(values) => {
            values.iter().map(|value| json(field, value, wall_ns)).collect::<Vec<_>>().into()
        }
        Value::Any(values) => joined(values).into(),
    }
}

/// The values of all ancestors, nearest first.
fn joined(values: &[Value<'_>]) -> String {
    let mut text = String::new();
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            text.push(' ');
        }
        match value {
            Value::Bytes(bytes) => text.push_str(&String::from_utf8_lossy(bytes)),
            Value::Int(number) => text.push_str(&number.to_string()),
            _ => {}
        }
    }
    text
}
