//! The agent's configuration: load, check, explain.
//!
//! One YAML file, the environment and the flags become one checked [`Config`]. Owns the table of settings;
//! must never change anything outside itself. Called by the command line at start and by the reload.

pub mod fault;
pub mod keys;
mod limits;
pub mod lists;
mod places;
mod raw;
mod responses;
pub mod schema;
mod services;
pub mod trading;
mod validate;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, io,
    net::SocketAddr,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rampart_common::event::FAMILY_COUNT;
use rampart_rules::rule::{Matching, Priority};
use serde_yaml::Value;

use self::fault::{Fault, Faults, Place};
pub use self::limits::{InterfaceLimits, Limits, PolicyLimits};
pub use self::lists::{ListSource, RuleList};
pub use self::responses::Responses;
pub use self::services::{
    AdminState, AgentCheck, Algorithm, BackendSettings, BreakerSettings, Calendar, Check, Drain, DrainCause,
    Failback, Health, Panic, ServiceSettings, Services, Span, TlsCheck, service_of,
};
pub use self::trading::Trading;
use crate::{
    bundles::{Bundle, PublicKey, RuleFile, SETTINGS_FILE},
    container::sockets::Sockets,
    cores::Isolation,
    spool::Sync,
};

/// The file that is read when no `-c` names one; it may be absent.
pub const DEFAULT_FILE: &str = "/etc/rampart/rampart.yaml";

/// The checked configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// What the agent says about itself.
    pub log: Log,
    /// Which rules, and how they are read.
    pub rules: Rules,
    /// Where alerts go.
    pub output: Output,
    /// The local HTTP server.
    pub admin: Admin,
    /// Policy from a collector.
    pub bundles: Bundles,
    /// The kernel half.
    pub kernel: Kernel,
    /// What the kernel rejects.
    pub pushdown: Pushdown,
    /// What the rules may cost.
    pub budgets: Budgets,
    /// What is remembered of processes.
    pub state: State,
    /// What is asked about containers.
    pub containers: Containers,
    /// What is asked about pods.
    pub kubernetes: Kubernetes,
    /// Rate limits.
    pub limits: Limits,
    /// Services.
    pub services: Services,
    /// Venues, calendars, roles and assets of trading.
    pub trading: Trading,
    /// What is done about matches.
    pub responses: Responses,
    /// What may be read for the digests of executables.
    pub digests: Digests,
    /// This node.
    pub node: Node,
}

/// Section `log`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    /// One of [`keys::LEVELS`].
    pub level: &'static str,
    /// Form of the lines.
    pub format: Format,
}

/// Form of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Section `rules`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Files and directories in load order; empty for the built-in packs.
    pub files: Vec<PathBuf>,
    /// First match or all.
    pub matching: Matching,
    /// Rules less severe are left out.
    pub min_priority: Priority,
    /// Evaluate path rules on the real path too.
    pub realpath_matching: bool,
    /// Reproduce Falco's known faults.
    pub strict_falco: bool,
    /// Reload when a file changes.
    pub watch: bool,
    /// Rule files of the policy bundle; they come after all others.
    pub bundled: Vec<RuleFile>,
    /// Lists whose members are kept elsewhere, by name.
    pub lists: BTreeMap<String, RuleList>,
}

/// Section `output`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Alerts that may wait for each output; the newest is dropped, and counted, when it is full.
    pub queue_alerts: NonZeroUsize,
    /// Standard output.
    pub stdout: StdoutOutput,
    /// A file, when one is named.
    pub file: Option<FileOutput>,
    /// The collector, when one is named.
    pub collector: Option<CollectorOutput>,
}

/// Section `output.stdout`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StdoutOutput {
    /// Whether it is used.
    pub enabled: bool,
    /// Form of the alerts.
    pub format: Format,
}

/// Section `output.file`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileOutput {
    /// The file, created when absent, appended to otherwise.
    pub path: PathBuf,
    /// Form of the alerts.
    pub format: Format,
}

/// Section `output.collector`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CollectorOutput {
    /// Where it listens.
    pub url: String,
    /// Files for TLS; `None` on loopback, and where the collector makes the certificate.
    pub tls: Option<TlsFiles>,
    /// How to get a certificate from the collector.
    pub join: Option<Join>,
    /// Directory of alerts that it has not stored yet.
    pub spool_dir: PathBuf,
    /// Bound of this directory.
    pub spool_bytes: u64,
    /// When the spool is forced to the disk.
    pub sync: Sync,
    /// How often.
    pub sync_interval: Duration,
    /// Kinds of jobs that the collector may ask for.
    pub jobs: BTreeSet<String>,
}

