use rampart_agent::{event::{decode, AttrTag, Lossy}, kernel::{Kernel, KernelConfig}};
use rampart_common::event::*;
use std::time::{Duration, Instant};
fn main() {
    let mut k = match Kernel::load(&KernelConfig { ring_bytes: 8 << 20, own_pid: std::process::id() }) {
        Ok(k) => k,
        Err(e) => { if let Some(l) = e.verifier_log() { let n = l.len(); println!("{}", &l[n.saturating_sub(6000)..]); } println!("{e:?}"); std::process::exit(1) }
    };
    let p = |f: Family| SyscallPlan { family: f as u8, ..Default::default() };
    let w = [
        (libc::SYS_open as u32, SyscallPlan { path: 1, fd: SLOT_RETURN, ..p(Family::Open) }),
        (libc::SYS_openat as u32, SyscallPlan { path: 2, dir: 1, fd: SLOT_RETURN, ..p(Family::Open) }),
        (libc::SYS_connect as u32, SyscallPlan { fd: 1, extra: 2, extra_kind: EXTRA_SOCKADDR, ..p(Family::Net) }),
        (libc::SYS_sendto as u32, SyscallPlan { fd: 1, extra: 5, extra_kind: EXTRA_SOCKADDR, ..p(Family::Net) }),
        (libc::SYS_socket as u32, SyscallPlan { fd: SLOT_RETURN, ..p(Family::Net) }),
        (libc::SYS_symlink as u32, SyscallPlan { path: 1, dir: SLOT_NO_BASE, path2: 2, ..p(Family::Path) }),
        (libc::SYS_symlinkat as u32, SyscallPlan { path: 1, dir: SLOT_NO_BASE, path2: 3, dir2: 2, ..p(Family::Path) }),
        (libc::SYS_execve as u32, SyscallPlan { path: 1, extra: 2, extra_kind: EXTRA_ARGV, ..p(Family::Exec) }),
        (libc::SYS_dup2 as u32, SyscallPlan { fd: 1, ..p(Family::Fd) }),
    ];
    k.set_wanted(&w).unwrap();
    let mut r = k.reader().unwrap();
    k.attach().unwrap();
    eprintln!("attached");
    let secs: u64 = std::env::args().nth(1).map_or(3, |s| s.parse().unwrap());
    let quiet = std::env::args().nth(2).is_some();
    let t = Instant::now();
    let mut n = 0u64; let mut bytes = 0u64;
    while t.elapsed() < Duration::from_secs(secs) {
        r.wait(Duration::from_millis(100)).unwrap();
        r.drain(&mut |rec| {
            n += 1; bytes += rec.len() as u64;
            let e = decode::decode(rec).unwrap();
            if quiet { return }
            let path = |t| { let mut v = vec![]; e.path_into(t, &mut v).then(|| String::from_utf8_lossy(&v).into_owned()) };
            let text = |t| e.attr(t).map(|a| String::from_utf8_lossy(a.bytes).replace('\0', " "));
            let h = &e.header;
            println!("{:?}/{} nr={} ret={} seq={} {} pid={} ppid={} vpid={} uid={} lu={} tty={:x} sid={} pgid={} up={:?} base={:?} real={:?} up2={:?} argv={:?} exe={:?} cwd={:?} cg={:?} file={:?} sock={:?} len={}", e.kind, e.family.name(), h.syscall as i32, h.ret, h.seq, Lossy(e.comm()), h.task.pid, h.task.ppid, h.task.vpid, h.task.euid, h.task.loginuid as i32, h.task.tty, h.task.sid, h.task.pgid,
              text(AttrTag::UserPath), path(AttrTag::BaseDir), path(AttrTag::RealPath), text(AttrTag::UserPath2), text(AttrTag::Argv), path(AttrTag::ExePath), path(AttrTag::Cwd), path(AttrTag::Cgroup), e.file().map(|f| (f.ino, f.mode, f.flags)), e.socket().map(|s| (s.family, s.kind, s.protocol, s.state, s.local_port, s.remote_port, s.remote[..4].to_vec())), rec.len());
        }).unwrap();
    }
    eprintln!("{n} records, {bytes} bytes");
    for (f, c) in k.counters().unwrap() { eprintln!("{} {:?} unexplained {}", f.name(), c, c.unexplained()); }
}
