//! Policies and interfaces as written, checked; each fault with its place.

mod quota;
mod service;

use std::collections::BTreeMap;

use ipnet::IpNet;
use rampart_common::limit::{
    gcra::{Limit, Mode, Unfit},
    packet::{ICMP, ICMP6, SCTP, TCP, UDP},
    verdict::{Action, Direction, Unit},
};
use serde_yaml::{Mapping, Value};

use super::{InterfaceLimits, PolicyLimits};
use crate::{
    config::{
        fault::Place,
        keys,
        raw::{Raw, describe},
        services::ServiceSettings,
        trading::Calendar,
    },
    kernel::limiter::{Rung, Wish},
    limits::{
        class::Class,
        files,
        rate::{self, Rate},
    },
};

/// Settings of a policy, in the order of the documentation.
pub(in crate::config) const POLICY_KEYS: [&str; 14] = [
    "rate",
    "burst",
    "unit",
    "mode",
    "action",
    "mark",
    "dry_run",
    "on_demand",
    "key_v4",
    "key_v6",
    "class",
    "quota",
    "direction",
    "match",
];
/// Settings below a policy's `match`.
pub(in crate::config) const MATCH_KEYS: [&str; 5] = ["interfaces", "protocol", "ports", "service", "sources"];
/// What is done with packets over a policy.
pub(in crate::config) const ACTIONS: [&str; 4] = ["drop", "reset", "mark", "observe"];
/// Ways to attach to an interface.
pub(in crate::config) const HOOKS: [&str; 6] =
    ["auto", "native", "native_virtual", "tcx", "clsact", "generic"];
/// Settings of an interface.
pub(in crate::config) const INTERFACE_KEYS: [&str; 2] = ["directions", "hook"];
/// Bytes of the largest packet that segmentation offload makes without further ado: a burst of bytes below it would
/// let such packets pass one at a time only.
const LARGEST_PACKET: u64 = 65_536;

/// What other sections say that policies name.
pub(in crate::config) struct Known<'a> {
    pub(in crate::config) calendars: &'a BTreeMap<String, Calendar>,
    pub(in crate::config) services: &'a BTreeMap<String, ServiceSettings>,
}

/// A mapping that is being read.
pub(in crate::config) struct Section<'a> {
    pub(in crate::config) raw: &'a mut Raw,
    pub(in crate::config) place: Place,
    pub(in crate::config) path: String,
    pub(in crate::config) entries: Mapping,
}

/// The mapping of `path`, whose keys are names of the user's choice; reads each entry.
pub(in crate::config) fn named<T>(
    raw: &mut Raw,
    path: &str,
    mut read: impl FnMut(&mut Raw, &str, &str, Value, &Place) -> Option<T>,
) -> BTreeMap<String, T> {
    let Some(setting) = raw.settings.remove(path) else { return BTreeMap::new() };
    let entries = match setting.value {
        Value::Null => return BTreeMap::new(),
        Value::Mapping(entries) => entries,
        other => {
            let message = format!("`{path}` must be a section of names, found {}", describe(&other));
            raw.fault(setting.place, message, None);
            return BTreeMap::new();
        }
    };
    let mut all = BTreeMap::new();
    for (key, value) in entries {
        let Some(name) = key.as_str().filter(|name| !name.is_empty()) else {
            let message = format!("a name below `{path}` must be text, found {}", describe(&key));
            raw.fault(setting.place.clone(), message, None);
            continue;
        };
        let full = format!("{path}.{name}");
        let faults = raw.faults.len();
        let read = read(raw, name, &full, value, &setting.place);
        // What was understood of a faulty one may say more than its author meant.
        if let Some(read) = read.filter(|_| raw.faults.len() == faults) {
            all.insert(name.to_owned(), read);
        }
    }
    all
}

