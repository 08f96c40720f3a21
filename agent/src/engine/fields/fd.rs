//! Class `fd`: the descriptor of the event.

mod kind;

use std::io::Write as _;

use rampart_common::event::{AttrTag, FILE_LOWER_LAYER, FILE_UPPER_LAYER, Family, FileFacts, SocketFacts};
use rampart_rules::{
    catalog::{CREATES_FD, FieldId, event_ids as ev, ids},
    value::{FieldArg, Value},
};

use self::kind::{Kind, file_kind, opened_kind, socket_kind, wanted_socket_kind};
use super::{
    Facts, View, container, evt,
    socket::{Endpoint, Tuple, endpoint, endpoint_into, unix_path},
};
use crate::event::names::{icmp_protocol, l4_protocol};

/// Fields that need data the agent does not have: names of services.
pub(super) const UNFILLED: &[FieldId] =
    &[ids::FD_PROTO, ids::FD_CPROTO, ids::FD_SPROTO, ids::FD_LPROTO, ids::FD_RPROTO];

/// `EINPROGRESS` as a return value: the connect goes on in the background.
const IN_PROGRESS: i64 = -(libc::EINPROGRESS as i64);
/// State of a connected socket, for datagram sockets too.
const ESTABLISHED: u8 = 1;

/// Facts of the descriptor.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fd<'e> {
    num: i64,
    kind: Option<Kind>,
    file: Option<FileFacts>,
    socket: Option<SocketFacts>,
    tuple: Option<Tuple>,
    /// Path of the file behind it, or of the unix socket.
    path: Option<&'e [u8]>,
}

impl<'e> Fd<'e> {
    /// The descriptor of an event; `None` for events that have none.
    pub(super) fn of(facts: &Facts<'e>) -> Option<Self> {
        if !matches!(facts.row.family, Family::Open | Family::Net | Family::Fd) {
            return None;
        }
        let creates = facts.row.event.def()?.flags & CREATES_FD != 0;
        let num = match facts.event.header.ret {
            ret if creates && ret >= 0 => ret,
            _ if creates => -1,
            _ => i64::from(evt::argument(facts, 0) as i32),
        };
        let (file, socket) = (facts.event.file(), facts.event.socket());
        let tuple = Tuple::of(facts);
        let kind = match socket {
            Some(socket) => socket_kind(&socket, tuple),
            None if facts.row.family == Family::Net => wanted_socket_kind(facts),
            None if facts.row.family == Family::Open => Some(opened_kind(facts, file)),
            None => file.and_then(|file| file_kind(facts, &file)),
        };
        let path = match kind {
            Some(Kind::Unix) => unix_name(facts),
            _ => facts.real_path(),
        };
        Some(Self { num, kind, file, socket, tuple, path })
    }

    fn is_file(&self) -> bool {
        matches!(self.kind, Some(Kind::File | Kind::Directory | Kind::Memfd))
    }

    fn client(&self) -> Option<Endpoint> {
        self.tuple?.client()
    }

    fn server(&self) -> Option<Endpoint> {
        self.tuple?.server()
    }
}

