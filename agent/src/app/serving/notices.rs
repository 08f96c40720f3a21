//! What happens to services, as alerts of the agent's own.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::mpsc::{SyncSender, TrySendError},
};

use rampart_common::service::{
    abi::Event,
    breaker::{State, Word},
    signal::Outcome,
};
use rampart_rules::rule::Priority;
use serde_json::{Value as Json, json};

use crate::{
    alert::build::Internal,
    config::DrainCause,
    services::{
        drain::{Ended, Report},
        health::Standing,
        plan::Name,
        rates::Calls,
    },
};

/// See the module.
pub(super) struct Notices {
    sender: SyncSender<Internal>,
}

impl Notices {
    pub(super) const fn new(sender: SyncSender<Internal>) -> Self {
        Self { sender }
    }

    fn send(&self, what: &'static str, priority: Priority, message: String, fields: BTreeMap<String, Json>) {
        match priority {
            Priority::Warning | Priority::Error | Priority::Critical => tracing::warn!("Services: {message}"),
            _ => tracing::info!("Services: {message}"),
        }
        // Full policy: drop the newest. The detection thread takes them once a second, and the log has it.
        match self.sender.try_send(Internal { what, priority, message, fields }) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                tracing::warn!("An alert about services was lost, too many wait");
            }
        }
    }

    /// A breaker is in another state, as the kernel says.
    pub(super) fn breaker(&self, name: &Name, event: &Event, causes: &VecDeque<Event>, now_ns: u64) {
        let (service, backend) = name;
        let word = Word(event.word);
        let mut fields = of(name);
        fields.insert("k".to_owned(), word.k().into());
        fields.insert("age_ms".to_owned(), (now_ns.saturating_sub(event.time_ns) / 1_000_000).into());
        let (what, priority, message) = match word.state() {
            State::Open => {
                let causes: Vec<Json> = causes
                    .iter()
                    .map(|cause| {
                        let outcome = Outcome::ALL.get(usize::from(cause.outcome));
                        json!({
                            "outcome": outcome.map_or("unknown", |outcome| outcome.name()),
                            "errno": cause.error,
                            "retransmits": cause.retransmits,
                        })
                    })
                    .collect();
                fields.insert("consecutive".to_owned(), word.failures().into());
                fields.insert("causes".to_owned(), causes.into());
                let again = if event.from == State::HalfOpen as u8 { " again" } else { "" };
                let message = format!("circuit breaker of `{service}/{backend}` opened{again}");
                ("circuit breaker open", Priority::Warning, message)
            }
            State::HalfOpen => {
                let message =
                    format!("circuit breaker of `{service}/{backend}` is half-open, the backend is tried");
                ("circuit breaker half-open", Priority::Notice, message)
            }
            State::Closed => {
                let message = format!("circuit breaker of `{service}/{backend}` closed");
                ("circuit breaker closed", Priority::Notice, message)
            }
        };
        self.send(what, priority, message, fields);
    }

    /// A breaker was opened for its rates.
    pub(super) fn tripped(&self, name: &Name, why: &str, sum: Calls) {
        let (service, backend) = name;
        let mut fields = of(name);
        fields.insert("cause".to_owned(), why.into());
        fields.insert("calls".to_owned(), sum.calls.into());
        fields.insert("failures".to_owned(), sum.failures.into());
        fields.insert("slow".to_owned(), sum.slow.into());
        let message = format!("circuit breaker of `{service}/{backend}` opened: {why}");
        self.send("circuit breaker open", Priority::Warning, message, fields);
    }

    /// A backend is ejected.
    pub(super) fn ejected(&self, name: &Name, span_ns: u64) {
        let (service, backend) = name;
        let secs = span_ns / 1_000_000_000;
        let mut fields = of(name);
        fields.insert("secs".to_owned(), secs.into());
        let message =
            format!("`{backend}` of `{service}` does worse than the others and is left out for {secs} s");
        self.send("backend ejected", Priority::Warning, message, fields);
    }

    /// A backend comes and goes too often, or has not for a time.
    pub(super) fn flaps(&self, name: &Name, is_suppressed: bool) {
        let (service, backend) = name;
        if is_suppressed {
            let message =
                format!("`{backend}` of `{service}` comes and goes and is left out until it is quiet");
            self.send("backend suppressed", Priority::Warning, message, of(name));
        } else {
            let message = format!("`{backend}` of `{service}` is used again");
            self.send("backend reused", Priority::Notice, message, of(name));
        }
    }

    /// Health checks say otherwise now.
    pub(super) fn health(&self, name: &Name, standing: &Standing) {
        let (service, backend) = name;
        let mut fields = of(name);
        if standing.is_up {
            let message = format!("`{backend}` of `{service}` is up again");
            self.send("backend up", Priority::Notice, message, fields);
        } else {
            let fault = standing.fault.as_deref().unwrap_or("unknown");
            fields.insert("cause".to_owned(), fault.into());
            let message = format!("`{backend}` of `{service}` is down: {fault}");
            self.send("backend down", Priority::Warning, message, fields);
        }
    }

    /// Connections to a backend that is left out were ended, as far as they could be.
    pub(super) fn drained(&self, name: &Name, cause: DrainCause, ended: &Ended, report: &Report) {
        let (service, backend) = name;
        let millis = report.took.as_millis() as u64;
        let mut fields = of(name);
        fields.insert("cause".to_owned(), cause.name().into());
        for (key, count) in [
            ("found", ended.found),
            ("destroyed", ended.destroyed),
            ("gone", ended.gone),
            ("failed", ended.failed),
            ("namespaces", ended.namespaces),
            ("namespaces_searched", report.searched as u64),
            ("namespaces_unseen", report.unseen as u64),
            ("millis", millis),
        ] {
            fields.insert(key.to_owned(), count.into());
        }
        let is_partial = ended.failed > 0 || report.unseen > 0 || report.fault.is_some();
        let mut message = format!(
            "{} of {} connections to `{backend}` of `{service}` were ended in {} network namespaces, {} of them had some",
            ended.destroyed, ended.found, report.searched, ended.namespaces
        );
        if report.unseen > 0 {
            message = format!("{message}; {} could not be searched", report.unseen);
        }
        if let Some(fault) = &report.fault {
            message = format!("{message}; {fault}");
            fields.insert("fault".to_owned(), fault.as_str().into());
        }
        let priority = if is_partial { Priority::Warning } else { Priority::Notice };
        self.send("connections drained", priority, message, fields);
    }

    /// Another tier is in use.
    pub(super) fn moved(&self, service: &str, before: u8, now: u8) {
        let fields = BTreeMap::from([
            ("service".to_owned(), Json::from(service)),
            ("tier_before".to_owned(), before.into()),
            ("tier".to_owned(), now.into()),
        ]);
        let (what, priority, verb) = if now > before {
            ("failover", Priority::Warning, "fails over")
        } else {
            ("failback", Priority::Notice, "fails back")
        };
        self.send(what, priority, format!("`{service}` {verb} from tier {before} to tier {now}"), fields);
    }

    /// What is known of a service's backends counts for nothing, or does again.
    pub(super) fn panic(&self, service: &str, begins: bool) {
        let fields = BTreeMap::from([("service".to_owned(), Json::from(service))]);
        if begins {
            let message =
                format!("too few backends of `{service}` are left, all are used whatever is known of them");
            self.send("service in panic", Priority::Critical, message, fields);
        } else {
            let message = format!("enough backends of `{service}` are back");
            self.send("service out of panic", Priority::Notice, message, fields);
        }
    }
}

fn of(name: &Name) -> BTreeMap<String, Json> {
    BTreeMap::from([
        ("service".to_owned(), Json::from(name.0.as_str())),
        ("backend".to_owned(), Json::from(name.1.as_str())),
    ])
}
