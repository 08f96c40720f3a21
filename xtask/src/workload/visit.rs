//! Clients that come and go: which of their connections failed, and when.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Args;
use nix::time::{ClockId, clock_gettime};

use crate::console;

/// Between two visits of a client.
const REST: Duration = Duration::from_millis(1);

/// Who visits what, and how long.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Where the service is.
    address: SocketAddr,
    /// Clients at a time.
    #[arg(long)]
    clients: usize,
    /// How long they come.
    #[arg(long)]
    millis: u64,
    /// A client that waits longer gives up.
    #[arg(long)]
    limit_millis: u64,
}

/// What a visit came to grief over.
enum Fault {
    Connect,
    Answer,
}

/// A visit that failed, by the monotonic clock.
struct Failure {
    begun_ns: u64,
    ended_ns: u64,
    fault: Fault,
}

impl Options {
    /// Says how many visits there were, and of each that failed when it began and ended and over what.
    pub(super) fn run(&self) -> Result<()> {
        let end = Instant::now() + Duration::from_millis(self.millis);
        let limit = Duration::from_millis(self.limit_millis);
        let logs = thread::scope(|scope| {
            let clients: Vec<_> =
                (0..self.clients).map(|_| scope.spawn(|| client(self.address, end, limit))).collect();
            clients.into_iter().map(thread::ScopedJoinHandle::join).collect::<Vec<_>>()
        });
        let (mut visits, mut failures) = (0, Vec::new());
        for log in logs {
            let Ok(log) = log else { bail!("a client came to an end") };
            let (count, failed) = log?;
            visits += count;
            failures.extend(failed);
        }
        console::say(visits.to_string());
        for Failure { begun_ns, ended_ns, fault } in failures {
            let fault = match fault {
                Fault::Connect => "connect",
                Fault::Answer => "answer",
            };
            console::say(format!("{begun_ns} {ended_ns} {fault}"));
        }
        Ok(())
    }
}

fn client(address: SocketAddr, end: Instant, limit: Duration) -> Result<(usize, Vec<Failure>)> {
    let (mut visits, mut failures) = (0, Vec::new());
    while Instant::now() < end {
        visits += 1;
        let begun_ns = monotonic_ns()?;
        if let Err(fault) = visit(address, limit) {
            failures.push(Failure { begun_ns, ended_ns: monotonic_ns()?, fault });
        }
        thread::sleep(REST);
    }
    Ok((visits, failures))
}

fn visit(address: SocketAddr, limit: Duration) -> Result<(), Fault> {
    let mut stream = TcpStream::connect_timeout(&address, limit).map_err(|_| Fault::Connect)?;
    let mut byte = [7; 1];
    let talk = stream
        .set_read_timeout(Some(limit))
        .and_then(|()| stream.write_all(&byte))
        .and_then(|()| stream.read_exact(&mut byte));
    talk.map_err(|_| Fault::Answer)
}

/// The monotonic clock, which is the same for all processes.
pub(crate) fn monotonic_ns() -> Result<u64> {
    let now: Duration = clock_gettime(ClockId::CLOCK_MONOTONIC)?.into();
    Ok(u64::try_from(now.as_nanos())?)
}
