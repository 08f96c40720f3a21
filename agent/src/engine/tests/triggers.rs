//! Upstream's live test cases of its stable rules, replayed as records: a chain of processes, then the calls of
//! the last one. Each must raise the alert it raises there, with the same field values.

use std::net::{IpAddr, SocketAddr};

use rampart_common::event::{
    AttrTag, EXEC_WRITABLE, EventKind, ExecFacts, FILE_UPPER_LAYER, Family, FileFacts, SocketFacts,
};
use serde_yaml::Value;

use super::{SECOND, feed, options, upstream};
use crate::{alert::Alert, engine::Detector, engine::Options, event::build::RecordBuilder, state};

const CONTAINER: &str = "605439acbd4fb18c145069289094b17f17e0cfa938f78012d4960bc797305f22";
/// Users the cases name.
const USERS: [&str; 10] =
    ["root", "daemon", "games", "mail", "nobody", "sync", "lp", "sshd", "uucp", "www-data"];
/// The program that runs the cases, started by a process that is no shell.
const RUNNER: u32 = 50;

struct Replay<'c> {
    case: &'c Value,
    detector: Detector,
    alerts: Vec<Alert>,
    actor: (u32, u32, String, String),
}

impl Replay<'_> {
    fn feed(&mut self, record: &RecordBuilder) {
        self.alerts.extend(feed(&mut self.detector, record));
    }

    /// Everything but the first process of the machine, when the case says so.
    fn in_container(&self) -> bool {
        self.case.get("context").and_then(|context| context.get("container")).is_some()
    }

    /// Gives a record the identity of a process of the case.
    fn of(&self, mut record: RecordBuilder, pid: u32, parent: u32, comm: &str, user: &str) -> RecordBuilder {
        record =
            record.process(pid, u64::from(pid) * SECOND, comm).parent(parent, u64::from(parent) * SECOND);
        let task = &mut record.header.task;
        task.uid = USERS.iter().position(|name| *name == user).expect("a known user") as u32;
        task.euid = task.uid;
        task.sid = RUNNER;
        // Containers of the cases are privileged.
        task.cap_effective = u64::MAX >> 23;
        task.cap_permitted = task.cap_effective;
        if self.in_container() && pid != 1 {
            (task.cgroup_id, task.pid_ns) = (77, 88);
        }
        record
    }

    fn exec(&mut self, pid: u32, parent: u32, comm: &str, argv: &[String], user: &str) {
        let inside = self.in_container() && pid != 1;
        let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
        let file = FileFacts {
            ino: 7,
            mode: libc::S_IFREG | 0o755,
            // The cases bring their programs along, so in a container they are not of its image.
            flags: if inside { FILE_UPPER_LAYER } else { 0 },
            ..FileFacts::default()
        };
        let group = if inside { format!("/docker/{CONTAINER}") } else { "/".to_owned() };
        let record = RecordBuilder::new(EventKind::Exec, Family::Exec)
            .strings(AttrTag::Argv, &argv)
            .path(AttrTag::ExePath, argv.first().copied().unwrap_or("/x"))
            .path(AttrTag::Cwd, "/root")
            .path(AttrTag::Cgroup, &group)
            .file(&file)
            .exec(&ExecFacts { flags: EXEC_WRITABLE, ..ExecFacts::default() })
            .at(u64::from(pid) * SECOND + 1);
        let record = self.of(record, pid, parent, comm, user);
        self.feed(&record);
    }

    fn processes(&mut self) {
        self.exec(1, 0, "systemd", &["/sbin/init".into()], "root");
        self.exec(RUNNER, 1, "event-generator", &["/bin/event-generator".into()], "root");
        let chain = self.case.get("context").and_then(|context| context.get("processes"));
        let chain = chain.and_then(Value::as_sequence).cloned().unwrap_or_default();
        for (process, parent) in chain.iter().zip(RUNNER..) {
            let pid = parent + 1;
            let name = text(process, "name").expect("a name");
            let user = text(process, "user").unwrap_or_else(|| "root".into());
            let mut argv = vec![text(process, "exe").unwrap_or_else(|| format!("/tmp/eg/{name}"))];
            argv.extend(text(process, "args").iter().flat_map(|args| args.split(' ').map(str::to_owned)));
            self.exec(pid, parent, &name, &argv, &user);
            self.actor = (pid, parent, name, user);
        }
    }

    fn call(&mut self, record: RecordBuilder) {
        let (pid, parent, name, user) = self.actor.clone();
        // Some cases wait after the start of the process.
        let wait =
            if text(self.case, "before").is_some_and(|before| before.starts_with("sleep")) { 6 } else { 1 };
        let record = self.of(record.at((u64::from(pid) + wait) * SECOND), pid, parent, &name, &user);
        self.feed(&record);
    }

    fn resources(&mut self) -> Option<SocketFacts> {
        let resource = self.case.get("resources")?.as_sequence()?.first()?.clone();
        if text(&resource, "type")? != "clientServer" {
            return None;
        }
        let address: SocketAddr = text(&resource, "address")?.parse().expect("an address");
        let socket = connection(address);
        let record = RecordBuilder::syscall(libc::SYS_connect, Family::Net, 0, &[3, 0, 16]);
        self.call(record.socket(&socket));
        Some(socket)
    }

    fn steps(&mut self, socket: Option<SocketFacts>) {
        let steps = self.case.get("steps").and_then(Value::as_sequence).cloned().unwrap_or_default();
        for step in &steps {
            let args = step.get("args").expect("arguments");
            let call = text(step, "syscall").expect("a call");
            self.call(record(&call, args, socket));
        }
    }
}

