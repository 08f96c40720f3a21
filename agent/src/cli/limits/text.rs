//! Answers of the rate limiter for people.

use serde_json::Value;

use crate::cli::{print::table, status};

/// Recent verdicts that are shown.
const RECENT: usize = 10;

/// Policies, lists and grants.
pub(super) fn list(document: &Value) -> String {
    let mut page = String::new();
    let Some(settings) = at(document, "settings").as_array() else {
        let fault = at(document, "fault").as_str();
        return format!(
            "rate limits are not in force{}\n",
            fault.map_or_else(String::new, |why| format!(": {why}"))
        );
    };
    let mut rows = vec![row("mode", text(at(document, "mode")))];
    for place in items(at(document, "attached")) {
        let line = format!(
            "{} {} by {}",
            text(at(place, "interface")),
            text(at(place, "direction")),
            text(at(place, "rung"))
        );
        rows.push(row("attached", &line));
    }
    if let Some(fault) = at(document, "fault").as_str() {
        rows.push(row("problem", fault));
    }
    let throttle = at(document, "throttle");
    if throttle.is_object() {
        let stress = at(throttle, "stress_permille").as_u64().unwrap_or_default() / 10;
        let scaled: Vec<String> = at(throttle, "scale_permille")
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(_, scale)| scale.as_u64() != Some(1000))
            .map(|(class, scale)| format!("{class} at {} %", scale.as_u64().unwrap_or_default() / 10))
            .collect();
        let scaled = if scaled.is_empty() { "all rates as written".to_owned() } else { scaled.join(", ") };
        rows.push(row(
            "throttling",
            &format!("{}, {stress} % of a threshold, {scaled}", text(at(throttle, "mode"))),
        ));
    }
    page.push_str(&table(&rows));
    let mut rows = vec![head(&["policy", "rate", "unit", "class", "quota", "about", "within", "over"])];
    for policy in settings {
        let name = text(at(policy, "name"));
        let sum = |reasons: &[&str]| -> u64 {
            items(at(document, "counted"))
                .iter()
                .filter(|one| text(at(one, "policy")) == name && reasons.contains(&text(at(one, "reason"))))
                .filter_map(|one| at(one, "packets").as_u64())
                .sum()
        };
        rows.push(vec![
            name.to_owned(),
            text(at(policy, "rate")).to_owned(),
            text(at(policy, "unit")).to_owned(),
            text(at(policy, "class")).to_owned(),
            quota(at(policy, "quota")),
            about(policy),
            sum(&["within", "within_prefix", "continues"]).to_string(),
            sum(&["over", "over_near_prefix", "over_far_prefix", "over_quota"]).to_string(),
        ]);
    }
    if rows.len() > 1 {
        page.push('\n');
        page.push_str(&table(&rows));
    }
    page.push_str(&entries(at(document, "entries")));
    page
}

fn entries(list: &Value) -> String {
    let mut rows = vec![head(&["entry", "source", "rate", "left", "by", "comment"])];
    for entry in items(list) {
        rows.push(vec![
            text(at(entry, "kind")).to_owned(),
            text(at(entry, "net")).to_owned(),
            at(entry, "rate").as_str().map_or_else(|| "-".to_owned(), |rate| format!("+{rate}")),
            left(entry),
            text(at(entry, "by")).to_owned(),
            at(entry, "comment").as_str().unwrap_or("-").to_owned(),
        ]);
    }
    if rows.len() > 1 { format!("\n{}", table(&rows)) } else { String::new() }
}

/// One policy.
pub(super) fn policy(page: &Value) -> String {
    let settings = at(page, "settings");
    let mut rows = vec![
        row("policy", text(at(page, "name"))),
        row("rate", &format!("{} ({})", text(at(settings, "rate")), text(at(settings, "unit")))),
        row(
            "over it",
            &format!(
                "{}, {}{}",
                text(at(settings, "mode")),
                text(at(settings, "action")),
                if *at(settings, "dry_run") == true { ", only observed" } else { "" }
            ),
        ),
        row("class", text(at(settings, "class"))),
        row("about", &about(settings)),
    ];
    if at(settings, "quota").is_object() {
        rows.push(row("quota", &quota(at(settings, "quota"))));
    }
    let used = at(page, "quota_used");
    if let Some(until) = at(used, "until").as_str() {
        rows.push(row("period ends", until));
    }
    let used_up: Vec<&str> = items(at(page, "used_up")).iter().map(text).collect();
    if !used_up.is_empty() {
        rows.push(row("used up by", &used_up.join(", ")));
    }
    let mut all = table(&rows);
    let mut rows = vec![head(&["reason", "direction", "observed", "packets", "bytes"])];
    for one in items(at(page, "counted")) {
        rows.push(vec![
            text(at(one, "reason")).to_owned(),
            text(at(one, "direction")).to_owned(),
            at(one, "observed").to_string(),
            at(one, "packets").to_string(),
            at(one, "bytes").to_string(),
        ]);
    }
    if rows.len() > 1 {
        all.push('\n');
        all.push_str(&table(&rows));
    }
    let mut rows = vec![head(&["source", "used"])];
    for one in items(at(used, "sources")) {
        rows.push(vec![text(at(one, "source")).to_owned(), at(one, "used").to_string()]);
    }
    if rows.len() > 1 {
        all.push('\n');
        all.push_str(&table(&rows));
    }
    all.push_str(&recent(at(page, "recent")));
    all
}

