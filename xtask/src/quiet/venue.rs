//! The exchange of the day's trade: somebody who listens, and the description of who may talk to it.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::thread;

use anyhow::{Context, Result};

/// Where it listens; the scenario names it too.
const PLACE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(127, 0, 0, 78)), 47_815);

/// An exchange that hangs up on everybody; it listens as long as this program runs.
pub(super) struct Venue;

impl Venue {
    pub(super) fn open() -> Result<Self> {
        let listener = TcpListener::bind(PLACE).with_context(|| format!("cannot listen on {PLACE}"))?;
        thread::spawn(move || listener.incoming().for_each(drop));
        Ok(Self)
    }
}

/// The section `trading` of the agent's configuration.
pub(super) fn trading(folder: &Path) -> String {
    let day = folder.join("day/trading-as-usual/trading");
    let day = day.display();
    format!(
        "trading:\n  venues:\n    exchange: {{kind: order_entry, cidrs: {}/32, ports: [{}]}}\n  calendars:\n    always: \
         {{time_zone: UTC, sessions: {{continuous: 'mon-sun 00:00-24:00'}}}}\n  roles:\n    gateway: {{comms: eg_gateway}}\n    \
         strategy: {{comms: eg_strategy}}\n  assets:\n    api_key: {day}/keys/\n    order_log: {day}/orders/\n    \
         strategy_config: '{day}/*.toml'\n",
        PLACE.ip(),
        PLACE.port()
    )
}
