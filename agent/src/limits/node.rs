//! What the node says about itself: the addresses that must not be locked out.

use std::{fs, net::IpAddr};

use nix::ifaddrs::getifaddrs;

use super::safety;

/// What the node says about itself now, where the collector is there; what cannot be read says nothing.
pub fn node_facts(collector: Vec<IpAddr>) -> safety::Facts {
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
        collector,
    }
}

fn text(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}
