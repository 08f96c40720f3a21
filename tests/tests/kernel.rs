//! The kernel half on the running kernel: facts, accounting, and what is left behind.

#![expect(unsafe_code, reason = "the tests make system calls that std does not wrap")]
#![expect(clippy::expect_used, reason = "a panic is how a test fails")]

use std::{
    ffi::CString,
    fs::{self, File},
    net::{TcpListener, TcpStream},
    os::{
        fd::AsRawFd,
        unix::fs::{MetadataExt, symlink},
    },
    path::Path,
    process::{Command, Stdio},
    thread,
};
#[cfg(target_arch = "aarch64")]
use std::{fs::Permissions, os::unix::fs::PermissionsExt};

use nix::sys::resource::{Resource, getrlimit};
use rampart_agent::event::syscall::by_event;
use rampart_common::event::{
    AttrTag, EXTRA_ARGV, EXTRA_SOCKADDR, EventKind, FILE_MEMFD, Family, RECORD_COMPAT32, SLOT_NO_BASE,
    SLOT_RETURN, SyscallPlan,
};
use rampart_rules::catalog::event_ids as ev;
use rampart_tests::{
    recorder::{Recorder, me, path, text},
    require_root,
};

const RING: u32 = 1 << 20;

fn family(family: Family) -> SyscallPlan {
    SyscallPlan { family: family as u8, ..SyscallPlan::default() }
}

fn nr(call: libc::c_long) -> u32 {
    u32::try_from(call).expect("system call numbers are small")
}

/// openat, as a plan.
fn openat() -> (u32, SyscallPlan) {
    (nr(libc::SYS_openat), SyscallPlan { path: 2, dir: 1, fd: SLOT_RETURN, ..family(Family::Open) })
}

#[test]
fn an_open_shows_the_given_and_the_real_path() {
    require_root!("an_open_shows_the_given_and_the_real_path");
    open_shows_both_paths(Recorder::start);
}

#[test]
fn without_typed_pointers_the_same_is_read() {
    require_root!("without_typed_pointers_the_same_is_read");
    open_shows_both_paths(Recorder::start_untyped);
}

fn open_shows_both_paths(start: fn(u32, u32, &[(u32, SyscallPlan)]) -> Recorder) {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let real = scratch.path().join("real");
    let link = scratch.path().join("link");
    fs::write(&real, "x").expect("the file is written");
    symlink(&real, &link).expect("the link is made");
    let recorder = start(RING, 0, &[openat()]);
    let dir = File::open(scratch.path()).expect("the directory opens");
    let name = CString::new("./../link").expect("no NUL");
    let inner = scratch.path().join("inner");
    fs::create_dir(&inner).expect("the directory is made");
    let inner_dir = File::open(&inner).expect("the directory opens");
    // SAFETY: a valid descriptor and a NUL-ended string.
    let fd = unsafe { libc::openat(inner_dir.as_raw_fd(), name.as_ptr(), libc::O_RDONLY) };
    assert!(fd >= 0);
    let meta = fs::metadata(&real).expect("the file is there");
    let canonical = real.canonicalize().expect("the file is there");
    recorder.wait_for("the open through the link", |event| {
        if event.header.task.pid != me() || text(event, AttrTag::UserPath)? != "./../link" {
            return None;
        }
        assert_eq!(event.header.ret, i64::from(fd));
        assert_eq!(path(event, AttrTag::RealPath).as_deref(), canonical.to_str());
        assert_eq!(path(event, AttrTag::BaseDir).as_deref(), inner.canonicalize().ok()?.to_str());
        let file = event.file()?;
        assert_eq!((file.ino, file.mode, file.uid), (meta.ino(), meta.mode(), meta.uid()));
        assert_eq!(file.mtime_ns, meta.mtime() as u64 * 1_000_000_000 + meta.mtime_nsec() as u64);
        Some(())
    });
    // SAFETY: opened above.
    unsafe { libc::close(fd) };
    drop(dir);
}

