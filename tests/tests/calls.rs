//! Every kind of call the agent knows arrives with its parameters: the calls are made for real, the running agent
//! tells what it saw.

#![expect(clippy::expect_used, reason = "a panic is how a test fails")]
#![expect(unsafe_code, reason = "the calls are made as raw as a program can make them")]

use std::{
    ffi::CString,
    fmt::Write as _,
    fs,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream, UdpSocket},
    os::fd::AsRawFd,
    path::Path,
    process,
};

use rampart_tests::{agent::Agent, require_root, skip};
use serde_json::Value;

/// One call: what the event is called, and parts of its arguments as text.
type Case = (&'static str, Vec<String>);

/// Makes a call and ignores its result: the events tell it.
macro_rules! call {
    ($number:ident $(, $arg:expr)*) => {{
        // SAFETY: every pointer argument outlives the call, and a call that fails changes nothing.
        unsafe { libc::syscall(libc::$number $(, $arg)*) }
    }};
}

/// A call that only x86-64 has; elsewhere the C library does the same by another one.
macro_rules! old_call {
    ($name:ident, $number:ident $(, $arg:expr)*) => {{
        #[cfg(target_arch = "x86_64")]
        call!($number $(, $arg)*);
        // SAFETY: as in `call`.
        #[cfg(not(target_arch = "x86_64"))]
        unsafe { libc::$name($($arg),*) };
    }};
}

/// The events of such calls.
const OLD: [&str; 9] = ["mkdir", "rename", "chmod", "chown", "lchown", "mknod", "unlink", "rmdir", "access"];

fn text(text: &str) -> CString {
    CString::new(text).expect("no NUL")
}

/// A rule on every event type but a few, for this process alone; the output shows what the cases compare.
fn rules(dir: &Path, names: &[&str]) -> std::path::PathBuf {
    let path = dir.join("rules.yaml");
    let mut rules = String::new();
    for (index, names) in names.chunks(60).enumerate() {
        let _ = write!(
            rules,
            "- rule: call {index}\n  desc: d\n  priority: INFO\n  \
             condition: evt.type in ({}) and proc.pid = {}\n  \
             output: '%evt.type %evt.args %fd.name %fd.type %evt.buffer %evt.buflen %fs.path.name'\n",
            names.join(", "),
            process::id()
        );
    }
    fs::write(&path, rules).expect("the rules are written");
    path
}

fn files(dir: &Path) -> Vec<Case> {
    let at = |name: &str| dir.join(name).display().to_string();
    let c = |name: &str| text(&at(name));
    let (file, other, folder) = (c("file"), c("other"), c("folder"));
    let cwd = libc::AT_FDCWD;
    let mut cases: Vec<Case> = Vec::new();
    let mut case = |name, parts: &[String]| cases.push((name, parts.to_vec()));
    fs::write(at("file"), "hello").expect("a file");
    old_call!(mkdir, SYS_mkdir, folder.as_ptr(), 0o750);
    case("mkdir", &[format!("path={}", at("folder")), format!("mode={}", 0o750)]);
    call!(SYS_mkdirat, cwd, c("folder/in").as_ptr(), 0o700);
    case("mkdirat", &[format!("path={}", at("folder/in"))]);
    old_call!(rename, SYS_rename, file.as_ptr(), other.as_ptr());
    case("rename", &[format!("oldpath={}", at("file")), format!("newpath={}", at("other"))]);
    call!(SYS_renameat, cwd, other.as_ptr(), cwd, file.as_ptr());
    case("renameat", &[format!("oldpath={}", at("other"))]);
    call!(SYS_renameat2, cwd, file.as_ptr(), cwd, other.as_ptr(), libc::RENAME_NOREPLACE);
    case("renameat2", &["flags=1(RENAME_NOREPLACE)".into()]);
    old_call!(chmod, SYS_chmod, other.as_ptr(), 0o4755);
    case("chmod", &[format!("filename={}", at("other")), "S_ISUID".into()]);
    call!(SYS_fchmodat, cwd, other.as_ptr(), 0o2755);
    old_call!(chown, SYS_chown, other.as_ptr(), 1, 2);
    case("chown", &[format!("path={}", at("other")), "uid=1 gid=2".into()]);
    old_call!(lchown, SYS_lchown, other.as_ptr(), 3, 4);
    case("lchown", &["uid=3 gid=4".into()]);
    call!(SYS_fchownat, cwd, other.as_ptr(), 0, 0, libc::AT_SYMLINK_NOFOLLOW);
    case("fchownat", &["flags=256(AT_SYMLINK_NOFOLLOW)".into()]);
    // The newer form, which older rules do not name.
    old_call!(chmod, SYS_chmod, other.as_ptr(), 0o644);
    // SAFETY: as in `call`.
    unsafe { libc::syscall(452, cwd, other.as_ptr(), 0o6755, 0) };
    case("fchmodat", &[format!("filename={}", at("other")), "S_ISGID|S_ISUID".into()]);
    let opened = fs::OpenOptions::new().read(true).write(true).open(at("other")).expect("it opens");
    let fd = opened.as_raw_fd();
    call!(SYS_fchmod, fd, 0o600);
    case("fchmod", &[format!("fd={fd}(<f>{})", at("other"))]);
    call!(SYS_fchown, fd, 5, 6);
    case("fchown", &["uid=5 gid=6".into()]);
    (&opened).write_all(b"trade").expect("written");
    case("write", &["data=trade".into(), format!("fd={fd}(<f>{})", at("other"))]);
    let mut buffer = [0u8; 16];
    call!(SYS_pread64, fd, buffer.as_mut_ptr(), 16usize, 0i64);
    case("pread", &["data=trade".into(), "pos=0".into()]);
    let part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: 5 };
    call!(SYS_writev, fd, &raw const part, 1);
    case("writev", &["data=trade".into(), "size=5".into()]);
    call!(SYS_lseek, fd, 0i64, libc::SEEK_END);
    case("lseek", &["whence=2(SEEK_END)".into()]);
    call!(SYS_fcntl, fd, libc::F_GETFD);
    case("fcntl", &["cmd=1(F_GETFD)".into()]);
    call!(SYS_flock, fd, libc::LOCK_SH);
    case("flock", &["operation=1(LOCK_SH)".into()]);
    let made = c("made");
    let new = call!(SYS_openat, cwd, made.as_ptr(), libc::O_CREAT | libc::O_WRONLY, 0o755);
    case("openat", &[format!("name={}", at("made")), "O_F_CREATED".into(), "mode=0755".into()]);
    call!(SYS_close, new);
    case("close", &[format!("fd={new}")]);
    old_call!(mknod, SYS_mknod, c("device").as_ptr(), libc::S_IFCHR | 0o600, libc::makedev(1, 3));
    case("mknod", &[format!("path={}", at("device")), format!("dev={}", 1 << 20 | 3)]);
    old_call!(unlink, SYS_unlink, c("device").as_ptr());
    case("unlink", &[format!("path={}", at("device"))]);
    call!(SYS_unlinkat, cwd, c("folder/in").as_ptr(), libc::AT_REMOVEDIR);
    case("unlinkat", &[format!("name={}", at("folder/in")), "AT_REMOVEDIR".into()]);
    old_call!(rmdir, SYS_rmdir, folder.as_ptr());
    case("rmdir", &[format!("path={}", at("folder"))]);
    old_call!(access, SYS_access, other.as_ptr(), libc::R_OK | libc::W_OK);
    case("access", &["mode=6(R_OK|W_OK)".into()]);
    cases
}

