//! Stores and the bus as several collectors share them, on real servers that each run starts and ends.
//!
//! Without `postgres` or `redis-server` on the machine, what needs them is skipped and counted.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test fails")]
#![expect(clippy::indexing_slicing, reason = "a panic is how a test fails")]

mod agent;
mod bus;
mod conformance;
mod database;
mod identities;
mod logins;
mod replicas;
mod rollouts;
mod servers;
mod sink;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rampart_collector::alert::{Alert, Id, Priority};

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_mins(3);

/// An alert of a start of an agent.
fn alert(boot: u8, sequence: u64, priority: Priority, rule: &str) -> Alert {
    let json = format!(
        r#"{{"output":"{boot}-{sequence}","priority":"{priority}","rule":"{rule}","sequence":{sequence}}}"#
    );
    Alert {
        id: Id { boot: [boot; 16], cpu: 0, sequence },
        time_ns: 1_700_000_000_000_000_000 + sequence,
        priority,
        rule: rule.to_owned(),
        source: "syscall".to_owned(),
        json,
    }
}

/// Waits until something holds.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < PATIENCE, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Nobody is told.
fn nobody(_: &str, _: &Alert) -> Vec<Arc<str>> {
    Vec::new()
}

/// A test that cannot run here says why, which is counted.
macro_rules! server_or_skip {
    ($server:expr, $name:literal) => {
        match $server {
            Ok(server) => server,
            Err(reason) => {
                println!("SKIP: {}: {reason}", $name);
                return;
            }
        }
    };
}
pub(crate) use server_or_skip;
