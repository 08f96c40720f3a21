//! What was put in force while the agent runs: allowed and denied sources, and burst grants, each with an end.
//!
//! Ends are times of the boot clock, which never jumps; the wall clock's time beside it is for people and for the next
//! boot. Nothing here can deny what must not be locked out.

use std::{collections::BTreeMap, fmt};

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{files, rate::Rate};

/// Entries of one kind; lists of more belong into a file.
const ENTRIES_MAX: usize = 4096;
/// Longest comment, characters.
const COMMENT_MAX: usize = 200;

/// What an entry does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Its packets pass.
    Allow,
    /// They do not.
    Deny,
    /// Its limits are higher.
    Grant,
    /// It is under a policy.
    Limit,
}

/// The two clocks at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Seconds since 1970.
    pub wall_secs: u64,
    /// Nanoseconds of the boot clock.
    pub boot_ns: u64,
}

/// When an entry ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// By the boot clock.
    pub boot_ns: u64,
    /// By the wall clock, seconds since 1970.
    pub wall_secs: u64,
}

/// An entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// What it does.
    pub kind: Kind,
    /// About whom.
    #[serde(serialize_with = "text", deserialize_with = "net")]
    pub net: IpNet,
    /// On top of a policy's rate; of grants only.
    pub rate: Option<Rate>,
    /// Under which policy; of limits only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// When it ends; grants always do.
    pub until: Option<End>,
    /// Who made it.
    pub by: String,
    /// When, seconds since 1970.
    pub made_secs: u64,
    /// Why, in its maker's words.
    pub comment: Option<String>,
}

/// Why an entry is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It would lock out what must not be.
    #[error("`{net}` cannot be denied: `{safe}` is {why}")]
    Safe {
        /// What was to be denied.
        net: IpNet,
        /// What it lies in.
        safe: IpNet,
        /// What that is.
        why: String,
    },
    /// The configuration says otherwise, and it is not changed from here.
    #[error("`{net}` is denied by the configuration or a list that it names; take it out there")]
    Configured {
        /// What was to be allowed.
        net: IpNet,
    },
    /// Keys do not tell such prefixes apart.
    #[error("`{net}` is a part of a /64; use a /64 or shorter, or a single address")]
    Part {
        /// The prefix.
        net: IpNet,
    },
    /// A grant without an end or a rate, or a rate that is none.
    #[error("{0}")]
    Unfit(&'static str),
    /// Too many.
    #[error("there are {ENTRIES_MAX} such entries already; put lists into a file (`limits.deny_files`)")]
    Full,
}

/// All entries, by kind and source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entries(BTreeMap<(Kind, IpNet), Entry>);

impl Entries {
    /// Those kept by an agent before; what has ended is left out.
    pub fn restore(kept: Vec<Entry>, same_boot: bool, now: Now) -> Self {
        let again = |mut entry: Entry| {
            if let (Some(end), false) = (&mut entry.until, same_boot) {
                let left = end.wall_secs.saturating_sub(now.wall_secs);
                end.boot_ns = now.boot_ns.saturating_add(left.saturating_mul(1_000_000_000));
            }
            ((entry.kind, entry.net), entry)
        };
        let mut entries = Self(kept.into_iter().map(again).collect());
        entries.expire(now);
        entries
    }

    /// In the order of kinds and addresses.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.0.values()
    }

    /// Those of a kind.
    pub fn of_kind(&self, kind: Kind) -> impl Iterator<Item = &Entry> {
        self.iter().filter(move |entry| entry.kind == kind)
    }

    /// Takes an entry over, in place of one of the same kind about the same source, and of the opposite list's.
    pub fn put(
        &mut self,
        entry: Entry,
        safe: &[(IpNet, String)],
        configured_deny: &[IpNet],
    ) -> Result<(), Refusal> {
        let net = entry.net;
        if files::is_part(net) {
            return Err(Refusal::Part { net });
        }
        match entry.kind {
            Kind::Deny | Kind::Limit => {
                if entry.kind == Kind::Limit && entry.policy.is_none() {
                    return Err(Refusal::Unfit("a limit needs a policy"));
                }
                if let Some((safe, why)) = safe.iter().find(|(safe, _)| safe.contains(&net)) {
                    return Err(Refusal::Safe { net, safe: *safe, why: why.clone() });
                }
            }
            Kind::Allow if configured_deny.contains(&net) => return Err(Refusal::Configured { net }),
            Kind::Allow => {}
            Kind::Grant => {
                if entry.until.is_none() {
                    return Err(Refusal::Unfit("a grant needs an end"));
                }
                let Some(rate) = &entry.rate else { return Err(Refusal::Unfit("a grant needs a rate")) };
                if rate.limit().is_err() {
                    return Err(Refusal::Unfit(
                        "a rate must be one an hour or more, and a burst at most 13 days of it",
                    ));
                }
            }
        }
        if !self.0.contains_key(&(entry.kind, net)) && self.of_kind(entry.kind).count() >= ENTRIES_MAX {
            return Err(Refusal::Full);
        }
        match entry.kind {
            Kind::Allow => drop(self.0.remove(&(Kind::Deny, net))),
            Kind::Deny => drop(self.0.remove(&(Kind::Allow, net))),
            Kind::Grant | Kind::Limit => {}
        }
        let comment = entry.comment.map(|text| text.chars().take(COMMENT_MAX).collect());
        self.0.insert((entry.kind, net), Entry { comment, ..entry });
        Ok(())
    }

    /// Takes an entry away; says whether there was one.
    pub fn remove(&mut self, kind: Kind, net: IpNet) -> bool {
        self.0.remove(&(kind, net)).is_some()
    }

    /// Takes away what has ended.
    pub fn expire(&mut self, now: Now) -> Vec<Entry> {
        let is_over = |entry: &Entry| entry.until.is_some_and(|end| end.boot_ns <= now.boot_ns);
        let over: Vec<Entry> = self.iter().filter(|entry| is_over(entry)).cloned().collect();
        self.0.retain(|_, entry| !is_over(entry));
        over
    }
}

