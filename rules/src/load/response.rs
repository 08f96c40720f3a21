//! The key `response` of a rule.

use super::read::{Read, item::Item};
use crate::{
    diagnostic::{Diagnostic, code},
    duration,
    response::{
        ACTIONS_MAX, Action, CAPTURE_MAX_MS, CAPTURE_MS, Kind, Mode, Responses, Scope, TTL_MAX_MS, TTL_MS,
        Traffic,
    },
    yaml::Node,
};

/// The key.
pub(super) const KEY: &str = "response";

/// Reads the key when it is there: a list of things to do, or `{mode, actions}`.
pub(super) fn read(item: Item<'_>) -> Read<Option<Responses>> {
    let Some(node) = item.get(KEY).filter(|node| !node.is_null()) else { return Ok(None) };
    let reader = Reader { item };
    let (mode, list) = match node.as_map() {
        Some(_) if node.get("actions").is_some() || node.get("mode").is_some() => {
            reader.known(node, &["mode", "actions"])?;
            let mode = match node.get("mode") {
                Some(mode) => reader.word(mode, Mode::ALL.map(|mode| (mode.name(), mode)))?,
                None => Mode::Enforce,
            };
            let missing = || reader.fault(node, "`response` has no `actions`".to_owned());
            (mode, node.get("actions").ok_or_else(missing)?)
        }
        _ => (Mode::Enforce, node),
    };
    let nodes = list.as_seq().unwrap_or(std::slice::from_ref(list));
    if nodes.is_empty() || nodes.len() > ACTIONS_MAX {
        return Err(reader.fault(list, format!("a rule has 1 to {ACTIONS_MAX} responses")));
    }
    let actions = nodes.iter().map(|node| reader.action(node)).collect::<Read<Vec<_>>>()?;
    Ok(Some(Responses { mode, actions }))
}

struct Reader<'i> {
    item: Item<'i>,
}

