//! From a text to a set: its members, checked one by one.
//!
//! Single lines may be wrong, they are counted and the first are told; a text with more wrong lines than members is no
//! list. Members that must not be ([`super::fence`]) are left out and counted.

mod csv;
mod stix;

use std::{
    borrow::Cow,
    collections::BTreeSet,
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

use ipnet::IpNet;
use rampart_rules::set::{self, Set, SetKind};
use sha2::{Digest as _, Sha256};

use super::fence::Fence;
use crate::{
    config::{
        RuleList,
        lists::{Column, ListFormat},
    },
    limits::files,
};

/// Lines that are told.
const TOLD_MAX: usize = 5;
/// Longest part of a line that is told.
const WORD_MAX: usize = 60;
/// Longest host name.
const NAME_MAX: usize = 253;
/// Longest text.
const TEXT_MAX: usize = 4096;
/// Prefix bits of IPv4 within IPv6.
const MAPPED_BITS: u8 = 96;

/// The members of a text.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// The members.
    pub set: Arc<Set>,
    /// Lines that are no member, and the first of them.
    pub wrong: Told,
    /// Members that must not be, and the first of them.
    pub refused: Told,
}

/// Lines that are not members.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// How many.
    pub count: usize,
    /// The first, each with its line and what is wrong.
    pub first: Vec<(usize, String)>,
}

/// Why a text is no list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Mostly something else.
    #[error("line {line} {why}; it has more such lines than members")]
    NoList {
        /// The first such line.
        line: usize,
        /// What is wrong with it.
        why: String,
    },
    /// More than the settings allow.
    #[error("it has more than {0} members; raise `max_entries` if that is right")]
    TooMany(usize),
    /// No table, or without the column.
    #[error("line {line}: {why}")]
    Table {
        /// Where.
        line: u64,
        /// What.
        why: String,
    },
    /// No bundle.
    #[error("line {line}, column {column}: it is no bundle of STIX: {why}")]
    Stix {
        /// Where.
        line: usize,
        /// Where in it.
        column: usize,
        /// What.
        why: String,
    },
    /// A format that has no members of this kind.
    #[error("a bundle of STIX has no members of the kind `text`")]
    NoTexts,
}

/// Takes in one word of a text, with its line.
type Take<'t> = dyn FnMut(usize, &str) -> Result<(), Fault> + 't;

/// Reads a text.
pub fn parse(name: &str, list: &RuleList, text: &[u8], fence: &Fence) -> Result<Parsed, Fault> {
    let mut members =
        Members { list, fence, all: BTreeSet::new(), wrong: Told::default(), refused: Told::default() };
    let text = String::from_utf8_lossy(text);
    let text = text.trim_start_matches('\u{feff}');
    let mut take = |line, word: &str| members.take(line, word);
    match &list.format {
        ListFormat::Auto if text.trim_start().starts_with('{') => stix::words(text, list.kind, &mut take)?,
        ListFormat::Stix => stix::words(text, list.kind, &mut take)?,
        ListFormat::Csv(column) => csv::words(text, column, &mut take)?,
        ListFormat::Auto | ListFormat::Plain => plain(text, list.kind, &mut take)?,
    }
    members.finish(name)
}

/// One member a line.
fn plain(text: &str, kind: SetKind, take: &mut Take<'_>) -> Result<(), Fault> {
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if kind == SetKind::Text {
            if !line.is_empty() && !line.starts_with('#') {
                take(number, line)?;
            }
            continue;
        }
        let line = line.split(['#', ';']).next().unwrap_or_default();
        let mut words = line.split(|letter: char| letter.is_whitespace() || letter == ',');
        let mut words = words.by_ref().filter(|word| !word.is_empty());
        let Some(first) = words.next() else { continue };
        // As in a file of hosts: an address that leads nowhere, and the name.
        let is_host = kind == SetKind::Domain
            && first.parse::<IpAddr>().is_ok_and(|address| address.is_unspecified() || address.is_loopback());
        take(number, if is_host { words.next().unwrap_or(first) } else { first })?;
    }
    Ok(())
}

struct Members<'l> {
    list: &'l RuleList,
    fence: &'l Fence,
    /// In an order, so that the same members give the same version however they are written.
    all: BTreeSet<Member>,
    wrong: Told,
    refused: Told,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Member {
    Net(IpNet),
    Digest([u8; 32]),
    Text(Box<[u8]>),
}

