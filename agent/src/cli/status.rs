//! `rampart status`: asks the running agent and shows its answer.

use std::io;

use clap::Args;
use serde_json::Value;

use super::{FormatArg, Outcome, ask::AgentArgs, complain, print};

pub(super) const EXAMPLES: &str = "\
Examples:
  rampart status                       the agent of this node
  rampart status --format json | jq .policy
  rampart status --address 127.0.0.1:9000

Exit codes: 0 ready and well, 1 starting or something is wrong, 2 no agent answers.";

#[derive(Args, Clone, Debug)]
pub(super) struct Arguments {
    #[command(flatten)]
    agent: AgentArgs,
    /// Form of the answer
    #[arg(long, value_enum, default_value_t = FormatArg::Text)]
    format: FormatArg,
}

pub(super) fn run(arguments: &Arguments) -> io::Result<Outcome> {
    let agent = match arguments.agent.agent()? {
        Ok(agent) => agent,
        Err(outcome) => return Ok(outcome),
    };
    let body: Value = match agent.page("/health/detailed") {
        Ok(body) => body,
        Err(why) => return Ok(complain(&why)),
    };
    if body.get("policy").is_none() {
        return Ok(complain(&agent.no_agent()));
    }
    match arguments.format {
        FormatArg::Json => print::data(&format!("{body:#}\n"))?,
        FormatArg::Text => print::data(&page(&body))?,
    }
    let well = *at(&body, "status") == "ok" && *at(&body, "ready") == true;
    Ok(if well { Outcome::Clean } else { Outcome::Findings })
}

/// The answer for people.
fn page(body: &Value) -> String {
    let policy = at(body, "policy");
    let detection = at(body, "detection");
    let mut rows = vec![
        row(
            "agent",
            &format!(
                "rampart {} on {}, process {}, up {}, {} of memory",
                text(at(body, "version")),
                text(at(body, "hostname")),
                at(body, "pid"),
                duration(number(at(body, "uptime_seconds"))),
                size(number(at(body, "memory_rss_bytes"))),
            ),
        ),
        row("state", &state(body)),
        row(
            "rules",
            &format!(
                "{} in force, digest {}, {} reloads ({} failed)",
                at(policy, "rules"),
                text(at(policy, "digest")).chars().take(12).collect::<String>(),
                number(at(policy, "reloads")),
                number(at(policy, "failed_reloads")),
            ),
        ),
        row(
            "events",
            &format!(
                "{} records, {} evaluated, {} alerts, {} undecodable; {} processes known",
                at(detection, "records"),
                at(detection, "evaluated"),
                at(detection, "alerts"),
                at(detection, "decode_errors"),
                at(detection, "processes"),
            ),
        ),
    ];
    let bundle = at(policy, "bundle");
    if let Some(name) = at(bundle, "name").as_str() {
        let digest: String = text(at(bundle, "digest")).chars().take(12).collect();
        rows.push(row("bundle", &format!("{name}, digest {digest}")));
    }
    let shed: Vec<&str> = list(at(detection, "shed")).iter().map(|one| text(at(one, "rule"))).collect();
    if !shed.is_empty() {
        rows.push(row("shed", &format!("{}, left out to keep CPU budgets", shed.join(", "))));
    }
    for output in list(at(body, "outputs")) {
        let lost = number(at(output, "dropped_queue_full")) + number(at(output, "dropped_write_failed"));
        let failing = if *at(output, "failing") == true { ", fails now" } else { "" };
        let line =
            format!("{}: {} written, {lost} lost{failing}", text(at(output, "name")), at(output, "written"));
        rows.push(row("output", &line));
    }
    for complaint in list(at(body, "complaints")) {
        rows.push(row("problem", text(complaint)));
    }
    let mut page = print::table(&rows);
    let columns = ["family", "seen", "filtered", "emitted", "ring_full", "error", "unexplained"];
    let mut families = vec![columns.map(str::to_owned).to_vec()];
    for family in list(at(detection, "families")) {
        families.push(
            columns
                .map(|column| match at(family, column) {
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                })
                .to_vec(),
        );
    }
    if families.len() > 1 {
        page.push('\n');
        page.push_str(&print::table(&families));
    }
    page
}

fn state(body: &Value) -> String {
    if *at(body, "ready") != true {
        let waiting: Vec<&str> = list(at(body, "waiting_for")).iter().map(text).collect();
        return format!("starting, waiting for {}", waiting.join(", "));
    }
    match text(at(body, "status")) {
        "ok" => "ready, all well".to_owned(),
        other => format!("ready, {other}"),
    }
}

fn row(name: &str, value: &str) -> Vec<String> {
    vec![name.to_owned(), value.to_owned()]
}

/// A member, null when it is absent.
fn at<'a>(value: &'a Value, key: &str) -> &'a Value {
    value.get(key).unwrap_or(&Value::Null)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("?")
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn size(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

/// A time for people, roughly.
pub(super) fn duration(secs: u64) -> String {
    let (days, hours, minutes) = (secs / 86400, secs / 3600 % 24, secs / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{secs} s"),
        (0, 0, _) => format!("{minutes} min"),
        (0, ..) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_page_says_what_matters() {
        let body = json!({
            "status": "degraded", "ready": true, "waiting_for": [], "version": "0.1.0", "hostname": "n",
            "pid": 7, "uptime_seconds": 3725, "memory_rss_bytes": 33 << 20,
            "complaints": ["the last reload failed"],
            "policy": {"rules": 10, "digest": "0123456789abcdef", "reloads": 2, "failed_reloads": 1,
                "bundle": {"name": "v1", "digest": "abcdef0123456789"}},
            "detection": {"records": 5, "evaluated": 4, "alerts": 1, "decode_errors": 0, "processes": 9,
                "shed": [{"rule": "A", "families": ["open"]}],
                "families": [{"family": "open", "seen": 3, "filtered": 0, "emitted": 3, "ring_full": 0, "error": 0, "unexplained": 0}]},
            "outputs": [{"name": "stdout", "written": 1, "dropped_queue_full": 2, "dropped_write_failed": 3, "failing": true}],
        });
        let page = page(&body);
        assert_eq!(
            page,
            "agent    rampart 0.1.0 on n, process 7, up 1 h 2 min, 33 MiB of memory\n\
             state    ready, degraded\n\
             rules    10 in force, digest 0123456789ab, 2 reloads (1 failed)\n\
             events   5 records, 4 evaluated, 1 alerts, 0 undecodable; 9 processes known\n\
             bundle   v1, digest abcdef012345\n\
             shed     A, left out to keep CPU budgets\n\
             output   stdout: 1 written, 5 lost, fails now\n\
             problem  the last reload failed\n\
             \n\
             family  seen  filtered  emitted  ring_full  error  unexplained\n\
             open    3     0         3        0          0      0\n"
        );
    }

    #[test]
    fn a_starting_agent_names_what_it_waits_for() {
        let body = json!({"ready": false, "waiting_for": ["kernel", "detection"]});
        assert_eq!(state(&body), "starting, waiting for kernel, detection");
        assert_eq!(duration(59), "59 s");
        assert_eq!(duration(90_000), "1 d 1 h");
    }
}
