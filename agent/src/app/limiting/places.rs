//! Where the limiter is attached: interfaces that are there, and the way that works for each.

use std::collections::{BTreeMap, BTreeSet};

use rampart_common::limit::verdict::Action;

use super::{Fault, Thread};
use crate::{
    app::in_full,
    kernel::limiter::{Attached, Interface, Wish},
};

impl Thread {
    /// Interfaces that the settings name, those that are there.
    pub(super) fn interfaces(&self, faults: &mut BTreeSet<String>) -> BTreeMap<String, Interface> {
        let of_policies = self.limits.policies.values().flat_map(|policy| &policy.interfaces);
        let names: BTreeSet<&String> = self.limits.interfaces.keys().chain(of_policies).collect();
        let mut found = BTreeMap::new();
        for name in names {
            match Interface::find(name) {
                Ok(interface) => {
                    found.insert(name.clone(), interface);
                }
                Err(error) => {
                    faults.insert(format!("the interface `{name}` is not limited: {error}"));
                }
            }
        }
        found
    }

    pub(super) fn attach(
        &mut self,
        interfaces: &BTreeMap<String, Interface>,
        faults: &mut BTreeSet<String>,
    ) -> Result<(), Fault> {
        let mut wanted = BTreeSet::new();
        for (name, settings) in &self.limits.interfaces {
            let Some(interface) = interfaces.get(name) else { continue };
            for direction in &settings.directions {
                let place = (interface.index, *direction);
                wanted.insert(place);
                if self.attached.contains_key(&place) {
                    continue;
                }
                let wish =
                    if settings.hook == Wish::Auto && self.marks(name) { Wish::Tc } else { settings.hook };
                match self.limiter.attach(interface, *direction, wish) {
                    Ok(attached) => {
                        tell(&attached);
                        self.attached.insert(place, attached);
                    }
                    Err(error) => {
                        faults.insert(in_full(&error));
                    }
                }
            }
        }
        self.attached.retain(|place, _| wanted.contains(place));
        let gone = self.limiter.detach_except(&wanted)?;
        if gone > 0 {
            tracing::info!(gone, "Places are limited no more");
        }
        Ok(())
    }

    /// Whether a policy marks packets of an interface.
    fn marks(&self, interface: &str) -> bool {
        let concerns = |names: &[String]| names.is_empty() || names.iter().any(|name| name == interface);
        let mut policies = self.limits.policies.values();
        policies.any(|policy| policy.action == Action::Mark && concerns(&policy.interfaces))
    }
}

fn tell(attached: &Attached) {
    for refused in &attached.refused {
        tracing::info!(
            interface = attached.interface,
            rung = refused.rung.name(),
            "Rate limits are not attached this way: {}",
            refused.reason
        );
    }
    tracing::info!(
        interface = attached.interface,
        direction = attached.direction.name(),
        rung = attached.rung.name(),
        taken_over = attached.is_taken_over,
        "Rate limits are attached"
    );
}
