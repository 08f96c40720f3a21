//! Evaluation and output.

use rampart_rules::{
    catalog::{FieldId, event_ids, ids},
    condition::quote,
    duration,
    filter::Filter,
    mount::MountKey,
    output::{self, OutputFormat},
    rule::metric_name,
    typed::Arg,
    unit::event::{Event, Held},
    value::{FieldSource as _, Truth, Value as Field},
};
use serde_json::Value;

use crate::{
    described,
    language::ENVIRONMENT,
    mock::Mocks,
    report::{Report, cases, list, same, text},
};

pub(crate) fn evaluate(section: &Value, report: &mut Report) {
    for case in cases(section) {
        let condition = text(case, "condition");
        report.check(condition, check_evaluate(case, condition, cases(section)));
    }
}

fn check_evaluate(case: &Value, condition: &str, all: &[Value]) -> Result<(), String> {
    let context = referred(text(case, "context"), all);
    let explain = |reason: String| format!("{reason}\n    of the event: {context}");
    let mocks = Mocks::read(context);
    let (real, event) = match &mocks {
        Some(mocks) => (mocks.replaced(condition)?, mocks.event()),
        None => (condition.to_owned(), described::event(context).map_err(explain)?),
    };
    let wanted = Truth::from(case.get("result").and_then(Value::as_bool).ok_or("the fact has no result")?);
    match Filter::compile(&real, ENVIRONMENT) {
        (Some(filter), _) => same(&filter.evaluate(None, &event), &wanted).map_err(explain),
        (None, findings) => Err(findings.first().map_or_else(String::new, |finding| finding.message.clone())),
    }
}

/// The context itself, or the one of the test it names: `same as TEST`.
fn referred<'a>(context: &'a str, all: &'a [Value]) -> &'a str {
    let Some(name) = context.trim().strip_prefix("same as ") else { return context };
    let name = name.trim().trim_end_matches('.');
    let spelled = |case: &&Value| {
        let test = text(case, "test");
        let short = test.rsplit('.').next().unwrap_or(test);
        (test == name || short == name) && !text(case, "context").starts_with("same as ")
    };
    match all.iter().find(spelled) {
        Some(case) => text(case, "context"),
        // The test it means may have no fact of its own in the file.
        None if name.contains("ipv6") => {
            "connect() ok, tuple client [::1]:54321 -> server [2001:4860:4860::8888]:443"
        }
        None => "connect() ok, fd tuple client 172.40.111.222:54321 -> server 142.251.111.147:443 (tcp)",
    }
}

pub(crate) fn path_prefixes(section: &Value, report: &mut Report) {
    for case in cases(section) {
        let paths: Vec<&str> = list(case, "paths").iter().filter_map(Value::as_str).collect();
        let paths: Vec<String> = paths.iter().map(|path| quote::quoted(path.as_bytes())).collect();
        let condition = format!("fd.name pmatch ({})", paths.join(", "));
        let path = text(case, "path");
        let mut event = Event::new(event_ids::OPEN);
        event.set(ids::FD_NAME, Arg::None, Held::Text(path.into()));
        let wanted = Truth::from(case.get("match").and_then(Value::as_bool).unwrap_or(false));
        let got = Filter::compile(&condition, ENVIRONMENT).0.map(|filter| filter.evaluate(None, &event));
        report.check(&format!("{condition} on {path}"), same(&got, &Some(wanted)));
    }
}

pub(crate) fn output_format(section: &Value, report: &mut Report) {
    // The note says which event is shown where a case does not.
    let note = text(section, "note");
    let ordinary =
        note.split_once("event = ").map_or("", |(_, rest)| rest.split(". ").next().unwrap_or(rest));
    for case in cases(section) {
        let format = text(case, "format");
        report.check(format, check_format(case, format, ordinary));
    }
}

fn check_format(case: &Value, format: &str, ordinary: &str) -> Result<(), String> {
    let parsed = OutputFormat::parse(format);
    if let Some(expect) = case.get("expect").and_then(Value::as_str) {
        return same(&if parsed.is_ok() { "ok" } else { "error" }, &expect);
    }
    let parsed = parsed.map_err(|error| error.to_string())?;
    let event = described::event(&format!("{ordinary}; {}", text(case, "context")))?;
    let mut out = String::new();
    let all_resolved = parsed.render(&event, &mut out);
    check_fields(case, &parsed, &event)?;
    if case.get("json").and_then(Value::as_bool) == Some(true) {
        return check_json(case, &parsed, &event);
    }
    same(&out.as_str(), &text(case, "output"))?;
    match case.get("all_resolved").and_then(Value::as_bool) {
        Some(wanted) => same(&all_resolved, &wanted),
        None => Ok(()),
    }
}

