//! Proof that no record is lost without a counter that says so.
//!
//! Sequence numbers of each CPU tell what was written and did not arrive; the kernel side's counters tell what was
//! not written and why. Pure.

use rampart_common::{
    counter::FamilyCounters,
    event::{FAMILY_COUNT, RecordHeader},
};

/// CPUs beyond this number share a slot with none and are not tracked; larger than any machine.
const CPUS_MAX: usize = 8192;

/// Counters of all families, summed over CPUs.
pub type Counters = [FamilyCounters; FAMILY_COUNT];

/// What arrived.
#[derive(Clone, Debug, Default)]
pub struct Accounting {
    cpus: Vec<Cpu>,
    received: [u64; FAMILY_COUNT],
}

#[derive(Clone, Copy, Debug, Default)]
struct Cpu {
    /// First number that counts.
    base: u64,
    /// Highest number seen plus one.
    next: u64,
    received: u64,
}

/// The accounting equation at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Check {
    /// Records received.
    pub received: u64,
    /// Sequence numbers below the highest seen that did not arrive.
    pub gaps: u64,
    /// Records the kernel side wrote.
    pub emitted: u64,
    /// Events it had no room for.
    pub ring_full: u64,
    /// Events it lost for another reason.
    pub error: u64,
    /// `seen` minus the sum of the other counters.
    pub kernel_unexplained: i64,
}

impl Check {
    /// Events lost that no counter explains. `drained` says that the ring was empty when the counters were read;
    /// without it, records still on their way are not held against anyone.
    pub fn unexplained(&self, drained: bool) -> u64 {
        // Each lost record leaves a gap, unless no later record of its CPU arrived yet.
        let gaps = self.gaps.saturating_sub(self.ring_full);
        if !drained {
            let on_the_way = self.emitted.saturating_sub(self.received);
            return gaps.saturating_sub(on_the_way);
        }
        let missing = self.emitted.abs_diff(self.received);
        gaps.max(missing) + self.kernel_unexplained.unsigned_abs()
    }
}

impl Accounting {
    /// Notes a record.
    pub fn record(&mut self, header: &RecordHeader) {
        if let Some(family) = self.received.get_mut(usize::from(header.family)) {
            *family += 1;
        }
        if let Some(cpu) = self.cpu(header.cpu) {
            cpu.received += 1;
            cpu.next = cpu.next.max(header.seq.saturating_add(1));
        }
    }

    /// Starts a CPU at a sequence number other than 0, when the programs were running before.
    pub fn set_base(&mut self, cpu: u32, seq: u64) {
        if let Some(cpu) = self.cpu(cpu) {
            *cpu = Cpu { base: seq, next: seq, received: 0 };
        }
    }

    /// Records received.
    pub fn received(&self) -> u64 {
        self.received.iter().sum()
    }

    /// Records received of one family, by index.
    pub fn received_of(&self, family: usize) -> u64 {
        self.received.get(family).copied().unwrap_or(0)
    }

    /// Sequence numbers that did not arrive. A number that arrives late is no gap any more.
    pub fn gaps(&self) -> u64 {
        self.cpus.iter().map(|cpu| cpu.next.saturating_sub(cpu.base).saturating_sub(cpu.received)).sum()
    }

    /// The equation, against the kernel side's counters.
    pub fn check(&self, counters: &Counters) -> Check {
        let mut total = FamilyCounters::default();
        for family in counters {
            total.add(family);
        }
        Check {
            received: self.received(),
            gaps: self.gaps(),
            emitted: total.emitted,
            ring_full: total.ring_full,
            error: total.error,
            kernel_unexplained: total.unexplained(),
        }
    }

    fn cpu(&mut self, cpu: u32) -> Option<&mut Cpu> {
        let index = cpu as usize;
        if index >= CPUS_MAX {
            return None;
        }
        if self.cpus.len() <= index {
            self.cpus.resize(index + 1, Cpu::default());
        }
        self.cpus.get_mut(index)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rampart_common::{
        counter::FamilyCounters,
        event::{FAMILY_COUNT, Family, RecordHeader},
    };

    use super::{Accounting, Check, Counters};

    fn record(accounting: &mut Accounting, cpu: u32, seq: u64) {
        let header = RecordHeader { cpu, seq, family: Family::Open as u8, ..RecordHeader::default() };
        accounting.record(&header);
    }

    fn counters(seen: u64, emitted: u64, ring_full: u64) -> Counters {
        let mut all = [FamilyCounters::default(); FAMILY_COUNT];
        all[Family::Open as usize] = FamilyCounters { seen, emitted, ring_full, ..FamilyCounters::default() };
        all
    }

    #[test]
    fn explained_loss_is_not_unexplained() {
        let mut accounting = Accounting::default();
        for seq in [0, 1, 4, 5] {
            record(&mut accounting, 0, seq);
        }
        record(&mut accounting, 3, 0);
        assert_eq!((accounting.received(), accounting.gaps()), (5, 2));
        assert_eq!(accounting.received_of(Family::Open as usize), 5);
        let check = accounting.check(&counters(7, 5, 2));
        assert_eq!(check.unexplained(true), 0);
        // The last event of a CPU was lost: no gap shows it, the counter does.
        assert_eq!(accounting.check(&counters(8, 5, 3)).unexplained(true), 0);
    }

    #[test]
    fn silent_loss_is_found() {
        let mut accounting = Accounting::default();
        for seq in [0, 3] {
            record(&mut accounting, 0, seq);
        }
        let check = accounting.check(&counters(4, 4, 0));
        assert_eq!(check.unexplained(true), 2);
        assert_eq!(check.unexplained(false), 0, "they may be on their way");
        assert_eq!(accounting.check(&counters(4, 2, 0)).unexplained(false), 2);
        // An event that ended in no counter.
        assert_eq!(accounting.check(&counters(5, 2, 2)).unexplained(true), 1);
    }

    #[test]
    fn a_later_start_is_no_loss() {
        let mut accounting = Accounting::default();
        accounting.set_base(1, 1000);
        record(&mut accounting, 1, 1000);
        record(&mut accounting, 1, 1002);
        assert_eq!(accounting.gaps(), 1);
        record(&mut accounting, u32::MAX, 5);
        assert_eq!((accounting.received(), accounting.gaps()), (3, 1));
    }

    proptest! {
        #[test]
        fn order_of_arrival_does_not_matter(
            mut arrived in prop::collection::vec(any::<bool>(), 1..200)
                .prop_map(|kept| kept.into_iter().enumerate().filter(|(_, kept)| *kept).map(|(seq, _)| seq as u64)
                .collect::<Vec<_>>()).prop_filter("one at least", |all| !all.is_empty()),
            swaps in prop::collection::vec((0usize..200, 0usize..200), 0..40),
        ) {
            let expected = arrived.last().expect("one") + 1 - arrived.len() as u64;
            let len = arrived.len();
            for (a, b) in swaps { arrived.swap(a % len, b % len); }
            let mut accounting = Accounting::default();
            for seq in &arrived { record(&mut accounting, 0, *seq); }
            prop_assert_eq!(accounting.gaps(), expected);
            let received = len as u64;
            let check: Check = accounting.check(&counters(received + expected, received, expected));
            prop_assert_eq!(check.unexplained(true), 0);
        }
    }
}
