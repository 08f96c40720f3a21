//! Answers about services for people.

use serde_json::Value;

use crate::cli::print::table;

/// All services.
pub(super) fn services(document: &Value) -> String {
    let all = items(at(document, "services"));
    let mut page = String::new();
    if let Some(fault) = at(document, "fault").as_str() {
        page = format!("problem: {fault}\n\n");
    }
    if all.is_empty() {
        page.push_str("no services are in force\n");
        return page;
    }
    let pages: Vec<String> = all.iter().map(service).collect();
    page.push_str(&pages.join("\n"));
    page
}

/// Whether a service was taken away.
pub(super) fn removed(document: &Value) -> String {
    let was_there = *at(document, "removed") == true;
    if was_there { "removed\n" } else { "there was no such service\n" }.to_owned()
}

/// One service with its backends.
pub(super) fn service(service: &Value) -> String {
    let panic = if *at(service, "panic") == true { ", in panic" } else { "" };
    let mut page = format!(
        "{} at {} {}, {}, tier {}{panic}: {} chosen, {} refused, {} without a backend\n",
        text(at(service, "name")),
        text(at(service, "protocol")),
        text(at(service, "vip")),
        text(at(service, "algorithm")),
        at(service, "tier"),
        at(service, "chosen"),
        at(service, "refused"),
        at(service, "no_backend"),
    );
    let mut rows = vec![head(&[
        "backend", "address", "tier", "weight", "admin", "health", "breaker", "open", "total", "ok", "failed",
    ])];
    for backend in items(at(service, "backends")) {
        let outcomes = at(backend, "outcomes");
        let failed: u64 = outcomes
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(name, _)| !["success", "neutral"].contains(&name.as_str()))
            .filter_map(|(_, count)| count.as_u64())
            .sum();
        let health = at(backend, "health");
        let health = match at(health, "up").as_bool() {
            _ if at(backend, "ejected_until").is_string() => "ejected".to_owned(),
            None => "-".to_owned(),
            Some(true) => "up".to_owned(),
            Some(false) => format!("down: {}", at(health, "last_fault").as_str().unwrap_or("?")),
        };
        rows.push(vec![
            text(at(backend, "name")).to_owned(),
            text(at(backend, "address")).to_owned(),
            at(backend, "tier").to_string(),
            at(backend, "weight").to_string(),
            text(at(backend, "admin")).to_owned(),
            health,
            text(at(backend, "breaker")).to_owned(),
            at(backend, "connections").to_string(),
            at(backend, "connections_total").to_string(),
            at(outcomes, "success").to_string(),
            failed.to_string(),
        ]);
    }
    page.push_str(&table(&rows));
    page
}

/// All circuit breakers.
pub(super) fn breakers(document: &Value) -> String {
    let mut rows =
        vec![head(&["breaker", "state", "mode", "in a row", "window", "k", "until", "probes", "opened"])];
    for breaker in items(at(document, "circuit_breakers")) {
        if at(breaker, "backend").is_null() {
            rows.push(row(&[text(at(breaker, "id")), text(at(breaker, "state"))]));
            continue;
        }
        let window = at(breaker, "window");
        let probes = at(breaker, "probes");
        rows.push(vec![
            text(at(breaker, "id")).to_owned(),
            text(at(breaker, "state")).to_owned(),
            text(at(breaker, "mode")).to_owned(),
            at(breaker, "consecutive").to_string(),
            format!("{} of {}", at(window, "fail"), at(window, "calls")),
            at(breaker, "k").to_string(),
            at(breaker, "open_until").as_str().unwrap_or("-").to_owned(),
            format!("{} out, {} good", at(probes, "in_flight"), at(probes, "ok")),
            at(breaker, "opens").to_string(),
        ]);
    }
    if rows.len() > 1 { table(&rows) } else { "no circuit breakers\n".to_owned() }
}

/// One circuit breaker.
pub(super) fn breaker(breaker: &Value) -> String {
    let or_none = |name: &str| at(breaker, name).as_str().unwrap_or("-").to_owned();
    let window = at(breaker, "window");
    let rows = [
        row(&["breaker", text(at(breaker, "id"))]),
        row(&["address", text(at(breaker, "address"))]),
        row(&["state", text(at(breaker, "state"))]),
        row(&["mode", text(at(breaker, "mode"))]),
        row(&["since", &or_none("since")]),
        row(&["open until", &or_none("open_until")]),
        row(&["failures in a row", &at(breaker, "consecutive").to_string()]),
        row(&["in the window", &format!("{} of {} failed", at(window, "fail"), at(window, "calls"))]),
        row(&["opened", &format!("{} times since the agent started", at(breaker, "opens"))]),
    ];
    let mut page = table(&rows);
    let mut rows = vec![head(&["failure", "outcome", "errno", "sent again", "after"])];
    for event in items(at(breaker, "last_events")) {
        rows.push(vec![
            text(at(event, "at")).to_owned(),
            text(at(event, "outcome")).to_owned(),
            at(event, "errno").to_string(),
            at(event, "retransmits").to_string(),
            format!("{} µs", at(event, "after_us")),
        ]);
    }
    if rows.len() > 1 {
        page.push('\n');
        page.push_str(&table(&rows));
    }
    page
}

fn at<'a>(value: &'a Value, name: &str) -> &'a Value {
    value.get(name).unwrap_or(&Value::Null)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("?")
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn head(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn row(cells: &[&str]) -> Vec<String> {
    head(cells)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn breakers_and_services_are_tables() {
        let document = json!({ "circuit_breakers": [
            { "id": "web", "service": "web", "backend": null, "state": "closed" },
            { "id": "web/a", "service": "web", "backend": "a", "state": "open", "mode": "auto", "consecutive": 5,
              "window": { "calls": 7, "fail": 5, "slow": 0 }, "k": 1, "open_until": "2026-01-01T00:00:00Z",
              "probes": { "in_flight": 0, "ok": 0 }, "opens": 1, "last_events": [
                { "at": "2026-01-01T00:00:00Z", "outcome": "refused", "errno": 111, "retransmits": 0, "after_us": 50 }
              ] },
        ] });
        let page = breakers(&document);
        assert!(page.contains("web/a") && page.contains("5 of 7"), "{page}");
        let one = breaker(&document["circuit_breakers"][1]);
        assert!(one.contains("refused") && one.contains("111"), "{one}");
        assert_eq!(breakers(&json!({})), "no circuit breakers\n");
        let page = services(&json!({ "services": [{ "name": "web", "vip": "10.0.0.1:80", "protocol": "tcp",
            "algorithm": "sticky", "tier": 0, "panic": true, "chosen": 1, "refused": 2, "no_backend": 3,
            "backends": [{ "name": "a", "address": "10.0.0.2:80", "tier": 0, "weight": 1, "admin": "drain",
                "health": { "up": false, "last_fault": "status 503" }, "breaker": "closed", "connections": 4,
                "connections_total": 9, "outcomes": { "success": 2, "refused": 1, "reset": 2, "neutral": 8 } }],
        }] }));
        assert!(page.contains("in panic") && page.contains("down: status 503"), "{page}");
        let line = page.lines().last().unwrap_or_default();
        assert!(line.trim_end().ends_with('3'), "{line}");
    }
}
