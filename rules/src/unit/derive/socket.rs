//! Sockets and their ends.

use std::net::IpAddr;

use crate::{
    catalog::{FieldId, event_ids as ev, ids},
    typed::Arg,
    unit::{
        call::{Call, End, Given},
        derive::{set, text},
        event::{Event, Held},
    },
    value::Value,
};

/// Fields of one end: address, port, network.
type Fields = [FieldId; 3];
const CLIENT: Fields = [ids::FD_CIP, ids::FD_CPORT, ids::FD_CNET];
const SERVER: Fields = [ids::FD_SIP, ids::FD_SPORT, ids::FD_SNET];
const LOCAL: Fields = [ids::FD_LIP, ids::FD_LPORT, ids::FD_LNET];
const REMOTE: Fields = [ids::FD_RIP, ids::FD_RPORT, ids::FD_RNET];

/// What the call tells of the socket.
pub(super) fn fill(event: &mut Event<'_>, call: &Call) {
    let accepts = matches!(call.event, ev::ACCEPT | ev::ACCEPT4);
    match call.arg("tuple").or_else(|| call.arg("addr")) {
        Some(Given::Tuple(client, server)) => {
            internet(event, client.address);
            both(event, *client, *server, accepts);
        }
        Some(Given::End(end)) => {
            internet(event, end.address);
            if accepts {
                ends(event, *end, &[CLIENT, REMOTE]);
            } else if matches!(call.event, ev::BIND | ev::LISTEN) {
                // A listening socket has its own end only.
                text(event, ids::FD_NAME, end.to_string().as_bytes());
                ends(event, *end, &[SERVER, LOCAL]);
            } else {
                ends(event, *end, &[SERVER, REMOTE]);
            }
            set(event, ids::FD_IP, Value::Ip(end.address));
            set(event, ids::FD_NET, Value::Ip(end.address));
            set(event, ids::FD_PORT, Value::Uint(end.port.into()));
        }
        Some(Given::Text(path)) => {
            text(event, ids::FD_TYPE, b"unix");
            text(event, ids::FD_TYPECHAR, b"u");
            text(event, ids::FD_SOCKFAMILY, b"unix");
            // The kernel's two addresses in front of the path are not known.
            text(event, ids::FD_NAME, &[b"0->0 ", path.as_slice()].concat());
        }
        _ if call.event == ev::SOCKET => domain(event, call),
        _ => return,
    }
    if accepts || call.event == ev::CONNECT {
        let under_way = call.failure() == Some("EINPROGRESS");
        set(event, ids::FD_CONNECTED, Value::Bool(call.succeeded() || under_way));
        set(event, ids::FD_IS_SERVER, Value::Bool(accepts));
    }
}

/// What a new socket is for.
fn domain(event: &mut Event<'_>, call: &Call) {
    let (kind, letter) = match call.text("domain") {
        Some(b"AF_INET") => ("ipv4", "4"),
        Some(b"AF_INET6") => ("ipv6", "6"),
        Some(b"AF_UNIX" | b"AF_LOCAL") => ("unix", "u"),
        Some(b"AF_NETLINK") => ("netlink", "n"),
        _ => return,
    };
    text(event, ids::FD_TYPE, kind.as_bytes());
    text(event, ids::FD_TYPECHAR, letter.as_bytes());
    if kind != "netlink" {
        text(event, ids::FD_SOCKFAMILY, if kind == "unix" { b"unix" } else { b"ip" });
    }
}

fn internet(event: &mut Event<'_>, address: IpAddr) {
    let (kind, letter): (&[u8], &[u8]) = if address.is_ipv4() { (b"ipv4", b"4") } else { (b"ipv6", b"6") };
    text(event, ids::FD_TYPE, kind);
    text(event, ids::FD_TYPECHAR, letter);
    text(event, ids::FD_SOCKFAMILY, b"ip");
    text(event, ids::FD_L4PROTO, b"tcp");
}

fn both(event: &mut Event<'_>, client: End, server: End, accepts: bool) {
    text(event, ids::FD_NAME, format!("{client}->{server}").as_bytes());
    ends(event, client, &[CLIENT, if accepts { REMOTE } else { LOCAL }]);
    ends(event, server, &[SERVER, if accepts { LOCAL } else { REMOTE }]);
    let addresses = [Value::Ip(client.address), Value::Ip(server.address)];
    let ports = [Value::Uint(client.port.into()), Value::Uint(server.port.into())];
    for (field, sides) in [(ids::FD_IP, addresses), (ids::FD_NET, addresses), (ids::FD_PORT, ports)] {
        event.set_missing(field, Arg::None, Held::Either(sides));
    }
}

fn ends(event: &mut Event<'_>, end: End, kinds: &[Fields]) {
    for [address, port, network] in kinds {
        set(event, *address, Value::Ip(end.address));
        set(event, *port, Value::Uint(end.port.into()));
        set(event, *network, Value::Ip(end.address));
    }
}
