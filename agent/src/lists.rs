//! Lists that rules name and whose members are kept elsewhere: a file of the node, or a feed on the web.
//!
//! [`parse`] makes a set of a text, [`fence`] keeps out of it what would make it a weapon, [`copy`] keeps the last good
//! text on the disk, `sources` reads what is there now. Fetching and publishing are in `app::lists`; rules see sets
//! only (`rampart_rules::set`).

pub mod copy;
pub mod fence;
pub mod parse;
mod sources;

use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

use rampart_rules::set::{Set, Sets};

use self::fence::Fence;
pub use self::sources::{BLANK, Kept, Opened, is_blank, open, shown, text};
use crate::config::RuleList;

/// A list as it counts now.
#[derive(Clone, Debug)]
pub struct Standing {
    /// What rules look into.
    pub set: Arc<Set>,
    /// What was read, or why nothing.
    pub opened: Opened,
    /// Whether it is too old.
    pub is_stale: bool,
}

/// All lists as they count now: from their files, or from the last good copies.
pub fn standing(lists: &BTreeMap<String, RuleList>) -> BTreeMap<String, Standing> {
    if lists.is_empty() {
        return BTreeMap::new();
    }
    let (fence, now) = (Fence::of_node(Vec::new()), SystemTime::now());
    let stand = |(name, list): (&String, &RuleList)| {
        let opened = open(name, list, &fence);
        let is_stale = opened.kept.as_ref().is_some_and(|kept| is_stale(list, kept.confirmed, now));
        (name.clone(), Standing { set: counting(name, list, &opened, is_stale), opened, is_stale })
    };
    lists.iter().map(stand).collect()
}

/// The sets of all lists.
pub fn sets(standing: &BTreeMap<String, Standing>) -> Sets {
    Sets::new(standing.values().map(|standing| Arc::clone(&standing.set)))
}

/// The set that counts: an empty one when there is none, or when it is stale and that matters.
pub fn counting(name: &str, list: &RuleList, opened: &Opened, is_stale: bool) -> Arc<Set> {
    match &opened.kept {
        Some(kept) if !(is_stale && list.drops_stale) => Arc::clone(&kept.parsed.set),
        _ => Arc::new(Set::empty(name, list.kind)),
    }
}

/// Whether nobody has confirmed a list for too long.
pub fn is_stale(list: &RuleList, confirmed: SystemTime, now: SystemTime) -> bool {
    let age = now.duration_since(confirmed).unwrap_or_default();
    !list.max_age.is_zero() && age > list.max_age
}

#[cfg(test)]
mod tests;
