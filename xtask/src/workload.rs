//! `xtask workload`, hidden: the programs that the demo and the benches run. Copied under other names, this binary
//! plays an intruder's tool.

mod connect;
mod datagrams;
mod repeat;
mod talk;
mod unheard;
mod victim;
mod visit;

use std::fs::{self, File};
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::ptrace;
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

pub(crate) use self::repeat::Loop;
pub(crate) use self::unheard::unheard;
pub(crate) use self::visit::monotonic_ns;
use crate::process;

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
    /// Send datagrams at a steady pace; says how many.
    Datagrams(datagrams::Options),
    /// Answer each byte that a client sends; says `ready` first.
    Echo(talk::Place),
    /// Send a byte and wait for the answer, over and over; says how often, and the median and the 99th percentile of
    /// the time it took in microseconds.
    Talk(talk::Client),
    /// Count datagrams that nobody listened for, over a span in the middle of a flood; says how many in how many seconds.
    Unheard(unheard::Options),
    /// Connect over and over; says the CPU nanoseconds of one, and for each address how often, how many were refused,
    /// and the median of the nanoseconds that the call took.
    Connect(connect::Options),
    /// Connect, ask and go, several at a time; says how often, and of each that failed when it began and ended.
    Visit(visit::Options),
    /// Do what a rule answers with a kill, once told to; says the time first.
    Victim(victim::Options),
    /// Do one thing over and over; says how many nanoseconds it took each time, and how often it was done.
    Loop(repeat::Options),
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
        Workload::Loop(options) => options.run(),
        Workload::Victim(options) => options.run(),
        Workload::Connect(options) => options.run(),
        Workload::Visit(options) => options.run(),
        Workload::Datagrams(options) => options.run(),
        Workload::Unheard(options) => options.run(),
        Workload::Echo(place) => place.echo(),
        Workload::Talk(client) => client.run(),
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
