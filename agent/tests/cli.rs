//! The command line from outside: exit codes and texts, above all for bad input. Nothing here needs a kernel hook.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::{
    fs,
    io::pipe,
    net::TcpListener,
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, Output, Stdio},
};

use rampart_agent::{
    privilege::lock::NodeLock,
    recording::{facts::Facts, item::Item, write::Writer},
};
use serde_json::Value;

const RULE: &str = "\
- rule: One
  desc: d
  condition: evt.type = openat and fd.name = /x
  output: o %proc.name
  priority: WARNING
";

/// `rampart` with a configuration of its own in `dir`, away from the settings of this machine.
fn rampart(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rampart"));
    command.args(arguments).env_clear().stdin(Stdio::null());
    let file = dir.join("rampart.yaml");
    if !file.exists() {
        write_config(dir, "");
    }
    if ["run", "check", "doctor", "status", "top", "replay"].contains(arguments.first().unwrap()) {
        command.arg("-c").arg(file);
    }
    command
}

fn write_config(dir: &Path, rest: &str) {
    let dir_text = dir.display();
    let text = format!("node: {{runtime_dir: {dir_text}/run, state_dir: {dir_text}/state}}\n{rest}");
    fs::write(dir.join("rampart.yaml"), text).unwrap();
}

fn outcome(command: &mut Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

fn scratch() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

#[test]
fn version_help_and_missing_command() {
    let dir = scratch();
    let (code, out, _) = outcome(&mut rampart(dir.path(), &["--version"]));
    assert_eq!((code, out.trim()), (0, concat!("rampart ", env!("CARGO_PKG_VERSION"))));
    let mut bare = Command::new(env!("CARGO_BIN_EXE_rampart"));
    let (code, out, err) = outcome(&mut bare);
    assert!(code == 2 && out.is_empty() && err.contains("Usage: rampart <COMMAND>"), "{err}");
    let (code, out, _) = outcome(&mut rampart(dir.path(), &["run", "--help"]));
    assert!(code == 0 && out.contains("RAMPART_KERNEL__RING_BYTES") && out.contains("SIGHUP"), "{out}");
    let (code, _, err) = outcome(&mut rampart(dir.path(), &["chekc"]));
    assert!(code == 2 && err.contains("'check'"), "{err}");
}

#[test]
fn check_of_good_rules_is_quiet_on_standard_output() {
    let dir = scratch();
    let (code, out, err) = outcome(&mut rampart(dir.path(), &["check"]));
    assert_eq!((code, out.as_str()), (0, ""), "{err}");
    let rules = include_str!("../../rules/packs/base.yaml").matches("\n- rule: ").count();
    assert!(err.starts_with(&format!("ok: {rules} rules in force")), "{err}");
    let (code, out, _) = outcome(&mut rampart(dir.path(), &["check", "--format", "json"]));
    assert_eq!((code, out.as_str()), (0, "[]\n"));
}

#[test]
fn check_shows_place_message_and_help_in_three_forms() {
    let dir = scratch();
    let file = dir.path().join("r.yaml");
    fs::write(&file, RULE.replace("proc.name", "proc.nme")).unwrap();
    let file = file.to_str().unwrap();
    let (code, out, _) = outcome(&mut rampart(dir.path(), &["check", "-r", file, "--format", "concise"]));
    assert!(code == 1 && out.starts_with(&format!("{file}:4:")) && out.lines().count() == 1, "{code} {out}");
    let (code, out, _) = outcome(&mut rampart(dir.path(), &["check", "-r", file]));
    assert!(code == 1 && out.contains("proc.nme") && out.contains('^'), "{out}");
    let (code, out, _) = outcome(&mut rampart(dir.path(), &["check", "-r", file, "--format", "json"]));
    let findings: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &findings[0]["location"]["line"]), (1, &Value::from(4)), "{out}");
}

/// Ten different mistakes; where each is, is asserted by the golden tests of the rule language.
fn ten_mistakes() -> String {
    concat!(env!("CARGO_MANIFEST_DIR"), "/../rules/tests/golden/ten_mistakes.yaml").to_owned()
}

