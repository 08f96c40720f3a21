//! Histories of records and the state they leave.

use rampart_common::event::{AttrTag, EXEC_WRITABLE, EventKind, ExecFacts, Family, FileFacts};
use rampart_rules::catalog::event_ids as ev;

use super::{Config, State};
use crate::event::{ProcessId, build::RecordBuilder, decode, syscall::SyscallTable};

const SECOND: u64 = 1_000_000_000;
const ID: &str = "605439acbd4fb18c145069289094b17f17e0cfa938f78012d4960bc797305f22";

/// A state that cannot see this machine's processes.
fn state() -> State {
    State::new(Config { proc_root: "/nonexistent".into(), process_limit: 100, ..Config::default() })
}

fn feed(state: &mut State, record: &RecordBuilder) {
    let bytes = record.build();
    let event = decode::decode(&bytes).expect("a well-formed record");
    state.observe(&event, SyscallTable::new().of(&event).map(|row| row.event));
}

fn fork(pid: u32, parent: u32, comm: &str, at: u64) -> RecordBuilder {
    RecordBuilder::new(EventKind::Fork, Family::Process)
        .process(pid, u64::from(pid) * SECOND, comm)
        .parent(parent, u64::from(parent) * SECOND)
        .at(at)
}

fn exec(pid: u32, parent: u32, comm: &str, argv: &[&str]) -> RecordBuilder {
    RecordBuilder::new(EventKind::Exec, Family::Exec)
        .process(pid, u64::from(pid) * SECOND, comm)
        .parent(parent, u64::from(parent) * SECOND)
        .strings(AttrTag::Argv, argv)
        .strings(AttrTag::Envp, &["HOME=/root"])
        .path(AttrTag::ExePath, &format!("/usr/bin/{comm}"))
        .path(AttrTag::Cwd, "/srv")
        .file(&FileFacts { ino: 7, ..FileFacts::default() })
        .exec(&ExecFacts { flags: EXEC_WRITABLE, ..ExecFacts::default() })
}

fn syscall(pid: u32, parent: u32, comm: &str) -> RecordBuilder {
    RecordBuilder::syscall(libc::SYS_openat, Family::Open, 3, &[])
        .process(pid, u64::from(pid) * SECOND, comm)
        .parent(parent, u64::from(parent) * SECOND)
}

fn id(pid: u32) -> ProcessId {
    ProcessId::from_start_ns(pid, u64::from(pid) * SECOND)
}

#[test]
fn a_child_has_its_parents_image_until_it_execs() {
    let mut state = state();
    feed(&mut state, &exec(10, 1, "bash", &["bash", "-l"]));
    feed(&mut state, &fork(11, 10, "bash", 3 * SECOND));
    let child = state.process(id(11)).expect("the child");
    assert_eq!((child.image.cmdline(), &*child.cwd), (&b"bash -l"[..], &b"/srv"[..]));
    feed(&mut state, &exec(11, 10, "cat", &["cat", "/etc/shadow"]));
    let child = state.process(id(11)).expect("the child");
    assert_eq!(child.image.cmdline(), b"cat /etc/shadow");
    assert_eq!(child.image.exe_path(), Some(&b"/usr/bin/cat"[..]));
    assert_eq!((child.image.writable, child.image.file.map(|file| file.ino)), (true, Some(7)));
    assert_eq!(child.image.exec_ns, 2 * SECOND);
    let parent = state.processes.parent(child).expect("the parent");
    assert_eq!(parent.image.comm(), b"bash");
}

#[test]
fn a_renamed_thread_does_not_rename_the_image() {
    let mut state = state();
    feed(&mut state, &exec(10, 1, "java", &["java"]));
    feed(&mut state, &syscall(10, 1, "GC Thread"));
    assert_eq!(state.process(id(10)).expect("there").image.comm(), b"java");
}

#[test]
fn an_unannounced_process_is_known_by_its_header() {
    let mut state = state();
    feed(&mut state, &syscall(10, 1, "mystery"));
    let process = state.process(id(10)).expect("there");
    assert_eq!((process.image.comm(), process.image.known), (&b"mystery"[..], false));
    assert_eq!(state.lookups().missed, 1);
    feed(&mut state, &syscall(10, 1, "mystery"));
    assert_eq!(state.lookups().missed, 1, "asked once");
    // A missed fork of a known parent: the name says that nothing was executed since.
    feed(&mut state, &exec(20, 1, "sh", &["sh", "x"]));
    feed(&mut state, &syscall(21, 20, "sh"));
    assert_eq!(state.process(id(21)).expect("there").image.cmdline(), b"sh x");
}

