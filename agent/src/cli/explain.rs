//! `rampart explain`: the catalogue, one rule, or one code.

mod kernel;

use std::{fmt::Write as _, io, sync::Arc};

use clap::Args;
use rampart_rules::{
    catalog::{ArgForm, ArgKind, EVENTS, EventId, FIELDS, Field, FieldId, FieldType, event, field},
    diagnostic::Code,
    rule::Rule,
};

use super::{Outcome, PolicyArgs, complain, complain_config, print};
use crate::{config::keys::closest, engine::fields::fillable, event::syscall, policy, pushdown::Plan};

pub(super) const EXAMPLES: &str = "\
Examples:
  rampart explain fields                      every field a rule may use
  rampart explain fields proc.                those whose name starts so
  rampart explain fd.name                     one field
  rampart explain events                      every event type
  rampart explain openat                      one event type with its parameters
  rampart explain RMP0001                     what the code of a finding means
  rampart explain -r rules/ 'My rule'         a rule as it was understood";

#[derive(Args, Clone, Debug)]
pub(super) struct Arguments {
    /// `fields`, `events`, or the name of a field, event type, rule or code
    #[arg(value_name = "TOPIC")]
    topic: String,
    /// With `fields` or `events`: only names that start so
    #[arg(value_name = "PREFIX")]
    prefix: Option<String>,
    #[command(flatten)]
    policy: PolicyArgs,
}

pub(super) fn run(arguments: &Arguments) -> io::Result<Outcome> {
    let topic = arguments.topic.as_str();
    let prefix = arguments.prefix.as_deref().unwrap_or_default();
    let text = match topic {
        "fields" => fields(prefix),
        "events" => events(prefix),
        _ => match (Code::find(topic), field(topic), event(topic)) {
            (Some(code), ..) => code_text(code),
            (_, Some(id), _) => field_text(id),
            (_, _, Some(id)) => event_text(id),
            _ => return rule(topic, &arguments.policy),
        },
    };
    if text.is_empty() {
        return Ok(complain(&format!("no name of {topic} starts with `{prefix}`")));
    }
    print::data(&text)?;
    Ok(Outcome::Clean)
}

fn fields(prefix: &str) -> String {
    let mut rows = Vec::new();
    for (field, id) in FIELDS.iter().zip(0..) {
        if field.hidden || !field.name.starts_with(prefix) {
            continue;
        }
        let filled = if fillable(FieldId(id)) { "" } else { "(not filled yet) " };
        rows.push(vec![usage(field), type_name(field), format!("{filled}{}", field.desc)]);
    }
    print::table(&rows)
}

/// The field as a rule writes it.
fn usage(field: &Field) -> String {
    match field.arg {
        ArgKind::None => field.name.to_owned(),
        ArgKind::Optional(form) => format!("{}[[{}]]", field.name, form_name(form)),
        ArgKind::Required(form) => format!("{}[{}]", field.name, form_name(form)),
    }
}

const fn form_name(form: ArgForm) -> &'static str {
    match form {
        ArgForm::Index => "N",
        ArgForm::Key => "KEY",
        ArgForm::Any => "N|KEY",
    }
}

fn type_name(field: &Field) -> String {
    let name = match field.ty {
        FieldType::Int => "int",
        FieldType::Uint => "uint",
        FieldType::Float => "float",
        FieldType::Bool => "bool",
        FieldType::Text => "text",
        FieldType::Path => "path",
        FieldType::Buffer => "bytes",
        FieldType::Ip => "address",
        FieldType::Net => "network",
        FieldType::Port => "port",
        FieldType::RelTime => "duration",
        FieldType::AbsTime => "time",
        FieldType::Dyn => "by argument",
    };
    if field.list { format!("list of {name}") } else { name.to_owned() }
}

fn field_text(id: FieldId) -> String {
    let field = id.def();
    let mut text = format!("{}: {}\n  {}\n", usage(field), type_name(field), field.desc);
    let notes = [
        (!fillable(id), "This version does not fill it: it is missing on every event."),
        (field.filter_only, "It can be compared, not printed."),
        (field.deprecated, "New rules should not use it."),
        (field.suggested, "Alerts show it without being asked."),
    ];
    for (_, note) in notes.iter().filter(|(holds, _)| *holds) {
        text.extend(["  ", note, "\n"]);
    }
    text
}

fn events(prefix: &str) -> String {
    let mut rows = Vec::new();
    for (event, id) in EVENTS.iter().zip(0..) {
        if event.name.starts_with(prefix) {
            let params: Vec<&str> = event.params.iter().map(|param| param.name).collect();
            rows.push(vec![event.name.to_owned(), captured(EventId(id)).to_owned(), params.join(" ")]);
        }
    }
    print::table(&rows)
}

/// Whether this version can deliver the event.
fn captured(event: EventId) -> &'static str {
    if syscall::deliverable(event) { "captured" } else { "-" }
}

