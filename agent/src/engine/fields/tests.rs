//! Field values over built records, one subject a test.

#[path = "tests/container.rs"]
mod container;
#[path = "tests/file.rs"]
mod file;
#[path = "tests/net.rs"]
mod net;
#[path = "tests/process.rs"]
mod process;

use bumpalo::Bump;
use jiff::tz::TimeZone;
use rampart_common::event::{
    ATTR_DISCONNECTED, AttrTag, EXEC_WRITABLE, EventKind, ExecFacts, FILE_MEMFD, FILE_UPPER_LAYER, Family,
    FileFacts, SocketFacts, UsageFacts,
};
use rampart_rules::{
    catalog::{self, Class, FIELDS, FieldId},
    output::render_value,
    value::{FieldArg, FieldSource, Value},
};

use super::{Context, EventFields, Facts, Position, Scratch, View, datagram_peer, fillable};
use crate::{
    engine::clock::Clock,
    event::{build::RecordBuilder, decode, syscall::SyscallTable},
    state::{Config, State},
};

const SECOND: u64 = 1_000_000_000;
/// Wall minus boot clock.
const OFFSET: i64 = 1_700_000_000_000_000_000;
const CONTAINER: &str = "605439acbd4fb18c145069289094b17f17e0cfa938f78012d4960bc797305f22";

/// Records, fed in order; the last one is the event in question.
struct Fixture {
    state: State,
    last: Vec<u8>,
    position: Position,
    /// Falco's limit, in its strict mode.
    path_limit: Option<usize>,
}

impl Fixture {
    fn new(records: &[RecordBuilder]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let (passwd, group) = (dir.path().join("passwd"), dir.path().join("group"));
        std::fs::write(&passwd, "root:x:0:0::/root:/bin/sh\nweb:x:33:33::/srv:/bin/false\n").expect("a file");
        std::fs::write(&group, "root:x:0:\nweb:x:33:\n").expect("a file");
        let config = Config { proc_root: "/nonexistent".into(), passwd, group, ..Config::default() };
        let mut fixture = Self {
            state: State::new(config),
            last: Vec::new(),
            position: Position { number: 0, previous_ns: 0, first_ns: SECOND, peer_changed: false },
            path_limit: None,
        };
        for record in records {
            fixture.feed(record);
        }
        fixture
    }

    fn feed(&mut self, record: &RecordBuilder) {
        self.last = record.build();
        let event = decode::decode(&self.last).expect("a well-formed record");
        let row = SyscallTable::new().of(&event);
        self.state.observe(&event, row.map(|row| row.event));
        if let Some(row) = row {
            self.state.place(&event, row);
        }
        self.position.number += 1;
        self.position.peer_changed =
            datagram_peer(&event).is_some_and(|(socket, peer)| self.state.peers.changed(&socket, peer));
    }

    /// Calls `f` with the fields of the last record.
    fn with<R>(&self, view: View, f: impl FnOnce(&EventFields<'_, '_>) -> R) -> R {
        let event = decode::decode(&self.last).expect("a well-formed record");
        let row = SyscallTable::new().of(&event).expect("a known event");
        let (arena, scratch) = (Bump::new(), Scratch::default());
        let clock = Clock::new(OFFSET, TimeZone::UTC);
        let context = Context {
            state: &self.state,
            clock: &clock,
            hostname: "node",
            arena: &arena,
            scratch: &scratch,
            path_limit: self.path_limit,
            trading: None,
        };
        let facts = Facts::new(&event, row, context, self.position);
        f(&EventFields::new(&facts, view))
    }

    /// A field as alerts show it; `None` when it is missing.
    fn get(&self, name: &str) -> Option<String> {
        self.seen(View::Lexical, name)
    }

    fn seen(&self, view: View, name: &str) -> Option<String> {
        self.with(view, |fields| {
            let (field, arg) = parse(name);
            let value = fields.field(field, arg);
            if value == Value::Null {
                return None;
            }
            if let Value::Either([one, other]) = value {
                return Some(format!("{}/{}", text(field, *one), text(field, *other)));
            }
            Some(text(field, value))
        })
    }

    fn check(&self, expected: &[(&str, &str)]) {
        for (name, value) in expected {
            let want = (*value != "-").then(|| (*value).to_owned());
            assert_eq!(self.get(name), want, "{name}");
        }
    }

    fn differs(&self) -> Option<(String, String)> {
        self.with(View::Lexical, |fields| {
            let (lexical, real) = fields.facts.differing_paths()?;
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            Some((text(lexical), text(real)))
        })
    }
}

fn text(field: FieldId, value: Value<'_>) -> String {
    let mut out = String::new();
    render_value(field, value, &mut out);
    out
}

