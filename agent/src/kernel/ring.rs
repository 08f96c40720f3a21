//! Reading end of the event ring.
//!
//! While events flow, the reader looks every [`MAX_DELAY`] and the kernel side wakes it only when much is
//! waiting, so the watched programs pay for few wake-ups. When nothing has come for a while it says that it
//! sleeps, and the next event wakes it. Events on isolated CPUs wake nobody: where there are any, it looks every
//! [`RING_POLL`] even so.

use std::{
    collections::VecDeque,
    mem::offset_of,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
    time::Duration,
};

use aya::maps::{Array, Map, MapData, RingBuf};
use nix::sys::{
    epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
    eventfd::{EfdFlags, EventFd},
};
use rampart_common::{abi, event::Answer};

use super::KernelError;
use crate::event::decode;

/// Longest time a record waits in the ring while the reader is awake.
const MAX_DELAY: Duration = Duration::from_millis(1);
/// Empty looks after which the reader goes to sleep.
const LOOKS_BEFORE_SLEEP: u32 = 8;
/// First wait after saying "asleep": closes the window in which a program has read "awake" but not yet
/// published its record.
const SETTLE: Duration = Duration::from_millis(2);
/// Longest sleep when there are CPUs that wake nobody.
pub const RING_POLL: Duration = Duration::from_millis(10);
/// Most records handed out in one go, so that the caller gets to its other duties under any load.
const BATCH: usize = 16_384;
/// Most DNS messages handed out before an event: more than the ring holds.
const ANSWERS_AT_ONCE: usize = 64;
/// Most notices that wait: as many as the ring holds.
const NOTICES_AT_ONCE: usize = 512;
/// Bytes in front of the message in an [`Answer`].
const ANSWER_HEADER: usize = offset_of!(Answer, message);