/// Files for TLS, PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// Who may have signed the collector's certificate.
    pub ca: PathBuf,
    /// The agent's certificate.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// How to get a certificate from the collector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Join {
    /// Where key and certificate are kept.
    pub file: PathBuf,
    /// Who may have signed the collector's certificate, PEM.
    pub ca: Option<PathBuf>,
    /// SHA-256 of the certificate of the authority that has.
    pub ca_sha256: Option<[u8; 32]>,
    /// What shows the collector which node this is.
    pub proof: JoinProof,
}

/// What shows the collector which node this is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JoinProof {
    /// A token that the collector has made.
    Token(Secret),
    /// The same in a file.
    TokenFile(PathBuf),
    /// File of a token that Kubernetes gave the agent's pod.
    ServiceAccount(PathBuf),
}

/// Text that is shown to nobody.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// Section `admin`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Whether the server runs.
    pub enabled: bool,
    /// Its address.
    pub listen: SocketAddr,
    /// File of the token that may change things.
    pub token_file: Option<PathBuf>,
}

/// Section `bundles`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundles {
    /// Whose bundles are taken; nobody's without.
    pub keys: Vec<PublicKey>,
    /// Directory of the one in force.
    pub dir: PathBuf,
}

/// Section `pushdown`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pushdown {
    /// Whether the kernel rejects events that no rule can match.
    pub enabled: bool,
    /// One in so many of them is sent all the same and judged, to check; 0 = none.
    pub shadow_every: u32,
}

/// Section `budgets`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budgets {
    /// Rules less severe than this may be left out.
    pub shed_below: Priority,
    /// What the rules may take of one core, in millionths, by family; `None` for as much as they need.
    pub families: [Option<u32>; FAMILY_COUNT],
    /// Time over which it is measured.
    pub window: Duration,
    /// A family below so many percent of its budget has room for rules that were left out.
    pub return_below_percent: u32,
    /// Windows in a row in which it must have room before one comes back.
    pub return_windows: u32,
}

/// Section `kernel`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// Size of the event ring, a power of two.
    pub ring_bytes: u32,
}

/// Section `state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// Processes remembered.
    pub max_processes: u32,
}

/// Section `containers`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Containers {
    /// Whether runtimes are asked.
    pub enabled: bool,
    /// Longest wait of an alert.
    pub wait: Duration,
    /// Where they listen.
    pub sockets: Sockets,
    /// Directories in which containerd keeps the tasks it runs, as on the host.
    pub containerd_tasks: Vec<PathBuf>,
}

/// Section `kubernetes`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kubernetes {
    /// When pods are watched.
    pub watch: WatchMode,
    /// Name of this node in the cluster.
    pub node_name: String,
    /// How to reach the API server; `None` for the service account of the agent's pod.
    pub kubeconfig: Option<PathBuf>,
}

/// When pods are watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchMode {
    /// When the agent runs in a cluster or is told how to reach one.
    Auto,
    /// Always; the agent does not run without.
    On,
    /// Never.
    Off,
}

/// Section `digests`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digests {
    /// Larger files have none; 0 = nothing is read.
    pub max_bytes: u64,
    /// What is read in a second, on average.
    pub bytes_per_sec: u64,
}

/// Section `node`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Name of this node in alerts.
    pub hostname: String,
    /// Directory of the lock.
    pub runtime_dir: PathBuf,
    /// Directory of what outlives the agent.
    pub state_dir: PathBuf,
    /// Time for the shutdown.
    pub shutdown_grace: Duration,
    /// CPUs to be left alone.
    pub isolated_cpus: Isolation,
    /// What rollouts of policy bundles choose nodes by.
    pub labels: BTreeMap<String, String>,
}

/// Settings given as flags; they win over everything else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `--rules`, in order; empty when not given.
    pub rules: Vec<PathBuf>,
    /// `--output`.
    pub output: Option<Format>,
    /// `--log-level`.
    pub log_level: Option<String>,
}

