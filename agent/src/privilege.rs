//! What this process and this kernel must allow before anything is loaded, checked as plain data, so that a
//! refusal names its cause and its cure instead of an errno from deep inside.
//!
//! Owns the lock that keeps the node to one agent. Must never attach anything. Called once, at start.

pub mod lock;

use std::{fs, io, path::Path};

use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};

/// A capability the agent may need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capability {
    /// Name as `capsh` prints it, in capitals.
    pub name: &'static str,
    /// Bit in the capability mask.
    pub bit: u32,
    /// What does not work without it.
    pub purpose: &'static str,
}

const fn capability(name: &'static str, bit: u32, purpose: &'static str) -> Capability {
    Capability { name, bit, purpose }
}

/// Stands in for each of the others.
pub const CAP_SYS_ADMIN: Capability =
    capability("CAP_SYS_ADMIN", 21, "everything below on kernels before 5.8");
/// Capabilities without which the agent cannot start.
pub const REQUIRED: &[Capability] = &[
    capability("CAP_BPF", 39, "load the kernel programs"),
    capability("CAP_PERFMON", 38, "attach the kernel programs to tracing hooks"),
];
/// Capabilities without which the agent starts and knows less.
pub const USEFUL: &[Capability] = &[
    capability(
        "CAP_SYS_PTRACE",
        19,
        "read executable, directory and environment of processes already running",
    ),
    capability("CAP_DAC_READ_SEARCH", 2, "read `/proc` of other users' processes and `/etc` of other roots"),
];

/// Why the agent cannot start on this machine as this user.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Capabilities are missing.
    #[error("capability {} is missing; run as root, or grant it: `setcap {}+ep rampart`, or `capabilities.add` in the pod's security context", names(.0, ", "), names(.0, ",").to_lowercase())]
    Capabilities(Vec<&'static str>),
    /// The kernel has no type information.
    #[error(
        "kernel type information `{0}` is missing; use a kernel built with CONFIG_DEBUG_INFO_BTF=y (every current distribution's kernel is)"
    )]
    Btf(String),
    /// Lockdown in confidentiality mode forbids reading kernel memory from programs.
    #[error(
        "the kernel is locked down in `confidentiality` mode, which forbids the reads the programs make; boot with `lockdown=integrity`, or without `lockdown=`"
    )]
    Lockdown,
}

fn names(list: &[&'static str], separator: &str) -> String {
    list.join(separator)
}

/// What the checks look at; read from the machine, or made up by a test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Effective capabilities, bit per capability.
    pub effective: u64,
    /// Whether the kernel's type information is there.
    pub btf: bool,
    /// Content of the lockdown file; `None` when the kernel has none.
    pub lockdown: Option<String>,
}

/// Where the kernel keeps its type information.
pub const BTF_PATH: &str = "/sys/kernel/btf/vmlinux";
/// Where the kernel says how far it is locked down.
pub const LOCKDOWN_PATH: &str = "/sys/kernel/security/lockdown";

impl Facts {
    /// Reads this machine's facts.
    pub fn read() -> io::Result<Self> {
        let status = fs::read_to_string("/proc/self/status")?;
        Ok(Self {
            effective: effective(&status).unwrap_or_default(),
            btf: Path::new(BTF_PATH).exists(),
            lockdown: fs::read_to_string(LOCKDOWN_PATH).ok(),
        })
    }

    /// Whether the process holds a capability, or the one that stands in for it.
    pub const fn holds(&self, capability: &Capability) -> bool {
        self.effective & (1 << capability.bit) != 0 || self.effective & (1 << CAP_SYS_ADMIN.bit) != 0
    }

    /// Everything that keeps the agent from starting.
    pub fn refusals(&self) -> Vec<Refusal> {
        let mut refusals = Vec::new();
        let missing: Vec<&'static str> =
            REQUIRED.iter().filter(|one| !self.holds(one)).map(|one| one.name).collect();
        if !missing.is_empty() {
            refusals.push(Refusal::Capabilities(missing));
        }
        if !self.btf {
            refusals.push(Refusal::Btf(BTF_PATH.to_owned()));
        }
        if self.lockdown_mode() == Some("confidentiality") {
            refusals.push(Refusal::Lockdown);
        }
        refusals
    }

    /// The lockdown mode in force: the word in square brackets.
    pub fn lockdown_mode(&self) -> Option<&str> {
        let text = self.lockdown.as_deref()?;
        let (_, rest) = text.split_once('[')?;
        rest.split_once(']').map(|(mode, _)| mode)
    }
}

/// Effective capabilities from the text of `/proc/PID/status`.
fn effective(status: &str) -> Option<u64> {
    let text = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(text.trim(), 16).ok()
}

/// Lifts the limit on locked memory. Kernels from 5.11 on do not count maps against it, so a refusal is harmless.
pub fn lift_memlock() {
    if let Err(error) = setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY) {
        tracing::debug!(%error, "The limit on locked memory stays; kernels before 5.11 may refuse large maps");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(effective: u64) -> Facts {
        Facts { effective, btf: true, lockdown: None }
    }

    #[test]
    fn effective_capabilities_are_read_from_status() {
        assert_eq!(effective("Name:\tx\nCapPrm:\t1\nCapEff:\t000001ffffffffff\n"), Some(0x1ff_ffff_ffff));
        assert_eq!(effective("Name:\tx\n"), None);
        let own = Facts::read().unwrap();
        assert_eq!(own.btf, Path::new(BTF_PATH).exists());
    }

    #[test]
    fn missing_capabilities_are_named_with_the_cure() {
        assert_eq!(facts(1 << 21).refusals(), []);
        assert_eq!(facts(1 << 39 | 1 << 38).refusals(), []);
        let refusals = facts(1 << 38).refusals();
        assert_eq!(refusals, [Refusal::Capabilities(vec!["CAP_BPF"])]);
        let text = facts(0).refusals()[0].to_string();
        assert!(text.starts_with("capability CAP_BPF, CAP_PERFMON is missing; run as root"), "{text}");
        assert!(text.contains("setcap cap_bpf,cap_perfmon+ep"), "{text}");
    }

    #[test]
    fn missing_btf_and_lockdown_are_named() {
        let mut all = facts(u64::MAX);
        all.btf = false;
        all.lockdown = Some("none integrity [confidentiality]\n".to_owned());
        let refusals = all.refusals();
        assert_eq!(refusals, [Refusal::Btf(BTF_PATH.to_owned()), Refusal::Lockdown]);
        assert!(refusals[0].to_string().contains("CONFIG_DEBUG_INFO_BTF=y"));
        all.lockdown = Some("none [integrity] confidentiality\n".to_owned());
        assert_eq!(all.refusals().len(), 1, "integrity mode is fine");
    }
}
