//! Ctrl-C and termination, turned into something the waiting loops can ask about, so that nothing a command
//! started is left behind.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// Time between two looks of [`until`].
const LOOK: Duration = Duration::from_millis(20);

static SEEN: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// Takes the signals over. Children are not affected: a program starts with the default reactions.
pub(crate) fn install() -> Result<()> {
    let seen = SEEN.get_or_init(Arc::default);
    for signal in [SIGINT, SIGTERM] {
        flag::register(signal, Arc::clone(seen)).context("cannot take over a signal")?;
    }
    Ok(())
}

/// Whether the user asked to stop; stays true once it was.
pub(crate) fn pending() -> bool {
    SEEN.get().is_some_and(|seen| seen.load(Ordering::Relaxed))
}

/// Waits until something holds; complains after `patience`.
pub(crate) fn until(
    patience: Duration,
    complaint: &'static str,
    mut holds: impl FnMut() -> Result<bool>,
) -> Result<()> {
    let end = Instant::now() + patience;
    while !holds()? {
        if pending() {
            bail!("interrupted");
        }
        if Instant::now() >= end {
            bail!(complaint);
        }
        thread::sleep(LOOK);
    }
    Ok(())
}
