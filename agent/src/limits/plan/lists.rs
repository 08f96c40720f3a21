//! Safety, deny and allow lists, without what another list overrules: the kernel finds one answer for an address, and
//! what is on a list for a time only ends by the kernel's clock.

use std::collections::BTreeMap;

use ipnet::IpNet;
use rampart_common::limit::abi::{
    LIST_ADDRESSES, LIST_PREFIXES, RULE_ALLOW, RULE_DENY, RULE_POLICY, RULE_SAFE, Rule, SERVICE_LISTS,
};

use super::{Given, SECOND_NS, add};
use crate::kernel::limiter::Tables;

/// A source on a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The source.
    pub net: IpNet,
    /// When it ends, by the boot clock; `None` = never.
    pub until_ns: Option<u64>,
}

/// What the lists say of a net by itself: until when it is denied and allowed ([`u32::MAX`] = for ever), in seconds of
/// the boot clock.
#[derive(Clone, Copy, Default)]
struct Said {
    is_safe: bool,
    denied: Option<u32>,
    allowed: Option<u32>,
}

const FOR_EVER: u32 = u32::MAX;

impl From<IpNet> for Listed {
    fn from(net: IpNet) -> Self {
        Self { net, until_ns: None }
    }
}

impl Listed {
    /// Rounded up: the agent, which ends entries by their nanoseconds, is first.
    fn until_secs(&self) -> u32 {
        let secs = self.until_ns.map(|until| until.div_ceil(SECOND_NS));
        secs.and_then(|secs| u32::try_from(secs).ok()).unwrap_or(FOR_EVER)
    }
}

/// Adds the rules of the lists.
pub(super) fn lists(given: &Given<'_>, tables: &mut Tables) {
    let mut said: BTreeMap<IpNet, Said> = BTreeMap::new();
    let safe: Vec<IpNet> = given.safety.iter().chain(&given.limits.safety).map(IpNet::trunc).collect();
    for net in &safe {
        said.entry(*net).or_default().is_safe = true;
    }
    let configured = |nets: &[IpNet]| nets.iter().map(|net| Listed::from(*net)).collect::<Vec<_>>();
    for (own, more, is_deny) in [
        (configured(&given.limits.deny), &given.passing.deny, true),
        (configured(&given.limits.allow), &given.passing.allow, false),
    ] {
        for listed in own.iter().chain(more) {
            if safe.iter().any(|safe| safe.contains(&listed.net)) {
                continue;
            }
            let said = said.entry(listed.net.trunc()).or_default();
            let until = if is_deny { &mut said.denied } else { &mut said.allowed };
            *until = (*until).max(Some(listed.until_secs()));
        }
    }
    for (net, own) in &said {
        let rule = rule(*net, *own, &said);
        add(tables, SERVICE_LISTS, *net, rule, [LIST_ADDRESSES, LIST_PREFIXES]);
    }
}

/// What holds for a net now, and what when that is over.
fn rule(net: IpNet, own: Said, said: &BTreeMap<IpNet, Said>) -> Rule {
    let (kind, until) = match own {
        Said { is_safe: true, .. } => (RULE_SAFE, FOR_EVER),
        Said { denied: Some(until), .. } => (RULE_DENY, until),
        Said { allowed: Some(until), .. } => (RULE_ALLOW, until),
        _ => (RULE_POLICY, FOR_EVER),
    };
    if until == FOR_EVER {
        return Rule { kind, ..Rule::default() };
    }
    // The kernel looks at the longest prefix only, so a rule says itself what of the wider ones goes on for ever. What
    // of them ends too is left to the agent, and to nobody when that is dead: then the source is as any other.
    let mut then = own.lasting();
    let mut wider = if net.prefix_len() == net.max_prefix_len() { None } else { net.supernet() };
    while let (None, Some(net)) = (then, wider) {
        then = said.get(&net).and_then(Said::lasting);
        wider = net.supernet();
    }
    Rule { kind, then: then.unwrap_or(RULE_POLICY), until_secs: until, ..Rule::default() }
}

impl Said {
    /// The kind that holds for ever.
    fn lasting(&self) -> Option<u16> {
        match self {
            Self { is_safe: true, .. } => Some(RULE_SAFE),
            Self { denied: Some(FOR_EVER), .. } => Some(RULE_DENY),
            Self { allowed: Some(FOR_EVER), .. } => Some(RULE_ALLOW),
            _ => None,
        }
    }
}
