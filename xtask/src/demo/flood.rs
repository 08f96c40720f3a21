//! The flood of the demo: a network namespace whose two addresses send datagrams to this node, one far above the limit
//! and one below it.
//!
//! The agent limits the node's end of the pair only. Interface, namespace and BPF file system are gone when this value
//! is, and with them what the agent attached.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::socket::{setsockopt, sockopt::RcvBufForce};
use serde_json::Value;

use crate::agent::Agent;
use crate::{console, interrupt, process};

/// The node's end, its address, and the port that is limited. The range is reserved for measurements between networks.
const HERE: &str = "rpdemo0";
const THERE: &str = "rpdemo1";
const ADDRESS: &str = "198.18.91.1";
const PORT: u16 = 47_900;
/// Who floods, who does not, and how many datagrams each sends a second.
const LOUD: (&str, u32) = ("198.18.91.2", 20_000);
const QUIET: (&str, u32) = ("198.18.91.3", 100);
/// The policy per source.
const RATE: u32 = 200;
const BURST: u32 = 50;
const SPAN: Duration = Duration::from_secs(3);
/// The agent attaches soon after it is ready, and reads its counters once a second.
const PATIENCE: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(100);
/// The rule of alerts about limits.
const ALERT: &str = "Rampart internal: rate limit exceeded";
/// After the last datagram was sent, further ones are waited for this long.
const SETTLE: Duration = Duration::from_millis(300);
/// Room for the whole flood, would it not be cut.
const BUFFER: usize = 32 << 20;

/// The place of the flood.
pub(crate) struct Flood {
    /// Keeps the namespace; it ends when its input does, also when this process is killed.
    keeper: Child,
    pins: PathBuf,
}

/// What became of a source's datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fate {
    sent: u64,
    came: u64,
}

impl Flood {
    /// Makes interface, namespace and a BPF file system below `folder`.
    pub(crate) fn prepare(folder: &Path) -> Result<Self> {
        let pins = folder.join("bpf");
        fs::create_dir_all(&pins).with_context(|| format!("cannot create `{}`", pins.display()))?;
        let mut keeper = Command::new("unshare");
        keeper.args(["--net", "--", "cat"]).stdin(Stdio::piped()).stdout(Stdio::null());
        let keeper = keeper.spawn().context("cannot run `unshare`")?;
        let flood = Self { keeper, pins };
        flood.wire()?;
        mount(Some("bpf"), &flood.pins, Some("bpf"), MsFlags::empty(), None::<&str>)
            .context("cannot mount a BPF file system")?;
        Ok(flood)
    }

    fn wire(&self) -> Result<()> {
        let own = fs::read_link("/proc/self/ns/net").context("cannot read this namespace's name")?;
        let theirs = format!("/proc/{}/ns/net", self.keeper.id());
        until("the namespace does not come up", || fs::read_link(&theirs).is_ok_and(|name| name != own))?;
        // What a demo that was killed left.
        let _absent = ip(&["link", "del", HERE]);
        let keeper = self.keeper.id().to_string();
        ip(&["link", "add", HERE, "type", "veth", "peer", "name", THERE, "netns", &keeper])?;
        ip(&["addr", "add", &format!("{ADDRESS}/24"), "dev", HERE])?;
        for (address, _) in [LOUD, QUIET] {
            self.inside("ip", &["addr", "add", &format!("{address}/24"), "dev", THERE])?;
        }
        ip(&["link", "set", HERE, "up"])?;
        self.inside("ip", &["link", "set", THERE, "up"])?;
        let state = format!("/sys/class/net/{HERE}/operstate");
        until("the interface does not come up", || {
            fs::read_to_string(&state).is_ok_and(|state| state.trim() == "up")
        })
    }

    /// The BPF file system.
    pub(crate) fn pins(&self) -> &Path {
        &self.pins
    }

    /// Lines of the agent's configuration.
    pub(crate) fn configuration(&self) -> String {
        format!(
            "limits:
  enabled: true
  mode: enforce
  pin_dir: {}
  interfaces: {{{HERE}: {{}}}}
  policies:
    demo: {{rate: {RATE}/s, burst: {BURST}, unit: packets, match: {{protocol: udp, ports: {PORT}}}}}
",
            self.pins.join("rampart").display()
        )
    }

