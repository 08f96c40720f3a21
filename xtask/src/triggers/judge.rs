//! Whether a case's alert is there: by the right process, at the right time, with the right rule, priority, source
//! and fields.

use super::alert::{Alert, Mark};
use super::case::{Case, Expected};

/// What is known about a case that was performed.
#[derive(Debug, Default)]
pub(super) struct Evidence {
    /// Alerts of all processes since the case began.
    pub(super) alerts: Vec<Alert>,
    /// The marks of the case.
    pub(super) marks: Vec<Mark>,
    /// What went wrong while it was performed.
    pub(super) error: Option<String>,
    /// System calls the kernel refused.
    pub(super) notes: Vec<String>,
}

impl Evidence {
    /// Whether the agent has reported everything up to the end of the case.
    pub(super) fn is_complete(&self) -> bool {
        self.time_of("end").is_some()
    }

    /// Alerts of the case's last process and of its resources, within the steps if there are any.
    pub(super) fn relevant(&self, case: &Case) -> Vec<&Alert> {
        self.relevant_of(case, &self.alerts)
    }

    /// Those of its alerts among others, each as far as it is the same in every run: rule, priority, source and the
    /// fields that the case asks for.
    pub(super) fn words(&self, case: &Case, alerts: &[Alert]) -> Vec<String> {
        let words = |alert: &&Alert| {
            let fields = case.expected.fields.keys();
            let fields: Vec<String> = fields
                .map(|name| format!("{name}={}", alert.field(name).unwrap_or_else(|| "nothing".to_owned())))
                .collect();
            format!("{} [{}] {} {}", alert.rule, alert.priority, alert.source, fields.join(" "))
        };
        self.relevant_of(case, alerts).iter().map(words).collect()
    }

    fn relevant_of<'a>(&self, case: &Case, alerts: &'a [Alert]) -> Vec<&'a Alert> {
        let actor = |pid| self.marks.iter().any(|mark| mark.pid == pid && mark.point == "begin");
        let resource = |pid| self.marks.iter().any(|mark| mark.pid == pid && mark.point == "process");
        let (from, to) = match (case.has_steps, self.time_of("steps"), self.time_of("done")) {
            (true, Some(from), Some(to)) => (from, to),
            _ => (0, u64::MAX),
        };
        let of_case =
            |alert: &&Alert| resource(alert.pid) || (actor(alert.pid) && (from..=to).contains(&alert.time));
        alerts.iter().filter(of_case).collect()
    }

    fn time_of(&self, point: &str) -> Option<u64> {
        self.marks.iter().find(|mark| mark.point == point).map(|mark| mark.time)
    }

    /// `None` when the case passed, else what is wrong.
    pub(super) fn complaint(&self, case: &Case) -> Option<String> {
        if let Some(error) = &self.error {
            return Some(format!("the case could not be performed: {error}"));
        }
        if !self.is_complete() {
            return Some("the agent did not report the end of the case".to_owned());
        }
        let alerts = self.relevant(case);
        let of_rule: Vec<&&Alert> = alerts.iter().filter(|alert| alert.rule == case.rule).collect();
        let differences = of_rule.iter().map(|alert| differences(&case.expected, alert));
        let best = differences.min_by_key(Vec::len);
        let complaint = match best {
            Some(differences) if differences.is_empty() => return None,
            Some(differences) => differences.join("\n"),
            None => {
                let other: Vec<String> =
                    alerts.iter().map(|alert| format!("got      {}", alert.line())).collect();
                let wanted = format!("expected {}", wanted(case));
                let got = if other.is_empty() { "got      no alert".to_owned() } else { other.join("\n") };
                format!("{wanted}\n{got}")
            }
        };
        let notes: Vec<String> = self.notes.iter().map(|note| format!("\nnote     {note}")).collect();
        Some(format!("{complaint}{}", notes.concat()))
    }
}

fn wanted(case: &Case) -> String {
    let fields: Vec<String> =
        case.expected.fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
    format!("{} [{}] {}", case.rule, case.expected.priority.as_deref().unwrap_or("any"), fields.join(" "))
}