#[test]
fn check_of_ten_mistakes_names_ten_places() {
    let dir = scratch();
    let file = ten_mistakes();
    let (code, out, err) = outcome(&mut rampart(dir.path(), &["check", "-r", &file, "--format", "concise"]));
    let places: Vec<&str> = out
        .lines()
        .map(|line| line.strip_prefix(&format!("{file}:")).unwrap().split(": error[").next().unwrap())
        .collect();
    let expected = ["2:28", "8:45", "12:14", "18:25", "25:5", "34:13", "39:31", "44:50", "50:47", "62:14"];
    assert_eq!((code, places.as_slice(), err.as_str()), (1, &expected[..], ""));
    let (code, out, _) = outcome(&mut rampart(dir.path(), &["check", "-r", &file]));
    assert_eq!((code, out.matches("error[RMP").count()), (1, 10), "{out}");
    assert!(!out.contains('\u{1b}'), "no colours away from a terminal: {out}");
}

#[test]
fn check_speaks_falcos_form() {
    let dir = scratch();
    let file = ten_mistakes();
    let arguments = ["check", "-r", &file, "-r", "/nonexistent.yaml", "--format", "falco-json"];
    let (code, out, _) = outcome(&mut rampart(dir.path(), &arguments));
    let json: Value = serde_json::from_str(&out).unwrap();
    let results = json["falco_load_results"].as_array().unwrap();
    assert_eq!((code, results.len()), (2, 2), "{out}");
    assert_eq!((&results[0]["name"], &results[0]["successful"]), (&Value::from(file), &Value::from(false)));
    let errors = results[0]["errors"].as_array().unwrap();
    assert_eq!((errors.len(), results[0]["warnings"].as_array().unwrap().len()), (10, 0), "{out}");
    for error in errors {
        assert!(error["code"].as_str().unwrap().starts_with("LOAD_ERR_"), "{error}");
        assert!(error["codedesc"].is_string() && error["message"].is_string(), "{error}");
        assert!(error["context"]["snippet"].is_string(), "{error}");
        let place = &error["context"]["locations"][0];
        assert!(place["item_type"].is_string() && place["item_name"].is_string(), "{error}");
        for number in ["line", "column", "offset"] {
            assert!(place["position"][number].is_u64(), "{error}");
        }
    }
    assert_eq!(results[1]["errors"][0]["code"], "LOAD_ERR_FILE_READ", "{out}");
    let (code, out, _) = outcome(&mut rampart(dir.path(), &["check", "--format", "falco-json"]));
    let json: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &json["falco_load_results"][0]["successful"]), (0, &Value::from(true)));
}

#[test]
fn check_finds_lints_as_asked() {
    let dir = scratch();
    let file = dir.path().join("r.yaml");
    let never = RULE.replace("and fd.name = /x", "and evt.type = close");
    let userspace = RULE.replace("One", "Two").replace("fd.name = /x", "fd.name regex x+");
    fs::write(&file, never + &userspace).unwrap();
    let file = file.to_str().unwrap();
    let check = |lints: &[&str]| {
        let arguments: Vec<&str> =
            ["check", "-r", file, "--format", "concise"].into_iter().chain(lints.iter().copied()).collect();
        outcome(&mut rampart(dir.path(), &arguments))
    };
    let (code, out, _) = check(&[]);
    assert!(code == 1 && out.lines().count() == 1 && out.contains("warning[RMP0202]"), "{out}");
    let (code, out, _) = check(&["--lints", "all"]);
    assert!(code == 1 && out.contains("warning[RMP0202]") && out.contains("note[RMP0207]"), "{out}");
    let (code, out, err) = check(&["--lints", "none"]);
    assert!(code == 0 && out.is_empty() && err.starts_with("ok: 2 rules"), "{out}{err}");
    fs::write(file, &userspace).unwrap();
    let (code, out, _) = check(&["--lints", "all"]);
    assert!(code == 0 && out.contains("note[RMP0207]"), "notes are no findings: {code} {out}");
}

#[test]
fn check_of_upstream_rules_is_clean() {
    let shared = std::env::var_os("RAMPART_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared"), Into::into);
    let files =
        ["falco_rules.yaml", "falco-incubating_rules.yaml"].map(|name| shared.join("falco/rules").join(name));
    if !files.iter().all(|file| file.is_file()) {
        println!("skipped: the upstream rule files are not there");
        return;
    }
    let dir = scratch();
    let [stable, incubating] = files.map(|file| file.to_str().unwrap().to_owned());
    for arguments in [vec!["check", "-r", &stable], vec!["check", "-r", &stable, "-r", &incubating]] {
        let (code, out, err) = outcome(&mut rampart(dir.path(), &arguments));
        assert_eq!((code, out.as_str()), (0, ""), "{err}");
    }
}

