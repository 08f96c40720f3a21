//! Heavy hitters: which prefixes the rejected packets come from, and a rule for each.
//!
//! Made of samples, so that invented sources show up too, of which nobody knows the single addresses. A prefix is heavy
//! when what is left of it, without the heavy ones inside, is a good part of all samples.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use rampart_common::limit::{
    abi::{EntryKey, Sample},
    packet::Address,
};
use serde::{Deserialize, Serialize};

use super::quota::net_of;

/// Part of all samples that makes a prefix heavy: one in so many.
const HEAVY_PART: usize = 20;
/// Fewer samples say nothing.
const SAMPLES_MIN: usize = 4;
/// Most prefixes of a report.
const HITTERS_MAX: usize = 20;
/// Prefixes that are looked at, from the finest: bits in the mapped form of IPv4.
const LEVELS_V4: [u8; 3] = [128, 120, 112];
/// The same of IPv6.
const LEVELS_V6: [u8; 3] = [64, 48, 32];

/// A heavy prefix.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hitter {
    /// The prefix, or a single address.
    pub prefix: String,
    /// Samples of it.
    pub samples: usize,
    /// Its part of all samples, in thousandths.
    pub permille: u64,
    /// Different sources among the samples.
    pub sources: usize,
    /// Policies it was over.
    pub policies: Vec<String>,
    /// What could be done.
    pub proposal: Proposal,
}

/// What could be done about a prefix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal {
    /// As a command, for a while.
    pub command: String,
    /// As a setting, for ever.
    pub settings: String,
}

/// The prefixes that samples come from, the heaviest first. `name` gives policies their names, `settings` those of a
/// policy that limits a prefix as a whole.
pub fn hitters(
    samples: &[&Sample],
    name: impl Fn(u16) -> Option<String>,
    settings: impl Fn(&str, IpNet) -> Option<String>,
) -> Vec<Hitter> {
    // What is denied already needs no rule.
    let samples: Vec<&Sample> = samples.iter().copied().filter(|sample| sample.policy != 0).collect();
    let least = (samples.len() / HEAVY_PART).max(SAMPLES_MIN);
    let mut left: Vec<&Sample> = samples.clone();
    let mut found = Vec::new();
    for level in 0..LEVELS_V4.len() {
        let mut groups: BTreeMap<IpNet, Vec<&Sample>> = BTreeMap::new();
        for sample in left {
            groups.entry(prefix(sample, level)).or_default().push(sample);
        }
        left = Vec::new();
        for (net, group) in groups {
            if group.len() >= least {
                found.push((net, group));
            } else {
                left.extend(group);
            }
        }
    }
    found.sort_by(|(one_net, one), (other_net, other)| {
        other.len().cmp(&one.len()).then_with(|| one_net.cmp(other_net))
    });
    found.truncate(HITTERS_MAX);
    let all = samples.len().max(1) as u64;
    found
        .into_iter()
        .map(|(net, group)| {
            let sources: BTreeSet<[u32; 4]> = group.iter().map(|sample| sample.source).collect();
            let numbers: BTreeSet<u16> = group.iter().map(|sample| sample.policy).collect();
            let named = |number: &u16| name(*number).unwrap_or_else(|| number.to_string());
            let policies: Vec<String> = numbers.iter().map(named).collect();
            let proposal = proposal(net, policies.iter().find_map(|policy| settings(policy, net)));
            let permille = group.len() as u64 * 1000 / all;
            Hitter {
                prefix: shown(net),
                samples: group.len(),
                permille,
                sources: sources.len(),
                policies,
                proposal,
            }
        })
        .collect()
}

fn proposal(net: IpNet, of_policy: Option<String>) -> Proposal {
    let shown = shown(net);
    // A single address that floods can be left out; of a prefix, others may be innocent, so it shares one allowance.
    let settings = match of_policy {
        Some(settings) if net.prefix_len() != net.max_prefix_len() => settings,
        _ => format!("limits: {{deny: ['{shown}']}}"),
    };
    Proposal { command: format!("rampart limits deny {shown} --for 1h"), settings }
}

/// A net, without a length when it is a single address.
pub fn shown(net: IpNet) -> String {
    if net.prefix_len() == net.max_prefix_len() { net.addr().to_string() } else { net.to_string() }
}

fn prefix(sample: &Sample, level: usize) -> IpNet {
    let source = Address::of_words(sample.source);
    let levels = if source.is_v4() { LEVELS_V4 } else { LEVELS_V6 };
    let bits = levels.get(level).copied().unwrap_or_default();
    let address = source.masked(u32::from(bits)).words();
    net_of(&EntryKey { address, bits, ..EntryKey::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(source: u32, policy: u16) -> Sample {
        Sample { source: Address::v4(source).words(), policy, ..Sample::default() }
    }

    #[test]
    fn single_sources_and_prefixes_full_of_invented_ones_are_found() {
        let mut samples: Vec<Sample> = Vec::new();
        // One loud address, two hundred invented ones in a /24, noise from everywhere.
        samples.extend((0..300).map(|_| sample(0xc000_0207, 1)));
        samples.extend((0..200).map(|one| sample(0xcb00_7100 + one, 2)));
        samples.extend((0..100_u32).map(|one| sample(one << 24 | 7, 1)));
        samples.extend((0..40).map(|_| Sample {
            source: Address { hi: 0x2001_0db8_0001_0000, lo: 0 }.words(),
            policy: 3,
            ..Sample::default()
        }));
        samples.extend((0..500).map(|_| sample(0xc000_0208, 0)));
        let all: Vec<&Sample> = samples.iter().collect();
        let name = |number| (number == 1).then(|| "web".to_owned());
        let found = hitters(&all, name, |_, net| Some(format!("limit {net}")));
        let short: Vec<(&str, usize, usize)> =
            found.iter().map(|one| (one.prefix.as_str(), one.samples, one.sources)).collect();
        assert_eq!(short, [("192.0.2.7", 300, 1), ("203.0.113.0/24", 200, 200), ("2001:db8:1::/64", 40, 1)]);
        assert_eq!(found[0].permille, 468);
        assert_eq!((found[0].policies[0].as_str(), found[1].policies[0].as_str()), ("web", "2"));
        assert_eq!(found[2].policies, ["3"]);
        assert_eq!(found[0].proposal.settings, "limits: {deny: ['192.0.2.7']}");
        assert_eq!(found[1].proposal.settings, "limit 203.0.113.0/24");
        assert_eq!(found[1].proposal.command, "rampart limits deny 203.0.113.0/24 --for 1h");
    }

    #[test]
    fn few_samples_say_nothing() {
        let few = [sample(1, 1), sample(1, 1), sample(1, 1)];
        let few: Vec<&Sample> = few.iter().collect();
        assert!(hitters(&few, |_| None, |_, _| None).is_empty());
    }
}
