//! The kernel's list of sockets (`sock_diag`): sockets with what the programs of services keep with them, and the end of
//! one.
//!
//! Minimum kernels: what programs keep 5.6, ending TCP 4.5 and UDP 4.9 with `CONFIG_INET_DIAG_DESTROY`.

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd, OwnedFd},
};

use nix::{
    errno::Errno,
    sys::{
        socket::{
            AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, setsockopt, socket,
            sockopt,
        },
        time::{TimeVal, TimeValLike as _},
    },
};

/// Message types.
const BY_FAMILY: u16 = 20;
const DESTROY: u16 = 21;
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// Flags of a message.
const REQUEST: u16 = 1;
const ACKNOWLEDGE: u16 = 4;
const DUMP: u16 = 0x300;
/// Attributes: storages in a request and in an answer, a map's descriptor in one, and a map's value in the other.
const REQUESTED_STORAGES: u16 = 2;
const STORAGES: u16 = 20;
const MAP: u16 = 1;
const STORAGE: u16 = 1;
const MAP_VALUE: u16 = 3;
/// Bits above an attribute's type.
const TYPE_MASK: u16 = 0x3fff;
/// Lengths: head of a message, of an attribute, the request, the answer, and the socket's identity in both.
const HEAD: usize = 16;
const ATTRIBUTE: usize = 4;
const REQUEST_LENGTH: usize = 56;
const ANSWER_LENGTH: usize = 72;
/// An identity: ports, addresses, interface and cookie.
pub(super) const IDENTITY: usize = 48;
/// An answer that does not come.
const PATIENCE_SECS: i64 = 10;
/// What the kernel sends at a time, at most.
const BUFFER: usize = 1 << 16;

/// `AF_INET` and `AF_INET6`, of sockets.
pub(super) const FAMILIES: [u8; 2] = [libc::AF_INET as u8, libc::AF_INET6 as u8];

/// A socket, as the kernel names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Identity {
    pub(super) family: u8,
    pub(super) protocol: u8,
    pub(super) bytes: [u8; IDENTITY],
}

/// A conversation about the sockets of the network namespace in which it was begun.
pub(super) struct Diag {
    socket: OwnedFd,
    sequence: u32,
}

impl Identity {
    /// The number that no other socket ever has.
    pub(super) fn cookie(&self) -> u64 {
        let half = |at: usize| u64::from(u32::from_ne_bytes(array(&self.bytes, at)));
        half(40) | half(44) << 32
    }

    /// Where its other end is: the address as the maps of services have it, and the port in network order.
    pub(super) fn peer(&self) -> ([u32; 4], u16) {
        let word = |at: usize| u32::from_ne_bytes(array(&self.bytes, at));
        let port = u16::from_ne_bytes(array(&self.bytes, 2));
        let address = if self.family == FAMILIES[0] {
            [0, 0, 0xffff_u32.to_be(), word(20)]
        } else {
            [word(20), word(24), word(28), word(32)]
        };
        (address, port)
    }
}

impl Diag {
    /// Begins one.
    pub(super) fn open() -> io::Result<Self> {
        let socket = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkSockDiag,
        )?;
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::seconds(PATIENCE_SECS))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Sockets in some states (bits); with a map those for which it has a value, each with it.
    pub(super) fn list(
        &mut self,
        family: u8,
        protocol: u8,
        states: u32,
        map: Option<BorrowedFd<'_>>,
        mut each: impl FnMut(Identity, &[u8]),
    ) -> io::Result<()> {
        let of_map = map.map(|map| attribute(MAP, &map.as_raw_fd().to_ne_bytes()));
        let storages = of_map.map_or(Vec::new(), |of_map| attribute(REQUESTED_STORAGES, &of_map));
        let request = request(family, protocol, states, &[0; IDENTITY]);
        self.send(BY_FAMILY, REQUEST | DUMP, &[request.as_slice(), &storages].concat())?;
        let mut buffer = vec![0; BUFFER];
        loop {
            let length = self.receive(&mut buffer)?;
            let mut rest = buffer.get(..length).unwrap_or_default();
            while let Some((message, after)) = Message::read(rest) {
                rest = after;
                if message.sequence != self.sequence {
                    continue;
                }
                match message.kind {
                    DONE | ERROR => return message.error(),
                    _ => {
                        if let Some((bytes, value)) = answer(message.body, map.is_some()) {
                            each(Identity { family, protocol, bytes }, value);
                        }
                    }
                }
            }
        }
    }

    /// Ends a socket; its owner gets `ECONNABORTED`. An error of [`io::ErrorKind::NotFound`] means it is gone.
    pub(super) fn destroy(&mut self, identity: &Identity) -> io::Result<()> {
        let body = request(identity.family, identity.protocol, u32::MAX, &identity.bytes);
        self.send(DESTROY, REQUEST | ACKNOWLEDGE, &body)?;
        let mut buffer = vec![0; BUFFER];
        loop {
            let length = self.receive(&mut buffer)?;
            let mut rest = buffer.get(..length).unwrap_or_default();
            while let Some((message, after)) = Message::read(rest) {
                rest = after;
                if message.sequence == self.sequence && message.kind == ERROR {
                    return message.error();
                }
            }
        }
    }

    fn send(&mut self, kind: u16, flags: u16, body: &[u8]) -> io::Result<()> {
        self.sequence += 1;
        let length = (HEAD + body.len()) as u32;
        let mut bytes = Vec::with_capacity(length as usize);
        bytes.extend(length.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend(self.sequence.to_ne_bytes());
        bytes.extend([0; 4]);
        bytes.extend(body);
        send(self.socket.as_raw_fd(), &bytes, MsgFlags::empty())?;
        Ok(())
    }

    fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match recv(self.socket.as_raw_fd(), buffer, MsgFlags::empty()) {
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(length) => return Ok(length),
            }
        }
    }
}