    /// Whether the agent has attached its limits.
    #[expect(clippy::unused_self, reason = "nothing is attached without a place for it")]
    pub(crate) fn is_attached(&self, agent: &Agent) -> bool {
        page(agent).is_ok_and(|page| rung(&page).is_some())
    }

    /// Lets both sources send, without a word.
    pub(crate) fn drench(&self) -> Result<()> {
        self.send().map(drop)
    }

    /// Lets both sources send, and shows what came of it. True when the one is cut and the other is not.
    pub(super) fn run(&self, agent: &Agent) -> Result<bool> {
        let attached = until("the agent does not attach its limits", || self.is_attached(agent));
        if let Err(error) = attached {
            bail!("{error}; its log:\n{}", agent.log_tail());
        }
        let before = page(agent)?;
        console::say(format!(
            "    policy: {RATE} datagrams a second and a burst of {BURST} per source, on `{HERE}` by {}",
            rung(&before).unwrap_or_default()
        ));
        let fates = self.send()?;
        let fate = |source: &str| fates.get(source).copied().unwrap_or(Fate { sent: 0, came: 0 });
        let (loud, quiet) = (fate(LOUD.0), fate(QUIET.0));
        for ((source, rate), fate) in [(LOUD, loud), (QUIET, quiet)] {
            console::say(format!("    {source} at {rate}/s: {} sent, {} came through", fate.sent, fate.came));
        }
        let (mut over, mut named) = (0, false);
        // The agent looks at its counters once a second.
        let counted = until("the agent's page does not show the flood", || {
            let Ok(page) = page(agent) else { return false };
            over = packets_over(&page) - packets_over(&before);
            named = names(&page, LOUD.0);
            over > 0 && named
        });
        console::say(format!("    page /limits: {over} datagrams over the limit, {} named: {named}", LOUD.0));
        let alert = alerted(agent);
        console::say(format!("    alert: {}", alert.as_deref().unwrap_or("MISSED")));
        Ok(counted.is_ok() && alert.is_some() && is_cut(loud) && is_whole(quiet))
    }

    /// Both sources at once, and a receiver that tells them apart.
    fn send(&self) -> Result<BTreeMap<String, Fate>> {
        let socket = UdpSocket::bind((ADDRESS, PORT)).context("cannot receive datagrams")?;
        setsockopt(&socket, RcvBufForce, &BUFFER).context("cannot make room for datagrams")?;
        socket.set_read_timeout(Some(SETTLE))?;
        let program = std::env::current_exe().context("cannot find this program's own file")?;
        let spawn = |(from, rate): (&str, u32)| {
            let mut command = self.enter();
            command.arg(&program).args(["workload", "datagrams", "--from", from, "--to"]);
            command.arg(format!("{ADDRESS}:{PORT}")).args(["--rate", &rate.to_string(), "--millis"]);
            command.arg(SPAN.as_millis().to_string()).stdout(Stdio::piped());
            command.spawn().context("cannot start a sender")
        };
        let senders = [(LOUD.0, spawn(LOUD)?), (QUIET.0, spawn(QUIET)?)];
        let end = Instant::now() + SPAN * 3;
        let mut came: BTreeMap<IpAddr, u64> = BTreeMap::new();
        let (mut buffer, mut begun) = ([0; 256], false);
        while Instant::now() < end && !interrupt::pending() {
            match socket.recv_from(&mut buffer) {
                Ok((_, from)) => {
                    begun = true;
                    *came.entry(from.ip()).or_default() += 1;
                }
                // Before the first one, senders are starting; after it, the last one has come.
                Err(_) if begun => break,
                Err(_) => {}
            }
        }
        let mut fates = BTreeMap::new();
        for (source, sender) in senders {
            let output = sender.wait_with_output().context("cannot wait for a sender")?;
            let sent = String::from_utf8_lossy(&output.stdout).trim().parse();
            let sent = sent.with_context(|| format!("the sender `{source}` failed"))?;
            let came = source.parse().ok().and_then(|source: IpAddr| came.get(&source).copied());
            fates.insert(source.to_owned(), Fate { sent, came: came.unwrap_or(0) });
        }
        Ok(fates)
    }

