//! What people may do with bundles and rollouts. Each is one transaction with a note of who did it.

use std::cmp::Reverse;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use getrandom::fill;

use super::{Gates, Kept, Pushed, Rollout, RolloutError, State, Step, UNDER_WAY, plan::Plan};
use crate::{
    audit::Note,
    bundle::Bundle,
    identity::{IdentityError, hex, items},
    store::identity::{Book, Change, Expect, Kind},
};

/// Steps of a rollout.
const STEPS_MAX: usize = 20;
/// Longest time that a step is watched: a week.
const BAKE_MAX_SECS: u64 = 7 * 86_400;
/// How long a step is watched if nothing else is said.
pub const BAKE_SECS: u64 = 600;

/// How a rollout goes.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Who gets it, one after the other.
    pub steps: Vec<Step>,
    /// How long each step is watched.
    pub bake_secs: u64,
    /// What must not get worse.
    pub gates: Gates,
}

impl Default for Settings {
    fn default() -> Self {
        let steps = vec![Step::Share(1000), Step::Share(5000), Step::ALL];
        Self { steps, bake_secs: BAKE_SECS, gates: Gates::default() }
    }
}

/// Who does something, and when.
#[derive(Clone, Copy, Debug)]
pub struct Actor<'a> {
    /// For the audit log.
    pub name: &'a str,
    /// Nanoseconds since the epoch.
    pub now_ns: u64,
}

/// Keeps a bundle; agents get it with a rollout.
pub fn push(
    book: &mut dyn Book,
    actor: Actor<'_>,
    bundle: &Bundle,
    bytes: &[u8],
) -> Result<(), RolloutError> {
    let Bundle { name, created_secs, digest, key, files } = bundle.clone();
    let files: Vec<String> = files.into_iter().map(|(path, _)| path).collect();
    let detail = format!("{name}, {} bytes, {} files, signed by {key}", bytes.len(), files.len());
    let (pushed_ns, by) = (actor.now_ns, actor.name.to_owned());
    let pushed = Pushed { name, created_secs, pushed_ns, by, key, bytes: bytes.len(), files };
    let changes = [
        Change::put(Kind::Bundle, &digest, Expect::Anything, items::write(&pushed)?),
        Change::put(Kind::BundleContent, &digest, Expect::Anything, BASE64_STANDARD.encode(bytes)),
    ];
    book.change(&changes, &Note::new(actor.name, "bundle.push", &digest, detail), actor.now_ns)?;
    Ok(())
}

/// Bundles that are kept, the newest first, by digest.
pub fn bundles(book: &mut dyn Book) -> Result<Vec<(String, Pushed)>, RolloutError> {
    let mut all = items::list::<Pushed>(book, Kind::Bundle)?;
    all.sort_by_key(|(_, pushed)| Reverse(pushed.pushed_ns));
    Ok(all)
}

/// Begins a rollout of a bundle that was pushed.
pub fn begin(
    book: &mut dyn Book,
    actor: Actor<'_>,
    digest: &str,
    settings: Settings,
) -> Result<Kept, RolloutError> {
    let Settings { steps, bake_secs, gates } = settings;
    if steps.is_empty() || steps.len() > STEPS_MAX {
        return Err(RolloutError::Settings("a rollout has 1 to 20 steps"));
    }
    if bake_secs > BAKE_MAX_SECS {
        return Err(RolloutError::Settings("a step is watched for 7 days at most"));
    }
    let Some((pushed, _)) = items::get::<Pushed>(book, Kind::Bundle, digest)? else {
        return Err(RolloutError::NoBundle(digest.to_owned()));
    };
    let mut random = [0; 3];
    fill(&mut random).map_err(|_| IdentityError::Random)?;
    let id = format!("{}-{}", actor.now_ns / 1_000_000_000, hex(&random));
    let rollout = Rollout {
        bundle: digest.to_owned(),
        name: pushed.name.clone(),
        by: actor.name.to_owned(),
        began_ns: actor.now_ns,
        steps,
        bake_secs,
        gates,
        state: State::Running,
        step: 0,
        step_ns: actor.now_ns,
        ended_ns: None,
        reason: None,
        events: Vec::new(),
        is_told: false,
    };
    let steps: Vec<String> = rollout.steps.iter().map(Step::to_string).collect();
    let detail = format!("{}, to {}, each watched for {bake_secs} s", pushed.name, steps.join(", then "));
    // Pushed once more, so that it is kept as long as the rollout needs it.
    let renewed = Pushed { pushed_ns: actor.now_ns, ..pushed };
    let changes = [
        Change::put(Kind::Lease, UNDER_WAY, Expect::Absent, id.clone()),
        Change::put(Kind::Rollout, &id, Expect::Absent, items::write(&rollout)?),
        Change::put(Kind::Bundle, digest, Expect::Anything, items::write(&renewed)?),
    ];
    let note = Note::new(actor.name, "rollout.begin", &id, detail);
    if book.change(&changes, &note, actor.now_ns)? {
        return Ok(Kept { id, revision: 1, rollout });
    }
    let other = book.get(Kind::Lease, UNDER_WAY)?.map(|item| item.value);
    Err(other.map_or(RolloutError::Race, RolloutError::UnderWay))
}

/// Stops a rollout where it is: nobody gets or loses the bundle.
pub fn pause(book: &mut dyn Book, actor: Actor<'_>, id: Option<&str>) -> Result<Kept, RolloutError> {
    let mut kept = under_way(book, id)?;
    if kept.rollout.state != State::Running {
        return Err(RolloutError::State(kept.rollout.state));
    }
    kept.rollout.state = State::Paused;
    kept.write(book, actor.name, "rollout.pause", "paused", actor.now_ns)
}