impl Kind {
    /// The word in pages and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Grant => "grant",
            Self::Limit => "limit",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

impl End {
    /// So many seconds from now.
    pub const fn after(now: Now, secs: u64) -> Self {
        Self {
            boot_ns: now.boot_ns.saturating_add(secs.saturating_mul(1_000_000_000)),
            wall_secs: now.wall_secs.saturating_add(secs),
        }
    }
}

fn text<S: Serializer>(net: &IpNet, out: S) -> Result<S::Ok, S::Error> {
    out.collect_str(net)
}

fn net<'a, D: Deserializer<'a>>(from: D) -> Result<IpNet, D::Error> {
    let word = String::deserialize(from)?;
    files::net(&word).ok_or_else(|| serde::de::Error::custom(format!("`{word}` is no address")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Now = Now { wall_secs: 1_000_000, boot_ns: 5_000_000_000 };

    fn entry(kind: Kind, net: &str, secs: Option<u64>) -> Entry {
        Entry {
            kind,
            net: net.parse().unwrap(),
            rate: (kind == Kind::Grant).then_some(Rate { amount: 10, period_secs: 1, burst: 5 }),
            policy: (kind == Kind::Limit).then(|| "slow".to_owned()),
            until: secs.map(|secs| End::after(NOW, secs)),
            by: "test".to_owned(),
            made_secs: NOW.wall_secs,
            comment: None,
        }
    }

    fn put(entries: &mut Entries, entry: Entry) -> Result<(), Refusal> {
        let safe = [("192.0.2.0/24".parse().unwrap(), "an address of this node".to_owned())];
        entries.put(entry, &safe, &["203.0.113.9/32".parse().unwrap()])
    }

    #[test]
    fn what_must_not_be_locked_out_is_refused_with_the_reason() {
        let mut entries = Entries::default();
        let refusal = put(&mut entries, entry(Kind::Deny, "192.0.2.7/32", None)).unwrap_err();
        assert_eq!(
            refusal.to_string(),
            "`192.0.2.7/32` cannot be denied: `192.0.2.0/24` is an address of this node"
        );
        // A wider prefix is no lockout: safety goes before.
        put(&mut entries, entry(Kind::Deny, "192.0.0.0/16", None)).unwrap();
        assert!(matches!(
            put(&mut entries, entry(Kind::Allow, "203.0.113.9/32", None)),
            Err(Refusal::Configured { .. })
        ));
        assert!(matches!(
            put(&mut entries, entry(Kind::Deny, "2001:db8::/80", None)),
            Err(Refusal::Part { .. })
        ));
        assert!(matches!(
            put(&mut entries, entry(Kind::Grant, "198.51.100.1/32", None)),
            Err(Refusal::Unfit(_))
        ));
        assert_eq!(entries.iter().count(), 1);
    }

    #[test]
    fn an_entry_replaces_its_like_and_its_opposite_and_ends() {
        let mut entries = Entries::default();
        put(&mut entries, entry(Kind::Deny, "198.51.100.1/32", Some(10))).unwrap();
        put(&mut entries, entry(Kind::Deny, "198.51.100.1/32", Some(10))).unwrap();
        assert_eq!(entries.of_kind(Kind::Deny).count(), 1);
        put(&mut entries, entry(Kind::Allow, "198.51.100.1/32", Some(20))).unwrap();
        put(&mut entries, entry(Kind::Grant, "198.51.100.1/32", Some(30))).unwrap();
        assert_eq!(entries.of_kind(Kind::Deny).count(), 0);
        let later = Now { boot_ns: NOW.boot_ns + 20_000_000_000, ..NOW };
        assert_eq!(entries.expire(later).len(), 1);
        assert_eq!(entries.iter().count(), 1);
        assert!(entries.remove(Kind::Grant, "198.51.100.1/32".parse().unwrap()));
        assert!(!entries.remove(Kind::Grant, "198.51.100.1/32".parse().unwrap()));
    }

    #[test]
    fn entries_are_kept_over_a_restart_and_over_a_boot() {
        let mut entries = Entries::default();
        put(&mut entries, entry(Kind::Deny, "198.51.100.1/32", Some(10))).unwrap();
        put(&mut entries, entry(Kind::Grant, "2001:db8::/48", Some(100))).unwrap();
        let kept: Vec<Entry> = entries.iter().cloned().collect();
        let text = serde_json::to_string(&kept).unwrap();
        let kept: Vec<Entry> = serde_json::from_str(&text).unwrap();
        assert_eq!(Entries::restore(kept.clone(), true, NOW), entries);
        // A minute later, on a machine that has just booted.
        let now = Now { wall_secs: NOW.wall_secs + 60, boot_ns: 1_000_000_000 };
        let restored = Entries::restore(kept, false, now);
        let left: Vec<&Entry> = restored.iter().collect();
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].until.unwrap().boot_ns, 41_000_000_000);
    }

    #[test]
    fn lists_are_bounded() {
        let mut entries = Entries::default();
        for number in 0..ENTRIES_MAX as u32 {
            let net = format!("{}/32", std::net::Ipv4Addr::from(0x0a00_0000 + number));
            put(&mut entries, entry(Kind::Deny, &net, None)).unwrap();
        }
        assert_eq!(put(&mut entries, entry(Kind::Deny, "198.51.100.1/32", None)), Err(Refusal::Full));
        put(&mut entries, entry(Kind::Deny, "10.0.0.1/32", Some(5))).unwrap();
    }
}