/// Prefixes that are over most.
pub(super) fn top(page: &Value) -> String {
    let prefixes = items(at(page, "prefixes"));
    let samples = at(page, "samples");
    let window = at(page, "window_secs");
    if prefixes.is_empty() {
        return format!(
            "no prefix stands out: {samples} sampled verdicts over a limit in the last {window} s\n"
        );
    }
    let mut rows = vec![head(&["prefix", "share", "sources", "policies"])];
    for prefix in prefixes {
        let permille = at(prefix, "permille").as_u64().unwrap_or_default();
        let policies: Vec<&str> = items(at(prefix, "policies")).iter().map(text).collect();
        rows.push(vec![
            text(at(prefix, "prefix")).to_owned(),
            format!("{}.{} %", permille / 10, permille % 10),
            at(prefix, "sources").to_string(),
            policies.join(", "),
        ]);
    }
    let mut all =
        format!("of {samples} sampled verdicts over a limit in the last {window} s\n\n{}", table(&rows));
    all.push_str("\nproposed:\n");
    for prefix in prefixes {
        let proposal = at(prefix, "proposal");
        for word in ["command", "settings"] {
            all.extend(["  ", text(at(proposal, word)), "\n"]);
        }
    }
    all
}

/// What holds for a source.
pub(super) fn explain(page: &Value) -> String {
    let mut rows = vec![row("source", text(at(page, "ip")))];
    rows.push(row("mode", text(at(page, "mode"))));
    if let Some(listed) = at(page, "listed").as_str() {
        rows.push(row("list", listed));
    }
    for because in items(at(page, "because")) {
        rows.push(row("because", text(because)));
    }
    let used_up: Vec<&str> = items(at(page, "used_up")).iter().map(text).collect();
    if !used_up.is_empty() {
        rows.push(row("quota", &format!("used up of {}", used_up.join(", "))));
    }
    let mut all = table(&rows);
    let mut rows =
        vec![head(&["service", "policy", "next", "reason", "allowance of", "left", "used", "over"])];
    for service in items(at(page, "services")) {
        let bucket = at(service, "bucket");
        let observed = if *at(service, "observed") == true { " (observed)" } else { "" };
        let cell = |name: &str| match at(bucket, name) {
            Value::Null => "-".to_owned(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let share = match at(bucket, "available").as_u64() {
            Some(available) => format!("{available} of {}", at(bucket, "burst")),
            None => "-".to_owned(),
        };
        rows.push(vec![
            name_of_service(service),
            at(service, "policy").as_str().unwrap_or("-").to_owned(),
            format!("{}{observed}", text(at(service, "verdict"))),
            text(at(service, "reason")).to_owned(),
            cell("of"),
            share,
            cell("used"),
            cell("over"),
        ]);
    }
    all.push('\n');
    all.push_str(&table(&rows));
    all.push_str(&entries(at(page, "entries")));
    all.push_str(&recent(at(page, "recent")));
    all
}

fn name_of_service(service: &Value) -> String {
    let mut words = vec![text(at(service, "direction")).to_owned()];
    if let Some(protocol) = at(service, "protocol").as_u64() {
        words.push(protocol_name(protocol));
    }
    if let Some(port) = at(service, "port").as_u64() {
        words.push(format!("port {port}"));
    }
    if let Some(interface) = at(service, "interface").as_u64() {
        words.push(format!("interface {interface}"));
    }
    words.join(" ")
}

fn recent(list: &Value) -> String {
    let mut rows = vec![head(&["recent verdict", "policy", "source", "to", "observed"])];
    for one in items(list).iter().rev().take(RECENT) {
        rows.push(vec![
            text(at(one, "reason")).to_owned(),
            at(one, "policy").as_str().unwrap_or("-").to_owned(),
            format!("{} port {}", text(at(one, "source")), at(one, "source_port")),
            format!("{} port {}", text(at(one, "destination")), at(one, "destination_port")),
            at(one, "observed").to_string(),
        ]);
    }
    if rows.len() > 1 { format!("\n{}", table(&rows)) } else { String::new() }
}

/// An entry that was made.
pub(super) fn done(answer: &Value, word: &str) -> String {
    let entry = at(answer, "entry");
    let rate = at(entry, "rate").as_str().map_or_else(String::new, |rate| format!(", {rate} more"));
    let until = at(entry, "until").as_str();
    let until =
        until.map_or_else(|| ", until it is taken away".to_owned(), |until| format!(", until {until}"));
    format!("{} is {word}{rate}{until}\n{}", text(at(entry, "net")), notes(answer))
}

/// An entry that was taken away.
pub(super) fn removed(answer: &Value, net: &str) -> String {
    let word = if *at(answer, "removed") == true { "is taken away" } else { "was not there" };
    format!("{net} {word}\n{}", notes(answer))
}

fn notes(answer: &Value) -> String {
    items(at(answer, "notes")).iter().flat_map(|note| ["note: ", text(note), "\n"]).collect()
}

fn quota(quota: &Value) -> String {
    if !quota.is_object() {
        return "-".to_owned();
    }
    let from = text(at(quota, if at(quota, "calendar").is_string() { "calendar" } else { "at" }));
    format!("{} a {} from {from}", at(quota, "amount"), text(at(quota, "per")))
}

/// What a policy is about.
fn about(policy: &Value) -> String {
    let mut words = vec![text(at(policy, "direction")).to_owned()];
    if let Some(protocol) = at(policy, "protocol").as_u64() {
        words.push(protocol_name(protocol));
    }
    for (name, word) in [("ports", "port"), ("interfaces", "on"), ("sources", "from")] {
        let list: Vec<String> = items(at(policy, name))
            .iter()
            .map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned))
            .collect();
        if !list.is_empty() {
            words.push(format!("{word} {}", list.join(",")));
        }
    }
    words.join(" ")
}

