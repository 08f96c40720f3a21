//! Several alerts in one message: what waited in quiet hours, and what is of one group.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Map, Value, json};

use super::channel::{Facts, rfc3339};
use crate::store::Notice;

/// Alerts whose text is in the message; all of them are counted, and are in its JSON.
const TEXTS: usize = 10;

/// How alerts of a channel are put together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grouping {
    /// After a message, what comes within this time goes into the next.
    pub window: Duration,
    /// What alerts of one message have in common; nothing puts all into one.
    pub by: Vec<Common>,
    /// Alerts of a message, at most.
    pub max: usize,
}

/// What alerts may have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Common {
    /// The rule.
    Rule,
    /// The node.
    Node,
    /// The priority.
    Priority,
    /// The source of the event.
    Source,
}

impl Common {
    /// All, with their words.
    pub const ALL: [(&str, Self); 4] =
        [("rule", Self::Rule), ("node", Self::Node), ("priority", Self::Priority), ("source", Self::Source)];

    fn of(self, notice: &Notice) -> &str {
        let alert = &notice.stored.alert;
        match self {
            Self::Rule => &alert.rule,
            Self::Node => &notice.stored.node,
            Self::Priority => alert.priority.name(),
            Self::Source => &alert.source,
        }
    }
}

impl Grouping {
    /// Groups, in the order of their first alerts.
    pub fn groups(&self, notices: Vec<Notice>) -> Vec<Vec<Notice>> {
        let mut groups: Vec<Vec<Notice>> = Vec::new();
        let mut open: BTreeMap<Vec<String>, usize> = BTreeMap::new();
        for notice in notices {
            let key: Vec<String> = self.by.iter().map(|common| common.of(&notice).to_owned()).collect();
            let last = open.get(&key).and_then(|at| groups.get_mut(*at));
            if let Some(group) = last.filter(|group| group.len() < self.max) {
                group.push(notice);
            } else {
                open.insert(key, groups.len());
                groups.push(vec![notice]);
            }
        }
        groups
    }
}

/// The facts of one alert, or of several as one message. `why` stands before them.
pub fn facts(notices: &[Notice], why: &str) -> Option<Facts> {
    let (first, others) = notices.split_first()?;
    if others.is_empty() && why.is_empty() {
        return Some(Facts::of(&first.stored));
    }
    let all: Vec<Facts> = notices.iter().map(|notice| Facts::of(&notice.stored)).collect();
    let one = |of: &dyn Fn(&Facts) -> String, many: &str| {
        let first = all.first().map(of).unwrap_or_default();
        if all.iter().all(|facts| of(facts) == first) { first } else { many.to_owned() }
    };
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for facts in &all {
        *counts.entry(&facts.rule).or_default() += 1;
    }
    let mut by_count: Vec<(&str, usize)> = counts.into_iter().collect();
    by_count.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let times = || all.iter().map(|facts| facts.time_ns);
    let (since, until) = (times().min().unwrap_or(0), times().max().unwrap_or(0));
    let rules: Vec<String> = by_count.iter().map(|(rule, count)| format!("{count} × {rule}")).collect();
    let mut lines = vec![format!(
        "{why}{} alerts from {} to {}: {}",
        all.len(),
        rfc3339(since),
        rfc3339(until),
        rules.join(", ")
    )];
    // The most severe first, of these the newest.
    let mut shown: Vec<&Facts> = all.iter().collect();
    shown.sort_by_key(|facts| (facts.priority, std::cmp::Reverse(facts.time_ns)));
    lines.extend(shown.iter().take(TEXTS).map(|facts| format!("{}: {}", facts.hostname, facts.output)));
    if all.len() > TEXTS {
        lines.push(format!("… and {} more", all.len() - TEXTS));
    }
    let severe = *shown.first()?;
    let (rule, source) =
        (one(&|facts| facts.rule.clone(), "several rules"), one(&|facts| facts.source.clone(), "several"));
    let hostname = one(&|facts| facts.hostname.clone(), "several");
    let mut tags: Vec<String> = all.iter().flat_map(|facts| facts.tags.iter().cloned()).collect();
    tags.sort_unstable();
    tags.dedup();
    let fields: Map<String, Value> =
        by_count.iter().map(|(rule, count)| ((*rule).to_owned(), (*count).into())).collect();
    let (output, time) = (lines.join("\n"), rfc3339(until));
    let alerts: Vec<Value> = all.iter().map(|facts| facts.alert.clone()).collect();
    let alert = json!({
        "uuid": severe.alert.get("uuid"), "hostname": hostname, "output": output, "output_fields": fields,
        "priority": severe.priority.name(), "rule": rule, "source": source, "tags": tags, "time": time,
        "alerts": alerts,
    });
    let title = lines.first().map(|line| format!("[{}] {line}", severe.priority));
    let (priority, count) = (severe.priority, all.len());
    Some(Facts {
        title,
        rule,
        priority,
        source,
        hostname,
        output,
        time,
        time_ns: until,
        tags,
        fields,
        alert,
        count,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        alert::{Priority, Stored, tests::alert},
        notify::channel::sample,
    };

    fn notice(number: u64, rule: &str, priority: Priority) -> Notice {
        let stored =
            Stored { number, node: "n".into(), received_ns: 1, alert: alert(1, number, priority, rule) };
        Notice { number, channel: "c".to_owned(), attempts: 0, stored }
    }

    #[test]
    fn groups_have_something_in_common_and_a_bound() {
        let notices = || {
            ["A", "B", "A", "A", "B"]
                .iter()
                .zip(1..)
                .map(|(rule, number)| notice(number, rule, Priority::Error))
        };
        let numbers = |by: &[Common], max| -> Vec<Vec<u64>> {
            let grouping = Grouping { window: Duration::ZERO, by: by.to_vec(), max };
            let groups = grouping.groups(notices().collect());
            groups.iter().map(|group| group.iter().map(|notice| notice.number).collect()).collect()
        };
        assert_eq!(numbers(&[Common::Rule, Common::Node], 9), [vec![1, 3, 4], vec![2, 5]]);
        assert_eq!(numbers(&[Common::Rule], 2), [vec![1, 3], vec![2, 5], vec![4]]);
        assert_eq!(numbers(&[], 9), [vec![1, 2, 3, 4, 5]]);
    }

    #[test]
    fn several_alerts_are_one_message_without_losing_any() {
        let mut notices: Vec<Notice> = (1..=12).map(|number| notice(number, "A", Priority::Notice)).collect();
        notices.push(notice(13, "B", Priority::Critical));
        let facts = facts(&notices, "Held: ").unwrap();
        assert_eq!(
            (facts.priority, facts.count, facts.rule.as_str()),
            (Priority::Critical, 13, "several rules")
        );
        assert!(facts.output.starts_with("Held: 13 alerts from 2023-11-14T22:13:20"), "{}", facts.output);
        assert!(facts.output.contains("12 × A, 1 × B\nn: text of 13\nn: text of 12\n"), "{}", facts.output);
        assert!(facts.output.ends_with("… and 3 more"));
        assert_eq!(facts.alert["alerts"].as_array().unwrap().len(), 13);
        assert_eq!(facts.alert["output_fields"], json!({ "A": 12, "B": 1 }));
        let single = Notice { stored: sample(), ..notice(1, "A", Priority::Error) };
        assert_eq!(super::facts(&[single], "").unwrap().output, Facts::of(&sample()).output);
        assert!(super::facts(&[], "").is_none());
    }
}
