//! Backends that die or fall silent while clients come and go.

use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::backend::Small;
use super::house::{SMALL, Vip, wait_up};
use super::rig::Rig;
use crate::agent::Agent;
use crate::workload::monotonic_ns;
use crate::workspace;

/// Clients at a time.
pub(super) const CLIENTS: usize = 8;
/// A client that waits longer gives up.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);
/// Visits before the backend fails.
const LEAD: Duration = Duration::from_millis(500);
/// And after it, where failures are found at once, and where it takes clients' patience.
const SPAN: Duration = Duration::from_secs(2);
const LONG_SPAN: Duration = Duration::from_secs(8);

/// The rule that drops all for the second small server.
const TABLE: &str = "rampart_bench";

/// What clients felt of a failing backend.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Felt {
    /// Connects that failed.
    pub(super) failed: f64,
    /// From the backend's failure to the end of the last failed one.
    pub(super) last_ms: f64,
}

/// All that is measured in a round.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Failing {
    /// The backend is killed, and only the breaker helps.
    pub(super) breaker: Felt,
    /// It is killed, and everything is as it usually is.
    pub(super) usual: Felt,
    /// It falls silent, with timers of the SYN.
    pub(super) timers: Felt,
    /// It falls silent, and everything is as it usually is.
    pub(super) silent: Felt,
}

/// Measures all.
pub(super) fn measure(rig: &Rig, agent: &Agent) -> Result<Failing> {
    let [first, second] = SMALL;
    let _stays = Small::start(first)?;
    let killed = |vip: Vip, span| {
        let mut dies = Some(Small::start(second)?);
        wait_up(agent, vip)?;
        visited(rig, vip, span, || {
            dies.take();
            Ok(())
        })
    };
    let breaker = killed(Vip::Breaker, SPAN)?;
    let usual = killed(Vip::Usual, LONG_SPAN)?;
    let _silent = Small::start(second)?;
    let silenced = |vip: Vip, span| {
        wait_up(agent, vip)?;
        let felt = visited(rig, vip, span, || nft(&silence(second)));
        let heard = nft(&format!("delete table ip {TABLE}\n"));
        felt.and_then(|felt| heard.map(|()| felt))
    };
    let timers = silenced(Vip::Timers, SPAN)?;
    let silent = silenced(Vip::Silent, LONG_SPAN)?;
    Ok(Failing { breaker, usual, timers, silent })
}

/// Lets clients come and go, and makes the backend fail meanwhile.
fn visited(rig: &Rig, vip: Vip, span: Duration, fail: impl FnOnce() -> Result<()>) -> Result<Felt> {
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let mut command = rig.client(&program);
    command.args(["workload", "visit", &vip.at().to_string(), "--clients", &CLIENTS.to_string()]);
    command.args(["--millis", &(LEAD + span).as_millis().to_string()]);
    command.args(["--limit-millis", &PATIENCE.as_millis().to_string()]);
    let child = command.stdout(Stdio::piped()).spawn().context("cannot start the clients")?;
    thread::sleep(LEAD);
    let at = monotonic_ns()?;
    let failed = fail();
    let output = child.wait_with_output().context("cannot wait for the clients")?;
    failed?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        bail!("the clients ended with {}", output.status);
    }
    read(&text, at).with_context(|| format!("clients of {} said `{}`", vip.at(), text.trim()))
}

/// Reads what the clients say; `None` when it is not to be understood, or something failed before the backend did.
fn read(text: &str, at: u64) -> Option<Felt> {
    let mut lines = text.lines();
    let visits: u64 = lines.next()?.parse().ok()?;
    let mut felt = Felt::default();
    for line in lines {
        let mut words = line.split(' ');
        let (_, ended, fault): (&str, u64, &str) =
            (words.next()?, words.next()?.parse().ok()?, words.next()?);
        let after = Duration::from_nanos(ended.checked_sub(at)?);
        if fault == "connect" {
            felt.failed += 1.0;
            felt.last_ms = felt.last_ms.max(after.as_secs_f64() * 1e3);
        }
    }
    (visits > 0).then_some(felt)
}

/// What falls silent: packets to it are dropped, and nobody is told.
fn silence(address: SocketAddr) -> String {
    format!(
        "table ip {TABLE} {{
  chain in {{
    type filter hook input priority 0;
    ip daddr {} tcp dport {} drop
  }}
}}
",
        address.ip(),
        address.port()
    )
}

fn nft(rules: &str) -> Result<()> {
    let program = workspace::program("nft").context("there is no `nft`")?;
    let mut child = Command::new(program).args(["-f", "-"]).stdin(Stdio::piped()).spawn()?;
    let mut input = child.stdin.take().context("`nft` has no input")?;
    input.write_all(rules.as_bytes())?;
    drop(input);
    let status = child.wait()?;
    if status.success() { Ok(()) } else { bail!("`nft` did not take the rules ({status})") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_count_from_the_backend_s() {
        let text = "900\n1000000 3000000 connect\n2000000 5500000 connect\n2000000 9000000 answer\n";
        assert_eq!(read(text, 1_500_000), Some(Felt { failed: 2.0, last_ms: 4.0 }));
        assert_eq!(read("900\n", 5), Some(Felt::default()));
        assert_eq!(read(text, 4_000_000), None, "one failed before");
        assert_eq!(read("0\n", 5), None);
    }
}