fn protocol_name(number: u64) -> String {
    match number {
        1 => "icmp".to_owned(),
        6 => "tcp".to_owned(),
        17 => "udp".to_owned(),
        58 => "icmpv6".to_owned(),
        132 => "sctp".to_owned(),
        other => format!("protocol {other}"),
    }
}

fn left(entry: &Value) -> String {
    at(entry, "left_secs").as_u64().map_or_else(|| "for ever".to_owned(), status::duration)
}

fn row(name: &str, value: &str) -> Vec<String> {
    vec![name.to_owned(), value.to_owned()]
}

fn head(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// A member, null when it is absent.
fn at<'a>(value: &'a Value, key: &str) -> &'a Value {
    value.get(key).unwrap_or(&Value::Null)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("?")
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lists_name_policies_and_entries() {
        let document = json!({
            "mode": "enforce",
            "attached": [{"interface": "eth0", "direction": "ingress", "rung": "tcx"}],
            "settings": [{
                "name": "web", "rate": "50/s, 100 at once", "unit": "new_flows", "class": "standard",
                "quota": {"amount": 1000, "per": "day", "at": "09:30"},
                "direction": "ingress", "protocol": 6, "ports": [80, 443], "sources": ["192.0.2.0/24"]
            }],
            "counted": [
                {"policy": "web", "reason": "within", "packets": 7},
                {"policy": "web", "reason": "over", "packets": 3},
            ],
            "entries": [{"kind": "deny", "net": "203.0.113.0/24", "left_secs": 3700, "by": "uid 0"}],
            "throttle": {"mode": "observe", "stress_permille": 1234, "scale_permille": {"bulk": 700, "standard": 1000}},
        });
        assert_eq!(
            list(&document),
            "mode        enforce\n\
             attached    eth0 ingress by tcx\n\
             throttling  observe, 123 % of a threshold, bulk at 70 %\n\
             \n\
             policy  rate               unit       class     quota                  about                                      within  over\n\
             web     50/s, 100 at once  new_flows  standard  1000 a day from 09:30  ingress tcp port 80,443 from 192.0.2.0/24  7       3\n\
             \n\
             entry  source          rate  left       by     comment\n\
             deny   203.0.113.0/24  -     1 h 1 min  uid 0  -\n"
        );
        assert_eq!(list(&json!({"settings": null, "fault": "why"})), "rate limits are not in force: why\n");
    }

    #[test]
    fn answers_to_changes_are_sentences() {
        let answer = json!({
            "entry": {"net": "192.0.2.1", "rate": "5/s, 5 at once", "until": "2026-05-01T12:00:00Z"},
            "notes": ["x"],
        });
        assert_eq!(
            done(&answer, "granted"),
            "192.0.2.1 is granted, 5/s, 5 at once more, until 2026-05-01T12:00:00Z\nnote: x\n"
        );
        assert_eq!(removed(&json!({"removed": false}), "192.0.2.1"), "192.0.2.1 was not there\n");
    }
}
