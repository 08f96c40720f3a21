//! What the detector is told besides records: for recordings, which keep it and tell it again.

use super::{Detector, clock::Clock};
use crate::state::told::Told;

impl Detector {
    /// Like [`Detector::bootstrap`], at a given time of the boot clock.
    pub fn bootstrap_at(&mut self, now_ns: u64) {
        self.state.bootstrap(now_ns);
    }

    /// Sets wall minus boot time in nanoseconds and the zone's distance from UTC in seconds.
    pub fn set_clock(&mut self, offset_ns: i64, utc_offset_secs: i32) {
        self.clock = Clock::fixed(offset_ns, utc_offset_secs);
    }

    /// What the state learned beside records since the last call; empty unless it keeps that.
    pub fn take_told(&mut self) -> Vec<Told> {
        self.state.take_told()
    }

    /// Tells what the next record, or the start, will ask for.
    pub fn tell(&mut self, told: Told) {
        self.state.tell(told);
    }

    /// Forgets what was told and not asked for.
    pub fn forget_told(&mut self) {
        self.state.forget_told();
    }
}
