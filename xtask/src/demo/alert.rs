//! One alert line as the demo looks at it.

use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::scene::Scene;
use crate::agent::Line;

/// The facts of an alert that the demo checks.
#[derive(Clone, Debug)]
pub(super) struct Alert {
    pub(super) rule: String,
    pub(super) proc_name: Option<String>,
    pub(super) proc_pname: Option<String>,
    pub(super) fd_name: Option<String>,
    /// From the event in the kernel to the line being read here.
    pub(super) latency: Option<Duration>,
}

impl Alert {
    /// Reads a line of Falco's JSON; `None` when it is none.
    pub(super) fn read(line: &Line) -> Option<Self> {
        let value: Value = serde_json::from_str(&line.text).ok()?;
        let fields = value.get("output_fields")?;
        let text = |name: &str| fields.get(name).and_then(Value::as_str).map(ToOwned::to_owned);
        let event_time = fields.get("evt.time").and_then(Value::as_u64).map(Duration::from_nanos);
        let arrived = line.arrived.duration_since(SystemTime::UNIX_EPOCH).ok();
        Some(Self {
            rule: value.get("rule")?.as_str()?.to_owned(),
            proc_name: text("proc.name"),
            proc_pname: text("proc.pname"),
            fd_name: text("fd.name"),
            latency: arrived.zip(event_time).and_then(|(arrived, event)| arrived.checked_sub(event)),
        })
    }

    /// As far as it is the same in every run: without the port that the kernel chooses on this side.
    pub(super) fn words(&self, scene: &Scene) -> String {
        let file = self.fd_name.as_deref().unwrap_or("-");
        let file = file.split_once("->").map_or(file, |(_, remote)| remote);
        Self { fd_name: Some(file.to_owned()), ..self.clone() }.line(scene)
    }

    /// For the progress of the demo.
    pub(super) fn line(&self, scene: &Scene) -> String {
        let value = |field: &Option<String>| scene.shorten(field.as_deref().unwrap_or("-"));
        let (name, parent, file) = (value(&self.proc_name), value(&self.proc_pname), value(&self.fd_name));
        format!("alert: {}  (proc.name={name} proc.pname={parent} fd.name={file})", self.rule)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_and_latency_come_from_the_fields() {
        let text = r#"{"rule":"R","output_fields":{"evt.time":1000000000,"proc.name":"cat","fd.name":null}}"#;
        let arrived = SystemTime::UNIX_EPOCH + Duration::from_millis(1003);
        let alert = Alert::read(&Line { text: text.to_owned(), arrived }).unwrap();
        assert_eq!(alert.rule, "R");
        assert_eq!(alert.proc_name.as_deref(), Some("cat"));
        assert_eq!(alert.fd_name, None);
        assert_eq!(alert.latency, Some(Duration::from_millis(3)));
    }

    #[test]
    fn other_lines_are_no_alerts() {
        let line = |text: &str| Line { text: text.to_owned(), arrived: SystemTime::UNIX_EPOCH };
        assert!(Alert::read(&line("Ready")).is_none());
        assert!(Alert::read(&line("{}")).is_none());
    }
}
