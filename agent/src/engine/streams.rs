//! The detector's side of streams: which the kernel is told to count, and how far. See `rampart_common::stream`.

use rampart_common::pushdown::Mask;
use rampart_common::{
    event::{AttrTag, RECORD_SHADOW, RECORD_UNSPECIALISED, SocketFacts},
    stream::{STREAM_COUNT_WORDS, STREAM_ENTRIES, StreamCount, StreamEnds, StreamKey, StreamTerms},
};
use rampart_rules::window::{Earlier, PARTS, Threshold};
use rustc_hash::FxHashMap;

use crate::event::Event;

/// Time between two answers about one stream, nanoseconds.
const AGAIN_NS: u64 = 50_000_000;
/// Time between two looks for streams that are silent, nanoseconds.
const SWEEP_NS: u64 = 10_000_000_000;
/// Shortest silence after which a stream is forgotten, nanoseconds.
const SILENT_NS: u64 = 10_000_000_000;
/// So many times fewer events than a threshold may be left uncounted at the most, where a part of it is too small to be
/// divided among the CPUs.
const COARSE_PARTS: u64 = 16;

/// What is counted of the events of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream {
    /// Rules that are true on each of them.
    pub matching: Mask,
    /// Whether that holds only as long as no process tree, metadata or name file changes.
    pub depends_on_epoch: bool,
    /// The least threshold on their number.
    pub events: u64,
    /// The least threshold on the sum of their results.
    pub sum: u64,
    /// The shortest time of a threshold, nanoseconds.
    pub shortest_ns: u64,
    /// The longest.
    pub longest_ns: u64,
}

impl Default for Stream {
    fn default() -> Self {
        Self {
            matching: Mask::default(),
            depends_on_epoch: false,
            events: u64::MAX,
            sum: u64::MAX,
            shortest_ns: u64::MAX,
            longest_ns: 0,
        }
    }
}

impl Stream {
    /// Adds a rule's threshold.
    pub fn add(&mut self, threshold: &Threshold) {
        let least = if threshold.sum.is_some() { &mut self.sum } else { &mut self.events };
        *least = (*least).min(threshold.count);
        self.shortest_ns = self.shortest_ns.min(threshold.within_ns);
        self.longest_ns = self.longest_ns.max(threshold.within_ns);
    }

    /// How far each of so many CPUs may count alone: events and their sum. `None` when that would be nothing, or too much
    /// in all.
    pub fn shares(&self, cpus: u64) -> Option<(u64, u64)> {
        let share = |least: u64| {
            let share = (least / PARTS / cpus).max(2);
            (share.saturating_mul(cpus) <= least / COARSE_PARTS).then_some(share)
        };
        Some((share(self.events)?, share(self.sum)?))
    }
}

/// What was told of a stream.
#[derive(Debug)]
struct Told {
    terms: Option<StreamTerms>,
    asked_ns: u64,
    seen_ns: u64,
    silent_ns: u64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Streams {
    told: FxHashMap<StreamKey, Told>,
    swept_ns: u64,
    cpus: u64,
}

impl Streams {
    /// On a machine with so many CPUs.
    pub(super) fn new(cpus: usize) -> Self {
        Self { told: FxHashMap::default(), swept_ns: 0, cpus: (cpus as u64).max(1) }
    }

    /// Forgets all; the rule set is another one.
    pub(super) fn clear(&mut self) {
        self.told.clear();
    }

    /// Streams that the kernel counts.
    pub(super) fn len(&self) -> usize {
        self.told.len()
    }

