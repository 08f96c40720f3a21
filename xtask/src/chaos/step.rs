//! The faults, one function each, and what became of the alerts.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use super::place::{COLLECTOR, Cable, Small, certificates};
use super::programs::{Bag, Collector, Lost, Programs, Site, until};
use super::sink::Sink;

/// A fault.
pub(super) struct Step {
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    pub(super) run: fn(&Programs) -> Result<Account>,
}

/// All faults.
pub(super) const ALL: [Step; 8] = [
    Step {
        name: "agent-killed",
        title: "the agent is killed six times and started again",
        run: agent_killed,
    },
    Step {
        name: "collector-killed",
        title: "the collector is killed six times and started again",
        run: collector_killed,
    },
    Step { name: "network-cut", title: "the cable between them is pulled twice", run: network_cut },
    Step { name: "agent-disk-full", title: "the spool's disk is full", run: agent_disk_full },
    Step { name: "spool-full", title: "the spool reaches its bound", run: spool_full },
    Step {
        name: "collector-disk-full",
        title: "the store's disk is full for a while",
        run: collector_disk_full,
    },
    Step {
        name: "spool-corrupted",
        title: "bytes of the spool change while nobody runs",
        run: spool_corrupted,
    },
    Step {
        name: "channel-slow",
        title: "a channel takes its time, and its collector is killed",
        run: channel_slow,
    },
];

/// Alerts of a step, if nobody is killed.
const COUNT: u64 = 3000;
/// Alerts of a step whose disk is to get full.
const MANY: u64 = 8000;

/// What became of a step's alerts.
#[derive(Debug, Default)]
pub(super) struct Account {
    /// Alerts that a spool has taken, or was to take.
    pub(super) raised: u64,
    /// Different alerts in the store.
    pub(super) stored: u64,
    /// Alerts stored more than once.
    pub(super) twice: u64,
    /// Those that were raised and are not stored.
    missing: u64,
    /// Losses that the agent has counted.
    pub(super) counted: Lost,
    /// Alerts that a channel was told of.
    pub(super) told: Option<u64>,
    /// What else is wrong.
    pub(super) faults: Vec<String>,
}

impl Account {
    /// Compares what was raised with what is stored.
    fn of(raised: &[String], stored: &[String], lost: Lost) -> Self {
        let (raised, found): (BTreeSet<_>, BTreeSet<_>) = (raised.iter().collect(), stored.iter().collect());
        Self {
            raised: raised.len() as u64,
            stored: found.len() as u64,
            twice: (stored.len() - found.len()) as u64,
            missing: raised.difference(&found).count() as u64,
            counted: lost,
            ..Self::default()
        }
    }

    /// Alerts that are gone, and that nobody has counted.
    pub(super) fn lost(&self) -> u64 {
        self.missing.saturating_sub(self.counted.alerts())
    }

    /// Whether all is accounted for.
    pub(super) fn holds(&self) -> bool {
        self.raised > 0 && self.twice == 0 && self.missing == self.counted.alerts() && self.faults.is_empty()
    }

    /// Notes what should have been otherwise.
    fn expect(mut self, holds: bool, fault: &str) -> Self {
        if !holds {
            self.faults.push(fault.to_owned());
        }
        self
    }
}

/// A scratch folder, a place for a collector, and one for a courier.
fn scene() -> Result<(TempDir, Site, Bag)> {
    let folder =
        tempfile::Builder::new().prefix("rampart-chaos-").tempdir().context("cannot make a folder")?;
    let site = Site::on_loopback(folder.path().join("store/db"))?;
    let bag = Bag::below(folder.path());
    Ok((folder, site, bag))
}

fn account(collector: &Collector, bag: &Bag, lost: Lost) -> Result<Account> {
    Ok(Account::of(&bag.raised(), &collector.alerts()?, lost))
}

fn pause(millis: u64) {
    thread::sleep(Duration::from_millis(millis));
}

