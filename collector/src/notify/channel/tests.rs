//! What is sent, letter by letter.

use serde_json::json;

use super::*;
use crate::{
    alert::{Alert, Id, Stored},
    config,
};

fn facts() -> Facts {
    let json = json!({
        "hostname": "node-1",
        "output": "12:00:00.000000000: Warning A shell in a container (user=root)",
        "output_fields": {
            "user.name": "root", "proc.pid": 12, "k8s.ns.name": "trading", "container.id": null,
            "a[b].c": "x".repeat(40),
        },
        "priority": "Warning", "rule": "Shell", "source": "syscall", "tags": ["mitre", "container"],
        "time": "2023-11-14T22:13:20.000000005Z", "uuid": "018bcfe5-6800-7000-8000-000000000001",
    });
    Facts::of(&Stored {
        number: 7,
        node: "node-1".into(),
        received_ns: 1,
        alert: Alert {
            id: Id { boot: [1; 16], cpu: 0, sequence: 1 },
            time_ns: 1_700_000_000_000_000_005,
            priority: Priority::Warning,
            rule: "Shell".to_owned(),
            source: "syscall".to_owned(),
            json: json.to_string(),
        },
    })
}

fn only(text: &str) -> Outgoing {
    let channels = config::parse(text, "file", &[]).unwrap().channels;
    assert_eq!(channels.len(), 1);
    let mut requests = channels[0].requests(&facts());
    assert_eq!(requests.len(), 1);
    requests.remove(0)
}

fn header<'a>(request: &'a Outgoing, name: &str) -> Option<&'a str> {
    request.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
}

#[test]
fn webhook() {
    let sent = only("webhook: {address: 'https://h/p?q=1', method: put, customheaders: {X-Key: secret}}");
    assert_eq!((&*sent.url, sent.method), ("https://h/p?q=1", "PUT"));
    assert_eq!(sent.content_type, "application/json; charset=utf-8");
    assert_eq!((header(&sent, "X-Key"), &sent.body), (Some("secret"), &facts().alert));
}

#[test]
fn slack() {
    let sent =
        only("slack: {webhookurl: 'https://hooks/x', channel: '#sec', icon: 'https://i', footer: 'f'}");
    let text = "12:00:00.000000000: Warning A shell in a container (user=root)";
    let field = |title: &str, value: &str| json!({"title": title, "value": value, "short": value.len() < 36});
    assert_eq!(
        sent.body,
        json!({
            "username": "Rampart", "icon_url": "https://i", "channel": "#sec",
            "attachments": [{
                "fallback": text, "color": "#ffc700", "text": text, "footer": "f",
                "fields": [
                    field("rule", "Shell"), field("priority", "Warning"), field("source", "syscall"),
                    field("hostname", "node-1"), field("tags", "container, mitre"),
                    field("a[b].c", &"x".repeat(40)), field("k8s.ns.name", "trading"), field("proc.pid", "12"),
                    field("user.name", "root"), field("time", "2023-11-14T22:13:20.000000005Z"),
                ],
            }],
        })
    );
    let short = only("slack: {webhookurl: 'https://hooks/x', outputformat: text, username: me}");
    assert_eq!(
        short.body,
        json!({"username": "me", "attachments": [{"fallback": text, "color": "#ffc700", "text": text}]})
    );
}

#[test]
fn teams() {
    let sent = only("teams: {webhookurl: 'https://t/x', outputformat: facts}");
    assert_eq!(sent.body["@type"], "MessageCard");
    assert_eq!(sent.body["themeColor"], "ffff00");
    let section = &sent.body["sections"][0];
    assert_eq!(section["activitySubtitle"], "2023-11-14T22:13:20.000000005Z");
    assert_eq!(
        (section.get("text"), &section["facts"][0]),
        (None, &json!({"name": "rule", "value": "Shell"}))
    );
}

#[test]
fn pagerduty() {
    let sent = only("pagerduty: {routingkey: k, region: EU}");
    assert_eq!(sent.url, "https://events.eu.pagerduty.com/v2/enqueue");
    assert_eq!(
        sent.body,
        json!({
            "routing_key": "k", "event_action": "trigger", "dedup_key": "Shell on node-1",
            "payload": {
                "summary": "12:00:00.000000000: Warning A shell in a container (user=root)",
                "source": "node-1", "severity": "warning", "timestamp": "2023-11-14T22:13:20.000000005Z",
                "component": "syscall", "class": "Shell",
                "custom_details": {
                    "user.name": "root", "proc.pid": 12, "k8s.ns.name": "trading", "container.id": null,
                    "a[b].c": "x".repeat(40), "hostname": "node-1", "rule": "Shell", "source": "syscall",
                    "priority": "Warning", "tags": ["container", "mitre"],
                },
            },
        })
    );
}

