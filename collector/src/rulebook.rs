//! The texts of the rules that agents have in force, so that an alert can be shown with its rule as it was then.
//!
//! An agent says the digest of its rules with each heartbeat; for one that is not known here one agent is asked. What it
//! answers counts only when it has that digest, so no agent can tell texts for the rules of others. Owns what is asked for
//! and kept; `text` finds a rule in the texts. Called by `agents` and `http`; never looks at what a rule means.

mod text;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use rampart_proto::v1::{RuleTexts, RulesWanted};
use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;

use crate::{
    identity::{IdentityError, Records, hex, items},
    ingest::now_ns,
    store::identity::{Change, Expect, Kind},
};

/// Bytes of all texts together, as the wire format has it.
const TEXTS_MAX: usize = 2 << 20;
/// Time after which another agent is asked.
const AGAIN: Duration = Duration::from_mins(1);
/// Time after which the store is looked at again for what was there.
const LOOK: Duration = Duration::from_hours(24);
/// Rules that this collector keeps in the time of `LOOK`: an agent that means ill has new ones each time it is asked.
const KEPT_MAX: usize = 50;
/// Digests that are remembered.
const SEEN_MAX: usize = 1000;
/// Letters of a digest.
const DIGEST: usize = 64;

/// One file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Text {
    name: String,
    text: String,
}

/// The item of a digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    /// Since when, nanoseconds since the epoch.
    since_ns: u64,
    /// In the order in which they were read.
    texts: Vec<Text>,
}

/// What is known of a digest.
#[derive(Clone, Copy, Debug)]
enum Seen {
    /// The store has it.
    Kept(Instant),
    /// An agent was asked.
    Asked(Instant),
}

#[derive(Debug, Default)]
struct State {
    seen: BTreeMap<String, Seen>,
    /// When texts were kept.
    kept: VecDeque<Instant>,
}

/// See the module.
#[derive(Debug)]
pub struct Rulebook {
    records: Records,
    /// How long texts are kept after they were told.
    keep: Duration,
    state: Mutex<State>,
}

impl Rulebook {
    /// Of this store, whose alerts are kept so long at most.
    pub fn new(records: Records, alerts: Duration) -> Self {
        // Told again after half of the time, so that they outlive every alert that names them.
        Self { records, keep: alerts * 2, state: Mutex::default() }
    }

    /// What to ask an agent that has these rules, if anything.
    pub async fn wanted(&self, digest: &str) -> Option<RulesWanted> {
        if digest.len() != DIGEST
            || !digest.bytes().all(|byte| byte.is_ascii_hexdigit())
            || !self.begin(digest)
        {
            return None;
        }
        let (name, fresh_ns) = (digest.to_owned(), now_ns().saturating_sub(nanoseconds(self.keep / 2)));
        let found = self.records.run(move |book| {
            let kept = items::get::<Kept>(book, Kind::Rules, &name)?;
            Ok(kept.is_some_and(|(kept, _)| kept.since_ns > fresh_ns))
        });
        match found.await {
            Ok(true) => {
                self.state().seen.insert(digest.to_owned(), Seen::Kept(Instant::now()));
                None
            }
            Ok(false) => Some(RulesWanted { policy_digest: digest.to_owned() }),
            Err(error) => {
                tracing::warn!("It cannot be seen which rules are known: {error}");
                None
            }
        }
    }

    /// Whether it is time to look for a digest, which counts as done with that.
    fn begin(&self, digest: &str) -> bool {
        let mut state = self.state();
        let is_time = state.seen.get(digest).is_none_or(|seen| match seen {
            Seen::Kept(at) => at.elapsed() >= LOOK,
            Seen::Asked(at) => at.elapsed() >= AGAIN,
        });
        while state.kept.pop_front_if(|at| at.elapsed() >= LOOK).is_some() {}
        if !is_time || state.kept.len() >= KEPT_MAX {
            return false;
        }
        if state.seen.len() >= SEEN_MAX {
            state.seen.clear();
        }
        state.seen.insert(digest.to_owned(), Seen::Asked(Instant::now()));
        true
    }

    /// Keeps what an agent has answered, if it was asked and the texts have the digest.
    pub async fn take(&self, node: &str, told: RuleTexts) {
        let RuleTexts { policy_digest: digest, texts } = told;
        if !matches!(self.state().seen.get(&digest), Some(Seen::Asked(_))) {
            return;
        }
        let bytes: usize = texts.iter().map(|text| text.text.len() + text.name.len()).sum();
        if texts.is_empty() || bytes > TEXTS_MAX {
            tracing::info!(node, digest, "The texts of these rules are too large to be kept here");
            return;
        }
        if digest_of_texts(texts.iter().map(|text| &*text.text)) != digest {
            tracing::warn!(node, digest, "An agent has told texts that are not those of the rules asked for");
            return;
        }
        let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let texts = texts.into_iter().map(|one| Text { name: one.name, text: lossy(&one.text) });
        let kept = Kept { since_ns: now_ns(), texts: texts.collect() };
        let (name, ends_ns) = (digest.clone(), now_ns().saturating_add(nanoseconds(self.keep)));
        let written = self.records.run(move |book| {
            let change = Change::put(Kind::Rules, name, Expect::Anything, items::write(&kept)?);
            Ok(book.keep(&[change.until(ends_ns)], now_ns())?)
        });
        match written.await {
            Ok(_) => {
                let mut state = self.state();
                state.seen.insert(digest, Seen::Kept(Instant::now()));
                state.kept.push_back(Instant::now());
            }
            Err(error) => tracing::warn!(node, digest, "The texts of rules cannot be kept: {error}"),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change is one insertion.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A rule of a digest with the macros and lists that it names, YAML; `None` where its text is not known.
pub async fn rule(records: &Records, digest: String, name: String) -> Result<Option<String>, IdentityError> {
    let found = records.run(move |book| items::get::<Kept>(book, Kind::Rules, &digest)).await?;
    let Some((kept, _)) = found else { return Ok(None) };
    // Texts may be long; nobody else waits for it.
    spawn_blocking(move || text::of(&kept.texts, &name)).await.map_err(|_| IdentityError::Ending)
}

/// The digest of the rules that made an alert, as its JSON says it.
pub fn digest_of(json: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Said {
        policy_digest: String,
    }
    serde_json::from_str::<Said>(json).ok().map(|said| said.policy_digest)
}

/// As agents make it: over all texts, each after its length.
fn digest_of_texts<'a>(texts: impl Iterator<Item = &'a [u8]>) -> String {
    let mut context = Context::new(&SHA256);
    for text in texts {
        context.update(&(text.len() as u64).to_be_bytes());
        context.update(text);
    }
    hex(context.finish().as_ref())
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