/// A message of the kernel's.
struct Message<'a> {
    kind: u16,
    sequence: u32,
    body: &'a [u8],
}

impl<'a> Message<'a> {
    /// The first message of some bytes, and what comes after it.
    fn read(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let length = u32::from_ne_bytes(array(bytes.get(..HEAD)?, 0)) as usize;
        let message = bytes.get(..length)?;
        let body = message.get(HEAD..)?;
        let read = Self {
            kind: u16::from_ne_bytes(array(message, 4)),
            sequence: u32::from_ne_bytes(array(message, 8)),
            body,
        };
        Some((read, bytes.get(length.next_multiple_of(4)..).unwrap_or_default()))
    }

    fn error(&self) -> io::Result<()> {
        match i32::from_ne_bytes(array(self.body, 0)) {
            0 => Ok(()),
            error => Err(io::Error::from_raw_os_error(-error)),
        }
    }
}

/// The socket of an answer and, where that is asked for, the map's value.
fn answer(body: &[u8], with_value: bool) -> Option<([u8; IDENTITY], &[u8])> {
    let identity = *body.get(4..)?.first_chunk()?;
    if !with_value {
        return Some((identity, &[]));
    }
    let storages = find(body.get(ANSWER_LENGTH..)?, STORAGES)?;
    let value = find(find(storages, STORAGE)?, MAP_VALUE)?;
    Some((identity, value))
}

/// What the first attribute of a type holds.
fn find(bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    let mut rest = bytes;
    loop {
        let length = usize::from(u16::from_ne_bytes(array(rest.get(..ATTRIBUTE)?, 0)));
        let kind = u16::from_ne_bytes(array(rest, 2)) & TYPE_MASK;
        let content = rest.get(ATTRIBUTE..length)?;
        if kind == wanted {
            return Some(content);
        }
        rest = rest.get(length.next_multiple_of(4)..)?;
    }
}

fn attribute(kind: u16, content: &[u8]) -> Vec<u8> {
    let length = (ATTRIBUTE + content.len()) as u16;
    let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend(content);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn request(family: u8, protocol: u8, states: u32, identity: &[u8; IDENTITY]) -> [u8; REQUEST_LENGTH] {
    let mut bytes = [0; REQUEST_LENGTH];
    let parts = [&[family, protocol, 0, 0][..], &states.to_ne_bytes(), identity];
    for (to, from) in bytes.iter_mut().zip(parts.iter().copied().flatten()) {
        *to = *from;
    }
    bytes
}

/// Some bytes from a place on; zeros where there are none.
fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..).and_then(|bytes| bytes.first_chunk()).copied().unwrap_or([0; N])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_and_no_bytes_make_it_panic() {
        let value = attribute(MAP_VALUE, &[7; 64]);
        let storage = attribute(STORAGE, &[attribute(2, &[1, 0, 0, 0]), value].concat());
        let mut body = vec![0; ANSWER_LENGTH];
        body[4] = 9;
        body.extend(attribute(8, &[3]));
        body.extend(attribute(STORAGES | 0x8000, &storage));
        let (identity, found) = answer(&body, true).unwrap();
        assert_eq!((identity[0], found), (9, &[7; 64][..]));
        for length in 0..body.len() {
            assert_eq!(answer(&body[..length], true).map(|(_, value)| value.len()), None, "{length}");
        }
        assert!(find(&[0; 8], 1).is_none(), "an attribute of no length ends the search");
    }

    #[test]
    fn messages_follow_each_other() {
        let message = |length: u32, kind: u16| {
            let mut bytes = vec![0; length as usize];
            bytes[..4].copy_from_slice(&length.to_ne_bytes());
            bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes
        };
        let bytes = [message(21, BY_FAMILY), message(20, DONE)].concat();
        let (first, rest) = Message::read(&bytes).unwrap();
        let (second, rest) = Message::read(rest).unwrap();
        assert_eq!((first.kind, second.kind, rest.len()), (BY_FAMILY, DONE, 0));
        assert!(Message::read(rest).is_none());
        assert!(Message::read(&message(21, DONE)[..20]).is_none());
        assert!(Message::read(&[0; 16]).is_none_or(|(message, _)| message.body.is_empty()));
    }

    #[test]
    fn a_peer_is_as_the_maps_have_it() {
        let mut bytes = [0; IDENTITY];
        bytes[2..4].copy_from_slice(&80_u16.to_be_bytes());
        bytes[20..24].copy_from_slice(&[10, 1, 2, 3]);
        let four = Identity { family: FAMILIES[0], protocol: 6, bytes };
        let address = rampart_common::service::wire::address("10.1.2.3".parse().unwrap());
        assert_eq!(four.peer(), (address, 80_u16.to_be()));
        bytes[40] = 7;
        bytes[44] = 1;
        assert_eq!(Identity { bytes, ..four }.cookie(), 7 | 1 << 32);
    }
}
