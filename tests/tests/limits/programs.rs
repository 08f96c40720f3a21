//! Each program, on each packet of the corpus, against the twin: same verdict, same counters, same state.

use std::collections::BTreeMap;

use rampart_agent::{
    engine::clock::boot_now_ns,
    kernel::limiter::{Counted, Limiter, LimiterConfig, Tables},
    limits::twin::Twin,
};
use rampart_common::limit::{
    abi::{
        Config, Control, ENFORCE, LIST_ADDRESSES, LIST_PREFIXES, PROG_EGRESS, PROG_INGRESS, PROG_XDP,
        PROG_XDP_FRAGS, Policy, RULE_ADDRESSES, RULE_ALLOW, RULE_DENY, RULE_PREFIXES, RULE_SAFE, Rule,
        RuleKey, SERVICE_FIRST, SERVICE_LISTS, STRICT, Service, ServiceKey,
    },
    gcra::Limit,
    packet::Address,
    pipeline::{Judgement, Place},
    verdict::{Action, Direction, Unit, Verdict},
};
use rampart_tests::require_root;

use crate::corpus::{From, corpus};

const SECOND: u64 = 1_000_000_000;
/// Nothing is refilled while a test runs: the kernel's clock goes on, the twin's stands still.
const INTERVAL: u64 = 240 * SECOND;
/// What runs a test program sees as its interface.
const LOOPBACK: u32 = 1;
const MARK: u32 = 0x77;
/// Longest frame that surely lies in one buffer.
const ONE_BUFFER: usize = 3000;

fn limiter() -> Limiter {
    let mut limiter =
        Limiter::load(&LimiterConfig { entries: 1 << 14, pins: None }).expect("the limiter loads");
    limiter.load_spare().expect("both XDP programs load");
    limiter
}

fn four(address: [u8; 4]) -> Address {
    Address::v4(u32::from_be_bytes(address))
}

fn policy(burst: u64, unit: Unit, action: Action) -> Policy {
    Policy {
        limit: Limit::new(1, INTERVAL, burst).expect("a limit"),
        name_hash: 1,
        mark: MARK,
        unit: unit as u8,
        action: action as u8,
        key_v4: 128,
        key_v6: 64,
        ..Policy::default()
    }
}

fn service(
    direction: Direction,
    protocol: Option<u8>,
    port: u16,
    number: u16,
    policy: u16,
) -> (ServiceKey, Service) {
    let key = ServiceKey {
        port,
        protocol: protocol.unwrap_or(0),
        has_protocol: u8::from(protocol.is_some()),
        direction: direction as u8,
        ..ServiceKey::default()
    };
    (key, Service { number: SERVICE_FIRST + number, policy })
}

