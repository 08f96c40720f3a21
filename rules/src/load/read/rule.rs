//! Rules: definitions, appends and overrides.

use std::collections::BTreeSet;

use super::{Read, Reader, item::Item};
use crate::{
    catalog::ids,
    diagnostic::{Diagnostic, code},
    load::{
        collect::RuleDraft,
        exception::{self, Exception},
        response, window,
    },
    response::Responses,
    rule::Priority,
    source::Mapped,
    typed::Environment,
    yaml::Node,
};

const KEYS: [&str; 15] = [
    "rule",
    "condition",
    "output",
    "desc",
    "priority",
    "source",
    "enabled",
    "tags",
    "warn_evttypes",
    "skip-if-unknown-filter",
    "exceptions",
    "capture",
    "capture_duration",
    "override",
    "append",
];

/// Keys that Falco does not have.
const OWN_KEYS: [&str; 5] = {
    let [threshold, throttle, active, sequence] = window::KEYS;
    [threshold, throttle, active, sequence, response::KEY]
};

/// Keys an override may append to.
const APPENDABLE: [&str; 5] = ["condition", "output", "desc", "tags", "exceptions"];

/// Keys an override may replace.
const REPLACEABLE: [&str; 16] = [
    "condition",
    "output",
    "desc",
    "tags",
    "exceptions",
    "priority",
    "enabled",
    "capture",
    "capture_duration",
    "warn_evttypes",
    "skip-if-unknown-filter",
    "threshold",
    "throttle",
    "active",
    "sequence",
    response::KEY,
];

/// Values of the keys a rule item may have.
#[derive(Default)]
struct Values {
    condition: Option<Mapped>,
    output: Option<Mapped>,
    desc: Option<String>,
    priority: Option<Priority>,
    source: Option<String>,
    enabled: Option<bool>,
    tags: Option<BTreeSet<String>>,
    warn_evttypes: Option<bool>,
    skip_if_unknown: Option<bool>,
    exceptions: Option<Vec<Exception>>,
    capture: Option<bool>,
    capture_duration_ms: Option<u64>,
    window: window::Draft,
    responses: Option<Responses>,
}

