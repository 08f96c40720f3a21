//! A place where people look: what it wants to hear, and how to say it there.

mod chat;
mod facts;
mod incident;
mod log;
pub mod settings;

use std::sync::Arc;

use serde_json::Value;

pub use self::facts::{Facts, rfc3339, sample};
use super::{group::Grouping, mail::Mail, quiet::Quiet, route::Only, template::Template};
use crate::alert::Priority;

/// A channel.
#[derive(Clone, Debug)]
pub struct Channel {
    /// Its name, falcosidekick's for the output.
    pub name: Arc<str>,
    /// This severe or more.
    pub priority: Priority,
    /// What else it wants.
    pub only: Only,
    /// Headers of its own.
    pub headers: Vec<(String, String)>,
    /// Texts of its own.
    pub template: Template,
    /// Whether several alerts go into one message.
    pub grouping: Option<Grouping>,
    /// When it waits with what is not urgent.
    pub quiet: Option<Quiet>,
    /// What it is.
    pub kind: Kind,
}

/// What a channel is.
#[derive(Clone, Debug)]
pub enum Kind {
    /// Any HTTP server.
    Webhook {
        /// Where to.
        url: String,
        /// `POST` or `PUT`.
        method: &'static str,
    },
    /// Slack, or what takes the same.
    Slack {
        /// Where to.
        url: String,
        /// How it looks.
        look: Look,
    },
    /// Microsoft Teams.
    Teams {
        /// Where to.
        url: String,
        /// How it looks.
        look: Look,
    },
    /// `PagerDuty`, Events API v2.
    PagerDuty {
        /// Where to.
        url: String,
        /// The integration's key.
        routing_key: String,
    },
    /// `OpsGenie`.
    OpsGenie {
        /// Where to.
        url: String,
        /// The key.
        key: String,
    },
    /// Prometheus Alertmanager.
    Alertmanager {
        /// Where to, several for a cluster.
        urls: Vec<String>,
        /// Labels of every alert.
        labels: Vec<(String, String)>,
        /// Annotations of every alert.
        annotations: Vec<(String, String)>,
        /// Seconds until an alert ends by itself.
        expires_secs: Option<u64>,
    },
    /// Grafana Loki.
    Loki {
        /// Where to.
        url: String,
        /// The tenant.
        tenant: Option<String>,
        /// Labels of every line.
        labels: Vec<(String, String)>,
    },
    /// Elasticsearch.
    Elasticsearch {
        /// Where to, without the index.
        url: String,
        /// First part of the index's name.
        index: String,
        /// What follows in it.
        suffix: Suffix,
    },
    /// `CloudEvents` over HTTP.
    CloudEvents {
        /// Where to.
        url: String,
        /// Extensions of every event.
        extensions: Vec<(String, String)>,
    },
    /// Mails.
    Smtp(Box<Mail>),
}

/// How a message of a chat looks.
#[derive(Clone, Debug, Default)]
pub struct Look {
    /// Where to say it, if not where the address leads.
    pub channel: Option<String>,
    /// Who says it.
    pub username: String,
    /// A picture of them.
    pub icon: Option<String>,
    /// Below the message.
    pub footer: Option<String>,
    /// Without the text.
    pub is_without_text: bool,
    /// Without the fields.
    pub is_without_fields: bool,
}

/// What follows in the name of an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suffix {
    /// Nothing.
    None,
    /// The day.
    Daily,
    /// The month.
    Monthly,
    /// The year.
    Annually,
}

/// A request to send.
#[derive(Clone, Debug, PartialEq)]
pub struct Outgoing {
    /// Where to.
    pub url: String,
    /// How.
    pub method: &'static str,
    /// Besides the content's type.
    pub headers: Vec<(String, String)>,
    /// What is in it.
    pub body: Value,
    /// Type of the content.
    pub content_type: &'static str,
}

/// JSON as most take it.
const JSON: &str = "application/json";

impl Channel {
    /// What to send over HTTP; all must arrive.
    pub fn requests(&self, facts: &Facts) -> Vec<Outgoing> {
        let mut requests = match &self.kind {
            Kind::Webhook { url, method } => vec![Outgoing {
                method,
                content_type: "application/json; charset=utf-8",
                ..post(url.clone(), facts.alert.clone())
            }],
            Kind::Slack { url, look } => vec![post(url.clone(), chat::slack(facts, look))],
            Kind::Teams { url, look } => vec![post(url.clone(), chat::teams(facts, look))],
            Kind::PagerDuty { url, routing_key } => {
                vec![post(url.clone(), incident::pagerduty(facts, routing_key))]
            }
            Kind::OpsGenie { url, key } => vec![Outgoing {
                headers: vec![("Authorization".to_owned(), format!("GenieKey {key}"))],
                ..post(url.clone(), incident::opsgenie(facts))
            }],
            Kind::Alertmanager { urls, labels, annotations, expires_secs } => {
                let body = incident::alertmanager(facts, labels, annotations, *expires_secs);
                urls.iter().map(|url| post(url.clone(), body.clone())).collect()
            }
            Kind::Loki { url, tenant, labels } => {
                let tenant = tenant.iter().map(|tenant| ("X-Scope-OrgID".to_owned(), tenant.clone()));
                vec![Outgoing { headers: tenant.collect(), ..post(url.clone(), log::loki(facts, labels)) }]
            }
            Kind::Elasticsearch { url, index, suffix } => {
                let url = format!("{url}/{index}{}/_doc", log::suffix(facts, *suffix));
                vec![post(url, log::elasticsearch(facts))]
            }
            Kind::CloudEvents { url, extensions } => vec![Outgoing {
                headers: log::cloud_event(facts, extensions),
                ..post(url.clone(), facts.alert.clone())
            }],
            Kind::Smtp(_) => Vec::new(),
        };
        for request in &mut requests {
            request.headers.extend(self.headers.iter().cloned());
        }
        requests
    }
}

const fn post(url: String, body: Value) -> Outgoing {
    Outgoing { url, method: "POST", headers: Vec::new(), body, content_type: JSON }
}

#[cfg(test)]
mod tests;