/// Tables in which everything occurs: lists, services of each shape but those of interfaces, rules, all units and
/// actions.
fn tables(flags: u32) -> Tables {
    let wide = Limit::new(1_000_000, SECOND, 1_000_000).expect("a limit");
    let rule = |kind, policy| Rule { kind, policy, ..Rule::default() };
    let mut services = Vec::new();
    for direction in Direction::ALL {
        services.extend([
            service(direction, Some(6), 443, 0, 1),
            service(direction, Some(17), 53, 1, 2),
            service(direction, Some(17), 0, 2, 3),
            service(direction, Some(47), 0, 3, 0),
            service(direction, None, 0, 4, 4),
        ]);
    }
    Tables {
        config: Config {
            flags: flags | LIST_ADDRESSES | LIST_PREFIXES | RULE_ADDRESSES | RULE_PREFIXES,
            shapes: 0b10_1010,
            seed: 0x1234_5678_9abc_def0,
            budget: wide,
            samples: wide,
            portless_policy: 5,
            ..Config::default()
        },
        policies: vec![
            Policy::default(),
            policy(40, Unit::NewFlows, Action::Drop),
            policy(30, Unit::NewFlows, Action::Drop),
            Policy { is_dry: 1, ..policy(20, Unit::Packets, Action::Drop) },
            policy(4500, Unit::Bytes, Action::Mark),
            policy(25, Unit::Packets, Action::Drop),
            Policy { mode: 1, ..policy(3, Unit::Packets, Action::Observe) },
            Policy { key_v4: 120, key_v6: 48, ..policy(10, Unit::Packets, Action::Drop) },
        ],
        grants: Vec::new(),
        services,
        addresses: vec![
            (RuleKey::new(0, SERVICE_LISTS, four([192, 0, 2, 66])), rule(RULE_DENY, 0)),
            (RuleKey::new(0, SERVICE_LISTS, four([192, 0, 2, 67])), rule(RULE_ALLOW, 0)),
            (RuleKey::new(0, SERVICE_FIRST, four([192, 0, 2, 68])), rule(0, 6)),
        ],
        prefixes: vec![
            (96 + 24, RuleKey::new(0, SERVICE_LISTS, four([203, 0, 113, 0])), rule(RULE_DENY, 0)),
            (96 + 28, RuleKey::new(0, SERVICE_LISTS, four([203, 0, 113, 16])), rule(RULE_SAFE, 0)),
            (96 + 16, RuleKey::new(0, SERVICE_FIRST, four([10, 1, 0, 0])), rule(0, 7)),
        ],
    }
}

/// Sources for which different parts of the tables hold.
fn sources() -> Vec<(From, From)> {
    let six = |last| From::Six([0x20, 1, 0xd, 0xb8, 0, 1, 0, last, 0, 0, 0, 0, 0, 0, 0, last]);
    let four = [
        [192, 0, 2, 1],
        [192, 0, 2, 66],
        [192, 0, 2, 67],
        [192, 0, 2, 68],
        [203, 0, 113, 7],
        [203, 0, 113, 20],
        [10, 1, 2, 3],
        [10, 1, 2, 4],
    ];
    four.into_iter().zip(1..).map(|(address, last)| (From::Four(address), six(last))).collect()
}

/// What a program returns for a verdict.
fn returned(program: &str, verdict: Verdict) -> u32 {
    let is_tc = [PROG_INGRESS, PROG_EGRESS].contains(&program);
    match (is_tc, verdict) {
        (true, Verdict::Drop) => 2,
        (true, _) => u32::MAX,
        (false, Verdict::Drop) => 1,
        (false, _) => 2,
    }
}

/// Tallies as the kernel counts them.
#[derive(Default)]
struct Tallies(BTreeMap<(u32, u8, u8, bool), (u64, u64)>);

impl Tallies {
    fn count(&mut self, judgement: &Judgement, direction: Direction, bytes: u32) {
        let key = (judgement.policy, judgement.reason as u8, direction as u8, judgement.is_observed);
        let tally = self.0.entry(key).or_default();
        tally.0 += 1;
        tally.1 += u64::from(bytes);
    }

    fn of(counted: &[Counted]) -> Self {
        let entry = |one: &Counted| {
            let key = (one.policy, one.reason as u8, one.direction as u8, one.is_observed);
            (key, (one.tally.packets, one.tally.bytes))
        };
        Self(counted.iter().map(entry).collect())
    }
}

