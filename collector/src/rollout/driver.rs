//! The task that moves rollouts on.
//!
//! Each collector reads the rollouts every two seconds, so that its agents are offered what they are to have, and writes
//! down how its nodes are while one is under way. One of them, by a lease that ends when it is silent, decides. Whatever it
//! decides expects the rollout as it was read: two that both think it is their turn cannot both act.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};

use super::{
    ITSELF, Kept, NodeSight, RolloutError, Sight, Sights, State,
    desk::{self, Actor},
    gate::{self, Tally, Verdict},
    plan::Plan,
};
use crate::{
    alert::{Alert, Id, Priority},
    identity::{IdentityError, Records, hex, items, random, sha256},
    ingest::{Ingest, now_ns},
    notify::channel::rfc3339,
    registry::Registry,
    store::{
        Batch,
        identity::{Book, Change, Expect, Kind},
    },
    telemetry::Metrics,
};

/// Time between two looks.
const LOOK: Duration = Duration::from_secs(2);
/// Time between two sights of the nodes: they are heard of every 30 s.
const SIGHT: Duration = Duration::from_secs(4);
/// A collector that is silent for so long has no turn, and its nodes are somebody else's.
const LEASE_NS: u64 = 20 * 1_000_000_000;
/// Time between two looks for what nobody needs any more.
const PRUNE: Duration = Duration::from_mins(1);
/// The item that says whose turn it is.
const TURN: &str = "turn";
/// Name of the node in alerts of the collector's own.
pub const NODE: &str = "rampart-collector";

/// What the task needs.
#[derive(Debug)]
pub struct Driver {
    /// The store.
    pub records: Records,
    /// The nodes of this collector.
    pub registry: Arc<Registry>,
    /// The way into the stream of alerts.
    pub ingest: Ingest,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// How long a step waits at least, so that what others see of their nodes is there; nothing where nobody shares the store.
    pub settle: Duration,
    /// Where others see the plan.
    pub plan: watch::Sender<Arc<Plan>>,
}

/// Whose turn it is.
#[derive(Debug, Serialize, Deserialize)]
struct Turn {
    holder: String,
    until_ns: u64,
}

/// What one look at the store came to.
struct Look {
    plan: Plan,
    /// Where it is this collector's turn: how the nodes are.
    tally: Option<Tally>,
    /// What was decided.
    ended: Option<State>,
}

impl Driver {
    /// Runs until `stop` is true.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        // Without random numbers nothing else would work either.
        let name = random::<8>().map_or_else(|_| "collector".to_owned(), |bytes| hex(&bytes));
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut seen, mut pruned, mut is_failing) = (None::<Instant>, None::<Instant>, false);
        loop {
            tokio::select! {
                _ = look.tick() => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
            let is_seeing = seen.is_none_or(|at| at.elapsed() >= SIGHT);
            let is_pruning = pruned.is_none_or(|at| at.elapsed() >= PRUNE);
            match self.look(&name, is_seeing, is_pruning).await {
                Ok(()) => is_failing = false,
                // Somebody else was faster; the next look shows what they did.
                Err(RolloutError::Race) => {}
                Err(error) => {
                    if !std::mem::replace(&mut is_failing, true) {
                        tracing::error!("Rollouts do not move on: {error}");
                    }
                }
            }
            seen = if is_seeing { Some(Instant::now()) } else { seen };
            pruned = if is_pruning { Some(Instant::now()) } else { pruned };
        }
    }

    async fn look(&self, name: &str, is_seeing: bool, is_pruning: bool) -> Result<(), RolloutError> {
        let now = now_ns();
        let sight = is_seeing.then(|| self.sight());
        let (name, settle) = (name.to_owned(), self.settle);
        let looked =
            self.records.run(move |book| Ok(look(book, &name, (sight.as_ref(), settle), is_pruning, now)));
        let Look { plan, tally, ended } = looked.await??;
        if let Some(state) = ended {
            let outcome = if state == State::Done { "done" } else { "rolled_back" };
            self.metrics.rollouts.with_label_values(&[outcome]).inc();
        }
        self.count(&plan, tally);
        self.tell(&plan).await?;
        self.plan.send_if_modified(|kept| {
            let is_new = **kept != plan;
            if is_new {
                *kept = Arc::new(plan);
            }
            is_new
        });
        Ok(())
    }

    /// How the nodes of this collector are.
    fn sight(&self) -> Sight {
        let nodes = self.registry.nodes().into_iter().map(|(name, node)| {
            let sight = NodeSight {
                seen_ns: node.seen_ns,
                is_connected: node.sessions > 0,
                is_accepting: node.bundle.is_accepting,
                labels: node.labels,
                digest: node.bundle.digest,
                fault: node.bundle.fault,
                fault_digest: node.bundle.fault_digest,
                before: node.trend.before(),
                since: node.trend.since(),
            };
            (name, sight)
        });
        Sight { nodes: nodes.collect() }
    }

    fn count(&self, plan: &Plan, tally: Option<Tally>) {
        let under_way = plan.under_way();
        self.metrics.rollout_under_way.set(i64::from(under_way.is_some()));
        self.metrics.rollout_step.set(under_way.map_or(0, |kept| kept.rollout.step as i64 + 1));
        // Only the one that decides knows all nodes.
        let Tally { chosen, loaded, refused, missing, .. } = tally.unwrap_or_default();
        for (state, count) in
            [("chosen", chosen), ("loaded", loaded), ("refused", refused), ("missing", missing)]
        {
            self.metrics.rollout_nodes.with_label_values(&[state]).set(count as i64);
        }
    }

    /// Stores the alert about each rollout that was rolled back. Its identity is the rollout's, so that it is stored once,
    /// however often and by whomever this is done.
    async fn tell(&self, plan: &Plan) -> Result<(), RolloutError> {
        let untold = |kept: &&Kept| kept.rollout.state == State::RolledBack && !kept.rollout.is_told;
        for kept in plan.rollouts().iter().filter(untold) {
            let batch = Batch { node: NODE.into(), alerts: vec![alert(kept)] };
            if !matches!(self.ingest.store(batch).await.await, Ok(Ok(()))) {
                // The store does not work now; the next look tries again.
                return Ok(());
            }
            let Kept { id, revision, rollout } = kept.clone();
            tracing::warn!(
                rollout = id,
                bundle = rollout.name,
                "A rollout was rolled back: {:?}",
                rollout.reason
            );
            let told = super::Rollout { is_told: true, ..rollout };
            let change = Change::put(Kind::Rollout, id, Expect::Revision(revision), items::write(&told)?);
            self.records.run(move |book| Ok(book.keep(&[change], now_ns())?)).await?;
        }
        Ok(())
    }
}