/// A field as rules write it.
fn parse(name: &str) -> (FieldId, FieldArg<'_>) {
    if let Some((base, key)) = name.strip_prefix("evt.arg.").map(|key| ("evt.arg", key)) {
        return (catalog::field(base).expect("a field"), FieldArg::Key(key));
    }
    if let Some(key) = name.strip_prefix("evt.rawarg.") {
        return (catalog::field("evt.rawarg").expect("a field"), FieldArg::Key(key));
    }
    let Some((base, arg)) = name.split_once('[') else {
        return (catalog::field(name).unwrap_or_else(|| panic!("{name} is no field")), FieldArg::None);
    };
    let arg = arg.trim_end_matches(']');
    (catalog::field(base).expect("a field"), arg.parse().map_or(FieldArg::Key(arg), FieldArg::Index))
}

fn exec(pid: u32, parent: u32, comm: &str, argv: &[&str]) -> RecordBuilder {
    let mut record = RecordBuilder::new(EventKind::Exec, Family::Exec)
        .process(pid, u64::from(pid) * SECOND, comm)
        .parent(parent, u64::from(parent) * SECOND)
        .text(AttrTag::ExecName, argv[0])
        .strings(AttrTag::Argv, argv)
        .strings(AttrTag::Envp, &["HOME=/root", "LANG=C"])
        .path(AttrTag::ExePath, &format!("/usr/bin/{comm}"))
        .path(AttrTag::Cwd, "/srv/data")
        .file(&FileFacts { ino: 70, ctime_ns: 5, mtime_ns: 6, ..FileFacts::default() })
        .exec(&ExecFacts::default())
        .usage(&UsageFacts {
            major_faults: 1,
            minor_faults: 2,
            virtual_pages: 30,
            resident_pages: 4,
            swapped_pages: 0,
            fd_limit: 1024,
        })
        .at(300 * SECOND);
    record.header.task.sid = 10;
    record.header.task.pgid = 20;
    record
}

/// `init → sshd → bash → cat`, process ids 1, 10, 20 and 30.
fn family() -> Vec<RecordBuilder> {
    vec![
        exec(1, 0, "systemd", &["/sbin/init"]),
        exec(10, 1, "sshd", &["/usr/sbin/sshd", "-D"]),
        exec(20, 10, "bash", &["-bash"]),
        exec(30, 20, "cat", &["cat", "-n", "/etc/shadow"]),
    ]
}

fn of_cat(mut record: RecordBuilder) -> RecordBuilder {
    record = record.process(30, 30 * SECOND, "cat").parent(20, 20 * SECOND).at(301 * SECOND);
    record.header.task.sid = 10;
    record.header.task.pgid = 20;
    record.header.task.vpgid = 30;
    record
}

fn after_family(record: RecordBuilder) -> Fixture {
    let mut records = family();
    records.push(of_cat(record));
    Fixture::new(&records)
}

fn openat(ret: i64, path: &str, flags: i32, mode: u64) -> RecordBuilder {
    let args = [libc::AT_FDCWD as u64, 0xdead, flags as u64, mode];
    RecordBuilder::syscall(libc::SYS_openat, Family::Open, ret, &args).text(AttrTag::UserPath, path)
}

fn regular() -> FileFacts {
    FileFacts { ino: 4711, dev: 8 << 20 | 1, mode: libc::S_IFREG | 0o640, ..FileFacts::default() }
}

fn inet(kind: i32, local: ([u8; 4], u16), remote: ([u8; 4], u16), state: u8) -> SocketFacts {
    let address = |octets: [u8; 4]| {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&octets);
        bytes
    };
    SocketFacts {
        sock: 0xffff_8880_1234_0000,
        local: address(local.0),
        remote: address(remote.0),
        local_port: local.1,
        remote_port: remote.1,
        family: libc::AF_INET as u16,
        kind: kind as u16,
        state,
        ..SocketFacts::default()
    }
}

fn sockaddr_in(octets: [u8; 4], port: u16) -> Vec<u8> {
    let mut bytes = (libc::AF_INET as u16).to_ne_bytes().to_vec();
    bytes.extend_from_slice(&port.to_be_bytes());
    bytes.extend_from_slice(&octets);
    bytes.resize(16, 0);
    bytes
}

#[test]
fn times_are_those_of_the_wall_clock() {
    let mut fixture = after_family(openat(3, "/x", 0, 0));
    fixture.position.previous_ns = 300 * SECOND;
    fixture.check(&[
        ("evt.rawtime", "1700000301000000000"),
        ("evt.rawtime.s", "1700000301"),
        ("evt.rawtime.ns", "0"),
        ("evt.time", "22:18:21.000000000"),
        ("evt.time.s", "22:18:21"),
        ("evt.time.iso8601", "2023-11-14T22:18:21.000000000+0000"),
        ("evt.datetime.s", "2023-11-14 22:18:21"),
        ("evt.reltime", "300000000000"),
        ("evt.reltime.s", "300"),
        ("evt.deltatime", "1000000000"),
        ("proc.duration", "271000000000"),
        ("proc.ppid.duration", "281000000000"),
        ("proc.pid.ts", "1700000030000000000"),
        ("evt.hostname", "node"),
    ]);
}

