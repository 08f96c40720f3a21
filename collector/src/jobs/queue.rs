//! The steps of a job, each one change of the book.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rampart_proto::v1::{JobDone, JobFailed, JobReport, job_report};

use super::{CONTENT_MAX, Job, JobError, Kept, Outcome, Running, State, TEXT_MAX, Wish};
use crate::{
    audit::Note,
    identity::{hex, items, peer::is_name, random},
    notify::backoff::Backoff,
    store::identity::{Book, Change, Expect, Kind},
};

/// Jobs that may wait and run.
const OPEN_MAX: usize = 1000;
/// Times that a job is given out.
const ATTEMPTS: u32 = 4;
/// Waits between them.
const BACKOFF: Backoff = Backoff { first: Duration::from_secs(4), longest: Duration::from_mins(5) };
/// How long a job that is over is kept, and how long its result.
const KEEP: Duration = Duration::from_hours(30 * 24);
const KEEP_RESULT: Duration = Duration::from_hours(72);
/// What of a text stays with the job.
const SHOWN: usize = 2000;
/// Who acts where nobody else does.
const COLLECTOR: &str = "collector";

/// A node that could take a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connected {
    /// The start of its agent.
    pub boot: String,
    /// Kinds of jobs that it takes.
    pub kinds: BTreeSet<String>,
}

/// What a collector knows of nodes.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// This collector.
    pub me: String,
    /// Nodes connected here.
    pub connected: BTreeMap<String, Connected>,
    /// Nodes that were connected here and have been silent for too long.
    pub silent: BTreeSet<String>,
}

/// What is to be done about jobs now.
#[derive(Debug, Default)]
pub struct Step {
    /// Jobs given out, with their nodes.
    pub given: Vec<(String, String, Job)>,
    /// Jobs by state, for the metrics.
    pub counts: BTreeMap<&'static str, u64>,
    /// Jobs that were given up in this step.
    pub dead: u64,
    /// Jobs that are running, by their names.
    pub running: BTreeSet<String>,
}

/// All jobs, the oldest first.
pub fn list(book: &mut dyn Book) -> Result<Vec<(String, Job)>, JobError> {
    let mut jobs: Vec<(String, Job)> = items::list(book, Kind::PastJob)?;
    jobs.extend(items::list(book, Kind::Job)?);
    jobs.sort_by(|(left, _), (right, _)| left.cmp(right));
    Ok(jobs)
}

/// One job.
pub fn get(book: &mut dyn Book, id: &str) -> Result<Job, JobError> {
    found(book, id).map(|(job, _)| job)
}

/// One job with its revision, whether it is over or not.
fn found(book: &mut dyn Book, id: &str) -> Result<(Job, u64), JobError> {
    let open = items::get(book, Kind::Job, id)?;
    let job = if open.is_some() { open } else { items::get(book, Kind::PastJob, id)? };
    job.ok_or_else(|| JobError::Absent(id.to_owned()))
}

/// A job's whole text and its result, as long as they are kept.
pub fn result(book: &mut dyn Book, id: &str) -> Result<Option<(String, Vec<u8>)>, JobError> {
    let Some((Kept { text, content }, _)) = items::get(book, Kind::Result, id)? else { return Ok(None) };
    // What this module wrote.
    Ok(Some((text, STANDARD.decode(content).unwrap_or_default())))
}

/// Takes a wish; gives the name of the job.
pub fn submit(book: &mut dyn Book, wish: Wish, actor: &str, now_ns: u64) -> Result<String, JobError> {
    wish.task.check(wish.node.is_some())?;
    if let Some(node) = wish.node.as_ref().filter(|node| !is_name(node)) {
        return Err(JobError::Node(node.clone()));
    }
    let open = book.list(Kind::Job)?.len();
    if open >= OPEN_MAX {
        return Err(JobError::Full(open));
    }
    // Names sort by time.
    let id = format!("{:011x}{}", now_ns / 1_000_000, hex(&random::<3>()?));
    let at = wish.node.clone().unwrap_or_else(|| "any node".to_owned());
    let note = Note::new(actor, "job.submit", &id, format!("{} for {at}", wish.task.detail()));
    let job = Job {
        wish,
        created_ns: now_ns,
        by: actor.to_owned(),
        state: State::Waiting { not_before_ns: now_ns },
        attempts: 0,
        fault: String::new(),
        outcome: None,
    };
    let change = Change::put(Kind::Job, &id, Expect::Absent, items::write(&job)?);
    if book.change(&[change], &note, now_ns)? { Ok(id) } else { Err(JobError::Raced(id)) }
}

