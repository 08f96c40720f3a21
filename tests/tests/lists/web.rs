//! A list of addresses from the web: followed while it changes, kept while it is nonsense or away.

use std::{fs, net::UdpSocket, path::Path};

use rampart_tests::{agent::Agent, require_root};

use super::{
    count, holds, is_of, list, rules,
    server::{Server, TOKEN},
};

const RULE: &str = "\
- list: bad_ips
  items: []
- rule: to a listed address
  desc: d
  condition: evt.type = connect and fd.rip in (bad_ips)
  output: to %fd.rip
  priority: WARNING
";

fn settings(dir: &Path, server: &Server) -> String {
    let headers = dir.join("headers");
    fs::write(&headers, format!("Authorization: {TOKEN}\n")).expect("written");
    format!(
        "rules: {{lists: {{bad_ips: {{kind: ip, url: '{}', refresh_secs: 1, allow_private: true, headers_file: {}}}}}}}\n",
        server.url(),
        headers.display(),
    )
}

/// Connects to an address; no packet is sent.
fn connect(address: &str) {
    let socket = UdpSocket::bind(("127.0.0.1", 0)).expect("a socket");
    socket.connect((address, 9)).expect("an address of this machine");
}

fn looks(agent: &Agent, outcome: &str) -> u64 {
    let looks = list(agent, "bad_ips").and_then(|list| list.get("looks")?.get(outcome)?.as_u64());
    looks.unwrap_or_default()
}

/// Connects until the rule sees it.
fn until_alerted(agent: &mut Agent, address: &str) {
    let before = count(agent, "to a listed address", "fd.rip", address);
    agent.until("looking into the new list", |agent| {
        connect(address);
        count(agent, "to a listed address", "fd.rip", address) > before
    });
}

#[test]
fn a_list_is_followed_and_what_is_no_list_changes_nothing() {
    require_root!("a_list_is_followed_and_what_is_no_list_changes_nothing");
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start("# first\n127.66.0.1\n");
    let state = dir.path().join("kept");
    let state = state.display().to_string();
    let env = [("RAMPART_NODE__STATE_DIR", state.as_str())];
    let (file, settings) = (rules(dir.path(), RULE), settings(dir.path(), &server));
    let mut agent = Agent::start_in(&file, &settings, &env);
    agent.until("in possession of the list", |agent| holds(agent, "bad_ips", "127.66.0.1"));
    assert_eq!(server.refused(), 0);
    until_alerted(&mut agent, "127.66.0.1");
    agent.until("told that nothing has changed", |_| server.unchanged() > 0);

    server.say("# second\n127.66.0.2 # only this\n127.66.8.0/24\nnobody\n");
    until_alerted(&mut agent, "127.66.0.2");
    let before = count(&agent, "to a listed address", "fd.rip", "127.66.0.1");
    connect("127.66.0.1");
    until_alerted(&mut agent, "127.66.8.77");
    assert_eq!(count(&agent, "to a listed address", "fd.rip", "127.66.0.1"), before, "it is listed no more");
    let page = list(&agent, "bad_ips").expect("the list");
    assert_eq!(page.pointer("/wrong/first/0/line"), Some(&4.into()), "{page}");

    for nonsense in ["<html>\nnothing\nhere\n", "# nothing is left\n", "0.0.0.0/0\n::/0\n"] {
        let failed = looks(&agent, "failed");
        server.say(nonsense);
        agent.until("refusing nonsense", |agent| looks(agent, "failed") > failed);
        assert!(holds(&agent, "bad_ips", "127.66.0.2") && !holds(&agent, "bad_ips", "8.8.8.8"), "{nonsense}");
    }
    agent.wait_for("the refusal", |alert| alert.to_string().contains("the list `bad_ips` is not renewed"));

    drop(server);
    let failed = looks(&agent, "failed");
    agent.until("alone", |agent| looks(agent, "failed") > failed);
    until_alerted(&mut agent, "127.66.0.2");
    assert!(agent.metric("rampart_list_entries") > 1.0 && agent.metric("rampart_list_stale") < 1.0);
    assert!(agent.stop().success());

    // The next agent knows the list from its first moment, although nobody serves it.
    let agent = Agent::start_in(&file, &settings, &env);
    connect("127.66.8.1");
    agent.wait_for("the kept list", |alert| is_of(alert, "to a listed address", "fd.rip", "127.66.8.1"));
    assert!(agent.stop().success());
}
