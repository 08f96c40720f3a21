//! Where runtimes listen: Falco's default places, below the root of the host, and per-user ones.

use std::path::{Path, PathBuf};

/// A kind of runtime interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Interface {
    /// Docker's API.
    Docker,
    /// Docker's API as Podman speaks it.
    Podman,
    /// Kubernetes' runtime interface.
    Cri,
    /// containerd's own.
    Containerd,
}

impl Interface {
    /// Word for people and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
            Self::Cri => "cri",
            Self::Containerd => "containerd",
        }
    }
}

/// Default sockets of Docker.
pub const DOCKER: &[&str] = &["/var/run/docker.sock"];
/// Default sockets of Podman; users have their own besides.
pub const PODMAN: &[&str] = &["/run/podman/podman.sock"];
/// Default sockets of Kubernetes' interface.
pub const CRI: &[&str] =
    &["/run/containerd/containerd.sock", "/run/crio/crio.sock", "/run/k3s/containerd/containerd.sock"];
/// Default sockets of containerd.
pub const CONTAINERD: &[&str] = &[
    "/run/containerd/containerd.sock",
    "/run/k3s/containerd/containerd.sock",
    "/run/host-containerd/containerd.sock",
];

/// Directories in which containerd keeps the tasks it runs.
pub const CONTAINERD_TASKS: &[&str] =
    &["/run/containerd/io.containerd.runtime.v2.task", "/run/k3s/containerd/io.containerd.runtime.v2.task"];

/// The sockets to ask.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sockets {
    /// Root of the host as the agent sees it; `/` outside of a container.
    pub host_root: PathBuf,
    /// Sockets with what is spoken there, as on the host.
    pub listed: Vec<(Interface, PathBuf)>,
}

impl Sockets {
    /// A path of the host as the agent sees it.
    pub fn seen(&self, path: &Path) -> PathBuf {
        self.host_root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// The sockets of a user's own runtimes, as the agent sees them.
    pub fn of_user(&self, uid: u32) -> [(Interface, PathBuf); 2] {
        let seen = |name: &str| self.seen(Path::new(&format!("/run/user/{uid}/{name}")));
        [(Interface::Podman, seen("podman/podman.sock")), (Interface::Docker, seen("docker.sock"))]
    }

    /// The listed sockets that are there now, as the agent sees them.
    pub fn present(&self) -> Vec<(Interface, PathBuf)> {
        let seen = self.listed.iter().map(|(interface, path)| (*interface, self.seen(path)));
        seen.filter(|(_, path)| path.exists()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_lie_below_the_hosts_root() {
        let dir = tempfile::tempdir().expect("a directory");
        let sockets = Sockets {
            host_root: dir.path().to_owned(),
            listed: vec![(Interface::Docker, DOCKER[0].into()), (Interface::Podman, PODMAN[0].into())],
        };
        assert!(sockets.present().is_empty());
        let socket = dir.path().join("var/run/docker.sock");
        std::fs::create_dir_all(socket.parent().expect("a parent")).expect("a directory");
        std::fs::write(&socket, "").expect("a file");
        assert_eq!(sockets.present(), [(Interface::Docker, socket)]);
        assert_eq!(sockets.of_user(7)[0].1, dir.path().join("run/user/7/podman/podman.sock"));
    }
}
