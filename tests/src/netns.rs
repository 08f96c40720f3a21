//! A network namespace joined to this one by a veth pair, and a BPF file system: both go away with their guards, also
//! when a test panics.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, setns},
};
use tempfile::TempDir;

/// Longest wait for the kernel to bring an interface up.
const PATIENCE: Duration = Duration::from_secs(10);

/// A namespace with one end of a veth pair; the other end is here.
pub struct Namespace {
    name: String,
    outer: String,
    inner: String,
}

impl Namespace {
    /// Makes it. `name` begins the names of everything; addresses are `ADDRESS/LENGTH`.
    pub fn new(name: &str, outer: &[&str], inner: &[&str]) -> Self {
        let space = Self {
            name: format!("{name}-{}", std::process::id()),
            outer: format!("{name}0"),
            inner: format!("{name}1"),
        };
        // What a killed test left.
        let _absent = ip_quiet(&["link", "del", &space.outer]);
        ip(&["netns", "add", &space.name]);
        ip(&[
            "link",
            "add",
            &space.outer,
            "type",
            "veth",
            "peer",
            "name",
            &space.inner,
            "netns",
            &space.name,
        ]);
        for address in outer {
            Self::add_address(&[], &space.outer, address);
        }
        for address in inner {
            Self::add_address(&["-n", &space.name], &space.inner, address);
        }
        ip(&["link", "set", &space.outer, "up"]);
        ip(&["-n", &space.name, "link", "set", &space.inner, "up"]);
        ip(&["-n", &space.name, "link", "set", "lo", "up"]);
        let state = Path::new("/sys/class/net").join(&space.outer).join("operstate");
        let end = Instant::now() + PATIENCE;
        while std::fs::read_to_string(&state).map_or(true, |text| text.trim() != "up") {
            assert!(Instant::now() < end, "`{}` does not come up", space.outer);
            thread::sleep(Duration::from_millis(10));
        }
        space
    }

    fn add_address(at: &[&str], interface: &str, address: &str) {
        // Duplicate address detection would keep an IPv6 address unusable for a second.
        let flag: &[&str] = if address.contains(':') { &["nodad"] } else { &[] };
        ip(&[at, &["addr", "add", address, "dev", interface], flag].concat());
    }

    /// Name of the end that is here.
    pub fn interface(&self) -> &str {
        &self.outer
    }

    /// Runs something inside, on a thread of its own; sockets that it makes stay inside.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let file = File::open(Path::new("/run/netns").join(&self.name)).expect("the namespace is there");
        thread::scope(|scope| {
            let inside = scope.spawn(move || {
                setns(file, CloneFlags::CLONE_NEWNET).expect("the namespace lets us in");
                work()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Either end takes the other along; the namespace may live on as long as somebody holds it.
        let _ = ip_quiet(&["link", "del", &self.outer]);
        let _ = ip_quiet(&["netns", "del", &self.name]);
    }
}

/// A mounted BPF file system.
pub struct Bpffs {
    scratch: TempDir,
}

impl Bpffs {
    /// Mounts one on a directory of its own.
    pub fn mount() -> io::Result<Self> {
        let scratch = tempfile::tempdir()?;
        mount(Some("bpf"), scratch.path(), Some("bpf"), MsFlags::empty(), None::<&str>)?;
        Ok(Self { scratch })
    }

    /// A directory for pins on it.
    pub fn pins(&self) -> PathBuf {
        self.scratch.path().join("rampart")
    }
}

impl Drop for Bpffs {
    fn drop(&mut self) {
        // Pins go away with the mount.
        let _ = umount2(self.scratch.path(), MntFlags::MNT_DETACH);
    }
}

fn ip(arguments: &[&str]) {
    let (fine, complaint) = ip_quiet(arguments);
    assert!(fine, "`ip {}` failed: {complaint}", arguments.join(" "));
}

fn ip_quiet(arguments: &[&str]) -> (bool, String) {
    match Command::new("ip").args(arguments).output() {
        Ok(output) => (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned()),
        Err(error) => (false, error.to_string()),
    }
}
