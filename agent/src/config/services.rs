//! Section `services`: virtual addresses, their backends, and how a backend is chosen, watched and left out.

mod calendar;
pub(super) mod read;

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, time::Duration};

use ipnet::IpNet;
use serde_yaml::Value;

use super::{
    fault::{Fault, Place},
    raw::Raw,
};

pub use self::calendar::{Calendar, Span};

/// Section `services`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Services {
    /// Whether services are used at all. When not, what an agent before left attached is taken away.
    pub enabled: bool,
    /// Control group; `None` for the root of the unified hierarchy.
    pub cgroup: Option<PathBuf>,
    /// Directory of pins.
    pub pin_dir: PathBuf,
    /// Networks of virtual addresses, which get routes that lead nowhere.
    pub vip_cidrs: Vec<IpNet>,
    /// Services by name.
    pub list: BTreeMap<String, ServiceSettings>,
    /// Whether services are looked for in the cluster.
    pub kubernetes: bool,
    /// What holds where a service does not say.
    pub defaults: Defaults,
}

/// What holds where a service does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Defaults {
    pub(super) algorithm: &'static str,
    pub(super) failure_threshold: u64,
    pub(super) recovery_secs: u64,
    pub(super) half_open_max_calls: u64,
    pub(super) health_interval_secs: u64,
    pub(super) health_timeout_secs: u64,
}

/// A service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceSettings {
    /// Its virtual address.
    pub vip: SocketAddr,
    /// Protocol number: TCP or UDP.
    pub protocol: u8,
    /// How a backend is chosen.
    pub algorithm: Algorithm,
    /// When a backend is left out.
    pub breaker: BreakerSettings,
    /// How backends are checked; `None` = not at all.
    pub health: Option<Health>,
    /// Where backends say how they are; `None` = nowhere.
    pub agent: Option<AgentCheck>,
    /// How long a sticky client stays.
    pub sticky: Duration,
    /// What a client is.
    pub is_client_cgroup: bool,
    /// How long a backend that failed a client is not chosen for it again.
    pub exclude: Duration,
    /// Time of the first SYN; `None` = the kernel's.
    pub syn_timeout: Option<Duration>,
    /// Retransmissions of a SYN; 0 = the kernel's.
    pub syn_retries: u32,
    /// What happens when most backends are out.
    pub panic: Panic,
    /// Whether and when a better tier is returned to.
    pub failback: Failback,
    /// How long a better tier must have been whole before.
    pub failback_delay: Duration,
    /// When that may be, with [`Failback::Window`].
    pub failback_windows: Calendar,
    /// Whether a backend that comes and goes is left out for a time.
    pub is_damped: bool,
    /// Over which time a backend that is back gets its share.
    pub slow_start: Duration,
    /// What becomes of the connections to a backend that is left out.
    pub drain: Drain,
    /// Backends by name.
    pub backends: BTreeMap<String, BackendSettings>,
}

/// How a backend is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// In turns.
    RoundRobin,
    /// By chance, by weight.
    Weighted,
    /// The one of two with fewer connections.
    LeastConnections,
    /// A client keeps its backend.
    Sticky,
}

/// When a backend is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerSettings {
    /// Failures in a row.
    pub failure_threshold: u16,
    /// Time open.
    pub recovery: Duration,
    /// Longest time open.
    pub recovery_max: Duration,
    /// Probes.
    pub half_open_calls: u8,
    /// Time that a probe has.
    pub probe: Duration,
    /// Longest time half-open.
    pub half_open: Duration,
    /// Whether a connection that stands is a success; else its first byte.
    pub is_established_enough: bool,
    /// Over which time rates are looked at.
    pub window: Duration,
    /// Connections in it below which rates say nothing.
    pub min_calls: u64,
    /// Percentage of failures that opens it; 0 = none does.
    pub failure_percent: u8,
    /// A connect that takes longer is slow; zero = none is.
    pub slow: Duration,
    /// Percentage of slow connects that opens it.
    pub slow_percent: u8,
    /// Largest share of a tier that outliers may be ejected from, in percent; 0 = none is.
    pub max_ejection_percent: u8,
    /// Only shown, nothing is refused.
    pub is_metrics_only: bool,
}

/// What happens when most backends are out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Panic {
    /// As `Spread` with three backends or more, else as `FailFast`.
    Auto,
    /// All backends are used, whatever is known of them.
    Spread,
    /// Connections are refused.
    FailFast,
}

/// Whether a better tier is returned to by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failback {
    /// Yes.
    Auto,
    /// When somebody says so, or when the worse tier fails.
    Manual,
    /// Within the times of the service's calendar; as `Manual` outside of them.
    Window,
}