fn network() -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    let mut case = |name, parts: &[String]| cases.push((name, parts.to_vec()));
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let server = listener.local_addr().expect("bound");
    case("bind", &[format!("addr={}", server.ip())]);
    case("listen", &[format!("fd={}(<4t>{server})", listener.as_raw_fd())]);
    let mut client = TcpStream::connect(server).expect("connected");
    let address = client.local_addr().expect("connected");
    let (mut accepted, _) = listener.accept().expect("accepted");
    case("accept4", &[format!("tuple={address}->{server}"), "queuemax=".into()]);
    client.write_all(b"order").expect("sent");
    case("sendto", &["data=order".into(), format!("tuple={address}->{server}")]);
    let mut buffer = [0u8; 16];
    let got = accepted.read(&mut buffer).expect("received");
    assert_eq!(got, 5);
    case("recvfrom", &["data=order".into(), format!("tuple={address}->{server}")]);
    call!(SYS_shutdown, client.as_raw_fd(), libc::SHUT_WR);
    case("shutdown", &["how=1(SHUT_WR)".into()]);
    let one = 1i32;
    call!(SYS_setsockopt, client.as_raw_fd(), libc::SOL_SOCKET, libc::SO_KEEPALIVE, &raw const one, 4);
    case("setsockopt", &["level=1(SOL_SOCKET) optname=9(SO_KEEPALIVE) val=1 optlen=4".into()]);
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let group: [u8; 8] = [239, 1, 2, 3, 127, 0, 0, 1];
    call!(SYS_setsockopt, udp.as_raw_fd(), libc::IPPROTO_IP, libc::IP_ADD_MEMBERSHIP, group.as_ptr(), 8);
    case("setsockopt", &["level=0(SOL_IP) optname=35(IP_ADD_MEMBERSHIP)".into()]);
    let peer = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    peer.send_to(b"quote", udp.local_addr().expect("bound")).expect("sent");
    udp.recv_from(&mut buffer).expect("received");
    let (from, to) = (peer.local_addr().expect("bound"), udp.local_addr().expect("bound"));
    case("recvfrom", &["data=quote".into(), format!("tuple={from}->{to}")]);
    let mut pair = [0i32; 2];
    call!(SYS_socketpair, libc::AF_UNIX, libc::SOCK_STREAM, 0, pair.as_mut_ptr());
    case("socketpair", &[format!("fd1={}", pair[0]), "domain=1(AF_UNIX)".into()]);
    let mut word = *b"message";
    let mut part = libc::iovec { iov_base: word.as_mut_ptr().cast(), iov_len: 7 };
    // SAFETY: all-zero is an empty header.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    (message.msg_iov, message.msg_iovlen) = (&raw mut part, 1);
    call!(SYS_sendmsg, pair[0], &raw const message, 0);
    case("sendmsg", &["data=message".into(), "size=7".into()]);
    call!(SYS_recvmsg, pair[1], &raw mut message, 0);
    case("recvmsg", &["size=7".into(), "data=message".into()]);
    cases
}