fn agent_killed(programs: &Programs) -> Result<Account> {
    let (_folder, site, bag) = scene()?;
    let collector = site.start_ready(programs)?;
    let send = || bag.send(programs, &[], (site.grpc, None), COUNT);
    let mut courier = send()?;
    for round in 0..6 {
        // Not always at the same place of its work.
        pause(250 + round * 70);
        courier.kill()?;
        courier = send()?;
    }
    let lost = courier.finish()?;
    let account = account(&collector, &bag, lost)?;
    let enough = account.raised > COUNT;
    Ok(account.expect(enough, "the agents that were killed raised nothing"))
}

fn collector_killed(programs: &Programs) -> Result<Account> {
    let (_folder, site, bag) = scene()?;
    let mut collector = site.start_ready(programs)?;
    let courier = bag.send(programs, &[], (site.grpc, None), COUNT)?;
    for round in 0..6 {
        pause(150 + round * 70);
        collector.kill()?;
        pause(round * 40);
        collector = site.start_ready(programs)?;
    }
    let lost = courier.finish()?;
    Ok(account(&collector, &bag, lost)?.expect(lost == Lost::default(), "the spool has lost something"))
}

fn network_cut(programs: &Programs) -> Result<Account> {
    let (folder, local, bag) = scene()?;
    certificates(folder.path())?;
    let cable = Cable::lay()?;
    let file = |name: &str| folder.path().join(name).display().to_string();
    let site = Site {
        grpc: SocketAddr::from((COLLECTOR, 7443)),
        http: SocketAddr::from(([127, 0, 0, 1], 8080)),
        settings: [("CERT_FILE", "server.pem"), ("KEY_FILE", "server.key"), ("CLIENT_CA_FILE", "ca.pem")]
            .map(|(name, value)| (format!("RAMPART_COLLECTOR_GRPC__{name}"), file(value)))
            .to_vec(),
        prefix: cable.prefix(0),
        ..local.clone()
    };
    let far = site.start(programs)?;
    let courier = bag.send(programs, &cable.prefix(1), (site.grpc, Some(folder.path())), COUNT)?;
    for _ in 0..2 {
        pause(900);
        cable.plug(false)?;
        pause(2500);
        cable.plug(true)?;
    }
    let lost = courier.finish()?;
    far.kill()?;
    // Its page is in the namespace; another collector reads its store.
    let collector = local.start_ready(programs)?;
    Ok(account(&collector, &bag, lost)?.expect(lost == Lost::default(), "the spool has lost something"))
}

fn agent_disk_full(programs: &Programs) -> Result<Account> {
    let (folder, site, _) = scene()?;
    let _disk = Small::mount(&folder.path().join("disk"), 1024)?;
    let bag = Bag { spool: folder.path().join("disk/spool"), journal: folder.path().join("journal") };
    let courier = bag.send(programs, &[], (site.grpc, None), MANY)?;
    until("the courier does not raise its alerts", || Ok(bag.raised().len() as u64 >= MANY))?;
    let collector = site.start_ready(programs)?;
    let lost = courier.finish()?;
    Ok(account(&collector, &bag, lost)?.expect(lost.failed > 0, "the disk was not full"))
}

fn spool_full(programs: &Programs) -> Result<Account> {
    let (_folder, site, bag) = scene()?;
    // The smallest bound there is.
    let bounded = ["env".to_owned(), "RAMPART_COURIER_SPOOL_BYTES=1048576".to_owned()];
    let courier = bag.send(programs, &bounded, (site.grpc, None), MANY)?;
    until("the courier does not raise its alerts", || Ok(bag.raised().len() as u64 >= MANY))?;
    let collector = site.start_ready(programs)?;
    let lost = courier.finish()?;
    Ok(account(&collector, &bag, lost)?.expect(lost.shed > 0, "the bound was not reached"))
}

fn collector_disk_full(programs: &Programs) -> Result<Account> {
    let (folder, mut site, bag) = scene()?;
    let disk = Small::mount(&folder.path().join("disk"), 24 << 10)?;
    site.store = folder.path().join("disk/store/db");
    let collector = site.start_ready(programs)?;
    let first = bag.send(programs, &[], (site.grpc, None), 100)?.finish()?;
    let before = collector.alerts()?.len() as u64;
    let ballast = disk.fill()?;
    let courier = bag.send(programs, &[], (site.grpc, None), COUNT)?;
    until("the courier does not raise its alerts", || Ok(bag.raised().len() as u64 >= COUNT + 100))?;
    pause(1000);
    let failed = collector.page("/health/detailed")?;
    let failed = failed.pointer("/store/errors").and_then(serde_json::Value::as_u64).unwrap_or(0);
    fs::remove_file(ballast).context("cannot remove the ballast")?;
    let lost = courier.finish()?;
    Ok(account(&collector, &bag, lost)?
        .expect(before == 100 && first == Lost::default(), "the first alerts are not stored")
        .expect(failed > 0, "the disk was not full")
        .expect(lost == Lost::default(), "the spool has lost something"))
}