#[test]
fn a_failed_open_keeps_path_and_errno() {
    require_root!("a_failed_open_keeps_path_and_errno");
    let recorder = Recorder::start(RING, 0, &[openat()]);
    let missing = "/nonexistent/rampart-test-\u{1}\"hostile\n";
    assert!(File::open(missing).is_err());
    recorder.wait_for("the failed open", |event| {
        (text(event, AttrTag::UserPath)? == missing).then(|| {
            assert_eq!(event.header.ret, -i64::from(libc::ENOENT));
            assert!(event.file().is_none());
        })
    });
}

#[test]
fn task_facts_match_proc() {
    require_root!("task_facts_match_proc");
    let recorder = Recorder::start(RING, 0, &[openat()]);
    File::open("/dev/null").expect("it opens");
    let stat = fs::read_to_string("/proc/self/stat").expect("stat");
    let fields: Vec<&str> = stat.rsplit_once(')').expect("a name").1.split_whitespace().collect();
    let number = |index: usize| fields[index - 3].parse::<i64>().expect("a number");
    recorder.wait_for("an own open", |event| {
        let task = event.header.task;
        (task.pid == me()).then(|| {
            assert_eq!(i64::from(task.ppid), number(4));
            assert_eq!(i64::from(task.pgid), number(5));
            assert_eq!(i64::from(task.sid), number(6));
            assert_eq!(i64::from(task.tty), number(7));
            assert_eq!(event.process().start_ticks as i64, number(22));
            assert_eq!(u64::from(task.pid_ns), fs::metadata("/proc/self/ns/pid").expect("ns").ino());
            assert_eq!(u64::from(task.mnt_ns), fs::metadata("/proc/self/ns/mnt").expect("ns").ino());
            assert_eq!(u64::from(task.net_ns), fs::metadata("/proc/self/ns/net").expect("ns").ino());
            let status = fs::read_to_string("/proc/self/status").expect("status");
            let caps = status.lines().find_map(|line| line.strip_prefix("CapEff:\t")).expect("CapEff");
            assert_eq!(task.cap_effective, u64::from_str_radix(caps, 16).expect("hex"));
            let loginuid = fs::read_to_string("/proc/self/loginuid").unwrap_or_default();
            assert_eq!(task.loginuid, loginuid.trim().parse().unwrap_or(u32::MAX));
        })
    });
}

#[test]
fn fork_exec_and_exit_follow_each_other() {
    require_root!("fork_exec_and_exit_follow_each_other");
    let recorder = Recorder::start(RING, 0, &[]);
    let mut child = Command::new("/bin/sh")
        .args(["-c", "exit 7", "rampart-marker"])
        .env_clear()
        .env("MARK", "yes")
        .current_dir("/usr")
        .spawn()
        .expect("sh starts");
    let pid = child.id();
    assert_eq!(child.wait().expect("sh ends").code(), Some(7));
    let started = recorder.wait_for("the fork", |event| {
        (event.kind == EventKind::Fork && event.header.task.pid == pid).then(|| {
            assert_eq!(event.header.task.ppid, me());
            event.process()
        })
    });
    recorder.wait_for("the exec", |event| {
        (event.kind == EventKind::Exec && event.header.task.pid == pid).then(|| {
            assert_eq!(event.process(), started);
            assert_eq!(text(event, AttrTag::Argv).as_deref(), Some("/bin/sh\0-c\0exit 7\0rampart-marker\0"));
            assert_eq!(text(event, AttrTag::Envp).as_deref(), Some("MARK=yes\0"));
            assert_eq!(text(event, AttrTag::ExecName).as_deref(), Some("/bin/sh"));
            assert_eq!(path(event, AttrTag::Cwd).as_deref(), Some("/usr"));
            let exe = fs::canonicalize("/bin/sh").expect("sh is there");
            assert_eq!(path(event, AttrTag::ExePath).as_deref(), exe.to_str());
            assert_eq!(event.comm(), b"sh");
            let usage = event.usage().expect("what it uses");
            let (limit, _) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
            assert_eq!(usage.fd_limit, limit, "inherited");
            // A program and its stack, both of them small; and it has touched some of that.
            assert!((16..1 << 16).contains(&usage.virtual_pages), "{usage:?}");
            assert!((1..10_000).contains(&usage.minor_faults), "{usage:?}");
            assert!(usage.resident_pages <= usage.virtual_pages && usage.major_faults < 1_000, "{usage:?}");
        })
    });
    recorder.wait_for("the exit", |event| {
        (event.kind == EventKind::Exit && event.header.task.pid == pid).then(|| {
            assert_eq!(event.header.ret, 7 << 8);
        })
    });
}

