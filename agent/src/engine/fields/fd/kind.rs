//! What kind of thing a descriptor stands for.

use rampart_common::event::{AttrTag, FILE_MEMFD, FileFacts, SocketFacts};
use rampart_rules::catalog::event_ids as ev;

use crate::engine::fields::{Facts, evt, socket::Tuple};

/// Magic number of the file system that anonymous inodes live in.
const ANON_INODE_FS: u32 = 0x0904_1934;
/// Kind of a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine::fields) enum Kind {
    File,
    Directory,
    Ipv4,
    Ipv6,
    Unix,
    Netlink,
    Pipe,
    Event,
    Signal,
    Epoll,
    Inotify,
    Timer,
    Bpf,
    UserFault,
    IoUring,
    Memfd,
    PidFd,
}

impl Kind {
    /// `fd.type` and `fd.typechar`.
    pub(super) fn names(self) -> (&'static [u8], &'static [u8]) {
        match self {
            Self::File => (b"file", b"f"),
            Self::Directory => (b"directory", b"d"),
            Self::Ipv4 => (b"ipv4", b"4"),
            Self::Ipv6 => (b"ipv6", b"6"),
            Self::Unix => (b"unix", b"u"),
            Self::Netlink => (b"netlink", b"n"),
            Self::Pipe => (b"pipe", b"p"),
            Self::Event => (b"event", b"e"),
            Self::Signal => (b"signalfd", b"s"),
            Self::Epoll => (b"eventpoll", b"l"),
            Self::Inotify => (b"inotify", b"i"),
            Self::Timer => (b"timerfd", b"t"),
            Self::Bpf => (b"bpf", b"b"),
            Self::UserFault => (b"userfaultfd", b"u"),
            Self::IoUring => (b"io_uring", b"r"),
            Self::Memfd => (b"memfd", b"m"),
            Self::PidFd => (b"pidfd", b"P"),
        }
    }

    pub(super) fn is_ip(self) -> bool {
        matches!(self, Self::Ipv4 | Self::Ipv6)
    }
}

pub(super) fn socket_kind(socket: &SocketFacts, tuple: Option<Tuple>) -> Option<Kind> {
    match i32::from(socket.family) {
        libc::AF_INET => Some(Kind::Ipv4),
        // A socket for both versions that talks to an IPv4 host counts as one of IPv4.
        libc::AF_INET6 => Some(if tuple.is_none_or(|tuple| tuple.v6()) { Kind::Ipv6 } else { Kind::Ipv4 }),
        libc::AF_UNIX => Some(Kind::Unix),
        libc::AF_NETLINK => Some(Kind::Netlink),
        _ => None,
    }
}

/// Kind of a socket the kernel told nothing about, by what the call asked for.
pub(super) fn wanted_socket_kind(facts: &Facts<'_>) -> Option<Kind> {
    let family = match facts.row.event {
        ev::SOCKET => evt::argument(facts, 0) as u16,
        _ => u16::from_ne_bytes(*facts.event.attr(AttrTag::SockAddr)?.bytes.first_chunk()?),
    };
    socket_kind(&SocketFacts { family, ..SocketFacts::default() }, None)
}

/// Like Falco, an open makes a file unless a directory was asked for; devices and pipes count as files.
pub(super) fn opened_kind(facts: &Facts<'_>, file: Option<FileFacts>) -> Kind {
    const DIRECTORY: u32 = 1 << 10;
    match file {
        Some(file) if file.flags & FILE_MEMFD != 0 => Kind::Memfd,
        _ if evt::open_bits(facts) & DIRECTORY != 0 && facts.succeeded() => Kind::Directory,
        _ => Kind::File,
    }
}

pub(super) fn file_kind(facts: &Facts<'_>, file: &FileFacts) -> Option<Kind> {
    if file.flags & FILE_MEMFD != 0 {
        return Some(Kind::Memfd);
    }
    if file.fs_magic == ANON_INODE_FS {
        return anonymous_kind(facts.real_path()?);
    }
    Some(match file.mode & libc::S_IFMT {
        libc::S_IFDIR => Kind::Directory,
        libc::S_IFIFO => Kind::Pipe,
        _ => Kind::File,
    })
}

fn anonymous_kind(name: &[u8]) -> Option<Kind> {
    let name = name.strip_prefix(b"anon_inode:").unwrap_or(name);
    let name = name.strip_prefix(b"[").unwrap_or(name);
    Some(match name.strip_suffix(b"]").unwrap_or(name) {
        b"eventfd" => Kind::Event,
        b"signalfd" => Kind::Signal,
        b"eventpoll" => Kind::Epoll,
        b"inotify" | b"fanotify" => Kind::Inotify,
        b"timerfd" => Kind::Timer,
        b"bpf-map" | b"bpf-prog" | b"bpf_link" | b"btf" => Kind::Bpf,
        b"userfaultfd" => Kind::UserFault,
        b"io_uring" => Kind::IoUring,
        b"pidfd" => Kind::PidFd,
        _ => return None,
    })
}
