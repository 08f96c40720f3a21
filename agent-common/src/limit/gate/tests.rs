extern crate std;

use std::{cell::Cell as Value, vec, vec::Vec};

use proptest::prelude::*;

use super::*;
use crate::limit::gcra::{Mode, Outcome, STRETCH_ONE};

const SECOND: u64 = 1_000_000_000;

/// A small generator, so that a million sources need no list.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }
}

#[test]
fn prefixes_of_both_families() {
    let four = prefixes(Address::v4(0xc0a8_0a0b));
    assert_eq!((four.near, four.far), (Address::v4(0xc0a8_0a00), Address::v4(0xc0a8_0000)));
    let six = prefixes(Address { hi: 0x2001_0db8_0001_0002, lo: 0x0304 });
    assert_eq!(six.near, Address { hi: 0x2001_0db8_0001_0002, lo: 0 });
    assert_eq!(six.far, Address { hi: 0x2001_0db8_0001_0000, lo: 0 });
}

#[test]
fn a_far_prefix_is_not_the_near_one_that_begins_it() {
    let first = Address::v4(0x0a00_0000);
    assert_ne!(cell(1, 1, first, false), cell(1, 1, first, true));
    assert_ne!(cell(1, 1, first, false), cell(2, 1, first, false));
    assert_ne!(cell(1, 1, first, false), cell(1, 2, first, false));
}

#[test]
fn cells_are_used_evenly() {
    let mut counts = vec![0_u32; CELLS as usize];
    for near in 0..1_u32 << 20 {
        counts[cell(7, 1, Address::v4(near << 8), false) as usize] += 1;
    }
    // 16 on average; a Poisson tail beyond 60 is out of the question.
    assert!(*counts.iter().max().unwrap() < 60);
    assert!(counts.iter().filter(|count| **count == 0).count() < 10);
}

#[test]
fn a_new_entry_has_its_burst_unless_entries_come_and_go() {
    let limit = Limit::new(1000, SECOND, 100).unwrap();
    let step = limit.step_ns(1, STRETCH_ONE);
    assert_eq!(first_tat(&limit, SECOND, step, false), SECOND + step);
    assert_eq!(first_tat(&limit, SECOND, step, true), SECOND + 75 * step + step);
}

/// What the gate and the budget let through of a flood.
struct Flood {
    passed: u64,
    inserted: u64,
}

fn flood(sources: u64, mut pick: impl FnMut(u64) -> Address) -> Flood {
    // 3.4 million packets in a second against a policy of 1000 a second and source.
    const PACKETS: u64 = 3_400_000;
    let limit = Limit::new(1000, SECOND, 100).unwrap();
    let budget = Limit::new(20_000, SECOND, 1000).unwrap();
    let cells: Vec<Value<u64>> = (0..CELLS).map(|_| Value::new(0)).collect();
    let place = Value::new(0);
    let step = limit.step_ns(1, STRETCH_ONE);
    let mut random = Random(sources);
    let mut out = Flood { passed: 0, inserted: 0 };
    for n in 0..PACKETS {
        let now = SECOND + n * SECOND / PACKETS;
        let source = pick(random.next() % sources);
        let of = prefixes(source);
        let charge = |index: u32, shift| {
            limit.charge(&cells[index as usize], now, cell_step(step, shift), Mode::Throttle)
        };
        if charge(cell(9, 1, of.near, false), NEAR_SHIFT) == Outcome::Admitted
            && charge(cell(9, 1, of.far, true), FAR_SHIFT) == Outcome::Admitted
        {
            out.passed += 1;
            if budget.charge(&place, now, budget.step_ns(1, STRETCH_ONE), Mode::Throttle) == Outcome::Admitted
            {
                out.inserted += 1;
            }
        }
    }
    out
}

#[test]
fn a_million_invented_sources_neither_pass_nor_fill_the_table() {
    // A million sources side by side: 16 prefixes of /16, each at 64 times the rate and burst of one source.
    let narrow = flood(1 << 20, |n| Address::v4(0x0a00_0000 + n as u32));
    let ceiling = 16 * 64 * (1000 + 100);
    assert!(narrow.passed <= ceiling, "{} > {ceiling}", narrow.passed);
    assert!(narrow.passed * 3 < 3_400_000);
    assert!((20_000..=21_000).contains(&narrow.inserted), "{}", narrow.inserted);
    // All of IPv4: each /24 is seen once in a while, but the table still takes only its budget.
    let wide = flood(u64::from(u32::MAX), |n| Address::v4(n as u32));
    assert!(wide.inserted <= 21_000, "{}", wide.inserted);
}

#[test]
fn one_host_with_a_whole_ipv6_prefix_is_one_source_to_the_gate() {
    let six = flood(1 << 20, |n| Address { hi: 0x2001_0db8_0000_0001, lo: mix(n) });
    assert!(six.passed <= 4 * (1000 + 100), "{}", six.passed);
}

/// The cells of one prefix, under seeds that change.
struct Cells {
    words: std::collections::BTreeMap<u32, Value<u64>>,
    seed: u64,
    before: u64,
    seeded_ns: u64,
}

impl Cells {
    fn charge(&mut self, limit: &Limit, now: u64, step_ns: u64) -> Outcome {
        let index = |seed| cell(seed, 1, Address::v4(0xc000_0200), false);
        let before = self.words.entry(index(self.before)).or_default().get();
        let word = self.words.entry(index(self.seed)).or_default();
        if is_carried(self.seeded_ns, limit, now) {
            carry(word, before, now);
        }
        limit.charge(word, now, step_ns, Mode::Throttle)
    }
}

proptest! {
    /// Whoever keeps a seed as long as its cells owe anything gives away nothing and takes away nothing.
    #[test]
    fn a_new_seed_changes_no_outcome(
        burst in 1..20_u64,
        requests in proptest::collection::vec((0..3_000_000_000_u64, 1..5_u32, 0..10_u8), 1..300),
    ) {
        let limit = Limit::new(1, SECOND, burst).unwrap();
        let alone = Value::new(0);
        let mut cells = Cells { words: std::collections::BTreeMap::new(), seed: 1, before: 1, seeded_ns: SECOND };
        let mut now = SECOND;
        for (gap, cost, change) in requests {
            now += gap;
            if change == 0 && now - cells.seeded_ns >= limit.tau_ns {
                cells = Cells { before: cells.seed, seed: cells.seed + 1, seeded_ns: now, ..cells };
            }
            let step = limit.step_ns(cost.min(burst as u32), STRETCH_ONE);
            let outcome = cells.charge(&limit, now, step);
            prop_assert_eq!(outcome, limit.charge(&alone, now, step, Mode::Throttle));
        }
    }

    #[test]
    fn masks_keep_exactly_their_bits(hi in any::<u64>(), lo in any::<u64>(), bits in 0..=128_u32) {
        let address = Address { hi, lo };
        let number = u128::from_be_bytes(address.bytes());
        let mask = if bits == 0 { 0 } else { u128::MAX << (128 - bits) };
        prop_assert_eq!(u128::from_be_bytes(address.masked(bits).bytes()), number & mask);
        prop_assert_eq!(Address::of_words(address.words()), address);
        let bytes: Vec<u8> = address.words().iter().flat_map(|word| word.to_ne_bytes()).collect();
        prop_assert_eq!(bytes, address.bytes().to_vec());
    }

    #[test]
    fn every_cell_exists(seed in any::<u64>(), policy in 0..64_u32, hi in any::<u64>(), lo in any::<u64>()) {
        let prefix = Address { hi, lo };
        prop_assert!(cell(seed, policy, prefix, true) < CELLS);
    }
}