pub(super) fn get<'e>(facts: &Facts<'e>, view: View, field: FieldId, arg: FieldArg<'_>) -> Option<Value<'e>> {
    let fd = facts.fd()?;
    let ip = |endpoint: Option<Endpoint>| endpoint.map(|(ip, _)| Value::Ip(ip));
    let port = |endpoint: Option<Endpoint>| endpoint.map(|(_, port)| Value::Uint(u64::from(port)));
    let tuple = fd.tuple;
    match field {
        ids::FD_NUM => Some(Value::Int(fd.num)),
        ids::FD_TYPE => Some(Value::Bytes(fd.kind?.names().0)),
        ids::FD_TYPECHAR => Some(Value::Bytes(fd.kind?.names().1)),
        ids::FD_TYPES => types(facts, fd, arg),
        ids::FD_NAME => Some(Value::Bytes(name(facts, fd, view)?)),
        ids::FD_REALPATH => Some(Value::Bytes(fd.path.filter(|_| fd.is_file())?)),
        ids::FD_DIRECTORY => Some(Value::Bytes(directory(fd, file_name(facts, fd, view)?))),
        ids::FD_FILENAME => Some(Value::Bytes(last_component(file_name(facts, fd, view)?))),
        ids::FD_NAMERAW => Some(Value::Bytes(raw_name(facts)?)),
        ids::FD_IP | ids::FD_NET => Some(either(facts, tuple?, |(ip, _)| Value::Ip(ip))),
        ids::FD_PORT => Some(either(facts, tuple?, |(_, port)| Value::Uint(u64::from(port)))),
        ids::FD_CIP | ids::FD_CNET => ip(fd.client()),
        ids::FD_SIP | ids::FD_SNET => ip(fd.server()),
        ids::FD_LIP | ids::FD_LNET => ip(tuple.map(|tuple| tuple.local)),
        ids::FD_RIP | ids::FD_RNET => ip(tuple?.remote),
        ids::FD_CIP_NAME => host(facts, fd.client()),
        ids::FD_SIP_NAME => host(facts, fd.server()),
        ids::FD_LIP_NAME => host(facts, tuple.map(|tuple| tuple.local)),
        ids::FD_RIP_NAME => host(facts, tuple?.remote),
        ids::FD_CPORT => port(fd.client()),
        ids::FD_SPORT => port(fd.server()),
        ids::FD_LPORT => port(tuple.map(|tuple| tuple.local)),
        ids::FD_RPORT => port(tuple?.remote),
        ids::FD_L4PROTO => {
            let protocol = fd.socket.filter(|_| fd.kind.is_some_and(Kind::is_ip));
            Some(Value::Bytes(protocol.map_or("<NA>", |socket| l4_protocol(&socket)).as_bytes()))
        }
        ids::FD_SOCKFAMILY => match fd.kind? {
            Kind::Ipv4 | Kind::Ipv6 => Some(Value::Bytes(b"ip")),
            Kind::Unix => Some(Value::Bytes(b"unix")),
            _ => None,
        },
        ids::FD_IS_SERVER => Some(Value::Bool(tuple?.server)),
        ids::FD_CONNECTED => Some(Value::Bool(connected(facts, fd))),
        ids::FD_NAME_CHANGED => Some(Value::Bool(facts.position.peer_changed)),
        ids::FD_UID => Some(Value::Bytes(facts.text(|out| {
            let _ = write!(out, "{}{}", facts.event.header.task.tid, fd.num);
        }))),
        ids::FD_CONTAINERNAME => Some(container_joined(facts, name(facts, fd, view)?)),
        ids::FD_CONTAINERDIRECTORY => {
            Some(container_joined(facts, directory(fd, file_name(facts, fd, view)?)))
        }
        ids::FD_DEV => Some(Value::Int(i64::from(fd.file?.dev))),
        ids::FD_DEV_MAJOR => Some(Value::Int(i64::from(fd.file?.dev >> 20))),
        ids::FD_DEV_MINOR => Some(Value::Int(i64::from(fd.file?.dev & 0xf_ffff))),
        ids::FD_INO => Some(Value::Int(i64::try_from(fd.file?.ino).ok()?)),
        ids::FD_IS_UPPER_LAYER => Some(Value::Bool(fd.file?.flags & FILE_UPPER_LAYER != 0)),
        ids::FD_IS_LOWER_LAYER => Some(Value::Bool(fd.file?.flags & FILE_LOWER_LAYER != 0)),
        _ => None,
    }
}

/// Names by which programs asked for an address, the newest first.
fn host<'e>(facts: &Facts<'e>, endpoint: Option<Endpoint>) -> Option<Value<'e>> {
    let (address, _) = endpoint?;
    match facts.context.state.hosts.names(address) {
        [] => None,
        [one] => Some(Value::Bytes(one.as_bytes())),
        several => {
            let names = several.iter().map(|name| Value::Bytes(name.as_bytes()));
            Some(Value::Any(facts.list(names)))
        }
    }
}

/// Both addresses of the event's socket as text.
pub(super) fn tuple_text<'e>(facts: &Facts<'e>) -> Option<&'e [u8]> {
    let fd = facts.fd()?;
    fd.socket?;
    socket_name(facts, fd).filter(|name| !name.is_empty())
}

/// The socket address argument as text.
pub(super) fn address_text<'e>(facts: &Facts<'e>) -> Option<&'e [u8]> {
    let bytes = facts.event.attr(AttrTag::SockAddr)?.bytes;
    match endpoint(bytes) {
        Some(endpoint) => Some(facts.text(|out| endpoint_into(endpoint, true, out))),
        None => unix_path(bytes),
    }
}

/// `<f>NAME` for the descriptor of the event, `<d>DIRECTORY` for a directory a path starts from.
pub(super) fn described<'e>(facts: &Facts<'e>, number: i64) -> Option<&'e [u8]> {
    let fd = facts.fd().filter(|fd| fd.num == number);
    match fd {
        Some(fd) => {
            let (_, letter) = fd.kind?.names();
            let name = name(facts, fd, View::Lexical).unwrap_or_default();
            let protocol = fd.socket.filter(|_| fd.kind.is_some_and(Kind::is_ip)).map(|it| l4_protocol(&it));
            Some(facts.text(|out| {
                out.push(b'<');
                out.extend_from_slice(letter);
                match protocol {
                    Some("tcp") => out.push(b't'),
                    Some("udp") => out.push(b'u'),
                    Some("icmp") => out.push(b'i'),
                    Some("raw") => out.push(b'r'),
                    _ => {}
                }
                out.push(b'>');
                out.extend_from_slice(name);
            }))
        }
        None => directory_argument(facts, number),
    }
}