#[test]
fn bootstrap_and_discovery_read_this_machine() {
    let mut state = State::new(Config::default());
    state.bootstrap(1);
    let own = state.processes.by_pid(std::process::id()).expect("this process");
    assert!(own.image.known);
    assert!(state.processes.ancestors(own).last().is_some_and(|first| first.id.pid <= 2));
    // A record of this process with another start time is not mixed up with it.
    let record = syscall(std::process::id(), 1, "other");
    feed(&mut state, &record);
    let start = u64::from(std::process::id()) * SECOND;
    let other = state.process(ProcessId::from_start_ns(std::process::id(), start)).expect("there");
    assert!(!other.image.known);
}

#[test]
fn exits_leave_the_process_for_late_records() {
    let mut state = state();
    feed(&mut state, &exec(10, 1, "sh", &["sh"]));
    feed(&mut state, &fork(11, 10, "sh", 3 * SECOND));
    let exit = RecordBuilder::new(EventKind::Exit, Family::Process)
        .process(10, 10 * SECOND, "sh")
        .parent(1, SECOND)
        .at(4 * SECOND);
    feed(&mut state, &exit);
    assert!(state.process(id(10)).is_some_and(|process| process.exited_ns == Some(4 * SECOND)));
    feed(&mut state, &syscall(11, 1, "sh").at(7 * SECOND));
    assert!(state.process(id(10)).is_none());
    assert_eq!(state.process(id(11)).and_then(|process| process.parent), Some(id(1)));
}

#[test]
fn containers_come_from_the_group_path_and_are_inherited() {
    let mut state = state();
    let mut entry = exec(10, 1, "nginx", &["nginx"]).path(AttrTag::Cgroup, &format!("/docker/{ID}"));
    entry.header.task.cgroup_id = 55;
    feed(&mut state, &entry);
    let container = |state: &State, pid| {
        state.process(id(pid)).and_then(|it| it.container.as_ref().map(|it| it.id.clone()))
    };
    assert_eq!(container(&state, 10).as_deref(), Some("605439acbd4f"));
    let mut child = fork(11, 10, "nginx", 3 * SECOND);
    child.header.task.cgroup_id = 55;
    feed(&mut state, &child);
    assert_eq!(container(&state, 11).as_deref(), Some("605439acbd4f"));
    // A process that is moved into the group is in the container from its next event on.
    let mut host = exec(20, 1, "runc", &["runc"]).path(AttrTag::Cgroup, "/");
    host.header.task.cgroup_id = 1;
    feed(&mut state, &host);
    assert_eq!(container(&state, 20), None);
    let mut moved = syscall(20, 1, "runc");
    moved.header.task.cgroup_id = 55;
    feed(&mut state, &moved);
    assert_eq!(container(&state, 20).as_deref(), Some("605439acbd4f"));
}

#[test]
fn directory_changes_are_followed() {
    let mut state = state();
    feed(&mut state, &exec(10, 1, "sh", &["sh"]));
    let chdir = |ret, path: &str| {
        let mut record = syscall(10, 1, "sh").text(AttrTag::UserPath, path).path(AttrTag::BaseDir, "/srv");
        record.header.syscall = libc::SYS_chdir as u32;
        record.header.ret = ret;
        record
    };
    feed(&mut state, &chdir(-2, "nowhere"));
    assert_eq!(&*state.process(id(10)).expect("there").cwd, b"/srv");
    feed(&mut state, &chdir(0, "../dev/shm/"));
    assert_eq!(&*state.process(id(10)).expect("there").cwd, b"/dev/shm");
    let mut fchdir = syscall(10, 1, "sh").path(AttrTag::Cwd, "/var/tmp");
    fchdir.header.syscall = libc::SYS_fchdir as u32;
    fchdir.header.ret = 0;
    feed(&mut state, &fchdir);
    assert_eq!(&*state.process(id(10)).expect("there").cwd, b"/var/tmp");
    assert_eq!(SyscallTable::new().number(libc::SYS_chdir as u32).map(|row| row.event), Some(ev::CHDIR));
}
