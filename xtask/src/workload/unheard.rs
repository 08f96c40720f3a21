//! Datagrams that came through to the end of the kernel's stack, where nobody listened.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;

use crate::console;

/// When to count.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Milliseconds from now.
    #[arg(long)]
    after: u64,
    /// Milliseconds between the two looks.
    #[arg(long)]
    span: u64,
}

impl Options {
    pub(super) fn run(&self) -> Result<()> {
        thread::sleep(Duration::from_millis(self.after));
        let (begun, before) = (Instant::now(), unheard()?);
        thread::sleep(Duration::from_millis(self.span));
        let (took, after) = (begun.elapsed(), unheard()?);
        console::say(format!("{} {}", after - before, took.as_secs_f64()));
        Ok(())
    }
}

/// How many there were so far in this network namespace.
pub(crate) fn unheard() -> Result<f64> {
    let text = fs::read_to_string("/proc/thread-self/net/snmp").context("cannot read what came")?;
    no_ports(&text).context("the kernel does not count datagrams for nobody")
}

/// The number of that name in the line of values of UDP.
fn no_ports(text: &str) -> Option<f64> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Udp: "));
    let at = lines.next()?.split(' ').position(|name| name == "NoPorts")?;
    lines.next()?.split(' ').nth(at)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_for_nobody_are_found_by_name() {
        let text = "Tcp: a b\nTcp: 1 2\nUdp: InDatagrams NoPorts InErrors\nUdp: 5 17 0\nUdpLite: NoPorts\n";
        assert_eq!(no_ports(text), Some(17.0));
        assert_eq!(no_ports("Udp: InDatagrams\nUdp: 5\n"), None);
    }
}
