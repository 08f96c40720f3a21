//! What the limiter's thread answers, and the changes it is asked for.

use ipnet::IpNet;
use jiff::Timestamp;
use rampart_common::limit::{
    abi::{Control, RULE_ALLOW, RULE_DENY, RULE_SAFE},
    verdict::{Direction, Unit},
};
use serde_json::{Value, json};

use super::{Fault, Thread, in_full, node::now};
use crate::{
    config::PolicyLimits,
    kernel::limiter::Interface,
    limits::{
        desk::{Answer, Ask, Denied, Wanted},
        entries::{End, Entry, Kind},
        explain::{self, Asked},
        hitters::{hitters, shown},
        safety,
    },
    telemetry::{limits as pages, status::Status},
};

/// Sources of a policy's quota that are shown.
const USERS: usize = 20;

impl Thread {
    pub(super) fn answer(&mut self, ask: Ask, status: &Status) -> Answer {
        match ask {
            Ask::List(kind) => Ok(self.list(kind)),
            Ask::Policy(name) => self.policy(&name, status),
            Ask::Explain(asked) => self.explain(&asked),
            Ask::Top => Ok(self.top()),
            Ask::Put(wanted) => self.put_entry(wanted),
            Ask::Remove(kind, net) => self.remove_entry(kind, net),
        }
    }

    fn list(&self, kind: Kind) -> Value {
        let now = now();
        let entries: Vec<Value> = self.entries.of_kind(kind).map(|entry| pages::entry(entry, now)).collect();
        let (configured, files) = match kind {
            Kind::Allow => (self.limits.allow.as_slice(), self.lists.allow_files(&self.limits)),
            Kind::Deny => (self.limits.deny.as_slice(), self.lists.deny_files(&self.limits)),
            Kind::Grant | Kind::Limit => (&[][..], Vec::new()),
        };
        json!({
            "entries": entries,
            "configured": configured.iter().map(|net| shown(*net)).collect::<Vec<_>>(),
            "files": self.lists.sizes(&files).into_iter()
                .map(|(path, size)| json!({ "path": path.to_string_lossy(), "nets": size }))
                .collect::<Vec<_>>(),
        })
    }

    fn policy(&self, name: &str, status: &Status) -> Answer {
        let Some(policy) = self.limits.policies.get(name) else {
            return Err(Denied::Absent(format!("policy `{name}`")));
        };
        let mut page = pages::policy_page(&status.limits(), name, policy);
        if let (Some(page), Some((window, users))) =
            (page.as_object_mut(), self.quotas.of_policy(name, USERS))
        {
            let time = |secs| Timestamp::from_second(secs).map(|time| time.to_string()).ok();
            let users = users.into_iter().map(|(net, used)| json!({ "source": net, "used": used }));
            page.insert(
                "quota_used".to_owned(),
                json!({
                    "from": time(window.start),
                    "until": time(window.end),
                    "sources": users.collect::<Vec<_>>(),
                }),
            );
        }
        Ok(page)
    }

    fn top(&self) -> Value {
        let samples: Vec<_> = self.window.iter().collect();
        let found = hitters(
            &samples,
            |number| self.plan.names.get(&number).cloned(),
            |policy, net| Some(proposed(policy, self.limits.policies.get(policy)?, net)),
        );
        json!({
            "window_secs": super::WINDOW_NS / 1_000_000_000,
            "samples": samples.len(),
            "prefixes": found,
        })
    }

    fn explain(&self, asked: &Asked) -> Answer {
        let interface = match &asked.interface {
            None => None,
            Some(name) => match Interface::find(name) {
                Ok(interface) => Some(interface.index),
                Err(_) => return Err(Denied::Absent(format!("interface `{name}`"))),
            },
        };
        let now = now();
        let control = Control { heartbeat_ns: now.boot_ns, stretch: self.throttling.stretch() };
        let mut fault = None;
        let rows =
            explain::explain(&self.plan, asked, interface, (control, now.boot_ns, self.generation), |key| {
                self.limiter.entry(key).unwrap_or_else(|error| {
                    fault = Some(in_full(&error));
                    None
                })
            });
        if let Some(fault) = fault {
            return Err(Denied::Failed(fault));
        }
        let net = IpNet::from(asked.ip.to_canonical());
        let listed = explain::listed(&self.plan, asked.ip).map(|(_, rule)| match rule.kind {
            RULE_SAFE => "safe: nothing locks it out",
            RULE_DENY => "denied",
            RULE_ALLOW => "allowed",
            _ => "none",
        });
        let because = self.because(net);
        let entries = self.entries.iter().filter(|entry| entry.net.contains(&net));
        let recent = self.window.iter().rev().filter(|sample| pages::is_from(sample, asked.ip)).take(10);
        let name = |policy: u16| self.plan.names.get(&policy).map(String::as_str);
        Ok(json!({
            "ip": asked.ip.to_canonical().to_string(),
            "direction": asked.direction.name(),
            "mode": if self.limits.is_enforcing { "enforce" } else { "observe" },
            "listed": listed,
            "because": because,
            "entries": entries.map(|entry| pages::entry(entry, now)).collect::<Vec<_>>(),
            "used_up": self.quotas.closed().iter().filter(|closed| closed.net.contains(&net))
                .map(|closed| closed.policy.clone()).collect::<Vec<_>>(),
            "services": rows,
            "recent": recent.map(|sample| pages::recent(sample, name(sample.policy))).collect::<Vec<_>>(),
        }))
    }

