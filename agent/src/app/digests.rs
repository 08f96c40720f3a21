//! The thread that reads executed files for their digests. It alone waits for disks; what nobody waits for comes last.

use std::{
    collections::VecDeque,
    io,
    path::Path,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use super::tasks::Tasks;
use crate::{
    config,
    container::lookup::Outlet,
    digests::{Budget, Left, Limits, Tallies, digest},
    state::{container::News, digest::DigestWanted},
};

/// Name of the thread.
const DIGESTS: &str = "digests";
/// Files on their way to it; what finds no room stays in the detector's own bounded queue.
const REQUESTS: usize = 256;
/// Files that nobody waits for; the oldest make room, and are asked for again when they are run again.
const PATIENT_MAX: usize = 4096;
/// Where processes are.
const PROC: &str = "/proc";
/// Longest sleep while others may come.
const NAP: Duration = Duration::from_millis(50);

/// Starts the thread; `None` when nothing is to be read.
pub(super) fn start(
    settings: config::Digests,
    outlet: Outlet,
    tallies: &Arc<Tallies>,
    tasks: &mut Tasks,
) -> io::Result<Option<SyncSender<DigestWanted>>> {
    if settings.max_bytes == 0 {
        return Ok(None);
    }
    let (requests, asked) = sync_channel(REQUESTS);
    let limits = Limits { max_bytes: settings.max_bytes, bytes_per_sec: settings.bytes_per_sec };
    let mut reader = Reader {
        asked,
        outlet,
        tallies: Arc::clone(tallies),
        budget: Budget::new(limits, Instant::now()),
        patient: VecDeque::new(),
    };
    tasks.thread(DIGESTS, move || {
        reader.run();
        // It ends with the thread that asks, and that end is the one to be told.
        loop {
            thread::park();
        }
    })?;
    Ok(Some(requests))
}

struct Reader {
    asked: Receiver<DigestWanted>,
    outlet: Outlet,
    tallies: Arc<Tallies>,
    budget: Budget,
    patient: VecDeque<DigestWanted>,
}

impl Reader {
    fn run(&mut self) {
        loop {
            // Whoever waits goes first.
            let next = match self.asked.try_recv() {
                Ok(wanted) => Some(wanted),
                Err(TryRecvError::Empty) if self.patient.is_empty() => match self.asked.recv() {
                    Ok(wanted) => Some(wanted),
                    Err(_) => return,
                },
                Err(TryRecvError::Empty) => None,
                Err(TryRecvError::Disconnected) => return,
            };
            match next {
                Some(wanted) if wanted.is_patient => {
                    if self.patient.len() >= PATIENT_MAX {
                        self.patient.pop_front();
                    }
                    self.patient.push_back(wanted);
                }
                Some(wanted) => self.make(&wanted),
                None => self.be_patient(),
            }
        }
    }

    /// Reads a file that nobody waits for, unless somebody comes meanwhile.
    fn be_patient(&mut self) {
        let Some(wanted) = self.patient.front().cloned() else { return };
        // What is over the budget is tried again after a while; the budget refuses at once.
        match digest(Path::new(PROC), &wanted, &mut self.budget) {
            Err(Left::OverBudget) => match self.asked.recv_timeout(NAP) {
                Ok(other) if other.is_patient => self.patient.push_back(other),
                Ok(other) => self.make(&other),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            },
            made => {
                self.patient.pop_front();
                self.tell(&wanted, made);
            }
        }
    }

    fn make(&mut self, wanted: &DigestWanted) {
        let made = digest(Path::new(PROC), wanted, &mut self.budget);
        self.tell(wanted, made);
    }

    fn tell(&self, wanted: &DigestWanted, made: Result<([u8; 32], u64), Left>) {
        self.tallies.count(made.map(|(_, bytes)| bytes));
        let news = News::Digest(wanted.version, made.ok().map(|(digest, _)| digest));
        // Nobody takes news any more when the agent ends.
        let _ = self.outlet.news.blocking_send(news);
        (self.outlet.wake)();
    }
}
