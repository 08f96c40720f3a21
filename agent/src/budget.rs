//! CPU budgets: which rules are left out while an event family costs more than it may, and when they come back.
//!
//! Pure: [`Budgets::look`] is told the time and what the rules cost so far, and says what changes. Looked at in windows.
//! In a window in which a family took more than its budget, its costliest rules of little severity are left out, one
//! after the other, until the rest would have kept it. They come back one per window, the most severe first, after
//! several windows in a row in which the family took clearly less than its budget. A rule that has to go again soon
//! after it came back waits twice as long the next time.
//!
//! Never leaves out a rule of the priority that is protected, or a worse one. Owns no rule and no clock.

mod family;

use rampart_common::event::Family;
use rampart_rules::rule::{Priority, RuleSet};

use self::family::Account;
use crate::{
    config,
    engine::{profile::Cost, shed::Shed},
};

/// Parts of one core in which budgets and costs are given.
pub const WHOLE: u64 = 1_000_000;

/// Something that changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A rule is left out from now on.
    Shed(Step),
    /// A rule is tried again.
    Returned(Step),
    /// The budget is exceeded, and no rule may be left out any more. Said once until the budget is kept again.
    Stuck {
        /// The family.
        family: Family,
        /// What it took, in parts of [`WHOLE`].
        used: u64,
        /// What it may take.
        budget: u64,
    },
}

/// A rule that goes or comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Position in the rule set.
    pub rule: usize,
    /// On the events of this family.
    pub family: Family,
    /// What it took in the window before it went, in parts of [`WHOLE`].
    pub cost: u64,
    /// What the family took in the last window.
    pub used: u64,
    /// What the family may take.
    pub budget: u64,
    /// Windows after which it may come back, or had to wait.
    pub wait: u32,
}

/// How a family stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The family.
    pub family: Family,
    /// What it may take, in parts of [`WHOLE`].
    pub budget: u64,
    /// What it took in the last window; `None` before there was one.
    pub used: Option<u64>,
    /// Rules left out now.
    pub shed: usize,
    /// Times a rule was left out, since the rules were loaded.
    pub sheds: u64,
    /// Times a rule came back.
    pub returns: u64,
    /// Whether the budget is exceeded and no rule may be left out any more.
    pub stuck: bool,
}

/// The budgets of all families, for one rule set.
#[derive(Debug)]
pub struct Budgets {
    settings: config::Budgets,
    priorities: Vec<Priority>,
    /// Start of the window, once the first has begun.
    since_ns: Option<u64>,
    accounts: Vec<Account>,
}

impl Budgets {
    /// The budgets of a rule set of which nothing is left out.
    pub fn new(settings: &config::Budgets, policy: &RuleSet) -> Self {
        Self::of_priorities(settings, policy.rules().iter().map(|rule| rule.priority).collect())
    }

    fn of_priorities(settings: &config::Budgets, priorities: Vec<Priority>) -> Self {
        let budget = |family: Family| settings.families.get(family as usize).copied().flatten();
        let accounts = Family::ALL.into_iter().filter_map(|family| {
            let budget = u64::from(budget(family)?);
            Some(Account::new(family, budget, settings.return_windows))
        });
        Self { settings: settings.clone(), priorities, since_ns: None, accounts: accounts.collect() }
    }

    /// Whether any family has a budget.
    pub fn any(settings: &config::Budgets) -> bool {
        settings.families.iter().any(Option::is_some)
    }

    /// Looks at what the rules cost since the start, by position; `now_ns` is any clock that does not jump. Nothing
    /// changes but at the end of a window.
    pub fn look<'c>(&mut self, now_ns: u64, costs: impl Fn(Family) -> &'c [Cost]) -> Vec<Change> {
        let Some(since_ns) = self.since_ns else {
            self.since_ns = Some(now_ns);
            for account in &mut self.accounts {
                account.begin(costs(account.family()));
            }
            return Vec::new();
        };
        let elapsed_ns = now_ns.saturating_sub(since_ns);
        if u128::from(elapsed_ns) < self.settings.window.as_nanos() {
            return Vec::new();
        }
        self.since_ns = Some(now_ns);
        let mut changes = Vec::new();
        for account in &mut self.accounts {
            let costs = costs(account.family());
            account.close(costs, elapsed_ns, &self.settings, &self.priorities, &mut changes);
        }
        changes
    }

    /// The rules that are left out.
    pub fn shed(&self) -> Shed {
        let mut shed = Shed::default();
        for account in &self.accounts {
            for rule in account.shed() {
                shed.add(account.family(), rule);
            }
        }
        shed
    }

    /// How the families stand that have a budget.
    pub fn standing(&self) -> Vec<Standing> {
        self.accounts.iter().map(Account::standing).collect()
    }
}

#[cfg(test)]
mod tests;