fn text(value: &Value, key: &str) -> Option<String> {
    value.get(key)?.as_str().map(str::to_owned)
}

fn connection(remote: SocketAddr) -> SocketFacts {
    let mut facts = SocketFacts {
        sock: 0x1000,
        local_port: 45_000,
        remote_port: remote.port(),
        kind: libc::SOCK_STREAM as u16,
        state: 1,
        ..SocketFacts::default()
    };
    match remote.ip() {
        IpAddr::V4(ip) => {
            facts.family = libc::AF_INET as u16;
            facts.remote[..4].copy_from_slice(&ip.octets());
            facts.local[..4].copy_from_slice(&[10, 0, 0, 2]);
        }
        IpAddr::V6(ip) => {
            facts.family = libc::AF_INET6 as u16;
            facts.remote = ip.octets();
            facts.local = ip.octets();
        }
    }
    facts
}

fn flags(names: &str) -> u64 {
    let bit = |name| match name {
        "O_RDONLY" => libc::O_RDONLY,
        "O_WRONLY" => libc::O_WRONLY,
        "O_RDWR" => libc::O_RDWR,
        "O_CREAT" => libc::O_CREAT,
        "O_TRUNC" => libc::O_TRUNC,
        other => panic!("flag {other}"),
    };
    names.split('|').map(bit).fold(0, |all, flag| all | flag) as u64
}

