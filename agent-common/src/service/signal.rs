//! What the signals of a connection mean.
//!
//! Measured on Linux 6.18: `bytes_acked` counts the SYN and the FIN as a byte each, `bytes_received` counts the FIN. A
//! connection that ends in `SYN_SENT` says by `sk_err` whether it was refused, ran out of tries, or was unreachable; with
//! none of these the client gave up, unless an ICMP error was reported before, which may show in `sk_err_soft` only.

#![expect(clippy::inline_always, reason = "kernel programs are made of it: a call is not free there")]

/// `TCP_ESTABLISHED`.
pub const ESTABLISHED: u32 = 1;
/// `TCP_SYN_SENT`.
pub const SYN_SENT: u32 = 2;
/// `TCP_FIN_WAIT1`.
pub const FIN_WAIT1: u32 = 4;
/// `TCP_CLOSE`.
pub const CLOSE: u32 = 7;
/// `TCP_CLOSE_WAIT`.
pub const CLOSE_WAIT: u32 = 8;

/// `EPIPE`.
pub const EPIPE: u32 = 32;
/// `ECONNABORTED`: somebody destroyed the socket.
pub const ECONNABORTED: u32 = 103;
/// `ECONNRESET`.
pub const ECONNRESET: u32 = 104;
/// `ETIMEDOUT`.
pub const ETIMEDOUT: u32 = 110;
/// `ECONNREFUSED`.
pub const ECONNREFUSED: u32 = 111;
/// `EHOSTUNREACH`.
pub const EHOSTUNREACH: u32 = 113;

/// A SYN was sent.
pub const SENT: u16 = 1;
/// A SYN was sent again.
pub const SENT_AGAIN: u16 = 1 << 1;
/// The connection stood.
pub const STOOD: u16 = 1 << 2;
/// A reset came.
pub const RESET: u16 = 1 << 3;
/// An error was reported while connecting.
pub const REPORTED: u16 = 1 << 4;
/// The client closed while connecting.
pub const GAVE_UP: u16 = 1 << 5;
/// What became of the connection has been counted.
pub const COUNTED: u16 = 1 << 6;
/// The client closed its side first.
pub const CLOSED_FIRST: u16 = 1 << 7;

/// What became of a connection.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// It was of use.
    Success = 0,
    /// Nobody listens.
    Refused = 1,
    /// No answer: nobody there, or the backend's queue of connections is full.
    TimedOut = 2,
    /// No way there.
    Unreachable = 3,
    /// Reset before the first byte.
    Reset = 4,
    /// Closed by the backend before the first byte, although it was asked something.
    Empty = 5,
    /// The client gave up after the first SYN had been lost, or after a long time.
    Abandoned = 6,
    /// It says nothing about the backend.
    Neutral = 7,
}

/// Number of outcomes.
pub const OUTCOMES: usize = 8;

/// What an outcome is to a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// The backend works.
    Success,
    /// It does not.
    Failure,
    /// Unknown.
    Neutral,
}

/// What is known of a connection when its state changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Signals {
    /// State before.
    pub old: u32,
    /// State now.
    pub new: u32,
    /// Bits [`SENT`] to [`CLOSED_FIRST`], of before.
    pub seen: u16,
    /// `sk_err`.
    pub error: u32,
    /// `sk_err_soft`.
    pub soft_error: u32,
    /// `bytes_received`.
    pub received: u64,
    /// `bytes_acked`.
    pub acked: u64,
    /// Time since `connect()`.
    pub age_ns: u64,
    /// An age from which a client that gives up says something about the backend; 0 = none.
    pub slow_ns: u64,
    /// Whether a connection that stands is a success by itself.
    pub is_established_enough: bool,
}

impl Outcome {
    /// All, by number.
    pub const ALL: [Self; OUTCOMES] = [
        Self::Success,
        Self::Refused,
        Self::TimedOut,
        Self::Unreachable,
        Self::Reset,
        Self::Empty,
        Self::Abandoned,
        Self::Neutral,
    ];