/// What the kernel half sends.
#[derive(Clone, Copy, Debug)]
pub enum Incoming<'a> {
    /// A record of an event.
    Event(&'a [u8]),
    /// A DNS message that reached a socket of the node.
    Answer(&'a [u8]),
    /// A notice of the programs at security hooks.
    Notice(&'a [u8]),
}

/// The reading end of what programs at security hooks tell.
pub struct Notices(pub(super) RingBuf<MapData>);

/// The reading end. One per kernel half; moved to the thread that reads.
pub struct RingReader {
    ring: RingBuf<MapData>,
    answers: RingBuf<MapData>,
    notices: Option<RingBuf<MapData>>,
    /// Notices that were taken out of their ring and wait for the events before them.
    waiting: VecDeque<Vec<u8>>,
    control: Array<MapData, [u32; 4]>,
    asleep: [u32; 4],
    awake: [u32; 4],
    epoll: Epoll,
    waker: Arc<EventFd>,
    empty_looks: u32,
    sleeping: bool,
    /// Longest time it does.
    sleep: Duration,
}

/// Ends a wait from another thread.
#[derive(Clone)]
pub struct Waker(Arc<EventFd>);

impl Waker {
    /// Wakes the reader. A full counter means that it is being woken already.
    pub fn wake(&self) {
        let _already_pending = self.0.write(1);
    }
}

impl RingReader {
    pub(super) fn new(
        events: Map,
        answers: Map,
        control: Map,
        settings: [u32; 4],
        polls: bool,
    ) -> Result<Self, KernelError> {
        let ring =
            RingBuf::try_from(events).map_err(|source| KernelError::Map { map: abi::MAP_EVENTS, source })?;
        let answers = RingBuf::try_from(answers)
            .map_err(|source| KernelError::Map { map: abi::MAP_ANSWERS, source })?;
        let control =
            Array::try_from(control).map_err(|source| KernelError::Map { map: abi::MAP_CONTROL, source })?;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let waker = Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?);
        // Edge-triggered: data that is merely there does not end a wait, a wake-up by a program does.
        let ring_fd = ring_fd(&ring)?;
        epoll.add(&ring_fd, EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, 0))?;
        epoll.add(waker.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, 1))?;
        let [own_pid, _, wake_bytes, pad] = settings;
        Ok(Self {
            ring,
            answers,
            notices: None,
            waiting: VecDeque::new(),
            control,
            asleep: [own_pid, 1, wake_bytes, pad],
            awake: [own_pid, 0, wake_bytes, pad],
            epoll,
            waker,
            empty_looks: 0,
            sleeping: false,
            sleep: if polls { RING_POLL } else { Duration::MAX },
        })
    }

    /// Waits for events, a [`Waker`] or the timeout, whichever is first; drain afterwards in any case.
    pub fn wait(&mut self, timeout: Duration) -> Result<(), KernelError> {
        if self.empty_looks < LOOKS_BEFORE_SLEEP {
            return self.park(MAX_DELAY.min(timeout));
        }
        if !self.sleeping {
            self.set(self.asleep)?;
            self.sleeping = true;
            return self.park(SETTLE.min(timeout));
        }
        self.park(self.sleep.min(timeout))
    }

    /// Reads another ring too, in place of the one before.
    pub fn watch(&mut self, notices: Notices) -> Result<(), KernelError> {
        let Notices(ring) = notices;
        self.epoll.add(&ring_fd(&ring)?, EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, 2))?;
        self.notices = Some(ring);
        Ok(())
    }

    /// Hands out what is there, up to a bounded number of events. Returns how many events. Whatever came before an
    /// event on the other ring is handed out before it: the answer that names an address precedes the connection.
    pub fn drain(&mut self, on_incoming: &mut dyn FnMut(Incoming<'_>)) -> Result<usize, KernelError> {
        let mut count = 0;
        take_notices(self.notices.as_mut(), &mut self.waiting);
        while count < BATCH
            && let Some(record) = self.ring.next()
        {
            take_answers(&mut self.answers, on_incoming);
            take_notices(self.notices.as_mut(), &mut self.waiting);
            // A refusal comes after the start of the program, and before the call that failed by it.
            let time_ns = decode::time_ns(&record).unwrap_or(u64::MAX);
            hand_out(&mut self.waiting, time_ns, on_incoming);
            on_incoming(Incoming::Event(&record));
            count += 1;
        }
        take_answers(&mut self.answers, on_incoming);
        if count < BATCH {
            // Every event before these has been handed out.
            hand_out(&mut self.waiting, u64::MAX, on_incoming);
        }
        if count == 0 {
            self.empty_looks = self.empty_looks.saturating_add(1);
        } else {
            self.empty_looks = 0;
            if self.sleeping {
                self.sleeping = false;
                self.set(self.awake)?;
            }
        }
        Ok(count)
    }

    /// A handle that ends a wait from another thread.
    pub fn waker(&self) -> Waker {
        Waker(Arc::clone(&self.waker))
    }

    fn park(&mut self, timeout: Duration) -> Result<(), KernelError> {
        let timeout = EpollTimeout::try_from(timeout).unwrap_or(EpollTimeout::MAX);
        let mut events = [EpollEvent::empty(); 2];
        match self.epoll.wait(&mut events, timeout) {
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        // Non-blocking: an error means that nobody had woken us.
        let _not_woken = self.waker.read();
        Ok(())
    }

    fn set(&mut self, control: [u32; 4]) -> Result<(), KernelError> {
        self.control.set(0, control, 0).map_err(|source| KernelError::Map { map: abi::MAP_CONTROL, source })
    }
}

/// Hands out the DNS messages that are there. Bounded by what the ring holds and what comes meanwhile.
fn take_answers(answers: &mut RingBuf<MapData>, on_incoming: &mut dyn FnMut(Incoming<'_>)) {
    for _ in 0..ANSWERS_AT_ONCE {
        let Some(entry) = answers.next() else { return };
        let (header, message) = entry.split_at_checked(ANSWER_HEADER).unwrap_or_default();
        let len = header.first_chunk().map_or(0, |len| u32::from_ne_bytes(*len) as usize);
        on_incoming(Incoming::Answer(message.get(..len).unwrap_or_default()));
    }
}

/// Takes the notices that are there out of their ring.
fn take_notices(notices: Option<&mut RingBuf<MapData>>, waiting: &mut VecDeque<Vec<u8>>) {
    let Some(notices) = notices else { return };
    while waiting.len() < NOTICES_AT_ONCE
        && let Some(entry) = notices.next()
    {
        waiting.push_back(entry.to_vec());
    }
}

/// Hands out the notices that are as old as this.
fn hand_out(waiting: &mut VecDeque<Vec<u8>>, time_ns: u64, on_incoming: &mut dyn FnMut(Incoming<'_>)) {
    // The time is the first thing in a notice.
    let is_due = |notice: &Vec<u8>| notice.first_chunk().is_none_or(|at| u64::from_ne_bytes(*at) <= time_ns);
    while let Some(notice) = waiting.pop_front_if(|notice| is_due(notice)) {
        on_incoming(Incoming::Notice(&notice));
    }
}

/// A descriptor of the ring of our own: aya's map does not lend one with a lifetime.
fn ring_fd(ring: &RingBuf<MapData>) -> Result<OwnedFd, KernelError> {
    let fd = ring.as_fd().try_clone_to_owned();
    fd.map_err(|error| KernelError::Wait(nix::Error::try_from(error).unwrap_or(nix::Error::EBADF)))
}