/// A DNS message that gives `broker.example` the address 8.8.8.8.
const ANSWER: &[u8] = b"\0\x07\x81\x80\0\x01\0\x01\0\0\0\0\x06broker\x07example\0\0\x01\0\x01\
    \xc0\x0c\0\x01\0\x01\0\0\0\x1e\0\x04\x08\x08\x08\x08";

#[test]
fn addresses_have_the_names_programs_asked_for() {
    let socket = inet(libc::SOCK_STREAM, ([10, 0, 0, 1], 33_333), ([8, 8, 8, 8], 443), 1);
    let record = RecordBuilder::syscall(libc::SYS_sendto, Family::Net, 5, &[6, 0, 5]).socket(&socket);
    let mut fixture = after_family(record);
    fixture.check(&[("fd.sip.name", "-"), ("fd.rip.name", "-")]);
    fixture.state.hosts.learn(ANSWER, 1);
    let shown = [("fd.sip.name", "broker.example"), ("fd.rip.name", "broker.example"), ("fd.lip.name", "-")];
    fixture.check(&shown);
}

/// Records that together show every field the agent can fill.
fn everything() -> Vec<Fixture> {
    let file = FileFacts { ctime_ns: 5, mtime_ns: 6, ..regular() };
    let open = openat(3, "/tmp/a", libc::O_RDWR, 0).path(AttrTag::RealPath, "/tmp/a").file(&file);
    let link = RecordBuilder::syscall(libc::SYS_linkat, Family::Path, 0, &[0; 5])
        .text(AttrTag::UserPath, "a")
        .path(AttrTag::BaseDir, "/srv")
        .text(AttrTag::UserPath2, "b")
        .path(AttrTag::BaseDir2, "/tmp");
    let send = RecordBuilder::syscall(libc::SYS_sendto, Family::Net, 5, &[6, 0, 5]).socket(&inet(
        libc::SOCK_DGRAM,
        ([10, 0, 0, 1], 33_333),
        ([8, 8, 8, 8], 53),
        1,
    ));
    let socket = inet(libc::SOCK_STREAM, ([10, 0, 0, 1], 33_333), ([8, 8, 8, 8], 53), 1);
    let moved = |call, on: &dyn Fn(RecordBuilder) -> RecordBuilder| {
        after_family(on(RecordBuilder::syscall(call, Family::Fd, 5, &[6, 0, 5]).text(AttrTag::Data, "order")))
    };
    // A datagram from and to the address with a name.
    let both = inet(libc::SOCK_DGRAM, ([8, 8, 8, 8], 53), ([8, 8, 8, 8], 33_333), 1);
    let mut named =
        after_family(RecordBuilder::syscall(libc::SYS_sendto, Family::Net, 5, &[6]).socket(&both));
    named.state.hosts.learn(ANSWER, 1);
    // A program whose file has been read.
    let mut started = Fixture::new(&[]);
    started.state.ask_digests(true, 1);
    started.feed(&exec(51, 1, "tool", &["tool"]).file(&file));
    started.state.digests.take((&file).into(), Some([7; 32]), 1);
    let mut entry = exec(50, 1, "nginx", &["nginx"]).path(AttrTag::Cgroup, &format!("/docker/{CONTAINER}"));
    entry.header.task.vpid = 1;
    entry.header.task.pid_ns = 77;
    let mut all = container::everything();
    all.extend([
        after_family(open),
        after_family(link),
        after_family(send),
        moved(libc::SYS_read, &|record| record.file(&file)),
        moved(libc::SYS_write, &|record| record.file(&file)),
        moved(libc::SYS_recvfrom, &|record| record.socket(&socket)),
        moved(libc::SYS_sendto, &|record| record.socket(&socket)),
        named,
        started,
        Fixture::new(&family()),
        Fixture::new(&[entry]),
    ]);
    all
}

#[test]
fn what_is_called_fillable_is_filled_and_nothing_else() {
    let fixtures = everything();
    // Those of trading are filled where it is configured, see the detector's tests.
    for field in FIELDS.iter().filter(|field| field.class != Class::Trading) {
        let id = catalog::field(field.name).expect("its own name");
        let args: &[FieldArg<'_>] = match field.name {
            "evt.type.is" => &[FieldArg::Key("openat")],
            "evt.arg" | "evt.rawarg" => &[FieldArg::Key("fd")],
            "evt.abspath" => &[FieldArg::Key("path")],
            "proc.env" => &[FieldArg::Key("HOME"), FieldArg::None],
            "proc.aname" | "proc.args" => &[FieldArg::Index(1), FieldArg::None],
            _ => &[FieldArg::None, FieldArg::Key("x"), FieldArg::Index(0)],
        };
        let filled = fixtures.iter().any(|fixture| {
            fixture.with(View::Lexical, |fields| args.iter().any(|arg| fields.field(id, *arg) != Value::Null))
        });
        assert_eq!(filled, fillable(id), "{}", field.name);
    }
}