fn directory_argument<'e>(facts: &Facts<'e>, number: i64) -> Option<&'e [u8]> {
    let first = i64::from(evt::argument(facts, 0) as i32) == number;
    let tag = if first { AttrTag::BaseDir } else { AttrTag::BaseDir2 };
    facts.event.attr(tag)?;
    Some(facts.text(|out| {
        out.extend_from_slice(b"<d>");
        facts.event.path_into(tag, out);
    }))
}

/// `fd.name`; empty for descriptors that have no name.
fn name<'e>(facts: &Facts<'e>, fd: &Fd<'e>, view: View) -> Option<&'e [u8]> {
    match fd.kind {
        Some(Kind::Ipv4 | Kind::Ipv6 | Kind::Unix | Kind::Netlink) => socket_name(facts, fd),
        _ => file_name(facts, fd, view),
    }
}

fn file_name<'e>(facts: &Facts<'e>, fd: &Fd<'e>, view: View) -> Option<&'e [u8]> {
    if facts.row.family == Family::Net {
        return None;
    }
    match view {
        View::Lexical if facts.row.family == Family::Open => facts.path(AttrTag::UserPath).or(fd.path),
        // Descriptors that were there before have the one name the kernel knows.
        View::Lexical | View::Real => fd.path,
    }
}

fn socket_name<'e>(facts: &Facts<'e>, fd: &Fd<'e>) -> Option<&'e [u8]> {
    let Some(socket) = fd.socket else {
        // The call failed before there was a socket; what it asked for is all there is.
        return address_text(facts);
    };
    Some(match (fd.tuple, fd.kind) {
        (Some(tuple), _) => {
            let ports = !icmp_protocol(socket.protocol) && i32::from(socket.kind) != libc::SOCK_RAW;
            facts.text(|out| tuple.text_into(ports, out))
        }
        (None, Some(Kind::Unix)) if fd.path.is_some() || socket.peer != 0 => facts.text(|out| {
            let _ = write!(out, "{:x}->{:x} ", socket.sock, socket.peer);
            out.extend_from_slice(fd.path.unwrap_or_default());
        }),
        _ => b"",
    })
}

fn unix_name<'e>(facts: &Facts<'e>) -> Option<&'e [u8]> {
    let bound = facts.event.attr(AttrTag::UnixPath).map(|attr| attr.bytes);
    let asked = facts.event.attr(AttrTag::SockAddr).and_then(|attr| unix_path(attr.bytes));
    match facts.row.event {
        ev::CONNECT => asked.or(bound),
        _ => bound.or(asked),
    }
}

/// The path as given, only without repeated slashes.
fn raw_name<'e>(facts: &Facts<'e>) -> Option<&'e [u8]> {
    if facts.row.family != Family::Open {
        return None;
    }
    let given = facts.event.attr(AttrTag::UserPath)?.bytes;
    if !given.windows(2).any(|pair| pair == b"//") {
        return Some(given);
    }
    Some(facts.text(|out| {
        for byte in given {
            if *byte != b'/' || out.last() != Some(&b'/') {
                out.push(*byte);
            }
        }
    }))
}

fn directory<'e>(fd: &Fd<'e>, path: &'e [u8]) -> &'e [u8] {
    if fd.kind == Some(Kind::Directory) {
        return path;
    }
    match memchr::memrchr(b'/', path) {
        None | Some(0) => b"/",
        Some(end) => path.get(..end).unwrap_or(path),
    }
}

fn last_component(path: &[u8]) -> &[u8] {
    let start = memchr::memrchr(b'/', path).map_or(0, |slash| slash + 1);
    path.get(start..).unwrap_or(path)
}

fn either<'e>(facts: &Facts<'e>, tuple: Tuple, value: impl Fn(Endpoint) -> Value<'e>) -> Value<'e> {
    match tuple.remote {
        Some(remote) => Value::Either(facts.context.arena.alloc([value(tuple.local), value(remote)])),
        None => value(tuple.local),
    }
}

fn connected(facts: &Facts<'_>, fd: &Fd<'_>) -> bool {
    match facts.row.event {
        ev::CONNECT => facts.succeeded() || facts.event.header.ret == IN_PROGRESS,
        _ => fd.socket.is_some_and(|socket| socket.state == ESTABLISHED),
    }
}

fn types<'e>(facts: &Facts<'e>, fd: &Fd<'e>, arg: FieldArg<'_>) -> Option<Value<'e>> {
    let own = Value::Bytes(fd.kind?.names().0);
    match arg {
        FieldArg::None => Some(Value::List(facts.list(std::iter::once(own)))),
        FieldArg::Index(number) if i64::try_from(number).ok() == Some(fd.num) => {
            Some(Value::List(facts.list(std::iter::once(own))))
        }
        _ => None,
    }
}

fn container_joined<'e>(facts: &Facts<'e>, text: &[u8]) -> Value<'e> {
    let id = container::id(facts);
    Value::Bytes(facts.text(|out| {
        out.extend_from_slice(id);
        out.push(b':');
        out.extend_from_slice(text);
    }))
}