fn spool_corrupted(programs: &Programs) -> Result<Account> {
    let (_folder, site, bag) = scene()?;
    let courier = bag.send(programs, &[], (site.grpc, None), COUNT)?;
    until("the courier does not raise its alerts", || Ok(bag.raised().len() as u64 >= COUNT))?;
    // The spool is forced to the disk every 100 ms.
    pause(300);
    courier.kill()?;
    let changed = corrupt(&bag.spool)?;
    let courier = bag.send(programs, &[], (site.grpc, None), 10)?;
    let collector = site.start_ready(programs)?;
    let lost = courier.finish()?;
    Ok(account(&collector, &bag, lost)?
        .expect(changed >= 2, "there was nothing to change")
        .expect(lost.damaged >= changed, "the damage was not found"))
}

/// Changes a byte in the middle of each large file; says of how many.
fn corrupt(spool: &Path) -> Result<u64> {
    let mut changed = 0;
    for entry in fs::read_dir(spool).context("cannot read the spool")? {
        let path = entry?.path();
        let mut bytes = fs::read(&path)?;
        let middle = bytes.len() / 2;
        if let Some(byte) = bytes.get_mut(middle).filter(|_| middle > 4096) {
            *byte ^= 0x55;
            fs::write(&path, bytes)?;
            changed += 1;
        }
    }
    Ok(changed)
}

fn channel_slow(programs: &Programs) -> Result<Account> {
    const ALERTS: u64 = 700;
    let (_folder, mut site, bag) = scene()?;
    let sink = Sink::start(Duration::from_millis(8))?;
    site.settings = vec![("WEBHOOK_ADDRESS".to_owned(), sink.url())];
    let mut collector = site.start_ready(programs)?;
    let courier = bag.send(programs, &[], (site.grpc, None), ALERTS)?;
    until("the courier does not raise its alerts", || Ok(bag.raised().len() as u64 >= ALERTS))?;
    until("the alerts are not stored", || Ok(collector.alerts()?.len() as u64 >= ALERTS))?;
    let waiting = ALERTS.saturating_sub(sink.told().len() as u64);
    collector.kill()?;
    collector = site.start_ready(programs)?;
    let lost = courier.finish()?;
    until("the channel is not told of all", || Ok(sink.told().len() as u64 >= ALERTS))?;
    let mut account = account(&collector, &bag, lost)?;
    let told = sink.told();
    if bag.raised().iter().any(|alert| !told.contains(alert)) {
        bail!("the channel was told of something else");
    }
    account.told = Some(told.len() as u64);
    Ok(account.expect(waiting > 0, "the channel was not slow"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn what_is_gone_must_have_been_counted() {
        let raised = names(&["a", "b", "c"]);
        let whole = Account::of(&raised, &names(&["c", "b", "a", "d"]), Lost::default());
        assert!(whole.holds() && whole.lost() == 0 && whole.stored == 4);
        let lost = Account::of(&raised, &names(&["a", "b"]), Lost::default());
        assert!(!lost.holds() && lost.lost() == 1);
        let counted = Account::of(&raised, &names(&["a", "b"]), Lost { shed: 1, ..Lost::default() });
        assert!(counted.holds() && counted.lost() == 0);
        let wrong = Account::of(&raised, &raised, Lost { shed: 1, ..Lost::default() });
        assert!(!wrong.holds(), "counted, and not lost");
        assert!(!Account::of(&raised, &names(&["a", "b", "c", "c"]), Lost::default()).holds());
        assert!(!Account::of(&[], &[], Lost::default()).holds());
        assert!(!whole.expect(false, "x").holds());
    }
}
