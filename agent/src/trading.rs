//! What the fields `trading.*` are on an event: venues, the session, roles and assets, as the configuration describes
//! them.
//!
//! Each value is a condition on other fields (see [`Meaning`]): the same text tells the field's value here and, as what
//! a comparison with it implies, the planner of pushdown what to look for. Built when rules are loaded and replaced with
//! them; never changed.

mod calendar;
mod conditions;

use std::net::IpAddr;

use ipnet::IpNet;
use rampart_rules::{
    catalog::{FieldId, ids},
    filter::Filter,
    meaning::Meaning,
    typed::{Environment, FieldUse, Right},
    value::{FieldSource, Truth, Value},
};

use self::calendar::Timetable;
use crate::config;

/// The fields that have no value when nothing is configured.
const FIELDS: [FieldId; 7] = [
    ids::TRADING_VENUE,
    ids::TRADING_VENUE_KIND,
    ids::TRADING_VENUE_LISTED,
    ids::TRADING_SESSION,
    ids::TRADING_ROLE,
    ids::TRADING_TARGET_ROLE,
    ids::TRADING_ASSET,
];

/// What the kernel is told of a session is taken back so long before it ends, nanoseconds: more than the detector ever
/// takes to notice the time.
const STABLE_NS: u64 = 10_000_000_000;

/// The section, compiled.
#[derive(Debug)]
pub struct Trading {
    venues: Vec<Venue>,
    roles: Vec<Named>,
    assets: Vec<Named>,
    calendars: Vec<(Box<str>, Timetable)>,
}

/// A value and when a field has it.
#[derive(Debug)]
struct Named {
    name: Box<str>,
    is: Filter,
}

#[derive(Debug)]
struct Venue {
    name: Box<str>,
    kind: &'static str,
    /// By its own addresses; `None` when none is listed.
    listed: Option<Filter>,
    /// By its host names; `None` when there is none.
    named: Option<Filter>,
    groups: Vec<IpNet>,
}

/// A condition that the section made does not compile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`trading`: `{condition}` is no condition: {fault}")]
pub struct TradingError {
    /// The condition.
    pub condition: String,
    /// Why.
    pub fault: String,
}

impl Trading {
    /// Compiles the section; `None` when it describes nothing.
    pub fn new(section: &config::Trading) -> Result<Option<Self>, TradingError> {
        if section.is_empty() {
            return Ok(None);
        }
        let named =
            |(name, condition): (String, String)| Ok(Named { name: name.into(), is: filter(&condition)? });
        let mut venues = Vec::new();
        for (name, venue) in &section.venues {
            venues.push(Venue {
                name: name.as_str().into(),
                kind: venue.kind,
                listed: conditions::listed(venue).as_deref().map(filter).transpose()?,
                named: conditions::named(venue).as_deref().map(filter).transpose()?,
                groups: venue.groups.clone(),
            });
        }
        let roles = section.roles.iter().map(|(name, role)| (name.clone(), conditions::role(role)));
        let assets = section.assets.iter().map(|(name, paths)| (name.clone(), conditions::asset(paths)));
        let calendars = section.calendars.iter();
        Ok(Some(Self {
            venues,
            roles: roles.map(named).collect::<Result<_, _>>()?,
            assets: assets.map(named).collect::<Result<_, _>>()?,
            calendars: calendars.map(|(name, one)| (name.as_str().into(), Timetable::new(one))).collect(),
        }))
    }

    /// What comparisons with the fields imply. Without a section, the fields are always missing.
    pub fn meanings(section: &config::Trading) -> Vec<Meaning> {
        let none = |field: FieldId| Meaning { field, values: Vec::new() };
        if section.is_empty() {
            return FIELDS.into_iter().map(none).collect();
        }
        let roles = section.roles.iter().map(|(name, role)| (name.clone(), conditions::role(role)));
        let assets = section.assets.iter().map(|(name, paths)| (name.clone(), conditions::asset(paths)));
        let venues = || section.venues.iter().map(|(name, venue)| (name, venue, conditions::venue(venue)));
        vec![
            Meaning { field: ids::TRADING_ROLE, values: roles.collect() },
            Meaning { field: ids::TRADING_ASSET, values: assets.collect() },
            Meaning {
                field: ids::TRADING_VENUE,
                values: venues().map(|(name, _, condition)| (name.clone(), condition)).collect(),
            },
            Meaning {
                field: ids::TRADING_VENUE_KIND,
                values: venues().map(|(_, venue, condition)| (venue.kind.to_owned(), condition)).collect(),
            },
            Meaning {
                field: ids::TRADING_VENUE_LISTED,
                values: venues().map(|(name, _, condition)| (name.clone(), condition)).collect(),
            },
        ]
    }