/// Takes a job back.
pub fn cancel(book: &mut dyn Book, id: &str, actor: &str, now_ns: u64) -> Result<(), JobError> {
    let (mut job, revision) = found(book, id)?;
    if job.state.is_over() {
        return Err(JobError::State { id: id.to_owned(), state: job.state.name() });
    }
    job.state = State::Cancelled;
    let note = Note::new(actor, "job.cancel", id, "");
    put(book, id, &job, revision, &note, now_ns)?.then_some(()).ok_or_else(|| JobError::Raced(id.to_owned()))
}

/// Tries a dead letter again.
pub fn redrive(book: &mut dyn Book, id: &str, actor: &str, now_ns: u64) -> Result<(), JobError> {
    let (mut job, revision) = found(book, id)?;
    if job.state != State::Dead {
        return Err(JobError::State { id: id.to_owned(), state: job.state.name() });
    }
    job.state = State::Waiting { not_before_ns: now_ns };
    job.attempts = 0;
    let note = Note::new(actor, "job.redrive", id, "");
    let value = items::write(&job)?;
    let changes = [
        Change::put(Kind::PastJob, id, Expect::Revision(revision), value.clone()),
        Change::remove(Kind::PastJob, id),
        Change::put(Kind::Job, id, Expect::Absent, value),
    ];
    book.change(&changes, &note, now_ns)?.then_some(()).ok_or_else(|| JobError::Raced(id.to_owned()))
}

/// Takes back what is lost and gives out what waits.
pub fn step(book: &mut dyn Book, view: &View, now_ns: u64) -> Result<Step, JobError> {
    let mut todo = Step::default();
    let mut jobs = Vec::new();
    for item in book.list(Kind::Job)? {
        jobs.push((item.name.clone(), items::read::<Job>(&item)?, item.revision));
    }
    let mut busy = BTreeSet::new();
    for (id, job, revision) in &mut jobs {
        let State::Running(running) = &job.state else { continue };
        match lost(running, view, now_ns) {
            Some(reason) => {
                let again = failed(job.clone(), reason, false, now_ns);
                let written = Note::new(COLLECTOR, "job.lost", &*id, reason);
                if put(book, id, &again, *revision, &written, now_ns)? {
                    todo.dead += u64::from(again.state == State::Dead);
                    *job = again;
                    *revision += 1;
                }
            }
            None => drop(busy.insert(running.on.clone())),
        }
    }
    // The sort is stable: of the same urgency, the oldest is first.
    jobs.sort_by_key(|(_, job, _)| job.wish.priority);
    for (id, job, revision) in &mut jobs {
        let State::Waiting { not_before_ns } = job.state else { continue };
        let may = |node: &String, there: &Connected| {
            !busy.contains(node)
                && job.wish.node.as_ref().is_none_or(|wanted| wanted == node)
                && there.kinds.contains(job.wish.task.name())
        };
        if not_before_ns > now_ns {
            continue;
        }
        let Some((node, there)) = view.connected.iter().find(|(node, there)| may(node, there)) else {
            continue;
        };
        let given = Job {
            state: State::Running(Running {
                on: node.clone(),
                boot: there.boot.clone(),
                via: view.me.clone(),
                since_ns: now_ns,
                lease_ns: now_ns + job.wish.task.lease().as_nanos() as u64,
            }),
            attempts: job.attempts + 1,
            ..job.clone()
        };
        let written = Note::new(COLLECTOR, "job.give", &*id, format!("to {node}"));
        // Another collector may have been faster.
        if put(book, id, &given, *revision, &written, now_ns)? {
            busy.insert(node.clone());
            *job = given.clone();
            todo.given.push((node.clone(), id.clone(), given));
        }
    }
    for (id, job, _) in jobs {
        *todo.counts.entry(job.state.name()).or_default() += 1;
        if matches!(job.state, State::Running(_)) {
            todo.running.insert(id);
        }
    }
    Ok(todo)
}

