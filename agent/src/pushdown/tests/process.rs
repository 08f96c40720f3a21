//! A few processes, and the same ones after everything around them changed.

use std::sync::Arc;

use rampart_common::event::{AttrTag, EventKind, ExecFacts, Family, FileFacts};

use crate::{
    event::{build::RecordBuilder, decode, syscall::SyscallTable},
    state::{Config, State, container::Metadata, container::News},
};

const SECOND: u64 = 1_000_000_000;
const CONTAINER: &str = "605439acbd4fb18c145069289094b17f17e0cfa938f78012d4960bc797305f22";
const OTHER_CONTAINER: &str = "7a5439acbd4fb18c145069289094b17f17e0cfa938f78012d4960bc797305f22";
/// Id, parent, name; the last runs in a container.
const PROCESSES: [(u32, u32, &str); 5] =
    [(1, 0, "systemd"), (20, 1, "bash"), (30, 20, "cat"), (40, 20, "sshd"), (50, 1, "a")];

/// States before and after changes that no process entry is compared with, except by its epoch, and one where other
/// people run the same images.
pub(super) struct States {
    pub(super) before: State,
    pub(super) after: State,
    pub(super) elsewhere: State,
}

pub(super) fn states() -> States {
    let before = start();
    let mut after = start();
    // The shell becomes another program, and its own parent exits.
    feed(&mut after, &exec(20, 1, "web"));
    feed(&mut after, &chdir(30, "/etc"));
    tell(&mut after, "bash");
    let mut elsewhere = empty();
    feed(&mut elsewhere, &exec(60, 1, "runner"));
    for (pid, _, comm) in PROCESSES {
        let record = image(comm)
            .strings(AttrTag::Argv, &["/bin/other", "-c", "id"])
            .strings(AttrTag::Envp, &["HOME=/home/x"])
            .path(AttrTag::Cwd, "/")
            .path(
                AttrTag::Cgroup,
                &if pid == 50 { "/".to_owned() } else { format!("/docker/{OTHER_CONTAINER}") },
            )
            .file(&FileFacts { ino: 99, flags: u32::MAX, ..FileFacts::default() });
        feed(&mut elsewhere, &self::elsewhere(of(record, pid, 60, comm)));
    }
    tell(&mut elsewhere, "db");
    States { before, after, elsewhere }
}

/// Makes an event one of the same process's image, run by somebody else.
pub(super) fn elsewhere(mut record: RecordBuilder) -> RecordBuilder {
    let task = &mut record.header.task;
    (task.ppid, task.parent_start_ns) = (60, 60 * SECOND);
    (task.uid, task.euid, task.gid, task.egid, task.loginuid) = (77, 0, 78, 79, 77);
    task.cgroup_id = 9;
    record
}

/// Whether a process runs another image afterwards, so that its entry counts no more.
pub(super) fn became_another(process: u8) -> bool {
    PROCESSES[usize::from(process) % PROCESSES.len()].0 == 20
}

fn start() -> State {
    let mut state = empty();
    for (pid, parent, comm) in PROCESSES {
        feed(&mut state, &exec(pid, parent, comm));
    }
    tell(&mut state, "web");
    state
}

fn empty() -> State {
    let config = Config {
        proc_root: "/nonexistent".into(),
        passwd: "/nonexistent".into(),
        group: "/nonexistent".into(),
        ..Config::default()
    };
    let mut state = State::new(config);
    state.containers.ask();
    state
}

fn tell(state: &mut State, name: &str) {
    let metadata =
        Metadata { name: Some(name.to_owned()), privileged: Some(name == "web"), ..Metadata::default() };
    for container in [CONTAINER, OTHER_CONTAINER] {
        let news = News::Container(Arc::from(&container[..12]), Some(Box::new(metadata.clone())));
        state.containers.take(news, 0);
    }
}

fn feed(state: &mut State, record: &RecordBuilder) {
    let bytes = record.build();
    let event = decode::decode(&bytes).unwrap();
    state.observe(&event, SyscallTable::new().of(&event).map(|row| row.event));
}

fn exec(pid: u32, parent: u32, comm: &str) -> RecordBuilder {
    let group = if pid == 50 { format!("/docker/{CONTAINER}") } else { "/system.slice".to_owned() };
    let record = image(comm)
        .strings(AttrTag::Argv, &[comm, "-x", "/etc/shadow"])
        .strings(AttrTag::Envp, &["HOME=/root", "LANG=C"])
        .path(AttrTag::Cwd, "/tmp")
        .path(AttrTag::Cgroup, &group)
        .file(&FileFacts { ino: 70, ctime_ns: 5, mtime_ns: 6, ..FileFacts::default() });
    of(record, pid, parent, comm)
}

/// The start of an image, of which only its name and its executable are the same everywhere.
fn image(comm: &str) -> RecordBuilder {
    RecordBuilder::new(EventKind::Exec, Family::Exec)
        .text(AttrTag::ExecName, comm)
        .path(AttrTag::ExePath, &format!("/usr/bin/{comm}"))
        .exec(&ExecFacts::default())
}

fn chdir(pid: u32, to: &str) -> RecordBuilder {
    let record = RecordBuilder::syscall(libc::SYS_chdir, Family::Path, 0, &[]).path(AttrTag::Cwd, to);
    let (_, parent, comm) = *PROCESSES.iter().find(|(known, ..)| *known == pid).unwrap();
    of(record, pid, parent, comm)
}

fn of(record: RecordBuilder, pid: u32, parent: u32, comm: &str) -> RecordBuilder {
    let mut record = record
        .process(pid, u64::from(pid) * SECOND, comm)
        .parent(parent, u64::from(parent) * SECOND)
        .at(300 * SECOND);
    let task = &mut record.header.task;
    (task.sid, task.pgid, task.cgroup_id) = (20, 20, if pid == 50 { 5 } else { 1 });
    (task.uid, task.euid, task.gid, task.egid) =
        if pid == 30 { (1000, 1000, 100, 100) } else { (0, 0, 0, 0) };
    record
}

/// Makes an event one of a process, with facts of a thread that may be anything.
pub(super) fn made_by(record: RecordBuilder, process: u8, volatile: u8) -> RecordBuilder {
    let (pid, parent, comm) = PROCESSES[usize::from(process) % PROCESSES.len()];
    let mut record = of(record, pid, parent, comm);
    let number = u32::from(volatile % 4);
    let task = &mut record.header.task;
    (task.tid, task.vtid, task.sid, task.pgid, task.tty) =
        (pid + number, pid + number, 20 * number, 30 * number, number);
    (task.cap_effective, task.vpgid, task.vsid) = (u64::from(volatile), number, number);
    record.header.time_ns += u64::from(volatile) * SECOND;
    record.header.cpu = number;
    record
}