    /// Name of the role of a process, from the fields of an event of it.
    pub fn role<'t, S: FieldSource>(&'t self, source: &S) -> Option<Value<'t>> {
        first(&self.roles, source)
    }

    /// Kind of asset of an event's paths.
    pub fn asset<'t, S: FieldSource>(&'t self, source: &S) -> Option<Value<'t>> {
        first(&self.assets, source)
    }

    /// A field of the venue of an event; `group` is the multicast group that the call joins or leaves.
    pub fn venue<'t, S: FieldSource>(
        &'t self,
        field: FieldId,
        group: Option<IpAddr>,
        source: &S,
    ) -> Option<Value<'t>> {
        let holds = |filter: &Option<Filter>| {
            filter.as_ref().is_some_and(|filter| filter.evaluate(None, source) == Truth::True)
        };
        let joined =
            |venue: &&Venue| group.is_some_and(|group| venue.groups.iter().any(|net| net.contains(&group)));
        let listed = |venue: &&Venue| joined(venue) || holds(&venue.listed);
        // An address says more than a name, which came over the network.
        let (venue, is_listed) = if let Some(venue) = self.venues.iter().find(listed) {
            (venue, true)
        } else {
            (self.venues.iter().find(|venue| holds(&venue.named))?, false)
        };
        Some(match field {
            ids::TRADING_VENUE => Value::Bytes(venue.name.as_bytes()),
            ids::TRADING_VENUE_KIND => Value::Bytes(venue.kind.as_bytes()),
            _ => Value::Bool(is_listed || venue.listed.is_none()),
        })
    }

    /// Name of the session at a time of day, nanoseconds since the epoch: of one calendar, or the busiest of all.
    /// Without any calendar there is always `closed`.
    pub fn session(&self, wall_ns: u64, calendar: Option<&str>) -> Option<Value<'static>> {
        let session = if let Some(wanted) = calendar {
            let (_, table) = self.calendars.iter().find(|(name, _)| **name == *wanted)?;
            table.session(wall_ns)
        } else {
            let sessions = self.calendars.iter().map(|(_, table)| table.session(wall_ns));
            sessions.max().unwrap_or(config::trading::Session::Closed)
        };
        Some(Value::Bytes(session.name().as_bytes()))
    }

    /// Whether no session begins or ends soon, so that what it is may be built upon for now.
    pub fn is_stable(&self, wall_ns: u64) -> bool {
        self.calendars.iter().all(|(_, table)| table.next(wall_ns).is_none_or(|at| at > wall_ns + STABLE_NS))
    }

    /// When [`Trading::is_stable`] will change, nanoseconds since the epoch.
    pub fn next_change(&self, wall_ns: u64) -> Option<u64> {
        let next = self.calendars.iter().filter_map(|(_, table)| table.next(wall_ns)).min()?;
        let before = next.saturating_sub(STABLE_NS);
        Some(if before > wall_ns { before } else { next })
    }

    /// Calls `f` with the fields that roles depend on.
    pub fn for_each_role_field(&self, f: &mut impl FnMut(&FieldUse)) {
        for role in &self.roles {
            role.is.condition().for_each_test(&mut |test| {
                test.left.for_each_field(f);
                if let Right::Source(right) = &test.right {
                    right.for_each_field(f);
                }
            });
        }
    }
}

/// The first value whose condition holds; unknown when one before it may hold.
fn first<'t, S: FieldSource>(all: &'t [Named], source: &S) -> Option<Value<'t>> {
    for named in all {
        match named.is.evaluate(None, source) {
            Truth::True => return Some(Value::Bytes(named.name.as_bytes())),
            Truth::Unknown => return Some(Value::Unknown),
            Truth::False => {}
        }
    }
    None
}

fn filter(condition: &str) -> Result<Filter, TradingError> {
    let environment = Environment { container_fields: true, strict: false };
    let (filter, findings) = Filter::compile(condition, environment);
    filter.ok_or_else(|| TradingError {
        condition: condition.to_owned(),
        fault: findings.first().map_or_else(String::new, |finding| finding.message.clone()),
    })
}

#[cfg(test)]
mod tests;
