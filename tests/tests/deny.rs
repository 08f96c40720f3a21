//! Operations are refused by the kernel before they happen, for the rule that is true of them and for nobody else.
//!
//! Needs a kernel whose list of security modules has `bpf`; `cargo xtask vm-test` boots such kernels.

#![expect(clippy::expect_used, reason = "a panic is how a test fails")]

use std::{
    env,
    fmt::Write as _,
    fs, io,
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output},
    thread,
    time::Duration,
};

use nix::sys::signal::Signal;
use rampart_agent::kernel::deny::Hooks;
use rampart_tests::{
    agent::{Agent, binary},
    require_root, skip,
};
use serde_json::Value;
use tempfile::TempDir;

/// Time after which what has not happened is taken not to happen.
const QUIET: Duration = Duration::from_secs(1);
/// Variable that makes this program connect to an address, and nothing else.
const DIAL: &str = "RAMPART_TEST_DIAL";

macro_rules! require_deny {
    ($name:expr) => {
        require_root!($name);
        if let Some(why) = Hooks::look().fault() {
            skip!($name, "{why}");
        }
    };
}

/// An agent with rules that refuse, and programs that try.
struct Stage {
    scratch: TempDir,
}

impl Stage {
    fn new() -> Self {
        let scratch = tempfile::tempdir().expect("a scratch directory");
        fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o755)).expect("ours");
        let stage = Self { scratch };
        fs::create_dir(stage.path("keys")).expect("made");
        for file in ["keys/secret", "keys/other", "public"] {
            fs::write(stage.path(file), "content\n").expect("written");
        }
        stage
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().canonicalize().expect("it exists").join(name)
    }

    /// A copy of a program under a name of its own.
    fn program(&self, from: &str, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::copy(from, &path).expect("the program is copied");
        path
    }

    fn rules(&self, rules: &[(&str, &str, &str)]) -> PathBuf {
        let mut text = String::new();
        let dir = self.path("").display().to_string();
        for (name, condition, response) in rules {
            let condition = condition.replace("DIR", dir.trim_end_matches('/'));
            let _ = writeln!(
                text,
                "- rule: {name}\n  desc: d\n  priority: WARNING\n  condition: {condition}\n  \
                 output: '%proc.name %proc.pid %fd.name %evt.res'\n  response: {response}"
            );
        }
        let file = self.path("rules.yaml");
        fs::write(&file, text).expect("the rules are written");
        file
    }

    fn settings(&self, responses: &str) -> String {
        format!(
            "rules: {{matching: all}}\ncontainers: {{enabled: false}}\nresponses:\n  pin_dir: {}\n{responses}\n",
            self.path("pins").display()
        )
    }

    fn env(&self) -> Vec<(&'static str, String)> {
        let path = |name: &str| self.path(name).to_string_lossy().into_owned();
        vec![("RAMPART_NODE__RUNTIME_DIR", path("run")), ("RAMPART_NODE__STATE_DIR", path("state"))]
    }

    fn start(&self, rules: &[(&str, &str, &str)], responses: &str) -> Agent {
        let file = self.rules(rules);
        let env = self.env();
        let env: Vec<(&str, &str)> = env.iter().map(|(name, value)| (*name, value.as_str())).collect();
        Agent::start_in(&file, &self.settings(responses), &env)
    }

    /// Starts, and waits until the kernel refuses.
    fn refusing(&self, rules: &[(&str, &str, &str)], responses: &str) -> Agent {
        let mut agent = self.start(rules, responses);
        agent.until("operations are refused", |agent| agent.metric("rampart_deny_active") >= 1.0);
        agent
    }

    fn rampart(&self, agent: &Agent, arguments: &[&str]) -> Output {
        let mut command = Command::new(binary());
        command.args(arguments).envs(self.env());
        command.env("RAMPART_ADMIN__LISTEN", agent.address().to_string());
        command.output().expect("the command runs")
    }

    fn audit(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.path("state/audit.jsonl")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).expect("a JSON object a line")).collect()
    }
}

/// Whether a program can read a file; the reason when it is another than being refused.
fn reads(program: &Path, file: &Path) -> bool {
    let output = Command::new(program).arg(file).output().expect("the program runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() || said.contains("Operation not permitted"),
        "{}: {said}",
        program.display()
    );
    output.status.success()
}

fn refused_metric(agent: &Agent) -> f64 {
    agent.metric("rampart_deny_operations_total{outcome=\"refused\"}")
}

