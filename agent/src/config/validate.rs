//! From the configuration as written to the checked one; every fault is collected, not only the first.

mod budgets;
pub(super) mod bundles;
mod collector;
mod responses;
mod services;
mod throttle;
mod trading;

use std::{net::SocketAddr, num::NonZeroUsize, path::PathBuf, time::Duration};

use rampart_rules::rule::{Matching, Priority};
use serde_yaml::Value;

use rampart_common::limit::{
    gcra::Mode,
    verdict::{Action, Direction, Unit},
};

use super::{
    Admin, Config, Containers, Digests, FileOutput, Format, Kernel, Kubernetes, Limits, Log, Node, Output,
    PolicyLimits, Pushdown, Rules, State, StdoutOutput, WatchMode,
    fault::{Fault, Place},
    keys,
    limits::read,
    lists,
    raw::{Raw, describe},
};
use crate::{
    container::sockets::{self, Interface, Sockets},
    cores::{CpuListFault, Isolation},
    limits::{class::Class, rate::Rate},
};

/// Smallest and largest event ring: below, one burst of execs overflows it; above, the kernel refuses it.
const RING_BYTES: std::ops::RangeInclusive<u64> = 64 * 1024..=1 << 30;
/// Fewer remembered processes cannot even hold a small machine; more would not fit the memory goal.
const PROCESSES: std::ops::RangeInclusive<u64> = 1024..=4_194_304;
/// Alerts waiting for one output.
const QUEUE: std::ops::RangeInclusive<u64> = 1..=1_048_576;
/// Milliseconds an alert may wait for the metadata of its container.
const WAIT_MS: std::ops::RangeInclusive<u64> = 0..=100;
/// One in so many rejected events.
const SHADOW: std::ops::RangeInclusive<u64> = 0..=1 << 30;
/// Seconds of grace at the end.
const GRACE_SECS: std::ops::RangeInclusive<u64> = 1..=300;

/// Seconds without a sign of life.
const DEAD_MAN_SECS: std::ops::RangeInclusive<u64> = 0..=86_400;
/// Below, a table of the kernel evicts what is in use: it hands entries to CPUs by 128. Above, it is larger than 2 GB.
const ENTRIES: std::ops::RangeInclusive<u64> = 4096..=1 << 24;
/// Events per second and CPU.
const PER_SEC: std::ops::RangeInclusive<u64> = 1..=10_000_000;
/// The same, or none.
const PER_SEC_OR_NONE: std::ops::RangeInclusive<u64> = 0..=10_000_000;
/// Seconds of a window of the default policy.
const WINDOW_SECS: std::ops::RangeInclusive<u64> = 1..=3600;
/// All entries are looked at for quotas, between two signs of life.
const QUOTA_ENTRIES: u32 = 1 << 18;
/// Seconds between two looks at a feed.
const REFRESH_SECS: std::ops::RangeInclusive<u64> = 1..=604_800;
/// Seconds between two changes of the seed of hashes.
const SEED_SECS: std::ops::RangeInclusive<u64> = 0..=604_800;
/// Seconds that a feed counts.
const AGE_SECS: std::ops::RangeInclusive<u64> = 0..=31_536_000;
/// Seconds between two alerts about the same.
const ALERT_SECS: std::ops::RangeInclusive<u64> = 0..=86_400;
/// Largest executable of which a digest is made, mebibytes.
const DIGEST_MIB: std::ops::RangeInclusive<u64> = 0..=4096;
/// Mebibytes read for digests in a second.
const DIGEST_MIB_PER_SEC: std::ops::RangeInclusive<u64> = 1..=4096;
/// Policies of the kernel's tables, without that of packets without ports.
const POLICIES_MAX: usize = rampart_common::limit::abi::POLICIES as usize - 2;
/// Name of the policy that `limits.default` makes.
const DEFAULT_POLICY: &str = "default";

