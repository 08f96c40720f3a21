//! The detector's side of windows: when an event happened, for rules that count.

use rampart_rules::{
    rule::Rule,
    value::FieldSource,
    window::{Earlier, Moment, Windows, Withheld},
};

use super::clock::Clock;

/// When an event happened, and what was counted before it; `now_ns` is the boot clock.
pub(super) fn moment(clock: &Clock, now_ns: u64, earlier: Earlier) -> Moment {
    let secs = (clock.wall_ns(now_ns) / 1_000_000_000).cast_signed();
    Moment { steady_ns: now_ns, local_secs: secs + i64::from(clock.utc_offset_secs(now_ns)), earlier }
}

/// Whether an event that a rule's condition holds for is to be told. Most rules ask for nothing more.
pub(super) fn pass<S: FieldSource>(
    windows: &mut Windows,
    rule: &Rule,
    source: &S,
    moment: impl FnOnce() -> Moment,
) -> Result<(), Withheld> {
    if rule.window.is_none() { Ok(()) } else { windows.passes(rule, source, moment()) }
}