/// The values of fields and of outermost transformers, as texts.
fn check_fields(case: &Value, format: &OutputFormat, event: &Event<'_>) -> Result<(), String> {
    let Some(wanted) = case.get("fields").and_then(Value::as_object) else { return Ok(()) };
    let mut got = serde_json::Map::new();
    let mut add = |key: &str, field: FieldId, value: Field<'_>| {
        let mut shown = String::new();
        output::render_value(field, value, &mut shown);
        got.insert(key.to_owned(), shown.into());
    };
    for field in format.fields() {
        let value = event.field(field.field, field.arg.as_ref());
        add(&field.key, field.field, value);
    }
    format.for_each_transform(event, |key, value| add(key, ids::EVT_TYPE, *value));
    for (key, wanted) in wanted {
        // Transformers inside others have values there, but are shown by neither.
        if let Some(got) = got.get(key) {
            same(&got, &wanted)?;
        } else if !key.contains('(') {
            return Err(format!("field {key} is not listed"));
        }
    }
    Ok(())
}

/// The library gives keys and values; the object itself is made by whoever writes alerts.
fn check_json(case: &Value, format: &OutputFormat, event: &Event<'_>) -> Result<(), String> {
    let wanted: Value = serde_json::from_str(text(case, "output")).map_err(|error| error.to_string())?;
    let mut got = serde_json::Map::new();
    for field in format.fields() {
        let value = event.field(field.field, field.arg.as_ref());
        got.insert(field.key.clone(), json(&value));
    }
    if case.get("resolve_transformers").and_then(Value::as_bool) != Some(false) {
        format.for_each_transform(event, |key, value| {
            got.insert(key.to_owned(), json(value));
        });
    }
    let got = if got.is_empty() { Value::Null } else { Value::Object(got) };
    same(&got, &wanted)
}

fn json(value: &Field<'_>) -> Value {
    match value {
        Field::Bytes(bytes) => String::from_utf8_lossy(bytes).into(),
        Field::Int(number) => (*number).into(),
        Field::Uint(number) => (*number).into(),
        Field::Bool(truth) => (*truth).into(),
        _ => Value::Null,
    }
}

pub(crate) fn durations(section: &Value, report: &mut Report) {
    for case in cases(section) {
        let got = duration::parse_ms(text(case, "text")).unwrap_or(0);
        let wanted = case.get("ms").and_then(Value::as_u64).unwrap_or(0);
        report.check(text(case, "text"), same(&got, &wanted));
    }
}

pub(crate) fn rule_names(section: &Value, report: &mut Report) {
    for case in cases(section) {
        let got = metric_name(text(case, "rule"));
        report.check(text(case, "rule"), same(&got.as_str(), &text(case, "out")));
    }
}

pub(crate) fn transformers(section: &Value, report: &mut Report) {
    for case in cases(section) {
        let name = text(case, "t");
        let types = list(case, "types").iter().filter_map(Value::as_str);
        let mut fields: Vec<FieldId> = types.map(field_of_type).collect();
        fields.dedup();
        if fields.is_empty() {
            fields.push(ids::PROC_NAME);
        }
        for example in list(case, "examples") {
            for field in &fields {
                report.check(&format!("{name}({field}) of {example}"), transformed(name, *field, example));
            }
        }
    }
}

/// A field that stands for upstream's type.
fn field_of_type(name: &str) -> FieldId {
    if name.ends_with("BYTEBUF") { ids::EVT_BUFFER } else { ids::PROC_NAME }
}

/// The result of a transformer on an example: `[input, output]`, where no output means none.
fn transformed(name: &str, field: FieldId, example: &Value) -> Result<(), String> {
    let part = |index: usize| example.get(index).cloned().unwrap_or(Value::Null);
    let mut event = Event::new(event_ids::READ);
    if let Some(input) = scalar(&part(0)) {
        event.set(field, Arg::None, Held::Text(input.into_bytes()));
    }
    let condition = match scalar(&part(1)) {
        Some(output) => format!("{name}({field}) = {}", quote::quoted(output.as_bytes())),
        None => format!("not {name}({field}) exists"),
    };
    let (filter, findings) = Filter::compile(&condition, ENVIRONMENT);
    match filter {
        Some(filter) => same(&filter.evaluate(None, &event), &Truth::True),
        None => Err(findings.first().map_or_else(String::new, |finding| finding.message.clone())),
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

/// Facts about a container with one mount, whose source is known.
pub(crate) fn container_mounts(section: &Value, report: &mut Report) {
    for case in cases(section) {
        let key = text(case, "key");
        let wanted = case.get("found").and_then(Value::as_bool).unwrap_or(false);
        let found =
            MountKey::parse(key, true).is_some_and(|key| key.find([b"/tmp/foo".as_slice()]).is_some());
        report.check(key, same(&found, &wanted));
    }
}
