//! Pushdown on the running kernel: what no rule can match ends there, whatever else does not.

#![expect(clippy::expect_used, reason = "a panic is how a test fails")]
#![expect(unsafe_code, reason = "a copy of a process is made by a raw system call")]

#[path = "shared/child.rs"]
mod child;

use std::{fs, os::unix::fs::symlink, path::PathBuf, process::Command, thread, time::Duration};

use nix::{
    fcntl::{OFlag, open},
    sys::{
        signal::{Signal, kill},
        stat::Mode,
    },
    unistd::{Pid, Uid, mkfifo, setresuid},
};
use rampart_tests::{
    agent::Agent,
    require_root, skip,
    vault::{FEW, MANY, Opens, Vault, alerted, count, end},
};

use self::child::in_child;

/// An agent with one of the rules: on secrets, which `trusted` may open, and on what may be opened by root, outside of
/// containers, and by children of others than `intruder` only. Not with all: what depends on other processes is not
/// known for long on a busy machine.
fn watched(vault: &Vault, rule: &str, settings: &str) -> Agent {
    let condition = match rule {
        "secret" => "fd.name = DIR/secret and not proc.name = trusted",
        "shared" => "fd.name = DIR/shared and user.uid != 0",
        "inside" => "fd.name = DIR/inside and container.id != host",
        _ => "fd.name = DIR/child and proc.pname = intruder",
    };
    let condition = format!("evt.type in (open, openat, openat2) and {condition}");
    Agent::start_with(&vault.rules(&[(rule.to_owned(), condition)]), settings)
}

#[test]
fn what_no_rule_can_match_ends_in_the_kernel() {
    require_root!("what_no_rule_can_match_ends_in_the_kernel");
    let vault = Vault::make();
    let mut agent = watched(&vault, "secret", "pushdown: {shadow_every: 256}");
    let mut shell = vault.shell("intruder");
    shell.open(&vault.path("other"), 10);
    let opens = Opens::during(&mut agent, MANY, || shell.open(&vault.path("other"), MANY));
    opens.assert_rejected();
    // Should the verifier refuse the quicker form of the programs, the slower one works too, and nothing else tells.
    assert!(!agent.log().contains("refused"), "{}", agent.log());
    agent.until("sure of samples", |agent| agent.metric("rampart_pushdown_samples_total") > 0.0);
    // By now the process and everything about its calls is known to the kernel; what a rule can match still comes,
    // however it is called.
    symlink(vault.path("secret"), vault.path("link")).expect("the link is made");
    fs::hard_link(vault.path("secret"), vault.path("same")).expect("the link is made");
    let mut times = 0;
    for path in ["secret", "link", "../DIR/./secret", "nothing/../secret"] {
        fs::create_dir_all(vault.dir.join("nothing")).expect("made");
        let name = vault.dir.file_name().expect("named").to_string_lossy();
        shell.open(&vault.path(&path.replace("DIR", &name)), 10);
        shell.open(&vault.path("other"), 10);
        times += 10;
    }
    shell.run(&format!("cd {}; : < secret; : > secret; : >> ./secret", vault.dir.display()));
    times += 3;
    alerted(&mut agent, "secret", shell.pid(), times);
    // Another name of the same file is another name.
    shell.open(&vault.path("same"), 1);
    shell.open(&vault.path("secret"), 1);
    alerted(&mut agent, "secret", shell.pid(), times + 1);
    end(agent);
}

#[test]
fn without_pushdown_everything_is_sent() {
    require_root!("without_pushdown_everything_is_sent");
    let vault = Vault::make();
    let mut agent = watched(&vault, "secret", "pushdown: {enabled: false}");
    let mut shell = vault.shell("intruder");
    let opens = Opens::during(&mut agent, MANY, || shell.open(&vault.path("other"), MANY));
    // Only the agent's own are filtered.
    assert!(opens.emitted >= f64::from(MANY), "{opens:?}");
    shell.open(&vault.path("secret"), 3);
    alerted(&mut agent, "secret", shell.pid(), 3);
    end(agent);
}

