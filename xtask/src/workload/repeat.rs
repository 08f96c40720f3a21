//! One operation over and over, on one core, timed: what the benches measure an agent's cost by.

use std::io::{Read as _, Write as _};
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
use nix::sys::stat::{Mode, stat};
use nix::sys::time::TimeValLike;
use nix::time::{ClockId, clock_gettime};
use nix::unistd::{Pid, close, getppid};

use crate::console;

/// Operations between two looks at the clock.
const BATCH: u32 = 256;
/// Calls of each kind in a yardstick: short against any batch of operations, long against reading the clock.
const YARD: u32 = 64;
/// Bytes of a message.
const MESSAGE: usize = 64;
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
    /// Send a message over a connection to a reader of its own over loopback.
    Send,
}

/// What a loop has to do with the network.
struct Net {
    server: Option<SocketAddr>,
    line: Option<TcpStream>,
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
    /// Measure the machine's speed in between, by calls that no rule asks about.
    #[arg(long)]
    yardstick: bool,
}

/// Sums over the batches of a loop.
#[derive(Default)]
struct Sums {
    count: u32,
    operations: Duration,
    /// Of [`YARD`] times a batch.
    stats: Duration,
    getppids: Duration,
    batches: u32,
}

impl Loop {
    /// Its name on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Getppid => "getppid",
            Self::Open => "open",
            Self::Exec => "exec",
            Self::Connect => "connect",
            Self::Send => "send",
        }
    }

    /// Operations between two looks at the clock: where one takes long, the clock does not matter.
    fn batch(self, rate: u32) -> u32 {
        match self {
            Self::Exec => 1,
            _ if rate > 0 => (rate / BATCHES_PER_S).max(1),
            Self::Connect => 8,
            Self::Getppid | Self::Open | Self::Send => BATCH,
        }
    }
}

impl Options {
    /// Does it, and says how many nanoseconds one took, how many there were, and the length of the yardstick.
    pub(super) fn run(&self) -> Result<()> {
        let mut cpus = CpuSet::new();
        cpus.set(self.cpu).context("there is no such core")?;
        sched_setaffinity(Pid::from_raw(0), &cpus).context("cannot stay on one core")?;
        let server = if self.kind == Loop::Connect { Some(listen()?) } else { None };
        let net = Net { server, line: if self.kind == Loop::Send { Some(line()?) } else { None } };
        self.repeat(Duration::from_millis(self.warm_millis), &net)?;
        let sums = self.repeat(Duration::from_millis(self.millis), &net)?;
        let each = |time: Duration, count: u32| time.as_secs_f64() * 1e9 / f64::from(count.max(1));
        let yards = sums.batches.saturating_mul(YARD);
        let yardstick = each(sums.stats, yards) - each(sums.getppids, yards);
        console::say(format!("{} {} {yardstick}", each(sums.operations, sums.count), sums.count));
        Ok(())
    }

    fn repeat(&self, length: Duration, net: &Net) -> Result<Sums> {
        let batch = self.kind.batch(self.rate);
        let started = Instant::now();
        let mut sums = Sums::default();
        while started.elapsed() < length {
            let before = cpu_time(self.kind)?;
            for _ in 0..batch {
                once(self.kind, &self.file, net)?;
            }
            sums.operations += cpu_time(self.kind)?.saturating_sub(before);
            sums.count = sums.count.saturating_add(batch);
            if self.rate > 0 {
                let due = Duration::from_secs_f64(f64::from(sums.count) / f64::from(self.rate));
                thread::sleep(due.saturating_sub(started.elapsed()));
            }
            if self.yardstick {
                self.measure_speed(&mut sums)?;
            }
        }
        Ok(sums)
    }

    /// The same walk along a path as an open, by a call that is not watched. What watching adds to every call, wanted
    /// or not, is in both kinds of calls, and so not in their difference.
    fn measure_speed(&self, sums: &mut Sums) -> Result<()> {
        let before = cpu_time(Loop::Getppid)?;
        for _ in 0..YARD {
            stat(&self.file)?;
        }
        let between = cpu_time(Loop::Getppid)?;
        for _ in 0..YARD {
            getppid();
        }
        sums.stats += between.saturating_sub(before);
        sums.getppids += cpu_time(Loop::Getppid)?.saturating_sub(between);
        sums.batches = sums.batches.saturating_add(1);
        Ok(())
    }
}

fn once(kind: Loop, file: &Path, net: &Net) -> Result<()> {
    match kind {
        Loop::Getppid => {
            getppid();
        }
        // Not by dropping the descriptor, which in a build with debug assertions makes a call more.
        Loop::Open => close(open(file, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?)?,
        Loop::Exec => {
            Command::new("/bin/true").status().context("cannot run `/bin/true`")?;
        }
        Loop::Connect => {
            let stream = TcpStream::connect(net.server.context("nobody listens")?)?;
            // Reset at the close: no port waits, so their number is no limit.
            setsockopt(&stream, Linger, &nix::libc::linger { l_onoff: 1, l_linger: 0 })?;
        }
        Loop::Send => net.line.as_ref().context("nobody reads")?.write_all(&[0; MESSAGE])?,
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

/// A connection whose other end is read, on a thread of this process.
fn line() -> Result<TcpStream> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot listen on loopback")?;
    let stream = TcpStream::connect(listener.local_addr()?).context("cannot connect over loopback")?;
    stream.set_nodelay(true)?;
    let (mut other, _) = listener.accept().context("cannot accept over loopback")?;
    thread::spawn(move || {
        let mut buffer = vec![0; 64 * 1024];
        while other.read(&mut buffer).is_ok_and(|read| read > 0) {}
    });
    Ok(stream)
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
