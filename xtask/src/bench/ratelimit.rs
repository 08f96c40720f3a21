//! `bench ratelimit`: what a limiter per source takes of a flood, and what a legitimate client feels of it.
//!
//! One core sends and receives, by frames that are neither allocated nor copied, so that the time of a datagram is the
//! sender's and the receiver's together; what is added to dropping all is the limiter's. Receivers take turns in every
//! round, each on interfaces of its own.

mod flood;
mod receiver;
mod rig;

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use self::flood::{Felt, Sent, Service, Tool, counted, counting, rate};
use self::receiver::Receiver;
use self::rig::{Rig, Wire};
use super::measured::{Goal, Measured, Report, Summary};
use super::stage::{Stage, quiet_core};
use crate::{interrupt, toolchain};

/// The limit per source.
const RATE: u32 = 1000;
const BURST: u32 = 100;
/// How many sources the flood has, and the word in ids.
const FLOODS: [(u32, &str); 2] = [(256, "256"), (1 << 20, "1m")];
/// Length of a flood that is measured, of a talk, and of a flood around a talk.
const FLOOD: Duration = Duration::from_millis(1200);
const TALK: Duration = Duration::from_millis(700);
const AROUND: Duration = Duration::from_millis(1400);
/// From the sender's start until it is at its pace.
const LEAD: Duration = Duration::from_millis(400);
/// Length of the flood from all cores whose datagrams are counted, and of the span in its middle: bursts are used up
/// then, and all senders send.
const EXACT: Duration = Duration::from_secs(3);
const EXACT_AFTER: Duration = Duration::from_secs(1);
const EXACT_SPAN: Duration = Duration::from_millis(1500);
/// Rounds of a run take half a minute each.
const MAX_ROUNDS: usize = 5;
/// Share of sent frames that the interface must have taken, or the numbers are of the sender only.
const TAKEN: f64 = 0.99;

/// One receiver, flooded by one kind of flood.
#[derive(Clone, Copy, Debug)]
struct Leg {
    mpps: f64,
    /// Share of datagrams that the interface took, and that came through.
    taken: f64,
    passed: f64,
    /// Nobody can talk to who drops all.
    client: Option<Client>,
}

/// What a client felt before a flood and meanwhile, and the share of the flood that the interface took.
#[derive(Clone, Copy, Debug)]
struct Client {
    quiet: Felt,
    flooded: Felt,
    taken: f64,
}

impl Client {
    /// Whether the limiter got to see what the client sent: a full ring of the interface loses it before.
    fn is_seen(&self) -> bool {
        self.taken >= TAKEN
    }
}

/// Every leg, by receiver and index of the flood.
type Legs = BTreeMap<(Receiver, usize), Vec<Leg>>;

/// Measures all receivers in turn. `release`: the sender is built as the agent was.
pub(super) fn run(stage: &Stage, release: bool) -> Result<Report> {
    if let Err(reason) = toolchain::bench_programs() {
        return Ok(Report::skipped("ratelimit", &format!("{reason:#}")));
    }
    let tool = Tool::build(release)?;
    let rig = Rig::enter()?;
    let (receivers, notes) = Receiver::here();
    let rounds = stage.rounds.min(MAX_ROUNDS);
    let (mut legs, mut deviations) = (Legs::new(), Vec::new());
    let mut order = receivers.clone();
    for round in 0..rounds {
        for receiver in &order {
            for (index, (sources, _)) in FLOODS.iter().enumerate() {
                let leg = leg(stage, &rig, &tool, *receiver, *sources)
                    .with_context(|| format!("`{}` could not be measured", receiver.name()))?;
                legs.entry((*receiver, index)).or_default().push(leg);
            }
        }
        deviations.push(deviation(stage, &rig, &tool)?);
        order.rotate_left(1);
        stage.say(&format!("  round {} of {rounds} done", round + 1));
    }
    let mut report = Report::new("ratelimit", results(&legs, &receivers, &deviations));
    let least = legs.values().flatten().map(|leg| leg.taken).fold(1.0, f64::min);
    let clients: Vec<&Client> = legs.values().flatten().filter_map(|leg| leg.client.as_ref()).collect();
    let mut ours = legs.get(&(Receiver::Xdp, 0)).into_iter().flatten().filter_map(|leg| leg.client.as_ref());
    report.holds = least >= TAKEN && ours.any(Client::is_seen);
    let unseen = clients.iter().filter(|client| !client.is_seen()).count();
    report.notes.extend(notes);
    Ok(report
        .note(format!(
            "{RATE} datagrams a second and a burst of {BURST} per source, room for 65536 sources in every limiter; \
             frames of 60 bytes; `1m` are 1048576 random sources; the best number is the right extreme of Mpps"
        ))
        .note("one core sends (by live frames of `BPF_PROG_TEST_RUN`) and receives over a veth pair; another one talks")
        .note(format!(
            "a client's p99 leaves out {unseen} of {} talks, in which the interface took less than {:.0} % of the flood: \
             what the client sent was then lost before any limiter",
            clients.len(),
            TAKEN * 100.0
        ))
        .note("`no agent` of a client's p99 is the same receiver without a flood")
        .note(format!("the interface took at least {:.2} % of what was sent in every leg", least * 100.0))
        .note(
            "`xdp.gcra_added_ns`: nanoseconds a datagram of `xdp_tight` over `drop_all`; what passes costs the kernel's \
             stack besides. `deviation_percent`: how much more or less than the policy two cores get through that flood \
             the same 256 sources, by the stack's own count over 1.5 s",
        ))
}