fn processes() -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    let mut case = |name, parts: &[&str]| cases.push((name, parts.iter().map(ToString::to_string).collect()));
    let uid_max = u32::MAX;
    call!(SYS_setresuid, uid_max, uid_max, uid_max);
    case("setresuid", &["res=0"]);
    call!(SYS_setuid, 0);
    case("setuid", &["uid=0(root)"]);
    call!(SYS_setgid, 0);
    case("setgid", &["gid=0(root)"]);
    call!(SYS_prctl, libc::PR_GET_DUMPABLE, 0, 0, 0, 0);
    case("prctl", &["option=3(PR_GET_DUMPABLE)"]);
    let name = text("calls-test");
    call!(SYS_prctl, libc::PR_SET_NAME, name.as_ptr(), 0, 0, 0);
    case("prctl", &["option=15(PR_SET_NAME) arg2_str=calls-test"]);
    call!(SYS_unshare, 0);
    case("unshare", &["res=0"]);
    call!(SYS_setns, 999, libc::CLONE_NEWNET);
    case("setns", &["nstype=1073741824(CLONE_NEWNET)", "EBADF"]);
    call!(SYS_ptrace, libc::PTRACE_ATTACH, 0x3fff_fff0, 0, 0);
    case("ptrace", &["request=16(PTRACE_ATTACH)", "ESRCH"]);
    call!(SYS_kill, process::id(), 0);
    case("kill", &["res=0", "sig=0"]);
    call!(SYS_tgkill, process::id(), 0x3fff_fff0, libc::SIGUSR1);
    case("tgkill", &["sig=10(SIGUSR1)"]);
    call!(SYS_bpf, 4095, 0, 0);
    case("bpf", &["cmd=4095"]);
    let pid_fd = call!(SYS_pidfd_open, process::id(), 0);
    assert!(pid_fd >= 0);
    case("pidfd_open", &["flags=0"]);
    let local = *b"secret";
    let mut copy = [0u8; 6];
    let from = libc::iovec { iov_base: local.as_ptr().cast_mut().cast(), iov_len: 6 };
    let to = libc::iovec { iov_base: copy.as_mut_ptr().cast(), iov_len: 6 };
    call!(SYS_process_vm_readv, process::id(), &raw const to, 1usize, &raw const from, 1usize, 0usize);
    case("process_vm_readv", &["res=6", "data=secret"]);
    call!(SYS_memfd_create, text("payload").as_ptr(), libc::MFD_CLOEXEC);
    case("memfd_create", &["name=payload", "MFD_CLOEXEC"]);
    call!(SYS_delete_module, text("no_such_module").as_ptr(), libc::O_NONBLOCK);
    case("delete_module", &["name=no_such_module", "O_NONBLOCK"]);
    call!(SYS_finit_module, 999, text("key=value").as_ptr(), 2);
    case("finit_module", &["uargs=key=value", "MODULE_INIT_IGNORE_VERMAGIC"]);
    call!(SYS_init_module, c"\x7fELF".as_ptr(), 4usize, text("key=value").as_ptr());
    case("init_module", &["length=4", "uargs=key=value"]);
    call!(SYS_userfaultfd, libc::O_CLOEXEC);
    case("userfaultfd", &["O_CLOEXEC"]);
    let mut pipe = [0i32; 2];
    call!(SYS_pipe2, pipe.as_mut_ptr(), libc::O_CLOEXEC);
    case("pipe2", &[&format!("fd1={}", pipe[0]), "O_CLOEXEC"]);
    call!(
        SYS_mount,
        text("source").as_ptr(),
        text("/nonexistent/place").as_ptr(),
        text("tmpfs").as_ptr(),
        libc::MS_RDONLY,
        0
    );
    case("mount", &["dev=source dir=/nonexistent/place type=tmpfs", "RDONLY"]);
    call!(SYS_umount2, text("/nonexistent/place").as_ptr(), libc::MNT_DETACH);
    case("umount2", &["name=/nonexistent/place", "DETACH"]);
    call!(SYS_chroot, text("/nonexistent/root").as_ptr());
    case("chroot", &["ENOENT", "path=/nonexistent/root"]);
    call!(SYS_capset, 0, 0);
    case("capset", &["cap_effective="]);
    call!(SYS_sched_setaffinity, 0, 0, 0);
    case("sched_setaffinity", &["ID="]);
    call!(SYS_clock_settime, 99, 0);
    case("clock_settime", &["ID="]);
    call!(SYS_pivot_root, 0, 0);
    case("pivot_root", &["ID="]);
    call!(SYS_io_uring_setup, 0, 0);
    case("io_uring_setup", &["entries=0"]);
    let limits = [0u64; 2];
    call!(SYS_getrlimit, libc::RLIMIT_NOFILE, limits.as_ptr());
    case("getrlimit", &["resource=7(RLIMIT_NOFILE)"]);
    // SAFETY: the child only exits.
    let child = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) };
    if child == 0 {
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(0) };
    }
    call!(SYS_wait4, child, 0, 0, 0);
    case("clone", &[&format!("res={child}")]);
    cases
}

