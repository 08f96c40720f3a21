//! Section `trading`: venues, calendars, roles and assets, for the fields `trading.*` of rules.

mod read;

use std::collections::BTreeMap;

use ipnet::IpNet;
use jiff::{Timestamp, ToSpan as _, civil::Date, tz::TimeZone};

use super::services::Span;

pub(super) use self::read::{asset, calendar, role, venue};

/// Section `trading`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trading {
    /// Venues by name.
    pub venues: BTreeMap<String, Venue>,
    /// Calendars by name.
    pub calendars: BTreeMap<String, Calendar>,
    /// Roles of processes by name.
    pub roles: BTreeMap<String, Role>,
    /// Kinds of assets by name, each with its paths.
    pub assets: BTreeMap<String, Vec<PathPattern>>,
}

/// Where orders go to, prices come from, and the like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Venue {
    /// What it is for, one of [`VENUE_KINDS`].
    pub kind: &'static str,
    /// Its host names.
    pub hosts: Vec<String>,
    /// Its addresses.
    pub cidrs: Vec<IpNet>,
    /// Its ports; none for any.
    pub ports: Vec<u16>,
    /// Its multicast groups.
    pub groups: Vec<IpNet>,
}

/// When there is trade.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calendar {
    /// Whose clock counts.
    pub zone: TimeZone,
    /// Times of the sessions on ordinary days.
    pub sessions: Vec<(Session, Span)>,
    /// The same on half days.
    pub half_day_sessions: Vec<(Session, Span)>,
    /// Days on which these hold.
    pub half_days: Vec<Date>,
    /// Days without any.
    pub holidays: Vec<Date>,
}

impl Calendar {
    /// The sessions that begin on a day.
    pub fn on(&self, day: Date) -> impl Iterator<Item = &(Session, Span)> {
        let sessions: &[(Session, Span)] = if self.holidays.contains(&day) {
            &[]
        } else if self.half_days.contains(&day) {
            &self.half_day_sessions
        } else {
            &self.sessions
        };
        let weekday = day.weekday().to_monday_zero_offset() as u32;
        sessions.iter().filter(move |(_, span)| span.days & 1 << weekday != 0)
    }

    /// A minute of a day.
    pub fn at(&self, day: Date, minute: u16) -> Option<Timestamp> {
        let midnight = day.at(0, 0, 0, 0);
        let local = midnight.checked_add(i64::from(minute).minutes()).ok()?;
        Some(local.to_zoned(self.zone.clone()).ok()?.timestamp())
    }

    /// When the first session of a day begins, if there is any.
    pub fn opening(&self, day: Date) -> Option<Timestamp> {
        let first = self.on(day).map(|(_, span)| span.begin).min()?;
        self.at(day, first)
    }
}

/// A part of the trading day; the busier one counts where two overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Session {
    /// None of the others.
    Closed,
    /// After the last of the others.
    PostClose,
    /// Before the first of the others.
    PreOpen,
    /// Prices are made as they come.
    Continuous,
    /// One price is made for all.
    Auction,
}

/// Which processes have a role: those of which any of this holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Role {
    /// Images of their container, with or without tag; `*` stands for any text.
    pub images: Vec<String>,
    /// Labels of their container or pod.
    pub labels: BTreeMap<String, String>,
    /// Paths of their executable.
    pub exes: Vec<PathPattern>,
    /// Their names.
    pub comms: Vec<String>,
}

/// Paths.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PathPattern {
    /// This one.
    Exact(String),
    /// All below a directory, which is written with a slash at the end.
    Below(String),
    /// All that fit a pattern with `*`, `?` and `[…]`, which also match slashes.
    Glob(String),
}

/// What a venue may be for.
pub const VENUE_KINDS: [&str; 5] = ["order_entry", "market_data", "clearing", "custody", "api"];
/// Roles that the trading pack knows.
pub const ROLES: [&str; 15] = [
    "strategy",
    "gateway",
    "oms",
    "risk",
    "market_data",
    "signer",
    "ledger",
    "approval",
    "database",
    "backup",
    "deploy",
    "time_sync",
    "supervisor",
    "log_rotation",
    "kernel_bypass",
];
/// Assets that the trading pack knows.
pub const ASSETS: [&str; 11] = [
    "strategy_code",
    "strategy_config",
    "api_key",
    "signing_key",
    "wallet",
    "order_log",
    "audit_log",
    "risk_limits",
    "ledger_db",
    "position_db",
    "signer_socket",
];
/// What names of one's own begin with, so that slips are told from them.
pub const OWN_PREFIX: &str = "x_";

impl Trading {
    /// Whether nothing is described.
    pub fn is_empty(&self) -> bool {
        self.venues.is_empty() && self.calendars.is_empty() && self.roles.is_empty() && self.assets.is_empty()
    }
}

impl Session {
    /// All, the busiest first.
    pub const ALL: [Self; 5] =
        [Self::Auction, Self::Continuous, Self::PreOpen, Self::PostClose, Self::Closed];

    /// The word in settings and rules.
    pub const fn name(self) -> &'static str {
        match self {
            Self::PreOpen => "pre_open",
            Self::Auction => "auction",
            Self::Continuous => "continuous",
            Self::PostClose => "post_close",
            Self::Closed => "closed",
        }
    }
}

impl PathPattern {
    /// Reads one; it must be absolute.
    pub(super) fn read(text: &str) -> Option<Self> {
        let is_clean = !text.contains("/../") && !text.contains("/./") && !text.contains("//");
        let is_glob = text.contains(['*', '?', '[']);
        match text {
            _ if !(text.starts_with('/') || is_glob && text.starts_with('*')) || !is_clean => None,
            _ if is_glob => Some(Self::Glob(text.to_owned())),
            "/" => None,
            _ if text.ends_with('/') => Some(Self::Below(text.to_owned())),
            _ => Some(Self::Exact(text.to_owned())),
        }
    }
}