fn event_text(id: EventId) -> String {
    let Some(event) = id.def() else { return String::new() };
    let mut text = format!("{}: {:?} event, category {:?}\n", event.name, event.kind, event.category);
    if !syscall::deliverable(id) {
        text.push_str("  This version does not capture it: rules on it never match.\n");
    }
    for param in event.params {
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "  evt.arg.{}: {:?}", param.name, param.ty);
    }
    text
}

fn code_text(code: Code) -> String {
    let info = code.info();
    let mut text = format!("{code} ({}): {}\n", info.severity, info.title);
    if let Some(falco) = info.falco {
        let _ = writeln!(text, "  Falco's loader calls it {falco}.");
    }
    // The page begins with the code and the title, which are said already.
    if let Some((_, page)) = info.explanation.split_once("\n\n") {
        text.push('\n');
        text.push_str(page);
    }
    text
}

fn rule(name: &str, policy: &PolicyArgs) -> io::Result<Outcome> {
    let config = match policy.sources().load() {
        Ok(config) => config,
        Err(faults) => return Ok(complain_config(&faults)),
    };
    let (bundle, _, texts) = match policy::load(&config.rules, &config.trading).into_bundle() {
        Ok(loaded) => loaded,
        Err(error) => return Ok(complain(&error.to_string())),
    };
    let all = || bundle.rules.rules().iter().chain(bundle.rules.disabled());
    let Some(rule) = all()
        .find(|rule| rule.name == name)
        .or_else(|| all().find(|rule| rule.name.eq_ignore_ascii_case(name)))
    else {
        let names = all().map(|rule| rule.name.as_str()).chain(FIELDS.iter().map(|field| field.name));
        let near = closest(names, name).map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
        return Ok(complain(&format!(
            "`{name}` is no rule of these files, no field, event type or code{near}"
        )));
    };
    let place = texts.locate(rule.span).map(|at| format!("{}:{}:{}", at.file, at.line, at.column));
    let Some(position) = bundle.rules.position(rule.id) else {
        print::data(&rule_text(rule, place.as_deref(), &[]))?;
        return Ok(Outcome::Clean);
    };
    let plan = Plan::new(Arc::clone(&bundle.rules), 1);
    let mut text = rule_text(rule, place.as_deref(), &plan.counted_events(position));
    text.push_str(&kernel::text(&plan.report(position)));
    print::data(&text)?;
    Ok(Outcome::Clean)
}

/// `counted` are the events that the kernel can count.
fn rule_text(rule: &Rule, place: Option<&str>, counted: &[&str]) -> String {
    let (mut captured, mut missing) = (Vec::new(), Vec::new());
    for id in rule.events.iter() {
        let list = if syscall::deliverable(id) { &mut captured } else { &mut missing };
        list.extend(id.def().map(|event| event.name));
    }
    // A rule that does not name its events is tried on all; the list would hide that.
    let all = captured.len() + missing.len() == EVENTS.len();
    let fields: Vec<&str> = rule.output.fields().map(|field| field.key.as_str()).collect();
    let mut rows = vec![
        row("rule", &rule.name),
        row("desc", rule.desc.trim()),
        row("priority", rule.priority.as_str()),
        row("tags", &rule.tags.join(", ")),
        row("source", &rule.source),
        row("defined", place.unwrap_or("built in")),
        row("enabled", if rule.enabled { "yes" } else { "no" }),
        row("events", &if all { "all".to_owned() } else { captured.join(", ") }),
    ];
    if !all && !missing.is_empty() {
        rows.push(row("not captured", &missing.join(", ")));
    }
    rows.push(row("condition", &rule.condition_text));
    if let Some(window) = &rule.window {
        let by = match counted {
            [] => "counted in the agent".to_owned(),
            events => {
                format!("counted in the kernel on connections ({}), else in the agent", events.join(", "))
            }
        };
        rows.push(row("window", &format!("{window}; {by}")));
    }
    rows.push(row("output", rule.output.text()));
    rows.push(row("output fields", &fields.join(", ")));
    print::table(&rows)
}

fn row(name: &str, value: &str) -> Vec<String> {
    vec![name.to_owned(), value.split_whitespace().collect::<Vec<_>>().join(" ")]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_field_table_shows_arguments_types_and_gaps() {
        let table = fields("proc.aname");
        assert!(table.lines().next().unwrap().starts_with("proc.aname[[N"), "{table}");
        assert!(fields("nothing.").is_empty());
        let shown = FIELDS.iter().filter(|field| !field.hidden).count();
        assert_eq!(fields("").lines().count(), shown);
        for line in fields("").lines() {
            assert!(line.split("  ").filter(|part| !part.is_empty()).count() >= 3, "{line}");
        }
    }

    #[test]
    fn the_event_table_says_what_is_captured() {
        assert!(events("openat").lines().all(|line| line.contains("captured")), "{}", events("openat"));
        assert!(
            event_text(event("openat").unwrap()).contains("evt.arg.name"),
            "parameters are named as rules do"
        );
    }
}