#[test]
fn check_of_a_faulty_configuration_names_every_fault() {
    let dir = scratch();
    write_config(dir.path(), "log: {levle: info}\nkernel: {ring_bytes: 5}\n");
    let (code, out, _) = outcome(&mut rampart(dir.path(), &["check", "--format", "concise"]));
    assert_eq!((code, out.lines().count()), (1, 2), "{out}");
    assert!(out.contains("rampart.yaml:2:7: error: unknown setting `log.levle`"), "{out}");
    let (_, out, _) = outcome(&mut rampart(dir.path(), &["check"]));
    assert!(out.contains("= help: did you mean `level`?"), "{out}");
    let (_, out, _) = outcome(&mut rampart(dir.path(), &["check", "--format", "json"]));
    let findings: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(findings[0]["location"]["column"], 7);
    assert_eq!(findings[0]["help"], "did you mean `level`?");
}

#[test]
fn a_rule_file_that_cannot_be_read_is_an_environment_fault() {
    let dir = scratch();
    for command in ["check", "run"] {
        let (code, out, err) = outcome(&mut rampart(dir.path(), &[command, "-r", "/nonexistent.yaml"]));
        let said = out + &err;
        assert_eq!(code, 2, "{said}");
        assert!(said.contains("cannot read rules from `/nonexistent.yaml`: No such file"), "{said}");
        assert!(said.contains("check the name given with `-r`"), "{said}");
    }
}

#[test]
fn run_refuses_a_faulty_configuration_or_rule_with_place_and_fix() {
    let dir = scratch();
    let file = dir.path().join("r.yaml");
    fs::write(&file, RULE.replace("evt.type", "evt.tpye")).unwrap();
    let (code, out, err) = outcome(&mut rampart(dir.path(), &["run", "-r", file.to_str().unwrap()]));
    assert_eq!((code, out.as_str()), (2, ""), "{err}");
    assert!(err.contains("r.yaml:3:") && err.contains("did you mean `evt.type`?"), "{err}");
    write_config(dir.path(), "rules: {fiels: []}\n");
    let (code, _, err) = outcome(&mut rampart(dir.path(), &["run"]));
    assert!(code == 2 && err.contains("rampart.yaml:2:9: unknown setting `rules.fiels`"), "{err}");
    assert!(err.contains("did you mean `files`?"), "{err}");
    fs::remove_file(dir.path().join("rampart.yaml")).unwrap();
    let mut missing = Command::new(env!("CARGO_BIN_EXE_rampart"));
    let (code, _, err) = outcome(missing.args(["run", "-c", "/nonexistent.yaml"]));
    assert!(code == 2 && err.contains("/nonexistent.yaml: cannot be read"), "{err}");
}

#[test]
fn environment_names_are_settings_too() {
    let dir = scratch();
    let (code, _, err) = outcome(rampart(dir.path(), &["run"]).env("RAMPART_LOG__LEVEL", "loud"));
    assert!(
        code == 2 && err.contains("environment variable `RAMPART_LOG__LEVEL`: `log.level` cannot be `loud`"),
        "{err}"
    );
    let (code, out, _) = outcome(rampart(dir.path(), &["check"]).env("RAMPART_LGO__LEVEL", "info"));
    assert!(code == 1 && out.contains("did you mean `RAMPART_LOG__LEVEL`?"), "{out}");
}

#[test]
fn run_refuses_when_nobody_could_read_an_alert() {
    let dir = scratch();
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    let child = rampart(dir.path(), &["run"]).stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
    let output = child.wait_with_output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{err}");
    assert!(err.contains("no output can be written: standard output is closed"), "{err}");
}

#[test]
fn a_second_agent_is_refused_with_the_pid_of_the_first() {
    let dir = scratch();
    let _first = NodeLock::acquire(&dir.path().join("run")).unwrap();
    let (code, _, err) = outcome(&mut rampart(dir.path(), &["run"]));
    let pid = std::process::id();
    assert_eq!(code, 2);
    assert!(err.contains(&format!("another agent runs on this node, process {pid}")), "{err}");
    let (_, out, _) = outcome(&mut rampart(dir.path(), &["doctor"]));
    assert!(out.contains(&format!("process {pid} runs on this node")), "{out}");
    let (code, _, err) = outcome(&mut rampart(dir.path(), &["status", "--address", "127.0.0.1:1"]));
    assert!(code == 2 && err.contains(&format!("process {pid} is an agent of this node")), "{err}");
}

