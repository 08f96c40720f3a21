//! Where `bench ratelimit` plays: network and mount namespaces of its own, which end with this process, and outside of
//! them a sender's namespace at the other end of a veth pair.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use serde_json::Value;

use crate::process;

/// The receiver's end, and its address.
pub(super) const HERE: &str = "recv0";
pub(super) const ADDRESS: &str = "198.18.90.1";
/// The sender's end.
pub(super) const THERE: &str = "send0";
const THERE_ADDRESS: &str = "198.18.90.2";
/// What the sender writes into its frames.
const ETHERNET: &str = "02:00:00:00:00:01";
const THERE_ETHERNET: &str = "02:00:00:00:00:02";
/// Makes what follows the first to run: measurements are of the network, not of what else wants the cores.
const FIRST: [&str; 3] = ["chrt", "--fifo", "1"];
/// What looks at a flood from all cores gets its turn.
const BEFORE_FIRST: &str = "2";
/// The kernel brings a link up within milliseconds.
const UP_LIMIT: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(10);

/// The namespaces.
pub(super) struct Rig {
    /// Keeps the sender's namespace; it ends when its input does, also when this process is killed.
    keeper: Child,
}

/// A veth pair and a BPF file system; what is attached to them goes with them.
pub(super) struct Wire {
    pins: PathBuf,
}

impl Rig {
    /// Goes into namespaces of its own. There is no way back, and none is needed.
    pub(super) fn enter() -> Result<Self> {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).context("cannot make namespaces")?;
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
            .context("cannot keep mounts to this command")?;
        ip(&["link", "set", "lo", "up"])?;
        // Sources are invented: without a route to them the check of sources would drop all.
        for name in ["all", "default"] {
            let path = format!("/proc/sys/net/ipv4/conf/{name}/rp_filter");
            fs::write(&path, "0").with_context(|| format!("cannot write `{path}`"))?;
        }
        let keeper = Command::new("unshare")
            .args(["--net", "--", "cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .context("cannot run `unshare`")?;
        let rig = Self { keeper };
        rig.wait_for_namespace()?;
        Ok(rig)
    }

    fn wait_for_namespace(&self) -> Result<()> {
        let own = fs::read_link("/proc/self/ns/net").context("cannot read this namespace's name")?;
        let path = format!("/proc/{}/ns/net", self.keeper.id());
        until("the sender's namespace is not there", || Ok(fs::read_link(&path)? != own))
    }

    /// A new pair of interfaces with two queues each, and a BPF file system at `folder`.
    pub(super) fn wire(&self, folder: &Path) -> Result<Wire> {
        let pins = folder.join("bpf");
        fs::create_dir_all(&pins).with_context(|| format!("cannot create `{}`", pins.display()))?;
        mount(Some("bpf"), &pins, Some("bpf"), MsFlags::empty(), None::<&str>)
            .context("cannot mount a BPF file system")?;
        let wire = Wire { pins };
        let queues = ["numrxqueues", "2", "numtxqueues", "2"];
        let keeper = self.keeper.id().to_string();
        let here = [&["link", "add", HERE, "address", ETHERNET], &queues[..]].concat();
        let there = [&["type", "veth", "peer", "name", THERE, "address", THERE_ETHERNET], &queues[..]];
        ip(&[&here[..], &there.concat(), &["netns", &keeper]].concat())?;
        ip(&["addr", "add", &format!("{ADDRESS}/24"), "dev", HERE])?;
        // Without it, frames that another program redirects are refused where no XDP program is attached.
        said(Command::new("ethtool").args(["-K", HERE, "gro", "on"]))?;
        self.ip_there(&["addr", "add", &format!("{THERE_ADDRESS}/24"), "dev", THERE])?;
        ip(&["link", "set", HERE, "up"])?;
        self.ip_there(&["link", "set", THERE, "up"])?;
        // Nobody has to ask for an address in the middle of a flood.
        ip(&["neigh", "replace", THERE_ADDRESS, "lladdr", THERE_ETHERNET, "dev", HERE])?;
        self.ip_there(&["neigh", "replace", ADDRESS, "lladdr", ETHERNET, "dev", THERE])?;
        until("the interfaces do not come up", || {
            let links: Value = serde_json::from_str(&ip(&["-j", "link", "show", HERE])?)?;
            Ok(links.pointer("/0/operstate").and_then(Value::as_str) == Some("UP"))
        })?;
        Ok(wire)
    }

    /// A command in the sender's namespace.
    fn outside(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.keeper.id())).args(["--", program]);
        command
    }

    /// A command there that whatever else goes on on this machine does not hold up.
    pub(super) fn first_outside(&self, program: &Path) -> Command {
        let [first, rest @ ..] = FIRST;
        let mut command = self.outside(first);
        command.args(rest).arg(program);
        command
    }

    fn ip_there(&self, arguments: &[&str]) -> Result<String> {
        said(self.outside("ip").args(arguments))
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        // Its namespace and what is left in it go with it.
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

impl Wire {
    /// A directory for pins.
    pub(super) fn pins(&self) -> PathBuf {
        self.pins.join("rampart")
    }

    /// Frames that the interface has taken so far.
    pub(super) fn taken() -> Result<f64> {
        let links: Value = serde_json::from_str(&ip(&["-s", "-j", "link", "show", HERE])?)?;
        let packets = links.pointer("/0/stats64/rx/packets").and_then(Value::as_f64);
        packets.context("`ip` does not say how many packets came")
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        // Both go with this process at the latest.
        let _ = ip(&["link", "del", HERE]);
        let _ = umount2(&self.pins, MntFlags::MNT_DETACH);
    }
}

/// A command here that whatever else goes on on this machine does not hold up; `all`: nor a flood from all cores.
pub(super) fn first(program: &Path, all: bool) -> Command {
    let [first, policy, priority] = FIRST;
    let mut command = Command::new(first);
    command.args([policy, if all { BEFORE_FIRST } else { priority }]).arg(program);
    command
}

pub(super) fn ip(arguments: &[&str]) -> Result<String> {
    said(Command::new("ip").args(arguments))
}

pub(super) fn said(command: &mut Command) -> Result<String> {
    process::capture(command)
}

fn until(complaint: &str, mut done: impl FnMut() -> Result<bool>) -> Result<()> {
    let end = Instant::now() + UP_LIMIT;
    while !done().unwrap_or(false) {
        if Instant::now() >= end {
            bail!("{complaint}");
        }
        thread::sleep(LOOK);
    }
    Ok(())
}
