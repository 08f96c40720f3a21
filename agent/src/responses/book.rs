//! What is in force because of a response, until when, and whose doing it was.
//!
//! Kept in a file of `node.state_dir` that is replaced whole, so that the next agent knows what to end.

use std::{collections::BTreeMap, net::IpAddr};

use rampart_rules::response::{Kind, Traffic};
use serde::{Deserialize, Serialize};

use crate::limits::entries::{End, Now};

/// Most things in force at a time.
const DOINGS_MAX: usize = 1024;

/// What is done, and about whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Deed {
    /// Packets of an address are dropped.
    BlockIp {
        /// The address.
        address: IpAddr,
    },
    /// An address is under a policy.
    LimitIp {
        /// The address.
        address: IpAddr,
        /// The policy.
        policy: String,
    },
    /// A control group is off the network.
    Quarantine {
        /// Its id.
        cgroup_id: u64,
        /// Its path below the hierarchy's root, for people.
        cgroup: String,
        /// Whether it receives nothing either.
        all: bool,
    },
    /// Breakers of a service are open.
    OpenBreaker {
        /// The service.
        service: String,
    },
    /// What a rule refuses is let through.
    Allow {
        /// The rule.
        rule: String,
    },
}

/// One thing in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doing {
    /// Number by which it is taken back; 0 until it is in the book.
    pub id: u64,
    /// What.
    pub deed: Deed,
    /// The rule.
    pub rule: String,
    /// Id of the alert.
    pub alert: String,
    /// When it was done, seconds since 1970.
    pub made_secs: u64,
    /// When it ends.
    pub until: End,
}

/// All of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Book {
    /// The last number that was given out.
    last: u64,
    doings: BTreeMap<u64, Doing>,
}

impl Deed {
    /// Which kind of response it is.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::BlockIp { .. } => Kind::BlockIp,
            Self::LimitIp { .. } => Kind::LimitIp,
            Self::Quarantine { .. } => Kind::Quarantine,
            Self::OpenBreaker { .. } => Kind::OpenBreaker,
            Self::Allow { .. } => Kind::Deny,
        }
    }

    /// About whom, for people.
    pub fn target(&self) -> String {
        match self {
            Self::BlockIp { address } => address.to_string(),
            Self::LimitIp { address, policy } => format!("{address} under {policy}"),
            Self::Quarantine { cgroup, all, .. } => {
                let traffic = if *all { Traffic::All } else { Traffic::Egress };
                format!("{cgroup} ({})", traffic.name())
            }
            Self::OpenBreaker { service } => service.clone(),
            Self::Allow { rule } => format!("let through what `{rule}` refuses"),
        }
    }
}

impl Book {
    /// All, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Doing> {
        self.doings.values()
    }

    /// Whether there is room for another.
    pub fn has_room(&self) -> bool {
        self.doings.len() < DOINGS_MAX
    }

    /// The one that does this already.
    pub fn same(&self, deed: &Deed) -> Option<&Doing> {
        self.iter().find(|doing| doing.deed == *deed)
    }

    /// Writes one down, in place of one that does the same; gives its number. The later end counts.
    pub fn put(&mut self, mut doing: Doing) -> u64 {
        if let Some(old) = self.same(&doing.deed) {
            doing.id = old.id;
            if old.until.boot_ns > doing.until.boot_ns {
                doing.until = old.until;
            }
        } else {
            self.last += 1;
            doing.id = self.last;
        }
        let id = doing.id;
        self.doings.insert(id, doing);
        id
    }

    /// Takes one out.
    pub fn remove(&mut self, id: u64) -> Option<Doing> {
        self.doings.remove(&id)
    }

    /// Takes out what is over.
    pub fn expire(&mut self, now: Now) -> Vec<Doing> {
        let is_over = |doing: &Doing| doing.until.boot_ns <= now.boot_ns;
        let over: Vec<Doing> = self.iter().filter(|doing| is_over(doing)).cloned().collect();
        self.doings.retain(|_, doing| !is_over(doing));
        over
    }

    /// What was written down by an agent before, on this boot or another.
    #[must_use]
    pub fn restored(mut self, same_boot: bool, now: Now) -> Self {
        if !same_boot {
            // Control groups of another boot are gone, and their numbers are others' by now.
            self.doings.retain(|_, doing| !matches!(doing.deed, Deed::Quarantine { .. }));
            for doing in self.doings.values_mut() {
                let left = doing.until.wall_secs.saturating_sub(now.wall_secs);
                doing.until.boot_ns = now.boot_ns.saturating_add(left.saturating_mul(1_000_000_000));
            }
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn doing(deed: Deed, secs: u64) -> Doing {
        let now = Now { wall_secs: 1000, boot_ns: 0 };
        let until = End::after(now, secs);
        Doing { id: 0, deed, rule: "r".to_owned(), alert: String::new(), made_secs: 1000, until }
    }

    fn block(last: u8) -> Deed {
        Deed::BlockIp { address: [192, 0, 2, last].into() }
    }

    #[test]
    fn what_is_done_again_lasts_longer_and_ends_once() {
        let mut book = Book::default();
        assert_eq!((book.put(doing(block(1), 60)), book.put(doing(block(2), 60))), (1, 2));
        assert_eq!(book.put(doing(block(1), 90)), 1);
        assert_eq!(book.put(doing(block(1), 10)), 1, "the later end counts");
        let at = |secs: u64| Now { wall_secs: 1000 + secs, boot_ns: secs * 1_000_000_000 };
        let over: Vec<u64> = book.expire(at(60)).iter().map(|doing| doing.id).collect();
        assert_eq!(over, [2]);
        assert!(book.same(&block(1)).is_some());
        assert_eq!(book.expire(at(90)).len(), 1);
        assert_eq!(book.put(doing(block(3), 1)), 3, "no number is given twice");
        assert!(book.remove(3).is_some() && book.remove(3).is_none());
    }

    #[test]
    fn another_boot_keeps_the_wall_clocks_end_and_forgets_control_groups() {
        let mut book = Book::default();
        book.put(doing(block(1), 60));
        book.put(doing(Deed::Quarantine { cgroup_id: 7, cgroup: "x".to_owned(), all: true }, 60));
        let text = serde_json::to_string(&book).expect("JSON");
        let read: Book = serde_json::from_str(&text).expect("JSON");
        assert_eq!(read, book);
        let later = Now { wall_secs: 1040, boot_ns: 5 };
        let kept = read.clone().restored(false, later);
        let ends: Vec<u64> = kept.iter().map(|doing| doing.until.boot_ns).collect();
        assert_eq!(ends, [20_000_000_005]);
        assert_eq!(read.restored(true, later), book);
        let allow = Deed::Allow { rule: "r".to_owned() };
        book.put(doing(allow.clone(), 60));
        let text = serde_json::to_string(&book).expect("JSON");
        let read: Book = serde_json::from_str(&text).expect("JSON");
        assert!(read.restored(false, later).same(&allow).is_some(), "it is let through on the next boot too");
    }
}
