//! Judges a recording again: the same items into detectors, in the same order.

use std::{io::Read, sync::Arc};

use rampart_common::counter::FamilyCounters;
use rampart_rules::event_set::EventSet;

use super::{ReadError, facts::Facts, item::Item, read::Reader};
use crate::{
    alert::Alert,
    engine::{self, Detector, Digesting, clock::Clock, profile::Stopwatch},
    event::decode,
    policy::Bundle,
    state::{
        self,
        told::{Outside, Told},
    },
};

/// How a replay went.
#[derive(Debug)]
pub struct Summary {
    /// Records judged.
    pub records: u64,
    /// Events that the kernel side of the recorder lost for want of room or for another reason.
    pub lost: u64,
    /// Time from the first to the last record, nanoseconds.
    pub span_ns: u64,
    /// Why the recording could not be read to its end.
    pub fault: Option<ReadError>,
}

/// Switches of a replay that are not the recording's.
#[derive(Clone, Copy, Debug)]
pub struct Switches {
    /// Whether rules on `fd.name` and `fs.path.*` are tried on the real path too.
    pub realpath_matching: bool,
    /// Whether Falco's faults are reproduced.
    pub strict_falco: bool,
}

/// A detector that is to be told a recording.
pub fn detector(facts: &Facts, bundle: &Bundle, switches: Switches) -> Detector {
    let options = engine::Options {
        cpus: 1,
        hostname: facts.hostname.clone(),
        realpath_matching: switches.realpath_matching,
        placed: EventSet::EMPTY,
        suggested_output: true,
        iso_time: false,
        strict_falco: switches.strict_falco,
        policy_digest: Some(Arc::clone(&bundle.digest)),
        trading: bundle.trading.clone(),
        clock_offset_ns: None,
        clock: Clock::fixed(facts.clock_offset_ns, facts.utc_offset_secs),
        stopwatch: Stopwatch::system(),
        id_seed: facts.id_seed,
        digests: Digesting::Asked,
        metadata_wait_ns: facts.metadata_wait_ns,
        state: state::Config {
            process_limit: usize::try_from(facts.process_limit).unwrap_or(usize::MAX),
            outside: Outside::Told,
            ..state::Config::default()
        },
    };
    Detector::new(Arc::clone(&bundle.rules), options)
}

/// Tells the detectors the whole recording, or what is readable of it. `sink` takes each alert with the index of its
/// detector.
pub fn run<R: Read>(
    reader: &mut Reader<R>,
    detectors: &mut [Detector],
    sink: &mut dyn FnMut(usize, Alert),
) -> Summary {
    let mut player = Player { detectors, sink, last_ns: 0, first_ns: 0, lost: 0, ended: false };
    let fault = loop {
        match reader.next(|item| player.play(item)) {
            Ok(true) => {}
            Ok(false) => break None,
            Err(error) => break Some(error),
        }
    };
    // A recorder that was killed did not say that it ends.
    player.end(player.last_ns);
    let span_ns = player.last_ns.saturating_sub(player.first_ns);
    Summary { records: reader.records(), lost: player.lost, span_ns, fault }
}

struct Player<'d> {
    detectors: &'d mut [Detector],
    sink: &'d mut dyn FnMut(usize, Alert),
    first_ns: u64,
    last_ns: u64,
    lost: u64,
    ended: bool,
}

impl Player<'_> {
    fn play(&mut self, item: Item<'_>) {
        match item {
            Item::Record(bytes) => {
                self.seen(decode::time_ns(bytes).unwrap_or(0));
                self.each(|detector, sink| {
                    detector.on_record(bytes, sink);
                    after_record(detector);
                });
            }
            Item::Answer(now_ns, message) => {
                self.seen(now_ns);
                self.each(|detector, _| detector.on_answer(message, now_ns));
            }
            Item::Told(told) => self.tell(told),
            Item::Start(now_ns) => self.each(|detector, _| {
                detector.bootstrap_at(now_ns);
                after_record(detector);
            }),
            Item::Clock { offset_ns, utc_offset_secs } => {
                self.each(|detector, _| detector.set_clock(offset_ns, utc_offset_secs));
            }
            Item::Counters(now_ns, counters) => {
                self.seen(now_ns);
                let lost = |one: &FamilyCounters| one.ring_full.saturating_add(one.error);
                self.lost = counters.iter().map(lost).fold(0, u64::saturating_add);
                self.each(|detector, sink| {
                    detector.on_counters(&counters, false, now_ns, sink);
                    detector.on_time(now_ns, sink);
                });
            }
            Item::News(now_ns, news) => {
                self.seen(now_ns);
                self.each(|detector, sink| detector.on_news(news.clone(), now_ns, sink));
            }
            Item::Time(now_ns) => {
                self.seen(now_ns);
                self.each(|detector, sink| detector.on_time(now_ns, sink));
            }
            Item::End(now_ns) => self.end(now_ns),
        }
    }

    fn seen(&mut self, now_ns: u64) {
        if self.first_ns == 0 {
            self.first_ns = now_ns;
        }
        self.last_ns = self.last_ns.max(now_ns);
    }

    fn tell(&mut self, told: Told) {
        if let Some((last, others)) = self.detectors.split_last_mut() {
            for detector in others {
                detector.tell(told.clone());
            }
            last.tell(told);
        }
    }

    fn end(&mut self, now_ns: u64) {
        if !std::mem::replace(&mut self.ended, true) {
            self.each(|detector, sink| detector.on_end(now_ns, sink));
        }
    }

    fn each(&mut self, mut act: impl FnMut(&mut Detector, &mut dyn FnMut(Alert))) {
        for (index, detector) in self.detectors.iter_mut().enumerate() {
            act(detector, &mut |alert| (self.sink)(index, alert));
        }
    }
}

/// Answers hold for one record, and what the detector wants to know was asked when the recording was made.
fn after_record(detector: &mut Detector) {
    detector.forget_told();
    while detector.next_request().is_some() {}
}

#[cfg(test)]
mod tests;