/// Everything a configuration is made of, kept so that a reload takes the same way as the start.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file named by `-c`; without one [`DEFAULT_FILE`] is read if it is there.
    pub file: Option<PathBuf>,
    /// The environment, read once at start.
    pub env: Vec<(String, String)>,
    /// The flags.
    pub overrides: Overrides,
    /// The machine's own name, for `node.hostname`.
    pub machine: Option<String>,
    /// The policy bundle: its settings rank above those of the file, its rules come after the others.
    pub bundle: Option<Arc<Bundle>>,
}

impl Sources {
    /// The sources of this process: its environment and the machine's name.
    pub fn of_process(file: Option<PathBuf>, overrides: Overrides) -> Self {
        let env = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let machine = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
        Self { file, env, overrides, machine, bundle: None }
    }

    /// Reads and checks the whole configuration, without any side effect.
    pub fn load(&self) -> Result<Config, Faults> {
        let mut raw = raw::Raw::default();
        match (&self.file, read(self.file_path())) {
            (_, Ok(text)) => raw.read_file(self.file_path(), &text),
            (None, Err(error)) if error.kind() == io::ErrorKind::NotFound => {}
            (_, Err(error)) => {
                let place = Place::File { path: self.file_path().to_owned(), line: 0, column: 0 };
                raw.faults.push(Fault { place, message: format!("cannot be read: {error}"), help: None });
            }
        }
        if let Some((bundle, settings)) =
            self.bundle.as_ref().and_then(|one| Some((one, one.settings.as_ref()?)))
        {
            raw.read_bundle(Path::new(&bundle.place(SETTINGS_FILE)), settings);
        }
        raw.read_env(&self.env);
        let Overrides { rules, output, log_level } = &self.overrides;
        if !rules.is_empty() {
            let files = rules.iter().map(|path| path.to_string_lossy().as_ref().into()).collect();
            raw.read_flag("rules.files", Value::Sequence(files), "--rules");
        }
        if let Some(format) = output {
            raw.read_flag("output.stdout.enabled", true.into(), "--output");
            raw.read_flag("output.stdout.format", format.name().into(), "--output");
        }
        if let Some(level) = log_level {
            raw.read_flag("log.level", level.as_str().into(), "--log-level");
        }
        let mut config = validate::validate(raw, self.machine.clone()).map_err(Faults)?;
        if let Some(bundle) = &self.bundle {
            config.rules.bundled.clone_from(&bundle.rules);
        }
        Ok(config)
    }

    /// The file that [`Sources::load`] reads.
    pub fn file_path(&self) -> &Path {
        self.file.as_deref().unwrap_or(Path::new(DEFAULT_FILE))
    }
}

impl Config {
    /// Sections, besides `rules`, in which another configuration differs.
    pub fn differences(&self, other: &Self) -> Vec<&'static str> {
        let sections = [
            ("log", self.log == other.log),
            ("output", self.output == other.output),
            ("admin", self.admin == other.admin),
            ("bundles", self.bundles == other.bundles),
            ("kernel", self.kernel == other.kernel),
            ("pushdown", self.pushdown == other.pushdown),
            ("budgets", self.budgets == other.budgets),
            ("state", self.state == other.state),
            ("containers", self.containers == other.containers),
            ("kubernetes", self.kubernetes == other.kubernetes),
            // The rest takes effect at once.
            ("limits", other.limits == other.limits.after(&self.limits)),
            ("services", other.services == other.services.after(&self.services)),
            ("responses", other.responses == other.responses.after(&self.responses)),
            ("digests", self.digests == other.digests),
            ("node", self.node == other.node),
        ];
        // The engine takes this one at its start, although it stands among the rules.
        let realpath = self.rules.realpath_matching == other.rules.realpath_matching;
        let changed = sections.into_iter().chain([("rules.realpath_matching", realpath)]);
        changed.filter(|(_, same)| !same).map(|(name, _)| name).collect()
    }
}

impl Format {
    /// The word used in settings.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

/// A file's bytes; a directory or device gets an error of its own instead of whatever reading it does.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let kind = std::fs::metadata(path)?.file_type();
    if kind.is_dir() {
        return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a directory"));
    }
    std::fs::read(path)
}

/// The settings as a table for people: name, default, meaning, environment name.
pub fn reference() -> String {
    let mut text = String::new();
    for key in keys::KEYS {
        let names = [key.env_name()].into_iter().chain(key.aliases.iter().map(|alias| (*alias).to_owned()));
        let names: Vec<String> = names.collect();
        let line = [key.path, "\n    ", key.help, " [default: ", key.default, "]\n    "];
        text.extend(line);
        text.push_str(&names.join(", "));
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests;
