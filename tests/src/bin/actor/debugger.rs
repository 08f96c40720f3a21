//! Makes another process make a system call by its registers, as a debugger does, and as one who brings code into it.

use anyhow::Result;

/// Lets the process `pid` make a call while it waits in one of its own, which it goes on with afterwards.
#[cfg(target_arch = "x86_64")]
pub(crate) fn call(pid: i64, number: i64, arguments: [i64; 6]) -> Result<i64> {
    use anyhow::{Context, bail};
    use nix::{
        sys::{
            ptrace,
            signal::Signal,
            wait::{WaitStatus, waitpid},
        },
        unistd::Pid,
    };

    /// The instruction that makes a call, `0f 05`, as the lower half of a word.
    const SYSCALL: i64 = 0x050f;
    const SYSCALL_LEN: u64 = 2;
    /// Number of no call: the one that was interrupted is not begun anew before its time.
    const NO_CALL: u64 = u64::MAX;

    let pid = Pid::from_raw(i32::try_from(pid).context("is no number of a process")?);
    let stopped = |by: Signal| -> Result<()> {
        match waitpid(pid, None).context("cannot wait for it")? {
            WaitStatus::Stopped(_, signal) if signal == by => Ok(()),
            other => bail!("it did not stop by {by}: {other:?}"),
        }
    };
    ptrace::attach(pid).context("cannot attach to it")?;
    stopped(Signal::SIGSTOP)?;
    let before = ptrace::getregs(pid).context("cannot read its registers")?;
    let at = before.rip.wrapping_sub(SYSCALL_LEN);
    let code = ptrace::read(pid, at as ptrace::AddressType).context("cannot read its code")?;
    if code & 0xffff != SYSCALL {
        bail!("it waits in no call");
    }
    let mut registers = before;
    (registers.rip, registers.rax, registers.orig_rax) = (at, number.cast_unsigned(), NO_CALL);
    let places = [
        &mut registers.rdi,
        &mut registers.rsi,
        &mut registers.rdx,
        &mut registers.r10,
        &mut registers.r8,
        &mut registers.r9,
    ];
    for (place, argument) in places.into_iter().zip(arguments) {
        *place = argument.cast_unsigned();
    }
    ptrace::setregs(pid, registers).context("cannot set its registers")?;
    ptrace::step(pid, None).context("cannot let it go on")?;
    stopped(Signal::SIGTRAP)?;
    let result = ptrace::getregs(pid).context("cannot read its registers")?.rax;
    ptrace::setregs(pid, before).context("cannot set its registers")?;
    ptrace::detach(pid, None).context("cannot let go of it")?;
    Ok(result.cast_signed())
}

/// Registers are only known of one kind of machine; cases say so by `run_if`.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn call(_pid: i64, _number: i64, _arguments: [i64; 6]) -> Result<i64> {
    anyhow::bail!("the registers of this kind of machine are not known here")
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use std::{fs, process::Command, thread, time::Duration};

    use super::*;

    #[test]
    fn another_process_makes_the_call_and_goes_on() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let waits = || {
            let call = fs::read_to_string(format!("/proc/{}/syscall", child.id())).unwrap_or_default();
            call.starts_with(&format!("{} ", libc::SYS_clock_nanosleep))
        };
        while !waits() {
            thread::sleep(Duration::from_millis(1));
        }
        let pid = i64::from(child.id());
        assert_eq!(call(pid, libc::SYS_getpid, [0; 6]).unwrap(), pid);
        assert_eq!(call(pid, libc::SYS_close, [-1, 0, 0, 0, 0, 0]).unwrap(), -i64::from(libc::EBADF));
        assert!(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
        let error = call(pid, libc::SYS_getpid, [0; 6]).unwrap_err();
        assert!(format!("{error:#}").contains("cannot attach"), "{error:#}");
    }
}
