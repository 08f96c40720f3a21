//! Datagrams at a steady pace.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;

use crate::console;

/// Bytes of a datagram.
const PAYLOAD: [u8; 64] = [7; 64];
/// Between two looks at the clock.
const PAUSE: Duration = Duration::from_millis(1);

/// Who sends what.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Address to send from.
    #[arg(long)]
    from: IpAddr,
    /// Where they are for.
    #[arg(long)]
    to: SocketAddr,
    /// Datagrams per second.
    #[arg(long)]
    rate: u32,
    /// How long.
    #[arg(long)]
    millis: u64,
}

impl Options {
    pub(super) fn run(&self) -> Result<()> {
        let socket =
            UdpSocket::bind((self.from, 0)).with_context(|| format!("`{}` is not here", self.from))?;
        let (span, begun) = (Duration::from_millis(self.millis), Instant::now());
        let (mut sent, mut tried) = (0_u64, 0_u128);
        while begun.elapsed() < span {
            let due = begun.elapsed().as_nanos() * u128::from(self.rate) / 1_000_000_000;
            while tried < due {
                tried += 1;
                // A full queue of the device is a datagram not sent.
                sent += u64::from(socket.send_to(&PAYLOAD, self.to).is_ok());
            }
            thread::sleep(PAUSE);
        }
        console::say(sent.to_string());
        Ok(())
    }
}
