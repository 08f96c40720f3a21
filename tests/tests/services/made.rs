//! Services that are made by command while the agent runs.

use std::{
    io::ErrorKind,
    net::{SocketAddr, TcpStream},
};

use rampart_tests::{agent::Agent, require_root};

use crate::{
    agent::{House, page},
    stage::{Manner, Server, ask},
};

/// What a refused command says.
fn refusal(house: &House, agent: &Agent, arguments: &[&str]) -> String {
    let output = house.rampart(agent, arguments);
    assert!(!output.status.success(), "`rampart {}` was not refused", arguments.join(" "));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn services_are_made_changed_kept_and_removed_by_command() {
    require_root!("services_are_made_changed_kept_and_removed_by_command");
    let house = House::new("198.18.67.9:80");
    let made = SocketAddr::new(house.vip.ip(), 81);
    let [first, second] = ["127.0.0.2:0", "127.0.0.3:0"].map(|at| Server::new(at, Manner::Answer));
    let settings =
        |backend: &Server| format!("vip: {made}\nhealth: none\nbackends:\n  a: {}\n", backend.address);
    let written = format!("      health: none\n      backends: {{a: '{}'}}\n", first.address);
    let asked = || TcpStream::connect(made).and_then(ask);
    let agent = house.start(&written);
    assert!(asked().is_err(), "there is no such service yet");

    // Made, and changed.
    for backend in [&first, &second] {
        let file = house.file("quotes.yaml", &settings(backend));
        let shown = house.done(&agent, &["services", "set", "quotes", "-f", &file]);
        assert!(shown.contains(&made.to_string()) && shown.contains(&backend.address.to_string()), "{shown}");
        assert_eq!(asked().expect("an answer"), backend.address.to_string());
    }

    // What is wrong changes nothing, and says what it is.
    let wrong = house.file("wrong.yaml", &settings(&first).replace("backends", "backend"));
    let why = refusal(&house, &agent, &["services", "set", "quotes", "-f", &wrong]);
    assert!(why.contains("backend"), "{why}");
    let fine = house.file("quotes.yaml", &settings(&first));
    let why = refusal(&house, &agent, &["services", "set", "web", "-f", &fine]);
    assert!(why.contains("is in the configuration"), "{why}");
    let why = refusal(&house, &agent, &["services", "remove", "web"]);
    assert!(why.contains("is in the configuration"), "{why}");
    let why = refusal(&house, &agent, &["services", "set", "quotes/a", "-f", &fine]);
    assert!(why.contains("name the service alone"), "{why}");
    let why = refusal(&house, &agent, &["services", "set", "quotes", "-f", "/nowhere.yaml"]);
    assert!(why.contains("cannot read `/nowhere.yaml`"), "{why}");
    assert_eq!(asked().expect("an answer"), second.address.to_string());

    // Kept.
    assert!(agent.stop().success());
    assert_eq!(asked().expect("an answer without an agent"), second.address.to_string());
    let agent = house.start(&written);
    assert_eq!(page(&agent, "/services/quotes")["backends"][0]["address"], second.address.to_string());
    assert_eq!(asked().expect("an answer"), second.address.to_string());

    // Removed, and the other one is still there.
    assert_eq!(house.done(&agent, &["services", "remove", "quotes"]), "removed\n");
    assert_eq!(house.done(&agent, &["services", "remove", "quotes"]), "there was no such service\n");
    assert_ne!(asked().map_err(|error| error.kind()), Err(ErrorKind::TimedOut), "it fails at once");
    assert!(asked().is_err(), "nobody is there any more");
    assert_eq!(house.ask().expect("an answer"), first.address.to_string());
    let audit = house.audit();
    assert_eq!(audit.matches(r#""service made""#).count(), 4, "{audit}");
    assert_eq!(audit.matches(r#""service removed""#).count(), 3, "{audit}");
}
