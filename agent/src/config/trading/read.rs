//! Venues, calendars, roles and assets as written, checked; each fault with its place.

use std::collections::BTreeMap;

use ipnet::IpNet;
use jiff::{civil::Date, tz::TimeZone};
use serde_yaml::Value;

use super::{ASSETS, Calendar, OWN_PREFIX, PathPattern, ROLES, Role, Session, Span, VENUE_KINDS, Venue};
use crate::config::{
    fault::Place,
    keys::closest,
    limits::read::Section,
    raw::{Raw, describe},
    services::read::is_name,
};

/// Settings of a venue, in the order of the documentation.
pub(in crate::config) const VENUE_KEYS: [&str; 5] = ["kind", "hosts", "cidrs", "ports", "groups"];
/// Settings of a calendar.
pub(in crate::config) const CALENDAR_KEYS: [&str; 5] =
    ["time_zone", "sessions", "half_day_sessions", "half_days", "holidays"];
/// Settings of a role.
pub(in crate::config) const ROLE_KEYS: [&str; 4] = ["images", "labels", "exes", "comms"];
/// Sessions that have times of their own.
const SESSIONS: [&str; 4] = ["pre_open", "auction", "continuous", "post_close"];
/// Names of tasks are cut by the kernel.
const COMM_MAX: usize = 15;

/// Reads a venue.
pub(in crate::config) fn venue(
    raw: &mut Raw,
    name: &str,
    path: &str,
    value: Value,
    place: &Place,
) -> Option<Venue> {
    named(raw, "venue", name, path, place, None);
    let mut section = Section::open(raw, path, value, place, &VENUE_KEYS)?;
    if !section.entries.contains_key("kind") {
        let help = Some(format!("set `kind` to one of {}", VENUE_KINDS.join(", ")));
        section.raw.fault(section.place.clone(), format!("`{path}` has no kind"), help);
    }
    let kind = section.choice("kind", &VENUE_KINDS, "api");
    let hosts = section.checked("hosts", "host name", "write `gw.exchange.example`", |word| {
        let word = word.trim_end_matches('.').to_ascii_lowercase();
        let is_host = word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.*".contains(&byte));
        (is_host && !word.is_empty()).then_some(word)
    });
    let cidrs =
        section.checked("cidrs", "address", "write `192.0.2.1`, `192.0.2.0/24` or `2001:db8::/48`", net);
    let groups =
        section.checked("groups", "multicast group", "write `239.1.0.0/16` or `ff3e::8000:1`", |word| {
            net(word).filter(|net| net.network().is_multicast() && net.broadcast().is_multicast())
        });
    let ports = section.checked("ports", "port", "write a number from 1 to 65535", |word| {
        word.parse().ok().filter(|port| *port > 0)
    });
    if hosts.is_empty() && cidrs.is_empty() && groups.is_empty() {
        let help = Some("set `hosts`, `cidrs` or `groups`".to_owned());
        section.raw.fault(section.place.clone(), format!("`{path}` is nowhere"), help);
    }
    Some(Venue { kind, hosts, cidrs, ports, groups })
}

/// Reads a calendar.
pub(in crate::config) fn calendar(
    raw: &mut Raw,
    name: &str,
    path: &str,
    value: Value,
    place: &Place,
) -> Option<Calendar> {
    named(raw, "calendar", name, path, place, None);
    let mut section = Section::open(raw, path, value, place, &CALENDAR_KEYS)?;
    let zone = match section.take("time_zone") {
        None => {
            let help = Some("set it, such as `time_zone: Europe/Berlin`".to_owned());
            section.raw.fault(section.place.clone(), format!("`{path}` has no time zone"), help);
            None
        }
        Some(value) => {
            let zone = value.as_str().and_then(|name| TimeZone::get(name).ok());
            if zone.is_none() {
                section.wrong("time_zone", &value, "an IANA time zone such as `Europe/Berlin`");
            }
            zone
        }
    };
    let sessions = section.sessions("sessions");
    let half_day_sessions = section.sessions("half_day_sessions");
    let half_days = section.dates("half_days");
    let holidays = section.dates("holidays");
    let tell = |section: &mut Section<'_>, key: &str, message: String, help: &str| {
        let place = section.place_of(key);
        section.raw.fault(place, message, Some(help.to_owned()));
    };
    if sessions.is_empty() {
        tell(
            &mut section,
            "sessions",
            format!("`{path}` has no session"),
            "write `continuous: mon-fri 09:00-17:30`",
        );
    }
    if half_days.is_empty() != half_day_sessions.is_empty() {
        let (key, help) = if half_days.is_empty() {
            ("half_day_sessions", "name the days in `half_days`")
        } else {
            ("half_days", "say their times in `half_day_sessions`")
        };
        tell(
            &mut section,
            key,
            format!("`{path}` has only one of `half_days` and `half_day_sessions`"),
            help,
        );
    }
    if let Some(both) = half_days.iter().find(|day| holidays.contains(day)) {
        let message = format!("`{path}` has {both} as a half day and as a holiday");
        tell(&mut section, "half_days", message, "remove one of the two");
    }
    Some(Calendar { zone: zone?, sessions, half_day_sessions, half_days, holidays })
}