fn differences(expected: &Expected, alert: &Alert) -> Vec<String> {
    let mut differences = Vec::new();
    let mut compare = |name: &str, wanted: &str, got: Option<&str>| {
        if got != Some(wanted) {
            let got = got.map_or_else(|| "nothing".to_owned(), |got| format!("`{got}`"));
            differences.push(format!("{name}: expected `{wanted}`, got {got}"));
        }
    };
    if let Some(priority) = &expected.priority {
        compare("priority", &priority.to_lowercase(), Some(&alert.priority.to_lowercase()));
    }
    if let Some(source) = &expected.source {
        compare("source", source, Some(&alert.source));
    }
    if let Some(hostname) = &expected.hostname {
        compare("hostname", hostname, Some(&alert.hostname));
    }
    for (name, wanted) in &expected.fields {
        compare(name, wanted, alert.field(name).as_deref());
    }
    differences
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use serde_json::json;

    use super::super::alert::{Said, read};
    use super::super::case::Fate;
    use super::*;
    use crate::agent::Line;

    fn alert(rule: &str, pid: u64, time: u64, name: &str) -> Alert {
        let fields = json!({"proc.pid": pid, "evt.time": time, "proc.name": name});
        let value =
            json!({"rule": rule, "priority": "Warning", "source": "syscall", "output_fields": fields});
        let line = Line { text: value.to_string(), arrived: SystemTime::UNIX_EPOCH };
        let Some(Said::Alert(alert)) = read(&line) else { panic!("no alert") };
        alert
    }

    fn case(has_steps: bool) -> Case {
        let expected = Expected {
            priority: Some("warning".into()),
            source: Some("syscall".into()),
            hostname: None,
            fields: [("proc.name".to_owned(), "sh".to_owned())].into(),
        };
        Case {
            number: 1,
            rule: "R".into(),
            test: "t".into(),
            fate: Fate::Run,
            expected,
            container: None,
            has_steps,
            waits: false,
            order: json!({}),
        }
    }

    fn evidence(alerts: Vec<Alert>) -> Evidence {
        let mark = |point: &str, pid, time| Mark { id: "1".into(), point: point.into(), pid, time };
        let marks = vec![
            mark("begin", 7, 10),
            mark("process", 8, 15),
            mark("steps", 7, 20),
            mark("done", 7, 30),
            mark("end", 3, 40),
        ];
        Evidence { alerts, marks, ..Evidence::default() }
    }

    #[test]
    fn the_alert_must_be_the_cases_own() {
        assert_eq!(evidence(vec![alert("R", 7, 5, "sh")]).complaint(&case(false)), None);
        assert_eq!(evidence(vec![alert("R", 8, 5, "sh")]).complaint(&case(false)), None);
        assert!(evidence(vec![alert("R", 9, 5, "sh")]).complaint(&case(false)).unwrap().contains("no alert"));
        assert!(
            evidence(vec![alert("S", 7, 5, "sh")]).complaint(&case(false)).unwrap().contains("got      S")
        );
    }

    #[test]
    fn words_say_what_is_the_same_in_every_run() {
        let late = [alert("R", 7, 25, "sh"), alert("R", 9, 25, "sh"), alert("S", 8, 50, "bash")];
        let words = evidence(Vec::new()).words(&case(true), &late);
        assert_eq!(words, ["R [Warning] syscall proc.name=sh", "S [Warning] syscall proc.name=bash"]);
    }

    #[test]
    fn steps_bound_the_time() {
        assert_eq!(evidence(vec![alert("R", 7, 25, "sh")]).complaint(&case(true)), None);
        for time in [15, 35] {
            assert!(evidence(vec![alert("R", 7, time, "sh")]).complaint(&case(true)).is_some(), "{time}");
        }
    }

    #[test]
    fn differences_are_named() {
        let complaint = evidence(vec![alert("R", 7, 5, "bash")]).complaint(&case(false)).unwrap();
        assert_eq!(complaint, "proc.name: expected `sh`, got `bash`");
        let mut incomplete = evidence(vec![alert("R", 7, 5, "sh")]);
        incomplete.marks.pop();
        assert!(incomplete.complaint(&case(false)).unwrap().contains("did not report the end"));
        let failed = Evidence { error: Some("no".into()), ..evidence(vec![alert("R", 7, 5, "sh")]) };
        assert!(failed.complaint(&case(false)).unwrap().contains("could not be performed: no"));
    }
}
