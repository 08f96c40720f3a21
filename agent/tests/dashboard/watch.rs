//! `--watch` of the command line, against the same server.

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
};

use rampart_common::service::breaker::State;
use serde_json::Value;

use crate::stage::Stage;

#[test]
fn a_watched_list_tells_each_change_on_a_line_of_its_own() {
    let mut stage = Stage::new();
    let address = stage.address().to_string();
    let rampart = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rampart"));
        command.args(arguments).args(["--address", &address]).stdin(Stdio::null());
        command
    };
    let watch = ["breakers", "get", "shop/a", "--watch=100ms", "-o", "json"];
    let mut child = rampart(&watch).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    assert_eq!(next()["state"], "closed");
    stage.set(State::Open, "");
    while next()["state"] != "open" {}

    // An agent that is gone ends it.
    stage.stop();
    while lines.next().is_some() {}
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(1));
    // How it is missed depends on the moment.
    assert!(String::from_utf8_lossy(&ended.stderr).starts_with("error: "));
    stage.start();
    let output = rampart(&["breakers", "list", "-o", "json"]).output().unwrap();
    let list: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(list["circuit_breakers"][1]["id"], "shop/a", "without it the answer comes once");
    let output = rampart(&["services", "drain", "shop/a", "--watch"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "a change is not repeated");
}
