//! Where `bench services` plays: network and mount namespaces of its own, which end with this process, a control group
//! for the clients, and a file system for what services pin.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

use crate::process;

/// How often the control group is tried to be removed, a hundredth of a second apart: clients leave it as they end.
const TRIES: u32 = 100;

/// The namespaces and the clients' control group.
pub(super) struct Rig {
    cgroup: PathBuf,
}

/// A BPF file system; what is pinned there, and with it the services, goes with this value.
pub(super) struct Pins {
    folder: PathBuf,
}

impl Rig {
    /// Goes into namespaces of its own. There is no way back, and none is needed.
    pub(super) fn enter() -> Result<Self> {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).context("cannot make namespaces")?;
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
            .context("cannot keep mounts to this command")?;
        process::capture(Command::new("ip").args(["link", "set", "lo", "up"]))?;
        let cgroup = unified_root()?.join(format!("rampart-bench-{}", std::process::id()));
        fs::create_dir(&cgroup).with_context(|| format!("cannot make `{}`", cgroup.display()))?;
        Ok(Self { cgroup })
    }

    /// The clients' control group.
    pub(super) fn cgroup(&self) -> &Path {
        &self.cgroup
    }

    /// A command that runs there.
    pub(super) fn client(&self, program: &Path) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", r#"echo $$ > "$0/cgroup.procs" && exec "$@""#]).arg(&self.cgroup).arg(program);
        command
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        for _ in 0..TRIES {
            if fs::remove_dir(&self.cgroup).is_ok() {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Pins {
    /// Mounts a file system below `folder`.
    pub(super) fn mount(folder: &Path) -> Result<Self> {
        let folder = folder.join("bpf");
        match fs::create_dir(&folder) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                return Err(error).with_context(|| format!("cannot create `{}`", folder.display()));
            }
            _ => {}
        }
        mount(Some("bpf"), &folder, Some("bpf"), MsFlags::empty(), None::<&str>)
            .context("cannot mount a BPF file system")?;
        Ok(Self { folder })
    }

    /// A directory for pins.
    pub(super) fn directory(&self) -> PathBuf {
        self.folder.join("rampart")
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        // It goes with this process at the latest.
        let _ = umount2(&self.folder, MntFlags::MNT_DETACH);
    }
}

/// Where the unified hierarchy is mounted.
fn unified_root() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("cannot read the mounts")?;
    let mut words = mounts.lines().map(|line| line.split(' ').skip(1));
    let root = words.find_map(|mut words| {
        let (path, kind) = (words.next()?, words.next()?);
        (kind == "cgroup2").then(|| path.into())
    });
    root.context("no unified hierarchy of control groups is mounted")
}
