//! The throttling controller while the agent runs: a reading a second.

use std::{collections::BTreeMap, time::Instant};

use rampart_common::limit::abi::CLASSES;
use rampart_rules::rule::Priority;
use serde_json::json;

use super::node::reading;
use crate::{
    alert::build::Internal,
    limits::{
        load::{Load, Reading},
        throttle::{Change, Controller, Mode, Settings},
    },
    telemetry::limits::Throttle,
};

/// See the module.
pub(super) struct Throttling {
    controller: Controller,
    before: Option<(Reading, Instant)>,
    load: Load,
}

impl Throttling {
    pub(super) const fn new(settings: Settings) -> Self {
        Self {
            controller: Controller::new(settings),
            before: None,
            load: Load {
                pressure_permille: None,
                softirq_permille: None,
                queue_permille: None,
                drops_per_sec: None,
            },
        }
    }

    pub(super) fn set(&mut self, settings: Settings) {
        if self.controller.settings().mode == Mode::Off {
            self.before = None;
        }
        self.controller.set(settings);
    }

    /// Looks at the node; says what has changed.
    pub(super) fn look(&mut self) -> Option<Internal> {
        if self.controller.settings().mode == Mode::Off {
            return None;
        }
        let now = (reading(), Instant::now());
        let before = self.before.replace(now)?;
        let elapsed = now.1.saturating_duration_since(before.1);
        self.load = now.0.since(&before.0, elapsed.as_micros() as u64);
        let change = self.controller.step(&self.load)?;
        let notice = self.notice(change);
        tracing::warn!("Rate limits: {}", notice.message);
        Some(notice)
    }

    pub(super) fn stretch(&self) -> [u32; CLASSES] {
        self.controller.stretch()
    }

    /// For people; `None` when the node is not looked at.
    pub(super) fn state(&self) -> Option<Throttle> {
        let mode = self.controller.settings().mode;
        (mode != Mode::Off).then(|| Throttle {
            is_enforcing: mode == Mode::Enforce,
            stress: self.controller.stress(),
            scales: self.controller.scales().to_vec(),
            load: self.load,
        })
    }

    fn notice(&self, change: Change) -> Internal {
        let observed = self.controller.settings().mode != Mode::Enforce;
        let stress = self.controller.stress() / 10;
        let (what, priority, class, message) = match change {
            Change::Began(class) => (
                "rates throttled",
                Priority::Warning,
                class,
                format!(
                    "rates of class {} are scaled down: the node is at {stress} % of a threshold",
                    class.name()
                ),
            ),
            Change::Ended(class) => (
                "rates restored",
                Priority::Notice,
                class,
                format!("rates of class {} are as written again", class.name()),
            ),
        };
        let message = if observed { format!("{message} (only observed)") } else { message };
        let fields = BTreeMap::from([
            ("class".to_owned(), class.name().into()),
            ("observed".to_owned(), observed.into()),
            ("stress_percent".to_owned(), stress.into()),
            ("cpu_pressure_permille".to_owned(), json!(self.load.pressure_permille)),
            ("softirq_permille".to_owned(), json!(self.load.softirq_permille)),
            ("run_queue_permille".to_owned(), json!(self.load.queue_permille)),
            ("backlog_drops_per_sec".to_owned(), json!(self.load.drops_per_sec)),
        ]);
        Internal { what, priority, message, fields }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_node_is_read_and_shown() {
        let settings =
            Settings { mode: Mode::Observe, run_queue: 1, floor_percent: 50, ..Settings::default() };
        let mut throttling = Throttling::new(settings);
        assert!(throttling.look().is_none() && throttling.look().is_none());
        let state = throttling.state().unwrap();
        assert!(!state.is_enforcing && state.load.queue_permille.is_some(), "{state:?}");
        assert!(Throttling::new(Settings::default()).state().is_none());
    }
}