/// One look at the store: reads, and where it is this collector's turn, decides.
fn look(
    book: &mut dyn Book,
    name: &str,
    (sight, settle): (Option<&Sight>, Duration),
    is_pruning: bool,
    now: u64,
) -> Result<Look, RolloutError> {
    let plan = Plan::new(Kept::list(book)?);
    let (mut tally, mut ended) = (None, None);
    let is_moving = plan.under_way().is_some();
    if is_moving && let Some(sight) = sight {
        let change =
            Change::put(Kind::Sight, name, Expect::Anything, items::write(sight)?).until(now + LEASE_NS);
        book.keep(&[change], now)?;
    }
    if (!is_moving && !is_pruning) || !has_turn(book, name, now)? {
        return Ok(Look { plan, tally, ended });
    }
    if is_pruning {
        let count = desk::prune(book, &plan, now)?;
        if count > 0 {
            tracing::info!(count, "Bundles and rollouts of long ago are forgotten");
        }
    }
    if let Some(kept) = plan.under_way() {
        let mut sights = Sights::default();
        for (_, sight) in items::list::<Sight>(book, Kind::Sight)? {
            sights.add(sight);
        }
        tally = Some(gate::tally(kept, &sights));
        let (kept, actor) = (kept.clone(), Actor { name: ITSELF, now_ns: now });
        let is_settled = now.saturating_sub(kept.rollout.step_ns) >= settle.as_nanos() as u64;
        ended = match gate::decide(&kept, &sights, now) {
            Verdict::Next | Verdict::Done if !is_settled => None,
            Verdict::Wait => None,
            Verdict::Next => desk::next(kept, book, actor, "rollout.step").map(|_| None)?,
            Verdict::Done => Some(desk::done(kept, book, actor, "rollout.done")?.rollout.state),
            Verdict::Back(reason) => Some(desk::back(kept, book, actor, &reason)?.rollout.state),
        };
    }
    // What was decided shows at once.
    let plan = Plan::new(Kept::list(book)?);
    Ok(Look { plan, tally, ended })
}

/// Whether it is this collector's turn, which it then keeps for a while.
fn has_turn(book: &mut dyn Book, name: &str, now: u64) -> Result<bool, RolloutError> {
    let expect = match book.get(Kind::Lease, TURN)? {
        None => Expect::Absent,
        Some(item) => {
            let turn: Turn = items::read(&item)?;
            if turn.holder != name && turn.until_ns > now {
                return Ok(false);
            }
            Expect::Revision(item.revision)
        }
    };
    let turn = Turn { holder: name.to_owned(), until_ns: now + LEASE_NS };
    let change = Change::put(Kind::Lease, TURN, expect, items::write(&turn)?).until(turn.until_ns);
    Ok(book.keep(&[change], now)?)
}

/// The alert about a rollout that was rolled back.
fn alert(kept: &Kept) -> Alert {
    let Kept { id, rollout, .. } = kept;
    let mut boot = [0; 16];
    for (to, from) in boot.iter_mut().zip(sha256(id.as_bytes())) {
        *to = from;
    }
    let (rule, reason) =
        ("Rampart internal: rollout rolled back", rollout.reason.as_deref().unwrap_or_default());
    let time_ns = rollout.ended_ns.unwrap_or(rollout.began_ns);
    let step = rollout.steps.get(rollout.step).map_or_else(String::new, ToString::to_string);
    let json = json!({
        "output": format!("{rule}: the bundle `{}` was taken back at step {}: {reason}", rollout.name, rollout.step + 1),
        "priority": Priority::Error.name(), "rule": rule, "source": "internal", "time": rfc3339(time_ns),
        "hostname": NODE, "sequence": 1,
        "output_fields": {
            "rollout": id, "bundle": rollout.name, "digest": rollout.bundle, "step": step, "reason": reason,
        },
    });
    Alert {
        id: Id { boot, cpu: 0, sequence: 1 },
        time_ns,
        priority: Priority::Error,
        rule: rule.to_owned(),
        source: "internal".to_owned(),
        json: json.to_string(),
    }
}

/// The plan that the store has now.
pub fn first(book: &mut dyn Book) -> Result<Plan, IdentityError> {
    match Kept::list(book) {
        Ok(all) => Ok(Plan::new(all)),
        Err(RolloutError::Identity(error)) => Err(error),
        // Listing gives no other.
        Err(_) => Ok(Plan::default()),
    }
}

#[cfg(test)]
mod tests;
