//! Section `responses`: what may be done about matches.

use std::path::PathBuf;

use ipnet::IpNet;
use rampart_rules::response::Mode;

/// Programs that nodes run on, by the names of their executables.
pub(super) const NODE_PROGRAMS: [&str; 18] = [
    "conmon",
    "containerd",
    "containerd-shim-runc-v2",
    "cri-dockerd",
    "crio",
    "crun",
    "dbus-daemon",
    "dockerd",
    "init",
    "k0s",
    "k3s",
    "kubelet",
    "runc",
    "sshd",
    "systemd",
    "systemd-journald",
    "systemd-logind",
    "systemd-udevd",
];

/// Section `responses`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Responses {
    /// How far they go.
    pub mode: Mode,
    /// Most of a kind in any minute.
    pub per_minute: u32,
    /// Executables whose processes are left alone: paths, or names in the system's directories.
    pub protect_processes: Vec<PathBuf>,
    /// Namespaces whose pods are left alone.
    pub protect_namespaces: Vec<String>,
    /// Addresses that are left alone.
    pub protect_nets: Vec<IpNet>,
    /// Bytes of all captures together.
    pub captures_bytes: u64,
    /// Directory of pins.
    pub pin_dir: PathBuf,
}

impl Default for Responses {
    fn default() -> Self {
        Self {
            mode: Mode::Off,
            per_minute: 30,
            protect_processes: NODE_PROGRAMS.map(PathBuf::from).into(),
            protect_namespaces: vec!["kube-system".to_owned()],
            protect_nets: Vec::new(),
            captures_bytes: 256 << 20,
            pin_dir: PathBuf::from("/sys/fs/bpf/rampart"),
        }
    }
}

impl Responses {
    /// These settings as far as they take effect while the agent runs; the others are those of before.
    #[must_use]
    pub fn after(&self, before: &Self) -> Self {
        Self { pin_dir: before.pin_dir.clone(), ..self.clone() }
    }
}
