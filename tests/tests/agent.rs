//! The whole agent on the running kernel: from a system call to a line of JSON.

#![expect(clippy::expect_used, reason = "a panic is how a test fails")]

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use aya::programs::loaded_programs;
use nix::sys::signal::Signal;
use rampart_tests::{agent::Agent, require_root, skip};
use serde_json::Value;

/// Where the pack lies in the source tree.
fn base_pack() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../rules/packs/base.yaml")
}

fn rule_on(path: &Path, name: &str) -> String {
    format!(
        "- rule: {name}\n  desc: d\n  condition: evt.type in (open, openat, openat2) and fd.name = {}\n  \
         output: opened %fd.name by %proc.name\n  priority: WARNING\n",
        path.display()
    )
}

fn field<'a>(alert: &'a Value, name: &str) -> Option<&'a str> {
    alert.get("output_fields")?.get(name)?.as_str()
}

/// `sh -c 'cat PATH'` in a directory, so that the reader has a parent to name.
fn cat_from_shell(dir: &Path, path: &str) {
    let script = format!("cat {path} > /dev/null; :");
    let status = Command::new("/bin/sh").args(["-c", &script]).current_dir(dir).status();
    assert!(status.expect("sh runs").success());
}

/// The same file by its name, through a link, and by a relative path with dots raises the same alert.
fn reads_are_seen(agent: &Agent, rule: &str) {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let link = scratch.path().join("notes");
    symlink("/etc/shadow", &link).expect("the link is made");
    let link = link.display().to_string();
    for (dir, path) in [("/", "/etc/shadow"), ("/", link.as_str()), ("/usr/bin", "../../etc/./shadow")] {
        cat_from_shell(Path::new(dir), path);
        let alert = agent.wait_for(path, |alert| {
            alert.get("rule").and_then(Value::as_str) == Some(rule)
                && field(alert, "proc.cmdline") == Some(format!("cat {path}").as_str())
        });
        assert_eq!(field(&alert, "fd.name"), Some("/etc/shadow"), "{path}");
        assert_eq!(field(&alert, "proc.name"), Some("cat"));
        assert_eq!(field(&alert, "proc.pname"), Some("sh"));
        let object = alert.as_object().expect("an object");
        for key in ["hostname", "output", "output_fields", "priority", "rule", "source", "tags", "time"] {
            assert!(object.contains_key(key), "no `{key}` in {alert}");
        }
        assert_eq!(alert.get("source").and_then(Value::as_str), Some("syscall"));
    }
}

#[test]
fn the_pack_sees_a_credential_read_by_every_path() {
    require_root!("the_pack_sees_a_credential_read_by_every_path");
    let agent = Agent::start(&base_pack());
    reads_are_seen(&agent, "Credential file read by unexpected program");
    assert!(agent.stop().success());
}

#[test]
fn upstream_rules_see_a_credential_read_by_every_path() {
    const NAME: &str = "upstream_rules_see_a_credential_read_by_every_path";
    require_root!(NAME);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let shared = std::env::var_os("RAMPART_SHARED").map_or_else(|| root.join("../shared"), PathBuf::from);
    let rules = shared.join("falco/rules/falco_rules.yaml");
    if !rules.exists() {
        skip!(NAME, "no upstream rules at `{}`", rules.display());
    }
    let agent = Agent::start(&rules);
    reads_are_seen(&agent, "Read sensitive file untrusted");
    assert!(agent.stop().success());
}

#[test]
fn a_reload_swaps_and_a_broken_one_changes_nothing() {
    require_root!("a_reload_swaps_and_a_broken_one_changes_nothing");
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let (first, second) = (scratch.path().join("first"), scratch.path().join("second"));
    fs::write(&first, "").expect("written");
    fs::write(&second, "").expect("written");
    let rules = scratch.path().join("rules.yaml");
    fs::write(&rules, rule_on(&first, "First")).expect("written");
    let mut agent = Agent::start(&rules);
    let seen = |agent: &Agent, path: &Path, rule: &str| {
        cat_from_shell(Path::new("/"), &path.display().to_string());
        agent.wait_for(rule, |alert| alert.get("rule").and_then(Value::as_str) == Some(rule));
    };
    seen(&agent, &first, "First");

    fs::write(&rules, "- rule: Broken\n  condition: proc.nme = x\n").expect("written");
    agent.signal(Signal::SIGHUP);
    agent.until("told of the failed reload", |agent| {
        agent.metric("rampart_policy_reloads_total{outcome=\"failure\"}") > 0.0
    });
    let before = agent.metric("falcosecurity_falco_rules_matches_total");
    cat_from_shell(Path::new("/"), &first.display().to_string());
    agent.until("still on the old rules", |agent| {
        agent.metric("falcosecurity_falco_rules_matches_total") > before
    });

    fs::write(&rules, rule_on(&second, "Second")).expect("written");
    agent.signal(Signal::SIGHUP);
    agent.until("on the new rules", |agent| {
        cat_from_shell(Path::new("/"), &second.display().to_string());
        agent.get("/metrics").is_some_and(|(_, text)| text.contains("Second"))
    });
    assert!(agent.stop().success());
}

#[test]
fn a_second_agent_is_refused_with_the_first_ones_id() {
    require_root!("a_second_agent_is_refused_with_the_first_ones_id");
    let agent = Agent::start(&base_pack());
    let refused = agent.rival(&base_pack());
    assert_eq!(refused.status.code(), Some(2));
    assert!(agent.log().contains(&agent.pid().to_string()), "{}", agent.log());
    assert!(agent.stop().success());
}

#[test]
fn a_killed_agent_leaves_nothing_and_the_next_one_starts() {
    require_root!("a_killed_agent_leaves_nothing_and_the_next_one_starts");
    let ours = || {
        let names = loaded_programs().filter_map(|program| Some(program.ok()?.name_as_str()?.to_owned()));
        names.filter(|name| name.starts_with("family_") || name == "dispatch").count()
    };
    let before = ours();
    let agent = Agent::start(&base_pack());
    assert!(ours() > before);
    agent.signal(Signal::SIGKILL);
    let end = Instant::now() + Duration::from_secs(10);
    while ours() > before {
        assert!(Instant::now() < end, "programs of the killed agent are still loaded");
        thread::sleep(Duration::from_millis(20));
    }
    assert!(!Path::new("/sys/fs/bpf/rampart").exists());
    drop(agent);
    assert!(Agent::start(&base_pack()).stop().success());
}
