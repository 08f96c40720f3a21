//! Items: what the detector was told, one after the other, inside of a frame.
//!
//! `kind:u8 length:u32 payload`; records are stored byte for byte, the rest as `MessagePack` maps.

use rampart_common::{counter::FamilyCounters, event::FAMILY_COUNT};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_bytes::ByteBuf;

use super::{Damage, SKIPPABLE};
use crate::{
    engine::accounting::Counters,
    event::decode,
    state::{container::News, told::Told},
};

/// No boot clock shows as much, 146 years; arithmetic on times below it is safe.
const TIME_MAX: u64 = 1 << 62;
/// No counter gets as far.
const COUNT_MAX: u64 = 1 << 56;

const RECORD: u8 = 1;
const PROCESS: u8 = 2;
const CGROUP: u8 = 3;
const TASK: u8 = 4;
const USERS: u8 = 5;
const GROUPS: u8 = 6;
const START: u8 = 7;
const CLOCK: u8 = 8;
const COUNTERS: u8 = 9;
const NEWS: u8 = 10;
const TIME: u8 = 11;
const END: u8 = 12;
const ANSWER: u8 = 13;
const PLACE: u8 = 14;

/// One thing the detector was told. Times are nanoseconds of the boot clock.
#[derive(Clone, Debug, PartialEq)]
pub enum Item<'a> {
    /// A record of the ring.
    Record(&'a [u8]),
    /// What the next record, or the start, asks for.
    Told(Told),
    /// All processes that ran are told.
    Start(u64),
    /// The clock.
    Clock {
        /// Wall minus boot clock, nanoseconds.
        offset_ns: i64,
        /// Distance of the zone from UTC, seconds to the east.
        utc_offset_secs: i32,
    },
    /// A DNS message that reached a socket of the node.
    Answer(u64, &'a [u8]),
    /// Counters of the kernel side.
    Counters(u64, Box<Counters>),
    /// Metadata of a container or pod.
    News(u64, News),
    /// Time passed.
    Time(u64),
    /// The recorder stopped.
    End(u64),
}

#[derive(Serialize, Deserialize)]
struct Cgroup {
    pid: u32,
    file: ByteBuf,
}

#[derive(Serialize, Deserialize)]
struct Place {
    second: bool,
    path: ByteBuf,
}

#[derive(Serialize, Deserialize)]
struct Clock {
    offset_ns: i64,
    utc_offset_secs: i32,
}

#[derive(Serialize, Deserialize)]
struct Counted {
    now_ns: u64,
    /// Seen, filtered, emitted, ring full, error; by family.
    families: Vec<[u64; 5]>,
}

#[derive(Serialize, Deserialize)]
struct Learned {
    now_ns: u64,
    news: News,
}

impl Item<'_> {
    /// Appends the item.
    pub fn append(&self, out: &mut Vec<u8>) -> Result<(), rmp_serde::encode::Error> {
        let start = out.len();
        out.extend_from_slice(&[self.kind(), 0, 0, 0, 0]);
        let body = out.len();
        match self {
            Self::Record(bytes) => out.extend_from_slice(bytes),
            Self::Answer(now_ns, message) => {
                out.extend_from_slice(&now_ns.to_le_bytes());
                out.extend_from_slice(message);
            }
            Self::Told(Told::Process(found)) => rmp_serde::encode::write_named(out, found)?,
            Self::Told(Told::Cgroup { pid, file }) => {
                rmp_serde::encode::write_named(
                    out,
                    &Cgroup { pid: *pid, file: ByteBuf::from(file.clone()) },
                )?;
            }
            Self::Told(Told::Place { second, path }) => {
                let place = Place { second: *second, path: ByteBuf::from(path.clone()) };
                rmp_serde::encode::write_named(out, &place)?;
            }
            Self::Told(Told::Task { namespace, name }) => {
                rmp_serde::encode::write_named(out, &(namespace, name))?;
            }
            Self::Told(Told::Users(users)) => rmp_serde::encode::write_named(out, users)?,
            Self::Told(Told::Groups(groups)) => {
                let groups: Vec<(u32, ByteBuf)> =
                    groups.iter().map(|(id, name)| (*id, ByteBuf::from(name.to_vec()))).collect();
                rmp_serde::encode::write_named(out, &groups)?;
            }
            Self::Clock { offset_ns, utc_offset_secs } => {
                let clock = Clock { offset_ns: *offset_ns, utc_offset_secs: *utc_offset_secs };
                rmp_serde::encode::write_named(out, &clock)?;
            }
            Self::Counters(now_ns, counters) => {
                let words =
                    |one: &FamilyCounters| [one.seen, one.filtered, one.emitted, one.ring_full, one.error];
                let counted = Counted { now_ns: *now_ns, families: counters.iter().map(words).collect() };
                rmp_serde::encode::write_named(out, &counted)?;
            }
            Self::News(now_ns, news) => {
                rmp_serde::encode::write_named(out, &Learned { now_ns: *now_ns, news: news.clone() })?;
            }
            Self::Start(now_ns) | Self::Time(now_ns) | Self::End(now_ns) => {
                out.extend_from_slice(&now_ns.to_le_bytes());
            }
        }
        let length = ((out.len() - body) as u32).to_le_bytes();
        if let Some(slot) = out.get_mut(start + 1..body) {
            slot.copy_from_slice(&length);
        }
        Ok(())
    }

    const fn kind(&self) -> u8 {
        match self {
            Self::Record(_) => RECORD,
            Self::Told(Told::Process(_)) => PROCESS,
            Self::Told(Told::Cgroup { .. }) => CGROUP,
            Self::Told(Told::Place { .. }) => PLACE,
            Self::Told(Told::Task { .. }) => TASK,
            Self::Told(Told::Users(_)) => USERS,
            Self::Told(Told::Groups(_)) => GROUPS,
            Self::Start(_) => START,
            Self::Clock { .. } => CLOCK,
            Self::Answer(..) => ANSWER,
            Self::Counters(..) => COUNTERS,
            Self::News(..) => NEWS,
            Self::Time(_) => TIME,
            Self::End(_) => END,
        }
    }
}