/// Checks everything; gives the configuration only when there is no fault.
pub(super) fn validate(raw: Raw, hostname: Option<String>) -> Result<Config, Vec<Fault>> {
    let mut check = Check { raw };
    let hostname = check.text("node.hostname").or(hostname).unwrap_or_else(|| "localhost".to_owned());
    let (trading, services) = (check.trading(), check.services());
    let config = Config {
        log: Log {
            level: check.choice("log.level", keys::LEVELS, "info"),
            format: check.format("log.format", Format::Text),
        },
        rules: Rules {
            files: check.paths("rules.files"),
            matching: match check.choice("rules.matching", keys::MATCHING, "first") {
                "all" => Matching::All,
                _ => Matching::First,
            },
            min_priority: check
                .choice("rules.min_priority", keys::PRIORITIES, "debug")
                .parse()
                .unwrap_or(Priority::Debug),
            realpath_matching: check.bool("rules.realpath_matching", true),
            strict_falco: check.bool("rules.strict_falco", false),
            watch: check.bool("rules.watch", true),
            bundled: Vec::new(),
            lists: read::named(&mut check.raw, "rules.lists", lists::list),
        },
        output: Output {
            queue_alerts: NonZeroUsize::new(check.number("output.queue_alerts", &QUEUE, 8192) as usize)
                .unwrap_or(NonZeroUsize::MIN),
            stdout: StdoutOutput {
                enabled: check.bool("output.stdout.enabled", true),
                format: check.format("output.stdout.format", Format::Text),
            },
            file: {
                let format = check.format("output.file.format", Format::Json);
                check.path("output.file.path").map(|path| FileOutput { path, format })
            },
            collector: check.collector(),
        },
        admin: Admin {
            enabled: check.bool("admin.enabled", true),
            listen: check.socket("admin.listen", SocketAddr::from(([127, 0, 0, 1], 8765))),
            token_file: check.path("admin.token_file"),
        },
        bundles: check.bundles(),
        kernel: Kernel { ring_bytes: check.ring_bytes() },
        pushdown: Pushdown {
            enabled: check.bool("pushdown.enabled", true),
            shadow_every: check.number("pushdown.shadow_every", &SHADOW, 4096) as u32,
        },
        budgets: check.budgets(),
        state: State { max_processes: check.number("state.max_processes", &PROCESSES, 65536) as u32 },
        containers: check.containers(),
        kubernetes: check.kubernetes(&hostname),
        limits: check.limits(&read::Known { calendars: &trading.calendars, services: &services.list }),
        services,
        trading,
        digests: Digests {
            max_bytes: check.number("digests.max_mib", &DIGEST_MIB, 128) << 20,
            bytes_per_sec: check.number("digests.mib_per_sec", &DIGEST_MIB_PER_SEC, 64) << 20,
        },
        responses: check.responses(),
        node: Node {
            hostname,
            runtime_dir: check.path("node.runtime_dir").unwrap_or_else(|| PathBuf::from("/run/rampart")),
            state_dir: check.path("node.state_dir").unwrap_or_else(|| PathBuf::from("/var/lib/rampart")),
            shutdown_grace: Duration::from_secs(check.number("node.shutdown_grace_secs", &GRACE_SECS, 10)),
            isolated_cpus: check.isolation("node.isolated_cpus"),
            labels: check.labels(),
        },
    };
    let mut config = config;
    for (name, list) in &mut config.rules.lists {
        list.copy = config.node.state_dir.join(lists::DIRECTORY).join(format!("{name}.list"));
    }
    check.together(&config);
    let faults = check.raw.faults;
    if faults.is_empty() { Ok(config) } else { Err(faults) }
}

struct Check {
    raw: Raw,
}

impl Check {
    /// The setting's value, unless it is absent or written empty (`key:`), which means the default.
    fn take(&mut self, path: &str) -> Option<(Value, Place)> {
        let setting = self.raw.settings.remove(path)?;
        if setting.value.is_null() { None } else { Some((setting.value, setting.place)) }
    }

    fn place(&self, path: &str) -> Place {
        self.raw.settings.get(path).map_or(Place::Default, |setting| setting.place.clone())
    }