impl Reader<'_> {
    /// `kill`, `kill: tree` or `block_ip: {ttl: 10m}`.
    fn action(&self, node: &Node) -> Read<Action> {
        const NONE: &[&str] = &[];
        let names = Kind::ALL.map(|kind| (kind.name(), kind));
        let (kind, body) = match node.as_map() {
            None => (self.word(node, names)?, None),
            Some([(key, body)]) => (self.word(key, names)?, Some(body).filter(|body| !body.is_null())),
            Some(_) => {
                let message = "a response is one name with its settings, as in `block_ip: {ttl: 10m}`";
                return Err(self.fault(node, message.to_owned()));
            }
        };
        // The one setting that may be written without its name.
        let (settings, short): (&[&str], _) = match kind {
            Kind::Kill => (&["scope"], "scope"),
            Kind::BlockIp => (&["ttl"], "ttl"),
            Kind::LimitIp => (&["policy", "ttl"], "policy"),
            Kind::Quarantine => (&["traffic", "ttl"], "traffic"),
            Kind::OpenBreaker => (&["service", "ttl"], "service"),
            Kind::Notify => (&["channel"], "channel"),
            Kind::Capture => (&["seconds"], "seconds"),
            Kind::Deny => (NONE, ""),
        };
        let short = body.filter(|body| body.as_text().is_some()).map(|body| (short, body));
        if let (Some(body), None) = (body, short) {
            self.known(body, if settings.is_empty() { NONE } else { settings })?;
        }
        let get = |name: &str| match short {
            Some((only, body)) => (only == name).then_some(body),
            None => body.and_then(|body| body.get(name)),
        };
        let needed = |name: &'static str| -> Read<String> {
            let text = get(name).and_then(Node::as_text).map(str::trim).filter(|text| !text.is_empty());
            let missing = || {
                let message = format!("`{}` has no `{name}`", kind.name());
                let mut finding = self.fault(node, message);
                finding.help = Some(format!("write `{}: {{{name}: NAME}}`", kind.name()));
                finding
            };
            text.map(str::to_owned).ok_or_else(missing)
        };
        let ttl = || self.time(get("ttl"), TTL_MS);
        Ok(match kind {
            Kind::Kill => Action::Kill(match get("scope") {
                Some(scope) => self.word(scope, Scope::ALL.map(|scope| (scope.name(), scope)))?,
                None => Scope::Process,
            }),
            Kind::BlockIp => Action::BlockIp { ttl_ms: ttl()? },
            Kind::LimitIp => Action::LimitIp { policy: needed("policy")?, ttl_ms: ttl()? },
            Kind::Quarantine => Action::Quarantine {
                traffic: match get("traffic") {
                    Some(word) => self.word(word, Traffic::ALL.map(|traffic| (traffic.name(), traffic)))?,
                    None => Traffic::Egress,
                },
                ttl_ms: ttl()?,
            },
            Kind::OpenBreaker => Action::OpenBreaker { service: needed("service")?, ttl_ms: ttl()? },
            Kind::Notify => Action::Notify { channel: needed("channel")? },
            Kind::Capture => Action::Capture { ms: self.seconds(get("seconds"))? },
            Kind::Deny if short.is_some() => {
                return Err(self.fault(node, "`deny` has no settings".to_owned()));
            }
            Kind::Deny => Action::Deny,
        })
    }

    fn time(&self, node: Option<&Node>, default: u64) -> Read<u64> {
        let Some(node) = node else { return Ok(default) };
        let ms = node.as_text().and_then(duration::parse_ms);
        ms.filter(|ms| (1000..=TTL_MAX_MS).contains(ms)).ok_or_else(|| {
            let mut finding = self.fault(node, "`ttl` must be a time from a second to a week".to_owned());
            finding.help = Some("write it with units, such as `30s`, `10m`, `1h30m`".to_owned());
            finding
        })
    }

    fn seconds(&self, node: Option<&Node>) -> Read<u64> {
        let Some(node) = node else { return Ok(CAPTURE_MS) };
        let secs = node.as_text().and_then(|text| text.parse::<u64>().ok());
        let ms = secs.and_then(|secs| secs.checked_mul(1000)).filter(|ms| (1..=CAPTURE_MAX_MS).contains(ms));
        let wrong = || {
            self.fault(node, format!("`seconds` must be a whole number from 1 to {}", CAPTURE_MAX_MS / 1000))
        };
        ms.ok_or_else(wrong)
    }

    fn word<T: Copy, const N: usize>(&self, node: &Node, words: [(&'static str, T); N]) -> Read<T> {
        let text = node.as_text().unwrap_or_default();
        if let Some((_, value)) = words.into_iter().find(|(name, _)| *name == text) {
            return Ok(value);
        }
        let names = words.map(|(name, _)| name);
        let message = format!("`{}` is none of {}", text.escape_debug(), names.join(", "));
        Err(Box::new(self.fault(node, message).did_you_mean(text, names)))
    }

    fn known(&self, node: &Node, known: &[&'static str]) -> Read<()> {
        let Some(pairs) = node.as_map() else {
            return Err(self.fault(node, format!("expected settings, found {}", node.describe())));
        };
        for (key, _) in pairs {
            let name = key.as_text().unwrap_or_default();
            if !known.contains(&name) {
                let finding = self.fault(key, format!("unknown key `{}` of a response", name.escape_debug()));
                return Err(Box::new(finding.did_you_mean(name, known.iter().copied())));
            }
        }
        Ok(())
    }

    fn fault(&self, node: &Node, message: String) -> Box<Diagnostic> {
        Box::new(self.item.fault(code::BAD_RESPONSE, message).at(node.span))
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        load::{LoadOptions, Source, load},
        response::{Action, CAPTURE_MS, Mode, Responses, Scope, TTL_MS, Traffic},
    };

    fn read(keys: &str, strict_falco: bool) -> Result<Option<Responses>, String> {
        let rule = "- rule: r\n  desc: d\n  condition: evt.type=connect\n  output: o\n  priority: INFO\n";
        let source = Source { name: "r.yaml".to_owned(), text: format!("{rule}{keys}").into_bytes() };
        let loaded = load(&[source], &LoadOptions { strict_falco, ..LoadOptions::default() });
        match loaded.rules {
            Some(set) => Ok(set.rules()[0].responses.as_deref().cloned()),
            None => Err(loaded.diagnostics.iter().map(|finding| finding.message.as_str()).collect()),
        }
    }

    fn actions(keys: &str) -> Vec<Action> {
        read(keys, false).unwrap().unwrap().actions
    }

    #[test]
    fn every_response_is_read_short_and_whole() {
        assert_eq!(read("", false), Ok(None));
        assert_eq!(actions("  response: kill"), [Action::Kill(Scope::Process)]);
        let text = "  response:\n  - kill: tree\n  - kill: {scope: container}\n  - block_ip\n  - block_ip: 90s\n  \
                    - limit_ip: {policy: slow, ttl: 1h}\n  - quarantine: {traffic: all, ttl: 5m}\n  \
                    - open_breaker: {service: orders}\n  - capture: {seconds: 5}\n";
        let expected = [
            Action::Kill(Scope::Tree),
            Action::Kill(Scope::Container),
            Action::BlockIp { ttl_ms: TTL_MS },
            Action::BlockIp { ttl_ms: 90_000 },
            Action::LimitIp { policy: "slow".into(), ttl_ms: 3_600_000 },
            Action::Quarantine { traffic: Traffic::All, ttl_ms: 300_000 },
            Action::OpenBreaker { service: "orders".into(), ttl_ms: TTL_MS },
            Action::Capture { ms: 5000 },
        ];
        assert_eq!(actions(text), expected);
        assert_eq!(actions("  response: deny"), [Action::Deny]);
        assert_eq!(actions("  response: [notify: oncall]"), [Action::Notify { channel: "oncall".into() }]);
        let off = read("  response: {mode: off, actions: [quarantine]}", false).unwrap().unwrap();
        let quarantine = Action::Quarantine { traffic: Traffic::Egress, ttl_ms: TTL_MS };
        assert_eq!(off, Responses { mode: Mode::Off, actions: vec![quarantine] });
        assert_eq!(read("  response: kill", true), Ok(None), "Falco has none");
    }

    #[test]
    fn falcos_capture_is_one_of_them() {
        assert_eq!(actions("  capture: true"), [Action::Capture { ms: CAPTURE_MS }]);
        let both = "  capture: true\n  capture_duration: 2500\n  response: kill";
        assert_eq!(actions(both), [Action::Kill(Scope::Process), Action::Capture { ms: 2500 }]);
        let own = "  capture: true\n  response: [capture: 7]";
        assert_eq!(actions(own), [Action::Capture { ms: 7000 }]);
    }

    #[test]
    fn overrides_replace_all_of_it_and_append_nothing() {
        let text = "  response: kill\n- rule: r\n  response: block_ip\n  override: {response: replace}\n";
        assert_eq!(actions(text), [Action::BlockIp { ttl_ms: TTL_MS }]);
        assert!(read("- rule: r\n  response: kill\n  override: {response: append}\n", false).is_err());
    }

    #[test]
    fn faults_are_named() {
        for (keys, fault) in [
            ("  response: []", "1 to 8"),
            ("  response: kil", "`kil` is none of"),
            ("  response: {mode: on, actions: [kill]}", "`on` is none of off, observe, enforce"),
            ("  response: {mode: observe}", "no `actions`"),
            ("  response: {kill: tree, block_ip: 1m}", "one name with its settings"),
            ("  response: [block_ip: {ttl: 0s}]", "from a second to a week"),
            ("  response: [block_ip: {for: 1m}]", "unknown key `for`"),
            ("  response: [limit_ip: {ttl: 1m}]", "`limit_ip` has no `policy`"),
            ("  response: [open_breaker]", "`open_breaker` has no `service`"),
            ("  response: [capture: {seconds: 601}]", "from 1 to 600"),
            ("  response: [kill: everything]", "`everything` is none of"),
            ("  response: [[kill]]", "is none of"),
            ("  response: [deny: always]", "`deny` has no settings"),
            ("  response: [deny: {ttl: 1m}]", "unknown key `ttl`"),
        ] {
            let found = read(keys, false).unwrap_err();
            assert!(found.contains(fault), "{keys}: {found}");
        }
    }
}
