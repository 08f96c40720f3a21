//! The settings of each channel, by falcosidekick's names; `filter`, `template`, `grouping` and `quiet` are our own.

mod known;
mod wishes;

use std::collections::BTreeMap;

use serde::Deserialize;

use self::wishes::Shared;
pub use self::{known::is_known, mail::Smtp, wishes::Filter};
use super::{Channel, Kind, Look, Suffix};
use crate::{config::ConfigError, notify::template::Template};

/// Who speaks, when nothing else is said.
const NAME: &str = "Rampart";

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
            template: wishes::Texts,
            grouping: wishes::Groups,
            quiet: wishes::Hours,
            $($field: $kind,)*
        }

        impl $name {
            /// What all channels have.
            fn common(&self) -> wishes::Common<'_> {
                wishes::Common {
                    minimumpriority: &self.minimumpriority,
                    filter: &self.filter,
                    template: &self.template,
                    grouping: &self.grouping,
                    quiet: &self.quiet,
                }
            }
        }
    };
}

mod mail;

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
        let common = self.common().check(name)?;
        let method = match self.method.to_ascii_uppercase().as_str() {
            "" | "POST" => "POST",
            "PUT" => "PUT",
            _ => return Err(wrong(name, "method", "use `POST` or `PUT`")),
        };
        let Some(url) = address(name, "address", &self.address, "")? else { return Ok(None) };
        let kind = Kind::Webhook { url, method };
        channel(name, &common, self.customheaders, kind)
    }
}

impl Slack {
    /// The channel, when its address is set.
    pub fn channel(self, name: &str) -> Made {
        let common = self.common().check(name)?;
        let Some(url) = address(name, "webhookurl", &self.webhookurl, "")? else { return Ok(None) };
        let look = Look {
            channel: given(self.channel),
            username: given(self.username).unwrap_or_else(|| NAME.to_owned()),
            icon: given(self.icon),
            footer: given(self.footer),
            ..look(name, &self.outputformat)?
        };
        channel(name, &common, Words::new(), Kind::Slack { url, look })
    }
}

impl Teams {
    /// The channel, when its address is set.
    pub fn channel(self, name: &str) -> Made {
        let common = self.common().check(name)?;
        let Some(url) = address(name, "webhookurl", &self.webhookurl, "")? else { return Ok(None) };
        let look = Look {
            username: NAME.to_owned(),
            icon: given(self.activityimage),
            ..look(name, &self.outputformat)?
        };
        channel(name, &common, Words::new(), Kind::Teams { url, look })
    }
}

impl PagerDuty {
    /// The channel, when its key is set.
    pub fn channel(self, name: &str) -> Made {
        let common = self.common().check(name)?;
        let Some(routing_key) = given(self.routingkey) else { return Ok(None) };
        let host = match self.region.to_ascii_lowercase().as_str() {
            "" | "us" => "https://events.pagerduty.com/v2/enqueue",
            "eu" => "https://events.eu.pagerduty.com/v2/enqueue",
            _ => return Err(wrong(name, "region", "use `us` or `eu`")),
        };
        let url = address(name, "url", &self.url, "")?.unwrap_or_else(|| host.to_owned());
        let kind = Kind::PagerDuty { url, routing_key };
        channel(name, &common, Words::new(), kind)
    }
}

impl OpsGenie {
    /// The channel, when its key is set.
    pub fn channel(self, name: &str) -> Made {
        let common = self.common().check(name)?;
        let Some(key) = given(self.apikey) else { return Ok(None) };
        let host = match self.region.to_ascii_lowercase().as_str() {
            "" | "us" => "https://api.opsgenie.com/v2/alerts",
            "eu" => "https://api.eu.opsgenie.com/v2/alerts",
            _ => return Err(wrong(name, "region", "use `us` or `eu`")),
        };
        let url = address(name, "url", &self.url, "")?.unwrap_or_else(|| host.to_owned());
        channel(name, &common, Words::new(), Kind::OpsGenie { url, key })
    }
}

impl Alertmanager {
    /// The channel, when its address is set.
    pub fn channel(self, name: &str) -> Made {
        let common = self.common().check(name)?;
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
        channel(name, &common, self.customheaders, kind)
    }
}

impl Loki {
    /// The channel, when its address is set.
    pub fn channel(self, name: &str) -> Made {
        let common = self.common().check(name)?;
        let path = given(self.endpoint).unwrap_or_else(|| "/loki/api/v1/push".to_owned());
        let Some(url) = address(name, "hostport", &self.hostport, &path)? else { return Ok(None) };
        let labels = self.extralabels.into_iter().collect();
        let kind = Kind::Loki { url, tenant: given(self.tenant), labels };
        channel(name, &common, self.customheaders, kind)
    }
}

impl Elasticsearch {
    /// The channel, when its address is set.
    pub fn channel(self, name: &str) -> Made {
        let common = self.common().check(name)?;
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
        channel(name, &common, self.customheaders, kind)
    }
}

impl CloudEvents {
    /// The channel, when its address is set.
    pub fn channel(self, name: &str) -> Made {
        let common = self.common().check(name)?;
        let Some(url) = address(name, "address", &self.address, "")? else { return Ok(None) };
        let kind = Kind::CloudEvents { url, extensions: self.extensions.into_iter().collect() };
        channel(name, &common, Words::new(), kind)
    }
}

fn channel(name: &str, common: &Shared, headers: Words, kind: Kind) -> Made {
    for (header, value) in &headers {
        let is_sound = hyper::header::HeaderName::from_bytes(header.as_bytes()).is_ok()
            && hyper::header::HeaderValue::from_str(value).is_ok();
        if !is_sound {
            return Err(wrong(name, "customheaders", &format!("`{header}` cannot be a header")));
        }
    }
    let has_text =
        !matches!(kind, Kind::Webhook { .. } | Kind::Elasticsearch { .. } | Kind::CloudEvents { .. });
    if common.template != Template::default() && !has_text {
        return Err(wrong(name, "template", "it gets alerts as they are: there is no text to make"));
    }
    Ok(Some(Channel {
        name: name.into(),
        priority: common.priority,
        only: common.only.clone(),
        headers: headers.into_iter().collect(),
        template: common.template.clone(),
        grouping: common.grouping.clone(),
        quiet: common.quiet.clone(),
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
