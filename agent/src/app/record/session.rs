//! The recording thread: ring → file, with everything else that its detector learns.

use std::{
    fs::File,
    io,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use super::Report;
use crate::{
    alert::Alert,
    app::{
        detection::{BEAT, LAST_ROUNDS, SharedHooks, by_family, until},
        enrich::Enrich,
        ports::Records,
    },
    engine::{
        Detector,
        clock::{Clock, boot_now_ns, system_offset_ns},
    },
    kernel::{Incoming, KernelError},
    output::{Fanout, Message},
    recording::{item::Item, write::Writer},
};

/// How far a recording is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// Time since the start.
    pub elapsed: Duration,
    /// Records.
    pub records: u64,
    /// Size of the file.
    pub bytes: u64,
    /// Events that the kernel side lost.
    pub lost: u64,
    /// Alerts, when they were asked for.
    pub alerts: u64,
}

/// Why the thread ended early.
#[derive(Debug)]
pub(super) enum Fault {
    Kernel(KernelError),
    Write(io::Error),
}

impl From<KernelError> for Fault {
    fn from(error: KernelError) -> Self {
        Self::Kernel(error)
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Write(error)
    }
}

/// Everything the thread owns.
pub(super) struct Session<R> {
    pub(super) records: R,
    pub(super) hooks: SharedHooks,
    /// Keeps what it learns.
    pub(super) detector: Detector,
    pub(super) enrich: Enrich,
    pub(super) writer: Writer<File>,
    /// Where alerts go, when they were asked for.
    pub(super) fanout: Option<Fanout>,
    /// Set from outside, which also wakes the reader.
    pub(super) stop: Arc<AtomicBool>,
    pub(super) max_bytes: Option<u64>,
    pub(super) report: Report,
}

impl<R: Records> Session<R> {
    /// Writes down what runs already. Before the first system call is wanted.
    pub(super) fn start(&mut self, now_ns: u64) -> io::Result<()> {
        self.detector.bootstrap_at(now_ns);
        for told in self.detector.take_told() {
            self.writer.item(&Item::Told(told))?;
        }
        self.writer.item(&Item::Start(now_ns))?;
        self.writer.flush()
    }

    /// Runs until told to stop or until the file is large enough.
    pub(super) fn run(self) -> Result<Progress, Fault> {
        let Self { mut records, hooks, detector, mut enrich, writer, fanout, stop, max_bytes, mut report } =
            self;
        let started = Instant::now();
        let mut inside =
            Inside { detector, writer, fanout, progress: Progress::default(), zone: Clock::system() };
        let mut next_beat = started + BEAT;
        let full = |inside: &Inside| max_bytes.is_some_and(|max| inside.writer.bytes() >= max);
        while !stop.load(Ordering::Relaxed) && !full(&inside) {
            let now = Instant::now();
            if now >= next_beat {
                inside.beat(&hooks, started)?;
                report(&inside.progress);
                next_beat = now + BEAT;
            }
            inside.exchange(&mut enrich)?;
            records.wait(until(next_beat, &inside.detector))?;
            inside.drain(&mut records, &mut enrich)?;
            inside.exchange(&mut enrich)?;
        }
        for _ in 0..LAST_ROUNDS {
            if full(&inside) || inside.drain(&mut records, &mut enrich)? == 0 {
                break;
            }
        }
        inside.beat(&hooks, started)?;
        let now_ns = boot_now_ns();
        inside.writer.item(&Item::End(now_ns))?;
        inside.judge(|detector, sink| detector.on_end(now_ns, sink));
        let Inside { writer, mut progress, .. } = inside;
        let file = writer.finish()?;
        file.sync_all()?;
        progress.bytes = file.metadata()?.len();
        progress.elapsed = started.elapsed();
        report(&progress);
        Ok(progress)
    }
}

/// The detector and the file, told the same.
struct Inside {
    detector: Detector,
    writer: Writer<File>,
    fanout: Option<Fanout>,
    progress: Progress,
    zone: Clock,
}

impl Inside {
    /// Takes what is in the ring. Returns how many records.
    fn drain(&mut self, records: &mut impl Records, enrich: &mut Enrich) -> Result<usize, Fault> {
        let mut outcome = Ok(());
        let count = records.drain(&mut |incoming| {
            if outcome.is_err() {
                return;
            }
            outcome = match incoming {
                Incoming::Event(bytes) => self.record(bytes),
                Incoming::Answer(message) => self.answer(message),
                // A recorder has no such programs.
                Incoming::Notice(_) => Ok(()),
            };
            enrich.ask(&mut self.detector);
        })?;
        outcome?;
        Ok(count)
    }

    /// What the state learned because of the record comes before it, as whoever replays needs it.
    fn record(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.judge(|detector, sink| detector.on_record(bytes, sink));
        for told in self.detector.take_told() {
            self.writer.item(&Item::Told(told))?;
        }
        self.writer.item(&Item::Record(bytes))
    }

    fn answer(&mut self, message: &[u8]) -> io::Result<()> {
        let now_ns = boot_now_ns();
        self.detector.on_answer(message, now_ns);
        self.writer.item(&Item::Answer(now_ns, message))
    }

    /// Metadata of containers, and waits that are over.
    fn exchange(&mut self, enrich: &mut Enrich) -> io::Result<()> {
        enrich.ask(&mut self.detector);
        while let Some(news) = enrich.next_news() {
            let now_ns = boot_now_ns();
            self.writer.item(&Item::News(now_ns, news.clone()))?;
            self.judge(|detector, sink| detector.on_news(news, now_ns, sink));
        }
        if self.detector.deadline_ns().is_some() {
            let now_ns = boot_now_ns();
            self.writer.item(&Item::Time(now_ns))?;
            self.judge(|detector, sink| detector.on_time(now_ns, sink));
        }
        Ok(())
    }

    /// Counters and clock; what was gathered goes to the file.
    fn beat(&mut self, hooks: &SharedHooks, started: Instant) -> Result<(), Fault> {
        let counted = hooks.lock().unwrap_or_else(PoisonError::into_inner).counters()?;
        let now_ns = boot_now_ns();
        let counters = by_family(&counted);
        self.writer.item(&Item::Counters(now_ns, Box::new(counters)))?;
        self.judge(|detector, sink| {
            // The ring is never known to be empty while programs run.
            detector.on_counters(&counters, false, now_ns, sink);
            detector.on_time(now_ns, sink);
        });
        self.zone.set_offset(system_offset_ns());
        let (offset_ns, utc_offset_secs) = (self.zone.offset_ns(), self.zone.utc_offset_secs(now_ns));
        self.writer.item(&Item::Clock { offset_ns, utc_offset_secs })?;
        self.detector.set_clock(offset_ns, utc_offset_secs);
        self.writer.flush()?;
        self.progress = Progress {
            elapsed: started.elapsed(),
            records: self.writer.records(),
            bytes: self.writer.bytes(),
            lost: counters.iter().map(|one| one.ring_full + one.error).sum(),
            ..self.progress
        };
        Ok(())
    }

    fn judge(&mut self, act: impl FnOnce(&mut Detector, &mut dyn FnMut(Alert))) {
        let Self { detector, fanout, progress, .. } = self;
        act(detector, &mut |alert| {
            progress.alerts += 1;
            if let Some(fanout) = fanout {
                let line: Arc<dyn Message> = Arc::new(alert);
                fanout.send(&line);
            }
        });
    }
}
