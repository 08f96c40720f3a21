//! Ctrl-C and termination, turned into something the waiting loops can ask about.
//!
//! Both signals stay blocked in this process, so that nothing a command started is left behind; children start
//! with them unblocked and react by themselves.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

static QUEUE: OnceLock<SignalFd> = OnceLock::new();
static SEEN: AtomicBool = AtomicBool::new(false);

/// Takes the signals over; called before any thread starts, since the mask is inherited.
pub(crate) fn install() -> Result<()> {
    let signals = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM]);
    signals.thread_block().context("cannot block signals")?;
    let queue = SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
        .context("cannot receive signals")?;
    if QUEUE.set(queue).is_err() {
        bail!("signals are already taken over");
    }
    Ok(())
}

/// Whether the user asked to stop; stays true once it was.
pub(crate) fn pending() -> bool {
    if let Some(Ok(Some(_))) = QUEUE.get().map(SignalFd::read_signal) {
        SEEN.store(true, Ordering::Relaxed);
    }
    SEEN.load(Ordering::Relaxed)
}
