//! Events as a real agent saw them.
//!
//! `recorded.txt` holds distinct fields (`f`), distinct values (`v`) and events (`e`) as pairs of both numbers.

use std::{collections::HashMap, fmt::Write as _, net::IpAddr};

use rampart_rules::{
    catalog::{self, EventId, FieldId, FieldType, ids},
    value::{FieldArg, FieldSource, Value},
};

/// A recorded event. What was missing is missing.
pub(crate) struct Event {
    pub(crate) id: EventId,
    /// Fields without argument, by number.
    plain: Vec<Value<'static>>,
    /// Fields with argument.
    others: Vec<(FieldId, FieldArg<'static>, Value<'static>)>,
}

impl FieldSource for Event {
    fn field<'a>(&'a self, field: FieldId, arg: FieldArg<'_>) -> Value<'a> {
        if arg == FieldArg::None {
            return self.plain.get(usize::from(field.0)).copied().unwrap_or(Value::Null);
        }
        let found = self.others.iter().find(|(id, known, _)| *id == field && *known == arg);
        found.map_or(Value::Null, |(.., value)| *value)
    }
}

/// Reads the events; they live as long as the program.
pub(crate) fn read(text: &'static str) -> Option<Vec<Event>> {
    let (mut fields, mut values, mut events) = (Vec::new(), Vec::new(), Vec::new());
    for line in text.lines() {
        match line.split_once(' ')? {
            ("f", name) => fields.push(name),
            ("v", value) => values.push(serde_json::from_str::<serde_json::Value>(value).ok()?),
            ("e", pairs) => {
                let mut event = HashMap::new();
                for pair in pairs.split(' ') {
                    let (field, value) = pair.split_once(':')?;
                    let name = *fields.get(field.parse::<usize>().ok()?)?;
                    event.insert(name, values.get(value.parse::<usize>().ok()?)?.clone());
                }
                events.push(made(&event)?);
            }
            _ => {}
        }
    }
    Some(events)
}

fn made(fields: &HashMap<&'static str, serde_json::Value>) -> Option<Event> {
    let id = catalog::event(fields.get("evt.type")?.as_str()?)?;
    let mut event = Event { id, plain: vec![Value::Null; catalog::FIELDS.len()], others: Vec::new() };
    for (name, value) in fields {
        let (base, arg) = match name.split_once('[').map(|(base, arg)| (base, arg.trim_end_matches(']'))) {
            Some((base, index)) => (base, FieldArg::Index(index.parse().ok()?)),
            None => match name.strip_prefix("evt.arg.") {
                Some(key) => ("evt.arg", FieldArg::Key(key)),
                None => (*name, FieldArg::None),
            },
        };
        let field = catalog::field(base)?;
        let value = typed(field.def().ty, value)?;
        if arg == FieldArg::None {
            *event.plain.get_mut(usize::from(field.0))? = value;
        } else {
            event.others.push((field, arg, value));
        }
    }
    event.follow();
    Some(event)
}

fn typed(ty: FieldType, value: &serde_json::Value) -> Option<Value<'static>> {
    Some(match value {
        serde_json::Value::Bool(truth) => Value::Bool(*truth),
        serde_json::Value::Number(number) if ty == FieldType::Int => Value::Int(number.as_i64()?),
        serde_json::Value::Number(number) => {
            number.as_u64().map(Value::Uint).or_else(|| number.as_i64().map(Value::Int))?
        }
        serde_json::Value::String(text) if ty == FieldType::Ip => Value::Ip(text.parse().ok()?),
        serde_json::Value::String(text) => Value::Bytes(text.clone().leak().as_bytes()),
        _ => return None,
    })
}

