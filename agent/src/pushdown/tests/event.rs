//! Random events of the system call table: records like those of the kernel programs.

use proptest::{collection::vec, prelude::*};
use rampart_common::event::{
    ATTR_DISCONNECTED, AttrTag, EXTRA_MSGHDR, EXTRA_OPEN_HOW, EXTRA_SOCKADDR, EXTRA_SOCKADDR_OUT, EventKind,
    FILE_CREATED, FILE_MEMFD, FILE_UPPER_LAYER, Family, FileFacts, SLOT_NO_BASE, SocketFacts,
};
use rampart_rules::catalog::event_ids as ev;

use super::processes;
use crate::event::{
    build::RecordBuilder,
    syscall::{self, Row},
};

pub(super) const PATHS: [&str; 16] = [
    "/",
    "/etc",
    "/etc/shadow",
    "/etc/passwd",
    "/tmp/x",
    "/tmp/x/etc/shadow",
    "/root/.ssh/id_rsa",
    "/dev/null",
    "/a",
    "/x",
    "/Etc/Shadow",
    "/usr/bin/a",
    "/usr/bin/cat",
    "/etc/a/b",
    "/root/.ssh",
    "/tmp",
];
const COMPONENTS: [&str; 12] =
    ["etc", "shadow", ".", "..", "", "tmp", "x", "a", ".ssh", "root", "id_rsa", "usr"];
const ARGUMENTS: [u64; 20] = [
    0,
    1,
    2,
    3,
    4,
    9,
    0o100,
    0o101,
    0o1101,
    0o644,
    0o755,
    0o100_0000,
    0o200_0000,
    0o20_200_000,
    0o200_000,
    0x5412,
    0x2_0000,
    33,
    0xffff_ffff_ffff_ff9c,
    0xdead_beef_0000_0001,
];
const RESULTS: [i64; 8] = [0, 3, 4, 100, -1, -2, -13, -115];
const V4: [[u8; 4]; 6] =
    [[10, 0, 0, 1], [127, 0, 0, 1], [8, 8, 8, 8], [0, 0, 0, 0], [10, 0, 0, 2], [192, 168, 3, 4]];
const V6: [[u8; 16]; 5] = [
    [0; 16],
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 0, 0, 1],
    [0x20, 1, 13, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9],
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 0, 0, 0, 0],
];
const PORTS: [u16; 9] = [0, 22, 80, 443, 8080, 32_767, 32_768, 40_000, 65_535];

/// Choices that make one event.
#[derive(Clone, Debug)]
pub(super) struct Spec {
    row: usize,
    args: [u8; 6],
    result: u8,
    /// Components of the path as given, or a whole path.
    given: Vec<u8>,
    style: u8,
    base: u8,
    real: u8,
    file: u8,
    socket: [u8; 8],
    argument: [u8; 4],
    /// Its process.
    pub(super) process: u8,
    /// Facts of the thread that change at any time.
    volatile: u8,
    /// Which facts the kernel fails to see.
    pub(super) blind: u8,
    pub(super) world: World,
}

/// Which world an event happens in, when masks of processes and images were made in the present one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum World {
    Present,
    /// Processes and metadata changed since.
    Later,
    /// Processes run the same images, and all else about them is different.
    Other,
}

pub(super) fn spec() -> impl Strategy<Value = Spec> {
    let path = (vec(any::<u8>(), 0..5), any::<u8>(), any::<u8>(), any::<u8>(), any::<u8>());
    let rest = (any::<[u8; 8]>(), any::<[u8; 4]>(), any::<u8>(), any::<u8>(), any::<u8>(), any::<u8>());
    (any::<u16>(), any::<[u8; 6]>(), any::<u8>(), path, rest).prop_map(
        |(
            row,
            args,
            result,
            (given, style, base, real, file),
            (socket, argument, process, volatile, blind, world),
        )| Spec {
            row: usize::from(row),
            args,
            result,
            given,
            style,
            base,
            real,
            file,
            socket,
            argument,
            process,
            volatile,
            blind,
            world: match world % 5 {
                0 => World::Other,
                1 | 2 => World::Later,
                _ => World::Present,
            },
        },
    )
}

fn pick<T: Copy>(from: &[T], choice: u8) -> T {
    from[usize::from(choice) % from.len()]
}

impl Spec {
    /// Another event of the same process on the same socket by the same call.
    pub(super) fn like(&self, other: &Self) -> Self {
        Self {
            args: other.args,
            result: other.result,
            argument: other.argument,
            volatile: other.volatile,
            ..self.clone()
        }
    }

