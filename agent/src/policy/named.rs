//! What rules name that the configuration does not have: policies and services of responses, a collector to notify, and
//! lists of which there is nothing. Each is likely a slip; none stands against a load, because the other may come later.

use std::{collections::BTreeMap, fmt};

use rampart_rules::{
    response::Action,
    rule::{Rule, RuleSet},
    source::SourceMap,
};

use crate::{
    config::{Config, keys::closest},
    deny::plan::{Obstacle, Plan},
    lists::Standing,
};

/// Something that is likely not meant so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// A word for programs.
    pub code: &'static str,
    /// File, line and column; without lines the setting.
    pub place: (String, Option<(u32, u32)>),
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            (file, Some((line, column))) => write!(f, "{file}:{line}:{column}"),
            (setting, None) => f.write_str(setting),
        }
    }
}

/// What responses name that is not there.
pub fn responses(rules: &RuleSet, texts: &SourceMap, config: &Config) -> Vec<Warning> {
    let mut warnings = refusals(rules, texts, config);
    for rule in rules.rules() {
        for action in rule.responses.iter().flat_map(|responses| &responses.actions) {
            if let Some((message, help)) = missing(rule, action, config) {
                let at = texts.locate(rule.span);
                let place = at.map_or_else(
                    || (format!("rule `{}`", rule.name), None),
                    |at| (at.file.to_owned(), Some((at.line, at.column))),
                );
                warnings.push(Warning { code: "response", place, message, help });
            }
        }
    }
    warnings
}

/// What stands in the way of `deny`.
fn refusals(rules: &RuleSet, texts: &SourceMap, config: &Config) -> Vec<Warning> {
    let plan = Plan::new(rules, config.rules.realpath_matching);
    let mut warnings = Vec::new();
    for report in &plan.reports {
        let Some(rule) = rules.rules().get(report.rule) else { continue };
        for Obstacle { operation, span, why, fix } in &report.obstacles {
            let at = texts.locate(*span).or_else(|| texts.locate(rule.span));
            let place = at.map_or_else(
                || (format!("rule `{}`", rule.name), None),
                |at| (at.file.to_owned(), Some((at.line, at.column))),
            );
            let what = match operation {
                Some(operation) if report.refused.contains(operation) => {
                    format!("not every {}", operation.name())
                }
                Some(operation) => format!("no {}", operation.name()),
                None => "nothing".to_owned(),
            };
            let message = format!("`deny` of `{}` refuses {what}: {why}", rule.name);
            warnings.push(Warning { code: "deny", place, message, help: fix.clone() });
        }
    }
    warnings
}

/// What an action names that is not there, and what to do about it.
fn missing(rule: &Rule, action: &Action, config: &Config) -> Option<(String, String)> {
    let name = &rule.name;
    match action {
        Action::LimitIp { policy, .. } => {
            let policies = &config.limits.policies;
            let on_demand = || {
                let all = policies.iter().filter(|(_, policy)| policy.is_on_demand);
                all.map(|(name, _)| name.as_str())
            };
            match policies.get(policy) {
                Some(known) if known.is_on_demand && config.limits.enabled => None,
                Some(known) if known.is_on_demand => Some((
                    format!("a response of `{name}` needs rate limits, which are off"),
                    "set `limits.enabled: true`".to_owned(),
                )),
                Some(_) => Some((
                    format!("a response of `{name}` names the policy `{policy}`, which is for everybody"),
                    format!("set `on_demand: true` in `limits.policies.{policy}`, or name one that has it"),
                )),
                None => Some((
                    format!(
                        "a response of `{name}` names the policy `{policy}`, which the configuration has not"
                    ),
                    near(on_demand(), policy).unwrap_or_else(|| {
                        format!("add `{policy}` to `limits.policies`, with a rate and `on_demand: true`")
                    }),
                )),
            }
        }
        Action::OpenBreaker { service, .. } => {
            let services = &config.services;
            // Those of the cluster are known only there.
            if services.enabled && (services.kubernetes || services.list.contains_key(service)) {
                return None;
            }
            if !services.enabled && services.list.contains_key(service) {
                let message = format!("a response of `{name}` needs services, which are off");
                return Some((message, "set `services.enabled: true`".to_owned()));
            }
            let known = services.list.keys().map(String::as_str);
            Some((
                format!(
                    "a response of `{name}` names the service `{service}`, which the configuration has not"
                ),
                near(known, service).unwrap_or_else(|| format!("add `{service}` to `services.list`")),
            ))
        }
        Action::Notify { channel } if config.output.collector.is_none() => Some((
            format!(
                "a response of `{name}` notifies the channel `{channel}` of a collector, but there is none"
            ),
            "set `output.collector.url`; its channels are in the collector's own configuration".to_owned(),
        )),
        Action::BlockIp { .. } if !config.limits.enabled => Some((
            format!("a response of `{name}` needs rate limits, which are off"),
            "set `limits.enabled: true`".to_owned(),
        )),
        _ => None,
    }
}

fn near<'a>(known: impl Iterator<Item = &'a str>, name: &str) -> Option<String> {
    closest(known, name).map(|near| format!("did you mean `{near}`?"))
}

