//! The one table of settings: name, kind, default and text. The file reader, the environment, the flags and
//! the reference of `rampart check --help` all read it.

mod kind;
mod look;

pub use kind::{Key, Kind};
pub use look::{ENV_PREFIX, closest, find, is_section, suggest};

/// Log levels.
pub const LEVELS: &[&str] = &["error", "warn", "info", "debug", "trace"];
/// Line formats.
pub const FORMATS: &[&str] = &["text", "json"];
/// Rule matching modes.
pub const MATCHING: &[&str] = &["first", "all"];
/// When the spool is forced to the disk.
pub const SYNC: &[&str] = &["always", "interval", "never"];
/// Words for how a backend is chosen.
pub const ALGORITHMS: &[&str] = &["round_robin", "weighted", "least_connections", "sticky"];
/// What is done with what is over a limit.
pub const LIMITING: &[&str] = &["observe", "enforce"];
/// Whether rates are scaled down when the node is too busy.
pub const THROTTLING: &[&str] = &["off", "observe", "enforce"];
/// How far responses go.
pub const RESPONDING: &[&str] = &["off", "observe", "enforce"];
/// When pods are watched.
pub const WATCH: &[&str] = &["auto", "on", "off"];
/// Falco's priorities, most severe first.
pub const PRIORITIES: &[&str] =
    &["emergency", "alert", "critical", "error", "warning", "notice", "informational", "debug"];

const fn key(path: &'static str, kind: Kind, default: &'static str, help: &'static str) -> Key {
    Key { path, kind, default, help, aliases: &[] }
}

