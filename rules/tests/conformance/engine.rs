//! Evaluation and output.

use rampart_rules::{
    duration,
    filter::Filter,
    mount::MountKey,
    output::OutputFormat,
    rule::metric_name,
    value::{Truth, Value as Field},
};
use serde_json::Value;

use crate::{
    contexts,
    event::Event,
    language::ENVIRONMENT,
    report::{Report, cases, list, same, text},
};

pub(crate) fn evaluate(section: &Value, report: &mut Report) {
    for case in cases(section) {
        let condition = text(case, "condition");
        let context = text(case, "context");
        let Some(event) = contexts::event(context) else {
            report.check(condition, Err(format!("no such event here: {context}")));
            continue;
        };
        let real = condition
            .replace("c.true", "proc.name")
            .replace("c.false", "proc.pname")
            .replace("c.singlequote", "proc.exe")
            .replace("c.doublequote", "proc.pexe");
        let wanted = Truth::from(case.get("result").and_then(Value::as_bool).unwrap_or(false));
        let result = match Filter::compile(&real, ENVIRONMENT) {
            (Some(filter), _) => same(&filter.evaluate(None, &event), &wanted),
            (None, findings) => {
                Err(findings.first().map_or_else(String::new, |finding| finding.message.clone()))
            }
        };
        report.check(condition, result);
    }
}

pub(crate) fn path_prefixes(section: &Value, report: &mut Report) {
    for case in cases(section) {
        let paths: Vec<&str> = list(case, "paths").iter().filter_map(Value::as_str).collect();
        let condition = format!("fd.name pmatch ({})", paths.join(", "));
        let path: &'static str = text(case, "path").to_owned().leak();
        let event = Event::new(&[("fd.name", Field::Bytes(path.as_bytes()))]);
        let wanted = Truth::from(case.get("match").and_then(Value::as_bool).unwrap_or(false));
        let got = Filter::compile(&condition, ENVIRONMENT).0.map(|filter| filter.evaluate(None, &event));
        report.check(&format!("{condition} on {path}"), same(&got, &Some(wanted)));
    }
}

pub(crate) fn output_format(section: &Value, report: &mut Report) {
    for case in cases(section) {
        let format = text(case, "format");
        report.check(format, check_format(case, format));
    }
}

fn check_format(case: &Value, format: &str) -> Result<(), String> {
    let parsed = OutputFormat::parse(format);
    if let Some(expect) = case.get("expect").and_then(Value::as_str) {
        return same(&if parsed.is_ok() { "ok" } else { "error" }, &expect);
    }
    let parsed = parsed.map_err(|error| error.to_string())?;
    let ancestors: &'static [Field<'static>] = if text(case, "context").contains("bash") {
        &[Field::Bytes(b"bash"), Field::Bytes(b"init")]
    } else {
        &[]
    };
    let event = Event::new(&[
        ("proc.name", Field::Bytes(b"init")),
        ("thread.tid", Field::Int(1)),
        ("proc.aname[0]", Field::Bytes(b"init")),
        ("proc.aname", Field::Any(ancestors)),
        ("evt.arg[1]", Field::Bytes(b"/test/dir")),
        ("evt.arg.path", Field::Bytes(b"/test/dir")),
    ]);
    let mut out = String::new();
    let all_resolved = parsed.render(&event, &mut out);
    if case.get("json").and_then(Value::as_bool) == Some(true) {
        return check_json(case, &parsed, &event);
    }
    same(&out.as_str(), &text(case, "output"))?;
    match case.get("all_resolved").and_then(Value::as_bool) {
        Some(wanted) => same(&all_resolved, &wanted),
        None => Ok(()),
    }
}

/// The library gives keys and values; the object itself is made by whoever writes alerts.
fn check_json(case: &Value, format: &OutputFormat, event: &Event) -> Result<(), String> {
    let wanted: Value = serde_json::from_str(text(case, "output")).map_err(|error| error.to_string())?;
    let mut got = serde_json::Map::new();
    for field in format.fields() {
        let value = rampart_rules::value::FieldSource::field(event, field.field, field.arg.as_ref());
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
        for example in list(case, "examples") {
            let part = |index: usize| example.get(index).and_then(Value::as_str).unwrap_or("");
            let input: &'static str = part(0).to_owned().leak();
            let condition = format!("{name}(proc.name) = '{}'", part(1));
            let event = Event::new(&[("proc.name", Field::Bytes(input.as_bytes()))]);
            let got = Filter::compile(&condition, ENVIRONMENT).0.map(|filter| filter.evaluate(None, &event));
            report.check(&format!("{condition} on {input}"), same(&got, &Some(Truth::True)));
        }
    }
}

/// Facts about a container with one mount, whose source is known.
pub(crate) fn container_mounts(section: &Value, report: &mut Report) {
    for case in cases(section) {
        let key = text(case, "key");
        let wanted = case.get("found").and_then(Value::as_bool).unwrap_or(false);
        let found = MountKey::parse(key, true).map(|key| key.find([b"/tmp/foo".as_slice()]).is_some());
        report.check(key, same(&found, &Some(wanted)));
    }
}
