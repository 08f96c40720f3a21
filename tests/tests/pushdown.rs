//! Pushdown on the running kernel: what no rule can match ends there, whatever else does not, also while rules change.

#![expect(clippy::expect_used, reason = "a panic is how a test fails")]
#![expect(unsafe_code, reason = "a copy of a process is made by a raw system call")]

#[path = "shared/child.rs"]
mod child;

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs::{self, File},
    io::{BufRead, BufReader, Write},
    os::unix::fs::{PermissionsExt, symlink},
    path::PathBuf,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use nix::{
    fcntl::{OFlag, open},
    sys::{
        signal::{Signal, kill},
        stat::Mode,
    },
    unistd::{Pid, Uid, mkfifo, setresuid},
};
use rampart_tests::{agent::Agent, require_root, skip};
use serde_json::Value;
use tempfile::TempDir;

use self::child::in_child;

/// How often something is done that the kernel shall keep to itself.
const MANY: u32 = 2000;
/// The part of it that may arrive all the same: the first ones of each kind, samples, and what else the node does.
const FEW: u32 = MANY / 10;

/// A directory with files to open, and the rules on them.
struct Vault {
    dir: PathBuf,
    _scratch: TempDir,
}

impl Vault {
    fn new() -> Self {
        let scratch = tempfile::tempdir().expect("a scratch directory");
        let dir = scratch.path().canonicalize().expect("it exists");
        // Other users shall get there too.
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).expect("ours");
        for name in ["secret", "other", "shared", "inside", "child"] {
            fs::write(dir.join(name), "x").expect("written");
        }
        Self { dir, _scratch: scratch }
    }

    fn path(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }

    /// Replaces the rule file in one step: each rule is a name and a condition on opened files, where `DIR` is the
    /// directory.
    fn rules(&self, rules: &[(String, String)]) -> PathBuf {
        self.rules_after("", rules)
    }

    /// The same, behind other rules.
    fn rules_after(&self, others: &str, rules: &[(String, String)]) -> PathBuf {
        let mut text = others.to_owned();
        for (name, condition) in rules {
            let condition = condition.replace("DIR", &self.dir.display().to_string());
            let _ = write!(
                text,
                "- rule: {name}\n  desc: d\n  priority: WARNING\n  condition: >\n    {condition}\n  \
                 output: '%fd.name %proc.name %proc.pid'\n",
            );
        }
        let (new, path) = (self.dir.join("rules.new"), self.dir.join("rules.yaml"));
        fs::write(&new, text).expect("written");
        fs::rename(&new, &path).expect("renamed");
        path
    }

    /// An agent with the rules on secrets, which `trusted` may open, and on what may be opened by root, outside of
    /// containers, and by children of others than `intruder` only.
    fn agent(&self, settings: &str) -> Agent {
        let secret =
            "evt.type in (open, openat, openat2) and fd.name = DIR/secret and not proc.name = trusted";
        let shared = "evt.type in (open, openat, openat2) and fd.name = DIR/shared and user.uid != 0";
        let inside = "evt.type in (open, openat, openat2) and fd.name = DIR/inside and container.id != host";
        let child = "evt.type in (open, openat, openat2) and fd.name = DIR/child and proc.pname = intruder";
        let rules = [("secret", secret), ("shared", shared), ("inside", inside), ("child", child)];
        let rules = rules.map(|(name, condition)| (name.to_owned(), condition.to_owned()));
        Agent::start_with(&self.rules(&rules), settings)
    }

    /// A shell that runs under a name of its own.
    fn shell(&self, name: &str) -> Shell {
        let program = self.dir.join(name);
        fs::copy("/bin/sh", &program).expect("the shell is copied");
        let mut child = Command::new(program)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the shell starts");
        let orders = child.stdin.take().expect("a pipe");
        let answers = BufReader::new(child.stdout.take().expect("a pipe"));
        Shell { child, orders, answers }
    }
}

/// A shell that does what it is told without starting another program.
struct Shell {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Shell {
    fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Runs a line and waits for its end.
    fn run(&mut self, line: &str) {
        writeln!(self.orders, "{line}\necho done").expect("it listens");
        let mut answer = String::new();
        self.answers.read_line(&mut answer).expect("it answers");
        assert_eq!(answer, "done\n", "{line}");
    }