    /// The row among those with these events.
    pub(super) fn row(&self, events: &[&str]) -> &'static Row {
        let rows: Vec<&'static Row> = syscall::rows()
            .filter(|row| {
                row.number.is_some() && row.event.def().is_some_and(|def| events.contains(&def.name))
            })
            .collect();
        rows[self.row % rows.len()]
    }

    /// The record.
    pub(super) fn build(&self, row: &Row) -> RecordBuilder {
        let ret = pick(&RESULTS, self.result);
        let args = self.args.map(|arg| pick(&ARGUMENTS, arg));
        let number = i64::from(row.number.unwrap());
        let mut record = RecordBuilder::syscall(number, row.family, ret, &args);
        if row.family == Family::Exec && ret >= 0 {
            record.header.kind = EventKind::Exec as u16;
            record.header.ret = 0;
        }
        record = processes::made_by(record, self.process, self.volatile);
        if self.world == World::Other {
            record = processes::elsewhere(record);
        }
        record = self.paths(record, row, ret);
        record = self.descriptor(record, row, ret);
        if row.plan.text != 0 {
            record = record.text(AttrTag::Text, pick(&["", "x", "bash", "/etc"], self.volatile));
        }
        if row.plan.bytes != 0 {
            record = record.attr_flags(AttrTag::Bytes, 0, &[self.volatile; 24]);
        }
        if row.plan.data != 0 && ret >= 0 {
            record = record.text(AttrTag::Data, "data");
        }
        record
    }

    fn paths(&self, mut record: RecordBuilder, row: &Row, ret: i64) -> RecordBuilder {
        let plan = &row.plan;
        if plan.path != 0 {
            let given = self.given();
            if !given.starts_with('/') && plan.dir != SLOT_NO_BASE && self.style % 16 != 15 {
                record = record.path(AttrTag::BaseDir, pick(&PATHS, self.base));
            }
            record = record.text(AttrTag::UserPath, &given);
        }
        if plan.path2 != 0 {
            record = record.text(AttrTag::UserPath2, pick(&PATHS, self.real)).path(AttrTag::BaseDir2, "/tmp");
        }
        if plan.extra_kind == EXTRA_OPEN_HOW {
            let [flags, mode, resolve, ..] = self.args.map(|arg| pick(&ARGUMENTS, arg));
            record = record.open_how(flags, mode, resolve & 0x3f);
        }
        if row.family == Family::Open && ret >= 0 && self.file % 16 != 15 {
            let real = pick(&PATHS, self.real);
            record = match self.file % 8 {
                0 => record.path_flags(AttrTag::RealPath, ATTR_DISCONNECTED, "memfd:x"),
                // Mostly the file is where the text says, as far as the test can tell.
                1..=4 if self.style.is_multiple_of(4) => {
                    record.path(AttrTag::RealPath, pick(&PATHS, self.base))
                }
                _ => record.path(AttrTag::RealPath, real),
            };
            let flags = pick(&[0, 0, FILE_CREATED, FILE_MEMFD, FILE_UPPER_LAYER], self.file / 16);
            record =
                record.file(&FileFacts { flags, ino: 7, dev: 3, mode: 0o100_644, ..FileFacts::default() });
        }
        record
    }

    /// The path as the program gave it.
    fn given(&self) -> String {
        if self.style.is_multiple_of(4) {
            return pick(&PATHS, self.base).to_owned();
        }
        let parts: Vec<&str> = self.given.iter().map(|part| pick(&COMPONENTS, *part)).collect();
        let start = if self.style % 4 == 1 { "" } else { "/" };
        format!("{start}{}", parts.join("/"))
    }

    fn descriptor(&self, mut record: RecordBuilder, row: &Row, ret: i64) -> RecordBuilder {
        let plan = &row.plan;
        let sockaddr = match plan.extra_kind {
            EXTRA_SOCKADDR | EXTRA_MSGHDR => true,
            EXTRA_SOCKADDR_OUT => ret >= 0,
            _ => false,
        };
        if sockaddr && !self.argument[0].is_multiple_of(3) {
            record = record.attr_flags(AttrTag::SockAddr, 0, &self.sockaddr());
        }
        let there = matches!(row.family, Family::Net | Family::Fd)
            && plan.fd != 0
            && (plan.fd != rampart_common::event::SLOT_RETURN || ret >= 0);
        if !there || (row.family == Family::Fd && self.file.is_multiple_of(2)) {
            return if there {
                record.file(&FileFacts { mode: 0o100_644, ..FileFacts::default() })
            } else {
                record
            };
        }
        record.socket(&self.socket(row))
    }

    fn socket(&self, row: &Row) -> SocketFacts {
        let [family, kind, local, local_port, remote, remote_port, role, state] = self.socket;
        let family =
            pick(&[libc::AF_INET, libc::AF_INET, libc::AF_INET6, libc::AF_UNIX, libc::AF_NETLINK], family);
        let kind = pick(&[libc::SOCK_STREAM, libc::SOCK_DGRAM, libc::SOCK_RAW], kind);
        let mut facts = SocketFacts {
            sock: 1,
            family: family as u16,
            kind: kind as u16,
            protocol: u16::from(pick(&[0u8, 6, 17, 1], state / 8)),
            state: state % 12,
            role: role % 3,
            ..SocketFacts::default()
        };
        match family {
            libc::AF_INET => {
                facts.local[..4].copy_from_slice(&pick(&V4, local));
                facts.remote[..4].copy_from_slice(&pick(&V4, remote));
            }
            libc::AF_INET6 => (facts.local, facts.remote) = (pick(&V6, local), pick(&V6, remote)),
            _ => return facts,
        }
        (facts.local_port, facts.remote_port) = (pick(&PORTS, local_port), pick(&PORTS, remote_port));
        if state.is_multiple_of(3) || row.event == ev::LISTEN {
            (facts.remote, facts.remote_port) = ([0; 16], 0);
        }
        facts
    }

    fn sockaddr(&self) -> Vec<u8> {
        let [_, family, address, port] = self.argument;
        let mut out = Vec::new();
        match family % 4 {
            0 | 1 => {
                out.extend((libc::AF_INET as u16).to_ne_bytes());
                out.extend(pick(&PORTS, port).to_be_bytes());
                out.extend(pick(&V4, address));
                out.resize(16, 0);
            }
            2 => {
                out.extend((libc::AF_INET6 as u16).to_ne_bytes());
                out.extend(pick(&PORTS, port).to_be_bytes());
                out.extend([0; 4]);
                out.extend(pick(&V6, address));
                out.extend([0; 4]);
            }
            _ => {
                out.extend((libc::AF_UNIX as u16).to_ne_bytes());
                out.extend(b"/run/x\0");
            }
        }
        out
    }
}
