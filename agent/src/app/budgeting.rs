//! CPU budgets at run time: leaves rules out, says so, and has the kernel follow.
//!
//! A rule that goes is left out by the detector at once, by the kernel as soon as there is a plan without it. A rule that
//! comes back is tried only when the kernel sends its events again: until then the kernel would be found to disagree.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use rampart_common::event::Family;
use rampart_rules::rule::{Priority, RuleSet};
use serde_json::{Value as Json, json};
use tokio::sync::watch;

use crate::{
    alert::{Alert, build::Internal},
    budget::{Budgets, Change, Standing, Step, WHOLE},
    config::{self, Config},
    engine::{Detector, shed::Shed},
    pushdown::Plan,
};

/// Time after which a plan that did not come is asked for again.
const ASK_AGAIN: Duration = Duration::from_secs(10);

/// See the module.
pub(super) struct Budgeting {
    settings: config::Budgets,
    /// Whether the kernel rejects events.
    pushdown: bool,
    budgets: Budgets,
    /// What is to be left out.
    target: Arc<Shed>,
    /// When a plan for it was asked for; `None` when it is in force.
    asked: Option<Instant>,
    replan: watch::Sender<Arc<Shed>>,
}

impl Budgeting {
    /// The budgets of the first rules, and where the plans are asked for.
    pub(super) fn new(config: &Config, rules: &RuleSet) -> (Self, watch::Receiver<Arc<Shed>>) {
        let (replan, asked) = watch::channel(Arc::default());
        let settings = config.budgets.clone();
        let budgeting = Self {
            budgets: Budgets::new(&settings, rules),
            settings,
            pushdown: config.pushdown.enabled,
            target: Arc::default(),
            asked: None,
            replan,
        };
        (budgeting, asked)
    }

    /// Looks whether the budgets are kept; `now_ns` is the boot clock.
    pub(super) fn look(&mut self, detector: &mut Detector, now_ns: u64, sink: &mut dyn FnMut(Alert)) {
        if !Budgets::any(&self.settings) {
            return;
        }
        let changes = self.budgets.look(now_ns, |family| detector.costs(family));
        for change in &changes {
            let notice = self.notice(change, detector.policy());
            log(&notice);
            sink(detector.internal(notice, now_ns));
        }
        if !changes.is_empty() {
            self.target = Arc::new(self.budgets.shed());
            self.change(detector);
        } else if self.asked.is_some_and(|asked| asked.elapsed() > ASK_AGAIN) {
            self.ask();
        }
    }

    fn change(&mut self, detector: &mut Detector) {
        if !self.pushdown {
            detector.set_shed(Arc::clone(&self.target));
        } else if **detector.shed() != *self.target || self.asked.is_some() {
            detector.set_shed(Arc::new(detector.shed().union(&self.target)));
            self.ask();
        }
    }

    fn ask(&mut self) {
        self.asked = Some(Instant::now());
        // The supervisor is gone only when the agent ends.
        let _ = self.replan.send(Arc::clone(&self.target));
    }

    /// Whether a plan is the one that was asked for.
    pub(super) fn awaits(&self, plan: &Plan, detector: &Detector) -> bool {
        self.asked.is_some() && *plan.shed() == self.target && Arc::ptr_eq(plan.policy(), detector.policy())
    }

    /// The plan that was asked for is in force.
    pub(super) fn in_force(&mut self, detector: &mut Detector) {
        self.asked = None;
        detector.set_shed(Arc::clone(&self.target));
    }

    /// The rules are others: nothing is left out of them yet.
    pub(super) fn rules_changed(&mut self, detector: &Detector) {
        self.budgets = Budgets::new(&self.settings, detector.policy());
        self.target = Arc::default();
        self.asked = None;
    }

    /// How the families stand that have a budget.
    pub(super) fn standing(&self) -> Vec<Standing> {
        self.budgets.standing()
    }

    fn notice(&self, change: &Change, rules: &RuleSet) -> Internal {
        let told = |family: Family, used: u64, budget: u64| {
            BTreeMap::from([
                ("family".to_owned(), Json::from(family.name())),
                ("used_percent".to_owned(), percent(used).into()),
                ("budget_percent".to_owned(), percent(budget).into()),
            ])
        };
        let of_rule = |step: &Step| {
            let rule = rules.rules().get(step.rule);
            let name = rule.map_or("?", |rule| rule.name.as_str());
            let mut fields = told(step.family, step.used, step.budget);
            fields.insert("rule".to_owned(), name.into());
            fields.insert("rule_percent".to_owned(), percent(step.cost).into());
            (name, fields)
        };
        let wait_s = |step: &Step| self.settings.window.as_secs() * u64::from(step.wait);
        match change {
            Change::Shed(step) => {
                let (name, mut fields) = of_rule(step);
                fields.insert("wait_s".to_owned(), json!(wait_s(step)));
                let message = format!(
                    "`{name}` is not tried on events of family {} for {} s at least: the family took {} % of a core of {} %, the rule {} %",
                    step.family.name(),
                    wait_s(step),
                    percent(step.used),
                    percent(step.budget),
                    percent(step.cost),
                );
                Internal { what: "rule shed", priority: Priority::Warning, message, fields }
            }
            Change::Returned(step) => {
                let (name, fields) = of_rule(step);
                let message = format!(
                    "`{name}` is tried on events of family {} again: the family took {} % of a core of {} %",
                    step.family.name(),
                    percent(step.used),
                    percent(step.budget),
                );
                Internal { what: "rule returned", priority: Priority::Notice, message, fields }
            }
            Change::Stuck { family, used, budget } => {
                let message = format!(
                    "events of family {} take {} % of a core of {} %, and no rule less severe than {} is left to leave out",
                    family.name(),
                    percent(*used),
                    percent(*budget),
                    self.settings.shed_below,
                );
                let fields = told(*family, *used, *budget);
                Internal { what: "budget exceeded", priority: Priority::Warning, message, fields }
            }
        }
    }
}

fn log(notice: &Internal) {
    if notice.priority == Priority::Warning {
        tracing::warn!("CPU budget: {}", notice.message);
    } else {
        tracing::info!("CPU budget: {}", notice.message);
    }
}

/// Parts of a core in percent, to three digits.
#[expect(clippy::cast_precision_loss, reason = "a few millionths more or less are no matter")]
fn percent(parts: u64) -> f64 {
    (parts as f64 * 100_000.0 / WHOLE as f64).round() / 1000.0
}