impl Event {
    fn get(&self, field: FieldId) -> Value<'static> {
        self.plain.get(usize::from(field.0)).copied().unwrap_or(Value::Null)
    }

    fn set(&mut self, field: FieldId, value: Value<'static>) {
        if let Some(known) = self.plain.get_mut(usize::from(field.0)) {
            *known = value;
        }
    }

    /// Fields that cannot be printed follow from others.
    fn follow(&mut self) {
        let both = |one: Value<'static>, other: Value<'static>| match (one, other) {
            (Value::Null, end) | (end, Value::Null) => end,
            (one, other) => Value::Either(Box::leak(Box::new([one, other]))),
        };
        let ip = both(self.get(ids::FD_CIP), self.get(ids::FD_SIP));
        self.set(ids::FD_IP, ip);
        self.set(ids::FD_NET, ip);
        self.set(ids::FD_PORT, both(self.get(ids::FD_CPORT), self.get(ids::FD_SPORT)));
        for (net, address) in [
            (ids::FD_CNET, ids::FD_CIP),
            (ids::FD_SNET, ids::FD_SIP),
            (ids::FD_LNET, ids::FD_LIP),
            (ids::FD_RNET, ids::FD_RIP),
        ] {
            self.set(net, self.get(address));
        }
        let mut ancestors: Vec<(u64, Value<'static>)> = Vec::new();
        for (field, arg, value) in &self.others {
            if let (ids::PROC_ANAME, FieldArg::Index(step @ 1..)) = (*field, *arg) {
                ancestors.push((step, *value));
            }
        }
        ancestors.sort_unstable_by_key(|(step, _)| *step);
        let names: Vec<Value<'static>> = ancestors.into_iter().map(|(_, name)| name).collect();
        if !names.is_empty() {
            self.set(ids::PROC_ANAME, Value::Any(names.leak()));
        }
    }
}

/// Prints every `n`-th event of an agent's JSON alerts, so that `count` are left and their proportions are kept.
/// What lies above the load among the ancestors, and the folder it ran in, say nothing and are replaced.
pub(crate) fn take(alerts: &str, count: usize) -> Option<String> {
    let all: Vec<serde_json::Value> =
        alerts.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let step = all.len().checked_div(count).filter(|step| *step > 0)?;
    let (mut fields, mut values, mut events) = (Vec::<String>::new(), Vec::<String>::new(), String::new());
    let number = |known: &mut Vec<String>, text: String| {
        known.iter().position(|other| *other == text).unwrap_or_else(|| {
            known.push(text);
            known.len() - 1
        })
    };
    for alert in all.iter().step_by(step).take(count) {
        let mut event = alert.get("output_fields")?.as_object()?.clone();
        event.remove("evt.time");
        hide(&mut event);
        events.push('e');
        for (name, value) in event.iter().filter(|(_, value)| !value.is_null()) {
            let text = value.to_string().replace("/tmp/rec/", "/home/dev/");
            let (field, value) = (number(&mut fields, name.clone()), number(&mut values, text));
            // Writing to a string cannot fail.
            let _ = write!(events, " {field}:{value}");
        }
        events.push('\n');
    }
    let mut out = format!(
        "# {count} of {} events that an agent recorded with record.yaml under recorded-load.sh.\n",
        all.len()
    );
    for (mark, lines) in [("f", &fields), ("v", &values)] {
        for line in lines {
            out.extend([mark, " ", line, "\n"]);
        }
    }
    out += &events;
    Some(out)
}

fn hide(event: &mut serde_json::Map<String, serde_json::Value>) {
    let load = (0..7).find(|step| {
        let key = if *step == 0 { "proc.name".to_owned() } else { format!("proc.aname[{step}]") };
        event.get(&key).and_then(serde_json::Value::as_str) == Some("recorded-load.s")
    });
    let Some(load) = load else { return };
    for (step, name) in
        (load + 1..8).zip(["bash", "sshd", "sshd", "systemd"].into_iter().map(Some).chain([None; 8]))
    {
        event.insert(format!("proc.aname[{step}]"), name.into());
        if step == 1 {
            event.insert("proc.pname".to_owned(), "bash".into());
        }
        if step == 2 {
            event.insert("proc.aexe[2]".to_owned(), name.into());
            event.insert("proc.aexepath[2]".to_owned(), name.map(|name| format!("/usr/bin/{name}")).into());
        }
    }
    event.insert("proc.sname".to_owned(), "bash".into());
}

/// Whether the recording says anything about networks; the bench would be too kind without.
pub(crate) fn has_connections(events: &[Event]) -> bool {
    events.iter().any(|event| matches!(event.get(ids::FD_SIP), Value::Ip(IpAddr::V4(_))))
}