#[test]
fn a_port_in_use_is_named_with_the_setting() {
    let dir = scratch();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    write_config(dir.path(), &format!("admin: {{listen: \"{address}\"}}\n"));
    let (code, _, err) = outcome(&mut rampart(dir.path(), &["run"]));
    assert_eq!(code, 2, "{err}");
    assert!(
        err.contains(&format!("cannot serve HTTP on {address}: another program uses this port")),
        "{err}"
    );
    assert!(err.contains("set `admin.listen`"), "{err}");
    assert!(
        !dir.path().join("run/agent.lock").exists() || NodeLock::acquire(&dir.path().join("run")).is_ok()
    );
}

#[test]
fn missing_capabilities_are_named_with_what_to_do() {
    let dir = scratch();
    write_config(dir.path(), "admin: {listen: \"127.0.0.1:0\"}\n");
    let mut command = rampart(dir.path(), &["run"]);
    if is_root() {
        // The user `nobody` everywhere; the scratch directory must let it in.
        command.uid(65534).gid(65534);
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(dir.path(), open).unwrap();
    }
    let (code, out, err) = outcome(&mut command);
    assert_eq!((code, out.as_str()), (2, ""), "{err}");
    for name in ["CAP_BPF", "CAP_PERFMON"] {
        let line = err.lines().find(|line| line.contains(name)).expect(name);
        assert!(line.contains("not held") && line.contains("run as root"), "{line}");
    }
}

#[test]
fn missing_type_information_is_named_with_what_to_do() {
    if !is_root() {
        println!("SKIP: missing_type_information_is_named_with_what_to_do: needs root to hide the file");
        return;
    }
    let dir = scratch();
    write_config(dir.path(), "admin: {listen: \"127.0.0.1:0\"}\n");
    // A mount namespace of its own: the machine itself keeps its type information.
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", "mount -t tmpfs none /sys/kernel/btf && exec \"$@\"", "sh"]);
    command.args([env!("CARGO_BIN_EXE_rampart"), "run", "-c"]).arg(dir.path().join("rampart.yaml"));
    let (code, out, err) = outcome(&mut command);
    if code == 1 || code == 32 {
        println!("SKIP: missing_type_information_is_named_with_what_to_do: cannot mount here: {err}");
        return;
    }
    assert_eq!((code, out.as_str()), (2, ""), "{err}");
    assert!(err.contains("/sys/kernel/btf/vmlinux") && err.contains("CONFIG_DEBUG_INFO_BTF"), "{err}");
}

#[test]
fn doctor_shows_a_kept_verifier_log() {
    let dir = scratch();
    write_config(dir.path(), "admin: {enabled: false}\n");
    fs::create_dir(dir.path().join("state")).unwrap();
    fs::write(dir.path().join("state/verifier.log"), "refused\ninsn 7: R1 invalid mem access\n").unwrap();
    let (code, out, _) = outcome(&mut rampart(dir.path(), &["doctor"]));
    assert_eq!(code, 1, "{out}");
    assert!(out.contains("insn 7: R1 invalid mem access") && out.contains("state/verifier.log"), "{out}");
}

#[test]
fn status_without_an_agent_says_so() {
    let dir = scratch();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let (code, out, err) = outcome(&mut rampart(dir.path(), &["status", "--address", &free]));
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(err.contains(&format!("no agent answers at {free}; no agent runs on this node")), "{err}");
    assert!(err.contains("rampart run"), "{err}");
}

#[test]
fn top_without_an_agent_says_so_and_refuses_nonsense() {
    let dir = scratch();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let (code, out, err) = outcome(&mut rampart(dir.path(), &["top", "--address", &free]));
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(err.contains(&format!("no agent answers at {free}; no agent runs on this node")), "{err}");
    for wrong in
        [&["--interval", "1ms"][..], &["--count", "0"], &["--once", "--count", "2"], &["--sort", "x"]]
    {
        let (code, out, err) = outcome(&mut rampart(dir.path(), &[&["top"], wrong].concat()));
        assert!(code == 2 && out.is_empty() && err.starts_with("error: "), "{wrong:?}: {err}");
    }
}

