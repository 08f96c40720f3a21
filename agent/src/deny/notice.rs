//! What the programs tell of an operation, and the event that it would have been.

use std::net::{IpAddr, Ipv6Addr};

use rampart_common::{
    deny::{OBSERVED, Operation, REFUSED, UNKNOWN_GROUP, UNKNOWN_PROCESS},
    event::{AttrTag, EventKind, FileFacts, SocketFacts, TaskFacts},
};

use super::plan::rows;
use crate::event::{build::RecordBuilder, decode};

/// `EPERM` as a result.
const NOT_PERMITTED: i64 = -1;

/// What became of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was refused, by the term with this bit.
    Refused(usize),
    /// It would have been.
    Observed(usize),
    /// What the process runs is not known.
    UnknownProcess,
    /// What the process's control group is, is not known.
    UnknownGroup,
}

/// A notice of the programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Boot clock, nanoseconds.
    pub time_ns: u64,
    /// By which tables it was judged.
    pub generation: u32,
    /// What became of it.
    pub outcome: Outcome,
    /// What it is.
    pub operation: Operation,
    /// Open flags, or the remote port.
    pub number: u32,
    /// Mode of the file, or the address family.
    pub mode: u32,
    /// Protocol of a socket.
    pub protocol: u8,
    /// The remote address.
    pub address: [u8; 16],
    /// Who.
    pub task: TaskFacts,
    /// The path.
    pub path: Vec<u8>,
}

impl Notice {
    /// Reads one; `None` when it is none.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?));
        let byte = |at: usize| bytes.get(at).copied();
        let term = usize::from(byte(12)?);
        let path = bytes.get(192..).unwrap_or_default();
        let len = (word(24)? as usize).min(path.len());
        Some(Self {
            time_ns: u64::from_ne_bytes(*bytes.first_chunk()?),
            generation: word(8)?,
            outcome: match byte(14)? {
                REFUSED => Outcome::Refused(term),
                OBSERVED => Outcome::Observed(term),
                UNKNOWN_PROCESS => Outcome::UnknownProcess,
                UNKNOWN_GROUP => Outcome::UnknownGroup,
                _ => return None,
            },
            operation: Operation::ALL.into_iter().find(|operation| Some(*operation as u8) == byte(13))?,
            number: word(16)?,
            mode: word(20)?,
            protocol: byte(15)?,
            address: *bytes.get(32..)?.first_chunk()?,
            task: decode::task(bytes.get(48..192)?)?,
            path: path.get(..len)?.iter().copied().take_while(|byte| *byte != 0).collect(),
        })
    }

    /// What the operation is about.
    pub fn target(&self) -> String {
        match self.operation {
            Operation::Connect => {
                let address = IpAddr::V6(Ipv6Addr::from(self.address)).to_canonical();
                std::net::SocketAddr::new(address, self.number as u16).to_string()
            }
            Operation::Open | Operation::Exec => String::from_utf8_lossy(&self.path).into_owned(),
        }
    }

    /// In words.
    pub fn text(&self) -> String {
        format!("{} {}", self.operation.name(), self.target())
    }

    /// The record that the failed call would have left, by the newest call of its kind.
    pub fn record(&self) -> Option<Vec<u8>> {
        let row = rows(self.operation).into_iter().find(|row| {
            row.event.def().is_some_and(|def| matches!(def.name, "openat" | "execve" | "connect"))
        })?;
        let mut record = RecordBuilder::new(EventKind::Syscall, row.family);
        record.header.task = self.task;
        record.header.time_ns = self.time_ns;
        record.header.syscall = row.number?;
        record.header.ret = NOT_PERMITTED;
        let path = String::from_utf8_lossy(&self.path);
        let record = match self.operation {
            Operation::Open => {
                if let Some(flags) = record.header.args.get_mut(2) {
                    *flags = u64::from(self.number);
                }
                let facts = FileFacts { mode: self.mode, open_flags: self.number, ..FileFacts::default() };
                record.text(AttrTag::UserPath, &path).path(AttrTag::RealPath, &path).file(&facts)
            }
            Operation::Exec => record.text(AttrTag::UserPath, &path),
            Operation::Connect => {
                let v6 = self.mode == libc::AF_INET6 as u32;
                let mut remote = self.address;
                if !v6 {
                    let [.., a, b, c, d] = self.address;
                    remote = [0; 16];
                    remote.iter_mut().zip([a, b, c, d]).for_each(|(to, from)| *to = from);
                }
                let udp = u32::from(self.protocol) == libc::IPPROTO_UDP as u32;
                record.socket(&SocketFacts {
                    sock: 1,
                    family: self.mode as u16,
                    kind: if udp { libc::SOCK_DGRAM } else { libc::SOCK_STREAM } as u16,
                    protocol: u16::from(self.protocol),
                    remote,
                    remote_port: self.number as u16,
                    ..SocketFacts::default()
                })
            }
        };
        Some(record.build())
    }
}
