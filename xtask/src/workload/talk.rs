//! One byte to and fro over TCP: what somebody who uses a service feels of what happens to others.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use crate::console;

/// An answer that takes longer is none.
const LIMIT: Duration = Duration::from_secs(5);

/// Where the service is, and on which core its user or its server works.
#[derive(Args, Debug)]
pub(crate) struct Place {
    /// Where the service is.
    address: SocketAddr,
    /// Core to stay on.
    #[arg(long)]
    cpu: usize,
}

/// Somebody who uses it.
#[derive(Args, Debug)]
pub(crate) struct Client {
    #[command(flatten)]
    place: Place,
    /// How long.
    #[arg(long)]
    millis: u64,
}

impl Place {
    /// Answers one client after the other, until this process is ended.
    pub(super) fn echo(&self) -> Result<()> {
        self.stay()?;
        let listener =
            TcpListener::bind(self.address).with_context(|| format!("cannot listen on {}", self.address))?;
        console::say("ready");
        for client in listener.incoming() {
            let mut client = client.context("cannot accept a connection")?;
            client.set_nodelay(true)?;
            let mut byte = [0; 1];
            // A client that is gone is followed by the next.
            while client.read_exact(&mut byte).and_then(|()| client.write_all(&byte)).is_ok() {}
        }
        Ok(())
    }

    fn stay(&self) -> Result<()> {
        let mut cpus = CpuSet::new();
        cpus.set(self.cpu)?;
        sched_setaffinity(Pid::from_raw(0), &cpus).context("cannot stay on a core")
    }
}

impl Client {
    pub(super) fn run(&self) -> Result<()> {
        self.place.stay()?;
        let address = self.place.address;
        let mut stream = TcpStream::connect_timeout(&address, LIMIT)
            .with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LIMIT))?;
        let (span, begun) = (Duration::from_millis(self.millis), Instant::now());
        let (mut times, mut byte) = (Vec::new(), [7; 1]);
        while begun.elapsed() < span {
            let sent = Instant::now();
            match stream.write_all(&byte).and_then(|()| stream.read_exact(&mut byte)) {
                Ok(()) => times.push(sent.elapsed()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => times.push(LIMIT),
                Err(error) => return Err(error).context("the connection broke"),
            }
        }
        times.sort_unstable();
        let at = |permille: usize| times.get((times.len() * permille).div_ceil(1000).max(1) - 1);
        let (Some(median), Some(p99)) = (at(500), at(990)) else { bail!("no answer came") };
        let microseconds = |time: &Duration| time.as_secs_f64() * 1e6;
        console::say(format!("{} {:.1} {:.1}", times.len(), microseconds(median), microseconds(p99)));
        Ok(())
    }
}