#[test]
fn masks_of_a_process_say_nothing_of_another() {
    require_root!("masks_of_a_process_say_nothing_of_another");
    let vault = Vault::make();
    let mut agent = watched(&vault, "secret", "pushdown: {shadow_every: 256}");
    let (mut trusted, mut intruder) = (vault.shell("trusted"), vault.shell("intruder"));
    let secret = vault.path("secret");
    trusted.open(&secret, 10);
    intruder.open(&secret, 10);
    thread::sleep(Duration::from_millis(200));
    // The same call with the same arguments, in turn.
    let opens = Opens::during(&mut agent, MANY, || {
        for _ in 0..10 {
            trusted.open(&secret, MANY / 10);
            intruder.open(&secret, 3);
        }
    });
    opens.assert_rejected();
    alerted(&mut agent, "secret", intruder.pid(), 40);
    assert_eq!(count(&agent, "secret", trusted.pid()), 0);
    end(agent);
}

#[test]
fn a_new_process_has_the_masks_of_its_image() {
    require_root!("a_new_process_has_the_masks_of_its_image");
    let vault = Vault::make();
    let mut agent = watched(&vault, "secret", "pushdown: {shadow_every: 1024}");
    let secret = vault.path("secret");
    for name in ["trusted", "intruder"] {
        fs::copy("/bin/sh", vault.path(name)).expect("the shell is copied");
    }
    // Each opens the secret, as the first thing it does, and ends before the agent could know it.
    let opens_each = 20;
    let line = format!(": < {secret};").repeat(opens_each as usize);
    let run = |name: &str, times: u32| -> Vec<u32> {
        let mut pids = Vec::new();
        for _ in 0..times {
            let mut child = Command::new(vault.path(name)).args(["-c", &line]).spawn().expect("started");
            pids.push(child.id());
            assert!(child.wait().expect("ours").success());
        }
        pids
    };
    run("trusted", 5);
    thread::sleep(Duration::from_millis(300));
    let opens = Opens::during(&mut agent, MANY, || drop(run("trusted", MANY / opens_each)));
    opens.assert_rejected();
    // Those of another image, in between, come every time.
    for _ in 0..10 {
        for pid in run("intruder", 3) {
            alerted(&mut agent, "secret", pid, opens_each);
        }
        run("trusted", 3);
    }
    // The name alone is not the image, and the rule speaks of the name.
    fs::create_dir(vault.path("elsewhere")).expect("made");
    fs::copy("/bin/sh", vault.path("elsewhere/trusted")).expect("the shell is copied");
    run("elsewhere/trusted", 3);
    let rules = |alert: &serde_json::Value| alert.get("rule").is_some_and(|name| name == "secret");
    assert_eq!(agent.alerts().iter().filter(|alert| rules(alert)).count(), 30 * opens_each as usize);
    end(agent);
}

#[test]
fn a_process_that_becomes_another_is_judged_anew() {
    require_root!("a_process_that_becomes_another_is_judged_anew");
    let vault = Vault::make();
    let mut agent = watched(&vault, "secret", "pushdown: {shadow_every: 256}");
    let secret = vault.path("secret");
    drop(vault.shell("intruder"));
    let mut shell = vault.shell("trusted");
    shell.open(&secret, 10);
    thread::sleep(Duration::from_millis(200));
    Opens::during(&mut agent, MANY, || shell.open(&secret, MANY)).assert_rejected();
    // Another program in the same process: from its first call on, no mask of before holds.
    shell.become_program(&vault.path("intruder"));
    shell.open(&secret, 5);
    alerted(&mut agent, "secret", shell.pid(), 5);
    // Rules ask for the name of the program, so a process that takes another one is still what it was.
    shell.run("echo trusted > /proc/$$/comm");
    shell.open(&secret, 5);
    alerted(&mut agent, "secret", shell.pid(), 10);
    shell.become_program(&vault.path("trusted"));
    shell.open(&secret, 10);
    thread::sleep(Duration::from_millis(200));
    Opens::during(&mut agent, MANY, || shell.open(&secret, MANY)).assert_rejected();
    assert_eq!(count(&agent, "secret", shell.pid()), 10);
    end(agent);
}

#[test]
fn a_process_with_another_user_is_judged_anew() {
    require_root!("a_process_with_another_user_is_judged_anew");
    let vault = Vault::make();
    let mut agent = watched(&vault, "shared", "pushdown: {shadow_every: 256}");
    let shared = vault.dir.join("shared");
    let opens = |times: u32| {
        for _ in 0..times {
            open(&shared, OFlag::O_RDONLY, Mode::empty())?;
        }
        Ok(())
    };
    let mut child = 0;
    let counted = Opens::during(&mut agent, MANY, || {
        child = in_child(|| {
            opens(10)?;
            thread::sleep(Duration::from_millis(200));
            opens(MANY)?;
            let nobody = Uid::from_raw(65534);
            setresuid(nobody, nobody, nobody)?;
            opens(5)
        });
    });
    counted.assert_rejected();
    alerted(&mut agent, "shared", child, 5);
    end(agent);
}