    fn choice(&mut self, path: &str, words: &'static [&'static str], default: &'static str) -> &'static str {
        let Some((value, place)) = self.take(path) else { return default };
        let text = value.as_str().unwrap_or_default().to_ascii_lowercase();
        // Names that other software uses for the same word.
        let text = match (path, text.as_str()) {
            ("log.level", "warning") => "warn",
            ("rules.min_priority", "info") => "informational",
            (_, other) => other,
        };
        if let Some(word) = words.iter().copied().find(|word| *word == text) {
            return word;
        }
        let help = match keys::closest(words.iter().copied(), text) {
            Some(near) if !text.is_empty() => format!("did you mean `{near}`?"),
            _ => format!("use one of `{}`", words.join("`, `")),
        };
        self.raw.fault(place, format!("`{path}` cannot be {}", describe(&value)), Some(help));
        default
    }

    fn format(&mut self, path: &str, default: Format) -> Format {
        let word = match default {
            Format::Text => "text",
            Format::Json => "json",
        };
        if self.choice(path, keys::FORMATS, word) == "json" { Format::Json } else { Format::Text }
    }

    fn bool(&mut self, path: &str, default: bool) -> bool {
        let Some((value, place)) = self.take(path) else { return default };
        value.as_bool().unwrap_or_else(|| {
            self.wrong(path, &value, place, "`true` or `false`");
            default
        })
    }

    fn number(&mut self, path: &str, range: &std::ops::RangeInclusive<u64>, default: u64) -> u64 {
        let Some((value, place)) = self.take(path) else { return default };
        match value.as_u64() {
            Some(number) if range.contains(&number) => number,
            Some(number) => {
                let message = format!("`{path}` is {number}");
                self.raw.fault(place, message, Some(format!("use {} to {}", range.start(), range.end())));
                default
            }
            None => {
                self.wrong(path, &value, place, "a whole number");
                default
            }
        }
    }

    fn ring_bytes(&mut self) -> u32 {
        let default = 8 << 20;
        let place = self.place("kernel.ring_bytes");
        let bytes = self.number("kernel.ring_bytes", &RING_BYTES, default);
        if bytes.is_power_of_two() {
            return bytes as u32;
        }
        let help = format!("the nearest above is {}", bytes.next_power_of_two());
        self.raw.fault(place, format!("`kernel.ring_bytes` must be a power of two, not {bytes}"), Some(help));
        default as u32
    }

    fn text(&mut self, path: &str) -> Option<String> {
        let (value, place) = self.take(path)?;
        match value.as_str() {
            Some(text) if !text.is_empty() => Some(text.to_owned()),
            _ => {
                self.wrong(path, &value, place, "a text that is not empty");
                None
            }
        }
    }

    fn path(&mut self, path: &str) -> Option<PathBuf> {
        self.text(path).map(PathBuf::from)
    }

    fn paths(&mut self, path: &str) -> Vec<PathBuf> {
        let Some((value, place)) = self.take(path) else { return Vec::new() };
        let texts: Option<Vec<PathBuf>> = match &value {
            // One name alone is as clear as a list of one.
            Value::String(text) if !text.is_empty() => Some(vec![PathBuf::from(text)]),
            Value::Sequence(items) => items
                .iter()
                .map(|item| item.as_str().filter(|text| !text.is_empty()).map(PathBuf::from))
                .collect(),
            _ => None,
        };
        texts.unwrap_or_else(|| {
            self.wrong(path, &value, place, "a list of file names");
            Vec::new()
        })
    }

    /// Like [`Check::paths`], with what holds when nothing is written.
    fn paths_or(&mut self, path: &str, default: &[&str]) -> Vec<PathBuf> {
        let written = self.raw.settings.get(path).is_some_and(|setting| !setting.value.is_null());
        if written { self.paths(path) } else { default.iter().map(PathBuf::from).collect() }
    }

