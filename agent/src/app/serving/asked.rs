//! What the thread is told and asked, command by command.

use rampart_common::service::breaker::{Mode, Word, stamp};
use serde_json::json;

use super::Thread;
use crate::{
    app::in_full,
    engine::clock::boot_now_ns,
    kernel::services::ServicesError,
    services::{
        check::Told,
        desk::{Answer, Ask, Command, Denied},
        plan::Name,
    },
};

impl Thread {
    /// Takes a command; true when the tables may be others now.
    pub(super) fn take(&mut self, command: Command) -> bool {
        match command {
            Command::Change(settings) => {
                self.written = *settings;
                self.merge();
                tracing::info!(services = self.settings.list.len(), "Services have new settings");
                true
            }
            Command::Ask(ask, answer) => {
                let said = self.answer(&ask);
                let is_done = said.is_ok();
                let _ = answer.send(said);
                is_done
            }
            Command::Checked(name, result) => self.checked(&name, result),
            Command::Told(name, result) => self.told(&name, result),
            Command::Found(found) => {
                let is_news = self.others.find(found);
                if is_news {
                    self.merge();
                    tracing::info!(services = self.settings.list.len(), "The cluster's services are others");
                }
                is_news
            }
            Command::Stop => false,
        }
    }

    fn checked(&mut self, name: &Name, result: Result<(), String>) -> bool {
        let Some(health) = self.settings.list.get(&name.0).and_then(|service| service.health.as_ref()) else {
            return false;
        };
        let known = self.known.entry(name.clone()).or_default();
        let is_news = known.health.take(result, health);
        if is_news {
            self.notices.health(name, &known.health);
            if !known.health.is_up {
                known.flaps.trip(boot_now_ns());
            }
        }
        is_news
    }

    /// Takes over what a backend says of itself. One that says nothing any more is left as it said last.
    fn told(&mut self, name: &Name, result: Result<Told, String>) -> bool {
        let is_wanted = self.settings.list.get(&name.0).is_some_and(|service| service.agent.is_some());
        let Some(known) = self.known.get_mut(name).filter(|_| is_wanted) else { return false };
        let told = match result {
            Ok(told) => told,
            Err(why) => {
                tracing::debug!(
                    service = name.0,
                    backend = name.1,
                    "A backend does not say how it is: {why}"
                );
                return false;
            }
        };
        let before = known.told.clone();
        known.told.update(told);
        let is_news = known.told != before;
        if is_news {
            tracing::info!(service = name.0, backend = name.1, says = ?known.told, "A backend says how it is");
        }
        is_news
    }

    pub(super) fn number(&self, name: &Name) -> Option<u32> {
        self.plan.backends.iter().find(|(_, own)| *own == name).map(|(number, _)| *number)
    }

    /// Does what is asked, and says how the thing stands then.
    fn answer(&mut self, ask: &Ask) -> Answer {
        let failed = |error: ServicesError| Denied::Failed(in_full(&error));
        match ask {
            Ask::Make(service, value) => {
                self.others.make(service, value.clone(), &self.written)?;
                self.merge();
                self.put_in_force().map_err(|error| Denied::Failed(in_full(&error)))?;
                let absent = || Denied::Absent(format!("service `{service}`"));
                crate::telemetry::services::service(&self.report(), service).ok_or_else(absent)
            }
            Ask::Forget(service) => {
                let was_there = self.others.forget(service, &self.written)?;
                self.merge();
                self.put_in_force().map_err(|error| Denied::Failed(in_full(&error)))?;
                Ok(json!({ "removed": was_there }))
            }
            Ask::Reset(name) | Ask::Force(name, _) => {
                let absent = || Denied::Absent(format!("circuit breaker `{}/{}`", name.0, name.1));
                let number = self.number(name).ok_or_else(absent)?;
                let mut order = self.services.order(number).map_err(failed)?;
                if let Ask::Force(_, mode) = ask {
                    order.mode = if *mode == Mode::Auto { self.usual_mode(name) } else { *mode } as u32;
                } else {
                    let word = Word(self.services.breaker(number).map_err(failed)?.word).under(&order);
                    order.reset = stamp(boot_now_ns()).max(word.stamp() + 1);
                    order.mode = self.usual_mode(name) as u32;
                    self.known.entry(name.clone()).or_default().window.clear();
                }
                self.services.set_order(number, &order).map_err(failed)?;
                self.put_in_force().map_err(|error| Denied::Failed(in_full(&error)))?;
                crate::telemetry::services::breaker(&self.report(), &name.0, &name.1).ok_or_else(absent)
            }
            Ask::ForceAll(service, mode) => {
                let absent = || Denied::Absent(format!("service `{service}`"));
                let names: Vec<Name> =
                    self.plan.backends.values().filter(|name| name.0 == *service).cloned().collect();
                if names.is_empty() {
                    return Err(absent());
                }
                for name in names {
                    self.answer(&Ask::Force(name, *mode))?;
                }
                crate::telemetry::services::service(&self.report(), service).ok_or_else(absent)
            }
            Ask::Admin(name, admin) => {
                let absent = || Denied::Absent(format!("backend `{}` of a service `{}`", name.1, name.0));
                let settings =
                    self.settings.list.get(&name.0).and_then(|service| service.backends.get(&name.1));
                let written = settings.ok_or_else(absent)?.admin;
                self.known.entry(name.clone()).or_default().ordered_admin =
                    (*admin != written).then_some(*admin);
                let states = self.known.iter().filter_map(|(name, known)| Some((name, known.ordered_admin?)));
                self.store.keep(states).map_err(|error| Denied::Failed(error.to_string()))?;
                self.put_in_force().map_err(|error| Denied::Failed(in_full(&error)))?;
                crate::telemetry::services::service(&self.report(), &name.0).ok_or_else(absent)
            }
            Ask::FailBack(service) => {
                let absent = || Denied::Absent(format!("service `{service}`"));
                self.tiers.get_mut(service).ok_or_else(absent)?.is_asked_back = true;
                self.put_in_force().map_err(|error| Denied::Failed(in_full(&error)))?;
                crate::telemetry::services::service(&self.report(), service).ok_or_else(absent)
            }
        }
    }

    /// Brings all services together.
    fn merge(&mut self) {
        let (all, left_out) = self.others.merged(&self.written);
        for fault in left_out.difference(&self.left_out) {
            tracing::warn!("Services: {fault}");
        }
        (self.settings, self.left_out) = (all, left_out);
    }

    /// The mode of a breaker that nobody forces.
    pub(super) fn usual_mode(&self, name: &Name) -> Mode {
        let service = self.settings.list.get(&name.0);
        if service.is_some_and(|service| service.breaker.is_metrics_only) {
            Mode::MetricsOnly
        } else {
            Mode::Auto
        }
    }
}
