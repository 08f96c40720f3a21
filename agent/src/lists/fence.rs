//! What a list of addresses cannot hold, whoever wrote it: a feed that was tampered with must not turn the rules against
//! the node itself, or against everybody.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::limits::{node::node_facts, safety};

/// Shortest prefixes.
const SHORTEST_V4: u8 = 8;
const SHORTEST_V6: u8 = 16;
/// Networks that are nobody's on the Internet: private, loopback, link-local, shared, multicast, none.
const PRIVATE: [&str; 14] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "224.0.0.0/4",
    "255.255.255.255/32",
    "::/128",
    "::1/128",
    "fc00::/7",
    "fe80::/10",
    "ff00::/8",
];

/// Why an address is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The network is so wide that it is no list any more.
    Wide,
    /// It is private, or the node depends on it.
    Private,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Fence(Vec<IpNet>);

impl Fence {
    /// Private networks, and what this node must not be cut off from; `collector` is where its collector is, as far as known.
    pub fn of_node(collector: Vec<IpAddr>) -> Self {
        Self::new(safety::nets(&node_facts(collector)))
    }

    /// Private networks and these.
    pub fn new(own: Vec<IpNet>) -> Self {
        let private = PRIVATE.iter().filter_map(|net| net.parse().ok());
        Self(private.chain(own).collect())
    }

    /// Whether a network may be a member.
    pub fn check(&self, net: IpNet, allows_private: bool) -> Result<(), Refused> {
        let shortest = if matches!(net, IpNet::V4(_)) { SHORTEST_V4 } else { SHORTEST_V6 };
        if net.prefix_len() < shortest {
            return Err(Refused::Wide);
        }
        let meets = |known: &IpNet| known.contains(&net) || net.contains(known);
        if !allows_private && self.0.iter().any(meets) {
            return Err(Refused::Private);
        }
        Ok(())
    }
}

impl Refused {
    /// In words.
    pub const fn why(self) -> &'static str {
        match self {
            Self::Wide => "too wide to be a member",
            Self::Private => "private, or an address that this node depends on",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_private_networks_and_the_node_are_kept_out() {
        let fence = Fence::new(vec!["203.0.113.7/32".parse().unwrap(), "2001:db8::7/128".parse().unwrap()]);
        let check = |net: &str, private| fence.check(net.parse().unwrap(), private);
        for wide in ["0.0.0.0/0", "128.0.0.0/1", "8.0.0.0/7", "::/0", "2000::/3", "2000::/15"] {
            assert_eq!(check(wide, true), Err(Refused::Wide), "{wide}");
        }
        for private in [
            "10.1.2.3/32",
            "192.168.0.0/24",
            "127.0.0.1/32",
            "203.0.113.0/24",
            "203.0.113.7/32",
            "192.0.0.0/8",
            "fe80::1/128",
            "2001:db8::/48",
            "::1/128",
        ] {
            assert_eq!(check(private, false), Err(Refused::Private), "{private}");
            assert_eq!(check(private, true), Ok(()), "{private}");
        }
        for good in ["198.51.100.0/24", "8.8.8.8/32", "203.0.113.8/32", "2001:db8:1::/48"] {
            assert_eq!(check(good, false), Ok(()), "{good}");
        }
    }
}