#[test]
fn a_file_is_opened_by_whom_it_is_meant_for_and_by_nobody_else() {
    require_deny!("a_file_is_opened_by_whom_it_is_meant_for_and_by_nobody_else");
    let stage = Stage::new();
    let (signer, thief) = (stage.program("/bin/cat", "signer"), stage.program("/bin/cat", "thief"));
    let condition = "evt.type in (open, openat, openat2) and evt.is_open_read = true and fd.num >= 0 \
                     and fd.name startswith DIR/keys/ and not fd.name = DIR/keys/other \
                     and not proc.exepath in (DIR/signer)";
    let (secret, other) = (stage.path("keys/secret"), stage.path("keys/other"));
    // Whoever runs already is known as well.
    let mut agent = stage.refusing(&[("a key is read", condition, "deny")], "  mode: enforce");
    assert!(reads(&signer, &secret), "it is meant for this one");
    assert!(reads(&thief, &other) && reads(&thief, &stage.path("public")), "these are nobody's secret");
    assert!(!reads(&thief, &secret), "it is refused");
    let link = stage.path("link");
    std::os::unix::fs::symlink(&secret, &link).expect("linked");
    assert!(!reads(&thief, &link), "by whatever name it is asked for");
    // A process that does not start another program is what its parent is.
    let shell = stage.program("/bin/sh", "shell");
    let script = format!("( : < {} ) || exit 7", secret.display());
    let status = Command::new(&shell).args(["-c", &script]).status().expect("the shell runs");
    assert_ne!(status.code(), Some(0), "its child is refused too");

    let alert = agent.wait_for("the alert", |alert| {
        alert["rule"] == "a key is read" && alert["output_fields"]["proc.name"] == "thief"
    });
    let fields = &alert["output_fields"];
    assert_eq!(fields["response.denied"], format!("open {}", secret.display()), "{alert:#}");
    assert_eq!((&fields["evt.res"], &fields["fd.name"]), (&"EPERM".into(), &secret.to_string_lossy().into()));
    agent.until("they are counted", |agent| refused_metric(agent) >= 3.0);
    agent.wait_for("the note", |told| {
        let fields = &told["output_fields"];
        fields["response.action"] == "deny"
            && fields["response.outcome"] == "done"
            && fields["response.alert"] == alert["uuid"]
    });
    let noted = stage.audit();
    assert!(
        noted.iter().any(|line| line["what"] == "response deny" && line["outcome"] == "done"),
        "{noted:#?}"
    );
    let of_thief = |agent: &Agent| {
        let is_one = |alert: &Value| {
            alert["rule"] == "a key is read" && alert["output_fields"]["proc.name"] == "thief"
        };
        agent.alerts().into_iter().filter(is_one).count()
    };
    agent.until("both tries are told", |agent| of_thief(agent) >= 2);
    thread::sleep(QUIET);
    assert_eq!(of_thief(&agent), 2, "one alert for each of two tries");
    let shown = stage.rampart(&agent, &["responses", "list"]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("a key is read") && shown.contains("open"), "{shown}");

    agent.stop();
    assert!(reads(&thief, &secret), "without the agent nothing is refused");
}