    /// What it is to a breaker.
    #[inline(always)]
    pub const fn meaning(self) -> Meaning {
        match self {
            Self::Success => Meaning::Success,
            Self::Neutral => Meaning::Neutral,
            Self::Refused
            | Self::TimedOut
            | Self::Unreachable
            | Self::Reset
            | Self::Empty
            | Self::Abandoned => Meaning::Failure,
        }
    }

    /// The word in pages and messages.
    #[cfg(any(test, feature = "user"))]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Refused => "refused",
            Self::TimedOut => "timed_out",
            Self::Unreachable => "unreachable",
            Self::Reset => "reset",
            Self::Empty => "empty_reply",
            Self::Abandoned => "abandoned",
            Self::Neutral => "neutral",
        }
    }
}

/// What an error of a connecting socket says.
#[inline(always)]
pub const fn of_error(error: u32) -> Outcome {
    match error {
        ECONNREFUSED | ECONNRESET => Outcome::Refused,
        ETIMEDOUT => Outcome::TimedOut,
        ECONNABORTED => Outcome::Neutral,
        _ => Outcome::Unreachable,
    }
}

/// Whether a change of state may say anything about a connection of which nothing was said yet: for all others nobody needs
/// to look at the socket.
#[inline(always)]
pub const fn may_tell(old: u32, new: u32, is_established_enough: bool) -> bool {
    match (old, new) {
        (SYN_SENT, ESTABLISHED) => is_established_enough,
        (_, CLOSE) | (ESTABLISHED, CLOSE_WAIT | FIN_WAIT1) => true,
        _ => false,
    }
}

/// What a change of state says about the connection; `None` when it is not over and says nothing yet.
#[inline(always)]
pub const fn classify(signals: &Signals) -> Option<Outcome> {
    match (signals.old, signals.new) {
        (SYN_SENT, CLOSE) => Some(while_connecting(signals)),
        (SYN_SENT, ESTABLISHED) if signals.is_established_enough => Some(Outcome::Success),
        (_, CLOSE) => Some(at_the_end(signals)),
        // The FIN is a byte of what was received.
        (ESTABLISHED, CLOSE_WAIT) => {
            if signals.received > 1 {
                Some(Outcome::Success)
            } else if signals.acked > 1 {
                Some(Outcome::Empty)
            } else {
                // Nothing was asked.
                Some(Outcome::Neutral)
            }
        }
        (ESTABLISHED, FIN_WAIT1) if signals.received > 0 => Some(Outcome::Success),
        _ => None,
    }
}

#[inline(always)]
const fn while_connecting(signals: &Signals) -> Outcome {
    if signals.error != 0 {
        return of_error(signals.error);
    }
    if signals.seen & REPORTED != 0 || signals.soft_error != 0 {
        return Outcome::Unreachable;
    }
    if signals.seen & SENT_AGAIN != 0 || (signals.slow_ns != 0 && signals.age_ns > signals.slow_ns) {
        return Outcome::Abandoned;
    }
    // Of several addresses that a client tries at once, all but one end like this.
    Outcome::Neutral
}

#[inline(always)]
const fn at_the_end(signals: &Signals) -> Outcome {
    let is_answered = signals.received > 1 || (signals.received == 1 && signals.seen & CLOSED_FIRST == 0);
    match signals.error {
        ECONNABORTED => Outcome::Neutral,
        ETIMEDOUT => Outcome::TimedOut,
        // After the first byte it is the programs' affair how they end.
        ECONNRESET | EPIPE if is_answered => Outcome::Neutral,
        ECONNRESET | EPIPE => Outcome::Reset,
        0 if is_answered => Outcome::Success,
        // The client asked, and did not wait for an answer.
        0 if signals.acked > 2 => Outcome::Neutral,
        // Nothing was asked: to stand was all the connection was for.
        0 if signals.seen & STOOD != 0 => Outcome::Success,
        0 => Outcome::Neutral,
        _ => Outcome::Unreachable,
    }
}

#[cfg(test)]
mod tests;
