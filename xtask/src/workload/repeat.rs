//! One operation over and over, on one core, timed: what the benches measure an agent's cost by.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use nix::fcntl::{OFlag, open};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::socket::{setsockopt, sockopt::Linger};
use nix::sys::stat::Mode;
use nix::sys::time::TimeValLike;
use nix::time::{ClockId, clock_gettime};
use nix::unistd::{Pid, getppid};

use crate::console;

/// Operations between two looks at the clock.
const BATCH: u32 = 256;
/// Batches a second of a loop that holds a rate: often enough that it is even, seldom enough that it sleeps.
const BATCHES_PER_S: u32 = 1000;

/// What a loop does over and over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Loop {
    /// A system call that no rule asks about.
    Getppid,
    /// Open and close a file.
    Open,
    /// Start a small program and wait for its end.
    Exec,
    /// Connect to a listener of its own over loopback and close.
    Connect,
}

/// Which loop, where and how long.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// What to do.
    kind: Loop,
    /// Core to stay on.
    #[arg(long)]
    cpu: usize,
    /// How long it is timed.
    #[arg(long)]
    millis: u64,
    /// How long it is done before, untimed: what watches learns a new process first.
    #[arg(long, default_value_t = 0)]
    warm_millis: u64,
    /// Operations per second; as many as the core can do when 0.
    #[arg(long, default_value_t = 0)]
    rate: u32,
    /// File to open.
    #[arg(long)]
    file: PathBuf,
}

impl Loop {
    /// Its name on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Getppid => "getppid",
            Self::Open => "open",
            Self::Exec => "exec",
            Self::Connect => "connect",
        }
    }

    /// Operations between two looks at the clock: where one takes long, the clock does not matter.
    fn batch(self, rate: u32) -> u32 {
        match self {
            Self::Exec => 1,
            _ if rate > 0 => (rate / BATCHES_PER_S).max(1),
            Self::Connect => 8,
            Self::Getppid | Self::Open => BATCH,
        }
    }
}

impl Options {
    /// Does it, and says how many nanoseconds one took and how many there were.
    pub(super) fn run(&self) -> Result<()> {
        let mut cpus = CpuSet::new();
        cpus.set(self.cpu).context("there is no such core")?;
        sched_setaffinity(Pid::from_raw(0), &cpus).context("cannot stay on one core")?;
        let server = if self.kind == Loop::Connect { Some(listen()?) } else { None };
        self.repeat(Duration::from_millis(self.warm_millis), server)?;
        let before = cpu_time(self.kind)?;
        let count = self.repeat(Duration::from_millis(self.millis), server)?;
        let spent = cpu_time(self.kind)?.saturating_sub(before);
        console::say(format!("{} {count}", spent.as_secs_f64() * 1e9 / f64::from(count.max(1))));
        Ok(())
    }

    fn repeat(&self, length: Duration, server: Option<SocketAddr>) -> Result<u32> {
        let batch = self.kind.batch(self.rate);
        let started = Instant::now();
        let mut count = 0_u32;
        while started.elapsed() < length {
            for _ in 0..batch {
                once(self.kind, &self.file, server)?;
            }
            count = count.saturating_add(batch);
            if self.rate > 0 {
                let due = Duration::from_secs_f64(f64::from(count) / f64::from(self.rate));
                thread::sleep(due.saturating_sub(started.elapsed()));
            }
        }
        Ok(count)
    }
}

fn once(kind: Loop, file: &Path, server: Option<SocketAddr>) -> Result<()> {
    match kind {
        Loop::Getppid => {
            getppid();
        }
        // Dropping the descriptor closes it.
        Loop::Open => drop(open(file, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?),
        Loop::Exec => {
            Command::new("/bin/true").status().context("cannot run `/bin/true`")?;
        }
        Loop::Connect => {
            let stream = TcpStream::connect(server.context("nobody listens")?)?;
            // Reset at the close: no port waits, so their number is no limit.
            setsockopt(&stream, Linger, &nix::libc::linger { l_onoff: 1, l_linger: 0 })?;
        }
    }
    Ok(())
}

/// A listener that accepts and closes, on a thread of this process.
fn listen() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot listen on loopback")?;
    let address = listener.local_addr().context("cannot listen on loopback")?;
    thread::spawn(move || {
        // Ends with the process; a connection that is gone already is as good as accepted.
        for stream in listener.incoming() {
            drop(stream);
        }
    });
    Ok(address)
}

/// CPU time of what the loop does: other programs on the core do not disturb it as much as wall time. For programs
/// that is also the time of all children that have ended, for connections that of both ends.
fn cpu_time(kind: Loop) -> Result<Duration> {
    let clock = match kind {
        Loop::Connect => ClockId::CLOCK_PROCESS_CPUTIME_ID,
        _ => ClockId::CLOCK_THREAD_CPUTIME_ID,
    };
    let mut time = Duration::from(clock_gettime(clock).context("cannot read the CPU time")?);
    if kind == Loop::Exec {
        let children = getrusage(UsageWho::RUSAGE_CHILDREN).context("cannot read the children's CPU time")?;
        for part in [children.user_time(), children.system_time()] {
            time += Duration::from_micros(part.num_microseconds().cast_unsigned());
        }
    }
    Ok(time)
}