#[test]
fn a_killed_agent_refuses_nothing_any_more() {
    require_deny!("a_killed_agent_refuses_nothing_any_more");
    let stage = Stage::new();
    let thief = stage.program("/bin/cat", "thief");
    let rule = ("r", "evt.type in (open, openat, openat2) and fd.name = DIR/keys/secret", "deny");
    let agent = stage.refusing(&[rule], "  mode: enforce");
    assert!(!reads(&thief, &stage.path("keys/secret")));
    agent.signal(Signal::SIGKILL);
    let end = std::time::Instant::now() + Duration::from_mins(1);
    // The kernel takes the programs away once the process is gone.
    while !reads(&thief, &stage.path("keys/secret")) {
        assert!(std::time::Instant::now() < end, "it is refused still");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn how_a_file_is_opened_makes_a_difference_and_a_rule_on_failed_calls_alerts_once() {
    require_deny!("how_a_file_is_opened_makes_a_difference_and_a_rule_on_failed_calls_alerts_once");
    let stage = Stage::new();
    let shell = stage.program("/bin/sh", "editor");
    let rules = [(
        "written",
        "evt.type in (open, openat, openat2) and evt.is_open_write = true and fd.name = DIR/keys/secret",
        "deny",
    )];
    let mut agent = stage.refusing(&rules, "  mode: enforce");
    let run = |script: String| {
        Command::new(&shell).args(["-c", &script]).status().expect("the shell runs").success()
    };
    let secret = stage.path("keys/secret");
    assert!(run(format!(": < {}", secret.display())), "reading is not writing");
    assert!(!run(format!(": >> {}", secret.display())));
    assert!(!run(format!(": > {}", secret.display())));
    assert_eq!(fs::read_to_string(&secret).expect("readable"), "content\n", "it was refused before it began");
    let denied = |agent: &Agent| -> Vec<bool> {
        let alerts = agent.alerts().into_iter().filter(|alert| alert["rule"] == "written");
        alerts.map(|alert| alert["output_fields"]["response.denied"].is_string()).collect()
    };
    agent.until("both tries are told", |agent| denied(agent).len() >= 2);
    thread::sleep(QUIET);
    assert_eq!(denied(&agent), [true, true]);
}

#[test]
fn a_program_is_not_run() {
    require_deny!("a_program_is_not_run");
    let stage = Stage::new();
    let tool = stage.program("/bin/true", "tool");
    let other = stage.program("/bin/true", "other");
    let script = stage.path("script");
    fs::write(&script, format!("#!{}\n", tool.display())).expect("written");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("ours");
    let rules = [
        ("by path", "evt.type in (execve, execveat) and proc.exepath = DIR/tool", "deny"),
        ("by name", "evt.type in (execve, execveat) and proc.name = unwanted", "deny"),
    ];
    let agent = stage.refusing(&rules, "  mode: enforce");
    let run = |program: &Path| Command::new(program).status().map(|status| status.success());
    let refused = |program: &Path| {
        let error = run(program).expect_err("it is refused");
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{error}");
    };
    assert!(run(&other).expect("it runs"));
    refused(&tool);
    // What runs is the interpreter.
    refused(&script);
    let renamed = stage.path("unwanted");
    std::os::unix::fs::symlink(&other, &renamed).expect("linked");
    refused(&renamed);
    for rule in ["by path", "by name"] {
        let alert = agent.wait_for("the alert", |alert| alert["rule"] == rule);
        let denied = alert["output_fields"]["response.denied"].as_str().unwrap_or_default();
        assert!(denied.starts_with("exec "), "{alert:#}");
    }
}

#[test]
fn a_connection_is_not_made() {
    require_deny!("a_connection_is_not_made");
    let stage = Stage::new();
    let dialer = stage.program(&env::current_exe().expect("this program").to_string_lossy(), "dialer");
    let listen = |address: &str| TcpListener::bind(address).expect("a listener");
    let (wanted, unwanted) = (listen("127.0.0.1:0"), listen("127.0.0.2:0"));
    let rules = [(
        "dialed",
        "evt.type = connect and fd.snet in (127.0.0.2/31, 192.0.2.0/24) and fd.l4proto = tcp and proc.name = dialer",
        "deny",
    )];
    let agent = stage.refusing(&rules, "  mode: enforce");
    let dial = |address: String| {
        let mut command = Command::new(&dialer);
        command.args(["dials_when_asked_to", "--exact"]).env(DIAL, address);
        command.output().expect("it runs").status.success()
    };
    assert!(dial(wanted.local_addr().expect("bound").to_string()));
    assert!(!dial(unwanted.local_addr().expect("bound").to_string()));
    let mapped = format!("[::ffff:127.0.0.2]:{}", unwanted.local_addr().expect("bound").port());
    assert!(!dial(mapped), "by whatever kind of socket");
    let alert = agent.wait_for("the alert", |alert| alert["rule"] == "dialed");
    let denied = alert["output_fields"]["response.denied"].as_str().unwrap_or_default().to_owned();
    assert!(denied.starts_with("connect 127.0.0.2:"), "{alert:#}");
}

/// What [`a_connection_is_not_made`] runs a copy of.
#[test]
fn dials_when_asked_to() {
    if let Ok(address) = env::var(DIAL) {
        let fault = TcpStream::connect(&address).err().map(|error| error.kind());
        assert_eq!(fault, None, "{address}");
    }
}

#[test]
fn nothing_is_refused_where_it_is_observed_protected_or_let_through() {
    require_deny!("nothing_is_refused_where_it_is_observed_protected_or_let_through");
    let stage = Stage::new();
    let (thief, trusted) = (stage.program("/bin/cat", "thief"), stage.program("/bin/cat", "trusted"));
    let rules = [
        ("secret", "evt.type in (open, openat, openat2) and fd.name = DIR/keys/secret", "deny"),
        (
            "other",
            "evt.type in (open, openat, openat2) and fd.name = DIR/keys/other",
            "{mode: observe, actions: [deny]}",
        ),
    ];
    let responses = format!("  mode: enforce\n  protect_processes: ['{}']", stage.path("trusted").display());
    let mut agent = stage.refusing(&rules, &responses);
    let (secret, other) = (stage.path("keys/secret"), stage.path("keys/other"));
    assert!(reads(&thief, &other), "it is only observed");
    agent.until("it is observed", |agent| {
        agent.metric("rampart_responses_total{action=\"deny\",outcome=\"observed\"}") >= 1.0
    });
    agent.wait_for("the ordinary alert", |alert| alert["rule"] == "other");
    assert!(reads(&trusted, &secret), "it is protected");
    let refused = agent.wait_for("the note", |alert| {
        alert["output_fields"]["response.action"] == "deny"
            && alert["output_fields"]["response.outcome"] == "refused"
    });
    let why = refused["output_fields"]["response.why"].as_str().unwrap_or_default();
    assert!(why.contains("is protected"), "{refused:#}");

    assert!(!reads(&thief, &secret));
    let answer = stage.rampart(&agent, &["responses", "allow", "secret", "--for", "10m"]);
    assert!(answer.status.success(), "{}", String::from_utf8_lossy(&answer.stderr));
    assert!(reads(&thief, &secret), "it is let through");
    assert!(!stage.rampart(&agent, &["responses", "allow", "nothing"]).status.success());
    let in_force = |agent: &Agent| {
        let (_, body) = agent.get("/responses")?;
        let page: Value = serde_json::from_str(&body).ok()?;
        page["in_force"][0]["id"].as_u64()
    };
    agent.until("it is in force", |agent| in_force(agent).is_some());
    let id = in_force(&agent).expect("it is in force").to_string();
    let answer = stage.rampart(&agent, &["responses", "undo", &id]);
    assert!(answer.status.success(), "{}", String::from_utf8_lossy(&answer.stderr));
    assert!(!reads(&thief, &secret), "it is refused again");

    // The next reload decides too.
    agent.reconfigure(&stage.settings("  mode: observe"));
    agent.until("it is not refused any more", |_| reads(&thief, &secret));
}

#[test]
fn too_much_is_let_through() {
    require_deny!("too_much_is_let_through");
    let stage = Stage::new();
    let thief = stage.program("/bin/cat", "thief");
    let rules = [("secret", "evt.type in (open, openat, openat2) and fd.name = DIR/keys/secret", "deny")];
    let mut agent = stage.refusing(&rules, "  mode: enforce\n  per_minute: 2");
    let secret = stage.path("keys/secret");
    assert!(!reads(&thief, &secret) && !reads(&thief, &secret), "so much is in the budget");
    agent.until("the budget is used up", |_| reads(&thief, &secret));
    let told = agent.wait_for("the note", |alert| {
        alert["output_fields"]["response.action"] == "deny"
            && alert["output_fields"]["response.outcome"] == "over_budget"
    });
    let why = told["output_fields"]["response.why"].as_str().unwrap_or_default();
    assert!(why.contains("more than 2 in a minute"), "{told:#}");
}

#[test]
fn where_the_kernel_cannot_refuse_the_rule_still_alerts_and_it_is_said() {
    require_root!("where_the_kernel_cannot_refuse_the_rule_still_alerts_and_it_is_said");
    if Hooks::look().fault().is_none() {
        skip!("where_the_kernel_cannot_refuse_the_rule_still_alerts_and_it_is_said", "this kernel can");
    }
    let stage = Stage::new();
    let thief = stage.program("/bin/cat", "thief");
    let rules = [("secret", "evt.type in (open, openat, openat2) and fd.name = DIR/keys/secret", "deny")];
    let mut agent = stage.start(&rules, "  mode: enforce");
    agent.until("it is said", |agent| {
        agent.log().contains("Nothing is refused, rules with `deny` only alert")
    });
    assert!(reads(&thief, &stage.path("keys/secret")));
    agent.wait_for("the alert", |alert| alert["rule"] == "secret");
    assert!(agent.metric("rampart_deny_active") < 0.5);
}