#[test]
fn a_process_that_enters_a_container_is_judged_anew() {
    const NAME: &str = "a_process_that_enters_a_container_is_judged_anew";
    require_root!(NAME);
    let Some(group) = Group::make() else { skip!(NAME, "no version 2 control groups") };
    let vault = Vault::make();
    let mut agent = watched(&vault, "inside", "pushdown: {shadow_every: 256}");
    let mut shell = vault.shell("intruder");
    let inside = vault.path("inside");
    shell.open(&inside, 10);
    thread::sleep(Duration::from_millis(200));
    Opens::during(&mut agent, MANY, || shell.open(&inside, MANY)).assert_rejected();
    shell.run(&format!("echo $$ > {}/cgroup.procs", group.0.display()));
    shell.open(&inside, 5);
    alerted(&mut agent, "inside", shell.pid(), 5);
    end(agent);
    drop(shell);
}

/// A control group with the name that a container's would have.
struct Group(PathBuf);

impl Group {
    fn make() -> Option<Self> {
        let mounts = fs::read_to_string("/proc/mounts").expect("readable");
        let mut parts = mounts.lines().map(|line| line.split(' ').skip(1));
        let root =
            parts.find_map(|mut part| Some(part.next()?).filter(|_| part.next() == Some("cgroup2")))?;
        let dir = PathBuf::from(root).join(format!("docker-{}.scope", "0123456789abcdef".repeat(4)));
        fs::create_dir(&dir).ok()?;
        Some(Self(dir))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The last process may need a moment to leave.
        for _ in 0..100 {
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

#[test]
fn the_child_of_a_process_that_becomes_another_is_judged_anew() {
    require_root!("the_child_of_a_process_that_becomes_another_is_judged_anew");
    let vault = Vault::make();
    let mut agent = watched(&vault, "child", "pushdown: {shadow_every: 256}");
    drop(vault.shell("intruder"));
    let mut parent = vault.shell("trusted");
    let (orders, answers) = (vault.dir.join("orders"), vault.dir.join("answers"));
    for pipe in [&orders, &answers] {
        mkfifo(pipe, Mode::S_IRWXU).expect("made");
    }
    // A copy of the shell that runs one line after the other; `$!` is its id.
    let (from, to) = (orders.display(), answers.display());
    parent.run(&format!(
        "(while read line < {from}; do eval \"$line\"; echo done > {to}; done) & echo $! > {}",
        vault.path("pid")
    ));
    let pid = fs::read_to_string(vault.dir.join("pid")).expect("written").trim().parse().expect("a number");
    let _ended = Ended(pid);
    let order = |line: &str| {
        fs::write(&orders, format!("{line}\n")).expect("it listens");
        fs::read_to_string(&answers).expect("it answers");
    };
    let path = vault.path("child");
    let opens = |times: u32| {
        order(&format!("i=0; while [ $i -lt {times} ]; do : < {path}; i=$((i+1)); done"));
    };
    opens(10);
    thread::sleep(Duration::from_millis(200));
    // Whatever process with children starts a program meanwhile, anywhere, is a reason to ask again; so only some of
    // it ends in the kernel.
    let during = Opens::during(&mut agent, MANY, || opens(MANY));
    assert!(during.filtered >= f64::from(FEW), "{during:?}");
    assert_eq!(count(&agent, "child", pid), 0);
    parent.become_program(&vault.path("intruder"));
    opens(5);
    alerted(&mut agent, "child", pid, 5);
    parent.become_program(&vault.path("trusted"));
    opens(5);
    parent.become_program(&vault.path("intruder"));
    opens(5);
    alerted(&mut agent, "child", pid, 10);
    end(agent);
}

/// Ends a process that is no child of this one, also when the test fails.
struct Ended(u32);

impl Drop for Ended {
    fn drop(&mut self) {
        if let Ok(pid) = i32::try_from(self.0) {
            let _gone_already = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}
