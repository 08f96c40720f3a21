//! The accounting equation: `seen = filtered + emitted + ring_full + error`, per CPU and family.
//!
//! The kernel side bumps the counters, the agent sums them and compares the gaps in the sequence numbers
//! with `ring_full`. Nothing may be lost without a counter that says so.

/// Counters of one family on one CPU. Each event of the family that reaches a program adds one to `seen` and
/// one to exactly one of the others.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FamilyCounters {
    /// Events that reached the family's program.
    pub seen: u64,
    /// Rejected in the kernel on purpose.
    pub filtered: u64,
    /// Written to the ring buffer.
    pub emitted: u64,
    /// Lost because the ring buffer had no room; each also leaves a gap in the CPU's sequence numbers.
    pub ring_full: u64,
    /// Lost for another reason (no scratch slot free, record over the size limit). No sequence number is used.
    pub error: u64,
    /// Of `filtered`, those that were counted for rules with a threshold ([`crate::stream`]).
    pub counted: u64,
}

impl FamilyCounters {
    /// Events not explained by any counter; zero unless a program is wrong or is running right now.
    pub const fn unexplained(&self) -> i64 {
        self.seen as i64 - (self.filtered + self.emitted + self.ring_full + self.error) as i64
    }

    /// Adds another CPU's or family's counters to these.
    pub const fn add(&mut self, other: &Self) {
        self.seen = self.seen.wrapping_add(other.seen);
        self.filtered = self.filtered.wrapping_add(other.filtered);
        self.emitted = self.emitted.wrapping_add(other.emitted);
        self.ring_full = self.ring_full.wrapping_add(other.ring_full);
        self.error = self.error.wrapping_add(other.error);
        self.counted = self.counted.wrapping_add(other.counted);
    }
}
