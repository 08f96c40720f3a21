//! Harness of the tests that need real kernel hooks.
//!
//! How to write one: start with [`require_root!`], run one test at a time (`--test-threads=1`), let every
//! resource be owned by a guard of this crate so that a failing test leaves nothing attached, and wait for
//! conditions, never for time. A test that cannot run here prints why through [`skip!`] and is counted.

#![expect(clippy::missing_panics_doc, reason = "a panic is how a harness reports a failed test")]
#![expect(clippy::panic, clippy::expect_used, reason = "a panic is how a harness reports a failed test")]

pub mod agent;
pub mod collector;
pub mod courier;
pub mod cri;
pub mod image;
pub mod netns;
pub mod recorder;
pub mod runtime;
pub mod vault;

/// Ends the test, saying why it cannot run; the test runner counts the line.
#[macro_export]
macro_rules! skip {
    ($name:expr, $($reason:tt)*) => {{
        println!("SKIP: {}: {}", $name, format_args!($($reason)*));
        return;
    }};
}

/// Skips the test unless it runs as root.
#[macro_export]
macro_rules! require_root {
    ($name:expr) => {
        if !nix::unistd::geteuid().is_root() {
            $crate::skip!($name, "kernel hooks need root");
        }
    };
}