    fn containers(&mut self) -> Containers {
        let mut listed = Vec::new();
        for (path, interface, default) in [
            ("containers.docker_sockets", Interface::Docker, sockets::DOCKER),
            ("containers.podman_sockets", Interface::Podman, sockets::PODMAN),
            ("containers.cri_sockets", Interface::Cri, sockets::CRI),
            ("containers.containerd_sockets", Interface::Containerd, sockets::CONTAINERD),
        ] {
            listed.extend(self.paths_or(path, default).into_iter().map(|path| (interface, path)));
        }
        Containers {
            enabled: self.bool("containers.enabled", true),
            wait: Duration::from_millis(self.number("containers.wait_ms", &WAIT_MS, 100)),
            sockets: Sockets {
                host_root: self.path("containers.host_root").unwrap_or_else(|| PathBuf::from("/")),
                listed,
            },
            containerd_tasks: self.paths_or("containers.containerd_tasks", sockets::CONTAINERD_TASKS),
        }
    }

    fn kubernetes(&mut self, hostname: &str) -> Kubernetes {
        let place = self.place("kubernetes.node_name");
        let node_name = self.text("kubernetes.node_name");
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
        if let Some(name) = node_name.as_ref().filter(|name| !name.bytes().all(allowed)) {
            let help = Some("use the name that `kubectl get nodes` shows".to_owned());
            self.raw.fault(place, format!("`kubernetes.node_name` cannot be `{name}`"), help);
        }
        Kubernetes {
            watch: match self.choice("kubernetes.watch", keys::WATCH, "auto") {
                "on" => WatchMode::On,
                "off" => WatchMode::Off,
                _ => WatchMode::Auto,
            },
            node_name: node_name.unwrap_or_else(|| hostname.to_owned()),
            kubeconfig: self.path("kubernetes.kubeconfig"),
        }
    }

    fn limits(&mut self, known: &read::Known<'_>) -> Limits {
        let setting = self.place("limits.policies");
        let raw = &mut self.raw;
        let interfaces = read::named(raw, "limits.interfaces", read::interface);
        let mut policies = read::named(raw, "limits.policies", |raw, _, path, value, place| {
            read::policy(raw, path, value, place, known)
        });
        let [allow, deny, safety] =
            ["limits.allow", "limits.deny", "limits.safety"].map(|path| read::nets(raw, path));
        if let Some(policy) = self.default_policy() {
            policies.entry(DEFAULT_POLICY.to_owned()).or_insert(policy);
        }
        let limits = Limits {
            enabled: self.bool("limits.enabled", false),
            is_enforcing: self.choice("limits.mode", keys::LIMITING, "observe") == "enforce",
            is_strict: self.bool("limits.strict", false),
            dead_man: Duration::from_secs(self.number("limits.dead_man_secs", &DEAD_MAN_SECS, 10)),
            pin_dir: self.path("limits.pin_dir").unwrap_or_else(|| PathBuf::from("/sys/fs/bpf/rampart")),
            max_entries: self.number("limits.max_entries", &ENTRIES, 65536) as u32,
            new_entries_per_sec: self.number("limits.new_entries_per_sec", &PER_SEC, 20_000) as u32,
            samples_per_sec: self.number("limits.samples_per_sec", &PER_SEC, 100) as u32,
            portless_per_sec: self.number("limits.portless_per_sec", &PER_SEC_OR_NONE, 100) as u32,
            hash_seed: Duration::from_secs(self.number("limits.hash_seed_secs", &SEED_SECS, 600)),
            interfaces,
            policies,
            allow,
            deny,
            allow_files: self.paths("limits.allow_files"),
            deny_files: self.paths("limits.deny_files"),
            allow_feeds: self.urls("limits.allow_feeds"),
            deny_feeds: self.urls("limits.deny_feeds"),
            feed_refresh: Duration::from_secs(self.number("limits.feed_refresh_secs", &REFRESH_SECS, 3600)),
            feed_max_age: Duration::from_secs(self.number("limits.feed_max_age_secs", &AGE_SECS, 172_800)),
            safety,
            time_zone: self.time_zone("limits.time_zone"),
            alert: Duration::from_secs(self.number("limits.alert_secs", &ALERT_SECS, 10)),
            throttle: self.throttle(),
        };
        if limits.policies.len() > POLICIES_MAX {
            let message = format!(
                "{} policies are more than the {POLICIES_MAX} that are possible",
                limits.policies.len()
            );
            self.raw.fault(setting.clone(), message, None);
        }
        let counting = limits.policies.iter().find(|(_, policy)| policy.quota.is_some());
        if let Some((name, _)) = counting.filter(|_| limits.max_entries > QUOTA_ENTRIES) {
            let message =
                format!("`limits.max_entries` is {}, which is too many for quotas", limits.max_entries);
            let help = Some(format!("use {QUOTA_ENTRIES} or fewer, or take `quota` from `{name}`"));
            self.raw.fault(setting.clone(), message, help);
        }
        for (later, first) in limits.conflicts() {
            let place = self.raw.place_of(&format!("limits.policies.{later}"), &setting);
            let message = format!("the policies `{first}` and `{later}` are about the same packets");
            let help = Some("give one of them other `sources`, `ports` or `interfaces`".to_owned());
            self.raw.fault(place, message, help);
        }
        limits
    }

