//! What the node says: addresses that must not be locked out, how busy it is, the time.

use std::{
    fs,
    net::IpAddr,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use nix::ifaddrs::getifaddrs;

use crate::{
    engine::clock::boot_now_ns,
    limits::{entries::Now, load::Reading, safety},
};

/// What the node says about itself now; what cannot be read says nothing.
pub(super) fn node_facts() -> safety::Facts {
    let own = getifaddrs().map(|addresses| {
        let of = |address: nix::ifaddrs::InterfaceAddress| -> Option<IpAddr> {
            let address = address.address?;
            let four = address.as_sockaddr_in().map(|four| IpAddr::from(four.ip()));
            four.or_else(|| address.as_sockaddr_in6().map(|six| IpAddr::from(six.ip())))
        };
        addresses.filter_map(of).collect()
    });
    safety::Facts {
        own: own.unwrap_or_default(),
        routes: text("/proc/net/route"),
        routes6: text("/proc/net/ipv6_route"),
        resolvers: text("/etc/resolv.conf"),
        connections: text("/proc/net/tcp"),
        connections6: text("/proc/net/tcp6"),
        api_server: std::env::var("KUBERNETES_SERVICE_HOST").ok(),
    }
}

/// Counters of how busy it is.
pub(super) fn reading() -> Reading {
    Reading::of(&text("/proc/pressure/cpu"), &text("/proc/stat"), &text("/proc/net/softnet_stat"))
}

/// The id of this boot; empty when the kernel does not tell.
pub(in crate::app) fn boot_id() -> String {
    text("/proc/sys/kernel/random/boot_id").trim().to_owned()
}

/// Both clocks.
pub(in crate::app) fn now() -> Now {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Now { wall_secs: wall.as_secs(), boot_ns: boot_now_ns() }
}

fn text(path: &str) -> String {
    fs::read_to_string(Path::new(path)).unwrap_or_default()
}
