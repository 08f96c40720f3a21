//! What the node says: how busy it is, the time.

use std::{
    fs,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use crate::{
    engine::clock::boot_now_ns,
    limits::{entries::Now, load::Reading},
};

/// Counters of how busy it is.
pub(super) fn reading() -> Reading {
    Reading::of(&text("/proc/pressure/cpu"), &text("/proc/stat"), &text("/proc/net/softnet_stat"))
}

/// The id of this boot; empty when the kernel does not tell.
pub(in crate::app) fn boot_id() -> String {
    text("/proc/sys/kernel/random/boot_id").trim().to_owned()
}

/// Both clocks.
pub(in crate::app) fn now() -> Now {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Now { wall_secs: wall.as_secs(), boot_ns: boot_now_ns() }
}

fn text(path: &str) -> String {
    fs::read_to_string(Path::new(path)).unwrap_or_default()
}