/// Reads an interface.
pub(in crate::config) fn interface(
    raw: &mut Raw,
    _name: &str,
    path: &str,
    value: Value,
    place: &Place,
) -> Option<InterfaceLimits> {
    let mut section = Section::open(raw, path, value, place, &INTERFACE_KEYS)?;
    let mut directions = Vec::new();
    for (word, place) in section.words("directions") {
        match direction(&word) {
            Some(direction) if !directions.contains(&direction) => directions.push(direction),
            Some(_) => {}
            None => section.raw.fault(
                place,
                format!("`{path}.directions` names `{word}`"),
                Some("use `ingress` and `egress`".to_owned()),
            ),
        }
    }
    if directions.is_empty() {
        directions.push(Direction::Ingress);
    }
    let hook = match section.choice("hook", &HOOKS, "auto") {
        "native" => Wish::Only(Rung::Native),
        "native_virtual" => Wish::Force(Rung::Native),
        "tcx" => Wish::Only(Rung::Tcx),
        "clsact" => Wish::Only(Rung::Clsact),
        "generic" => Wish::Only(Rung::Generic),
        _ => Wish::Auto,
    };
    Some(InterfaceLimits { directions, hook })
}

/// Reads a policy.
pub(in crate::config) fn policy(
    raw: &mut Raw,
    path: &str,
    value: Value,
    place: &Place,
    known: &Known<'_>,
) -> Option<PolicyLimits> {
    let mut section = Section::open(raw, path, value, place, &POLICY_KEYS)?;
    let unit = match section.choice("unit", &["new_flows", "packets", "bytes"], "new_flows") {
        "packets" => Unit::Packets,
        "bytes" => Unit::Bytes,
        _ => Unit::NewFlows,
    };
    let mode = match section.choice("mode", &["throttle", "penalize"], "throttle") {
        "penalize" => Mode::Penalize,
        _ => Mode::Throttle,
    };
    let action = match section.choice("action", &ACTIONS, "drop") {
        "reset" => Action::Reset,
        "mark" => Action::Mark,
        "observe" => Action::Observe,
        _ => Action::Drop,
    };
    let (rate, limit) = section.limit(unit).unzip();
    let class = section.choice("class", &Class::NAMES, Class::Standard.name());
    let quota = section.quota(known.calendars);
    let mark = section.number("mark", 0, u64::from(u32::MAX), 0) as u32;
    if action == Action::Mark && mark == 0 {
        let place = section.place_of("mark");
        section.raw.fault(
            place,
            format!("`{path}` marks packets with nothing"),
            Some("set `mark`".to_owned()),
        );
    }
    let direction = match section.choice("direction", &["ingress", "egress"], "ingress") {
        "egress" => Direction::Egress,
        _ => Direction::Ingress,
    };
    let is_dry = section.bool("dry_run");
    let is_on_demand = section.bool("on_demand");
    let key_v4 = section.number("key_v4", 8, 32, 32) as u8;
    let key_v6 = section.number("key_v6", 16, 64, 64) as u8;
    let (mut interfaces, mut protocol, mut ports, mut sources) = (Vec::new(), None, Vec::new(), Vec::new());
    if let Some(value) = section.entries.remove("match") {
        let (full, place) = (format!("{path}.match"), section.place_of("match"));
        let mut chosen = Section::open(section.raw, &full, value, &place, &MATCH_KEYS)?;
        interfaces = chosen.words("interfaces").into_iter().map(|(word, _)| word).collect();
        if let Some(service) = chosen.service(known.services) {
            (protocol, ports) = service;
        } else {
            protocol = chosen.protocol();
            ports = chosen.ports(protocol);
        }
        sources = chosen.nets("sources");
    }
    Some(PolicyLimits {
        rate: rate?,
        limit: limit?,
        quota,
        class: Class::of_name(class).unwrap_or_default(),
        unit,
        mode,
        action,
        mark,
        is_dry,
        is_on_demand,
        key_v4,
        key_v6,
        interfaces,
        direction,
        protocol,
        ports,
        sources,
    })
}

/// Addresses and prefixes of a list, with a fault for each that is none.
pub(in crate::config) fn nets(raw: &mut Raw, path: &str) -> Vec<IpNet> {
    let Some(setting) = raw.settings.remove(path) else { return Vec::new() };
    let (words, wrong) = words_of(&setting.value);
    if wrong {
        let message = format!("`{path}` must be a list of addresses, found {}", describe(&setting.value));
        raw.fault(setting.place.clone(), message, None);
    }
    words.iter().filter_map(|word| checked_net(raw, path, word, &setting.place)).collect()
}