    /// Becomes another program of the vault, which goes on listening.
    fn become_program(&mut self, program: &str) {
        writeln!(self.orders, "exec {program}").expect("it listens");
        // What is written now could still be read, and lost, by the old program.
        let end = Instant::now() + Duration::from_secs(10);
        while !fs::read_link(format!("/proc/{}/exe", self.pid())).is_ok_and(|exe| exe.as_os_str() == program)
        {
            assert!(Instant::now() < end, "no exec of `{program}`");
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn open(&mut self, path: &str, times: u32) {
        self.run(&format!("i=0; while [ $i -lt {times} ]; do : < {path}; i=$((i+1)); done"));
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _gone_already = self.child.kill();
        let _status = self.child.wait();
    }
}

/// Counters of opened files.
#[derive(Clone, Copy, Debug)]
struct Opens {
    seen: f64,
    filtered: f64,
    emitted: f64,
}

impl Opens {
    fn of(agent: &Agent) -> Self {
        let of = |name: &str| agent.metric(&format!("rampart_events_{name}_total{{family=\"open\"}}"));
        Self { seen: of("seen"), filtered: of("filtered"), emitted: of("emitted") }
    }

    /// What happens while something is done, as soon as `times` more opened files are counted.
    fn during(agent: &mut Agent, times: u32, mut act: impl FnMut()) -> Self {
        let before = Self::of(agent);
        act();
        agent.until("done with counting", |agent| Self::of(agent).seen >= before.seen + f64::from(times));
        let after = Self::of(agent);
        Self {
            seen: after.seen - before.seen,
            filtered: after.filtered - before.filtered,
            emitted: after.emitted - before.emitted,
        }
    }

    /// Whether nearly all of [`MANY`] ended in the kernel.
    #[track_caller]
    fn assert_rejected(&self) {
        assert!(self.filtered >= f64::from(MANY - FEW) && self.emitted <= f64::from(FEW), "{self:?}");
    }
}

fn text<'a>(alert: &'a Value, name: &str) -> &'a str {
    alert.get("output_fields").and_then(|fields| fields.get(name)).and_then(Value::as_str).unwrap_or_default()
}

/// The number of alerts of a rule about a process.
fn count(agent: &Agent, rule: &str, pid: u32) -> u32 {
    let of = |alert: &&Value| {
        alert.get("rule").is_some_and(|name| name == rule)
            && alert.get("output_fields").and_then(|fields| fields.get("proc.pid")?.as_u64())
                == Some(pid.into())
    };
    agent.alerts().iter().filter(of).count() as u32
}

/// Waits for the alerts of a rule about a process; more than that fail when the agent has ended.
fn alerted(agent: &mut Agent, rule: &str, pid: u32, times: u32) {
    agent.until(&format!("done with {times} alerts of `{rule}`"), |agent| count(agent, rule, pid) >= times);
    assert_eq!(count(agent, rule, pid), times, "{rule}");
}

/// Ends the agent, which has found nothing wrong with itself.
fn end(agent: Agent) {
    assert!(agent.metric("rampart_pushdown_disagreements_total") < 1.0);
    let own =
        agent.alerts().into_iter().filter(|alert| alert.get("source").is_some_and(|from| from != "syscall"));
    assert_eq!(own.collect::<Vec<_>>(), Vec::<Value>::new());
    assert!(agent.stop().success());
}

#[test]
fn what_no_rule_can_match_ends_in_the_kernel() {
    require_root!("what_no_rule_can_match_ends_in_the_kernel");
    let vault = Vault::new();
    let mut agent = vault.agent("pushdown: {shadow_every: 256}");
    let mut shell = vault.shell("intruder");
    shell.open(&vault.path("other"), 10);
    let opens = Opens::during(&mut agent, MANY, || shell.open(&vault.path("other"), MANY));
    opens.assert_rejected();
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
    let vault = Vault::new();
    let mut agent = vault.agent("pushdown: {enabled: false}");
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
    let vault = Vault::new();
    let mut agent = vault.agent("pushdown: {shadow_every: 256}");
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
fn a_process_that_becomes_another_is_judged_anew() {
    require_root!("a_process_that_becomes_another_is_judged_anew");
    let vault = Vault::new();
    let mut agent = vault.agent("pushdown: {shadow_every: 256}");
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
    let vault = Vault::new();
    let mut agent = vault.agent("pushdown: {shadow_every: 256}");
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
    let vault = Vault::new();
    let mut agent = vault.agent("pushdown: {shadow_every: 256}");
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
    let vault = Vault::new();
    let mut agent = vault.agent("pushdown: {shadow_every: 256}");
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

/// How often the rules change.
const RELOADS: u32 = 200;

/// A rule set: text of rules, and further ones with their conditions.
type Rules = (String, Vec<(String, String)>);

/// Rule sets with the same rule on intrusions. Everything else differs, so that in each the rule has another bit, its
/// strings have other bits, and other facts of processes and calls count.
fn rule_sets() -> [Rules; 3] {
    let open = "evt.type in (open, openat, openat2)";
    let intrusion = (
        "intrusion".to_owned(),
        format!(
            "{open} and fd.name startswith DIR/secret and not proc.name in (trusted, backup) and not user.uid = 77"
        ),
    );
    let few = vec![
        ("one".to_owned(), format!("{open} and fd.name = DIR/one")),
        intrusion.clone(),
        ("two".to_owned(), format!("{open} and fd.name endswith .nothing and evt.is_open_write = true")),
    ];
    let each = |number: usize| {
        let condition = match number % 6 {
            0 => format!("{open} and fd.name startswith DIR/{number}"),
            1 => format!("{open} and fd.name in (DIR/{number}, DIR/x{number}) and proc.pname = p{number}"),
            2 => format!("{open} and fd.name contains /sec{number}/ and user.uid = {}", 1000 + number),
            3 => format!("{open} and fd.name glob DIR/*{number}.conf and evt.is_open_write = true"),
            4 => format!("evt.type = connect and fd.sport = {number} and proc.name = q{number}"),
            _ => format!("spawned_by_nobody and proc.name = r{number}")
                .replace("spawned_by_nobody", "evt.type = execve"),
        };
        (format!("other {number}"), condition)
    };
    let mut many: Vec<(String, String)> = (0..60).map(each).collect();
    many.insert(41, intrusion.clone());
    let pack = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../rules/packs/base.yaml"));
    let pack = pack.expect("the pack is there") + "\n";
    [(String::new(), few), (String::new(), many), (pack, vec![intrusion])]
}

/// Whatever is done while the rules change is alerted, and once.
#[test]
fn every_intrusion_during_200_reloads_alerts_once() {
    require_root!("every_intrusion_during_200_reloads_alerts_once");
    let vault = Vault::new();
    let sets = rule_sets();
    let put = |number: u32| {
        let (others, rules) = &sets[number as usize % sets.len()];
        vault.rules_after(others, rules)
    };
    let mut agent = Agent::start_with(&put(0), "rules: {watch: false}\npushdown: {shadow_every: 16}\n");
    let before = Opens::of(&agent);
    let stop = AtomicBool::new(false);
    let done = |number: u32| (number > 0 && stop.load(Ordering::Relaxed)).then_some(number);
    let (own, foreign) = thread::scope(|scope| {
        // One process all the time, whose masks are known to the kernel soon after each change.
        let own = scope.spawn(|| {
            (0..).find_map(|number| {
                File::create(vault.dir.join(format!("secret-own-{number}"))).expect("made");
                thread::sleep(Duration::from_millis(3));
                done(number)
            })
        });
        // A new process each time, of which the kernel knows nothing.
        let foreign = scope.spawn(|| {
            (0..).find_map(|number| {
                let name = vault.dir.join(format!("secret-foreign-{number}"));
                fs::hard_link(vault.dir.join("other"), &name).expect("linked");
                let status = Command::new("cat").arg(&name).stdout(Stdio::null()).status();
                assert!(status.expect("cat runs").success());
                thread::sleep(Duration::from_millis(20));
                done(number)
            })
        });
        // What no rule wants, so that the kernel has something to reject.
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                for _ in 0..20 {
                    drop(File::open(vault.dir.join("other")));
                }
                thread::sleep(Duration::from_millis(2));
            }
        });
        let _stopped = Stop(&stop);
        for number in 1..=RELOADS {
            put(number);
            agent.signal(Signal::SIGHUP);
            agent.until("on the new rules", |agent| {
                let outcome =
                    |name| agent.metric(&format!("rampart_policy_reloads_total{{outcome=\"{name}\"}}"));
                assert!(outcome("failure") < 1.0, "{}", agent.log());
                outcome("success") >= f64::from(number)
            });
        }
        stop.store(true, Ordering::Relaxed);
        (own.join().expect("it ends"), foreign.join().expect("it ends"))
    });
    let (own, foreign) = (own.expect("a number"), foreign.expect("a number"));
    let mut wanted = BTreeMap::new();
    for (name, last) in [("own", own), ("foreign", foreign)] {
        wanted.extend((0..=last).map(|number| (vault.path(&format!("secret-{name}-{number}")), 1)));
    }
    let intrusions = |agent: &Agent| {
        let mut seen = BTreeMap::new();
        for alert in
            agent.alerts().iter().filter(|alert| alert.get("rule").is_some_and(|name| name == "intrusion"))
        {
            *seen.entry(text(alert, "fd.name").to_owned()).or_insert(0) += 1;
        }
        seen
    };
    agent.until("done with all intrusions", |agent| intrusions(agent).len() >= wanted.len());
    let seen = intrusions(&agent);
    let wrong: Vec<_> = wanted.iter().filter(|(name, times)| seen.get(*name) != Some(*times)).collect();
    assert!(
        wrong.is_empty() && seen.len() == wanted.len(),
        "{} of {} wrong: {wrong:?}",
        wrong.len(),
        wanted.len()
    );
    let after = Opens::of(&agent);
    println!(
        "{own} intrusions of one process, {foreign} of others, {} of {} opened files rejected, {} samples",
        after.filtered - before.filtered,
        after.seen - before.seen,
        agent.metric("rampart_pushdown_samples_total"),
    );
    assert!(after.filtered - before.filtered > f64::from(own), "{before:?} {after:?}");
    assert!(agent.metric("rampart_pushdown_samples_total") > 0.0);
    agent.until("told of every rule set", |agent| {
        agent.metric("rampart_pushdown_generation") > f64::from(RELOADS)
    });
    end(agent);
}

/// Tells the threads to end, also when the test fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
