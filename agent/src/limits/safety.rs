//! What no policy and no list can lock out: the node itself, its gateways, its name servers, the API server, the collector,
//! and who is logged in by SSH now.
//!
//! Reads texts that the caller took from the node, so that it can be tested; a line that is not understood is left out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// Port of SSH.
const SSH: u16 = 22;
/// State of an established connection in `/proc/net/tcp`.
const ESTABLISHED: &str = "01";
/// A route with a gateway, and one in use.
const ROUTE_GATEWAY: u32 = 2;

/// What the node says about itself.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Addresses of its interfaces.
    pub own: Vec<IpAddr>,
    /// `/proc/net/route`.
    pub routes: String,
    /// `/proc/net/ipv6_route`.
    pub routes6: String,
    /// `/etc/resolv.conf`.
    pub resolvers: String,
    /// `/proc/net/tcp`.
    pub connections: String,
    /// `/proc/net/tcp6`.
    pub connections6: String,
    /// `KUBERNETES_SERVICE_HOST`.
    pub api_server: Option<String>,
    /// Addresses of the collector.
    pub collector: Vec<IpAddr>,
}

/// Everything that must not be locked out, each address once.
pub fn nets(facts: &Facts) -> Vec<IpNet> {
    reasons(facts).into_iter().map(|(net, _)| net).collect()
}

/// The same with what each address is.
pub fn reasons(facts: &Facts) -> Vec<(IpNet, &'static str)> {
    let mut all: Vec<(IpAddr, &str)> = Vec::new();
    all.extend(facts.own.iter().map(|address| (*address, "an address of this node")));
    let gateways = facts.routes.lines().filter_map(gateway).chain(facts.routes6.lines().filter_map(gateway6));
    all.extend(gateways.map(|address| (address, "a gateway of this node")));
    let resolvers = facts.resolvers.lines().filter_map(resolver);
    all.extend(resolvers.map(|address| (address, "a name server of this node")));
    let peers = facts.connections.lines().chain(facts.connections6.lines()).filter_map(ssh_peer);
    all.extend(peers.map(|address| (address, "logged in by SSH")));
    let api_server = facts.api_server.as_deref().and_then(|text| text.parse::<IpAddr>().ok());
    all.extend(api_server.map(|address| (address, "the API server")));
    all.extend(facts.collector.iter().map(|address| (*address, "the collector")));
    let mut nets: Vec<(IpNet, &str)> = all
        .into_iter()
        .map(|(address, why)| (plain(address), why))
        .filter(|(address, _)| !address.is_unspecified())
        .map(|(address, why)| (IpNet::from(address), why))
        .collect();
    // The first reason stands for an address that has several.
    nets.sort_by_key(|(net, _)| *net);
    nets.dedup_by_key(|(net, _)| *net);
    nets
}

/// An IPv4 address that is written as a mapped one.
fn plain(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

fn gateway(line: &str) -> Option<IpAddr> {
    let mut words = line.split_whitespace().skip(2);
    let (gateway, flags) = (words.next()?, words.next()?);
    let flags = u32::from_str_radix(flags, 16).ok()?;
    let gateway = u32::from_str_radix(gateway, 16).ok()?;
    (flags & ROUTE_GATEWAY != 0).then(|| Ipv4Addr::from(gateway.to_ne_bytes()).into())
}

fn gateway6(line: &str) -> Option<IpAddr> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (gateway, flags) = (words.get(4)?, words.get(8)?);
    let flags = u32::from_str_radix(flags, 16).ok()?;
    let gateway = u128::from_str_radix(gateway, 16).ok()?;
    (flags & ROUTE_GATEWAY != 0).then(|| Ipv6Addr::from(gateway).into())
}

fn resolver(line: &str) -> Option<IpAddr> {
    let mut words = line.split_whitespace();
    (words.next()? == "nameserver").then_some(())?;
    // A link-local address may name its interface.
    words.next()?.split('%').next()?.parse().ok()
}

/// The other end of an established connection to our SSH port.
fn ssh_peer(line: &str) -> Option<IpAddr> {
    let mut words = line.split_whitespace().skip(1);
    let (local, remote, state) = (words.next()?, words.next()?, words.next()?);
    let port = u16::from_str_radix(local.split_once(':')?.1, 16).ok()?;
    if port != SSH || state != ESTABLISHED {
        return None;
    }
    let digits = remote.split_once(':')?.0;
    // Words of four bytes, each in the machine's order.
    let mut bytes = Vec::new();
    for word in digits.as_bytes().chunks(8) {
        let word = u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok()?;
        bytes.extend(word.to_ne_bytes());
    }
    if let Ok(four) = <[u8; 4]>::try_from(bytes.as_slice()) {
        return Some(Ipv4Addr::from(four).into());
    }
    <[u8; 16]>::try_from(bytes.as_slice()).ok().map(|six| Ipv6Addr::from(six).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_node_says_is_found() {
        let facts = Facts {
            own: vec!["10.0.0.5".parse().unwrap(), "::1".parse().unwrap(), "10.0.0.5".parse().unwrap()],
            routes: "Iface\tDestination\tGateway \tFlags\tRefCnt\n\
                     eth0\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\n\
                     eth0\t0000000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\n"
                .to_owned(),
            routes6: "00000000000000000000000000000000 00 00000000000000000000000000000000 00 \
                      fe800000000000000000000000000001 00000400 00000001 00000000 00000003 eth0\n"
                .to_owned(),
            resolvers: "# comment\nsearch local\nnameserver 192.0.2.53\nnameserver fe80::5%eth0\n".to_owned(),
            connections: "  sl  local_address rem_address   st tx_queue\n\
                          0: 0500000A:0016 070200C0:D431 01 0\n\
                          1: 0500000A:0016 00000000:0000 0A 0\n\
                          2: 0500000A:01BB 080200C0:D431 01 0\n"
                .to_owned(),
            connections6:
                "0: 0000000000000000FFFF00000500000A:0016 0000000000000000FFFF0000090200C0:D431 01 0\n"
                    .to_owned(),
            api_server: Some("10.96.0.1".to_owned()),
            collector: vec!["10.96.0.7".parse().unwrap(), "::ffff:10.0.0.5".parse().unwrap()],
        };
        let found: Vec<String> = nets(&facts).iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "10.0.0.1/32",
                "10.0.0.5/32",
                "10.96.0.1/32",
                "10.96.0.7/32",
                "192.0.2.7/32",
                "192.0.2.9/32",
                "192.0.2.53/32",
                "::1/128",
                "fe80::1/128",
                "fe80::5/128",
            ]
        );
    }

    #[test]
    fn nonsense_is_left_out() {
        let text = "x\n\n: : :\nnameserver\nnameserver nobody\n1: zz:0016 zz:0001 01\n0 0 0 0 0 0 0 0 0\n"
            .to_owned();
        let facts = Facts {
            routes: text.clone(),
            routes6: text.clone(),
            resolvers: text.clone(),
            connections: text.clone(),
            connections6: text,
            ..Facts::default()
        };
        assert!(nets(&facts).is_empty());
    }
}