    /// The policy of `limits.default`: new flows to anywhere, one window's worth at once.
    fn default_policy(&mut self) -> Option<PolicyLimits> {
        let requests = self.number("limits.default.requests", &PER_SEC_OR_NONE, 0);
        let place = self.place("limits.default.window_secs");
        let window = self.number("limits.default.window_secs", &WINDOW_SECS, 60);
        if requests == 0 {
            return None;
        }
        let rate = Rate { amount: requests, period_secs: window, burst: requests };
        let Ok(limit) = rate.limit() else {
            self.raw.fault(place, "`limits.default` is less than one an hour".to_owned(), None);
            return None;
        };
        Some(PolicyLimits {
            rate,
            limit,
            quota: None,
            class: Class::Standard,
            unit: Unit::NewFlows,
            mode: Mode::Throttle,
            action: Action::Drop,
            mark: 0,
            is_dry: false,
            is_on_demand: false,
            key_v4: 32,
            key_v6: 64,
            interfaces: Vec::new(),
            direction: Direction::Ingress,
            protocol: None,
            ports: Vec::new(),
            sources: Vec::new(),
        })
    }

    fn socket(&mut self, path: &str, default: SocketAddr) -> SocketAddr {
        let Some((value, place)) = self.take(path) else { return default };
        let Some(address) = value.as_str().and_then(|text| text.parse().ok()) else {
            self.wrong(path, &value, place, "`ADDRESS:PORT` such as `127.0.0.1:8765`");
            return default;
        };
        address
    }

    fn isolation(&mut self, path: &str) -> Isolation {
        let Some((value, place)) = self.take(path) else { return Isolation::Auto };
        // One CPU alone is a number in YAML.
        let text = value.as_u64().map(|cpu| cpu.to_string());
        let Some(text) = text.as_deref().or_else(|| value.as_str()) else {
            self.wrong(path, &value, place, "`auto`, `none` or a list of CPUs such as `2-5,8`");
            return Isolation::Auto;
        };
        match text.trim().to_ascii_lowercase().as_str() {
            "auto" => Isolation::Auto,
            "none" | "" => Isolation::None,
            list => list.parse().map_or_else(
                |fault: CpuListFault| {
                    let help = "use `auto`, `none` or a list of CPUs such as `2-5,8`".to_owned();
                    self.raw.fault(place, format!("`{path}`: {fault}"), Some(help));
                    Isolation::Auto
                },
                Isolation::Listed,
            ),
        }
    }

    fn wrong(&mut self, path: &str, value: &Value, place: Place, expected: &str) {
        self.raw.fault(place, format!("`{path}` must be {expected}, found {}", describe(value)), None);
    }

    /// Faults of settings that are fine alone and not together.
    fn together(&mut self, config: &Config) {
        if !config.output.stdout.enabled && config.output.file.is_none() && config.output.collector.is_none()
        {
            let help =
                "set `output.stdout.enabled: true`, `output.file.path` or `output.collector.url`".to_owned();
            self.raw.fault(
                Place::Default,
                "every output is off, no alert could leave the agent".to_owned(),
                Some(help),
            );
        }
    }
}