/// What becomes of the connections to a backend that is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drain {
    /// After which time they are ended; `None` = they stay.
    pub after: Option<Duration>,
    /// Why it must have been left out, as bits.
    pub causes: u8,
}

/// Why a backend is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrainCause {
    /// Somebody wants it so.
    Admin = 1,
    /// It is not in the settings any more.
    Removed = 2,
    /// Health checks say that it is down.
    Down = 4,
    /// Its breaker is open, or tries it.
    Open = 8,
    /// It is ejected as an outlier.
    Ejected = 16,
}

impl DrainCause {
    /// All.
    pub const ALL: [Self; 5] = [Self::Admin, Self::Removed, Self::Down, Self::Open, Self::Ejected];

    /// The word in settings and pages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Removed => "removed",
            Self::Down => "down",
            Self::Open => "open",
            Self::Ejected => "ejected",
        }
    }
}

impl Drain {
    /// Whether it is for this cause.
    pub const fn is_for(&self, cause: DrainCause) -> bool {
        self.after.is_some() && self.causes & cause as u8 != 0
    }
}

/// How backends are checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// What is asked.
    pub check: Check,
    /// Time between two checks.
    pub interval: Duration,
    /// The same while checks and connections disagree, or after a change.
    pub fast_interval: Duration,
    /// Time for one.
    pub timeout: Duration,
    /// Successes in a row that bring a backend back.
    pub rise: u32,
    /// Failures in a row that take it out.
    pub fall: u32,
    /// Port, when it is another one.
    pub port: Option<u16>,
}

/// What a health check asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    /// A connection.
    Tcp,
    /// A page.
    Http {
        /// Its path.
        path: String,
        /// Name of the host; `None` = the address.
        host: Option<String>,
        /// Statuses that are good, as ranges.
        statuses: Vec<(u16, u16)>,
        /// What the page must hold.
        body: Option<String>,
        /// How it is secured; `None` = not at all.
        tls: Option<TlsCheck>,
    },
    /// The health service of gRPC.
    Grpc {
        /// Name of the service; empty for the server as a whole.
        service: String,
    },
}

/// How a checked page is secured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlsCheck {
    /// Whether the certificate must be good.
    pub is_verified: bool,
}

/// Where a backend says how it is, as `HAProxy`'s agent check reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentCheck {
    /// Port of the backend's address.
    pub port: u16,
    /// Time between two looks.
    pub interval: Duration,
    /// Time for one.
    pub timeout: Duration,
    /// A line that is sent before.
    pub send: Option<String>,
}

/// A backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendSettings {
    /// Where it is.
    pub address: SocketAddr,
    /// Its share.
    pub weight: u32,
    /// 0 is the best.
    pub tier: u8,
    /// What is wanted of it.
    pub admin: AdminState,
}

/// What a person wants of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdminState {
    /// It is used.
    Ready,
    /// It gets no new connections.
    Drain,
    /// The same, and it is not checked.
    Maintenance,
}

impl AdminState {
    /// The word in settings and pages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Drain => "drain",
            Self::Maintenance => "maintenance",
        }
    }
}

impl Algorithm {
    /// The word in settings and pages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RoundRobin => "round_robin",
            Self::Weighted => "weighted",
            Self::LeastConnections => "least_connections",
            Self::Sticky => "sticky",
        }
    }
}

impl Services {
    /// These settings as far as they take effect while the agent runs; the others are those of before.
    #[must_use]
    pub fn after(&self, before: &Self) -> Self {
        let Self { enabled, cgroup, pin_dir, vip_cidrs, kubernetes, .. } = before.clone();
        Self { enabled, cgroup, pin_dir, vip_cidrs, kubernetes, ..self.clone() }
    }
}

/// Reads a service that is not in the file, written as below `services.list`; what is wrong with it otherwise.
pub fn service_of(name: &str, value: Value, defaults: &Defaults) -> Result<ServiceSettings, String> {
    if !read::is_name(name) {
        return Err("its name must be letters, digits, `-`, `_` and `.`".to_owned());
    }
    let mut raw = Raw::default();
    let read = read::service(defaults, &mut raw, name, value, &Place::Default);
    let said = |fault: &Fault| match &fault.help {
        Some(help) => format!("{}; {help}", fault.message),
        None => fault.message.clone(),
    };
    let faults: Vec<String> = raw.faults.iter().map(said).collect();
    match read {
        Some(service) if faults.is_empty() => Ok(service),
        _ => Err(faults.join("; ")),
    }
}
