//! The book of quotas while the agent runs: when it is looked at, when it is written down.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use jiff::Timestamp;

use super::{node::now, store::Store};
use crate::{
    config::Limits,
    kernel::limiter::{Limiter, LimiterError},
    limits::{
        plan::Closed,
        quota::{Account, Book, Quota, Window},
    },
};

/// Time between two looks; so much longer does somebody go on whose quota is used up.
const LOOK: Duration = Duration::from_secs(5);
/// A look that takes long is taken less often: at most one part in so many of the time.
const LOOK_PART: u32 = 50;
/// Time between two writes; a crash loses what the kernel's table forgot in it.
const SAVE: Duration = Duration::from_secs(15);

/// See the module.
pub(super) struct Quotas {
    book: Book,
    next_look: Instant,
    next_save: Instant,
    is_saved: bool,
    closed: Vec<Closed>,
    /// Ends of periods by the boot clock; fixed once, so that tables do not change with every look.
    ends: BTreeMap<i64, u64>,
}

impl Quotas {
    /// The book of the agent before; what was used up stays so from the start.
    pub(super) fn open(store: &Store, limits: &Limits) -> Self {
        let mut quotas = Self {
            book: store.book(),
            next_look: Instant::now(),
            next_save: Instant::now() + SAVE,
            is_saved: true,
            closed: Vec::new(),
            ends: BTreeMap::new(),
        };
        let of_policies = of(limits);
        let mut book = quotas.book.clone();
        book.turn(&of_policies, &limits.time_zone, Timestamp::now());
        quotas.close(book.closed(&of_policies));
        quotas
    }

    pub(super) fn is_due(&self, limits: &Limits) -> bool {
        let has_quotas = limits.policies.values().any(|policy| policy.quota.is_some());
        (has_quotas || !self.closed.is_empty()) && Instant::now() >= self.next_look
    }

    /// Looks at what the kernel has counted.
    pub(super) fn look(
        &mut self,
        limiter: &Limiter,
        limits: &Limits,
        names: &BTreeMap<u16, String>,
    ) -> Result<(), LimiterError> {
        let began = Instant::now();
        let of_policies = of(limits);
        let unknown = self.book.turn(&of_policies, &limits.time_zone, Timestamp::now());
        if !of_policies.is_empty() {
            let mut entries = Vec::new();
            limiter.entries(|key, entry| {
                if names.get(&entry.policy).is_some_and(|name| of_policies.contains_key(name)) {
                    entries.push((key, entry));
                }
            })?;
            let of_names = entries
                .iter()
                .filter_map(|(key, entry)| Some((*key, *entry, names.get(&entry.policy)?.as_str())));
            self.book.look(of_names, &unknown);
            if !unknown.is_empty() {
                // From here on the kernel's counts say what was used, also to the agent after a crash.
                self.next_save = Instant::now();
            }
        }
        self.close(self.book.closed(&of_policies));
        self.is_saved = false;
        self.next_look = Instant::now() + LOOK.max(began.elapsed() * LOOK_PART);
        Ok(())
    }

    fn close(&mut self, accounts: Vec<(Account, i64)>) {
        let now = now();
        let ends = &mut self.ends;
        ends.retain(|end, _| *end > now.wall_secs as i64);
        let closed = accounts.into_iter().map(|((policy, net), end)| {
            let left = u64::try_from(end - now.wall_secs as i64).unwrap_or_default();
            let until_ns = *ends
                .entry(end)
                .or_insert_with(|| now.boot_ns.saturating_add(left.saturating_mul(1_000_000_000)));
            Closed { policy, net, until_ns }
        });
        self.closed = closed.collect();
    }

    /// Who has used up what.
    pub(super) fn closed(&self) -> &[Closed] {
        &self.closed
    }

    /// The period of a policy, and who used most in it.
    pub(super) fn of_policy(&self, policy: &str, most: usize) -> Option<(Window, Vec<(String, u64)>)> {
        Some((self.book.window(policy)?, self.book.largest(policy, most)))
    }

    pub(super) fn save_when_due(&mut self, store: &Store) {
        if Instant::now() >= self.next_save {
            self.save(store);
        }
    }

    /// Writes the book down, if it has changed.
    pub(super) fn save(&mut self, store: &Store) {
        if self.is_saved || self.book == Book::default() {
            return;
        }
        self.next_save = Instant::now() + SAVE;
        match store.keep_book(&self.book) {
            Ok(()) => self.is_saved = true,
            Err(error) => tracing::error!("What was used of quotas is not written down: {error}"),
        }
    }
}

fn of(limits: &Limits) -> BTreeMap<String, Quota> {
    let policies = limits.policies.iter();
    policies.filter_map(|(name, policy)| Some((name.clone(), policy.quota.clone()?))).collect()
}
