//! What rules and event families cost, and which rules are left out.

use std::collections::BTreeMap;

use rampart_common::event::Family;
use rampart_rules::window::Withheld;

use super::Page;
use crate::{
    budget::WHOLE,
    engine::profile::RuleUse,
    telemetry::{names::Name, status::Status},
};

/// Rules with samples of their own, the first in definition order; the rest are summed.
const RULES_MAX: usize = 512;
/// The label of the rest.
const OTHER: &str = "other";

impl Page {
    pub(super) fn rules(&mut self, status: &Status) {
        let detection = status.detection();
        let rules = detection.usage.policy.as_ref().map_or(&[][..], |policy| policy.rules());
        let label = |position: usize| match rules.get(position) {
            Some(rule) if position < RULES_MAX => rule.name.as_str(),
            _ => OTHER,
        };
        // A rule may have the name of the rest; one label has one sample.
        let mut usage: BTreeMap<&str, RuleUse> = BTreeMap::new();
        for (position, one) in detection.usage.rules.iter().enumerate() {
            let sum = usage.entry(label(position)).or_default();
            sum.candidates += one.candidates;
            sum.ns += one.ns;
        }
        for (rule, usage) in usage {
            self.add(Name::RuleCandidates, &[("rule", rule)], usage.candidates);
            self.add_f64(Name::RuleSeconds, &[("rule", rule)], seconds(usage.ns));
        }
        let mut shed: BTreeMap<(&str, &str), u64> = BTreeMap::new();
        for (family, rule) in detection.shed.iter() {
            *shed.entry((label(rule), family.name())).or_default() += 1;
        }
        for ((rule, family), count) in shed {
            self.add(Name::RuleShed, &[("rule", rule), ("family", family)], count);
        }
        for (family, ns) in Family::ALL
            .into_iter()
            .filter_map(|family| Some((family, *detection.usage.family_ns.get(family as usize)?)))
        {
            self.add_f64(Name::FamilySeconds, &[("family", family.name())], seconds(ns));
        }
        self.add(Name::WindowKeys, &[], detection.windows.keys);
        self.add(Name::WindowBytes, &[], detection.windows.bytes);
        self.add(Name::WindowEvictions, &[], detection.windows.evicted);
        for (reason, count) in Withheld::ALL.into_iter().zip(detection.windows.withheld) {
            self.add(Name::WindowWithheld, &[("reason", reason.name())], count);
        }
        for standing in &detection.budgets {
            let family = [("family", standing.family.name())];
            self.add_f64(Name::Budget, &family, cores(standing.budget));
            if let Some(used) = standing.used {
                self.add_f64(Name::BudgetUsed, &family, cores(used));
            }
            self.add(Name::BudgetSheds, &family, standing.sheds);
            self.add(Name::BudgetReturns, &family, standing.returns);
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "the format has only floating-point numbers")]
fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

#[expect(clippy::cast_precision_loss, reason = "the format has only floating-point numbers")]
fn cores(parts: u64) -> f64 {
    parts as f64 / WHOLE as f64
}

#[cfg(test)]
mod tests {
    use std::{fmt::Write as _, sync::Arc, time::Instant};

    use rampart_rules::load::{LoadOptions, Source, load};

    use crate::{
        budget::Standing,
        engine::{profile::Usage, shed::Shed},
        telemetry::{
            metrics::page,
            status::{Detection, shared},
        },
    };

    use super::*;

    #[test]
    fn labels_are_bounded_and_each_has_one_sample() {
        let mut text = String::new();
        for rule in 0..600 {
            let name = if rule == 0 { OTHER.to_owned() } else { format!("rule {rule}") };
            writeln!(
                text,
                "- rule: {name}\n  desc: d\n  condition: evt.type=open\n  output: o\n  priority: INFO"
            )
            .unwrap();
        }
        let source = Source { name: "r".into(), text: text.into_bytes() };
        let policy = Arc::new(load(&[source], &LoadOptions::default()).rules.unwrap());
        let usage = Usage {
            policy: Some(policy),
            rules: vec![RuleUse { candidates: 2, matches: 1, samples: 1, ns: 1_500_000_000 }; 600],
            family_ns: [0, 3_000_000_000, 0, 0, 0, 0, 0, 0],
        };
        let mut shed = Shed::default();
        for rule in [5, 590, 599] {
            shed.add(Family::Open, rule);
        }
        let status = shared();
        status.set_detection(Detection {
            usage: Arc::new(usage),
            shed: Arc::new(shed),
            budgets: vec![Standing {
                family: Family::Open,
                budget: 50_000,
                used: Some(125_000),
                shed: 3,
                sheds: 4,
                returns: 1,
                stuck: false,
            }],
            ..Detection::default()
        });
        let page = page(&status, Instant::now()).unwrap();
        for line in [
            "rampart_rule_candidates_total{rule=\"rule 511\"} 2\n",
            // The 88 rules beyond the bound, and the one of that name.
            "rampart_rule_candidates_total{rule=\"other\"} 178\n",
            "rampart_rule_evaluation_seconds_total{rule=\"rule 1\"} 1.5\n",
            "rampart_rule_shed{family=\"open\",rule=\"rule 5\"} 1\n",
            "rampart_rule_shed{family=\"open\",rule=\"other\"} 2\n",
            "rampart_events_evaluation_seconds_total{family=\"open\"} 3\n",
            "rampart_budget_cores{family=\"open\"} 0.05\n",
            "rampart_budget_used_cores{family=\"open\"} 0.125\n",
            "rampart_budget_sheds_total{family=\"open\"} 4\n",
        ] {
            assert!(page.contains(line), "no {line} in\n{page}");
        }
        let samples = page.lines().filter(|line| line.starts_with("rampart_rule_candidates_total{")).count();
        assert_eq!(samples, RULES_MAX);
    }
}
