//! Field values over built records, one subject a test.

use bumpalo::Bump;
use jiff::tz::TimeZone;
use rampart_common::event::{
    ATTR_DISCONNECTED, AttrTag, EXEC_WRITABLE, EventKind, ExecFacts, FILE_MEMFD, FILE_UPPER_LAYER, Family,
    FileFacts, SocketFacts,
};
use rampart_rules::{
    catalog::{self, FIELDS, FieldId},
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
        };
        for record in records {
            fixture.feed(record);
        }
        fixture
    }

    fn feed(&mut self, record: &RecordBuilder) {
        self.last = record.build();
        let event = decode::decode(&self.last).expect("a well-formed record");
        self.state.observe(&event, SyscallTable::new().of(&event).map(|row| row.event));
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
            path_limit: None,
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

fn inet(kind: i32, local: ([u8; 4], u16), remote: ([u8; 4], u16), state: u16) -> SocketFacts {
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
fn an_open_shows_its_path_flags_and_result() {
    let record = openat(3, "/etc/shadow", libc::O_RDONLY | libc::O_CLOEXEC, 0o777)
        .path(AttrTag::RealPath, "/etc/shadow")
        .file(&regular());
    let fixture = after_family(record);
    fixture.check(&[
        ("evt.type", "openat"),
        ("syscall.type", "openat"),
        ("evt.type.is[openat]", "1"),
        ("evt.type.is[open]", "0"),
        ("evt.category", "file"),
        ("evt.num", "5"),
        ("evt.res", "SUCCESS"),
        ("evt.rawres", "3"),
        ("evt.failed", "false"),
        ("evt.dir", "<"),
        ("evt.is_open_read", "true"),
        ("evt.is_open_write", "false"),
        ("evt.is_open_exec", "false"),
        ("evt.arg.flags", "O_RDONLY|O_CLOEXEC"),
        ("evt.rawarg.flags", "4097"),
        ("evt.arg.mode", "0"),
        ("evt.arg.dirfd", "AT_FDCWD"),
        ("evt.arg.fd", "<f>/etc/shadow"),
        ("evt.arg.name", "/etc/shadow"),
        ("evt.arg[2]", "/etc/shadow"),
        ("evt.arg.nosuch", "-"),
        ("evt.arg[40]", "-"),
        ("fd.num", "3"),
        ("fd.type", "file"),
        ("fd.typechar", "f"),
        ("fd.name", "/etc/shadow"),
        ("fd.realpath", "/etc/shadow"),
        ("fd.directory", "/etc"),
        ("fd.filename", "shadow"),
        ("fd.ino", "4711"),
        ("fd.dev.major", "8"),
        ("fd.dev.minor", "1"),
        ("fd.ip", "-"),
        ("fs.path.name", "/etc/shadow"),
        ("fs.path.source", "-"),
    ]);
    let args = "fd=3(<f>/etc/shadow) dirfd=-100(AT_FDCWD) name=/etc/shadow flags=4097(O_RDONLY|O_CLOEXEC) mode=0 \
                dev=8388609 ino=4711";
    assert_eq!(fixture.get("evt.args").as_deref(), Some(args));
    assert_eq!(fixture.differs(), None);
}

#[test]
fn a_failed_open_keeps_the_path_it_asked_for() {
    let record = openat(-2, "../etc//nothing", libc::O_WRONLY | libc::O_CREAT, 0o100_755)
        .path(AttrTag::BaseDir, "/tmp");
    after_family(record).check(&[
        ("fd.num", "-1"),
        ("fd.typechar", "f"),
        ("fd.name", "/etc/nothing"),
        ("fd.nameraw", "../etc/nothing"),
        ("evt.res", "ENOENT"),
        ("evt.failed", "true"),
        ("evt.count.error.file", "1"),
        ("evt.count.error.net", "0"),
        ("evt.arg.fd", "ENOENT"),
        ("evt.arg.name", "/etc/nothing"),
        ("evt.rawarg.name", "../etc//nothing"),
        ("evt.arg.mode", "0100755"),
        ("evt.is_open_write", "true"),
        ("evt.is_open_exec", "true"),
        ("fs.path.name", "-"),
        ("fd.realpath", "-"),
    ]);
    let odd = after_family(openat(-4095, "x", 0, 0).path(AttrTag::BaseDir, "/"));
    assert_eq!(odd.get("evt.res").as_deref(), Some("-4095"));
}

#[test]
fn a_relative_path_without_its_base_starts_at_the_working_directory() {
    assert_eq!(after_family(openat(-2, "x/../y", 0, 0)).get("fd.name").as_deref(), Some("/srv/data/y"));
    // Nothing is known about this process.
    let stranger = Fixture::new(&[openat(-2, "y", 0, 0)]);
    assert_eq!(stranger.get("fd.name").as_deref(), Some("<UNKNOWN>/y"));
}

#[test]
fn a_symbolic_link_has_two_views() {
    let record =
        openat(3, "/tmp/x/../note.txt", 0, 0).path(AttrTag::RealPath, "/etc/shadow").file(&regular());
    let fixture = after_family(record);
    assert_eq!(fixture.differs(), Some(("/tmp/note.txt".into(), "/etc/shadow".into())));
    for (name, lexical, real) in [
        ("fd.name", "/tmp/note.txt", "/etc/shadow"),
        ("fd.directory", "/tmp", "/etc"),
        ("fd.filename", "note.txt", "shadow"),
        ("fs.path.name", "/tmp/note.txt", "/etc/shadow"),
        ("fd.nameraw", "/tmp/x/../note.txt", "/tmp/x/../note.txt"),
        ("evt.arg.name", "/tmp/x/../note.txt", "/tmp/x/../note.txt"),
        ("fd.realpath", "/etc/shadow", "/etc/shadow"),
    ] {
        assert_eq!(fixture.seen(View::Lexical, name).as_deref(), Some(lexical), "{name}");
        assert_eq!(fixture.seen(View::Real, name).as_deref(), Some(real), "{name}");
    }
    let same = openat(3, "../../etc/shadow", 0, 0)
        .path(AttrTag::BaseDir, "/srv/data")
        .path(AttrTag::RealPath, "/etc/shadow");
    assert_eq!(after_family(same).differs(), None, "one path, written in two ways");
    let memfd =
        openat(3, "/proc/self/fd/4", 0, 0).path_flags(AttrTag::RealPath, ATTR_DISCONNECTED, "memfd:x");
    assert_eq!(after_family(memfd).differs(), None, "no path in any directory");
}

#[test]
fn openat2_takes_flags_from_its_structure() {
    let record = RecordBuilder::syscall(libc::SYS_openat2, Family::Open, 4, &[5, 0, 0xffff, 24])
        .text(AttrTag::UserPath, "sub")
        .path(AttrTag::BaseDir, "/srv")
        .path(AttrTag::RealPath, "/srv/sub")
        .open_how((libc::O_RDWR | libc::O_DIRECTORY | libc::O_CREAT) as u64, 0o600, 0x0c);
    after_family(record).check(&[
        ("fd.name", "/srv/sub"),
        ("fd.type", "directory"),
        ("fd.directory", "/srv/sub"),
        ("evt.arg.flags", "O_DIRECTORY|O_CREAT|O_RDWR"),
        ("evt.arg.mode", "0600"),
        ("evt.arg.resolve", "RESOLVE_BENEATH|RESOLVE_NO_SYMLINKS"),
        ("evt.arg.dirfd", "<d>/srv"),
        ("evt.is_open_read", "true"),
        ("evt.is_open_write", "true"),
    ]);
}

#[test]
fn links_have_a_source_and_a_target() {
    let args = [libc::AT_FDCWD as u64, 0, 7, 0, 0x400];
    let link = RecordBuilder::syscall(libc::SYS_linkat, Family::Path, 0, &args)
        .text(AttrTag::UserPath, "/etc/shadow")
        .text(AttrTag::UserPath2, "copy")
        .path(AttrTag::BaseDir2, "/tmp");
    after_family(link).check(&[
        ("evt.arg.oldpath", "/etc/shadow"),
        ("evt.arg.newpath", "/tmp/copy"),
        ("evt.arg.newdir", "<d>/tmp"),
        ("evt.arg.flags", "AT_SYMLINK_FOLLOW"),
        ("fs.path.source", "/tmp/copy"),
        ("fs.path.sourceraw", "copy"),
        ("fs.path.target", "/etc/shadow"),
        ("fs.path.name", "-"),
        ("fd.name", "-"),
        ("fd.num", "-"),
    ]);
    let args = [0, libc::AT_FDCWD as u64, 0];
    let symlink = RecordBuilder::syscall(libc::SYS_symlinkat, Family::Path, 0, &args)
        .text(AttrTag::UserPath, "../etc/shadow")
        .text(AttrTag::UserPath2, "/tmp/l");
    after_family(symlink).check(&[
        ("evt.arg.target", "../etc/shadow"),
        ("evt.arg.linkpath", "/tmp/l"),
        ("fs.path.target", "/etc/shadow"),
        ("fs.path.targetraw", "../etc/shadow"),
    ]);
}

#[test]
fn an_exec_shows_the_new_image() {
    let mut record = exec(30, 20, "cat", &["cat", "-n", "/etc/shadow"]);
    record.header.task.tty = 34816;
    record.header.task.loginuid = 33;
    record.header.task.euid = 33;
    record.header.task.cap_effective = 1 << 21 | 1;
    let mut records = family();
    records.pop();
    records.push(record);
    let fixture = Fixture::new(&records);
    fixture.check(&[
        ("evt.type", "execve"),
        ("evt.res", "SUCCESS"),
        ("proc.name", "cat"),
        ("proc.exe", "cat"),
        ("proc.exepath", "/usr/bin/cat"),
        ("proc.cmdline", "cat -n /etc/shadow"),
        ("proc.exeline", "cat -n /etc/shadow"),
        ("proc.args", "-n /etc/shadow"),
        ("proc.args[1]", "/etc/shadow"),
        ("proc.args[9]", ""),
        ("proc.cmdnargs", "2"),
        ("proc.cmdlenargs", "13"),
        ("proc.cwd", "/srv/data/"),
        ("proc.env", "HOME=/root LANG=C"),
        ("proc.env[HOME]", "/root"),
        ("proc.env[PATH]", "-"),
        ("proc.tty", "34816"),
        ("proc.pid", "30"),
        ("proc.ppid", "20"),
        ("proc.pname", "bash"),
        ("proc.pexe", "-bash"),
        ("proc.pexepath", "/usr/bin/bash"),
        ("proc.pcmdline", "bash"),
        ("proc.aname[0]", "cat"),
        ("proc.aname[1]", "bash"),
        ("proc.aname[2]", "sshd"),
        ("proc.aname[3]", "systemd"),
        ("proc.aname[4]", "-"),
        ("proc.aname", "bash sshd systemd"),
        ("proc.apid", "20 10 1"),
        ("proc.aexe[2]", "/usr/sbin/sshd"),
        ("proc.aexepath[2]", "/usr/bin/sshd"),
        ("proc.acmdline[2]", "sshd -D"),
        ("proc.aenv[HOME]", "/root /root /root"),
        ("proc.aenv[1]", "HOME=/root LANG=C"),
        ("proc.sname", "sshd"),
        ("proc.sid.exe", "/usr/sbin/sshd"),
        ("proc.vpgid.name", "bash"),
        ("proc.loginshellid", "20"),
        ("proc.exe_ino", "70"),
        ("proc.is_exe_upper_layer", "false"),
        ("user.uid", "33"),
        ("user.name", "web"),
        ("user.homedir", "/srv"),
        ("user.loginuid", "33"),
        ("user.loginname", "web"),
        ("thread.cap_effective", "CAP_CHOWN CAP_SYS_ADMIN"),
        ("thread.cap_permitted", ""),
        ("evt.arg.exe", "cat"),
        ("evt.arg.ptid", "bash"),
        ("evt.arg.uid", "web"),
        ("evt.arg.filename", "cat"),
        ("evt.arg.flags", "0"),
        ("evt.arg.loginuid", "web"),
        ("fd.name", "-"),
    ]);
}

#[test]
fn executables_tell_where_they_come_from() {
    let file = FileFacts { ino: 1, flags: FILE_MEMFD | FILE_UPPER_LAYER, ..FileFacts::default() };
    let record = RecordBuilder::new(EventKind::Exec, Family::Exec)
        .strings(AttrTag::Argv, &["x"])
        .path_flags(AttrTag::ExePath, ATTR_DISCONNECTED, "memfd:x")
        .file(&file)
        .exec(&ExecFacts { flags: EXEC_WRITABLE, ..ExecFacts::default() });
    Fixture::new(&[record]).check(&[
        ("proc.exepath", "memfd:x"),
        ("proc.is_exe_from_memfd", "true"),
        ("proc.is_exe_upper_layer", "true"),
        ("proc.is_exe_lower_layer", "false"),
        ("proc.is_exe_writable", "true"),
        ("evt.arg.flags", "EXE_WRITABLE|EXE_UPPER_LAYER|EXE_FROM_MEMFD"),
        ("evt.rawarg.flags", "7"),
        ("proc.cwd", "-"),
        ("proc.pname", "-"),
        ("proc.aname", "-"),
        ("proc.exe_ino.ctime", "-"),
    ]);
}

#[test]
fn a_failed_exec_shows_who_tried() {
    let record = RecordBuilder::syscall(libc::SYS_execve, Family::Exec, -13, &[])
        .text(AttrTag::UserPath, "./tool")
        .strings(AttrTag::Argv, &["tool", "-x", "y"])
        .path(AttrTag::BaseDir, "/dev/shm");
    after_family(record).check(&[
        ("evt.type", "execve"),
        ("evt.res", "EACCES"),
        ("proc.name", "cat"),
        ("evt.arg.res", "EACCES"),
        ("evt.arg.filename", "/dev/shm/tool"),
        ("evt.arg.exe", "tool"),
        ("evt.arg.args", "-x y"),
        ("proc.args", "-n /etc/shadow"),
        ("evt.arg.flags", "0"),
    ]);
}

#[test]
fn a_connect_has_a_client_and_a_server() {
    let socket = inet(libc::SOCK_STREAM, ([10, 0, 0, 5], 40_000), ([93, 184, 216, 34], 443), 1);
    let record = RecordBuilder::syscall(libc::SYS_connect, Family::Net, -115, &[6, 0, 16])
        .socket(&socket)
        .attr_flags(AttrTag::SockAddr, 0, &sockaddr_in([93, 184, 216, 34], 443));
    after_family(record).check(&[
        ("evt.res", "EINPROGRESS"),
        ("fd.num", "6"),
        ("fd.type", "ipv4"),
        ("fd.typechar", "4"),
        ("fd.name", "10.0.0.5:40000->93.184.216.34:443"),
        ("fd.l4proto", "tcp"),
        ("fd.sockfamily", "ip"),
        ("fd.connected", "true"),
        ("fd.is_server", "false"),
        ("fd.cip", "10.0.0.5"),
        ("fd.sip", "93.184.216.34"),
        ("fd.lip", "10.0.0.5"),
        ("fd.rip", "93.184.216.34"),
        ("fd.snet", "93.184.216.34"),
        ("fd.ip", "10.0.0.5/93.184.216.34"),
        ("fd.net", "10.0.0.5/93.184.216.34"),
        ("fd.port", "40000/443"),
        ("fd.sport", "443"),
        ("fd.cport", "40000"),
        ("fd.rport", "443"),
        ("fd.filename", "-"),
        ("fd.directory", "-"),
        ("fd.realpath", "-"),
        ("evt.arg.tuple", "10.0.0.5:40000->93.184.216.34:443"),
        ("evt.arg.addr", "93.184.216.34:443"),
        ("evt.arg.fd", "<4t>10.0.0.5:40000->93.184.216.34:443"),
    ]);
}

#[test]
fn a_refused_connect_shows_what_was_asked_for() {
    let socket = inet(libc::SOCK_STREAM, ([0; 4], 0), ([0; 4], 0), 7);
    let record = RecordBuilder::syscall(libc::SYS_connect, Family::Net, -111, &[6, 0, 16])
        .socket(&socket)
        .attr_flags(AttrTag::SockAddr, 0, &sockaddr_in([10, 1, 2, 3], 22));
    after_family(record).check(&[
        ("fd.name", "0.0.0.0:0->10.1.2.3:22"),
        ("fd.sip", "10.1.2.3"),
        ("fd.connected", "false"),
        ("evt.res", "ECONNREFUSED"),
    ]);
    // The descriptor was no socket at all.
    let nothing = RecordBuilder::syscall(libc::SYS_connect, Family::Net, -9, &[6, 0, 16]).attr_flags(
        AttrTag::SockAddr,
        0,
        &sockaddr_in([10, 1, 2, 3], 22),
    );
    after_family(nothing).check(&[("fd.typechar", "4"), ("fd.name", "10.1.2.3:22"), ("fd.l4proto", "<NA>")]);
}

#[test]
fn both_ip_versions_and_their_mixture() {
    let mut socket = inet(libc::SOCK_STREAM, ([0; 4], 0), ([0; 4], 0), 1);
    socket.family = libc::AF_INET6 as u16;
    (socket.local, socket.local_port) = (std::net::Ipv6Addr::LOCALHOST.octets(), 50_000);
    (socket.remote, socket.remote_port) =
        ("2001:db8::1".parse::<std::net::Ipv6Addr>().expect("ip").octets(), 443);
    let connect = RecordBuilder::syscall(libc::SYS_connect, Family::Net, 0, &[6]);
    after_family(connect.clone().socket(&socket)).check(&[
        ("fd.typechar", "6"),
        ("fd.name", "::1:50000->2001:db8::1:443"),
        ("fd.sip", "2001:db8::1"),
    ]);
    socket.local = std::net::Ipv4Addr::LOCALHOST.to_ipv6_mapped().octets();
    socket.remote = std::net::Ipv4Addr::new(1, 2, 3, 4).to_ipv6_mapped().octets();
    after_family(connect.socket(&socket))
        .check(&[("fd.typechar", "4"), ("fd.name", "127.0.0.1:50000->1.2.3.4:443")]);
}

#[test]
fn datagrams_name_their_peer_once() {
    let send = |port| {
        of_cat(
            RecordBuilder::syscall(libc::SYS_sendto, Family::Net, 5, &[6, 0, 5])
                .socket(&inet(libc::SOCK_DGRAM, ([0; 4], 33_333), ([0; 4], 0), 7))
                .attr_flags(AttrTag::SockAddr, 0, &sockaddr_in([8, 8, 8, 8], port)),
        )
    };
    let mut fixture = Fixture::new(&family());
    fixture.feed(&send(53));
    fixture.check(&[
        ("fd.name", "0.0.0.0:33333->8.8.8.8:53"),
        ("fd.l4proto", "udp"),
        ("fd.connected", "false"),
        ("fd.name_changed", "true"),
        ("fd.sport", "53"),
        ("evt.is_io_write", "true"),
        ("evt.io_dir", "write"),
        ("evt.arg.size", "5"),
    ]);
    fixture.feed(&send(53));
    fixture.check(&[("fd.name_changed", "false")]);
    fixture.feed(&send(54));
    fixture.check(&[("fd.name_changed", "true")]);
}

#[test]
fn a_reply_of_a_server_keeps_the_roles() {
    let socket = inet(libc::SOCK_STREAM, ([10, 0, 0, 5], 8080), ([10, 0, 0, 9], 51_000), 1);
    let record = RecordBuilder::syscall(libc::SYS_sendto, Family::Net, 5, &[6]).socket(&socket);
    after_family(record).check(&[
        ("fd.is_server", "true"),
        ("fd.name", "10.0.0.9:51000->10.0.0.5:8080"),
        ("fd.sport", "8080"),
        ("fd.lport", "8080"),
        ("fd.cip", "10.0.0.9"),
    ]);
}

#[test]
fn other_sockets() {
    let packet = RecordBuilder::syscall(libc::SYS_socket, Family::Net, 3, &[17, 3, 768]);
    after_family(packet).check(&[("evt.arg.domain", "AF_PACKET"), ("fd.num", "3"), ("fd.type", "-")]);
    let fresh = RecordBuilder::syscall(libc::SYS_socket, Family::Net, 3, &[2, 1, 0]).socket(&inet(
        libc::SOCK_STREAM,
        ([0; 4], 0),
        ([0; 4], 0),
        7,
    ));
    after_family(fresh).check(&[
        ("fd.typechar", "4"),
        ("fd.name", ""),
        ("fd.sip", "-"),
        ("evt.arg.tuple", "-"),
    ]);
    let unix = SocketFacts { sock: 0xab, peer: 0xcd, family: 1, kind: 1, ..SocketFacts::default() };
    let connect = RecordBuilder::syscall(libc::SYS_connect, Family::Net, 0, &[5]).socket(&unix).attr_flags(
        AttrTag::SockAddr,
        0,
        b"\x01\0/run/docker.sock\0\0",
    );
    after_family(connect).check(&[
        ("fd.typechar", "u"),
        ("fd.sockfamily", "unix"),
        ("fd.name", "ab->cd /run/docker.sock"),
        ("fd.l4proto", "<NA>"),
        ("evt.arg.addr", "/run/docker.sock"),
    ]);
    let mut raw = inet(libc::SOCK_RAW, ([10, 0, 0, 1], 0), ([10, 0, 0, 2], 0), 7);
    raw.protocol = libc::IPPROTO_ICMP as u16;
    let ping = RecordBuilder::syscall(libc::SYS_sendto, Family::Net, 8, &[5]).socket(&raw);
    after_family(ping).check(&[("fd.l4proto", "icmp"), ("fd.name", "10.0.0.1->10.0.0.2")]);
}

#[test]
fn a_duplicate_refers_to_the_same_file() {
    let socket = inet(libc::SOCK_STREAM, ([10, 0, 0, 5], 40_000), ([1, 2, 3, 4], 4444), 1);
    let dup = RecordBuilder::syscall(libc::SYS_dup3, Family::Fd, 0, &[7, 0, libc::O_CLOEXEC as u64])
        .socket(&socket);
    after_family(dup).check(&[
        ("evt.rawres", "0"),
        ("fd.num", "0"),
        ("fd.type", "ipv4"),
        ("fd.name", "10.0.0.5:40000->1.2.3.4:4444"),
        ("fd.connected", "true"),
        ("evt.arg.flags", "O_RDONLY|O_CLOEXEC"),
    ]);
    let file = |mode, magic, path: &str, flags| {
        RecordBuilder::syscall(libc::SYS_dup, Family::Fd, 9, &[3])
            .file(&FileFacts { mode, fs_magic: magic, ..FileFacts::default() })
            .path_flags(AttrTag::RealPath, flags, path)
    };
    for (record, kind, name) in [
        (file(libc::S_IFREG, 0, "/var/log/x", 0), "file", "/var/log/x"),
        (file(libc::S_IFDIR, 0, "/var", 0), "directory", "/var"),
        (file(libc::S_IFIFO, 0, "pipe:[1]", ATTR_DISCONNECTED), "pipe", "pipe:[1]"),
        (file(0, 0x0904_1934, "[eventpoll]", ATTR_DISCONNECTED), "eventpoll", "[eventpoll]"),
        (
            file(0, 0x0904_1934, "anon_inode:[io_uring]", ATTR_DISCONNECTED),
            "io_uring",
            "anon_inode:[io_uring]",
        ),
    ] {
        after_family(record).check(&[("fd.type", kind), ("fd.name", name)]);
    }
}

#[test]
fn numeric_calls_are_named() {
    let ptrace = RecordBuilder::syscall(libc::SYS_ptrace, Family::Scalar, 0, &[16, 20, 0xabc, 0]);
    after_family(ptrace).check(&[
        ("evt.arg.request", "PTRACE_ATTACH"),
        ("evt.rawarg.request", "16"),
        ("evt.arg.pid", "bash"),
        ("evt.rawarg.pid", "20"),
        ("evt.arg.addr", "ABC"),
        ("evt.args", "res=0 addr=ABC data=0 request=16(PTRACE_ATTACH) pid=20(bash)"),
        ("fd.num", "-"),
    ]);
    let module = RecordBuilder::syscall(libc::SYS_finit_module, Family::Fd, 0, &[3, 0, 1])
        .path(AttrTag::RealPath, "/tmp/rootkit.ko")
        .file(&regular());
    after_family(module).check(&[
        ("fd.name", "/tmp/rootkit.ko"),
        ("fd.num", "3"),
        ("evt.arg.fd", "<f>/tmp/rootkit.ko"),
    ]);
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

#[test]
fn containers_are_told_from_the_host() {
    after_family(openat(3, "/x", 0, 0)).check(&[
        ("container.id", "host"),
        ("container.name", "host"),
        ("container.image.repository", "-"),
        ("k8s.ns.name", "-"),
        ("container.start_ts", "-"),
        ("fd.containername", "host:/x"),
    ]);
    let mut entry = exec(50, 1, "nginx", &["nginx"]).path(AttrTag::Cgroup, &format!("/docker/{CONTAINER}"));
    entry.header.task.vpid = 1;
    entry.header.task.pid_ns = 77;
    Fixture::new(&[entry]).check(&[
        ("container.id", "605439acbd4f"),
        ("container.name", "-"),
        ("container.start_ts", "1700000050000000000"),
        ("container.duration", "250000000000"),
        ("proc.vpid", "1"),
        ("proc.pidns_init_start_ts", "1700000050000000000"),
    ]);
}

#[test]
fn unknown_users_and_unset_logins() {
    let mut record = openat(3, "/x", 0, 0);
    (record.header.task.euid, record.header.task.egid) = (4242, 4242);
    after_family(record).check(&[
        ("user.name", "<NA>"),
        ("user.loginuid", "-1"),
        ("user.loginname", "<NA>"),
        ("group.name", "<NA>"),
        ("group.gid", "4242"),
    ]);
}

/// Records that together show every field the agent can fill.
fn everything() -> Vec<Fixture> {
    let file = FileFacts { ctime_ns: 5, mtime_ns: 6, ..regular() };
    let open = openat(3, "/tmp/a", libc::O_RDWR, 0).path(AttrTag::RealPath, "/tmp/a").file(&file);
    let link = RecordBuilder::syscall(libc::SYS_linkat, Family::Path, 0, &[0; 5])
        .text(AttrTag::UserPath, "/a")
        .text(AttrTag::UserPath2, "/b");
    let send = RecordBuilder::syscall(libc::SYS_sendto, Family::Net, 5, &[6, 0, 5]).socket(&inet(
        libc::SOCK_DGRAM,
        ([10, 0, 0, 1], 33_333),
        ([8, 8, 8, 8], 53),
        1,
    ));
    let mut entry = exec(50, 1, "nginx", &["nginx"]).path(AttrTag::Cgroup, &format!("/docker/{CONTAINER}"));
    entry.header.task.vpid = 1;
    entry.header.task.pid_ns = 77;
    vec![
        after_family(open),
        after_family(link),
        after_family(send),
        Fixture::new(&family()),
        Fixture::new(&[entry]),
    ]
}

#[test]
fn what_is_called_fillable_is_filled_and_nothing_else() {
    let fixtures = everything();
    for field in FIELDS {
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
