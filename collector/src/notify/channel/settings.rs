//! The settings of each channel, by falcosidekick's names.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Channel, Kind, Look, Suffix};
use crate::{
    alert::{NoPriority, Priority},
    config::ConfigError,
    notify::route::Only,
};

/// Who speaks, when nothing else is said.
const NAME: &str = "Rampart";

/// Settings that falcosidekick has too, by section.
const KEYS: [(&str, &[&str]); 9] = [
    ("webhook", &["address", "method", "customheaders", "minimumpriority"]),
    ("slack", &["webhookurl", "channel", "footer", "icon", "username", "outputformat", "minimumpriority"]),
    ("teams", &["webhookurl", "activityimage", "outputformat", "minimumpriority"]),
    ("pagerduty", &["routingkey", "region", "minimumpriority"]),
    ("opsgenie", &["apikey", "region", "minimumpriority"]),
    (
        "alertmanager",
        &[
            "hostport",
            "endpoint",
            "expiresafter",
            "extralabels",
            "extraannotations",
            "customheaders",
            "minimumpriority",
        ],
    ),
    ("loki", &["hostport", "endpoint", "tenant", "extralabels", "customheaders", "minimumpriority"]),
    ("elasticsearch", &["hostport", "index", "suffix", "customheaders", "minimumpriority"]),
    ("cloudevents", &["address", "extensions", "minimumpriority"]),
];

/// Whether falcosidekick has the setting too.
pub fn is_known(section: &str, key: &str) -> bool {
    KEYS.iter().any(|(name, keys)| *name == section && keys.contains(&key))
}

/// Alerts by more than their priority.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Filter {
    rules: Vec<String>,
    nodes: Vec<String>,
    sources: Vec<String>,
}

type Words = BTreeMap<String, String>;
type Made = Result<Option<Channel>, ConfigError>;

macro_rules! section {
    ($(#[$doc:meta])* $name:ident { $($field:ident: $kind:ty),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct $name {
            minimumpriority: String,
            filter: Filter,
            $($field: $kind,)*
        }
    };
}

section!(
    /// `webhook`.
    Webhook { address: String, method: String, customheaders: Words }
);
section!(
    /// `slack`.
    Slack {
        webhookurl: String,
        channel: String,
        footer: String,
        icon: String,
        username: String,
        outputformat: String,
    }
);
section!(
    /// `teams`.
    Teams { webhookurl: String, activityimage: String, outputformat: String }
);
section!(
    /// `pagerduty`; `url` is not falcosidekick's.
    PagerDuty { routingkey: String, region: String, url: String }
);
section!(
    /// `opsgenie`; `url` is not falcosidekick's.
    OpsGenie { apikey: String, region: String, url: String }
);
section!(
    /// `alertmanager`.
    Alertmanager {
        hostport: OneOrMany,
        endpoint: String,
        expiresafter: u64,
        extralabels: Words,
        extraannotations: Words,
        customheaders: Words,
    }
);
section!(
    /// `loki`.
    Loki { hostport: String, endpoint: String, tenant: String, extralabels: Words, customheaders: Words }
);
section!(
    /// `elasticsearch`.
    Elasticsearch { hostport: String, index: String, suffix: String, customheaders: Words }
);
section!(
    /// `cloudevents`.
    CloudEvents { address: String, extensions: Words }
);

/// One text, with commas between several, or a list.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl Default for OneOrMany {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl Webhook {
    /// The channel, when its address is set.
    pub fn channel(self, name: &str) -> Made {
        let method = match self.method.to_ascii_uppercase().as_str() {
            "" | "POST" => "POST",
            "PUT" => "PUT",
            _ => return Err(wrong(name, "method", "use `POST` or `PUT`")),
        };
        let Some(url) = address(name, "address", &self.address, "")? else { return Ok(None) };
        let kind = Kind::Webhook { url, method };
        channel(name, &self.minimumpriority, self.filter, self.customheaders, kind)
    }
}

impl Slack {
    /// The channel, when its address is set.
    pub fn channel(self, name: &str) -> Made {
        let Some(url) = address(name, "webhookurl", &self.webhookurl, "")? else { return Ok(None) };
        let look = Look {
            channel: given(self.channel),
            username: given(self.username).unwrap_or_else(|| NAME.to_owned()),
            icon: given(self.icon),
            footer: given(self.footer),
            ..look(name, &self.outputformat)?
        };
        channel(name, &self.minimumpriority, self.filter, Words::new(), Kind::Slack { url, look })
    }
}

impl Teams {
    /// The channel, when its address is set.
    pub fn channel(self, name: &str) -> Made {
        let Some(url) = address(name, "webhookurl", &self.webhookurl, "")? else { return Ok(None) };
        let look = Look {
            username: NAME.to_owned(),
            icon: given(self.activityimage),
            ..look(name, &self.outputformat)?
        };
        channel(name, &self.minimumpriority, self.filter, Words::new(), Kind::Teams { url, look })
    }
}

impl PagerDuty {
    /// The channel, when its key is set.
    pub fn channel(self, name: &str) -> Made {
        let Some(routing_key) = given(self.routingkey) else { return Ok(None) };
        let host = match self.region.to_ascii_lowercase().as_str() {
            "" | "us" => "https://events.pagerduty.com/v2/enqueue",
            "eu" => "https://events.eu.pagerduty.com/v2/enqueue",
            _ => return Err(wrong(name, "region", "use `us` or `eu`")),
        };
        let url = address(name, "url", &self.url, "")?.unwrap_or_else(|| host.to_owned());
        let kind = Kind::PagerDuty { url, routing_key };
        channel(name, &self.minimumpriority, self.filter, Words::new(), kind)
    }
}