/// Runs the corpus from all sources through a program and the twin. Gives how many packets.
fn compare(program: &'static str, flags: u32) -> u32 {
    let direction = if program == PROG_EGRESS { Direction::Egress } else { Direction::Ingress };
    let mut limiter = limiter();
    let tables = tables(flags);
    let control = Control { heartbeat_ns: boot_now_ns(), ..Control::default() };
    limiter.beat(&control).expect("the heartbeat is written");
    limiter.publish(&tables).expect("the tables are written");
    let twin = Twin::new(tables, control, boot_now_ns());
    let place = Place { direction, interface: LOOPBACK, segments: 1 };
    let (mut expected, mut packets, mut dropped) = (Tallies::default(), 0, 0);
    for (from_four, from_six) in sources() {
        // The kernel's test runs take no frame without an Ethernet header.
        for sample in corpus(from_four, from_six, 15) {
            // A driver hands frames of several buffers only to a program that takes them; the test run does not care.
            if program == PROG_XDP && sample.frame.len() > ONE_BUFFER {
                continue;
            }
            let got = match limiter.run(program, &sample.frame, 1) {
                Ok((got, _)) => got,
                Err(_) if refuses(program, &sample.frame) => continue,
                Err(error) => panic!("{}: {error:?}", sample.name),
            };
            let (packet, judgement) = twin.judge_frame(&sample.frame, &place, true);
            expected.count(&judgement, direction, packet.bytes);
            assert_eq!(
                got,
                returned(program, judgement.verdict),
                "{}: {packet:?} {judgement:?}",
                sample.name
            );
            packets += 1;
            dropped += u32::from(judgement.verdict == Verdict::Drop);
        }
    }
    let counted = Tallies::of(&limiter.tallies().expect("tallies are read"));
    assert_eq!(counted.0, expected.0, "{program}: tallies");
    assert_eq!(
        counted.0.values().map(|tally| tally.0).sum::<u64>(),
        u64::from(packets),
        "each packet counts once"
    );
    for key in twin.keys() {
        let (own, theirs) = (twin.known(&key), limiter.entry(&key).expect("entries are read"));
        let terms = |entry: rampart_common::limit::abi::Entry| (entry.used, entry.over, entry.policy);
        assert_eq!(theirs.map(terms), own.map(terms), "{key:?}");
    }
    let reasons: std::collections::BTreeSet<u8> = counted.0.keys().map(|key| key.1).collect();
    assert!(reasons.len() >= 9, "the corpus reaches {reasons:?} only");
    if flags & ENFORCE == 0 {
        assert_eq!(dropped, 0, "nothing is dropped while the node observes");
    } else {
        assert!(dropped > packets / 20, "only {dropped} of {packets} are dropped");
    }
    packets
}

/// Whether the kernel's test run may refuse a frame that an interface would hand over: tc frames that end within the IP
/// header they announce, and those larger than a page.
fn refuses(program: &str, frame: &[u8]) -> bool {
    [PROG_INGRESS, PROG_EGRESS].contains(&program) && (frame.len() < 14 + 40 || frame.len() > ONE_BUFFER)
}

#[test]
fn xdp_judges_the_corpus_as_its_twin() {
    require_root!("xdp_judges_the_corpus_as_its_twin");
    assert!(compare(PROG_XDP, ENFORCE) > 10_000);
}

#[test]
fn xdp_of_several_buffers_judges_the_corpus_as_its_twin() {
    require_root!("xdp_of_several_buffers_judges_the_corpus_as_its_twin");
    assert!(compare(PROG_XDP_FRAGS, ENFORCE | STRICT) > 10_000);
}

#[test]
fn tc_judges_the_corpus_as_its_twin() {
    require_root!("tc_judges_the_corpus_as_its_twin");
    assert!(compare(PROG_INGRESS, ENFORCE) > 10_000);
    assert!(compare(PROG_EGRESS, 0) > 10_000);
}

#[test]
fn the_verifier_is_far_from_its_limit() {
    require_root!("the_verifier_is_far_from_its_limit");
    let limiter = limiter();
    let names = [PROG_XDP_FRAGS, PROG_XDP, PROG_INGRESS, PROG_EGRESS];
    let mut seen = BTreeMap::new();
    for program in aya::programs::loaded_programs().flatten() {
        if let Some(name) = program.name_as_str().and_then(|name| names.iter().find(|own| **own == name))
            && let Some(count) = program.verified_instruction_count()
        {
            seen.insert(*name, count);
        }
    }
    println!("verified instructions: {seen:?}");
    assert_eq!(seen.len(), names.len());
    // Kernels give up at a million; newer and older ones differ by less than this.
    assert!(seen.values().all(|count| *count < 300_000), "{seen:?}");
    drop(limiter);
}