/// Lets it go on; the step is watched anew.
pub fn resume(book: &mut dyn Book, actor: Actor<'_>, id: Option<&str>) -> Result<Kept, RolloutError> {
    let mut kept = under_way(book, id)?;
    if kept.rollout.state != State::Paused {
        return Err(RolloutError::State(kept.rollout.state));
    }
    (kept.rollout.state, kept.rollout.step_ns) = (State::Running, actor.now_ns);
    kept.write(book, actor.name, "rollout.resume", "resumed", actor.now_ns)
}

/// Goes on to the next step, or to the end, without watching on. The last step is watched no more.
pub fn promote(
    book: &mut dyn Book,
    actor: Actor<'_>,
    id: Option<&str>,
    to_all: bool,
) -> Result<Kept, RolloutError> {
    let mut kept = under_way(book, id)?;
    let last = kept.rollout.steps.len().saturating_sub(1);
    if to_all || kept.rollout.step >= last {
        kept.rollout.step = last;
        return done(kept, book, actor, "rollout.promote");
    }
    next(kept, book, actor, "rollout.promote")
}

/// Gives nodes what they had before: ends the rollout under way, or takes back the newest one that is done.
pub fn rollback(
    book: &mut dyn Book,
    actor: Actor<'_>,
    id: Option<&str>,
    reason: &str,
) -> Result<Kept, RolloutError> {
    let all = Kept::list(book)?;
    let found = if let Some(id) = id {
        all.into_iter().find(|kept| kept.id == id).ok_or_else(|| RolloutError::NoRollout(id.to_owned()))?
    } else {
        let under_way = all.iter().position(|kept| kept.rollout.state.is_under_way());
        let newest = under_way.or_else(|| all.iter().position(|kept| kept.rollout.state == State::Done));
        newest.and_then(|at| all.into_iter().nth(at)).ok_or(RolloutError::NoneUnderWay)?
    };
    if found.rollout.state == State::RolledBack {
        return Err(RolloutError::State(State::RolledBack));
    }
    back(found, book, actor, reason)
}

/// The next step begins.
pub(super) fn next(
    mut kept: Kept,
    book: &mut dyn Book,
    actor: Actor<'_>,
    action: &str,
) -> Result<Kept, RolloutError> {
    let rollout = &mut kept.rollout;
    rollout.step += 1;
    (rollout.step_ns, rollout.state) = (actor.now_ns, State::Running);
    let text = rollout
        .steps
        .get(rollout.step)
        .map_or_else(String::new, |step| format!("step {}: {step}", rollout.step + 1));
    kept.write(book, actor.name, action, &text, actor.now_ns)
}

/// All steps are done.
pub(super) fn done(
    mut kept: Kept,
    book: &mut dyn Book,
    actor: Actor<'_>,
    action: &str,
) -> Result<Kept, RolloutError> {
    (kept.rollout.state, kept.rollout.ended_ns) = (State::Done, Some(actor.now_ns));
    kept.write(book, actor.name, action, "done", actor.now_ns)
}

/// Nodes get what they had before.
pub(super) fn back(
    mut kept: Kept,
    book: &mut dyn Book,
    actor: Actor<'_>,
    reason: &str,
) -> Result<Kept, RolloutError> {
    (kept.rollout.state, kept.rollout.ended_ns) = (State::RolledBack, Some(actor.now_ns));
    kept.rollout.reason = Some(reason.to_owned());
    kept.write(book, actor.name, "rollout.rollback", &format!("rolled back: {reason}"), actor.now_ns)
}

/// Forgets rollouts that nothing depends on, and bundles of none; says how many of both.
pub(super) fn prune(book: &mut dyn Book, plan: &Plan, now_ns: u64) -> Result<usize, RolloutError> {
    let outdated = plan.outdated(now_ns);
    let mut changes: Vec<Change> =
        outdated.iter().map(|kept| Change::remove(Kind::Rollout, &kept.id)).collect();
    let is_kept = |digest: &str| {
        let needs =
            |kept: &&Kept| kept.rollout.bundle == digest && !outdated.iter().any(|one| one.id == kept.id);
        plan.rollouts().iter().find(needs).is_some()
    };
    for (digest, pushed) in bundles(book)? {
        let is_old = now_ns.saturating_sub(pushed.pushed_ns) > super::KEPT_NS;
        if is_old && !is_kept(&digest) {
            changes.push(Change::remove(Kind::Bundle, &digest));
            changes.push(Change::remove(Kind::BundleContent, &digest));
        }
    }
    if changes.is_empty() {
        return Ok(0);
    }
    let names: Vec<&str> = changes.iter().map(|change| change.name.as_str()).collect();
    let note = Note::new(super::ITSELF, "rollout.prune", "after 72 h", names.join(", "));
    book.change(&changes, &note, now_ns)?;
    Ok(changes.len())
}

fn under_way(book: &mut dyn Book, id: Option<&str>) -> Result<Kept, RolloutError> {
    let mut all = Kept::list(book)?.into_iter();
    let Some(id) = id else {
        return all.find(|kept| kept.rollout.state.is_under_way()).ok_or(RolloutError::NoneUnderWay);
    };
    let found = all.find(|kept| kept.id == id).ok_or_else(|| RolloutError::NoRollout(id.to_owned()))?;
    if found.rollout.state.is_under_way() { Ok(found) } else { Err(RolloutError::State(found.rollout.state)) }
}
