//! A control group of the unified hierarchy, into which this process moves while the guard lives, and a route that
//! keeps connections to virtual addresses inside the machine.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

/// How often the group is tried to be removed, a hundredth of a second apart: processes leave it as they end.
const TRIES: u32 = 300;

/// A control group with this process in it.
pub struct Cgroup {
    path: PathBuf,
    home: PathBuf,
}

impl Cgroup {
    /// Makes it below the root of the unified hierarchy, and moves this process into it.
    pub fn enter(name: &str) -> io::Result<Self> {
        let root = unified_root().ok_or_else(|| io::Error::other("no unified hierarchy is mounted"))?;
        let own = fs::read_to_string("/proc/self/cgroup")?;
        let home = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
        let home = root.join(home);
        let path = root.join(format!("{name}-{}", std::process::id()));
        fs::create_dir(&path)?;
        let group = Self { path, home };
        fs::write(group.path.join("cgroup.procs"), std::process::id().to_string())?;
        Ok(group)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = fs::write(self.home.join("cgroup.procs"), std::process::id().to_string());
        for _ in 0..TRIES {
            if fs::remove_dir(&self.path).is_ok() {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}

fn unified_root() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    mounts.lines().find_map(|line| {
        let mut words = line.split(' ');
        let (_, path, kind) = (words.next()?, words.next()?, words.next()?);
        (kind == "cgroup2").then(|| path.into())
    })
}

/// A route that leads nowhere.
pub struct Unreachable {
    prefix: String,
}

impl Unreachable {
    /// Makes it, in this network namespace.
    pub fn new(prefix: &str) -> Self {
        let route = Self { prefix: prefix.to_owned() };
        assert!(route.change("replace"), "the route to {prefix} cannot be made");
        route
    }

    fn change(&self, verb: &str) -> bool {
        let six: &[&str] = if self.prefix.contains(':') { &["-6"] } else { &[] };
        let mut command = Command::new("ip");
        command.args(six).args(["route", verb, "unreachable", &self.prefix]);
        command.output().is_ok_and(|output| output.status.success())
    }
}

impl Drop for Unreachable {
    fn drop(&mut self) {
        let _ = self.change("del");
    }
}
