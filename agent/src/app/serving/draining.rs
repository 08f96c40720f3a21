//! When connections to backends that are left out are ended: at once, or after a time in which they may end themselves.
//!
//! The work is done on a thread of its own that enters network namespaces, one at a time; what it found is told with the
//! next look.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::mpsc::{Receiver, TryRecvError, sync_channel},
    thread,
};

use super::{Fault, notices::Notices};
use crate::{
    config::{Drain, DrainCause},
    kernel::services::Services,
    services::{
        drain::{Ended, Report, Work},
        plan::Name,
    },
    telemetry::services::DrainStanding,
};

/// Name of the thread.
const THREAD: &str = "drain";

/// Backends that are left out, by number.
pub(super) type LeftOut = BTreeMap<u32, (Name, DrainCause, Drain)>;

/// See the module.
#[derive(Default)]
pub(super) struct Draining {
    /// Backends of the last plan, which may be missing from the next.
    listed: BTreeMap<u32, (Name, Drain)>,
    /// Backends that are not in the plan any more, until their connections are ended.
    removed: BTreeMap<u32, (Name, Drain)>,
    waiting: BTreeMap<u32, Waiting>,
    working: Option<Working>,
    done: BTreeMap<Name, Done>,
}

/// A backend whose connections are to be ended.
struct Waiting {
    name: Name,
    cause: DrainCause,
    due_ns: u64,
    /// It was begun, and is not begun again before the backend is back.
    is_begun: bool,
}

/// A thread at work.
struct Working {
    backends: BTreeMap<u16, (Name, DrainCause)>,
    report: Receiver<Report>,
}

/// What was ended of a backend so far.
#[derive(Clone, Copy, Default)]
struct Done {
    last: Ended,
    total: u64,
}

impl Draining {
    /// Learns which backends there are now. One that is not there any more is removed.
    pub(super) fn list(&mut self, listed: BTreeMap<u32, (Name, Drain)>) {
        for (number, (name, drain)) in std::mem::replace(&mut self.listed, listed) {
            if !self.listed.contains_key(&number) && drain.is_for(DrainCause::Removed) {
                self.removed.insert(number, (name, drain));
            }
        }
    }

    /// Learns which backends were removed before.
    pub(super) fn removed(&mut self, removed: BTreeMap<u32, (Name, Drain)>) {
        self.removed.extend(removed);
    }

    /// Takes what a thread has found, and begins what is due.
    pub(super) fn look(
        &mut self,
        mut left_out: LeftOut,
        services: &Services,
        notices: &Notices,
        now_ns: u64,
    ) -> Result<(), Fault> {
        self.take(notices);
        for (number, (name, drain)) in &self.removed {
            left_out.insert(*number, (name.clone(), DrainCause::Removed, *drain));
        }
        // Who is back keeps its connections.
        self.waiting.retain(|number, _| left_out.contains_key(number));
        for (number, (name, cause, drain)) in left_out {
            let Some(after) = drain.after.filter(|_| drain.is_for(cause)) else {
                continue;
            };
            self.waiting.entry(number).or_insert_with(|| Waiting {
                name,
                cause,
                due_ns: now_ns + after.as_nanos() as u64,
                is_begun: false,
            });
        }
        if self.working.is_none() {
            self.begin(services, now_ns)?;
        }
        Ok(())
    }

    /// Starts a thread for all that is due.
    fn begin(&mut self, services: &Services, now_ns: u64) -> Result<(), Fault> {
        let due = self.waiting.iter_mut().filter(|(_, one)| !one.is_begun && one.due_ns <= now_ns);
        let mut backends = BTreeMap::new();
        for (number, one) in due {
            one.is_begun = true;
            backends.insert(*number as u16, (one.name.clone(), one.cause));
        }
        if backends.is_empty() {
            return Ok(());
        }
        let numbers: BTreeSet<u16> = backends.keys().copied().collect();
        let work = Work { backends: numbers, sockets: services.sockets()? };
        // Full policy: wait; there is one report.
        let (sender, report) = sync_channel(1);
        thread::Builder::new()
            .name(THREAD.to_owned())
            .spawn(move || {
                // Nobody waiting for it any more changes nothing.
                let _ = sender.send(work.run());
            })
            .map_err(Fault::Thread)?;
        self.working = Some(Working { backends, report });
        Ok(())
    }

    fn take(&mut self, notices: &Notices) {
        let Some(working) = &self.working else { return };
        let report = match working.report.try_recv() {
            Ok(report) => report,
            Err(TryRecvError::Empty) => return,
            Err(TryRecvError::Disconnected) => Report {
                fault: Some("the thread that ends connections came to an end itself".to_owned()),
                ..Report::default()
            },
        };
        for (number, (name, cause)) in &working.backends {
            let ended = report.backends.get(number).copied().unwrap_or_default();
            let done = self.done.entry(name.clone()).or_default();
            done.last = ended;
            done.total += ended.destroyed;
            notices.drained(name, *cause, &ended, &report);
            self.removed.remove(&u32::from(*number));
        }
        self.working = None;
    }

    /// How a backend stands.
    pub(super) fn standing(&self, number: Option<u32>, name: &Name) -> DrainStanding {
        let waiting = number.and_then(|number| self.waiting.get(&number));
        let done = self.done.get(name).copied().unwrap_or_default();
        DrainStanding {
            cause: waiting.map(|one| one.cause.name()),
            due_ns: waiting.filter(|one| !one.is_begun).map(|one| one.due_ns),
            last: done.last,
            total: done.total,
        }
    }
}
