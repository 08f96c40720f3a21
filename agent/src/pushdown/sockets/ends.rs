//! The socket of a call, as far as its key tells.

use std::net::{IpAddr, Ipv6Addr};

use rampart_common::event::{EXTRA_MSGHDR, EXTRA_SOCKADDR, EXTRA_SOCKADDR_OUT, SocketFacts};
use rampart_rules::catalog::event_ids as ev;

use super::Classes;
use crate::event::syscall::Row;

/// The socket of a call, as far as its key tells.
#[derive(Clone, Copy, Debug)]
pub(in crate::pushdown) struct Ends<'p> {
    family: u16,
    kind: u16,
    protocol: u16,
    role: u8,
    classes: &'p Classes,
    /// What the program gave may count instead of the remote end.
    argument: Argument,
    /// Class of address and port of both ends, local first.
    both: [(u16, u16); 2],
}

/// Whether rules see an address that the program gave rather than the socket's remote end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Argument {
    /// Never.
    None,
    /// If the socket has no remote end.
    Unconnected,
    /// Whenever it gave one.
    Always,
}

/// An end of a socket: address in its IPv6 form and port.
pub(super) type Endpoint = (Ipv6Addr, u16);

impl Classes {
    /// The socket that the first two numbers of a key tell of, in a call of a row.
    pub(in crate::pushdown) fn ends(&self, row: &Row, socket: u64, classes: u64) -> Ends<'_> {
        let part = |word: u64, at: u32| (word >> at) as u16;
        Ends {
            family: part(socket, 0),
            kind: part(socket, 16),
            protocol: part(socket, 32),
            role: part(socket, 48) as u8,
            classes: self,
            argument: match row.plan.extra_kind {
                EXTRA_SOCKADDR | EXTRA_SOCKADDR_OUT | EXTRA_MSGHDR if row.event == ev::CONNECT => {
                    Argument::Always
                }
                EXTRA_SOCKADDR | EXTRA_SOCKADDR_OUT | EXTRA_MSGHDR => Argument::Unconnected,
                _ => Argument::None,
            },
            both: [(part(classes, 0), part(classes, 16)), (part(classes, 32), part(classes, 48))],
        }
    }
}

impl Ends<'_> {
    /// Whether the ends that rules see are known.
    pub(in crate::pushdown) fn known(&self) -> bool {
        !self.is_ip() || self.endpoints().is_some()
    }

    /// Whether the kind of descriptor is: a socket of IPv6 that talks to IPv4 counts as one of that.
    pub(in crate::pushdown) fn kind_known(&self) -> bool {
        i32::from(self.family) != libc::AF_INET6 || self.endpoints().is_some()
    }

    fn is_ip(&self) -> bool {
        matches!(i32::from(self.family), libc::AF_INET | libc::AF_INET6)
    }

    /// The ends that rules see.
    fn endpoints(&self) -> Option<[Endpoint; 2]> {
        let [local, remote] = self.both;
        let ends @ [_, (address, port)] = [self.classes.endpoint(local)?, self.classes.endpoint(remote)?];
        let connected = port != 0 || !IpAddr::V6(address).to_canonical().is_unspecified();
        let v4 = i32::from(self.family) == libc::AF_INET;
        let fits = !v4 || ends.iter().all(|(address, _)| address.to_ipv4_mapped().is_some());
        let own = match self.argument {
            Argument::None => true,
            Argument::Unconnected => connected,
            Argument::Always => false,
        };
        (fits && own).then_some(ends)
    }

    /// Whether it sends datagrams.
    pub(in crate::pushdown) fn is_datagram(&self) -> bool {
        i32::from(self.kind) == libc::SOCK_DGRAM
    }

    /// The facts of a socket like this one.
    pub(in crate::pushdown) fn facts(&self) -> SocketFacts {
        let facts = SocketFacts {
            family: self.family,
            kind: self.kind,
            protocol: self.protocol,
            role: self.role,
            ..SocketFacts::default()
        };
        let v6 = i32::from(self.family) == libc::AF_INET6;
        match self.endpoints().filter(|_| self.is_ip()) {
            Some([local, remote]) => SocketFacts {
                local: bytes(local.0, v6),
                local_port: local.1,
                remote: bytes(remote.0, v6),
                remote_port: remote.1,
                ..facts
            },
            None => facts,
        }
    }
}

/// An address as the kernel stores it.
fn bytes(address: Ipv6Addr, v6: bool) -> [u8; 16] {
    let mut out = [0; 16];
    match address.to_ipv4_mapped().filter(|_| !v6) {
        Some(v4) => out.iter_mut().zip(v4.octets()).for_each(|(to, from)| *to = from),
        None => out = address.octets(),
    }
    out
}
