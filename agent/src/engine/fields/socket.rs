//! Socket addresses of an event: who the client is, who the server.

use std::{
    io::Write as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use rampart_common::event::{AttrTag, ROLE_SERVER, ROLE_UNKNOWN, SocketFacts};
use rampart_rules::catalog::event_ids as ev;

use super::Facts;
use crate::{
    event::{Event, EventKind, until_nul},
    state::peers::Peer,
};

/// First port that systems hand out to clients by default; told apart from server ports by it where nobody saw
/// who connected.
const EPHEMERAL_PORT: u16 = 32_768;

/// An address and port.
pub(super) type Endpoint = (IpAddr, u16);

/// Addresses of an IP socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tuple {
    pub(super) local: Endpoint,
    /// `None` for a socket that is only bound.
    pub(super) remote: Option<Endpoint>,
    /// Whether this side is the server.
    pub(super) server: bool,
}

impl Tuple {
    /// The addresses of the event's socket, if it is an IP socket that has any.
    pub(super) fn of(facts: &Facts<'_>) -> Option<Self> {
        let socket = facts.event.socket()?;
        let v6 = match i32::from(socket.family) {
            libc::AF_INET => false,
            libc::AF_INET6 => true,
            _ => return None,
        };
        let local = (address(&socket.local, v6), socket.local_port);
        let kernel = (address(&socket.remote, v6), socket.remote_port);
        let known = !kernel.0.is_unspecified() || kernel.1 != 0;
        let argument = facts.event.attr(AttrTag::SockAddr).and_then(|attr| endpoint(attr.bytes));
        let remote = match facts.row.event {
            // What the program asked for: a failed connect leaves nothing in the socket, and a translated
            // address is not what rules are about.
            ev::CONNECT => argument.or_else(|| known.then_some(kernel)),
            // A connected socket ignores the address of a send.
            _ if known => Some(kernel),
            _ => argument,
        };
        if remote.is_none() && local.1 == 0 {
            return None;
        }
        let stream = i32::from(socket.kind) == libc::SOCK_STREAM;
        let server = match (remote, facts.row.event) {
            (None, _) | (Some(_), ev::ACCEPT | ev::ACCEPT4) => true,
            (Some(_), ev::CONNECT) => false,
            (Some(_), _) if socket.role != ROLE_UNKNOWN => socket.role == ROLE_SERVER,
            // Datagrams that come from anybody are a server's.
            (Some(_), ev::RECVFROM | ev::RECVMSG | ev::RECVMMSG) if !stream && !known => true,
            (Some((_, remote_port)), _) => {
                stream && local.1 < EPHEMERAL_PORT && remote_port >= EPHEMERAL_PORT
            }
        };
        Some(Self { local, remote, server })
    }

    pub(super) fn client(&self) -> Option<Endpoint> {
        if self.server { self.remote } else { Some(self.local) }
    }

    pub(super) fn server(&self) -> Option<Endpoint> {
        if self.server { Some(self.local) } else { self.remote }
    }

    pub(super) fn v6(&self) -> bool {
        self.remote.unwrap_or(self.local).0.is_ipv6()
    }

    /// `client:port->server:port`, or the bound address. `ports` is false for protocols without ports.
    pub(super) fn text_into(&self, ports: bool, out: &mut Vec<u8>) {
        match (self.client(), self.server()) {
            (Some(client), Some(server)) => {
                endpoint_into(client, ports, out);
                out.extend_from_slice(b"->");
                endpoint_into(server, ports, out);
            }
            _ => endpoint_into(self.local, ports, out),
        }
    }
}

/// The peer a datagram is sent to, and the socket, if the send names one: for the memory of last peers.
pub(in crate::engine) fn datagram_peer(event: &Event<'_>) -> Option<(SocketFacts, Peer)> {
    if event.kind != EventKind::Syscall || event.header.ret < 0 {
        return None;
    }
    let socket = event.socket().filter(|socket| i32::from(socket.kind) == libc::SOCK_DGRAM)?;
    let unconnected = socket.remote == [0; 16] && socket.remote_port == 0;
    let (ip, port) = endpoint(event.attr(AttrTag::SockAddr)?.bytes).filter(|_| unconnected)?;
    let bytes = match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    };
    Some((socket, (bytes, port)))
}

/// An IP endpoint of a `sockaddr`.
pub(super) fn endpoint(bytes: &[u8]) -> Option<Endpoint> {
    let family = u16::from_ne_bytes(*bytes.first_chunk()?);
    let port = u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?);
    match i32::from(family) {
        libc::AF_INET => {
            let octets: [u8; 4] = *bytes.get(4..)?.first_chunk()?;
            Some((Ipv4Addr::from(octets).into(), port))
        }
        libc::AF_INET6 => {
            let octets: [u8; 16] = *bytes.get(8..)?.first_chunk()?;
            Some((IpAddr::V6(Ipv6Addr::from(octets)).to_canonical(), port))
        }
        _ => None,
    }
}

/// The path of a unix `sockaddr`; abstract names keep their leading NUL.
pub(super) fn unix_path(bytes: &[u8]) -> Option<&[u8]> {
    let family = u16::from_ne_bytes(*bytes.first_chunk()?);
    if i32::from(family) != libc::AF_UNIX {
        return None;
    }
    let path = bytes.get(2..)?;
    match path.first() {
        None => None,
        Some(0) => Some(path),
        Some(_) => Some(until_nul(path)),
    }
}

pub(super) fn endpoint_into(endpoint: Endpoint, port: bool, out: &mut Vec<u8>) {
    // Writing to memory does not fail.
    let _ = if port { write!(out, "{}:{}", endpoint.0, endpoint.1) } else { write!(out, "{}", endpoint.0) };
}

fn address(bytes: &[u8; 16], v6: bool) -> IpAddr {
    if v6 {
        return IpAddr::V6(Ipv6Addr::from(*bytes)).to_canonical();
    }
    let octets: [u8; 4] = bytes.first_chunk().copied().unwrap_or_default();
    Ipv4Addr::from(octets).into()
}
