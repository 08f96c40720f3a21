//! Alerts of the run, as far as cases are judged by them, and the marks among them.

use serde_json::{Map, Value};

use super::case::plain;
use super::rules::{MARK, MARKS};
use crate::agent::Line;

/// One alert.
#[derive(Clone, Debug)]
pub(super) struct Alert {
    pub(super) rule: String,
    pub(super) priority: String,
    pub(super) source: String,
    pub(super) hostname: String,
    /// Process it is about.
    pub(super) pid: u64,
    /// Time of the event, nanoseconds.
    pub(super) time: u64,
    fields: Map<String, Value>,
}

/// A point of a case that a process has reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// The case.
    pub(super) id: String,
    /// `begin`, `steps`, `done`, `end`; or `process` for a process that is a resource.
    pub(super) point: String,
    pub(super) pid: u64,
    pub(super) time: u64,
}

/// What a line of the agent's output is.
pub(super) enum Said {
    Alert(Alert),
    Mark(Mark),
}

/// Reads a line; `None` when it is neither.
pub(super) fn read(line: &Line) -> Option<Said> {
    let value: Value = serde_json::from_str(&line.text).ok()?;
    let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let fields = value.get("output_fields")?.as_object()?;
    let number = |key: &str| fields.get(key).and_then(Value::as_u64);
    let (pid, time) = (number("proc.pid")?, number("evt.time").unwrap_or_default());
    if text("rule") == MARK {
        let path = fields.get("fd.name")?.as_str()?;
        let (id, point) = path.strip_prefix(MARKS)?.split_once('/')?;
        return Some(Said::Mark(Mark { id: id.to_owned(), point: point.to_owned(), pid, time }));
    }
    Some(Said::Alert(Alert {
        rule: text("rule"),
        priority: text("priority"),
        source: text("source"),
        hostname: text("hostname"),
        pid,
        time,
        fields: fields.clone(),
    }))
}

impl Alert {
    /// The text of a field; `None` when it has no value or is not among the alert's fields.
    pub(super) fn field(&self, name: &str) -> Option<String> {
        self.fields.get(name).filter(|value| !value.is_null()).map(plain)
    }

    /// For people.
    pub(super) fn line(&self) -> String {
        let fields: Vec<String> =
            self.fields.iter().map(|(name, value)| format!("{name}={}", plain(value))).collect();
        format!("{} [{}] {}", self.rule, self.priority, fields.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn lines_are_alerts_or_marks() {
        let line = |text: &str| Line { text: text.to_owned(), arrived: SystemTime::UNIX_EPOCH };
        let mark = r#"{"rule":"Trigger case mark","output_fields":{"evt.time":5,"proc.pid":7,"fd.name":"/rampart-triggers/12/end"}}"#;
        let Some(Said::Mark(mark)) = read(&line(mark)) else { panic!("no mark") };
        assert_eq!(mark, Mark { id: "12".into(), point: "end".into(), pid: 7, time: 5 });
        let alert = r#"{"rule":"R","priority":"Warning","source":"syscall","output_fields":{"evt.time":5,"proc.pid":7,"a":null,"b":3,"c":"x"}}"#;
        let Some(Said::Alert(alert)) = read(&line(alert)) else { panic!("no alert") };
        assert_eq!(
            (alert.field("a"), alert.field("b"), alert.field("c")),
            (None, Some("3".into()), Some("x".into()))
        );
        assert!(read(&line("ready")).is_none());
    }
}
