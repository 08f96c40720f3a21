//! Processes are ended, and are not.

use std::{fs, thread};

use rampart_tests::require_root;

use crate::stage::{QUIET, Stage, page, told};

#[test]
fn a_process_is_ended_for_what_it_does_and_it_is_noted() {
    require_root!("a_process_is_ended_for_what_it_does_and_it_is_noted");
    let stage = Stage::new();
    let secret = stage.path("secret");
    fs::write(&secret, "x").expect("written");
    let condition =
        format!("evt.type in (open, openat) and fd.name = {} and proc.name = intruder", secret.display());
    let rules = [("a secret is read", condition.as_str(), "  response: [kill, notify: oncall]")];
    let agent = stage.start(&rules, "  mode: enforce", "");
    let mut intruder = stage.intruder("intruder", stage.group());
    let mut other = stage.intruder("friend", stage.group());
    other.run(&format!(": < {}", secret.display()));
    intruder.order(&format!(": < {}", secret.display()));
    intruder.is_killed();
    assert!(other.lives(), "it did the same and is not meant");

    let alert = agent.wait_for("the alert", |alert| alert["rule"] == "a secret is read");
    assert_eq!(alert["output_fields"]["response.notify"], "oncall");
    let told = told(&agent, "kill", "done");
    assert_eq!(told["output_fields"]["response.alert"], alert["uuid"]);
    assert_eq!(told["output_fields"]["response.pids"][0], intruder.pid());
    let noted = stage.audit();
    let kill = noted.iter().find(|line| line["what"] == "response kill").expect("it is noted");
    assert_eq!((&kill["who"], &kill["outcome"]), (&"rule `a secret is read`".into(), &"done".into()));
    assert!(agent.metric("rampart_responses_total{action=\"kill\",outcome=\"done\"}") >= 1.0);
    let shown = stage.done(&agent, &["responses", "list"]);
    assert!(shown.contains("kill") && shown.contains(&format!("intruder ({})", intruder.pid())), "{shown}");
}

#[test]
fn nobody_is_ended_who_is_protected_too_many_or_only_observed() {
    require_root!("nobody_is_ended_who_is_protected_too_many_or_only_observed");
    let stage = Stage::new();
    let open =
        |name: &str| format!("evt.type in (open, openat) and fd.name = {}", stage.path(name).display());
    for name in ["secret", "watched", "off"] {
        fs::write(stage.path(name), "x").expect("written");
    }
    let (secret, watched, off) = (open("secret"), open("watched"), open("off"));
    let rules = [
        ("secret", secret.as_str(), "  response: {kill: tree}"),
        ("watched", watched.as_str(), "  response: {mode: observe, actions: [kill]}"),
        ("off", off.as_str(), "  response: {mode: off, actions: [kill]}"),
    ];
    let responses = format!(
        "  mode: enforce\n  per_minute: 1\n  protect_processes: ['{}']",
        stage.path("trusted").display()
    );
    let mut agent = stage.start(&rules, &responses, "");
    let read = |name: &str| format!(": < {}", stage.path(name).display());

    let mut trusted = stage.intruder("trusted", stage.group());
    trusted.run(&read("secret"));
    let refused = told(&agent, "kill", "refused");
    let why = refused["output_fields"]["response.why"].as_str().unwrap_or_default();
    assert!(why.contains("is protected"), "{refused:#}");
    assert!(trusted.lives());

    // The one that was refused took this minute's budget.
    let mut second = stage.intruder("intruder", stage.group());
    second.run(&read("secret"));
    agent.until("over budget", |agent| {
        agent.metric("rampart_responses_total{action=\"kill\",outcome=\"over_budget\"}") >= 1.0
    });
    second.run(&read("watched"));
    agent.until("observed", |agent| {
        agent.metric("rampart_responses_total{action=\"kill\",outcome=\"observed\"}") >= 1.0
    });
    second.run(&read("off"));
    agent.wait_for("the alert", |alert| alert["rule"] == "off");
    thread::sleep(QUIET);
    assert!(second.lives());
    let outcomes: Vec<String> =
        stage.audit().iter().map(|line| line["outcome"].as_str().unwrap_or_default().to_owned()).collect();
    assert_eq!(outcomes, ["refused", "over_budget", "observed"]);
    let counted = page(&agent, "/responses")["counts"].as_array().map(Vec::len);
    assert_eq!(counted, Some(3));
}

#[test]
fn a_container_is_ended_as_a_whole_and_the_rest_of_the_node_is_not() {
    require_root!("a_container_is_ended_as_a_whole_and_the_rest_of_the_node_is_not");
    let stage = Stage::new();
    let secret = stage.path("secret");
    fs::write(&secret, "x").expect("written");
    let condition = format!("evt.type in (open, openat) and fd.name = {}", secret.display());
    let rules = [("a secret is read", condition.as_str(), "  response: {kill: container}")];
    let agent = stage.start(&rules, "  mode: enforce", "");
    let read = format!(": < {}", secret.display());

    let mut outside = stage.intruder("intruder", stage.group());
    outside.run(&read);
    let refused = told(&agent, "kill", "refused");
    let why = refused["output_fields"]["response.why"].as_str().unwrap_or_default();
    assert_eq!(why, "it runs in no container", "{refused:#}");

    let (container, other) = (stage.container('a'), stage.container('b'));
    let mut inside = stage.intruder("intruder", &container);
    let mut beside = stage.intruder("sidecar", &container);
    let mut elsewhere = stage.intruder("neighbour", &other);
    inside.order(&read);
    inside.is_killed();
    beside.is_killed();
    told(&agent, "kill", "done");
    assert!(outside.lives() && elsewhere.lives());
}

#[test]
fn a_capture_is_a_recording_that_can_be_replayed() {
    require_root!("a_capture_is_a_recording_that_can_be_replayed");
    let stage = Stage::new();
    let secret = stage.path("secret");
    fs::write(&secret, "x").expect("written");
    let condition = format!("evt.type in (open, openat) and fd.name = {}", secret.display());
    let rules = [("a secret is read", condition.as_str(), "  response: {capture: {seconds: 2}}")];
    let mut agent = stage.start(&rules, "  mode: enforce", "");
    let mut intruder = stage.intruder("intruder", stage.group());
    intruder.run(&format!(": < {}", secret.display()));
    let told = told(&agent, "capture", "done");
    let file = told["output_fields"]["response.file"].as_str().expect("a file").to_owned();
    agent.until("recorded", |agent| agent.log().contains("A capture has ended"));
    let replayed = stage.done(&agent, &["replay", &file, "-r", &stage.path("rules.yaml").to_string_lossy()]);
    assert!(!replayed.contains("error"), "{replayed}");
    assert!(fs::metadata(&file).expect("a recording").len() > 0);
}