/// Lists of which there is nothing to look into, and what is left out of others.
pub fn lists(standing: &BTreeMap<String, Standing>) -> Vec<Warning> {
    let mut warnings = Vec::new();
    for (name, standing) in standing {
        let place = (format!("rules.lists.{name}"), None);
        let mut warn = |message: String, help: &str| {
            warnings.push(Warning { code: "list", place: place.clone(), message, help: help.to_owned() });
        };
        if let Some(fault) = &standing.opened.fault {
            let what =
                if standing.opened.kept.is_some() { "its last good copy counts" } else { "it is empty" };
            warn(
                format!("the list `{name}` is of no use, {what}: {fault}"),
                "see that its text is what its settings say",
            );
        }
        let Some(kept) = &standing.opened.kept else {
            // The agent gets it; that it has not yet is no slip.
            continue;
        };
        for (told, what) in
            [(&kept.parsed.refused, "entries are left out"), (&kept.parsed.wrong, "lines are no entries")]
        {
            if let Some((line, why)) = told.first.first() {
                let message =
                    format!("{} {what} of the list `{name}`, the first in line {line}: {why}", told.count);
                warn(message, "correct the list, or see `allow_private` and `kind` in its settings");
            }
        }
        if standing.is_stale {
            warn(
                format!("nobody has confirmed the list `{name}` for too long"),
                "renew it, or raise `max_age_secs`",
            );
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use rampart_rules::load::{LoadOptions, Source, load};

    use super::*;
    use crate::config::Sources;

    fn config(text: &str) -> Config {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("rampart.yaml");
        std::fs::write(&file, text).unwrap();
        Sources { file: Some(file), ..Sources::default() }.load().unwrap_or_else(|faults| panic!("{faults}"))
    }

    fn warned(response: &str, settings: &str) -> Vec<(String, String)> {
        let text = format!(
            "- rule: r\n  desc: d\n  condition: evt.type = connect\n  output: o\n  priority: INFO\n  response: [{response}]\n"
        );
        let loaded =
            load(&[Source { name: "r.yaml".to_owned(), text: text.into() }], &LoadOptions::default());
        let rules = loaded.rules.unwrap_or_else(|| panic!("{:?}", loaded.diagnostics));
        let warnings = responses(&rules, &loaded.sources, &config(settings));
        assert!(warnings.iter().all(|warning| warning.to_string().starts_with("r.yaml:1:")));
        warnings.into_iter().map(|warning| (warning.message, warning.help)).collect()
    }

    #[test]
    fn what_stands_in_the_way_of_a_refusal_is_told_at_its_place() {
        let of = |condition: &str, settings: &str| {
            let text = format!(
                "- rule: r\n  desc: d\n  condition: {condition}\n  output: o\n  priority: INFO\n  response: deny\n"
            );
            let source = Source { name: "r.yaml".to_owned(), text: text.into() };
            let loaded = load(&[source], &LoadOptions::default());
            let rules = loaded.rules.unwrap_or_else(|| panic!("{:?}", loaded.diagnostics));
            responses(&rules, &loaded.sources, &config(settings))
        };
        let opens = "evt.type in (open, openat, openat2) and fd.name = /x";
        assert_eq!(of(opens, ""), []);
        let found = of(&format!("{opens} and proc.pname = bash"), "");
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].to_string(), "r.yaml:3:71");
        assert!(found[0].message.starts_with("`deny` of `r` refuses no open: `proc.pname` is not certain"));
        assert!(found[0].help.starts_with("compare `fd.name`"));
        let part = of(&format!("{opens} and (proc.name = a or proc.pname = bash)"), "");
        assert!(part[0].message.contains("refuses not every open"), "{part:?}");
        let lexical = of(opens, "rules: {realpath_matching: false}\n");
        assert!(lexical[0].help.contains("realpath_matching: true"), "{lexical:?}");
    }

    #[test]
    fn what_is_not_there_is_told_with_its_cure() {
        let limits =
            "limits:\n  enabled: true\n  policies: {slow: {rate: 5/s, on_demand: true}, web: {rate: 5/s}}\n";
        let limit = |policy: &str| format!("{{limit_ip: {policy}}}");
        let one = |response: &str, settings: &str| {
            let mut all = warned(response, settings);
            assert_eq!(all.len(), 1, "{all:?}");
            all.remove(0)
        };
        assert_eq!(warned(&limit("slow"), limits), []);
        assert_eq!(one(&limit("slov"), limits).1, "did you mean `slow`?");
        assert!(one(&limit("web"), limits).1.starts_with("set `on_demand: true` in `limits.policies.web`"));
        assert!(one(&limit("other"), limits).1.starts_with("add `other` to `limits.policies`"));
        assert!(one(&limit("slow"), &limits.replace("true\n", "false\n")).0.contains("which are off"));
        assert_eq!(warned("block_ip", limits), []);
        assert!(one("block_ip", "").1.contains("limits.enabled"));
        assert!(one("{open_breaker: shop}", "").1.contains("services.list"));
        let services = "services:\n  enabled: true\n  list: {shop: {vip: \"10.1.0.1:80\", backends: {a: \"10.0.0.1:80\"}}}\n";
        assert_eq!(warned("{open_breaker: shop}", services), []);
        assert_eq!(one("{open_breaker: shopp}", services).1, "did you mean `shop`?");
        assert!(one("{notify: pager}", "").1.contains("output.collector.url"));
        let collector = "output: {collector: {url: \"http://127.0.0.1:7443\", spool_dir: /tmp/x}}\n";
        assert_eq!(warned("{notify: pager}", collector), []);
        assert_eq!(warned("kill", ""), []);
    }
}