impl Told {
    fn add(&mut self, line: usize, word: &str, why: &str) {
        self.count += 1;
        if self.first.len() < TOLD_MAX {
            let word: String = word.chars().take(WORD_MAX).flat_map(char::escape_debug).collect();
            self.first.push((line, format!("`{word}` is {why}")));
        }
    }
}

impl Members<'_> {
    fn take(&mut self, line: usize, word: &str) -> Result<(), Fault> {
        let member = match self.list.kind {
            SetKind::Ip => match net(word) {
                Some(net) => match self.fence.check(net, self.list.allows_private) {
                    Ok(()) => Ok(Member::Net(net)),
                    Err(refused) => {
                        self.refused.add(line, word, refused.why());
                        return Ok(());
                    }
                },
                None => Err("no address"),
            },
            SetKind::Domain => match domain(word) {
                // A name without a dot is a whole top-level domain.
                Some(name) if !name.contains('.') => {
                    self.refused.add(line, word, "too wide to be a member");
                    return Ok(());
                }
                Some(name) => Ok(Member::Text(name.as_bytes().into())),
                None => Err("no host name"),
            },
            SetKind::Sha256 => set::digest(word.as_bytes()).map(Member::Digest).ok_or("no SHA-256"),
            SetKind::Text if word.len() <= TEXT_MAX => Ok(Member::Text(word.as_bytes().into())),
            SetKind::Text => Err("too long"),
        };
        match member {
            Ok(member) => {
                self.all.insert(member);
                if self.all.len() > self.list.max_entries {
                    return Err(Fault::TooMany(self.list.max_entries));
                }
            }
            Err(why) => self.wrong.add(line, word, why),
        }
        Ok(())
    }

    fn finish(self, name: &str) -> Result<Parsed, Fault> {
        let Self { list, all, wrong, refused, .. } = self;
        if let Some((line, why)) = wrong.first.first()
            && wrong.count > all.len() + refused.count
        {
            return Err(Fault::NoList { line: *line, why: why.clone() });
        }
        let version = version(&all);
        let texts = || {
            all.iter().filter_map(|member| match member {
                Member::Text(text) => Some(text.clone()),
                _ => None,
            })
        };
        let set = match list.kind {
            SetKind::Ip => Set::networks(
                name,
                version,
                all.iter().filter_map(|member| match member {
                    Member::Net(net) => Some((net.network(), net.prefix_len())),
                    _ => None,
                }),
            ),
            SetKind::Sha256 => Set::digests(
                name,
                version,
                all.iter().filter_map(|member| match member {
                    Member::Digest(digest) => Some(*digest),
                    _ => None,
                }),
            ),
            SetKind::Domain => Set::domains(name, version, texts()),
            SetKind::Text => Set::texts(name, version, texts()),
        };
        Ok(Parsed { set: Arc::new(set), wrong, refused })
    }
}

/// A number for these members.
fn version(all: &BTreeSet<Member>) -> u64 {
    let mut hasher = Sha256::new();
    for member in all {
        match member {
            Member::Net(net) => hasher.update(net.to_string()),
            Member::Digest(digest) => hasher.update(digest),
            Member::Text(text) => hasher.update(text),
        }
        hasher.update(b"\n");
    }
    hasher.finalize().first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

/// An address or network; of IPv4 within IPv6, that of IPv4.
fn net(word: &str) -> Option<IpNet> {
    let net = files::net(word)?;
    let IpNet::V6(v6) = net else { return Some(net) };
    match (v6.network().to_ipv4_mapped(), v6.prefix_len().checked_sub(MAPPED_BITS)) {
        (Some(v4), Some(length)) => Some(IpNet::new_assert(v4.into(), length).trunc()),
        // What holds all of IPv4 in that form.
        (None, _) if v6.contains(&Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0)) => {
            Some(IpNet::new_assert(Ipv6Addr::UNSPECIFIED.into(), 0))
        }
        _ => Some(net),
    }
}

/// A host name in lower case, without what says that names below it count too.
fn domain(word: &str) -> Option<Cow<'_, str>> {
    let word = word.strip_prefix("*.").or_else(|| word.strip_prefix('.')).unwrap_or(word);
    let word = word.strip_suffix('.').unwrap_or(word);
    let is_label = |label: &str| {
        !label.is_empty()
            && label.len() < 64
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    let is_name = word.len() <= NAME_MAX && word.split('.').all(is_label) && word.parse::<IpAddr>().is_err();
    let lower = |word: &str| word.to_ascii_lowercase();
    is_name.then(|| {
        if word.bytes().any(|byte| byte.is_ascii_uppercase()) { lower(word).into() } else { word.into() }
    })
}

#[cfg(test)]
pub(crate) mod tests;
