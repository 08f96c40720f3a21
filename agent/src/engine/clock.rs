//! From the boot clock, which records carry, to the time of day, which people read.

use jiff::{
    Timestamp,
    tz::{Offset, TimeZone},
};

/// Offset between the two clocks and the time zone of the node. A plain value: whoever owns it refreshes it.
#[derive(Clone, Debug)]
pub struct Clock {
    offset_ns: i64,
    zone: TimeZone,
}

impl Clock {
    /// A clock with a known offset (wall minus boot, nanoseconds) and zone.
    pub fn new(offset_ns: i64, zone: TimeZone) -> Self {
        Self { offset_ns, zone }
    }

    /// The clock of this machine, now.
    pub fn system() -> Self {
        Self::new(system_offset_ns(), TimeZone::system())
    }

    /// A clock with a fixed distance of its zone from UTC, seconds to the east.
    pub fn fixed(offset_ns: i64, utc_offset_secs: i32) -> Self {
        let zone = Offset::from_seconds(utc_offset_secs).map_or(TimeZone::UTC, TimeZone::fixed);
        Self::new(offset_ns, zone)
    }

    /// Wall minus boot time, nanoseconds.
    pub fn offset_ns(&self) -> i64 {
        self.offset_ns
    }

    /// Distance of the zone from UTC at a time of the boot clock, seconds to the east.
    pub fn utc_offset_secs(&self, boot_ns: u64) -> i32 {
        self.zone.to_offset(timestamp(self.wall_ns(boot_ns))).seconds()
    }

    /// Sets the offset, wall minus boot, nanoseconds.
    pub fn set_offset(&mut self, offset_ns: i64) {
        self.offset_ns = offset_ns;
    }

    /// Nanoseconds since the epoch of a time of the boot clock.
    pub fn wall_ns(&self, boot_ns: u64) -> u64 {
        boot_ns.saturating_add_signed(self.offset_ns)
    }

    /// Appends `HH:MM:SS.nnnnnnnnn` in the node's zone.
    pub fn time_into(&self, wall_ns: u64, out: &mut String) {
        self.local_into(wall_ns, "%H:%M:%S.%9f", out);
    }

    /// Appends `HH:MM:SS` in the node's zone.
    pub fn time_seconds_into(&self, wall_ns: u64, out: &mut String) {
        self.local_into(wall_ns, "%H:%M:%S", out);
    }

    /// Appends `YYYY-MM-DD HH:MM:SS.nnnnnnnnn` in the node's zone.
    pub fn date_into(&self, wall_ns: u64, out: &mut String) {
        self.local_into(wall_ns, "%Y-%m-%d %H:%M:%S.%9f", out);
    }

    /// Appends `YYYY-MM-DD HH:MM:SS` in the node's zone.
    pub fn date_seconds_into(&self, wall_ns: u64, out: &mut String) {
        self.local_into(wall_ns, "%Y-%m-%d %H:%M:%S", out);
    }

    fn local_into(&self, wall_ns: u64, format: &str, out: &mut String) {
        out.push_str(&timestamp(wall_ns).to_zoned(self.zone.clone()).strftime(format).to_string());
    }
}

/// Appends `YYYY-MM-DDTHH:MM:SS.nnnnnnnnn` and `suffix`, in UTC.
pub fn iso_into(wall_ns: u64, suffix: &str, out: &mut String) {
    out.push_str(&timestamp(wall_ns).strftime("%Y-%m-%dT%H:%M:%S.%9f").to_string());
    out.push_str(suffix);
}

/// Wall minus boot time of this machine, nanoseconds.
pub fn system_offset_ns() -> i64 {
    let read = |clock: nix::time::ClockId| {
        clock.now().map_or(0, |time| time.tv_sec() * 1_000_000_000 + time.tv_nsec())
    };
    // Boot before and after, so that a pause between the readings does not shift the result by more than half.
    let before = read(nix::time::ClockId::CLOCK_BOOTTIME);
    let wall = read(nix::time::ClockId::CLOCK_REALTIME);
    let after = read(nix::time::ClockId::CLOCK_BOOTTIME);
    wall - i64::midpoint(before, after)
}

/// Now, nanoseconds of the boot clock.
pub fn boot_now_ns() -> u64 {
    nix::time::ClockId::CLOCK_BOOTTIME
        .now()
        .map_or(0, |time| time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64)
}

fn timestamp(wall_ns: u64) -> Timestamp {
    Timestamp::from_nanosecond(i128::from(wall_ns)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use jiff::tz::{TimeZone, offset};

    use super::{Clock, boot_now_ns, iso_into, system_offset_ns};

    #[test]
    fn times_are_written_in_each_form() {
        let clock = Clock::new(1_700_000_000_000_000_000, TimeZone::fixed(offset(2)));
        let wall = clock.wall_ns(1_500);
        let text = |write: &dyn Fn(&mut String)| {
            let mut out = String::new();
            write(&mut out);
            out
        };
        assert_eq!(text(&|out| clock.time_into(wall, out)), "00:13:20.000001500");
        assert_eq!(text(&|out| clock.time_seconds_into(wall, out)), "00:13:20");
        assert_eq!(text(&|out| clock.date_into(wall, out)), "2023-11-15 00:13:20.000001500");
        assert_eq!(text(&|out| clock.date_seconds_into(wall, out)), "2023-11-15 00:13:20");
        assert_eq!(clock.utc_offset_secs(1_500), 7200);
        let fixed = Clock::fixed(clock.offset_ns(), 7200);
        assert_eq!(text(&|out| fixed.date_into(wall, out)), "2023-11-15 00:13:20.000001500");
        assert_eq!(text(&|out| iso_into(wall, "Z", out)), "2023-11-14T22:13:20.000001500Z");
        assert_eq!(text(&|out| iso_into(u64::MAX, "+0000", out)).len(), 34);
    }

    #[test]
    fn the_system_clock_is_sane() {
        // Later than this code was written, and the same twice.
        let first = system_offset_ns();
        assert!(first + boot_now_ns() as i64 > 1_700_000_000_000_000_000);
        assert!((system_offset_ns() - first).abs() < 1_000_000_000);
    }
}