/// The items of a frame's payload. Ends after the first that cannot be understood.
#[derive(Clone, Debug)]
pub struct Items<'a>(&'a [u8]);

impl<'a> Items<'a> {
    /// Items of a payload.
    pub const fn new(payload: &'a [u8]) -> Self {
        Self(payload)
    }

    /// Kind and payload of the next item.
    fn raw(&mut self) -> Result<(u8, &'a [u8]), Damage> {
        let (kind, rest) = self.0.split_first().ok_or(Damage::Length)?;
        let (length, rest) = rest.split_first_chunk().ok_or(Damage::Length)?;
        let length = u32::from_le_bytes(*length) as usize;
        let (body, rest) = rest.split_at_checked(length).ok_or(Damage::Length)?;
        self.0 = rest;
        Ok((*kind, body))
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = Result<Item<'a>, Damage>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.0.is_empty() {
            let item = self.raw().and_then(|(kind, body)| item(kind, body));
            match item {
                Ok(None) => {}
                Ok(Some(item)) => return Some(Ok(item)),
                Err(damage) => {
                    self.0 = &[];
                    return Some(Err(damage));
                }
            }
        }
        None
    }
}

/// `None` for an item to skip.
fn item(kind: u8, body: &[u8]) -> Result<Option<Item<'_>>, Damage> {
    Ok(Some(match kind {
        RECORD if decode::time_ns(body).is_none_or(|time| time < TIME_MAX) => Item::Record(body),
        RECORD => return Err(Damage::Contents),
        PROCESS => Item::Told(Told::Process(Box::new(unpack(body)?))),
        CGROUP => {
            let Cgroup { pid, file } = unpack(body)?;
            Item::Told(Told::Cgroup { pid, file: file.into_vec() })
        }
        PLACE => {
            let Place { second, path } = unpack(body)?;
            Item::Told(Told::Place { second, path: path.into_vec() })
        }
        TASK => {
            let (namespace, name) = unpack(body)?;
            Item::Told(Told::Task { namespace, name })
        }
        USERS => Item::Told(Told::Users(unpack(body)?)),
        GROUPS => {
            let groups: Vec<(u32, ByteBuf)> = unpack(body)?;
            let groups = groups.into_iter().map(|(id, name)| (id, name.into_vec().into())).collect();
            Item::Told(Told::Groups(groups))
        }
        START => Item::Start(time(body)?),
        CLOCK => {
            let Clock { offset_ns, utc_offset_secs } = unpack(body)?;
            Item::Clock { offset_ns, utc_offset_secs }
        }
        COUNTERS => {
            let Counted { now_ns, families } = unpack(body)?;
            Item::Counters(plausible(now_ns)?, Box::new(counters(&families)?))
        }
        NEWS => {
            let Learned { now_ns, news } = unpack(body)?;
            Item::News(plausible(now_ns)?, news)
        }
        TIME => Item::Time(time(body)?),
        END => Item::End(time(body)?),
        ANSWER => {
            let (now, message) = body.split_at_checked(8).ok_or(Damage::Length)?;
            Item::Answer(time(now)?, message)
        }
        SKIPPABLE.. => return Ok(None),
        unknown => return Err(Damage::Kind(unknown)),
    }))
}

fn counters(families: &[[u64; 5]]) -> Result<Counters, Damage> {
    if families.iter().flatten().any(|count| *count > COUNT_MAX) {
        return Err(Damage::Contents);
    }
    let mut counters = [FamilyCounters::default(); FAMILY_COUNT];
    for (slot, [seen, filtered, emitted, ring_full, error]) in
        counters.iter_mut().zip(families.iter().copied())
    {
        *slot = FamilyCounters { seen, filtered, emitted, ring_full, error, counted: 0 };
    }
    Ok(counters)
}

fn time(body: &[u8]) -> Result<u64, Damage> {
    plausible(body.try_into().map(u64::from_le_bytes).map_err(|_| Damage::Contents)?)
}

fn plausible(time_ns: u64) -> Result<u64, Damage> {
    if time_ns < TIME_MAX { Ok(time_ns) } else { Err(Damage::Contents) }
}

fn unpack<T: DeserializeOwned>(body: &[u8]) -> Result<T, Damage> {
    rmp_serde::from_slice(body).map_err(|_| Damage::Contents)
}
