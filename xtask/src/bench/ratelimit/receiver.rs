//! What stands in the way of the flood: nothing, the quickest way to drop all, Rampart, or somebody else's limiter, all
//! with the same limit per source and room for as many sources.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::flood::Tool;
use super::rig::{HERE, Wire, said};
use super::{BURST, RATE};
use crate::agent::{Agent, Setup};
use crate::workspace;

/// Sources that each limiter has room for: the agent's default.
const ROOM: u32 = 65_536;
/// The limit per source of [`Receiver::Tight`].
const TIGHT: u32 = 10;
/// The flood's destination port.
const PORT: u16 = 9;

/// The agent is ready before its limits are.
const ATTACH_LIMIT: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(50);

/// A receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Receiver {
    /// The kernel's stack.
    Nothing,
    /// An XDP program that drops all.
    DropAll,
    /// The agent, native XDP.
    Xdp,
    /// The same with a limit that lets next to nothing through: what judging takes, without the kernel's stack.
    Tight,
    /// The agent, tcx.
    Tcx,
    /// A meter of nftables at the earliest hook.
    Nft,
    /// hashlimit of iptables in the table `raw`.
    Hashlimit,
}

/// A receiver in its place; it ends with this value, or with the wire.
pub(super) enum Placed {
    /// Nothing, or rules that end with [`Placed::end`].
    Rules(Option<PathBuf>),
    /// A program that drops all until its input ends.
    Dropping(Child),
    /// The agent.
    Agent(Box<Agent>),
}

impl Receiver {
    /// Those that can be measured here, and what is to be said of the others.
    pub(super) fn here() -> (Vec<Self>, Vec<String>) {
        let all =
            [Self::Nothing, Self::DropAll, Self::Tight, Self::Xdp, Self::Tcx, Self::Nft, Self::Hashlimit];
        let mut notes = Vec::new();
        let (here, absent): (Vec<Self>, Vec<Self>) = all.into_iter().partition(|one| match one {
            Self::Nft => workspace::program("nft").is_some(),
            Self::Hashlimit => iptables().is_some(),
            _ => true,
        });
        notes.extend(absent.iter().map(|one| format!("not installed here: {}", one.name())));
        (here, notes)
    }

    /// The word in ids.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "none",
            Self::DropAll => "drop_all",
            Self::Xdp => "xdp",
            Self::Tight => "xdp_tight",
            Self::Tcx => "tcx",
            Self::Nft => "nft",
            Self::Hashlimit => "hashlimit",
        }
    }

    /// Puts it in its place.
    pub(super) fn place(self, wire: &Wire, folder: &Path, agent: &Path, tool: &Tool) -> Result<Placed> {
        match self {
            Self::Nothing => Ok(Placed::Rules(None)),
            Self::DropAll => {
                let mut child = tool
                    .dropping(HERE)
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped())
                    .spawn()
                    .context("cannot run the program that drops all")?;
                let mut line = String::new();
                let output = child.stdout.take().context("the program has no output")?;
                BufReader::new(output).read_line(&mut line)?;
                if line.trim() != "ready" {
                    bail!("the program that drops all did not come up");
                }
                Ok(Placed::Dropping(child))
            }
            Self::Xdp => limiting(wire, folder, agent, "native_virtual", RATE),
            Self::Tight => limiting(wire, folder, agent, "native_virtual", TIGHT),
            Self::Tcx => limiting(wire, folder, agent, "tcx", RATE),
            Self::Nft => {
                nft(&meter())?;
                Ok(Placed::Rules(None))
            }
            Self::Hashlimit => {
                let program = iptables().context("`iptables` is not installed")?;
                said(Command::new(&program).args(hashlimit("-A")))?;
                Ok(Placed::Rules(Some(program)))
            }
        }
    }
}

impl Placed {
    /// Takes it away; what hangs on the interface goes with the wire.
    pub(super) fn end(self) -> Result<()> {
        match self {
            Self::Rules(None) => Ok(()),
            Self::Rules(Some(program)) => said(Command::new(program).args(hashlimit("-D"))).map(drop),
            Self::Dropping(mut child) => {
                drop(child.stdin.take());
                child.wait().context("cannot wait for the program that drops all")?;
                Ok(())
            }
            Self::Agent(agent) => {
                let status = agent.stop()?;
                if status.success() { Ok(()) } else { bail!("the agent ended with {status}") }
            }
        }
    }
}

fn limiting(wire: &Wire, folder: &Path, binary: &Path, hook: &str, rate: u32) -> Result<Placed> {
    let rules = folder.join("nothing.yaml");
    let rule = "- rule: nothing\n  desc: d\n  condition: evt.type = openat and fd.name = /nowhere\n  output: o\n  \
                priority: INFO\n";
    std::fs::write(&rules, rule).with_context(|| format!("cannot write `{}`", rules.display()))?;
    let configuration = format!(
        "limits:
  enabled: true
  mode: enforce
  max_entries: {ROOM}
  pin_dir: {}
  interfaces: {{{HERE}: {{hook: {hook}}}}}
  policies:
    flood: {{rate: {rate}/s, burst: {BURST}, unit: packets, match: {{protocol: udp, ports: {PORT}}}}}
",
        wire.pins().display()
    );
    let setup = Setup {
        binary,
        folder,
        rules: &[rules],
        matching: "first",
        configuration: &configuration,
        passwd: None,
    };
    let agent = Agent::start_as(&setup)?;
    let rung = if hook == "tcx" { "tcx" } else { "native" };
    let wanted = format!("\"rung\":\"{rung}\"");
    let end = Instant::now() + ATTACH_LIMIT;
    while !agent.page("/limits")?.1.contains(&wanted) {
        if Instant::now() >= end {
            bail!("the agent does not attach by {rung}; its log:\n{}", agent.log_tail());
        }
        thread::sleep(LOOK);
    }
    Ok(Placed::Agent(Box::new(agent)))
}

fn meter() -> String {
    format!(
        "table netdev bench {{
  set sources {{ type ipv4_addr; size {ROOM}; flags dynamic; }}
  chain in {{
    type filter hook ingress device {HERE} priority 0;
    ip protocol udp udp dport {PORT} add @sources {{ ip saddr limit rate over {RATE}/second burst {BURST} packets }} drop
  }}
}}
"
    )
}

fn nft(rules: &str) -> Result<()> {
    let mut child =
        Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn().context("cannot run `nft`")?;
    let mut input = child.stdin.take().context("`nft` has no input")?;
    // The table of a leg before lost its interface, and is of no use.
    input.write_all(format!("flush ruleset\n{rules}").as_bytes())?;
    drop(input);
    let status = child.wait()?;
    if status.success() { Ok(()) } else { bail!("`nft` did not take the rules ({status})") }
}

/// iptables by its own tables where there is a choice: they are the quicker ones.
fn iptables() -> Option<PathBuf> {
    ["iptables-legacy", "iptables"].into_iter().find_map(workspace::program)
}

fn hashlimit(command: &str) -> Vec<String> {
    let text = format!(
        "-w -t raw {command} PREROUTING -i {HERE} -p udp --dport {PORT} -m hashlimit --hashlimit-above {RATE}/sec \
         --hashlimit-burst {BURST} --hashlimit-mode srcip --hashlimit-name bench --hashlimit-htable-size {ROOM} \
         --hashlimit-htable-max {ROOM} -j DROP"
    );
    text.split(' ').map(ToOwned::to_owned).collect()
}