impl OpsGenie {
    /// The channel, when its key is set.
    pub fn channel(self, name: &str) -> Made {
        let Some(key) = given(self.apikey) else { return Ok(None) };
        let host = match self.region.to_ascii_lowercase().as_str() {
            "" | "us" => "https://api.opsgenie.com/v2/alerts",
            "eu" => "https://api.eu.opsgenie.com/v2/alerts",
            _ => return Err(wrong(name, "region", "use `us` or `eu`")),
        };
        let url = address(name, "url", &self.url, "")?.unwrap_or_else(|| host.to_owned());
        channel(name, &self.minimumpriority, self.filter, Words::new(), Kind::OpsGenie { url, key })
    }
}

impl Alertmanager {
    /// The channel, when its address is set.
    pub fn channel(self, name: &str) -> Made {
        let hosts = match self.hostport {
            OneOrMany::One(text) => text.split(',').map(|host| host.trim().to_owned()).collect(),
            OneOrMany::Many(list) => list,
        };
        let path = given(self.endpoint).unwrap_or_else(|| "/api/v2/alerts".to_owned());
        let mut urls = Vec::new();
        for host in &hosts {
            urls.extend(address(name, "hostport", host, &path)?);
        }
        if urls.is_empty() {
            return Ok(None);
        }
        let kind = Kind::Alertmanager {
            urls,
            labels: self.extralabels.into_iter().collect(),
            annotations: self.extraannotations.into_iter().collect(),
            expires_secs: (self.expiresafter > 0).then_some(self.expiresafter),
        };
        channel(name, &self.minimumpriority, self.filter, self.customheaders, kind)
    }
}

impl Loki {
    /// The channel, when its address is set.
    pub fn channel(self, name: &str) -> Made {
        let path = given(self.endpoint).unwrap_or_else(|| "/loki/api/v1/push".to_owned());
        let Some(url) = address(name, "hostport", &self.hostport, &path)? else { return Ok(None) };
        let labels = self.extralabels.into_iter().collect();
        let kind = Kind::Loki { url, tenant: given(self.tenant), labels };
        channel(name, &self.minimumpriority, self.filter, self.customheaders, kind)
    }
}

impl Elasticsearch {
    /// The channel, when its address is set.
    pub fn channel(self, name: &str) -> Made {
        let Some(url) = address(name, "hostport", &self.hostport, "")? else { return Ok(None) };
        let suffix = match self.suffix.to_ascii_lowercase().as_str() {
            "" | "daily" => Suffix::Daily,
            "monthly" => Suffix::Monthly,
            "annually" => Suffix::Annually,
            "none" => Suffix::None,
            _ => return Err(wrong(name, "suffix", "use `none`, `daily`, `monthly` or `annually`")),
        };
        let index = given(self.index).unwrap_or_else(|| "falco".to_owned());
        let kind = Kind::Elasticsearch { url, index, suffix };
        channel(name, &self.minimumpriority, self.filter, self.customheaders, kind)
    }
}

impl CloudEvents {
    /// The channel, when its address is set.
    pub fn channel(self, name: &str) -> Made {
        let Some(url) = address(name, "address", &self.address, "")? else { return Ok(None) };
        let kind = Kind::CloudEvents { url, extensions: self.extensions.into_iter().collect() };
        channel(name, &self.minimumpriority, self.filter, Words::new(), kind)
    }
}

fn channel(name: &str, priority: &str, filter: Filter, headers: Words, kind: Kind) -> Made {
    let priority = match priority {
        "" => Priority::Debug,
        word => {
            word.parse().map_err(|error: NoPriority| wrong(name, "minimumpriority", &error.to_string()))?
        }
    };
    for (header, value) in &headers {
        let is_sound = hyper::header::HeaderName::from_bytes(header.as_bytes()).is_ok()
            && hyper::header::HeaderValue::from_str(value).is_ok();
        if !is_sound {
            return Err(wrong(name, "customheaders", &format!("`{header}` cannot be a header")));
        }
    }
    Ok(Some(Channel {
        name: name.into(),
        priority,
        only: Only { rules: filter.rules, nodes: filter.nodes, sources: filter.sources },
        headers: headers.into_iter().collect(),
        kind,
    }))
}

/// An address with a path behind it; `None` when it is empty.
fn address(name: &str, key: &str, text: &str, path: &str) -> Result<Option<String>, ConfigError> {
    if text.is_empty() {
        return Ok(None);
    }
    let url = format!("{}{path}", if path.is_empty() { text } else { text.trim_end_matches('/') });
    let is_sound = url.parse::<hyper::Uri>().is_ok_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty())
    });
    if is_sound { Ok(Some(url)) } else { Err(wrong(name, key, "use an address such as `https://host/path`")) }
}

fn look(name: &str, format: &str) -> Result<Look, ConfigError> {
    let (is_without_text, is_without_fields) = match format {
        "" | "all" => (false, false),
        "text" => (false, true),
        "fields" | "facts" => (true, false),
        _ => return Err(wrong(name, "outputformat", "use `all`, `text` or `fields`")),
    };
    Ok(Look { is_without_text, is_without_fields, ..Look::default() })
}

fn given(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

fn wrong(name: &str, key: &str, problem: &str) -> ConfigError {
    ConfigError::Value { key: format!("{name}.{key}"), problem: problem.to_owned() }
}
