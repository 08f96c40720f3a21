//! The detector's alerts about the agent itself.

use std::collections::BTreeMap;

use rampart_rules::rule::Priority;
use serde_json::Value as Json;

use super::Detector;
use crate::alert::{Alert, build};

impl Detector {
    /// An alert of the agent about itself; `now_ns` is the boot clock.
    pub fn internal(&mut self, notice: build::Internal, now_ns: u64) -> Alert {
        let wall_ns = self.clock.wall_ns(now_ns);
        build::internal(notice, wall_ns, &self.clock, &self.style, &mut self.ids)
    }

    /// A rule matched an event that the kernel would have rejected.
    pub(super) fn disagreement(&mut self, now_ns: u64) -> Alert {
        let rules = self.policy.rules();
        let names: Vec<&str> = self
            .matched
            .iter()
            .filter_map(|id| rules.iter().find(|rule| rule.id == *id))
            .map(|rule| rule.name.as_str())
            .collect();
        let message = format!("the kernel would have rejected an event that matches {}", names.join(", "));
        let fields = BTreeMap::from([("rules".to_owned(), Json::from(names))]);
        let notice =
            build::Internal { what: "pushdown disagreement", priority: Priority::Critical, message, fields };
        self.internal(notice, now_ns)
    }

    /// Events were lost.
    pub(super) fn loss(
        &mut self,
        family: &str,
        cause: &str,
        count: u64,
        now_ns: u64,
        elapsed_ns: u64,
    ) -> Alert {
        // What is lost without a known cause is a fault of the agent, not of the load.
        let priority = if cause == "unexplained" { Priority::Critical } else { Priority::Warning };
        let span_ms = elapsed_ns / 1_000_000;
        let message = format!("{count} events of family {family} lost in {span_ms} ms, cause {cause}");
        let fields = BTreeMap::from([
            ("family".to_owned(), Json::from(family)),
            ("cause".to_owned(), Json::from(cause)),
            ("count".to_owned(), Json::from(count)),
            ("span_ms".to_owned(), Json::from(span_ms)),
        ]);
        let notice = build::Internal { what: "event loss", priority, message, fields };
        self.internal(notice, now_ns)
    }
}
