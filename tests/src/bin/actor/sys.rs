//! System calls that no crate wraps. The only unsafe code of the actor.

#![expect(clippy::print_stderr, reason = "standard error is the actor's log")]

use std::{
    fs::File,
    io,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::process::CommandExt,
    },
    process::Command,
};

use crate::{capability::Sets, script::DESCRIPTOR};

/// `prctl(PR_SET_SECUREBITS)`: root is an ordinary user, and changing the user changes no capabilities.
const NO_ROOT: libc::c_ulong = 1 | 1 << 2;
/// Version of the capability calls' structures with two words for each set.
const CAPABILITY_VERSION: u32 = 0x2008_0522;

/// Who a process is to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity {
    /// User and group.
    pub(crate) ids: Option<(u32, u32)>,
    /// What it may; `None` leaves that to the kernel's rules for root.
    pub(crate) capabilities: Option<Sets>,
}

/// One line on standard error.
pub(crate) fn complain(line: &str) {
    eprintln!("{line}");
}

/// Takes over an open descriptor.
pub(crate) fn adopt(descriptor: i32) -> File {
    // SAFETY: the caller found it open in `/proc/self/fd`, and nothing else in this program owns it.
    unsafe { File::from_raw_fd(descriptor) }
}

/// Any system call. Arguments that are addresses must point to memory that outlives the call.
pub(crate) fn call(number: i64, arguments: [i64; 6]) -> io::Result<i64> {
    let [first, second, third, fourth, fifth, sixth] = arguments;
    // SAFETY: the actor's purpose is to make the calls a case names; every pointer among the arguments comes from a
    // buffer the caller holds, and the calls that would end or duplicate this process are made elsewhere.
    let result = unsafe { libc::syscall(number, first, second, third, fourth, fifth, sixth) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Duplicates this process by a system call; the copy ends at once with status 0.
pub(crate) fn call_twice(number: i64, arguments: [i64; 6]) -> io::Result<i64> {
    let result = call(number, arguments)?;
    if result == 0 {
        // SAFETY: ends the copy without running anything of the original's.
        unsafe { libc::_exit(0) };
    }
    Ok(result)
}

/// A terminal: the end of who watches it, and the end of the programs.
pub(crate) fn terminal() -> io::Result<(OwnedFd, OwnedFd)> {
    let (mut other, mut end) = (-1, -1);
    let (name, settings, size) = (std::ptr::null_mut(), std::ptr::null(), std::ptr::null());
    // SAFETY: two places for descriptors; no name, settings or size are given.
    check(unsafe { libc::openpty(&raw mut other, &raw mut end, name, settings, size) })?;
    // SAFETY: just opened, and nobody else's.
    let other = unsafe { OwnedFd::from_raw_fd(other) };
    // SAFETY: as before.
    let end = unsafe { OwnedFd::from_raw_fd(end) };
    for one in [&other, &end] {
        // SAFETY: numbers only.
        check(unsafe { libc::fcntl(one.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) })?;
    }
    Ok((other, end))
}

/// Lets a program start with its script, with a terminal and as someone else.
pub(crate) fn prepare(command: &mut Command, script: Option<i32>, terminal: Option<i32>, identity: Identity) {
    let prepare = move || {
        if let Some(terminal) = terminal {
            // SAFETY: takes nothing.
            check(unsafe { libc::setsid() })?;
            // SAFETY: numbers only; the descriptor is one of a terminal.
            check(unsafe { libc::ioctl(terminal, libc::TIOCSCTTY, 0) })?;
        }
        if let Some(script) = script {
            // SAFETY: plain descriptor numbers; the copy does not close at exec.
            check(unsafe { libc::dup2(script, DESCRIPTOR) })?;
        }
        become_someone(identity)
    };
    // SAFETY: the closure makes system calls only; it neither allocates nor takes locks.
    unsafe { command.pre_exec(prepare) };
}

/// Gives up all but these capabilities.
pub(crate) fn limit(sets: Sets) -> io::Result<()> {
    let header = [CAPABILITY_VERSION, 0];
    let low = |set: u64| set as u32;
    let high = |set: u64| (set >> 32) as u32;
    let data = [
        low(sets.effective),
        low(sets.permitted),
        low(sets.inheritable),
        high(sets.effective),
        high(sets.permitted),
        high(sets.inheritable),
    ];
    // SAFETY: header and data have the layout of the version named in the header.
    let result = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), data.as_ptr()) };
    check(result as i32)
}

fn become_someone(identity: Identity) -> io::Result<()> {
    if identity.capabilities.is_some() {
        // SAFETY: numbers only.
        check(unsafe { libc::prctl(libc::PR_SET_SECUREBITS, NO_ROOT, 0, 0, 0) })?;
    }
    if let Some((user, group)) = identity.ids {
        // SAFETY: an empty list of groups.
        check(unsafe { libc::setgroups(0, std::ptr::null()) })?;
        // SAFETY: numbers only.
        check(unsafe { libc::setresgid(group, group, group) })?;
        // SAFETY: numbers only.
        check(unsafe { libc::setresuid(user, user, user) })?;
    }
    let Some(sets) = identity.capabilities else { return Ok(()) };
    // What a program is to start with has to be ambient, and for that inheritable.
    limit(Sets { effective: sets.permitted, inheritable: sets.permitted, permitted: sets.permitted })?;
    for number in (0..64_u64).filter(|number| sets.permitted >> number & 1 == 1) {
        // SAFETY: numbers only.
        check(unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE, number, 0, 0) })?;
    }
    Ok(())
}

fn check(result: i32) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
