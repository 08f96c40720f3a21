//! Connections by the thousand, each ended at once: what `connect()` takes, and what a refusal costs.

use std::net::SocketAddrV4;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use nix::errno::Errno;
use nix::libc::linger;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, connect, setsockopt, socket, sockopt};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

use crate::console;

/// Part of the connections that is made before, unmeasured.
const WARM_PART: usize = 10;

/// Where to connect to, and how often.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Several take turns.
    #[arg(required = true)]
    addresses: Vec<SocketAddrV4>,
    /// Connections to each.
    #[arg(long)]
    count: usize,
    /// Core to stay on.
    #[arg(long)]
    cpu: usize,
}

/// What became of the connections to one address.
#[derive(Default)]
struct Log {
    refused: usize,
    times: Vec<Duration>,
}

impl Options {
    pub(super) fn run(&self) -> Result<()> {
        let mut cpus = CpuSet::new();
        cpus.set(self.cpu)?;
        sched_setaffinity(Pid::from_raw(0), &cpus).context("cannot stay on a core")?;
        for _ in 0..self.count.div_ceil(WARM_PART) {
            for address in &self.addresses {
                attempt(*address)?;
            }
        }
        let mut logs: Vec<Log> = self.addresses.iter().map(|_| Log::default()).collect();
        let before = worked()?;
        for _ in 0..self.count {
            for (address, log) in self.addresses.iter().zip(&mut logs) {
                let (stands, took) = attempt(*address)?;
                log.refused += usize::from(!stands);
                log.times.push(took);
            }
        }
        let cpu = worked()?.saturating_sub(before);
        let attempts = u32::try_from(self.count * self.addresses.len())?.max(1);
        console::say((cpu / attempts).as_nanos().to_string());
        for log in &mut logs {
            log.times.sort_unstable();
            let median = log.times.get(log.times.len() / 2).copied().unwrap_or_default();
            console::say(format!("{} {} {}", log.times.len(), log.refused, median.as_nanos()));
        }
        Ok(())
    }
}

/// One connection, ended by a reset so that it leaves nothing behind; whether it stood, and how long the call took.
fn attempt(to: SocketAddrV4) -> Result<(bool, Duration)> {
    let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)
        .context("cannot make a socket")?;
    let address = SockaddrIn::from(to);
    let begun = Instant::now();
    let done = connect(socket.as_raw_fd(), &address);
    let took = begun.elapsed();
    match done {
        Ok(()) => {
            setsockopt(&socket, sockopt::Linger, &linger { l_onoff: 1, l_linger: 0 })?;
            Ok((true, took))
        }
        Err(Errno::ECONNREFUSED) => Ok((false, took)),
        Err(error) => bail!("cannot connect to {to}: {error}"),
    }
}

/// CPU time of this thread.
fn worked() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}