    fn enter(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.keeper.id())).arg("--");
        command
    }

    fn inside(&self, program: &str, arguments: &[&str]) -> Result<String> {
        process::capture(self.enter().arg(program).args(arguments))
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        // Whatever is not there is gone already; pins go with their file system.
        let _ = ip(&["link", "del", HERE]);
        let _ = umount2(&self.pins, MntFlags::MNT_DETACH);
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// Cut to the policy, with some room for how long the sender took.
fn is_cut(fate: Fate) -> bool {
    let most = u64::from(RATE) * SPAN.as_secs() * 2 + u64::from(BURST);
    fate.sent > most * 4 && fate.came > 0 && fate.came <= most
}

/// All of it came.
fn is_whole(fate: Fate) -> bool {
    fate.sent > 0 && fate.came == fate.sent
}

/// The alert about the flood, should it come.
fn alerted(agent: &Agent) -> Option<String> {
    let end = Instant::now() + PATIENCE;
    while !interrupt::pending() {
        let left = end.saturating_duration_since(Instant::now());
        if let Some(output) = about_flood(&agent.line(left)?.text) {
            return Some(output);
        }
    }
    None
}

/// What an alert says, if it is about the flood.
fn about_flood(line: &str) -> Option<String> {
    let alert: Value = serde_json::from_str(line).ok()?;
    let text = |path: &str| alert.pointer(path).and_then(Value::as_str);
    let is_ours = text("/rule") == Some(ALERT) && text("/output_fields/source") == Some(LOUD.0);
    is_ours.then(|| text("/output").unwrap_or(ALERT).to_owned())
}

fn page(agent: &Agent) -> Result<Value> {
    let (_, page) = agent.page("/limits")?;
    serde_json::from_str(&page).context("the agent's page `/limits` cannot be read")
}

/// How the agent is attached.
fn rung(page: &Value) -> Option<String> {
    page.pointer("/attached/0/rung").and_then(Value::as_str).map(ToOwned::to_owned)
}

fn packets_over(page: &Value) -> u64 {
    let counted = page.get("counted").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let over = counted.iter().filter(|one| {
        one.get("reason").and_then(Value::as_str).is_some_and(|reason| reason.starts_with("over"))
    });
    over.filter_map(|one| one.get("packets")?.as_u64()).sum()
}

/// Whether a sampled verdict is about the source.
fn names(page: &Value, source: &str) -> bool {
    let recent = page.get("recent").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    recent.iter().any(|one| one.get("source").and_then(Value::as_str) == Some(source))
}

pub(super) fn ip(arguments: &[&str]) -> Result<String> {
    process::capture(Command::new("ip").args(arguments))
}

pub(super) fn until(complaint: &'static str, mut done: impl FnMut() -> bool) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    while !done() {
        if interrupt::pending() {
            bail!("interrupted");
        }
        if Instant::now() >= end {
            bail!(complaint);
        }
        thread::sleep(LOOK);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_says_how_much_was_over_and_who() {
        let text = r#"{"attached":[{"interface":"x","rung":"tcx"}],
            "counted":[{"reason":"over","packets":5},{"reason":"over_near_prefix","packets":2},
            {"reason":"within","packets":9}],"recent":[{"source":"198.18.91.2"}]}"#;
        let page: Value = serde_json::from_str(text).unwrap();
        assert_eq!((packets_over(&page), rung(&page).as_deref()), (7, Some("tcx")));
        assert!(names(&page, LOUD.0) && !names(&page, QUIET.0));
        assert_eq!((packets_over(&Value::Null), rung(&Value::Null)), (0, None));
    }

    #[test]
    fn the_alert_is_about_the_flood() {
        let text = r#"{"rule":"Rampart internal: rate limit exceeded","output":"x","output_fields":{"source":"198.18.91.2"}}"#;
        assert_eq!(about_flood(text).as_deref(), Some("x"));
        assert_eq!(about_flood(&text.replace("91.2", "91.3")), None);
        assert_eq!(about_flood("Ready"), None);
    }

    #[test]
    fn a_source_is_cut_or_whole() {
        assert!(is_cut(Fate { sent: 60_000, came: 650 }));
        assert!(!is_cut(Fate { sent: 60_000, came: 60_000 }) && !is_cut(Fate { sent: 60_000, came: 0 }));
        assert!(is_whole(Fate { sent: 300, came: 300 }) && !is_whole(Fate { sent: 300, came: 299 }));
    }
}