#[test]
fn explain_covers_fields_events_rules_and_codes() {
    let dir = scratch();
    let (code, out, _) = outcome(&mut rampart(dir.path(), &["explain", "fields"]));
    assert!(code == 0 && out.contains("proc.name ") && out.contains("fd.name "), "{out}");
    let (code, out, _) = outcome(&mut rampart(dir.path(), &["explain", "events"]));
    assert!(
        code == 0 && out.lines().any(|line| line.starts_with("openat ") && line.contains("captured")),
        "{out}"
    );
    let (code, out, _) = outcome(&mut rampart(dir.path(), &["explain", "RMP0001"]));
    assert!(code == 0 && out.starts_with("RMP0001"), "{out}");
    let (code, out, _) = outcome(&mut rampart(dir.path(), &["explain", "rmp0202"]));
    assert!(code == 0 && out.contains("```yaml finding"), "the page of the code is shown: {out}");
    let file = dir.path().join("r.yaml");
    fs::write(&file, RULE).unwrap();
    let (code, out, _) = outcome(&mut rampart(dir.path(), &["explain", "-r", file.to_str().unwrap(), "One"]));
    assert!(code == 0 && out.contains("priority       Warning") && out.contains("openat"), "{out}");
    let (code, _, err) = outcome(&mut rampart(dir.path(), &["explain", "proc.nmae"]));
    assert!(code == 2 && err.contains("did you mean `proc.name`?"), "{err}");
    let (code, _, err) = outcome(&mut rampart(dir.path(), &["explain", "fields", "nothing."]));
    assert!(code == 2 && err.contains("starts with `nothing.`"), "{err}");
}

#[test]
fn a_reader_that_has_seen_enough_is_no_fault() {
    let dir = scratch();
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    let child =
        rampart(dir.path(), &["explain", "fields"]).stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}

#[test]
fn completions_name_every_command() {
    let dir = scratch();
    for shell in ["bash", "zsh", "fish"] {
        let (code, out, _) = outcome(&mut rampart(dir.path(), &["completions", shell]));
        for command in ["run", "check", "explain", "doctor", "status", "top", "limits"] {
            assert!(code == 0 && out.contains(command), "{shell} {command}");
        }
    }
}

#[test]
fn replay_reads_recordings_only_and_says_where_one_ends() {
    let dir = scratch();
    let path = dir.path().join("a.rec").display().to_string();
    let replay =
        |arguments: &[&str]| outcome(&mut rampart(dir.path(), &[&["replay", &path], arguments].concat()));
    assert_eq!(replay(&[]).0, 2, "there is no file");
    fs::write(&path, RULE).unwrap();
    let (code, _, said) = replay(&[]);
    assert!(code == 2 && said.contains("no recording of Rampart"), "{said}");

    let mut writer = Writer::new(Vec::new(), &Facts::default()).unwrap();
    writer.item(&Item::Start(1)).unwrap();
    let whole = writer.finish().unwrap();
    fs::write(&path, &whole).unwrap();
    let (code, alerts, said) = replay(&[]);
    assert_eq!((code, alerts.as_str()), (0, ""), "{said}");
    assert!(said.contains("replayed 0 events") && said.contains("calls that were not recorded: "), "{said}");

    let rules = dir.path().join("rules.yaml").display().to_string();
    fs::write(&rules, RULE).unwrap();
    assert_eq!(replay(&["-r", &rules, "--diff", "-r", &rules, "--format", "json"]).0, 0);
    let (code, _, said) = replay(&["-r", &rules, "--diff"]);
    assert!(code == 2 && said.contains("`--diff` needs rules"), "{said}");

    let (end, changed) = (whole.len() - 32, whole.len() - 1);
    fs::write(&path, &whole[..end]).unwrap();
    let (code, _, said) = replay(&[]);
    assert!(code == 2 && said.contains(&format!("ends at offset {end} without its end mark")), "{said}");
    let mut bytes = whole;
    bytes[changed] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let (code, _, said) = replay(&[]);
    assert!(code == 2 && said.contains(&format!("is damaged at offset {end}: checksum")), "{said}");
}