/// All settings, in the order of the documentation.
pub static KEYS: &[Key] = &[
    Key {
        path: "log.level",
        kind: Kind::Choice(LEVELS),
        default: "info",
        help: "how much the agent says about itself on standard error",
        aliases: &["LOG_LEVEL"],
    },
    key("log.format", Kind::Choice(FORMATS), "text", "form of the log lines"),
    key("rules.files", Kind::Paths, "the built-in packs", "rule files, or directories of them"),
    key(
        "rules.matching",
        Kind::Choice(MATCHING),
        "first",
        "report the first rule that matches an event, or all",
    ),
    key("rules.min_priority", Kind::Choice(PRIORITIES), "debug", "leave out rules less severe than this"),
    key(
        "rules.realpath_matching",
        Kind::Bool,
        "true",
        "also match rules on `fd.name` and `fs.path.*` against the real path",
    ),
    key("rules.strict_falco", Kind::Bool, "false", "reproduce Falco's known faults too"),
    key(
        "rules.lists",
        Kind::Lists,
        "no list",
        "lists that rules name and that are kept in files or on the web, by name: `kind` (`ip`, `domain`, `sha256` or \
         `text`), `file` or `url`, `format`, `column`, `refresh_secs`, `max_mib`, `max_entries`, `max_age_secs`, `stale`, \
         `allow_private`, `headers_file`",
    ),
    key("rules.watch", Kind::Bool, "true", "reload when a rule file changes, not only on SIGHUP"),
    key("output.queue_alerts", Kind::Number, "8192", "alerts that may wait for each output"),
    key("output.stdout.enabled", Kind::Bool, "true", "write alerts to standard output"),
    key("output.stdout.format", Kind::Choice(FORMATS), "text", "form of the alerts on standard output"),
    key("output.file.path", Kind::Path, "no file", "also append alerts to this file; SIGUSR1 reopens it"),
    key("output.file.format", Kind::Choice(FORMATS), "json", "form of the alerts in the file"),
    key(
        "output.collector.url",
        Kind::Text,
        "no collector",
        "also send alerts to this collector, such as `https://collector:7443`; `http` only on loopback",
    ),
    key("output.collector.ca_file", Kind::Path, "no file", "who signs the collector's certificate, PEM"),
    key("output.collector.cert_file", Kind::Path, "no file", "certificate that the agent shows, PEM"),
    key("output.collector.key_file", Kind::Path, "no file", "key of this certificate, PEM"),
    key(
        "output.collector.token",
        Kind::Text,
        "none",
        "token of `rampart-collector token create`, with which the agent gets its certificate; better in the \
         environment or in a file",
    ),
    key("output.collector.token_file", Kind::Path, "no file", "file of this token"),
    key(
        "output.collector.service_account_token_file",
        Kind::Path,
        "no file",
        "in its place, a token for the collector that Kubernetes projects into the agent's pod",
    ),
    key(
        "output.collector.ca_sha256",
        Kind::Text,
        "the one in the token",
        "in place of `ca_file`, SHA-256 of the certificate of the collector's authority, hexadecimal",
    ),
    key(
        "output.collector.identity_file",
        Kind::Path,
        "`collector.json` in `node.state_dir`",
        "where key and certificate from the collector are kept",
    ),
    key(
        "output.collector.spool_dir",
        Kind::Path,
        "`spool` in `node.state_dir`",
        "where alerts are kept until the collector has stored them",
    ),
    key(
        "output.collector.spool_bytes",
        Kind::Number,
        "268435456",
        "room for them; when it is full, the oldest of the least severe are dropped and counted",
    ),
    key(
        "output.collector.sync",
        Kind::Choice(SYNC),
        "interval",
        "when they are forced to the disk, to survive a power cut too: before the next alert, in intervals, or never",
    ),
    key("output.collector.sync_interval_ms", Kind::Number, "1000", "the interval"),
    key("admin.enabled", Kind::Bool, "true", "serve health and metrics over HTTP"),
    key("admin.listen", Kind::Socket, "127.0.0.1:8765", "address of the HTTP server"),
    key(
        "admin.token_file",
        Kind::Path,
        "no file",
        "file of a bearer token that may change things over HTTP; without one only the socket \
         `admin.sock` in `node.runtime_dir` may",
    ),
    key("kernel.ring_bytes", Kind::Number, "8388608", "event ring buffer, a power of two"),
    key("pushdown.enabled", Kind::Bool, "true", "reject events in the kernel that no rule can match"),
    key(
        "pushdown.shadow_every",
        Kind::Number,
        "4096",
        "one in so many rejected events is judged all the same, to check; rounded up to a power of two, 0 for none",
    ),
    key(
        "budgets.default",
        Kind::Percent,
        "off",
        "time that evaluating the rules may take on the events of each family, in percent of one core",
    ),
    key(
        "budgets.families.open",
        Kind::Percent,
        "the value of `budgets.default`",
        "the same for calls that open files",
    ),
    key(
        "budgets.families.path",
        Kind::Percent,
        "the value of `budgets.default`",
        "the same for other calls on names of files",
    ),
    key(
        "budgets.families.net",
        Kind::Percent,
        "the value of `budgets.default`",
        "the same for calls on sockets",
    ),
    key(
        "budgets.families.fd",
        Kind::Percent,
        "the value of `budgets.default`",
        "the same for other calls on descriptors",
    ),
    key(
        "budgets.families.exec",
        Kind::Percent,
        "the value of `budgets.default`",
        "the same for programs that start",
    ),
    key(
        "budgets.families.process",
        Kind::Percent,
        "the value of `budgets.default`",
        "the same for processes that are made or end",
    ),
    key(
        "budgets.families.scalar",
        Kind::Percent,
        "the value of `budgets.default`",
        "the same for all other calls",
    ),
    key(
        "budgets.shed_below",
        Kind::Choice(PRIORITIES),
        "notice",
        "when a budget is exceeded, rules less severe than this are left out, the costliest first; never others",
    ),
    key("budgets.window_secs", Kind::Number, "10", "time over which it is measured what the rules take"),
    key(
        "budgets.return_below",
        Kind::Number,
        "50",
        "rules come back when a family takes less than so many percent of its budget",
    ),
    key(
        "budgets.return_windows",
        Kind::Number,
        "3",
        "for so many windows in a row; longer for a rule that went again soon after it came back",
    ),
    key("state.max_processes", Kind::Number, "65536", "processes remembered before the oldest are forgotten"),
    key("containers.enabled", Kind::Bool, "true", "ask container runtimes about containers"),
    key("containers.wait_ms", Kind::Number, "100", "longest time an alert waits for what they answer"),
    Key {
        path: "containers.host_root",
        kind: Kind::Path,
        default: "/",
        help: "where the agent sees the root of the host; sockets lie below it",
        aliases: &["HOST_ROOT"],
    },
    key(
        "containers.docker_sockets",
        Kind::Paths,
        "/var/run/docker.sock",
        "where Docker listens; an empty list asks nobody",
    ),
    key("containers.podman_sockets", Kind::Paths, "/run/podman/podman.sock", "where Podman listens"),
    key(
        "containers.cri_sockets",
        Kind::Paths,
        "/run/containerd/containerd.sock,/run/crio/crio.sock,/run/k3s/containerd/containerd.sock",
        "where runtimes of Kubernetes listen",
    ),
    key(
        "containers.containerd_sockets",
        Kind::Paths,
        "/run/containerd/containerd.sock,/run/k3s/containerd/containerd.sock,/run/host-containerd/containerd.sock",
        "where containerd listens, for containers that are not of Kubernetes",
    ),
    key(
        "containers.containerd_tasks",
        Kind::Paths,
        "/run/containerd/io.containerd.runtime.v2.task,/run/k3s/containerd/io.containerd.runtime.v2.task",
        "where containerd keeps its tasks, to tell its groups from others of two levels",
    ),
    key(
        "kubernetes.watch",
        Kind::Choice(WATCH),
        "auto",
        "watch the pods of this node: when the agent runs in a cluster, always, or never",
    ),
    Key {
        path: "kubernetes.node_name",
        kind: Kind::Text,
        default: "the value of `node.hostname`",
        help: "name of this node in the cluster",
        aliases: &["NODE_NAME", "FALCO_K8S_NODE_NAME"],
    },
    key(
        "kubernetes.kubeconfig",
        Kind::Path,
        "the service account of the agent's pod",
        "how to reach the API server",
    ),
    key("limits.enabled", Kind::Bool, "false", "limit rates per source in the kernel"),
    key(
        "limits.mode",
        Kind::Choice(LIMITING),
        "observe",
        "drop what is over a limit, or only count what would be dropped",
    ),
    key("limits.strict", Kind::Bool, "false", "also drop malformed packets"),
    key(
        "limits.dead_man_secs",
        Kind::Number,
        "10",
        "without a sign of life from the agent for so long, limits only observe; 0 = limits go on for ever",
    ),
    key(
        "limits.pin_dir",
        Kind::Path,
        "/sys/fs/bpf/rampart",
        "directory on a BPF file system by which limits outlive the agent",
    ),
    key(
        "limits.max_entries",
        Kind::Number,
        "65536",
        "sources known at a time, 120 bytes each; at most 262144 with quotas",
    ),
    key("limits.new_entries_per_sec", Kind::Number, "20000", "sources that become known per second and CPU"),
    key("limits.samples_per_sec", Kind::Number, "100", "verdicts sampled per second and CPU"),
    key(
        "limits.portless_per_sec",
        Kind::Number,
        "100",
        "packets without ports (later fragments, too deep headers) per second and source; 0 = no limit",
    ),
    key(
        "limits.hash_seed_secs",
        Kind::Number,
        "600",
        "time between two changes of the seed of the limiter's hashes, longer where a policy's burst takes longer to \
         come back; 0 = it stays",
    ),
    key(
        "limits.interfaces",
        Kind::Interfaces,
        "no interface",
        "where to limit: interfaces with `directions` and `hook`",
    ),
    key("limits.policies", Kind::Policies, "no policy", "what to limit: policies by name"),
    Key {
        path: "limits.default.requests",
        kind: Kind::Number,
        default: "0",
        help: "new flows per window and source that no policy is about; 0 = no limit",
        aliases: &["RATE_LIMIT_REQUESTS"],
    },
    Key {
        path: "limits.default.window_secs",
        kind: Kind::Number,
        default: "60",
        help: "the window of `limits.default.requests`",
        aliases: &["RATE_LIMIT_WINDOW_SECONDS"],
    },
    key("limits.allow", Kind::Nets, "no address", "sources that no policy limits"),
    key("limits.deny", Kind::Nets, "no address", "sources whose packets are dropped"),
    key(
        "limits.allow_files",
        Kind::Paths,
        "no file",
        "files of more sources that no policy limits, one a line; read again when they change",
    ),
    key("limits.deny_files", Kind::Paths, "no file", "files of more sources whose packets are dropped"),
    key(
        "limits.safety",
        Kind::Nets,
        "no address",
        "sources that nothing can lock out, besides the node, its gateway, name servers, API server and SSH peers",
    ),
    key(
        "limits.allow_feeds",
        Kind::Urls,
        "no feed",
        "web addresses of more lists of sources that no policy limits; a copy is kept in `node.state_dir`",
    ),
    key(
        "limits.deny_feeds",
        Kind::Urls,
        "no feed",
        "web addresses of more lists of sources whose packets are dropped",
    ),
    key("limits.feed_refresh_secs", Kind::Number, "3600", "time between two looks at a feed"),
    key(
        "limits.feed_max_age_secs",
        Kind::Number,
        "172800",
        "a feed that could not be got for so long does not count any more; 0 = it counts for ever",
    ),
    key("limits.time_zone", Kind::Text, "UTC", "IANA time zone in which days and months of quotas begin"),
    key(
        "limits.alert_secs",
        Kind::Number,
        "10",
        "time between two alerts about the same policy; 0 for no alerts",
    ),
    key(
        "limits.throttle.mode",
        Kind::Choice(THROTTLING),
        "off",
        "scale rates down, the least important class first, while the node is too busy; or only show it",
    ),
    key(
        "limits.throttle.cpu_pressure_percent",
        Kind::Number,
        "60",
        "too busy: time in which some task waits for a CPU; 0 = not looked at",
    ),
    key(
        "limits.throttle.softirq_percent",
        Kind::Number,
        "50",
        "too busy: part of all CPUs that soft interrupts take",
    ),
    key("limits.throttle.run_queue", Kind::Number, "8", "too busy: tasks per CPU that run or want to"),
    key(
        "limits.throttle.backlog_drops_per_sec",
        Kind::Number,
        "1000",
        "too busy: packets that the backlog of a CPU had no room for",
    ),
    key(
        "limits.throttle.floor_percent",
        Kind::Number,
        "25",
        "no rate shrinks below this part of what is written",
    ),
    key(
        "services.enabled",
        Kind::Bool,
        "false",
        "give connections to virtual addresses a backend, in the kernel",
    ),
    key(
        "services.cgroup",
        Kind::Path,
        "the root of the cgroup v2 hierarchy",
        "control group whose processes are served",
    ),
    key(
        "services.pin_dir",
        Kind::Path,
        "/sys/fs/bpf/rampart",
        "directory on a BPF file system by which services outlive the agent",
    ),
    Key {
        path: "services.defaults.algorithm",
        kind: Kind::Choice(ALGORITHMS),
        default: "round_robin",
        help: "how a backend is chosen, where a service does not say",
        aliases: &["LOAD_BALANCER_ALGORITHM"],
    },
    Key {
        path: "services.defaults.failure_threshold",
        kind: Kind::Number,
        default: "5",
        help: "failures in a row that open a breaker",
        aliases: &["CIRCUIT_BREAKER_FAILURE_THRESHOLD"],
    },
    Key {
        path: "services.defaults.recovery_timeout_secs",
        kind: Kind::Number,
        default: "60",
        help: "how long a breaker is open before the backend is tried again; doubled each time in a row",
        aliases: &["CIRCUIT_BREAKER_RECOVERY_TIMEOUT"],
    },
    Key {
        path: "services.defaults.half_open_max_calls",
        kind: Kind::Number,
        default: "3",
        help: "connections that try a backend again",
        aliases: &["CIRCUIT_BREAKER_HALF_OPEN_MAX_CALLS"],
    },
    Key {
        path: "services.defaults.health_interval_secs",
        kind: Kind::Number,
        default: "30",
        help: "time between two health checks",
        aliases: &["HEALTH_CHECK_INTERVAL"],
    },
    Key {
        path: "services.defaults.health_timeout_secs",
        kind: Kind::Number,
        default: "5",
        help: "time that a health check has, and a connection that tries a backend again",
        aliases: &["HEALTH_CHECK_TIMEOUT"],
    },
    key(
        "services.kubernetes",
        Kind::Bool,
        "false",
        "also the cluster's Services that are annotated with `rampart.io/enabled: \"true\"`",
    ),
    key(
        "services.vip_cidrs",
        Kind::Nets,
        "no address",
        "networks of virtual addresses: a route that leads nowhere is made for each, so that a connection that is not served \
         ends there",
    ),
    key("services.list", Kind::Services, "no service", "services by name"),
    key(
        "responses.mode",
        Kind::Choice(RESPONDING),
        "off",
        "what becomes of the `response` of rules: nothing, it is counted and noted (observe), it is done (enforce)",
    ),
    key("responses.per_minute", Kind::Number, "30", "most responses of a kind in any minute"),
    key(
        "responses.protect_processes",
        Kind::Words,
        "what nodes run on: systemd, init, containerd, kubelet, sshd, …",
        "processes of the host that no response ends: paths of executables, or their names, which count in the system's \
         directories only; the agent itself is always protected",
    ),
    key("responses.protect_namespaces", Kind::Words, "kube-system", "namespaces whose pods no response hits"),
    key(
        "responses.protect_nets",
        Kind::Nets,
        "no address",
        "addresses that no response blocks or limits and that a pod in quarantine reaches still, besides those that no \
         limit locks out",
    ),
    key("responses.captures_mib", Kind::Number, "256", "size of all captures together; the oldest make room"),
    key(
        "responses.pin_dir",
        Kind::Path,
        "/sys/fs/bpf/rampart",
        "where quarantines are pinned, on a BPF file system",
    ),
    key(
        "digests.max_mib",
        Kind::Number,
        "128",
        "larger executables have no `proc.exe.sha256`; 0 = none has, nothing is read",
    ),
    key(
        "digests.mib_per_sec",
        Kind::Number,
        "64",
        "what is read for `proc.exe.sha256` in a second, on average; what comes beyond has none",
    ),
    key("node.hostname", Kind::Text, "the machine's name", "name of this node in alerts"),
    key(
        "trading.venues",
        Kind::Venues,
        "no venue",
        "where orders go to and prices come from, by name: `kind`, `hosts`, `cidrs`, `ports`, `groups`; for the fields \
         `trading.venue` and `trading.venue.kind` of rules",
    ),
    key(
        "trading.calendars",
        Kind::Calendars,
        "no calendar",
        "when there is trade, by name: `time_zone`, `sessions`, `half_day_sessions`, `half_days`, `holidays`; for the \
         field `trading.session`",
    ),
    key(
        "trading.roles",
        Kind::Roles,
        "no role",
        "which processes are what, by name: `images`, `labels`, `exes`, `comms`; for the field `trading.role`",
    ),
    key(
        "trading.assets",
        Kind::Assets,
        "no asset",
        "which paths are what, by name: lists of paths; for the field `trading.asset`",
    ),
    key("node.runtime_dir", Kind::Path, "/run/rampart", "where the lock of the running agent lives"),
    key("node.state_dir", Kind::Path, "/var/lib/rampart", "where a refused program's verifier log is kept"),
    key(
        "node.shutdown_grace_secs",
        Kind::Number,
        "10",
        "time to hand over the last alerts when told to stop",
    ),
    key(
        "node.isolated_cpus",
        Kind::Text,
        "auto",
        "CPUs that no thread of the agent runs on and that wake none: `auto` for those the kernel has isolated \
         (`isolcpus`, `nohz_full`), `none`, or a list such as `2-5,8`",
    ),
];