/// Reads a role.
pub(in crate::config) fn role(
    raw: &mut Raw,
    name: &str,
    path: &str,
    value: Value,
    place: &Place,
) -> Option<Role> {
    named(raw, "role", name, path, place, Some(&ROLES));
    let mut section = Section::open(raw, path, value, place, &ROLE_KEYS)?;
    let images = section.words("images").into_iter().map(|(word, _)| word).collect::<Vec<_>>();
    let exes = section.checked("exes", "path", ABSOLUTE, PathPattern::read);
    let comms =
        section.checked("comms", "name", "names have up to 15 bytes, the kernel cuts longer ones", |word| {
            (!word.is_empty() && word.len() <= COMM_MAX).then(|| word.to_owned())
        });
    let mut labels = BTreeMap::new();
    match section.take("labels") {
        None => {}
        Some(Value::Mapping(entries)) => {
            for (key, value) in entries {
                let text = match &value {
                    Value::String(text) => Some(text.clone()),
                    Value::Number(number) => Some(number.to_string()),
                    Value::Bool(value) => Some(value.to_string()),
                    _ => None,
                };
                match key.as_str().filter(|key| is_label(key)).zip(text) {
                    Some((key, text)) => {
                        labels.insert(key.to_owned(), text);
                    }
                    None => section.wrong("labels", &value, "names of labels with their values"),
                }
            }
        }
        Some(other) => section.wrong("labels", &other, "a section of labels"),
    }
    if images.is_empty() && labels.is_empty() && exes.is_empty() && comms.is_empty() {
        let help = Some("set `images`, `labels`, `exes` or `comms`".to_owned());
        section.raw.fault(section.place.clone(), format!("`{path}` is nobody's"), help);
    }
    Some(Role { images, labels, exes, comms })
}

/// Reads a kind of assets: a list of paths.
#[expect(clippy::needless_pass_by_value, reason = "all of these are called alike")]
pub(in crate::config) fn asset(
    raw: &mut Raw,
    name: &str,
    path: &str,
    value: Value,
    place: &Place,
) -> Option<Vec<PathPattern>> {
    named(raw, "asset", name, path, place, Some(&ASSETS));
    let place = raw.place_of(path, place);
    let words: Option<Vec<&str>> = match &value {
        Value::String(text) => Some(vec![text]),
        Value::Sequence(items) => items.iter().map(Value::as_str).collect(),
        _ => None,
    };
    let Some(words) = words.filter(|words| !words.is_empty()) else {
        raw.fault(place, format!("`{path}` must be a list of paths, found {}", describe(&value)), None);
        return None;
    };
    let mut patterns = Vec::new();
    for word in words {
        match PathPattern::read(word) {
            Some(pattern) => patterns.push(pattern),
            None => {
                raw.fault(
                    place.clone(),
                    format!("`{path}` names the path `{word}`"),
                    Some(ABSOLUTE.to_owned()),
                );
            }
        }
    }
    Some(patterns)
}

/// What is said of paths that are none.
const ABSOLUTE: &str = "write `/a/b`, `/a/` for all below it, or a pattern such as `/a/*.key`; no `..`";

/// Faults of a name; where the pack knows some, others must begin with a mark of their own.
fn named(raw: &mut Raw, what: &str, name: &str, path: &str, place: &Place, known: Option<&[&'static str]>) {
    let place = raw.place_of(path, place);
    if !is_name(name) {
        let message = format!("the {what} `{name}` must be named by letters, digits, `-`, `_` and `.`");
        return raw.fault(place, message, None);
    }
    let Some(known) = known else { return };
    if !known.contains(&name) && !name.starts_with(OWN_PREFIX) {
        let near = closest(known.iter().copied(), name);
        let help = match near {
            Some(near) => format!("did you mean `{near}`? A name of your own begins with `{OWN_PREFIX}`"),
            None => format!("use one of {}, or a name that begins with `{OWN_PREFIX}`", known.join(", ")),
        };
        raw.fault(place, format!("no rule knows the {what} `{name}`"), Some(help));
    }
}

fn is_label(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte))
}

fn net(word: &str) -> Option<IpNet> {
    word.parse::<IpNet>()
        .ok()
        .map(|net| net.trunc())
        .or_else(|| Some(IpNet::from(word.parse::<std::net::IpAddr>().ok()?)))
}

impl Section<'_> {
    /// Items of a list, each read or refused.
    fn checked<T>(&mut self, key: &str, what: &str, help: &str, read: impl Fn(&str) -> Option<T>) -> Vec<T> {
        let mut out = Vec::new();
        for (word, place) in self.words(key) {
            if let Some(item) = read(&word) {
                out.push(item);
            } else {
                let message = format!("`{}.{key}` names the {what} `{word}`", self.path);
                self.raw.fault(place, message, Some(help.to_owned()));
            }
        }
        out
    }

    /// Times by session.
    fn sessions(&mut self, key: &str) -> Vec<(Session, Span)> {
        let Some(value) = self.take(key) else { return Vec::new() };
        let (path, place) = (format!("{}.{key}", self.path), self.place_of(key));
        let Some(mut section) = Section::open(self.raw, &path, value, &place, &SESSIONS) else {
            return Vec::new();
        };
        let mut out = Vec::new();
        for session in Session::ALL.into_iter().filter(|session| *session != Session::Closed) {
            let help = "write such as `mon-fri 09:00-17:30`";
            let spans = section.checked(session.name(), "time", help, Span::read);
            out.extend(spans.into_iter().map(|span| (session, span)));
        }
        out
    }

    fn dates(&mut self, key: &str) -> Vec<Date> {
        let mut dates =
            self.checked(key, "day", "write such as `2026-12-24`", |word| word.parse::<Date>().ok());
        dates.sort_unstable();
        dates.dedup();
        dates
    }
}
