//! A list of digests in a file: executed files are read once per version, and found by what they hold.

use std::{
    fmt::Write as _,
    fs,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::Path,
    process::{Command, Stdio},
};

use rampart_tests::{agent::Agent, require_root};
use sha2::{Digest as _, Sha256};

use super::{count, holds, is_of, list, rules};

const RULE: &str = "\
- rule: listed program
  desc: d
  condition: evt.type in (execve, execveat) and proc.exe.sha256 in (bad_files)
  output: '%proc.exepath is %proc.exe.sha256'
  priority: CRITICAL
";

/// Makes a program that differs from all others; gives its digest.
fn program(path: &Path, mark: &str) -> String {
    let mut bytes = fs::read("/bin/true").expect("a program that does nothing");
    bytes.extend_from_slice(mark.as_bytes());
    fs::write(path, &bytes).expect("written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("ours");
    Sha256::digest(&bytes).iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn run(path: &Path) {
    // One program may be many, told apart by what they are called.
    let status = Command::new(path).arg0("true").stdin(Stdio::null()).status().expect("it starts");
    assert!(status.success());
}

#[test]
fn a_program_is_found_by_its_digest_whatever_it_is_called() {
    require_root!("a_program_is_found_by_its_digest_whatever_it_is_called");
    let dir = tempfile::tempdir().expect("a directory");
    let listed = dir.path().join("listed");
    let one = dir.path().join("one");
    let digest = program(&one, "first");
    fs::write(&listed, format!("{digest}  one.exe\n")).expect("written");
    let settings = format!("rules: {{lists: {{bad_files: {{kind: sha256, file: {}}}}}}}\n", listed.display());
    let mut agent = Agent::start_with(&rules(dir.path(), RULE), &settings);
    agent.until("showing the list", |agent| holds(agent, "bad_files", &digest.to_uppercase()));
    run(&one);
    let alert = agent
        .wait_for("the listed program", |alert| is_of(alert, "listed program", "proc.exe.sha256", &digest));
    assert_eq!(alert.pointer("/output_fields/proc.exepath"), Some(&one.display().to_string().into()));
    // Another name, another inode, the same content.
    let copy = dir.path().join("copy");
    fs::copy(&one, &copy).expect("copied");
    run(&copy);
    let path = copy.display().to_string();
    agent.wait_for("the copy", |alert| is_of(alert, "listed program", "proc.exepath", &path));
    // The same name with other content is another program.
    let before = count(&agent, "listed program", "proc.exepath", &one.display().to_string());
    fs::remove_file(&one).expect("ours");
    let other = program(&one, "second");
    run(&one);
    run(&copy);
    agent.until("past both", |agent| count(agent, "listed program", "proc.exepath", &path) > 1);
    assert_eq!(count(&agent, "listed program", "proc.exepath", &one.display().to_string()), before);
    agent.until("done reading", |agent| agent.metric("rampart_digests_made_total") >= 3.0);

    // Until its digest is listed too; nobody reloads anything.
    let beside = dir.path().join("beside");
    fs::write(&beside, format!("{digest}\n{other}\n")).expect("written");
    fs::rename(&beside, &listed).expect("replaced");
    agent.until("aware of the new list", |agent| {
        list(agent, "bad_files").is_some_and(|list| list.get("counts").is_some_and(|count| *count == 2))
    });
    agent.until("alerting on the second program", |agent| {
        run(&one);
        count(agent, "listed program", "proc.exe.sha256", &other) > 0
    });
    assert!(agent.metric("rampart_policy_reloads_total") < 1.0, "no rule file was read again");
    assert!(agent.stop().success());
}
