//! Readiness: the agent is ready when every latch of the start is released, and stays so.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// A step of the start that readiness waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Latch {
    /// The rules are loaded.
    Policy = 1,
    /// An output can be written.
    Outputs = 1 << 1,
    /// The processes that already run are known.
    Processes = 1 << 2,
    /// The kernel programs are attached.
    Kernel = 1 << 3,
    /// The detection thread has done its first round.
    Detection = 1 << 4,
}

impl Latch {
    const ALL: [Self; 5] = [Self::Policy, Self::Outputs, Self::Processes, Self::Kernel, Self::Detection];

    /// Word for people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Policy => "policy",
            Self::Outputs => "outputs",
            Self::Processes => "processes",
            Self::Kernel => "kernel",
            Self::Detection => "detection",
        }
    }
}

/// All latches, closed at first.
#[derive(Debug, Default)]
pub struct Latches(AtomicU32);

impl Latches {
    /// Opens one for good.
    pub fn release(&self, latch: Latch) {
        self.0.fetch_or(latch as u32, Relaxed);
    }

    /// Those still closed; none means ready.
    pub fn waiting_for(&self) -> Vec<&'static str> {
        let open = self.0.load(Relaxed);
        Latch::ALL.into_iter().filter(|latch| open & *latch as u32 == 0).map(Latch::name).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_only_when_all_are_released() {
        let latches = Latches::default();
        assert_eq!(latches.waiting_for().len(), 5);
        for (index, latch) in Latch::ALL.into_iter().enumerate() {
            latches.release(latch);
            assert_eq!(latches.waiting_for().len(), 4 - index, "{latch:?}");
        }
    }
}