/// Notes what a node says of a job; the state that it comes to, `None` when the node is not the one that has it.
pub fn report(
    book: &mut dyn Book,
    node: &str,
    report: JobReport,
    now_ns: u64,
) -> Result<Option<&'static str>, JobError> {
    let JobReport { id, outcome } = report;
    let Some((job, revision)) = items::get::<Job>(book, Kind::Job, &id)? else { return Ok(None) };
    if !matches!(&job.state, State::Running(running) if running.on == node) {
        return Ok(None);
    }
    let actor = format!("node:{node}");
    let (job, kept, written) = match outcome {
        Some(job_report::Outcome::Done(done)) => {
            let (job, kept) = ended(job, node, done, now_ns);
            let written = Note::new(&actor, "job.done", &id, "");
            (job, Some(kept), written)
        }
        Some(job_report::Outcome::Failed(JobFailed { reason, is_final })) => {
            let reason = short(&reason, SHOWN);
            let job = failed(job, &reason, is_final, now_ns);
            (job, None, Note::new(&actor, "job.failed", &id, reason))
        }
        // Of a later version.
        None => return Ok(None),
    };
    let mut changes = changes(&id, &job, revision, now_ns)?;
    if let Some(kept) = kept {
        let until = now_ns + KEEP_RESULT.as_nanos() as u64;
        changes.push(Change::put(Kind::Result, &id, Expect::Anything, items::write(&kept)?).until(until));
    }
    Ok(book.change(&changes, &written, now_ns)?.then(|| job.state.name()))
}

/// Why a running job is lost; `None` while it is not.
fn lost(running: &Running, view: &View, now_ns: u64) -> Option<&'static str> {
    if running.lease_ns <= now_ns {
        return Some("its lease has ended");
    }
    if view.connected.get(&running.on).is_some_and(|there| there.boot != running.boot) {
        return Some("its agent has started anew");
    }
    (running.via == view.me && view.silent.contains(&running.on)).then_some("its node is silent")
}

fn failed(mut job: Job, reason: &str, is_final: bool, now_ns: u64) -> Job {
    reason.clone_into(&mut job.fault);
    job.state = if is_final || job.attempts >= ATTEMPTS {
        State::Dead
    } else {
        State::Waiting { not_before_ns: now_ns + BACKOFF.wait_ns(job.attempts) }
    };
    job
}

fn ended(mut job: Job, node: &str, done: JobDone, now_ns: u64) -> (Job, Kept) {
    let JobDone { text, file, name, mut content } = done;
    content.truncate(CONTENT_MAX);
    let outcome = Outcome {
        node: node.to_owned(),
        ended_ns: now_ns,
        text: short(&text, SHOWN),
        file: short(&file, 4096),
        name: short(&name, 255),
        bytes: content.len() as u64,
    };
    job.state = State::Done;
    job.fault.clear();
    job.outcome = Some(outcome);
    (job, Kept { text: short(&text, TEXT_MAX), content: STANDARD.encode(content) })
}

/// The beginning of a text, without what terminals obey.
fn short(text: &str, bytes: usize) -> String {
    let end = text.floor_char_boundary(bytes);
    let kept = text.get(..end).unwrap_or_default();
    kept.chars()
        .map(|letter| if letter.is_control() && letter != '\n' && letter != '\t' { ' ' } else { letter })
        .collect()
}

/// Makes a job's change; `false` when somebody else was faster.
fn put(
    book: &mut dyn Book,
    id: &str,
    job: &Job,
    revision: u64,
    note: &Note,
    now_ns: u64,
) -> Result<bool, JobError> {
    Ok(book.change(&changes(id, job, revision, now_ns)?, note, now_ns)?)
}

/// What an open job becomes. One that is over moves: the queue has only what is still to be done.
fn changes(id: &str, job: &Job, revision: u64, now_ns: u64) -> Result<Vec<Change>, JobError> {
    let value = items::write(job)?;
    let change = Change::put(Kind::Job, id, Expect::Revision(revision), value.clone());
    if !job.state.is_over() {
        return Ok(vec![change]);
    }
    let past = Change::put(Kind::PastJob, id, Expect::Absent, value).until(now_ns + KEEP.as_nanos() as u64);
    Ok(vec![change, Change::remove(Kind::Job, id), past])
}

#[cfg(test)]
mod tests;