#[test]
fn calls_arrive_with_their_parameters() {
    require_root!("calls_arrive_with_their_parameters");
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let dir = scratch.path().canonicalize().expect("it exists");
    let names = [
        "mkdir",
        "mkdirat",
        "rename",
        "renameat",
        "renameat2",
        "chmod",
        "fchmodat",
        "chown",
        "lchown",
        "fchownat",
        "fchmod",
        "fchown",
        "write",
        "pread",
        "writev",
        "lseek",
        "fcntl",
        "flock",
        "openat",
        "close",
        "mknod",
        "unlink",
        "unlinkat",
        "rmdir",
        "access",
        "bind",
        "listen",
        "accept4",
        "sendto",
        "recvfrom",
        "shutdown",
        "setsockopt",
        "socketpair",
        "sendmsg",
        "recvmsg",
        "setresuid",
        "setuid",
        "setgid",
        "prctl",
        "unshare",
        "setns",
        "ptrace",
        "kill",
        "tgkill",
        "bpf",
        "pidfd_open",
        "process_vm_readv",
        "memfd_create",
        "delete_module",
        "finit_module",
        "init_module",
        "userfaultfd",
        "pipe2",
        "mount",
        "umount2",
        "chroot",
        "capset",
        "sched_setaffinity",
        "clock_settime",
        "pivot_root",
        "io_uring_setup",
        "getrlimit",
        "clone",
    ];
    let agent = Agent::start(&rules(scratch.path(), &names));
    let cases: Vec<Case> = [files(&dir), network(), processes()].concat();
    let field = |alert: &Value, key: &str| {
        alert.pointer(&format!("/output_fields/{key}")).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let (last, _) = cases.last().expect("there are cases");
    agent.wait_for(last, |alert| field(alert, "evt.type") == *last);
    let seen: Vec<(String, String)> =
        agent.alerts().iter().map(|alert| (field(alert, "evt.type"), field(alert, "evt.args"))).collect();
    let mut missing = String::new();
    let made = |name: &str| cfg!(target_arch = "x86_64") || !OLD.contains(&name);
    for (name, parts) in cases.iter().filter(|(name, _)| made(name)) {
        let mut args = seen.iter().filter(|(event, _)| event == name).map(|(_, args)| args);
        if !args.clone().any(|args| parts.iter().all(|part| args.contains(part.as_str()))) {
            let _ = writeln!(missing, "{name} {parts:?}, seen {:?}", args.by_ref().collect::<Vec<_>>());
        }
    }
    assert!(missing.is_empty(), "{missing}");
    for name in names {
        assert!(cases.iter().any(|(case, _)| *case == name), "no case for {name}");
    }
    assert!(agent.stop().success());
}

/// A DNS message that gives `venue.example` an address.
fn answer(address: [u8; 4]) -> Vec<u8> {
    let mut message = b"\0\x07\x81\x80\0\x01\0\x01\0\0\0\0\x05venue\x07example\0\0\x01\0\x01".to_vec();
    message.extend_from_slice(b"\xc0\x0c\0\x01\0\x01\0\0\0\x1e\0\x04");
    message.extend_from_slice(&address);
    message
}

#[test]
fn a_connection_shows_the_name_that_was_resolved() {
    const NAME: &str = "a_connection_shows_the_name_that_was_resolved";
    require_root!(NAME);
    let Ok(server) = UdpSocket::bind("127.0.0.53:53") else {
        skip!(NAME, "a name server listens on 127.0.0.53 already");
    };
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let path = scratch.path().join("rules.yaml");
    let rules = "- rule: venue\n  desc: d\n  priority: INFO\n  output: 'to %fd.sip.name by %proc.name'\n  \
                 condition: evt.type = connect and fd.sip.name = \"venue.example\"\n";
    fs::write(&path, rules).expect("the rules are written");
    let agent = Agent::start(&path);
    let listener = TcpListener::bind("127.0.0.77:0").expect("a listener");
    let address = listener.local_addr().expect("bound");
    let nameless = TcpListener::bind("127.0.0.78:0").expect("a listener");
    // What a resolver does: it asks, and the answer comes from port 53.
    let resolver = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    server.send_to(&answer([127, 0, 0, 77]), resolver.local_addr().expect("bound")).expect("answered");
    resolver.recv_from(&mut [0; 512]).expect("received");
    let _nameless = TcpStream::connect(nameless.local_addr().expect("bound")).expect("connected");
    let _named = TcpStream::connect(address).expect("connected");
    let alert =
        agent.wait_for("the connection", |alert| alert.get("rule").is_some_and(|rule| rule == "venue"));
    assert_eq!(alert.pointer("/output_fields/fd.sip.name").and_then(Value::as_str), Some("venue.example"));
    assert_eq!(agent.alerts().len(), 1, "the other address has no name");
    assert!(agent.stop().success());
}