impl Reader<'_> {
    pub(super) fn rule(&mut self, node: &Node) -> Read<()> {
        let item = Item::named(node, "rule")?;
        // Falco has none of these: in its strict mode these keys are unknown, as there.
        let own: &[&str] = if self.options.strict_falco { &[] } else { &OWN_KEYS };
        self.unknown_keys(item, &[KEYS.as_slice(), own].concat());
        let append = self.append_key(item)?;
        if let Some(node) = item.get("override") {
            if append {
                return Err(Box::new(item.fault_at(
                    "append",
                    code::BAD_OVERRIDE,
                    "`append` and `override` exclude each other",
                )));
            }
            return self.rule_override(item, node);
        }
        let values = self.values(item, append)?;
        if append && let Some(key) = OWN_KEYS.into_iter().find(|key| item.get(key).is_some()) {
            let message = format!("`{key}` cannot be appended to, only replaced");
            return Err(Box::new(item.fault_at(key, code::BAD_OVERRIDE, message)));
        }
        if append {
            return self.rule_append(item, values);
        }
        let defines = ["condition", "output", "desc", "priority"].iter().any(|key| item.get(key).is_some());
        if !defines && let Some(enabled) = values.enabled {
            self.diagnostics.push(
                item.fault_at("enabled", code::DEPRECATED, "key `enabled` alone is deprecated")
                    .help("add `override: {enabled: replace}`"),
            );
            match self.collection.rules.get_mut(item.name) {
                Some(rule) => rule.enabled = enabled,
                None => return Err(self.no_target(item)),
            }
            return Ok(());
        }
        self.rule_define(item, values)
    }

    fn rule_define(&mut self, item: Item<'_>, values: Values) -> Read<()> {
        let missing: Vec<&str> = ["condition", "output", "desc", "priority"]
            .into_iter()
            .filter(|key| item.get(key).is_none())
            .collect();
        let (Some(condition), Some(output), Some(desc), Some(priority)) =
            (values.condition, values.output, values.desc, values.priority)
        else {
            let message = format!("rule `{}` has no `{}`", item.name.escape_debug(), missing.join("`, `"));
            return Err(Box::new(
                item.fault_at("rule", code::INCOMPLETE_RULE, message)
                    .help("a rule needs `condition`, `output`, `desc` and `priority`"),
            ));
        };
        if values.source.as_deref() == Some("") {
            return Err(Box::new(item.fault_at("source", code::WRONG_TYPE, "`source` must not be empty")));
        }
        let source = values.source.unwrap_or_else(|| "syscall".to_owned());
        if let Some(old) = self.collection.rules.get(item.name)
            && old.source != source
        {
            return Err(Box::new(source_changed(item, old)));
        }
        let unknown_source = !self.options.sources.contains(&source);
        if unknown_source {
            self.diagnostics.push(
                item.fault(
                    code::UNKNOWN_SOURCE,
                    format!("unknown source `{}`, the rule is skipped", source.escape_debug()),
                )
                .at(item.value_span("source"))
                .did_you_mean(&source, self.options.sources.iter().map(String::as_str)),
            );
        }
        let mut exceptions = values.exceptions.unwrap_or_default();
        if !unknown_source {
            self.validate(&mut exceptions)?;
        }
        let output = self.clean_output(item, &output);
        self.collection.tick();
        let rule = RuleDraft {
            name: item.name.to_owned(),
            desc,
            condition,
            output,
            priority,
            source,
            unknown_source,
            enabled: values.enabled.unwrap_or(true),
            tags: values.tags.unwrap_or_default(),
            warn_evttypes: values.warn_evttypes.unwrap_or(true),
            skip_if_unknown: values.skip_if_unknown.unwrap_or(false),
            exceptions,
            capture: values.capture.unwrap_or(false),
            capture_duration_ms: values.capture_duration_ms.unwrap_or(0),
            window: values.window,
            responses: values.responses,
            span: item.name_span(),
        };
        let old = self.collection.rules.get(item.name).map(|old| old.span);
        self.redefines(item, old);
        self.collection.rules.set(item.name, rule);
        Ok(())
    }

    fn rule_override(&mut self, item: Item<'_>, node: &Node) -> Read<()> {
        let Some(pairs) = node.as_map() else { return Err(item.wrong_type(node, "override", "a map")) };
        let bad = |span, message: String| Box::new(item.fault(code::BAD_OVERRIDE, message).at(span));
        let (mut appended, mut replaced) = (Vec::new(), Vec::new());
        for (key, operation) in pairs {
            let name = key.as_text().unwrap_or("");
            let shown = name.escape_debug();
            match operation.as_text() {
                Some("append") if APPENDABLE.contains(&name) => appended.push(name),
                Some("append") if REPLACEABLE.contains(&name) => {
                    return Err(bad(
                        operation.span,
                        format!("`{shown}` cannot be appended to, only replaced"),
                    ));
                }
                Some("replace") if REPLACEABLE.contains(&name) => replaced.push(name),
                Some("append" | "replace") => {
                    let mut finding = bad(key.span, format!("`{shown}` of a rule cannot be overridden"));
                    *finding = finding.did_you_mean(name, REPLACEABLE);
                    return Err(finding);
                }
                _ => {
                    let message = "an override is either `append` or `replace`".to_owned();
                    return Err(bad(operation.span, message));
                }
            }
            if item.get(name).is_none() {
                return Err(bad(key.span, format!("`{shown}` is overridden but no value is given for it")));
            }
        }
        for (key, _) in item.node.as_map().unwrap_or_default() {
            let name = key.as_text().unwrap_or("");
            if self.options.strict_falco && OWN_KEYS.contains(&name) {
                continue;
            }
            let named = appended.contains(&name) || replaced.contains(&name);
            if REPLACEABLE.contains(&name) && !named {
                let message = format!("`{name}` is given but not named under `override`");
                let mut finding = bad(key.span, message);
                finding.help = Some(format!("add `{name}: replace` to `override`, or remove `{name}`"));
                return Err(finding);
            }
        }
        let values = self.values(item, appended.contains(&"exceptions"))?;
        let (mut additions, mut replacements) = (Values::default(), Values::default());
        additions.source.clone_from(&values.source);
        split(values, &appended, &mut additions, &mut replacements);
        if self.collection.rules.get(item.name).is_none() {
            return Err(self.no_target(item));
        }
        self.rule_append(item, additions)?;
        self.rule_replace(item, replacements)
    }

    fn rule_append(&mut self, item: Item<'_>, values: Values) -> Read<()> {
        let Some(rule) = self.collection.rules.get(item.name) else { return Err(self.no_target(item)) };
        if values.source.as_ref().is_some_and(|source| !source.is_empty() && *source != rule.source) {
            return Err(Box::new(source_changed(item, rule)));
        }
        let unknown_source = rule.unknown_source;
        let mut fresh = Vec::new();
        let mut more = Vec::new();
        for exception in values.exceptions.unwrap_or_default() {
            if rule.exceptions.iter().any(|known| known.name == exception.name) {
                if exception.fields.is_some() || exception.comps.is_some() {
                    let message = format!(
                        "exception `{}` exists already, so only `values` can be appended to it",
                        exception.name
                    );
                    let fault = item.fault(code::EXCEPTION_INVALID, message).at(exception.span);
                    return Err(Box::new(fault.item("exception", &exception.name)));
                }
                more.push(exception);
            } else if exception.fields.is_none() || exception.values.is_empty() {
                let message = format!("new exception `{}` needs `fields` and `values`", exception.name);
                let fault = item.fault(code::EXCEPTION_INVALID, message).at(exception.span);
                return Err(Box::new(fault.item("exception", &exception.name)));
            } else {
                fresh.push(exception);
            }
        }
        if !unknown_source {
            self.validate(&mut fresh)?;
        }
        let output = values.output.map(|output| self.clean_output(item, &output));
        self.collection.tick();
        let Some(rule) = self.collection.rules.get_mut(item.name) else { return Ok(()) };
        if let Some(condition) = &values.condition {
            rule.condition.push_fixed(" ", item.node.span);
            rule.condition.push_mapped(condition);
        }
        if let Some(output) = &output {
            rule.output.push_fixed(" ", item.node.span);
            rule.output.push_mapped(output);
        }
        if let Some(desc) = &values.desc {
            rule.desc.push(' ');
            rule.desc.push_str(desc);
        }
        rule.tags.extend(values.tags.unwrap_or_default());
        for exception in more {
            if let Some(known) = rule.exceptions.iter_mut().find(|known| known.name == exception.name) {
                known.values.extend(exception.values);
            }
        }
        rule.exceptions.extend(fresh);
        Ok(())
    }

    fn rule_replace(&mut self, item: Item<'_>, values: Values) -> Read<()> {
        let mut exceptions = values.exceptions;
        let unknown_source = self.collection.rules.get(item.name).is_none_or(|rule| rule.unknown_source);
        if let Some(exceptions) = &mut exceptions
            && !unknown_source
        {
            self.validate(exceptions)?;
        }
        let output = values.output.map(|output| self.clean_output(item, &output));
        self.collection.tick();
        let Some(rule) = self.collection.rules.get_mut(item.name) else { return Ok(()) };
        replace(&mut rule.condition, values.condition);
        replace(&mut rule.output, output);
        replace(&mut rule.desc, values.desc);
        replace(&mut rule.priority, values.priority);
        replace(&mut rule.enabled, values.enabled);
        replace(&mut rule.tags, values.tags);
        replace(&mut rule.warn_evttypes, values.warn_evttypes);
        replace(&mut rule.skip_if_unknown, values.skip_if_unknown);
        replace(&mut rule.exceptions, exceptions);
        replace(&mut rule.capture, values.capture);
        replace(&mut rule.capture_duration_ms, values.capture_duration_ms);
        let window = values.window;
        rule.window.threshold = window.threshold.or_else(|| rule.window.threshold.take());
        rule.window.throttle = window.throttle.or_else(|| rule.window.throttle.take());
        rule.window.active = window.active.or_else(|| rule.window.active.take());
        rule.window.sequence = window.sequence.or_else(|| rule.window.sequence.take());
        rule.responses = values.responses.or_else(|| rule.responses.take());
        Ok(())
    }

    /// Reads all keys that are there.
    fn values(&mut self, item: Item<'_>, append: bool) -> Read<Values> {
        let priority = match item.text("priority")? {
            None => None,
            Some(text) => Some(text.parse().map_err(|_| {
                let names = Priority::ALL.into_iter().map(Priority::as_str);
                let message = format!("unknown priority `{}`", text.escape_debug());
                let listed = names.clone().collect::<Vec<_>>().join(", ");
                let finding = item
                    .fault(code::BAD_PRIORITY, message)
                    .at(item.value_span("priority"))
                    .help(format!("a priority is one of {listed}"));
                Box::new(finding.did_you_mean(&capitalised(text), names))
            })?),
        };
        let tags = item.scalars("tags")?.map(|tags| {
            tags.into_iter().filter_map(|tag| tag.as_text().map(str::to_owned)).collect::<BTreeSet<_>>()
        });
        let exceptions = match item.get("exceptions") {
            Some(node) if !node.is_null() => {
                let mut found = Vec::new();
                let read = exception::read(node, self.text, append, &mut found);
                let named = |mut finding: Diagnostic| {
                    if finding.item.is_none() {
                        finding = finding.item(item.kind, item.name);
                    }
                    finding
                };
                self.diagnostics.extend(found.into_iter().map(named));
                Some(read.map_err(|finding| Box::new(named(finding)))?)
            }
            _ => None,
        };
        Ok(Values {
            condition: item.mapped("condition", self.text)?,
            output: item.mapped("output", self.text)?,
            desc: item.text("desc")?.map(str::to_owned),
            priority,
            source: item.text("source")?.map(str::to_owned),
            enabled: item.bool("enabled")?,
            tags,
            warn_evttypes: item.bool("warn_evttypes")?,
            skip_if_unknown: item.bool("skip-if-unknown-filter")?,
            exceptions,
            capture: item.bool("capture")?,
            capture_duration_ms: item.number("capture_duration")?,
            window: if self.options.strict_falco {
                window::Draft::default()
            } else {
                window::Draft::read(item, self.text)?
            },
            responses: if self.options.strict_falco { None } else { response::read(item)? },
        })
    }

    fn validate(&self, exceptions: &mut [Exception]) -> Read<()> {
        let environment = Environment {
            container_fields: self.options.plugins.iter().any(|plugin| plugin.name == "container"),
            strict: self.options.strict_falco,
        };
        for exception in exceptions {
            if let Err(finding) = exception.validate(environment) {
                return Err(Box::new(finding.item("exception", &exception.name)));
            }
        }
        Ok(())
    }

    /// Trims an output and takes the tokens out that mean nothing any more.
    fn clean_output(&mut self, item: Item<'_>, output: &Mapped) -> Mapped {
        const GONE: &str = "%container.info";
        let text = output.text();
        let start = text.len() - text.trim_start().len();
        let end = start + text.trim().len();
        let mut cleaned = Mapped::default();
        let mut from = start;
        while let Some(at) = text.get(from..end).and_then(|rest| rest.find(GONE)) {
            cleaned.push_range(output, from..from + at);
            from += at + GONE.len();
            self.diagnostics.push(
                item.fault(code::DEPRECATED, format!("`{GONE}` in the output is deprecated and left out"))
                    .at(output.span(from - GONE.len()..from)),
            );
        }
        cleaned.push_range(output, from..end);
        let deprecated = format!("%{}", ids::EVT_DIR.def().name);
        if let Some(at) = cleaned.text().find(&deprecated) {
            let span = cleaned.span(at..at + deprecated.len());
            self.diagnostics.push(
                item.fault(code::DEPRECATED, "field `evt.dir` in the output is deprecated")
                    .at(span)
                    .help("it is always `<`; leave it out"),
            );
        }
        cleaned
    }
}

