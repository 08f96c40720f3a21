//! How the lists that rules name stand, as the status holds it: the page `/lists`, and samples for the metrics.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use jiff::Timestamp;
use rampart_rules::set::{Set, SetKind, Sets};
use serde_json::{Value, json};

use super::{metrics::Page, names::Name};
use crate::{
    config::RuleList,
    lists::{self, Opened, parse::Told},
};

/// What became of a look at a list's source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// Other members.
    Renewed,
    /// The same.
    Same,
    /// A fault: the list stays as it was.
    Failed,
}

/// All lists.
#[derive(Clone, Debug, Default)]
pub struct Lists(BTreeMap<String, Entry>);

#[derive(Clone, Debug, Default)]
struct Entry {
    looks: BTreeMap<Outcome, u64>,
    standing: Option<Standing>,
}

#[derive(Clone, Debug)]
struct Standing {
    kind: SetKind,
    source: String,
    set: Arc<Set>,
    members: usize,
    confirmed: Option<SystemTime>,
    is_stale: bool,
    fault: Option<String>,
    wrong: Told,
    refused: Told,
}

impl Outcome {
    const ALL: [Self; 3] = [Self::Renewed, Self::Same, Self::Failed];

    /// The word in pages and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Renewed => "renewed",
            Self::Same => "same",
            Self::Failed => "failed",
        }
    }
}

impl Lists {
    /// Forgets lists that there are no more; others are there from now on.
    pub fn keep_only(&mut self, wanted: &BTreeMap<String, RuleList>) {
        self.0.retain(|name, _| wanted.contains_key(name));
        for name in wanted.keys() {
            self.0.entry(name.clone()).or_default().standing = None;
        }
    }

    /// Counts a look at a source.
    pub fn count(&mut self, name: &str, outcome: Outcome) {
        if let Some(entry) = self.0.get_mut(name) {
            *entry.looks.entry(outcome).or_default() += 1;
        }
    }

    /// Takes over how a list stands.
    pub fn stand(&mut self, name: &str, list: &RuleList, opened: &Opened, set: Arc<Set>, is_stale: bool) {
        let Some(entry) = self.0.get_mut(name) else { return };
        let kept = opened.kept.as_ref();
        let parsed = kept.map(|kept| &kept.parsed);
        entry.standing = Some(Standing {
            kind: list.kind,
            source: lists::shown(&list.source),
            members: parsed.map_or(0, |parsed| parsed.set.len()),
            confirmed: kept.map(|kept| kept.confirmed),
            wrong: parsed.map(|parsed| parsed.wrong.clone()).unwrap_or_default(),
            refused: parsed.map(|parsed| parsed.refused.clone()).unwrap_or_default(),
            fault: opened.fault.clone(),
            set,
            is_stale,
        });
    }

    /// The sets, once all lists have been opened.
    pub fn sets(&self) -> Option<Sets> {
        let sets: Option<Vec<Arc<Set>>> =
            self.0.values().map(|entry| Some(Arc::clone(&entry.standing.as_ref()?.set))).collect();
        sets.map(Sets::new)
    }

    /// The page.
    pub fn page(&self) -> Value {
        let now = SystemTime::now();
        let lists: Vec<Value> = self.0.iter().map(|(name, entry)| entry.page(name, now)).collect();
        json!({ "lists": lists })
    }

    /// Which lists hold a value, looked for as an address, as a digest and as a name or text.
    pub fn check(&self, value: &str) -> Value {
        let address = value.parse().ok();
        let holds = |set: &Set| match set.kind() {
            SetKind::Ip => address.is_some_and(|address| set.has_address(address)),
            _ => set.has_text(value.as_bytes()),
        };
        let standing = self.0.iter().filter_map(|(name, entry)| Some((name, entry.standing.as_ref()?)));
        let found: Vec<&String> =
            standing.filter(|(_, standing)| holds(&standing.set)).map(|(name, _)| name).collect();
        json!({ "value": value, "lists": found })
    }
}

impl Entry {
    fn page(&self, name: &str, now: SystemTime) -> Value {
        let looks: BTreeMap<&str, u64> = Outcome::ALL
            .into_iter()
            .map(|outcome| (outcome.name(), self.looks.get(&outcome).copied().unwrap_or_default()))
            .collect();
        let Some(standing) = &self.standing else {
            return json!({ "name": name, "looks": looks });
        };
        let told = |told: &Told| {
            let first: Vec<Value> =
                told.first.iter().map(|(line, why)| json!({ "line": line, "why": why })).collect();
            json!({ "count": told.count, "first": first })
        };
        let confirmed = standing.confirmed.and_then(|time| Timestamp::try_from(time).ok());
        json!({
            "name": name,
            "kind": standing.kind.name(),
            "source": standing.source,
            "entries": standing.members,
            "counts": standing.set.len(),
            "confirmed": confirmed.map(|time| time.to_string()),
            "age_secs": standing.confirmed.map(|time| age(time, now).as_secs()),
            "stale": standing.is_stale,
            "fault": standing.fault,
            "wrong": told(&standing.wrong),
            "refused": told(&standing.refused),
            "looks": looks,
        })
    }
}

fn age(time: SystemTime, now: SystemTime) -> Duration {
    now.duration_since(time).unwrap_or_default()
}

/// Adds the samples.
pub(super) fn add(page: &mut Page, lists: &Lists) {
    let now = SystemTime::now();
    for (name, entry) in &lists.0 {
        let list = ("list", name.as_str());
        for outcome in Outcome::ALL {
            let count = entry.looks.get(&outcome).copied().unwrap_or_default();
            page.add(Name::ListRefreshes, &[list, ("outcome", outcome.name())], count);
        }
        let Some(standing) = &entry.standing else { continue };
        page.add(Name::ListEntries, &[list], standing.set.len() as u64);
        page.add(Name::ListRefused, &[list], standing.refused.count as u64);
        page.add(Name::ListWrong, &[list], standing.wrong.count as u64);
        page.add(Name::ListStale, &[list], u64::from(standing.is_stale));
        if let Some(confirmed) = standing.confirmed {
            page.add(Name::ListAge, &[list], age(confirmed, now).as_secs());
        }
    }
}
