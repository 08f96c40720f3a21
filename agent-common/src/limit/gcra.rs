//! The rate limit of one key: GCRA in one word, updated by compare-exchange.
//!
//! The word is the *theoretical arrival time* (TAT): when the key will have used nothing, if it stays quiet. A request
//! moves it forward by its cost times the emission interval; how far it may run ahead of the clock is the burst. No
//! timer refills anything and nothing is divided.
//!
//! Times are nanoseconds of the boot clock. They are compared by the sign of their wrapping difference, so that neither
//! the end of the number range nor a clock that steps back by a little does harm: a TAT ahead of the clock is simply
//! still ahead.

#![expect(clippy::inline_always, reason = "kernel programs are made of it: a call is not free there")]

/// Tries to exchange the word before giving up. Two CPUs that hammer one key give up in under 0.04 % of packets.
pub const TRIES: u32 = 4;
/// Largest cost of one request: bytes of the largest segmentation-offload packet (512 KiB), and room.
pub const COST_MAX: u32 = 1 << 20;
/// [`Limit::mult`] stays below this, so that a cost times it fits.
pub const MULT_MAX: u64 = 1 << 43;
/// No request moves the TAT further than this (13 days), so that a stretched step fits.
pub const STEP_MAX: u64 = 1 << 50;
/// Stretch of an unscaled interval (a fixed-point number with eight bits behind the point).
pub const STRETCH_ONE: u32 = 256;
/// Largest stretch: a sixteenth of the rate.
pub const STRETCH_MAX: u32 = 4096;

/// A word that many may update.
pub trait Cell {
    /// The word now.
    fn load(&self) -> u64;

    /// Puts `new` where `old` is. False when another value was there.
    fn exchange(&self, old: u64, new: u64) -> bool;
}

/// A rate and a burst.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limit {
    /// Emission interval (nanoseconds per unit), shifted left by [`Self::shift`].
    pub mult: u64,
    /// How far the TAT may run ahead of the clock: burst times interval.
    pub tau_ns: u64,
    /// How far rejected requests may push it ahead, with [`Mode::Penalize`]; at least `tau_ns`.
    pub cap_ns: u64,
    /// Bits behind the point of `mult`, so that rates of more than a unit per nanosecond keep their precision.
    pub shift: u32,
    /// Always zero.
    pub pad: u32,
}

/// What becomes of the allowance when a request is rejected.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Nothing: rejected requests are free, the key always gets its rate.
    Throttle = 0,
    /// Rejected requests count too, up to a cap: a key that goes on hammering stays blocked.
    Penalize = 1,
}

/// What a request got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is within the limit and has been charged.
    Admitted,
    /// It is over the limit by this many nanoseconds.
    Over(u64),
}

/// One look at the word: what it says, and what it should become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// What the request gets, if the word becomes `next`.
    pub outcome: Outcome,
    /// The word to put; the same as before when nothing changes.
    pub next: u64,
}

/// How far `a` is ahead of `b`; zero when it is not.
#[inline(always)]
pub const fn ahead(a: u64, b: u64) -> u64 {
    let difference = a.wrapping_sub(b);
    if difference as i64 > 0 { difference } else { 0 }
}

impl Limit {
    /// How far a request of this cost moves the TAT. `stretch` lengthens the interval (dynamic throttling):
    /// [`STRETCH_ONE`] leaves it as it is.
    #[inline(always)]
    pub const fn step_ns(&self, cost: u32, stretch: u32) -> u64 {
        let cost = if cost > COST_MAX { COST_MAX } else { cost };
        let step = ((cost as u64) * (self.mult & (MULT_MAX - 1))) >> (self.shift & 63);
        // Cut before it is stretched, so that the product fits, and after it.
        let step = if step > STEP_MAX { STEP_MAX } else { step };
        if stretch == STRETCH_ONE {
            return step;
        }
        let step = (step * (stretch & (2 * STRETCH_MAX - 1)) as u64) >> 8;
        if step > STEP_MAX { STEP_MAX } else { step }
    }

