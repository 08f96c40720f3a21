//! Who did it: the process of an alert, its parent and its past, in the cases that are easy to get wrong.

#![expect(clippy::expect_used, reason = "a panic is how a test fails")]

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use rampart_tests::{agent::Agent, require_root};
use serde_json::Value;

/// A file, and a rule on opening it that shows who did.
fn scene(dir: &Path) -> (PathBuf, PathBuf) {
    let (file, rules) = (dir.join("ledger"), dir.join("rules.yaml"));
    fs::write(&file, "x").expect("written");
    let text = format!(
        "- rule: opened\n  desc: d\n  priority: INFO\n  condition: evt.type in (open, openat) and fd.name = {}\n  \
         output: '%proc.pid %proc.ppid %proc.name %proc.pname %proc.aname[2] %proc.cmdline %proc.cwd %thread.tid'\n",
        file.display()
    );
    fs::write(&rules, text).expect("the rules are written");
    (file, rules)
}

/// Runs a script; its first argument is the file.
fn python(script: &str, file: &Path) -> Child {
    let mut command = Command::new("/usr/bin/python3");
    command.args(["-c", script]).arg(file).stdin(Stdio::piped()).stdout(Stdio::null());
    command.spawn().expect("python starts")
}

fn opened_by(agent: &Agent, field: &str, value: &str) -> Value {
    agent.wait_for(&format!("{field} = {value}"), |alert| show(alert, field) == value)
}

/// A field as text, numbers too.
fn show(alert: &Value, field: &str) -> String {
    match alert.get("output_fields").and_then(|fields| fields.get(field)) {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    }
}

#[test]
fn a_thread_that_execs_becomes_its_process() {
    require_root!("a_thread_that_execs_becomes_its_process");
    let dir = tempfile::tempdir().expect("a directory");
    let (file, rules) = scene(dir.path());
    let agent = Agent::start(&rules);
    let script = "import threading, os, sys\n\
                  run = lambda: os.execv('/bin/cat', ['by-thread', sys.argv[1]])\n\
                  thread = threading.Thread(target=run)\n\
                  thread.start()\nthread.join()\n";
    let mut child = python(script, &file);
    assert!(child.wait().expect("it ends").success());
    let alert = opened_by(&agent, "proc.pid", &child.id().to_string());
    assert_eq!(
        (show(&alert, "proc.name"), show(&alert, "thread.tid")),
        ("cat".into(), child.id().to_string())
    );
    assert_eq!(show(&alert, "proc.ppid"), std::process::id().to_string());
    assert!(agent.stop().success());
}

#[test]
fn an_orphan_belongs_to_its_reaper() {
    require_root!("an_orphan_belongs_to_its_reaper");
    let dir = tempfile::tempdir().expect("a directory");
    let (file, rules) = scene(dir.path());
    let agent = Agent::start(&rules);
    // The orphan waits until its parent is gone.
    let script = "import ctypes, os, sys, time\n\
                  ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)\n\
                  if os.fork() == 0:\n    \
                      parent = os.getpid()\n    \
                      if os.fork() == 0:\n        \
                          while os.getppid() == parent: time.sleep(0.01)\n        \
                          open(sys.argv[1]).read()\n    \
                      os._exit(0)\n\
                  os.wait()\nos.wait()\n";
    let mut child = python(script, &file);
    assert!(child.wait().expect("it ends").success());
    let alert = opened_by(&agent, "proc.ppid", &child.id().to_string());
    assert_eq!(show(&alert, "proc.pname"), show(&alert, "proc.name"));
    assert!(agent.stop().success());
}

#[test]
fn a_process_older_than_the_agent_is_known() {
    require_root!("a_process_older_than_the_agent_is_known");
    let dir = tempfile::tempdir().expect("a directory");
    let (file, rules) = scene(dir.path());
    let mut child = python("import sys\nsys.stdin.readline()\nopen(sys.argv[1]).read()\n", &file);
    let agent = Agent::start(&rules);
    child.stdin.take().expect("a pipe").write_all(b"go\n").expect("it reads");
    assert!(child.wait().expect("it ends").success());
    let alert = opened_by(&agent, "proc.pid", &child.id().to_string());
    assert!(show(&alert, "proc.cmdline").ends_with(&file.display().to_string()), "{alert}");
    assert_eq!(show(&alert, "proc.ppid"), std::process::id().to_string());
    assert!(!show(&alert, "proc.pname").is_empty() && show(&alert, "proc.cwd").starts_with('/'));
    assert!(agent.stop().success());
}

/// It is gone, and its parent does not ask for it, before its records are read.
#[test]
fn a_process_that_lives_for_one_call_is_known() {
    require_root!("a_process_that_lives_for_one_call_is_known");
    let dir = tempfile::tempdir().expect("a directory");
    let (file, rules) = scene(dir.path());
    let agent = Agent::start(&rules);
    let script = "import os, sys\n\
                  if os.fork() == 0:\n    \
                      os.open(sys.argv[1], 0)\n    \
                      os._exit(0)\n\
                  sys.stdin.readline()\n";
    let mut child = python(script, &file);
    let alert = opened_by(&agent, "proc.ppid", &child.id().to_string());
    assert!(show(&alert, "proc.cmdline").contains("os.fork"), "the image of the parent: {alert}");
    drop(child.stdin.take());
    assert!(child.wait().expect("it ends").success());
    assert!(agent.stop().success());
}