#[test]
fn a_failed_exec_shows_its_arguments() {
    require_root!("a_failed_exec_shows_its_arguments");
    let plan = SyscallPlan { path: 1, extra: 2, extra_kind: EXTRA_ARGV, ..family(Family::Exec) };
    let recorder = Recorder::start(RING, 0, &[(nr(libc::SYS_execve), plan)]);
    assert!(Command::new("/nonexistent/tool").arg("--flag").spawn().is_err());
    recorder.wait_for("the failed exec", |event| {
        (text(event, AttrTag::UserPath)? == "/nonexistent/tool").then(|| {
            assert_eq!(event.header.ret, -i64::from(libc::ENOENT));
            assert_eq!(text(event, AttrTag::Argv).as_deref(), Some("/nonexistent/tool\0--flag\0"));
        })
    });
}

#[test]
fn memory_only_executables_are_marked() {
    require_root!("memory_only_executables_are_marked");
    let recorder = Recorder::start(RING, 0, &[]);
    let name = CString::new("rampart").expect("no NUL");
    // SAFETY: a NUL-ended name.
    let fd = unsafe { libc::memfd_create(name.as_ptr(), 0) };
    assert!(fd >= 0);
    let target = format!("/proc/self/fd/{fd}");
    fs::write(&target, fs::read("/bin/true").expect("true is there")).expect("the memfd takes it");
    assert!(Command::new(&target).status().expect("it runs").success());
    recorder.wait_for("the exec of the memfd", |event| {
        (event.kind == EventKind::Exec && event.header.task.ppid == me()).then(|| {
            let file = event.file().expect("file facts");
            assert_eq!(file.flags & FILE_MEMFD, FILE_MEMFD);
            assert_eq!(path(event, AttrTag::ExePath).as_deref(), Some("memfd:rampart"));
        })
    });
    // SAFETY: made above.
    unsafe { libc::close(fd) };
}

#[test]
fn sockets_show_both_ends() {
    require_root!("sockets_show_both_ends");
    let plan = SyscallPlan { fd: 1, extra: 2, extra_kind: EXTRA_SOCKADDR, ..family(Family::Net) };
    let recorder = Recorder::start(RING, 0, &[(nr(libc::SYS_connect), plan)]);
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let Ok(listener) = TcpListener::bind(address) else { continue };
        let server = listener.local_addr().expect("bound");
        let client = TcpStream::connect(server).expect("it connects");
        let local = client.local_addr().expect("connected");
        recorder.wait_for(address, |event| {
            let socket = event.socket()?;
            (event.header.task.pid == me() && socket.remote_port == server.port()).then(|| {
                assert_eq!((socket.local_port, socket.kind, socket.protocol), (local.port(), 1, 6));
                let sent = event.attr(AttrTag::SockAddr).expect("the given address").bytes;
                assert_eq!(sent.get(2..4), Some(server.port().to_be_bytes().as_slice()));
            })
        });
    }
}

#[test]
fn two_paths_are_kept_apart() {
    require_root!("two_paths_are_kept_apart");
    let plan = SyscallPlan { path: 1, dir: SLOT_NO_BASE, path2: 3, dir2: 2, ..family(Family::Path) };
    // The C library makes the old call where there is one.
    let old = SyscallPlan { path: 1, dir: SLOT_NO_BASE, path2: 2, ..family(Family::Path) };
    let symlink_number = by_event(ev::SYMLINK).and_then(|row| row.number).expect("a call that is followed");
    let calls = [(nr(libc::SYS_symlinkat), plan), (symlink_number, old)];
    let recorder = Recorder::start(RING, 0, &calls);
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let link = scratch.path().join("link");
    symlink("etc/../target", &link).expect("the link is made");
    recorder.wait_for("the symlink", |event| {
        (text(event, AttrTag::UserPath2).as_deref() == link.to_str()).then(|| {
            assert_eq!(text(event, AttrTag::UserPath).as_deref(), Some("etc/../target"));
            assert!(event.attr(AttrTag::BaseDir).is_none());
        })
    });
}