/// The record of one step. Calls that arm64 lacks are replayed as their newer form.
fn record(call: &str, args: &Value, socket: Option<SocketFacts>) -> RecordBuilder {
    let get = |key: &str| text(args, key).unwrap_or_else(|| panic!("{call} without {key}"));
    let number = |key: &str| args.get(key).and_then(Value::as_u64).unwrap_or(0);
    let cwd = libc::AT_FDCWD as u64;
    let opened = |record: RecordBuilder, path: &str| {
        let real = std::path::Path::new(path).components().fold(Vec::new(), |mut parts, part| {
            match part {
                std::path::Component::ParentDir => drop(parts.pop()),
                std::path::Component::Normal(name) => parts.push(name.to_str().expect("text")),
                _ => {}
            }
            parts
        });
        let file = FileFacts { ino: 9, mode: libc::S_IFREG | 0o644, ..FileFacts::default() };
        record
            .text(AttrTag::UserPath, path)
            .path(AttrTag::RealPath, &format!("/{}", real.join("/")))
            .file(&file)
    };
    match call {
        "open" | "openat" => {
            let args = [cwd, 0, flags(&get("flags")), number("mode")];
            opened(RecordBuilder::syscall(libc::SYS_openat, Family::Open, 5, &args), &get("pathname"))
        }
        "openat2" => {
            let how = args.get("how").expect("how");
            let record = RecordBuilder::syscall(libc::SYS_openat2, Family::Open, 5, &[cwd, 0, 0, 24]);
            let mode = how.get("mode").and_then(Value::as_u64).unwrap_or(0);
            opened(record.open_how(flags(&text(how, "flags").expect("flags")), mode, 0), &get("pathname"))
        }
        "link" | "linkat" => RecordBuilder::syscall(libc::SYS_linkat, Family::Path, 0, &[cwd, 0, cwd, 0, 0])
            .text(AttrTag::UserPath, &get("oldPath"))
            .text(AttrTag::UserPath2, &get("newPath")),
        "symlink" | "symlinkat" => RecordBuilder::syscall(libc::SYS_symlinkat, Family::Path, 0, &[0, cwd, 0])
            .text(AttrTag::UserPath, &get("target"))
            .text(AttrTag::UserPath2, &get("linkPath")),
        "dup2" | "dup3" => {
            let new = number("newFd");
            RecordBuilder::syscall(libc::SYS_dup3, Family::Fd, new as i64, &[3, new, number("flags")])
                .socket(&socket.expect("a connection"))
        }
        "socket" => {
            assert_eq!(get("domain"), "AF_PACKET");
            RecordBuilder::syscall(libc::SYS_socket, Family::Net, 5, &[libc::AF_PACKET as u64, 3, 0])
        }
        other => panic!("call {other}"),
    }
}

#[test]
fn upstreams_live_cases_raise_their_alerts() {
    let (Some(policy), Some(cases)) = (upstream(), crate::shared_facts::section("rule_triggers")) else {
        return;
    };
    let dir = tempfile::tempdir().expect("a directory");
    let passwd = dir.path().join("passwd");
    let lines: Vec<String> =
        USERS.iter().enumerate().map(|(uid, name)| format!("{name}:x:{uid}:{uid}::/:")).collect();
    std::fs::write(&passwd, lines.join("\n")).expect("a file");
    let mut failures = Vec::new();
    let mut skipped = 0;
    for case in &cases {
        if case.text("rule").as_deref() == Some("Debugfs Launched in Privileged Container") {
            // `container.privileged` comes from a container runtime; the live cases ask a real one.
            println!("skipped: {}", case.text("test").unwrap_or_default());
            skipped += 1;
            continue;
        }
        let state =
            state::Config { proc_root: "/nonexistent".into(), passwd: passwd.clone(), ..Default::default() };
        let mut replay = Replay {
            case: &case.0,
            detector: Detector::new(policy.clone(), Options { state, ..options() }),
            alerts: Vec::new(),
            actor: (RUNNER, 1, "event-generator".into(), "root".into()),
        };
        replay.processes();
        let socket = replay.resources();
        replay.steps(socket);
        let rule = case.text("rule").expect("a rule");
        let expect = case.0.get("expect").expect("an expectation");
        let wanted = expect.get("outputFields").and_then(Value::as_mapping).expect("fields");
        let priority = text(expect, "priority").expect("a priority");
        let found = replay.alerts.iter().any(|alert| {
            alert.rule == rule
                && alert.priority.as_str().eq_ignore_ascii_case(&priority)
                && wanted.iter().all(|(key, value)| {
                    let (key, value) = (key.as_str().expect("text"), value.as_str().expect("text"));
                    alert.field(key).as_deref() == Some(value)
                })
        });
        if !found {
            let seen: Vec<String> = replay.alerts.iter().map(Alert::text).collect();
            failures.push(format!("{} ({rule}): {seen:?}", case.text("test").unwrap_or_default()));
        }
    }
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), cases.len(), failures.join("\n"));
    assert!(cases.len() - skipped >= 400, "only {} cases", cases.len() - skipped);
}