    /// What the kernel is to be told because of an event, which some rule was left for. `stream` finds out.
    pub(super) fn learn(
        &mut self,
        event: &Event<'_>,
        identity: u64,
        stream: impl FnOnce() -> Option<Stream>,
    ) -> Option<(StreamKey, StreamTerms)> {
        let header = &event.header;
        let unclear = header.flags & (RECORD_SHADOW | RECORD_UNSPECIALISED) != 0;
        if unclear || header.ret <= 0 || event.attr(AttrTag::CallKey).is_some() {
            return None;
        }
        let socket = event.socket().filter(is_connection)?;
        let now_ns = header.time_ns;
        let key = StreamKey {
            sock: socket.sock,
            generation: header.generation,
            pid: header.task.pid,
            syscall: header.syscall,
            ino: socket.ino,
        };
        if let Some(told) = self.told.get_mut(&key) {
            told.seen_ns = now_ns;
            if now_ns.saturating_sub(told.asked_ns) < AGAIN_NS {
                return None;
            }
            told.asked_ns = now_ns;
        } else if self.told.len() >= STREAM_ENTRIES as usize {
            return None;
        }
        let found = stream().and_then(|stream| {
            let (events_max, sum_max) = stream.shares(self.cpus)?;
            if stream.depends_on_epoch && header.epoch == 0 {
                return None;
            }
            let terms = StreamTerms {
                identity,
                epoch: if stream.depends_on_epoch { header.epoch } else { 0 },
                ends: ends(&socket),
                candidates: header.candidates,
                matching: stream.matching,
                events_max,
                sum_max,
                age_ns: stream.shortest_ns / PARTS,
            };
            Some((terms, stream.longest_ns))
        });
        let (terms, longest_ns) = found?;
        let told = self.told.entry(key).or_insert(Told {
            terms: None,
            asked_ns: now_ns,
            seen_ns: now_ns,
            silent_ns: 0,
        });
        told.silent_ns = longest_ns.max(SILENT_NS);
        (told.terms.replace(terms) != Some(terms)).then_some((key, terms))
    }

    /// Takes out the streams that have been silent for so long that nothing of them counts any more.
    pub(super) fn silent(&mut self, now_ns: u64) -> Vec<StreamKey> {
        if now_ns.saturating_sub(self.swept_ns) < SWEEP_NS {
            return Vec::new();
        }
        self.swept_ns = now_ns;
        let is_silent = |told: &Told| now_ns.saturating_sub(told.seen_ns) > told.silent_ns;
        self.told.extract_if(|_, told| is_silent(told)).map(|(key, _)| key).collect()
    }
}

/// Whether a socket is a connection, whose ends stay what they are.
pub fn is_connection(socket: &SocketFacts) -> bool {
    let of_ip = matches!(i32::from(socket.family), libc::AF_INET | libc::AF_INET6);
    of_ip && i32::from(socket.kind) == libc::SOCK_STREAM && socket.remote_port != 0
}

/// Both ends of a connection.
fn ends(socket: &SocketFacts) -> StreamEnds {
    StreamEnds {
        local: words(&socket.local),
        remote: words(&socket.remote),
        ports: u64::from(socket.local_port)
            | u64::from(socket.remote_port) << 16
            | u64::from(socket.role) << 32,
    }
}

/// An address as two words, as it lies in memory.
fn words(address: &[u8; 16]) -> [u64; 2] {
    let word = |at: usize| address.get(at..).and_then(|rest| rest.first_chunk().copied()).unwrap_or([0; 8]);
    [u64::from_ne_bytes(word(0)), u64::from_ne_bytes(word(8))]
}

/// What was counted before an event.
pub(super) fn counted(event: &Event<'_>) -> Option<StreamCount> {
    let bytes = event.attr(AttrTag::Counted)?.bytes;
    let mut words = [0; STREAM_COUNT_WORDS];
    if bytes.len() != size_of_val(&words) {
        return None;
    }
    for (word, chunk) in words.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = u64::from_ne_bytes(chunk.try_into().ok()?);
    }
    Some(StreamCount::from_words(&words))
}

/// What was counted, as windows take it.
pub(super) fn earlier(count: &StreamCount) -> Earlier {
    Earlier { events: count.events, sum: count.sum, since_ns: count.since_ns }
}