#[cfg(target_arch = "x86_64")]
#[test]
fn the_32_bit_entry_hides_nothing() {
    require_root!("the_32_bit_entry_hides_nothing");
    let open = SyscallPlan { path: 1, fd: SLOT_RETURN, ..family(Family::Open) };
    let recorder = Recorder::start(RING, 0, &[(nr(libc::SYS_open), open)]);
    // The 32-bit entry takes 32-bit pointers: put the name low in the address space.
    // SAFETY: a fresh anonymous mapping.
    let page = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            4096,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT,
            -1,
            0,
        )
    };
    assert_ne!(page, libc::MAP_FAILED);
    let name = b"/etc/hostname\0";
    // SAFETY: the mapping is larger than the name.
    unsafe { std::ptr::copy_nonoverlapping(name.as_ptr(), page.cast::<u8>(), name.len()) };
    let mut result: i64 = 5;
    // SAFETY: i386 `open(name, O_RDONLY)`; rbx is saved by hand because the compiler reserves it.
    unsafe {
        std::arch::asm!(
            "xchg {name}, rbx",
            "int 0x80",
            "xchg {name}, rbx",
            name = inout(reg) page as u64 => _,
            inout("rax") result,
            in("rcx") 0u64,
            in("rdx") 0u64,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    if result == -i64::from(libc::ENOSYS) {
        rampart_tests::skip!("the_32_bit_entry_hides_nothing", "this kernel has no 32-bit entry");
    }
    recorder.wait_for("the 32-bit open", |event| {
        (event.header.flags & RECORD_COMPAT32 != 0 && event.header.task.pid == me()).then(|| {
            assert_eq!(event.header.syscall, nr(libc::SYS_open));
            assert_eq!(text(event, AttrTag::UserPath).as_deref(), Some("/etc/hostname"));
            assert_eq!(path(event, AttrTag::RealPath).as_deref(), Some("/etc/hostname"));
        })
    });
    // SAFETY: opened above.
    unsafe { libc::close(i32::try_from(result).expect("a descriptor")) };
    // SAFETY: mapped above.
    unsafe { libc::munmap(page, 4096) };
}

/// Only 32-bit programs have `open` there, and its number is that of `setxattr` to others.
#[cfg(target_arch = "aarch64")]
#[test]
fn a_32_bit_program_hides_nothing() {
    require_root!("a_32_bit_program_hides_nothing");
    let number = by_event(ev::OPEN).and_then(|row| row.number).expect("a call that is followed");
    let open = SyscallPlan { path: 1, fd: SLOT_RETURN, ..family(Family::Open) };
    let other = SyscallPlan { path: 1, ..family(Family::Path) };
    let recorder = Recorder::start(RING, 0, &[(number, open), (nr(libc::SYS_setxattr), other)]);
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let program = scratch.path().join("program");
    fs::write(&program, small_program()).expect("the program is written");
    fs::set_permissions(&program, Permissions::from_mode(0o755)).expect("it becomes a program");
    match Command::new(&program).status() {
        Ok(status) => assert!(status.success(), "{status}"),
        Err(reason) => rampart_tests::skip!("a_32_bit_program_hides_nothing", "no 32-bit programs: {reason}"),
    }
    recorder.wait_for("the 32-bit open", |event| {
        (text(event, AttrTag::UserPath).as_deref() == Some("/etc/hostname")).then(|| {
            assert_eq!(event.header.syscall, number);
            assert!(event.header.flags & RECORD_COMPAT32 != 0);
            assert_eq!(path(event, AttrTag::RealPath).as_deref(), Some("/etc/hostname"));
        })
    });
}

/// A 32-bit program for Arm: `open("/etc/hostname", O_RDONLY)`, `exit(0)`.
#[cfg(target_arch = "aarch64")]
fn small_program() -> Vec<u8> {
    const BASE: u32 = 0x1_0000;
    const HEADERS: u32 = 52 + 32;
    let code: [u32; 7] = [
        0xe28f_0014, // add r0, pc, #20: the name
        0xe3a0_1000, // mov r1, #0
        0xe3a0_7005, // mov r7, #5: open
        0xef00_0000, // svc #0
        0xe3a0_0000, // mov r0, #0
        0xe3a0_7001, // mov r7, #1: exit
        0xef00_0000, // svc #0
    ];
    let name = b"/etc/hostname\0";
    let length = HEADERS + 4 * 7 + name.len() as u32;
    // ELF, 32 bits, little-endian; an executable for Arm with one program header; EABI 5.
    let mut file = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x28\0".to_vec();
    let words = [1, BASE + HEADERS, 52, 0, 0x0500_0000, 52 | 32 << 16, 1 | 40 << 16, 0];
    // All of the file is loaded, to be read and executed.
    let segment = [1, 0, BASE, BASE, length, length, 5, 0x1_0000];
    for word in words.into_iter().chain(segment).chain(code) {
        file.extend_from_slice(&word.to_le_bytes());
    }
    file.extend_from_slice(name);
    file
}

#[test]
fn own_events_are_filtered_and_counted() {
    require_root!("own_events_are_filtered_and_counted");
    let mut recorder = Recorder::start(RING, me(), &[openat()]);
    for _ in 0..100 {
        File::open("/dev/null").expect("it opens");
    }
    recorder.settle();
    recorder.each(|event| assert_ne!(event.header.task.pid, me()));
    let counters = recorder.kernel().counters().expect("counters");
    let (_, open) = counters.iter().find(|(family, _)| *family == Family::Open).expect("the family");
    assert!(open.filtered >= 100, "{open:?}");
}

#[test]
fn overload_loses_nothing_unexplained() {
    require_root!("overload_loses_nothing_unexplained");
    // The smallest ring, so that it overflows on any machine.
    let mut recorder = Recorder::start(1 << 16, 0, &[openat()]);
    let workers: Vec<_> = (0..2)
        .map(|_| {
            thread::spawn(|| {
                for _ in 0..150_000 {
                    drop(File::open("/dev/null"));
                }
            })
        })
        .collect();
    for worker in workers {
        worker.join().expect("the load ends");
    }
    recorder.settle();
    let counters = recorder.kernel().counters().expect("counters");
    let sequences = recorder.kernel().sequences().expect("sequences");
    let mut got = vec![0u64; sequences.len()];
    let mut by_family = std::collections::HashMap::new();
    recorder.each(|event| {
        got[event.header.cpu as usize] += 1;
        *by_family.entry(event.family).or_insert(0u64) += 1;
    });
    let mut full = 0;
    for (name, sum) in &counters {
        assert_eq!(sum.unexplained(), 0, "{name:?} {sum:?}");
        assert_eq!(sum.emitted, by_family.get(name).copied().unwrap_or(0), "{name:?} {sum:?}");
        full += sum.ring_full;
    }
    // Every gap in the sequence numbers is a record the ring had no room for.
    let missing: u64 = sequences.iter().zip(&got).map(|(next, got)| next - got).sum();
    assert_eq!(missing, full);
    assert!(full > 0, "the load did not overflow the ring: {counters:?}");
}

#[test]
fn nothing_stays_attached() {
    require_root!("nothing_stays_attached");
    let ours = || {
        let fds = fs::read_dir("/proc/self/fdinfo").expect("fdinfo");
        fds.filter_map(|entry| fs::read_to_string(entry.ok()?.path()).ok())
            .filter(|info| info.contains("prog_id:") || info.contains("map_id:") || info.contains("link_id:"))
            .count()
    };
    let before = ours();
    let recorder = Recorder::start(RING, 0, &[openat()]);
    assert!(ours() > before);
    drop(recorder);
    assert_eq!(ours(), before);
    assert!(!Path::new("/sys/fs/bpf/rampart").exists());
    let quiet = Command::new("true").stdin(Stdio::null()).status().expect("true runs");
    assert!(quiet.success());
}
