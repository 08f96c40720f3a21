//! What the wiring needs of the kernel half, as traits, so that it is tested without a kernel.

use std::time::Duration;

use rampart_common::{
    counter::FamilyCounters,
    event::{Family, SyscallPlan},
};

use crate::{
    engine::{clock::boot_now_ns, push::Lessons},
    kernel::{Incoming, Kernel, KernelError, Learned, NamesFault, Notices, RingReader, Waker},
    pushdown::Plan,
};

/// Control of the kernel programs.
pub(super) trait Hooks: Send {
    /// Replaces the table of wanted system calls.
    fn set_wanted(&mut self, wanted: &[(u32, SyscallPlan)]) -> Result<(), KernelError>;

    /// Starts or stops to see DNS answers.
    fn see_names(&mut self, on: bool) -> Result<(), NamesFault>;

    /// Lets events flow.
    fn attach(&mut self) -> Result<(), KernelError>;

    /// Has the kernel judge by a plan, whose number is the successor of the last one's.
    fn publish(&mut self, plan: &Plan, shadow_every: u32) -> Result<(), KernelError>;

    /// Has the kernel reject nothing.
    fn stop_pushdown(&mut self) -> Result<(), KernelError>;

    /// Has the kernel remember masks.
    fn learn(&mut self, lessons: &Lessons) -> Result<Learned, KernelError>;

    /// Tells the kernel that metadata changed, now by the boot clock.
    fn touch_epoch(&mut self, now_ns: u64) -> Result<(), KernelError>;

    /// Counters of each family, summed over all CPUs.
    fn counters(&self) -> Result<Vec<(Family, FamilyCounters)>, KernelError>;
}

/// The records the programs wrote.
pub(super) trait Records: Send {
    /// Waits for records, a wake-up or the timeout, whichever is first.
    fn wait(&mut self, timeout: Duration) -> Result<(), KernelError>;

    /// Hands out what is there, up to a bounded number of events. Returns how many events.
    fn drain(&mut self, on_incoming: &mut dyn FnMut(Incoming<'_>)) -> Result<usize, KernelError>;

    /// Reads another ring too.
    fn watch(&mut self, notices: Notices) -> Result<(), KernelError>;
}

/// Ends a wait from another thread.
pub(super) trait Wake: Send + Sync {
    /// Wakes the reader.
    fn wake(&self);
}

impl Hooks for Kernel {
    fn set_wanted(&mut self, wanted: &[(u32, SyscallPlan)]) -> Result<(), KernelError> {
        Self::set_wanted(self, wanted)
    }

    fn see_names(&mut self, on: bool) -> Result<(), NamesFault> {
        Self::see_names(self, on)
    }

    fn attach(&mut self) -> Result<(), KernelError> {
        Self::attach(self)
    }

    fn publish(&mut self, plan: &Plan, shadow_every: u32) -> Result<(), KernelError> {
        Self::publish(self, plan.generation(), plan.image(), plan.addresses(), shadow_every, boot_now_ns())
    }

    fn stop_pushdown(&mut self) -> Result<(), KernelError> {
        Self::set_policy(self, 0, 0)
    }

    fn learn(&mut self, lessons: &Lessons) -> Result<Learned, KernelError> {
        let mut learned = Self::learn(self, &lessons.calls, &lessons.processes)?;
        learned.written += self.learn_images(&lessons.images)?;
        learned.written += self.learn_streams(&lessons.streams, &lessons.silent)?;
        Ok(learned)
    }

    fn touch_epoch(&mut self, now_ns: u64) -> Result<(), KernelError> {
        Self::touch_epoch(self, now_ns)
    }

    fn counters(&self) -> Result<Vec<(Family, FamilyCounters)>, KernelError> {
        Self::counters(self)
    }
}

impl Records for RingReader {
    fn wait(&mut self, timeout: Duration) -> Result<(), KernelError> {
        Self::wait(self, timeout)
    }

    fn drain(&mut self, on_incoming: &mut dyn FnMut(Incoming<'_>)) -> Result<usize, KernelError> {
        Self::drain(self, on_incoming)
    }

    fn watch(&mut self, notices: Notices) -> Result<(), KernelError> {
        Self::watch(self, notices)
    }
}

impl Wake for Waker {
    fn wake(&self) {
        Self::wake(self);
    }
}
