//! Somebody who does what a rule answers with a kill, and says when it began.

use std::io::{Write, stdin, stdout};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use nix::sys::signal::{Signal, raise};

use super::monotonic_ns;

/// Longer than any response takes, so that a victim that is left alone is not taken for a dead one.
const LIFE: Duration = Duration::from_secs(2);

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Whom it connects to; without it, it ends itself by the same signal.
    address: Option<SocketAddr>,
}

impl Options {
    /// Waits for a line, says the time, and does it.
    pub(super) fn run(&self) -> Result<()> {
        let mut line = String::new();
        stdin().read_line(&mut line)?;
        let mut out = stdout();
        writeln!(out, "{}", monotonic_ns()?)?;
        out.flush()?;
        match self.address {
            Some(address) => {
                let _stream = TcpStream::connect(address)?;
                thread::sleep(LIFE);
            }
            None => raise(Signal::SIGKILL)?,
        }
        Ok(())
    }
}