    /// Where the lists that a source is on come from.
    fn because(&self, net: IpNet) -> Vec<String> {
        let mut because = Vec::new();
        for (safe, why) in self.safe() {
            if safe.contains(&net) {
                because.push(format!("safe: `{}` is {why}", shown(safe)));
            }
        }
        for (list, nets) in [("allow", &self.limits.allow), ("deny", &self.limits.deny)] {
            for own in nets.iter().filter(|own| own.contains(&net)) {
                because.push(format!("{list}: `{}` in the configuration", shown(*own)));
            }
        }
        for entry in self.entries.iter().filter(|entry| entry.net.contains(&net)) {
            because.push(format!("{}: `{}` by {}", entry.kind, shown(entry.net), entry.by));
        }
        for (list, nets) in
            [("allow", self.lists.allow(&self.limits)), ("deny", self.lists.deny(&self.limits))]
        {
            if let Some(own) = nets.iter().find(|own| own.contains(&net)) {
                because.push(format!("{list}: `{}` in a file or feed", shown(*own)));
            }
        }
        because
    }

    /// What must not be locked out, and why.
    fn safe(&self) -> Vec<(IpNet, String)> {
        let found = safety::reasons(&self.facts()).into_iter().map(|(net, why)| (net, why.to_owned()));
        let configured = self.limits.safety.iter();
        found.chain(configured.map(|net| (*net, "on `limits.safety`".to_owned()))).collect()
    }

    fn put_entry(&mut self, wanted: Wanted) -> Answer {
        let now = now();
        let entry = Entry {
            kind: wanted.kind,
            net: wanted.net,
            rate: wanted.rate,
            policy: wanted.policy,
            until: wanted.secs.map(|secs| End::after(now, secs)),
            by: wanted.by,
            made_secs: now.wall_secs,
            comment: wanted.comment,
        };
        if let Some(policy) = &entry.policy
            && !self.limits.policies.contains_key(policy)
        {
            return Err(Denied::Absent(format!("policy `{policy}` below `limits.policies`")));
        }
        let safe = self.safe();
        let before = self.entries.clone();
        let mut denied = self.lists.deny(&self.limits);
        denied.extend(&self.limits.deny);
        self.entries.put(entry, &safe, &denied)?;
        self.change(before, wanted.kind)?;
        let spared: Vec<String> = match wanted.kind {
            Kind::Deny => safe
                .iter()
                .filter(|(safe, _)| wanted.net.contains(safe))
                .map(|(safe, why)| format!("`{}` still passes: it is {why}", shown(*safe)))
                .collect(),
            _ => Vec::new(),
        };
        let made = self.entries.of_kind(wanted.kind).find(|entry| entry.net == wanted.net);
        Ok(json!({ "entry": made.map(|entry| pages::entry(entry, now)), "notes": spared }))
    }

    fn remove_entry(&mut self, kind: Kind, net: IpNet) -> Answer {
        let before = self.entries.clone();
        let was_there = self.entries.remove(kind, net);
        if was_there {
            self.change(before, kind)?;
        }
        let configured = match kind {
            Kind::Allow => self.limits.allow.contains(&net),
            Kind::Deny => self.limits.deny.contains(&net),
            Kind::Grant | Kind::Limit => false,
        };
        let note = configured.then(|| format!("`{}` is still on the list of the configuration", shown(net)));
        Ok(json!({ "removed": was_there, "notes": note.into_iter().collect::<Vec<_>>() }))
    }