#[test]
fn opsgenie() {
    let sent = only("opsgenie: {apikey: k}");
    assert_eq!(sent.url, "https://api.opsgenie.com/v2/alerts");
    assert_eq!(header(&sent, "Authorization"), Some("GenieKey k"));
    assert_eq!((&sent.body["priority"], &sent.body["description"]), (&json!("P4"), &json!("Shell")));
    assert_eq!(
        sent.body["details"],
        json!({
            "user_name": "root", "k8s_ns_name": "trading", "a[b]_c": "x".repeat(40), "source": "syscall",
            "rule": "Shell", "priority": "Warning", "hostname": "node-1", "tags": "container, mitre",
        })
    );
}

#[test]
fn alertmanager() {
    let text = "alertmanager: {hostport: 'http://a:9093,http://b:9093/', expiresafter: 60, extralabels: {team: sec}}";
    let channel = config::parse(text, "file", &[]).unwrap().channels.remove(0);
    let sent = channel.requests(&facts());
    let urls: Vec<_> = sent.iter().map(|request| &*request.url).collect();
    assert_eq!(urls, ["http://a:9093/api/v2/alerts", "http://b:9093/api/v2/alerts"]);
    let output = "12:00:00.000000000: Warning A shell in a container (user=root)";
    assert_eq!(
        sent[0].body,
        json!([{
            "labels": {
                "user_name": "root", "proc_pid": "12", "k8s_ns_name": "trading", "a_b_c": "x".repeat(40),
                "source": "rampart", "rule": "Shell", "alertname": "Shell", "eventsource": "syscall",
                "hostname": "node-1", "priority": "Warning", "severity": "warning", "tags": "container,mitre",
                "team": "sec",
            },
            "annotations": {"info": output, "description": output, "summary": "Shell"},
            "endsAt": "2023-11-14T22:14:20.000000005Z",
        }])
    );
    assert_eq!(incident::label("..a[0].b--c"), "a_0_b_c");
}

#[test]
fn loki() {
    let sent = only("loki: {hostport: 'http://l:3100', tenant: t, extralabels: {env: prod}}");
    assert_eq!((&*sent.url, header(&sent, "X-Scope-OrgID")), ("http://l:3100/loki/api/v1/push", Some("t")));
    assert_eq!(
        sent.body,
        json!({"streams": [{
            "stream": {
                "rule": "Shell", "source": "syscall", "priority": "Warning", "hostname": "node-1",
                "k8s_ns_name": "trading", "tags": "container,mitre", "env": "prod",
            },
            "values": [["1700000000000000005", "12:00:00.000000000: Warning A shell in a container (user=root)"]],
        }]})
    );
}

#[test]
fn elasticsearch() {
    let url =
        |suffix: &str| only(&format!("elasticsearch: {{hostport: 'http://e:9200', suffix: '{suffix}'}}")).url;
    assert_eq!(url(""), "http://e:9200/falco-2023.11.14/_doc");
    assert_eq!(url("monthly"), "http://e:9200/falco-2023.11/_doc");
    assert_eq!(url("annually"), "http://e:9200/falco-2023/_doc");
    assert_eq!(url("none"), "http://e:9200/falco/_doc");
    let body = only("elasticsearch: {hostport: 'http://e:9200', index: mine}").body;
    assert_eq!(
        (&body["@timestamp"], &body["rule"]),
        (&json!("2023-11-14T22:13:20.000000005Z"), &json!("Shell"))
    );
}

#[test]
fn cloudevents() {
    let sent = only("cloudevents: {address: 'http://c', extensions: {region: \"z\u{fc}rich\"}}");
    for (name, value) in [
        ("ce-id", "018bcfe5-6800-7000-8000-000000000001"),
        ("ce-specversion", "1.0"),
        ("ce-type", "falco.rule.output.v1"),
        ("ce-time", "2023-11-14T22:13:20.000000005Z"),
        ("ce-rule", "Shell"),
        ("ce-region", "z%C3%BCrich"),
    ] {
        assert_eq!(header(&sent, name), Some(value), "{name}");
    }
    assert_eq!(sent.body, facts().alert);
}
