//! What a rule asks to be done about a match, beside the alert: the key `response`.
//!
//! This is only what the rule file says. Whether anything of it is done is the agent's business: its mode, what it
//! protects, and what it may do in a minute.

use std::fmt;

use crate::catalog::{FieldId, ids};

/// Longest time that something done holds, milliseconds: a week.
pub const TTL_MAX_MS: u64 = 7 * 24 * 3_600_000;
/// Longest capture, milliseconds: ten minutes.
pub const CAPTURE_MAX_MS: u64 = 600_000;
/// How long something done holds when nothing is said.
pub const TTL_MS: u64 = 600_000;
/// How long a capture takes when nothing is said.
pub const CAPTURE_MS: u64 = 30_000;
/// Most responses of a rule.
pub const ACTIONS_MAX: usize = 8;

/// How far responses go. The lesser of the agent's and the rule's counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mode {
    /// Nothing is done or counted.
    #[default]
    Off,
    /// What would be done is counted and noted.
    Observe,
    /// It is done.
    Enforce,
}

/// What is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// The process.
    Process,
    /// The process and all that descend from it.
    Tree,
    /// All processes of its container.
    Container,
}

/// What a pod in quarantine may not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Traffic {
    /// Send.
    Egress,
    /// Send and receive.
    All,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// End processes by SIGKILL.
    Kill(Scope),
    /// Drop packets of the event's remote address.
    BlockIp {
        /// How long, milliseconds.
        ttl_ms: u64,
    },
    /// Put the event's remote address under a policy of the rate limiter.
    LimitIp {
        /// The policy.
        policy: String,
        /// How long, milliseconds.
        ttl_ms: u64,
    },
    /// Cut the event's container off the network.
    Quarantine {
        /// What it may not do.
        traffic: Traffic,
        /// How long, milliseconds.
        ttl_ms: u64,
    },
    /// Open the circuit breakers of a service.
    OpenBreaker {
        /// The service.
        service: String,
        /// How long, milliseconds.
        ttl_ms: u64,
    },
    /// Tell a channel of the collector, whatever else that channel is told.
    Notify {
        /// The channel.
        channel: String,
    },
    /// Record what goes on.
    Capture {
        /// How long, milliseconds.
        ms: u64,
    },
    /// Refuse the operation itself, before it happens.
    Deny,
}

/// A kind of [`Action`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// [`Action::Kill`].
    Kill,
    /// [`Action::BlockIp`].
    BlockIp,
    /// [`Action::LimitIp`].
    LimitIp,
    /// [`Action::Quarantine`].
    Quarantine,
    /// [`Action::OpenBreaker`].
    OpenBreaker,
    /// [`Action::Notify`].
    Notify,
    /// [`Action::Capture`].
    Capture,
    /// [`Action::Deny`].
    Deny,
}

/// What a rule asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Responses {
    /// How far they may go.
    pub mode: Mode,
    /// What is done, in order.
    pub actions: Vec<Action>,
}

impl Mode {
    /// All, least first.
    pub const ALL: [Self; 3] = [Self::Off, Self::Observe, Self::Enforce];

    /// Word in files and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Observe => "observe",
            Self::Enforce => "enforce",
        }
    }
}

impl Scope {
    /// All.
    pub const ALL: [Self; 3] = [Self::Process, Self::Tree, Self::Container];

    /// Word in files and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Tree => "tree",
            Self::Container => "container",
        }
    }
}

impl Traffic {
    /// All.
    pub const ALL: [Self; 2] = [Self::Egress, Self::All];

    /// Word in files and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Egress => "egress",
            Self::All => "all",
        }
    }
}

impl Kind {
    /// All.
    pub const ALL: [Self; 8] = [
        Self::Kill,
        Self::BlockIp,
        Self::LimitIp,
        Self::Quarantine,
        Self::OpenBreaker,
        Self::Notify,
        Self::Capture,
        Self::Deny,
    ];

    /// Word in files, messages and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::BlockIp => "block_ip",
            Self::LimitIp => "limit_ip",
            Self::Quarantine => "quarantine",
            Self::OpenBreaker => "open_breaker",
            Self::Notify => "notify",
            Self::Capture => "capture",
            Self::Deny => "deny",
        }
    }
}

impl Action {
    /// Its kind.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Kill(_) => Kind::Kill,
            Self::BlockIp { .. } => Kind::BlockIp,
            Self::LimitIp { .. } => Kind::LimitIp,
            Self::Quarantine { .. } => Kind::Quarantine,
            Self::OpenBreaker { .. } => Kind::OpenBreaker,
            Self::Notify { .. } => Kind::Notify,
            Self::Capture { .. } => Kind::Capture,
            Self::Deny => Kind::Deny,
        }
    }

    /// How long what is done holds, milliseconds; `None` for what is done once.
    pub const fn ttl_ms(&self) -> Option<u64> {
        match self {
            Self::BlockIp { ttl_ms }
            | Self::LimitIp { ttl_ms, .. }
            | Self::Quarantine { ttl_ms, .. }
            | Self::OpenBreaker { ttl_ms, .. } => Some(*ttl_ms),
            Self::Kill(_) | Self::Notify { .. } | Self::Capture { .. } | Self::Deny => None,
        }
    }
}

impl Responses {
    /// Fields of the event that say about whom something is done, and whether it may be.
    pub const FIELDS: [FieldId; 5] =
        [ids::PROC_NAME, ids::PROC_EXEPATH, ids::FD_RIP, ids::CONTAINER_ID, ids::K8S_NS_NAME];
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind().name())?;
        match self {
            Self::Kill(scope) => write!(f, " {}", scope.name())?,
            Self::LimitIp { policy, .. } => write!(f, " {policy}")?,
            Self::Quarantine { traffic, .. } => write!(f, " {}", traffic.name())?,
            Self::OpenBreaker { service, .. } => write!(f, " {service}")?,
            Self::Notify { channel } => write!(f, " {channel}")?,
            Self::Capture { ms } => write!(f, " {} s", ms.div_ceil(1000))?,
            Self::BlockIp { .. } | Self::Deny => {}
        }
        match self.ttl_ms() {
            Some(ms) => write!(f, " for {} s", ms.div_ceil(1000)),
            None => Ok(()),
        }
    }
}