    /// Keeps the changed entries and puts them in force, or goes back to those of before.
    fn change(&mut self, before: crate::limits::entries::Entries, kind: Kind) -> Result<(), Denied> {
        let outcome = self
            .store
            .keep(&self.entries)
            .map_err(|error| format!("the change cannot be kept for the next start: {error}"))
            .and_then(|()| self.force(kind).map_err(|error| in_full(&error)));
        let Err(why) = outcome else { return Ok(()) };
        self.entries = before;
        self.keep();
        if let Err(error) = self.put_in_force() {
            tracing::error!("Rate limits are not kept up: {}", in_full(&error));
        }
        Err(Denied::Failed(why))
    }

    /// Puts all in force, or nothing.
    fn force(&mut self, kind: Kind) -> Result<(), Fault> {
        let mut faults = self.lists.faults();
        let mut passing = self.passing();
        if kind != Kind::Grant && self.faults.iter().any(|fault| fault.starts_with("grants are not in force"))
        {
            // Grants that do not fit do not stand in the way of a list.
            passing.grants.clear();
        }
        self.put(&passing, &mut faults)?;
        self.faults = faults;
        Ok(())
    }
}

/// A policy that lets a whole prefix share what one of its sources has now.
fn proposed(name: &str, policy: &PolicyLimits, net: IpNet) -> String {
    let unit = match policy.unit {
        Unit::NewFlows => "new_flows",
        Unit::Packets => "packets",
        Unit::Bytes => "bytes",
    };
    let label: String = net
        .to_string()
        .chars()
        .map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '_' })
        .collect();
    let rate = policy.rate;
    let (amount, period) = match rate.period_secs {
        1 => (rate.amount, "s"),
        60 => (rate.amount, "m"),
        3600 => (rate.amount, "h"),
        other => ((rate.amount * 3600 / other.max(1)).max(1), "h"),
    };
    let key = match net {
        IpNet::V4(net) => format!("key_v4: {}", net.prefix_len()),
        IpNet::V6(net) => format!("key_v6: {}", net.prefix_len()),
    };
    let mut chosen = vec![format!("sources: ['{net}']")];
    if let Some(protocol) = policy.protocol {
        chosen.push(format!("protocol: {protocol}"));
    }
    for (word, list) in [
        ("ports", policy.ports.iter().map(ToString::to_string).collect::<Vec<_>>()),
        ("interfaces", policy.interfaces.clone()),
    ] {
        if !list.is_empty() {
            chosen.push(format!("{word}: [{}]", list.join(", ")));
        }
    }
    let direction = if policy.direction == Direction::Egress { ", direction: egress" } else { "" };
    format!(
        "limits: {{policies: {{{name}_{label}: {{rate: {amount}/{period}, burst: {}, unit: {unit}, {key}{direction}, match: {{{}}}}}}}}}",
        rate.burst,
        chosen.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Limits, Sources};

    fn load(text: &str) -> Limits {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("rampart.yaml");
        std::fs::write(&file, text).unwrap();
        let loaded = Sources { file: Some(file), ..Sources::default() }.load();
        loaded.unwrap_or_else(|faults| panic!("{text}: {faults}")).limits
    }

    #[test]
    fn proposed_settings_are_settings() {
        let limits = load(
            "limits:
  policies:
    web: {rate: 90/m, burst: 7, match: {protocol: tcp, ports: [80, 443], interfaces: [eth0]}}
    all: {rate: 5k/h, unit: bytes, direction: egress}
  default: {requests: 100, window_secs: 300}
",
        );
        for (name, net) in [
            ("web", "203.0.113.0/24"),
            ("web", "203.0.0.0/16"),
            ("all", "2001:db8::/48"),
            ("all", "2001:db8::/32"),
            ("default", "192.0.2.0/24"),
        ] {
            let net: IpNet = net.parse().unwrap();
            let policy = &limits.policies[name];
            let read = load(&proposed(name, policy, net));
            let (_, made) = read.policies.first_key_value().unwrap();
            assert_eq!(made.sources, [net]);
            let (before, after) = (policy.rate, made.rate);
            assert_eq!(after.burst, before.burst);
            assert_eq!(after.amount * before.period_secs, before.amount * after.period_secs);
            assert_eq!(
                (made.unit, made.protocol, &made.ports),
                (policy.unit, policy.protocol, &policy.ports)
            );
            assert_eq!((made.direction, &made.interfaces), (policy.direction, &policy.interfaces));
            let key = if name == "all" { made.key_v6 } else { made.key_v4 };
            assert_eq!(key, net.prefix_len());
        }
    }
}
