//! Plays cases in order and collects what the agent says about each.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::Value;

use super::Talk;
use super::alert::{Alert, Said, read};
use super::case::{Case, Fate};
use super::judge::Evidence;
use super::score::Score;
use super::stage::Stages;
use crate::agent::Agent;
use crate::compare::hear_disagreement;
use crate::{console, interrupt};

/// No case takes this long; the longest wait six seconds on purpose.
const LIMIT: Duration = Duration::from_mins(1);
/// After a case's end has been reported, an alert that waits for facts about a container may still come.
const GRACE: Duration = Duration::from_millis(300);
/// Cases that wait on purpose are played at the same time, this many at once.
const TOGETHER: usize = 16;
/// How often servers are looked at while the agent says nothing.
const TICK: Duration = Duration::from_millis(5);
/// Cases between two lines of progress.
const PROGRESS: usize = 50;

/// Everything that is needed to play.
pub(super) struct Player<'a> {
    agent: &'a Agent,
    stages: Stages,
    talk: Talk,
    /// Alerts of all cases, and the cases with what was known of each when it was judged.
    alerts: Vec<Alert>,
    played: Vec<(Case, Evidence)>,
}

/// A case being played.
struct Open {
    case: Case,
    evidence: Evidence,
    answered: bool,
    deadline: Instant,
    /// When its end was reported and it had not passed.
    waits_since: Option<Instant>,
}

impl<'a> Player<'a> {
    pub(super) fn new(agent: &'a Agent, stages: Stages, talk: Talk) -> Self {
        Self { agent, stages, talk, alerts: Vec::new(), played: Vec::new() }
    }

    /// Plays all cases: first together those that wait, then the others one by one.
    pub(super) fn play(&mut self, cases: Vec<Case>) -> Result<Score> {
        let mut score = Score::default();
        let total = cases.len();
        let (waiting, others): (Vec<Case>, Vec<Case>) = cases.into_iter().partition(|case| case.waits);
        self.play_some(waiting, TOGETHER, total, &mut score)?;
        self.play_some(others, 1, total, &mut score)?;
        // What comes after a case was judged is its own all the same.
        let end = Instant::now() + GRACE;
        while Instant::now() < end {
            self.listen(&mut BTreeMap::new())?;
        }
        for (case, evidence) in &self.played {
            score.hear(case, evidence.words(case, &self.alerts));
        }
        Ok(score)
    }

    /// Ends the stages.
    pub(super) fn end(&mut self) {
        self.stages.end();
    }

    fn play_some(&mut self, cases: Vec<Case>, at_once: usize, total: usize, score: &mut Score) -> Result<()> {
        let mut rest = cases.into_iter();
        let mut open: BTreeMap<String, Open> = BTreeMap::new();
        loop {
            while open.len() < at_once {
                let Some(case) = rest.next() else { break };
                match &case.fate {
                    Fate::Skip(reason) => score.skip(reason),
                    Fate::Fail(reason) => score.fail(&case, reason.clone()),
                    Fate::Run => {
                        self.stages.order(&case)?;
                        open.insert(case.id(), Open::new(case));
                    }
                }
            }
            if open.is_empty() {
                return Ok(());
            }
            if interrupt::pending() {
                bail!("interrupted");
            }
            self.listen(&mut open)?;
            let judged: Vec<String> =
                open.iter_mut().filter_map(|(id, open)| open.is_judged().then(|| id.clone())).collect();
            for id in judged {
                if let Some(open) = open.remove(&id) {
                    self.judge(&open, score);
                    self.played.push((open.case, Evidence { alerts: Vec::new(), ..open.evidence }));
                    let (judged, failed) = score.so_far();
                    if self.talk != Talk::Nothing && judged % PROGRESS == 0 {
                        console::say(format!("  {judged} of {total} cases, {failed} failed"));
                    }
                }
            }
        }
    }

    /// Takes in what agent and servers have said.
    fn listen(&mut self, open: &mut BTreeMap<String, Open>) -> Result<()> {
        let mut limit = TICK;
        while let Some(line) = self.agent.line(limit) {
            limit = Duration::ZERO;
            hear_disagreement(&line)?;
            match read(&line) {
                Some(Said::Mark(mark)) => {
                    if let Some(open) = open.get_mut(&mark.id) {
                        open.evidence.marks.push(mark);
                    }
                }
                // Whose it is shows when all marks are there.
                Some(Said::Alert(alert)) => {
                    self.alerts.push(alert.clone());
                    for open in open.values_mut() {
                        open.evidence.alerts.push(alert.clone());
                    }
                }
                None => {}
            }
        }
        while let Some((id, answer)) = self.stages.answer()? {
            if let Some(open) = open.get_mut(&id) {
                open.answered = true;
                let text = |value: &Value| value.as_str().map(ToOwned::to_owned);
                open.evidence.error = answer.get("error").and_then(text);
                let notes = answer.get("notes").and_then(Value::as_array);
                open.evidence.notes = notes.into_iter().flatten().filter_map(text).collect();
            }
        }
        Ok(())
    }

    fn judge(&self, open: &Open, score: &mut Score) {
        match open.evidence.complaint(&open.case) {
            None => score.pass(&open.case),
            Some(complaint) => score.fail(&open.case, complaint),
        }
        if self.talk == Talk::Alerts {
            console::say(open.case.title());
            for alert in open.evidence.relevant(&open.case) {
                console::say(format!("    {}", alert.line()));
            }
        }
    }
}

impl Open {
    fn new(case: Case) -> Self {
        Self {
            case,
            evidence: Evidence::default(),
            answered: false,
            deadline: Instant::now() + LIMIT,
            waits_since: None,
        }
    }

    /// Whether nothing more is to be waited for.
    fn is_judged(&mut self) -> bool {
        let now = Instant::now();
        if now >= self.deadline {
            return true;
        }
        if !self.answered || !self.evidence.is_complete() {
            return false;
        }
        if self.evidence.complaint(&self.case).is_none() {
            return true;
        }
        now.duration_since(*self.waits_since.get_or_insert(now)) >= GRACE
    }
}