fn source_changed(item: Item<'_>, old: &RuleDraft) -> Diagnostic {
    let message = format!("rule `{}` is defined for source `{}`", item.name.escape_debug(), old.source);
    item.fault_at("source", code::SOURCE_CHANGED, message).label(old.span, "first defined here")
}

/// Sorts values by what the override asks for.
fn split(values: Values, appended: &[&str], additions: &mut Values, replacements: &mut Values) {
    let to = |key: &str| appended.contains(&key);
    let Values { condition, output, desc, tags, exceptions, .. } = values;
    *(if to("condition") { &mut additions.condition } else { &mut replacements.condition }) = condition;
    *(if to("output") { &mut additions.output } else { &mut replacements.output }) = output;
    *(if to("desc") { &mut additions.desc } else { &mut replacements.desc }) = desc;
    *(if to("tags") { &mut additions.tags } else { &mut replacements.tags }) = tags;
    *(if to("exceptions") { &mut additions.exceptions } else { &mut replacements.exceptions }) = exceptions;
    replacements.priority = values.priority;
    replacements.enabled = values.enabled;
    replacements.warn_evttypes = values.warn_evttypes;
    replacements.skip_if_unknown = values.skip_if_unknown;
    replacements.capture = values.capture;
    replacements.capture_duration_ms = values.capture_duration_ms;
    replacements.window = values.window;
    replacements.responses = values.responses;
}

fn replace<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

/// Priorities compare without case, but slips are measured with it.
fn capitalised(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    let mut letters = lower.chars();
    letters.next().map_or_else(String::new, |first| {
        let mut out = first.to_ascii_uppercase().to_string();
        out.push_str(letters.as_str());
        out
    })
}
