//! What no response may hit: the agent and its parents, what the node runs on, chosen namespaces and addresses.
//!
//! A process can call itself as it likes, so it is told by its executable; and only by one of the system's own
//! directories on the host, where a stranger cannot put one.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    path::{Path, PathBuf},
};

use ipnet::IpNet;

use crate::config::Responses;

/// Directories of the system's own programs.
pub(crate) const SYSTEM: [&str; 8] =
    ["/usr/", "/bin/", "/sbin/", "/lib/", "/lib64/", "/opt/", "/var/lib/rancher/", "/var/lib/k0s/"];

/// What is protected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guard {
    own: BTreeSet<u32>,
    processes: Vec<PathBuf>,
    namespaces: Vec<String>,
    nets: Vec<IpNet>,
}

/// A process that is about to be hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate<'a> {
    /// Its id.
    pub pid: u32,
    /// Its parent's.
    pub parent: u32,
    /// Its executable, as the kernel names it; `None` when it has none.
    pub exe: Option<&'a Path>,
    /// Whether it runs in a container.
    pub in_container: bool,
}

impl Guard {
    /// By the settings; `own` are the agent and its parents.
    pub fn new(settings: &Responses, own: BTreeSet<u32>) -> Self {
        Self {
            own,
            processes: settings.protect_processes.clone(),
            namespaces: settings.protect_namespaces.clone(),
            nets: settings.protect_nets.clone(),
        }
    }

    /// Other settings, of the same agent.
    pub fn change(&mut self, settings: &Responses) {
        *self = Self::new(settings, std::mem::take(&mut self.own));
    }

    /// The agent and its parents.
    pub fn own(&self) -> impl Iterator<Item = u32> + '_ {
        self.own.iter().copied()
    }

    /// Programs that are protected, by path or name.
    pub fn processes(&self) -> &[PathBuf] {
        &self.processes
    }

    /// Addresses that are protected.
    pub fn nets(&self) -> &[IpNet] {
        &self.nets
    }

    /// Whether any namespace is protected.
    pub fn has_namespaces(&self) -> bool {
        !self.namespaces.is_empty()
    }

    /// Why a process must not be ended.
    pub fn process(&self, process: Candidate<'_>) -> Option<String> {
        let Candidate { pid, parent, exe, in_container } = process;
        if pid <= 1 {
            return Some("it is the first process".to_owned());
        }
        if pid == 2 || parent == 2 {
            return Some("it is a thread of the kernel".to_owned());
        }
        if self.own.contains(&pid) {
            return Some("it is the agent or what started it".to_owned());
        }
        if in_container {
            return None;
        }
        let exe = exe?;
        let is_system = SYSTEM.iter().any(|directory| exe.starts_with(directory));
        let is_named = |wanted: &PathBuf| {
            if wanted.is_absolute() {
                exe == wanted
            } else {
                is_system && exe.file_name() == Some(wanted.as_os_str())
            }
        };
        let name = self.processes.iter().find(|wanted| is_named(wanted))?;
        Some(format!("`{}` is protected (`responses.protect_processes`)", name.display()))
    }

    /// Why nothing in a namespace may be hit.
    pub fn namespace(&self, namespace: Option<&str>) -> Option<String> {
        let name = namespace.filter(|name| self.namespaces.iter().any(|own| own == name))?;
        Some(format!("namespace `{name}` is protected (`responses.protect_namespaces`)"))
    }

    /// Why an address must not be hit.
    pub fn address(&self, address: IpAddr) -> Option<String> {
        if address.is_loopback() || address.is_unspecified() || address.is_multicast() {
            return Some(format!("{address} is no address of one other machine"));
        }
        let net = self.nets.iter().find(|net| net.contains(&address))?;
        Some(format!("{address} lies in {net}, which is protected (`responses.protect_nets`)"))
    }
}

/// The agent and what started it, up to the first process.
pub fn own_processes(parent_of: impl Fn(u32) -> Option<u32>) -> BTreeSet<u32> {
    let mut own = BTreeSet::new();
    let mut pid = std::process::id();
    while pid > 1 && own.insert(pid) {
        match parent_of(pid) {
            Some(parent) => pid = parent,
            None => break,
        }
    }
    own
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard() -> Guard {
        Guard {
            own: [700, 600].into(),
            processes: vec!["sshd".into(), "/srv/oms/bin/oms".into()],
            namespaces: vec!["kube-system".to_owned()],
            nets: vec!["10.0.0.0/8".parse().unwrap()],
        }
    }

    fn process(pid: u32, exe: &str, in_container: bool) -> bool {
        let exe = Some(Path::new(exe));
        guard().process(Candidate { pid, parent: 50, exe, in_container }).is_some()
    }

    #[test]
    fn the_node_and_the_agent_are_protected_and_who_only_looks_like_it_is_not() {
        assert!(process(1, "/tmp/x", false) && process(2, "/tmp/x", false));
        assert!(process(700, "/tmp/x", false) && process(600, "/tmp/x", false));
        assert!(guard().process(Candidate { pid: 9, parent: 2, exe: None, in_container: false }).is_some());
        assert!(process(900, "/usr/sbin/sshd", false));
        assert!(process(900, "/srv/oms/bin/oms", false));
        assert!(!process(900, "/tmp/sshd", false), "a name is not enough");
        assert!(!process(900, "/usr/sbin/sshd (deleted)", false));
        assert!(!process(900, "/usr/sbin/sshd", true), "a container brings what it likes");
        assert!(!process(900, "/usr/bin/oms", false), "a path is meant as a whole");
    }

    #[test]
    fn namespaces_and_addresses_are_protected() {
        assert!(guard().namespace(Some("kube-system")).is_some());
        assert!(guard().namespace(Some("kube")).is_none() && guard().namespace(None).is_none());
        for text in ["127.0.0.1", "::1", "0.0.0.0", "224.0.0.1", "ff02::1", "10.9.8.7"] {
            assert!(guard().address(text.parse().unwrap()).is_some(), "{text}");
        }
        assert!(guard().address("192.0.2.1".parse().unwrap()).is_none());
    }

    #[test]
    fn the_agents_parents_are_found_and_circles_end() {
        let me = std::process::id();
        assert_eq!(own_processes(|pid| (pid == me).then_some(77)), [me, 77].into());
        assert_eq!(own_processes(|_| Some(me)), [me].into());
        assert_eq!(own_processes(|_| Some(1)), [me].into());
    }
}