fn leg(stage: &Stage, rig: &Rig, tool: &Tool, receiver: Receiver, sources: u32) -> Result<Leg> {
    if interrupt::pending() {
        bail!("interrupted");
    }
    let folder = stage.folder.path();
    let wire = rig.wire(folder)?;
    let placed = receiver.place(&wire, folder, &stage.binary, tool)?;
    let quiet = match receiver {
        Receiver::DropAll | Receiver::Tight => None,
        _ => Some((Service::start(0)?, Service::talk(rig, 0, TALK)?)),
    };
    let flood = || Sent::of(tool.send(rig, sources, FLOOD, quiet_core())?);
    let (sent, taken, passed) = counted(flood)?;
    let client = match quiet {
        None => None,
        Some((service, quiet)) => {
            let before = Wire::taken()?;
            let around = tool.send(rig, sources, AROUND, quiet_core())?;
            thread::sleep(LEAD);
            let flooded = Service::talk(rig, 0, TALK);
            let sent = Sent::of(around)?;
            drop(service);
            let taken = (Wire::taken()? - before) / sent.count.max(1.0);
            Some(Client { quiet, flooded: flooded?, taken })
        }
    };
    placed.end()?;
    drop(wire);
    let share = |part: f64| part / sent.count.max(1.0);
    // What the interface did not take, the receiver did not handle.
    let mpps = sent.mpps * share(taken).min(1.0);
    Ok(Leg { mpps, taken: share(taken), passed: share(passed), client })
}

/// Percent by which what comes through differs from what the policy allows, when all cores flood the same sources.
fn deviation(stage: &Stage, rig: &Rig, tool: &Tool) -> Result<f64> {
    let (sources, _) = FLOODS[0];
    let folder = stage.folder.path();
    let wire = rig.wire(folder)?;
    let placed = Receiver::Xdp.place(&wire, folder, &stage.binary, tool)?;
    let senders = [0, quiet_core()].map(|cpu| tool.send(rig, sources, EXACT, cpu));
    let passed = counting(EXACT_AFTER, EXACT_SPAN).and_then(rate);
    for sender in senders {
        Sent::of(sender?)?;
    }
    placed.end()?;
    drop::<Wire>(wire);
    let allowed = f64::from(sources) * f64::from(RATE);
    Ok(((passed? / allowed) - 1.0).abs() * 100.0)
}

fn results(legs: &Legs, receivers: &[Receiver], deviations: &[f64]) -> Vec<Measured> {
    let of = |receiver: Receiver, flood: usize| legs.get(&(receiver, flood)).map_or(&[][..], Vec::as_slice);
    let each = |receiver, flood, pick: &dyn Fn(&Leg) -> f64| -> Vec<f64> {
        of(receiver, flood).iter().map(pick).collect()
    };
    let pairs = |one, other, flood, pick: &dyn Fn(&Leg, &Leg) -> f64| -> Vec<f64> {
        of(one, flood).iter().zip(of(other, flood)).map(|(one, other)| pick(one, other)).collect()
    };
    let faster = |one: &Leg, other: &Leg| one.mpps / other.mpps;
    let slower = |one: &Leg, other: &Leg| 1e3 / one.mpps - 1e3 / other.mpps;
    let mut rows = vec![
        Measured::new(
            "xdp.gcra_added_ns",
            "ns",
            Summary::of(&pairs(Receiver::Tight, Receiver::DropAll, 0, &slower)),
        )
        .goal(Goal::AtMost(95.0)),
    ];
    if receivers.contains(&Receiver::Nft) {
        for (flood, (id, goal)) in [("xdp.vs_nft_256", 1.6), ("xdp.vs_nft_1m", 2.0)].into_iter().enumerate() {
            let ratios = pairs(Receiver::Xdp, Receiver::Nft, flood, &faster);
            rows.push(Measured::new(id, "ratio", Summary::of(&ratios)).goal(Goal::AtLeast(goal)));
        }
    }
    rows.push(
        Measured::new("ratelimit.deviation_percent", "%", Summary::of(deviations)).goal(Goal::AtMost(1.0)),
    );
    let felt = |receiver, flood, pick: &dyn Fn(&Felt, &Felt) -> f64| {
        let clients = of(receiver, flood).iter().filter_map(|leg| leg.client.as_ref());
        let seen = clients.filter(|client| client.is_seen());
        Summary::of(&seen.map(|client| pick(&client.quiet, &client.flooded)).collect::<Vec<f64>>())
    };
    let ratio = felt(Receiver::Xdp, 0, &|quiet, flooded| flooded.p99_us / quiet.p99_us);
    rows.push(Measured::new("ratelimit.xdp.client_p99_ratio", "ratio", ratio).goal(Goal::AtMost(2.0)));
    for (flood, (_, word)) in FLOODS.iter().enumerate() {
        for receiver in receivers {
            let mut row = |what: &str, unit, pick: &dyn Fn(&Leg) -> f64| {
                let id = format!("ratelimit.{}.{word}.{what}", receiver.name());
                rows.push(Measured::new(id, unit, Summary::of(&each(*receiver, flood, pick))));
            };
            row("mpps", "Mpps", &|leg| leg.mpps);
            row("passed_percent", "%", &|leg| leg.passed * 100.0);
            if of(*receiver, flood).iter().any(|leg| leg.client.is_some()) {
                let id = format!("ratelimit.{}.{word}.client_p99_us", receiver.name());
                let quiet = felt(*receiver, flood, &|quiet, _| quiet.p99_us);
                let flooded = felt(*receiver, flood, &|_, flooded| flooded.p99_us);
                rows.push(Measured::new(id, "us", flooded).baseline(quiet));
            }
        }
    }
    rows
}