impl<'a> Section<'a> {
    pub(in crate::config) fn open(
        raw: &'a mut Raw,
        path: &str,
        value: Value,
        place: &Place,
        known: &[&'static str],
    ) -> Option<Self> {
        let place = raw.place_of(path, place);
        let entries = match value {
            Value::Mapping(entries) => entries,
            Value::Null => Mapping::new(),
            other => {
                raw.fault(place, format!("`{path}` must be a section, found {}", describe(&other)), None);
                return None;
            }
        };
        for key in entries.keys() {
            let name = key.as_str().unwrap_or_default();
            if !known.contains(&name) {
                let near = keys::closest(known.iter().copied(), name);
                let help = near.map(|near| format!("did you mean `{near}`?"));
                let at = raw.place_of(&format!("{path}.{name}"), &place);
                raw.fault(at, format!("unknown setting `{path}.{name}`"), help);
            }
        }
        Some(Self { raw, place, path: path.to_owned(), entries })
    }

    pub(in crate::config) fn place_of(&self, name: &str) -> Place {
        self.raw.place_of(&format!("{}.{name}", self.path), &self.place)
    }

    /// The value, unless it is absent or empty.
    pub(in crate::config) fn take(&mut self, name: &str) -> Option<Value> {
        self.entries.remove(name).filter(|value| !value.is_null())
    }

    pub(in crate::config) fn wrong(&mut self, name: &str, value: &Value, expected: &str) {
        let message = format!("`{}.{name}` must be {expected}, found {}", self.path, describe(value));
        let place = self.place_of(name);
        self.raw.fault(place, message, None);
    }

    pub(in crate::config) fn choice(
        &mut self,
        name: &str,
        words: &[&'static str],
        default: &'static str,
    ) -> &'static str {
        let Some(value) = self.take(name) else { return default };
        let text = value.as_str().unwrap_or_default().to_ascii_lowercase();
        if let Some(word) = words.iter().find(|word| **word == text) {
            return word;
        }
        self.wrong(name, &value, &format!("one of {}", words.join(", ")));
        default
    }

    fn bool(&mut self, name: &str) -> bool {
        self.flag(name, false)
    }

    pub(in crate::config) fn flag(&mut self, name: &str, default: bool) -> bool {
        let Some(value) = self.take(name) else { return default };
        value.as_bool().unwrap_or_else(|| {
            self.wrong(name, &value, "`true` or `false`");
            default
        })
    }

    pub(in crate::config) fn number(&mut self, name: &str, least: u64, most: u64, default: u64) -> u64 {
        let Some(value) = self.take(name) else { return default };
        if let Some(number) = value.as_u64().filter(|number| (least..=most).contains(number)) {
            return number;
        }
        self.wrong(name, &value, &format!("a whole number from {least} to {most}"));
        default
    }

    /// Items of a list, or a single one, as text.
    pub(in crate::config) fn words(&mut self, name: &str) -> Vec<(String, Place)> {
        let Some(value) = self.take(name) else { return Vec::new() };
        let (words, wrong) = words_of(&value);
        if wrong {
            self.wrong(name, &value, "a list");
        }
        let place = self.place_of(name);
        words.into_iter().map(|word| (word, place.clone())).collect()
    }

    fn nets(&mut self, name: &str) -> Vec<IpNet> {
        let path = format!("{}.{name}", self.path);
        let words = self.words(name);
        words.iter().filter_map(|(word, place)| checked_net(self.raw, &path, word, place)).collect()
    }

    fn protocol(&mut self) -> Option<u8> {
        let value = self.take("protocol")?;
        let text = value.as_str().map(str::to_ascii_lowercase);
        let number = match text.as_deref() {
            Some("any") => return None,
            Some("tcp") => Some(TCP),
            Some("udp") => Some(UDP),
            Some("sctp") => Some(SCTP),
            Some("icmp") => Some(ICMP),
            Some("icmpv6") => Some(ICMP6),
            _ => value.as_u64().and_then(|number| u8::try_from(number).ok()),
        };
        if number.is_none() {
            self.wrong(
                "protocol",
                &value,
                "`tcp`, `udp`, `sctp`, `icmp`, `icmpv6`, `any` or a number up to 255",
            );
        }
        number
    }

    fn ports(&mut self, protocol: Option<u8>) -> Vec<u16> {
        let mut ports = Vec::new();
        let words = self.words("ports");
        let has_ports = !words.is_empty();
        for (word, place) in words {
            match word.parse() {
                Ok(port) if port > 0 => ports.push(port),
                _ => self.raw.fault(place, format!("`{}.ports` names the port `{word}`", self.path), None),
            }
        }
        if has_ports && !matches!(protocol, Some(TCP | UDP | SCTP)) {
            let place = self.place_of("ports");
            let help = Some("set `protocol` to `tcp`, `udp` or `sctp`".to_owned());
            self.raw.fault(place, format!("`{}.ports` needs a protocol that has ports", self.path), help);
        }
        ports
    }

    fn limit(&mut self, unit: Unit) -> Option<(Rate, Limit)> {
        let Some(value) = self.take("rate") else {
            let (place, help) = (self.place.clone(), Some("set it, such as `rate: 1000/s`".to_owned()));
            self.raw.fault(place, format!("`{}` has no rate", self.path), help);
            return None;
        };
        let rate = match (&value, value.as_u64()) {
            (_, Some(number)) => Some((number, 1)),
            (Value::String(text), _) => rate::parse(text),
            _ => None,
        };
        let Some((amount, period_secs)) = rate else {
            self.wrong("rate", &value, "a number per second, or such as `1000/s`, `90/m`, `5k/h`");
            return None;
        };
        let least = if unit == Unit::Bytes { LARGEST_PACKET } else { 1 };
        // As much as a second brings, when nothing is said.
        let usual = Rate::new((amount, period_secs), None, least).burst;
        let burst = self.number("burst", least, 1 << 40, usual);
        let rate = Rate { amount, period_secs, burst };
        match rate.limit() {
            Ok(limit) => Some((rate, limit)),
            Err(fault) => {
                let reason = match fault {
                    Unfit::Zero => "is nothing",
                    Unfit::TooSlow => "is less than one an hour",
                    Unfit::TooMuch => "and its burst are too much: the burst may be 13 days of the rate",
                };
                let place = self.place_of("rate");
                self.raw.fault(place, format!("`{}.rate` {reason}", self.path), None);
                None
            }
        }
    }
}

/// Items of a list, or a single one, as text; and whether some were neither text nor number.
fn words_of(value: &Value) -> (Vec<String>, bool) {
    let word = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    match value {
        Value::Null => (Vec::new(), false),
        Value::Sequence(items) => {
            let words: Vec<String> = items.iter().filter_map(word).collect();
            let wrong = words.len() != items.len();
            (words, wrong)
        }
        other => {
            let words: Vec<String> = word(other).into_iter().collect();
            let wrong = words.is_empty();
            (words, wrong)
        }
    }
}

/// An address or prefix. IPv6 prefixes between /64 and a single address are refused: keys do not tell them apart.
fn checked_net(raw: &mut Raw, path: &str, word: &str, place: &Place) -> Option<IpNet> {
    let Some(net) = files::net(word) else {
        let help = Some("write `192.0.2.1`, `192.0.2.0/24` or `2001:db8::/48`".to_owned());
        raw.fault(place.clone(), format!("`{path}` names `{word}`, which is no address"), help);
        return None;
    };
    if files::is_part(net) {
        let help = Some("use a /64 or shorter, or a single address".to_owned());
        raw.fault(place.clone(), format!("`{path}` names `{word}`, a part of a /64"), help);
        return None;
    }
    Some(net)
}

fn direction(word: &str) -> Option<Direction> {
    Direction::ALL.into_iter().find(|direction| direction.name() == word)
}