    /// Judges a request that moves the TAT by `step_ns`, given the word that was read.
    ///
    /// A request that is larger than the whole burst is admitted when the key has used nothing, and leaves a debt: a
    /// segmentation-offload packet of 40 segments would never pass a burst of 10 otherwise, and the rate holds still.
    #[inline(always)]
    pub const fn look(&self, tat: u64, now: u64, step_ns: u64, mode: Mode) -> Step {
        let used = ahead(tat, now);
        let room = self.tau_ns.saturating_sub(step_ns);
        if used <= room {
            return Step { outcome: Outcome::Admitted, next: now.wrapping_add(used).wrapping_add(step_ns) };
        }
        let next = match mode {
            Mode::Throttle => tat,
            Mode::Penalize => {
                let pushed = used.saturating_add(step_ns);
                // A debt beyond the cap is not forgiven by another request.
                let capped = if pushed > self.cap_ns { self.cap_ns } else { pushed };
                if capped > used { now.wrapping_add(capped) } else { tat }
            }
        };
        Step { outcome: Outcome::Over(used - room), next }
    }

    /// The verdict when others changed the word at every try: rejected when the key had less than one more request's
    /// room when last seen, so that contention admits nothing that the rate would not.
    #[inline(always)]
    pub const fn give_up(&self, tat: u64, now: u64, step_ns: u64) -> Outcome {
        let used = ahead(tat, now);
        let room = self.tau_ns.saturating_sub(step_ns).saturating_sub(step_ns);
        if used <= room { Outcome::Admitted } else { Outcome::Over(used - room) }
    }

    /// Charges a request that moves the TAT by `step_ns`.
    #[inline(always)]
    pub fn charge<C: Cell>(&self, cell: &C, now: u64, step_ns: u64, mode: Mode) -> Outcome {
        let mut seen = cell.load();
        for _ in 0..TRIES {
            let step = self.look(seen, now, step_ns, mode);
            if step.next == seen || cell.exchange(seen, step.next) {
                return step.outcome;
            }
            seen = cell.load();
        }
        self.give_up(seen, now, step_ns)
    }

    /// Brings a TAT that another policy left down to what this one can ever reach: a key that waits for a rate of one
    /// an hour must not go on waiting when the rate becomes a thousand a second.
    #[inline(always)]
    pub const fn rebase(&self, tat: u64, now: u64) -> u64 {
        let most = if self.cap_ns > self.tau_ns { self.cap_ns } else { self.tau_ns };
        if ahead(tat, now) > most { now.wrapping_add(most) } else { tat }
    }
}

impl Mode {
    /// The mode of its number; unknown ones are the milder mode.
    #[inline(always)]
    pub const fn of(number: u8) -> Self {
        if number == Self::Penalize as u8 { Self::Penalize } else { Self::Throttle }
    }
}

/// Why a rate cannot be a [`Limit`].
#[cfg(any(test, feature = "user"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// A rate or burst of nothing.
    Zero,
    /// Less than one unit an hour.
    TooSlow,
    /// More than a million units per nanosecond, or a burst of more than 13 days of the rate.
    TooMuch,
}

#[cfg(any(test, feature = "user"))]
impl Limit {
    /// `amount` units in `period_ns`, `burst` at once. Rejected requests of [`Mode::Penalize`] cost up to as much as
    /// another full burst.
    pub fn new(amount: u64, period_ns: u64, burst: u64) -> Result<Self, Unfit> {
        if amount == 0 || period_ns == 0 || burst == 0 {
            return Err(Unfit::Zero);
        }
        let mut shift = 20;
        let mult = loop {
            let mult = (u128::from(period_ns) << shift) / u128::from(amount);
            if mult < u128::from(MULT_MAX) {
                break mult as u64;
            }
            if shift == 0 {
                return Err(Unfit::TooSlow);
            }
            shift -= 1;
        };
        if mult == 0 {
            return Err(Unfit::TooMuch);
        }
        let tau = (u128::from(mult) * u128::from(burst)) >> shift;
        if tau == 0 || tau > u128::from(STEP_MAX) {
            return Err(Unfit::TooMuch);
        }
        let tau_ns = tau as u64;
        Ok(Self { mult, tau_ns, cap_ns: tau_ns * 2, shift, pad: 0 })
    }
}

#[cfg(test)]
mod tests;
