//! The newest alerts, for people who look at this node: bounded by number and by size, the oldest goes first.
//!
//! Written by the detection thread, which never waits longer than it takes to copy a few hundred pointers.

use std::{
    collections::VecDeque,
    mem::size_of,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde_json::Value as Json;

use crate::alert::Alert;

/// Most alerts that are kept.
pub const ALERTS: usize = 256;
/// Most bytes they take, about; a single alert may be larger.
const BYTES: usize = 1 << 20;

/// See the module.
#[derive(Debug, Default)]
pub struct Recent(Mutex<Ring>);

#[derive(Debug, Default)]
struct Ring {
    alerts: VecDeque<(Arc<Alert>, usize)>,
    bytes: usize,
    /// Number of the newest; the first alert has 1.
    newest: u64,
}

/// An alert that is kept.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Its number since the agent started, without holes.
    pub number: u64,
    /// The alert.
    pub alert: Arc<Alert>,
}

impl Recent {
    /// Keeps an alert, and forgets the oldest ones where there is no room.
    pub fn keep(&self, alert: Arc<Alert>) {
        let bytes = weight(&alert);
        let mut ring = self.ring();
        ring.newest += 1;
        ring.bytes += bytes;
        ring.alerts.push_back((alert, bytes));
        while ring.alerts.len() > ALERTS || (ring.bytes > BYTES && ring.alerts.len() > 1) {
            let Some((_, bytes)) = ring.alerts.pop_front() else { break };
            ring.bytes -= bytes;
        }
    }

    /// Number of the newest; 0 before the first.
    pub fn newest(&self) -> u64 {
        self.ring().newest
    }

    /// Those with a higher number that are still there, oldest first.
    pub fn after(&self, number: u64) -> Vec<Kept> {
        let ring = self.ring();
        let forgotten = ring.newest - ring.alerts.len() as u64;
        let skipped = number.saturating_sub(forgotten) as usize;
        let numbered = (forgotten + 1..).zip(&ring.alerts).skip(skipped);
        numbered.map(|(number, (alert, _))| Kept { number, alert: Arc::clone(alert) }).collect()
    }

    /// An alert is put in whole or not at all, so what a panicked writer left is at worst one byte count off.
    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an alert takes in memory, about.
fn weight(alert: &Alert) -> usize {
    let fields = alert.fields.iter().map(|(name, value)| name.len() + size_of::<Json>() * 2 + length(value));
    size_of::<Alert>() + alert.rule.len() + alert.message.len() + fields.sum::<usize>()
}

fn length(value: &Json) -> usize {
    match value {
        Json::String(text) => text.len(),
        Json::Array(values) => values.iter().map(|value| size_of::<Json>() + length(value)).sum(),
        Json::Object(values) => values.iter().map(|(name, value)| name.len() + length(value) + 64).sum(),
        Json::Null | Json::Bool(_) | Json::Number(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rampart_rules::rule::Priority;
    use uuid::Uuid;

    use super::*;

    fn alert(message: String) -> Arc<Alert> {
        Arc::new(Alert {
            rule: "r".to_owned(),
            priority: Priority::Notice,
            source: "syscall".to_owned(),
            tags: None,
            hostname: "n".into(),
            time_ns: 0,
            time_text: String::new(),
            message,
            fields: BTreeMap::new(),
            uuid: Uuid::nil(),
            sequence: 0,
            policy_digest: None,
            wait: None,
            order: None,
        })
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many_or_they_are_too_large() {
        let recent = Recent::default();
        assert!(recent.newest() == 0 && recent.after(0).is_empty());
        for number in 1..=1000_u64 {
            recent.keep(alert(number.to_string()));
        }
        let kept = recent.after(0);
        assert_eq!((kept.len(), kept[0].number, recent.newest()), (ALERTS, 1000 - ALERTS as u64 + 1, 1000));
        assert!(kept.iter().all(|kept| kept.alert.message == kept.number.to_string()));
        let newer: Vec<u64> = recent.after(998).iter().map(|kept| kept.number).collect();
        assert_eq!(newer, [999, 1000]);
        assert!(recent.after(1000).is_empty() && recent.after(u64::MAX).is_empty());
        for _ in 0..8 {
            recent.keep(alert("x".repeat(BYTES / 4)));
        }
        assert_eq!(recent.after(0).len(), 3, "three of them and what else they hold fill it");
        recent.keep(alert("x".repeat(BYTES * 2)));
        assert_eq!(recent.after(0).len(), 1, "the newest is always there");
        assert!(recent.ring().bytes < BYTES * 3);
    }
}
