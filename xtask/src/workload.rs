//! `xtask workload`, hidden: the programs that the demo and the benches run. Copied under other names, this binary
//! plays an intruder's tool.

use std::fs::{self, File};
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::{Subcommand, ValueEnum};
use nix::fcntl::{OFlag, open};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::ptrace;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
use nix::sys::stat::Mode;
use nix::sys::time::TimeValLike;
use nix::sys::wait::waitpid;
use nix::time::{ClockId, clock_gettime};
use nix::unistd::{Pid, getppid};

use crate::{console, process};

/// Operations between two looks at the clock.
const BATCH: u32 = 256;

/// What a loop does over and over.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Loop {
    /// A system call that no rule asks about.
    Getppid,
    /// Open and close a file.
    Open,
    /// Start a small program and wait for its end.
    Exec,
}

/// One small program each.
#[derive(Debug, Subcommand)]
pub(crate) enum Workload {
    /// Take control of a process for a moment.
    Attach {
        /// Its id.
        pid: i32,
    },
    /// Open a socket that sees every packet.
    Sniff,
    /// Run a program from anonymous memory.
    Memfd {
        /// Link through which it is run; its name becomes the process's.
        link: PathBuf,
        /// Program that is copied into memory.
        program: PathBuf,
    },
    /// Run a command while a server listens.
    Serve {
        /// Where the server listens.
        address: SocketAddr,
        /// The command and its arguments.
        #[arg(trailing_var_arg = true, required = true)]
        command: Vec<String>,
    },
    /// Do one thing over and over and say how many nanoseconds it took each time.
    Loop {
        /// What to do.
        kind: Loop,
        /// Core to stay on.
        #[arg(long)]
        cpu: usize,
        /// How long.
        #[arg(long)]
        millis: u64,
        /// File to open.
        #[arg(long)]
        file: PathBuf,
    },
}

impl Loop {
    /// Its name on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Getppid => "getppid",
            Self::Open => "open",
            Self::Exec => "exec",
        }
    }
}

/// Runs it to its end.
pub(crate) fn run(workload: &Workload) -> Result<()> {
    match workload {
        Workload::Attach { pid } => attach(Pid::from_raw(*pid)),
        Workload::Sniff => {
            socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll)
                .context("cannot open a packet socket")?;
            Ok(())
        }
        Workload::Memfd { link, program } => {
            // Inherited on purpose: the kernel resolves the link in the child.
            let memory = memfd_create("payload", MFdFlags::empty()).context("cannot create a memory file")?;
            let mut memory = File::from(memory);
            memory.write_all(
                &fs::read(program).with_context(|| format!("cannot read `{}`", program.display()))?,
            )?;
            symlink(format!("/proc/self/fd/{}", memory.as_raw_fd()), link)
                .with_context(|| format!("cannot link `{}`", link.display()))?;
            process::run(&mut Command::new(link))
        }
        Workload::Loop { kind, cpu, millis, file } => {
            let mut cpus = CpuSet::new();
            cpus.set(*cpu).context("there is no such core")?;
            sched_setaffinity(Pid::from_raw(0), &cpus).context("cannot stay on one core")?;
            console::say(repeat(*kind, Duration::from_millis(*millis), file)?.to_string());
            Ok(())
        }
        Workload::Serve { address, command } => {
            let _listener =
                TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
            let [program, arguments @ ..] = command.as_slice() else { bail!("no command was given") };
            process::run(Command::new(program).args(arguments))
        }
    }
}

fn attach(pid: Pid) -> Result<()> {
    ptrace::attach(pid).with_context(|| format!("cannot attach to process {pid}"))?;
    waitpid(pid, None).with_context(|| format!("process {pid} did not stop"))?;
    ptrace::detach(pid, None).with_context(|| format!("cannot let go of process {pid}"))
}

/// Nanoseconds per operation, of CPU time: other programs on the core do not disturb it as much as wall time. For
/// started programs that is their own time and this process's.
fn repeat(kind: Loop, length: Duration, file: &Path) -> Result<f64> {
    // Starting a program takes so long that the clock does not matter.
    let batch = if matches!(kind, Loop::Exec) { 1 } else { BATCH };
    let (started, cpu_started) = (Instant::now(), cpu_time(kind)?);
    let mut count = 0_u32;
    while started.elapsed() < length {
        for _ in 0..batch {
            match kind {
                Loop::Getppid => {
                    getppid();
                }
                // Dropping the descriptor closes it.
                Loop::Open => drop(open(file, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?),
                Loop::Exec => {
                    Command::new("/bin/true").status().context("cannot run `/bin/true`")?;
                }
            }
        }
        count = count.saturating_add(batch);
    }
    let spent = cpu_time(kind)?.saturating_sub(cpu_started);
    Ok(spent.as_secs_f64() * 1e9 / f64::from(count.max(1)))
}

/// CPU time of this thread, and for programs also of all children that have ended.
fn cpu_time(kind: Loop) -> Result<Duration> {
    let time =
        clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).context("cannot read this thread's CPU time")?;
    let mut time = Duration::from(time);
    if matches!(kind, Loop::Exec) {
        let children = getrusage(UsageWho::RUSAGE_CHILDREN).context("cannot read the children's CPU time")?;
        for part in [children.user_time(), children.system_time()] {
            time += Duration::from_micros(part.num_microseconds().cast_unsigned());
        }
    }
    Ok(time)
}
