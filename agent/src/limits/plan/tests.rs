use std::net::IpAddr;

use rampart_common::limit::{
    abi::{Control, Entry, EntryKey},
    packet::{IP, PORTLESS as PORTLESS_FLAG, Packet, SYN, TCP, UDP},
    pipeline::{Judgement, Place},
    verdict::{Direction, Reason, Verdict},
};

use super::*;
use crate::{config::Sources, limits::twin::Twin};

const NOW: u64 = 1_000_000_000_000;
const SEEDS: Seeds = Seeds { now: 1, before: 1, since_ns: 0 };

/// The section of a configuration text.
fn limits(text: &str) -> Limits {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("rampart.yaml");
    std::fs::write(&file, format!("limits:\n  enabled: true\n  mode: enforce\n{text}")).unwrap();
    Sources { file: Some(file), ..Sources::default() }
        .load()
        .unwrap_or_else(|faults| panic!("{faults}"))
        .limits
}

fn made(limits: &Limits, safety: &[&str]) -> Plan {
    let safety: Vec<IpNet> = safety.iter().map(|net| net.parse().unwrap()).collect();
    made_with(limits, &safety, &Passing::default()).unwrap()
}

fn made_with(limits: &Limits, safety: &[IpNet], passing: &Passing) -> Result<Plan, PlanError> {
    let interfaces = BTreeMap::from([("eth0".to_owned(), 2), ("eth1".to_owned(), 3)]);
    plan(&Given { limits, safety, interfaces: &interfaces, numbers: &BTreeMap::new(), seeds: SEEDS, passing })
}

fn twin(text: &str, safety: &[&str]) -> (Twin, Plan) {
    let plan = made(&limits(text), safety);
    let control = Control { heartbeat_ns: NOW, ..Control::default() };
    (Twin::new(plan.tables.clone(), control, NOW), plan)
}

fn address(text: &str) -> Address {
    match text.parse().unwrap() {
        IpAddr::V4(address) => Address::v4(address.into()),
        IpAddr::V6(address) => Address::of_bytes(address.octets()),
    }
}

fn packet(source: &str, protocol: u8, port: u16) -> Packet {
    Packet {
        source: address(source),
        destination: address("198.51.100.1"),
        bytes: 100,
        source_port: 1000,
        destination_port: port,
        protocol,
        flags: IP | if protocol == TCP { SYN } else { 0 },
        ..Packet::default()
    }
}

fn on(interface: u32) -> Place {
    Place { direction: Direction::Ingress, interface, segments: 1 }
}

/// Name of the policy that decides, and the reason.
fn who<'a>(world: &'a (Twin, Plan), packet: &Packet, place: &Place) -> (&'a str, Reason) {
    let judgement = world.0.judge(packet, place);
    let name = world.1.names.get(&(judgement.policy as u16)).map_or("", String::as_str);
    (name, judgement.reason)
}

const POLICIES_TEXT: &str = "
  policies:
    everything: {rate: 1000/s}
    web: {rate: 10/s, burst: 5, match: {protocol: tcp, ports: [80, 443]}}
    web_partner: {rate: 100/s, match: {protocol: tcp, ports: [443], sources: [192.0.2.0/24, '192.0.2.9', '2001:db8::/48']}}
    dns: {rate: 50/s, unit: packets, match: {protocol: udp, ports: 53, interfaces: [eth1]}}
    offices: {rate: 5/s, match: {protocol: udp, sources: 203.0.113.0/24}}
    one_desk: {rate: 6/s, match: {protocol: udp, sources: 203.0.113.128/25}}
";

#[test]
fn the_most_specific_service_and_the_longest_source_decide() {
    let world = twin(POLICIES_TEXT, &[]);
    let within = |name| (name, Reason::Within);
    assert_eq!(who(&world, &packet("10.0.0.1", TCP, 22), &on(2)), within("everything"));
    assert_eq!(who(&world, &packet("10.0.0.1", TCP, 80), &on(2)), within("web"));
    assert_eq!(who(&world, &packet("10.0.0.1", TCP, 443), &on(2)), within("web"));
    assert_eq!(who(&world, &packet("192.0.2.1", TCP, 443), &on(2)), within("web_partner"));
    assert_eq!(who(&world, &packet("192.0.2.9", TCP, 443), &on(2)), within("web_partner"));
    assert_eq!(who(&world, &packet("192.0.2.1", TCP, 80), &on(2)), within("web"));
    assert_eq!(who(&world, &packet("2001:db8::7", TCP, 443), &on(2)), within("web_partner"));
    assert_eq!(who(&world, &packet("10.0.0.1", UDP, 53), &on(3)), within("dns"));
    // No policy is about other interfaces, so the next wider service decides: UDP, which has none of its own for
    // this source and takes over that of everything.
    assert_eq!(who(&world, &packet("10.0.0.1", UDP, 53), &on(2)), within("everything"));
    assert_eq!(who(&world, &packet("203.0.113.5", UDP, 99), &on(2)), within("offices"));
    assert_eq!(who(&world, &packet("203.0.113.200", UDP, 99), &on(2)), within("one_desk"));
    let egress = Place { direction: Direction::Egress, ..on(2) };
    assert_eq!(who(&world, &packet("10.0.0.1", TCP, 80), &egress), ("", Reason::NoPolicy));
}

#[test]
fn a_policy_over_several_ports_is_one_allowance() {
    let world =
        twin("  policies: {web: {rate: 1/s, burst: 4, match: {protocol: tcp, ports: [80, 443]}}}\n", &[]);
    let admitted = (0..10_u16).filter(|n| {
        let port = if n % 2 == 0 { 80 } else { 443 };
        who(&world, &packet("10.0.0.1", TCP, port), &on(2)).1 == Reason::Within
    });
    assert_eq!(admitted.count(), 4);
    // Also when the services are not the same otherwise.
    let text = "
  policies:
    web: {rate: 1/s, burst: 4, match: {protocol: tcp, ports: [80, 443]}}
    partner: {rate: 9/s, match: {protocol: tcp, ports: 443, sources: 192.0.2.0/24}}
";
    let world = twin(text, &[]);
    let admitted = (0..10_u16).filter(|n| {
        let port = if n % 2 == 0 { 80 } else { 443 };
        who(&world, &packet("10.0.0.1", TCP, port), &on(2)).1 == Reason::Within
    });
    assert_eq!(admitted.count(), 4);
}

#[test]
fn a_key_may_be_a_whole_prefix() {
    let world =
        twin("  policies: {all: {rate: 1/s, burst: 3, unit: packets, key_v4: 24, key_v6: 48}}\n", &[]);
    let admitted = |sources: &[&str]| {
        let within = |source: &&&str| who(&world, &packet(source, TCP, 1), &on(2)).1 == Reason::Within;
        sources.iter().filter(within).count()
    };
    assert_eq!(admitted(&["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.1.1"]), 4);
    assert_eq!(
        admitted(&["2001:db8::1", "2001:db8:0:1::1", "2001:db8:0:2::1", "2001:db8:0:3::1", "2001:db9::1"]),
        4
    );
}

#[test]
fn lists_come_in_their_order() {
    let text = "
  deny: [10.0.0.0/8, 192.0.2.1, 192.0.2.2, 172.16.5.5, 2001:db8::/32]
  allow: [10.1.0.0/16, 192.0.2.0/24, 192.0.2.2, 10.2.0.7, 10.0.0.0/8]
  policies: {all: {rate: 1/s}}
";
    let world = twin(text, &["172.16.0.0/12", "2001:db8::5/128"]);
    let reason = |source| who(&world, &packet(source, TCP, 1), &on(2)).1;
    assert_eq!(reason("10.9.9.9"), Reason::Denied);
    assert_eq!(reason("10.1.9.9"), Reason::Allowed);
    assert_eq!(reason("192.0.2.1"), Reason::Denied);
    assert_eq!(reason("192.0.2.2"), Reason::Denied);
    assert_eq!(reason("192.0.2.3"), Reason::Allowed);
    assert_eq!(reason("10.2.0.7"), Reason::Allowed);
    // Denied inside of what is safe.
    assert_eq!(reason("172.16.5.5"), Reason::Safe);
    assert_eq!(reason("2001:db8::5"), Reason::Safe);
    assert_eq!(reason("2001:db8::6"), Reason::Denied);
    assert_eq!(reason("8.8.8.8"), Reason::Within);
}

#[test]
fn the_node_cannot_be_locked_out() {
    let everything =
        "  deny: ['0.0.0.0/0', '::/0', 10.0.0.5, 10.0.0.1]\n  policies: {all: {rate: 1/h, unit: packets}}\n";
    let world = twin(everything, &["10.0.0.5/32", "10.0.0.1/32", "fe80::1/128"]);
    for source in ["10.0.0.5", "10.0.0.1", "fe80::1"] {
        for _ in 0..100 {
            assert_eq!(who(&world, &packet(source, TCP, 1), &on(2)), ("", Reason::Safe));
        }
    }
    assert_eq!(who(&world, &packet("10.0.0.6", TCP, 1), &on(2)).1, Reason::Denied);
}

#[test]
fn packets_without_ports_have_a_limit_of_their_own() {
    let world = twin("  portless_per_sec: 7\n  policies: {all: {rate: 1000/s}}\n", &[]);
    let fragment = Packet { flags: IP | PORTLESS_FLAG, ..packet("10.0.0.1", UDP, 0) };
    let within = (0..20).filter(|_| who(&world, &fragment, &on(2)) == (PORTLESS, Reason::Within)).count();
    assert_eq!(within, 7);
    let none = twin("  portless_per_sec: 0\n  policies: {all: {rate: 1/s}}\n", &[]);
    assert!((0..20).all(|_| who(&none, &fragment, &on(2)) == ("", Reason::NoPolicy)));
}

#[test]
fn udp_flows_are_charged_at_their_beginning() {
    let world = twin("  policies: {all: {rate: 1/s, burst: 2}}\n", &[]);
    let from = |port| Packet { source_port: port, ..packet("10.0.0.1", UDP, 53) };
    let reason = |port| who(&world, &from(port), &on(2)).1;
    assert_eq!(
        (reason(1), reason(1), reason(2), reason(3)),
        (Reason::Within, Reason::Continues, Reason::Within, Reason::Over)
    );
    assert_eq!((reason(1), reason(2), reason(3)), (Reason::Continues, Reason::Continues, Reason::Over));
    // Forgotten after half a minute of silence; the rate has refilled meanwhile.
    world.0.set_now(NOW + 31_000_000_000);
    assert_eq!(reason(1), Reason::Within);
}

#[test]
fn observing_dry_runs_and_a_dead_agent_drop_nothing() {
    let verdicts = |text: &str, now| {
        let (twin, _) = twin(text, &[]);
        twin.set_now(now);
        let judged: Vec<Judgement> =
            (0..5).map(|_| twin.judge(&packet("10.0.0.1", TCP, 1), &on(2))).collect();
        let dropped = judged.iter().filter(|judgement| judgement.verdict == Verdict::Drop).count();
        let observed = judged.iter().filter(|judgement| judgement.is_observed).count();
        (dropped, observed)
    };
    let policy = "  policies: {all: {rate: 1/h, burst: 2}}\n";
    assert_eq!(verdicts(policy, NOW), (3, 0));
    assert_eq!(verdicts(&format!("  dead_man_secs: 3\n{policy}"), NOW + 3_000_000_000), (3, 0));
    assert_eq!(verdicts(&format!("  dead_man_secs: 3\n{policy}"), NOW + 3_000_000_001), (0, 3));
    assert_eq!(verdicts(&format!("  dead_man_secs: 0\n{policy}"), NOW + (1 << 40)), (3, 0));
    assert_eq!(verdicts("  policies: {all: {rate: 1/h, burst: 2, dry_run: true}}\n", NOW), (0, 3));
    assert_eq!(verdicts("  policies: {all: {rate: 1/h, burst: 2, action: observe}}\n", NOW), (0, 3));
    let marked = twin("  policies: {all: {rate: 1/h, burst: 1, action: mark, mark: 5}}\n", &[]);
    let verdict = || marked.0.judge(&packet("10.0.0.1", TCP, 1), &on(2)).verdict;
    assert_eq!((verdict(), verdict()), (Verdict::Pass, Verdict::Mark(5)));
}

#[test]
fn a_grant_holds_until_its_time_and_needs_nobody_to_end() {
    let (_, mut plan) = twin("  policies: {all: {rate: 1/h, burst: 2}}\n", &[]);
    let tables = &mut plan.tables;
    tables.grants = vec![
        rampart_common::limit::abi::Grant::default(),
        rampart_common::limit::abi::Grant {
            until_ns: NOW + 10,
            limit: Limit::new(1, SECOND_NS, 50).unwrap(),
        },
    ];
    let rule = Rule { policy: 1, grant: 1, ..Rule::default() };
    let number = tables.services.first().unwrap().1.number;
    add(tables, number, "10.0.0.1/32".parse().unwrap(), rule, [RULE_ADDRESSES, RULE_PREFIXES]);
    let twin = Twin::new(tables.clone(), Control { heartbeat_ns: NOW, ..Control::default() }, NOW);
    let admitted = |source| {
        (0..100).filter(|_| twin.judge(&packet(source, TCP, 1), &on(2)).reason == Reason::Within).count()
    };
    assert_eq!((admitted("10.0.0.1"), admitted("10.0.0.2")), (50, 2));
    twin.set_now(NOW + 11);
    // What was used under the grant counts: 50 of 7200 seconds, so only one more fits.
    assert_eq!(admitted("10.0.0.1"), 1);
}

const ALLOWED: Reason = Reason::Allowed;
const DENIED: Reason = Reason::Denied;
const SAFE: Reason = Reason::Safe;
const WITHIN: Reason = Reason::Within;

#[test]
fn what_is_listed_for_a_time_ends_by_the_clock_and_leaves_what_holds_for_ever() {
    let text = "  deny: [192.0.2.0/24, 203.0.113.1]\n  allow: [198.51.100.0/24, 192.0.2.128/25]\n  policies: {all: {rate: 1/h, burst: 9}}\n";
    let secs = |secs: u64| Some(NOW + secs * SECOND_NS);
    let listed = |text: &str, until_ns| Listed { net: net(text), until_ns };
    let passing = Passing {
        deny: vec![
            listed("10.0.0.1/32", secs(10)),
            listed("10.1.0.0/16", secs(10)),
            listed("198.51.100.0/25", secs(10)),
            // Twice, and the later end counts.
            listed("2001:db8::/48", secs(10)),
            listed("2001:db8::/48", secs(20)),
            listed("203.0.113.1/32", secs(10)),
            listed("10.9.9.9/32", secs(10)),
        ],
        allow: vec![listed("192.0.2.7/32", secs(10)), listed("192.0.2.192/26", secs(10))],
        ..Passing::default()
    };
    let plan = made_with(&limits(text), &[net("10.9.0.0/16")], &passing).unwrap();
    let twin = Twin::new(plan.tables, Control { heartbeat_ns: NOW, ..Control::default() }, NOW);
    let reasons = || {
        [
            "10.0.0.1",
            "10.1.2.3",
            "198.51.100.7",
            "2001:db8::1",
            "203.0.113.1",
            "192.0.2.7",
            "192.0.2.200",
            "10.9.9.9",
        ]
        .map(|source| twin.judge(&packet(source, TCP, 1), &on(2)).reason)
    };
    let before = [DENIED, DENIED, DENIED, DENIED, DENIED, ALLOWED, ALLOWED, SAFE];
    assert_eq!(reasons(), before);
    // A second that has begun is counted whole.
    twin.set_now(NOW + 10 * SECOND_NS - 1);
    assert_eq!(reasons(), before);
    twin.set_now(NOW + 10 * SECOND_NS);
    assert_eq!(reasons(), [WITHIN, WITHIN, ALLOWED, DENIED, DENIED, DENIED, ALLOWED, SAFE]);
    twin.set_now(NOW + 20 * SECOND_NS);
    assert_eq!(reasons(), [WITHIN, WITHIN, ALLOWED, WITHIN, DENIED, DENIED, ALLOWED, SAFE]);
}

#[test]
fn policies_keep_their_numbers_and_sources_their_state() {
    let first = made(&limits("  policies: {b: {rate: 1/s}, c: {rate: 2/s, match: {protocol: tcp}}}\n"), &[]);
    let numbers = |plan: &Plan| -> BTreeMap<u16, u64> {
        plan.names.iter().map(|(number, name)| (*number, name_hash(name))).collect()
    };
    let more = limits(
        "  policies: {a: {rate: 9/s}, c: {rate: 2/s, match: {protocol: tcp}}, d: {rate: 1/s, match: {protocol: udp}}}\n",
    );
    let given = Given {
        limits: &more,
        safety: &[],
        interfaces: &BTreeMap::new(),
        numbers: &numbers(&first),
        seeds: SEEDS,
        passing: &Passing::default(),
    };
    let second = plan(&given).unwrap();
    let number =
        |plan: &Plan, name: &str| plan.names.iter().find(|(_, own)| *own == name).map(|(number, _)| *number);
    assert_eq!(number(&first, "c"), number(&second, "c"));
    assert_eq!(number(&first, PORTLESS), number(&second, PORTLESS));
    // So does the service in which the kernel knows its sources.
    let service = |plan: &Plan, policy| {
        plan.tables
            .services
            .iter()
            .find(|(_, service)| service.policy == policy)
            .map(|(_, service)| service.number)
    };
    let number_of_c = number(&first, "c").unwrap();
    assert_eq!(service(&first, number_of_c), service(&second, number_of_c));
    let all: BTreeSet<u16> = second.names.keys().copied().collect();
    assert_eq!(all.len(), 4);
}

#[test]
fn too_much_is_refused() {
    let mut limits = limits("  policies: {one: {rate: 1/s}}\n");
    let one = limits.policies["one"].clone();
    limits.policies = (0..64).map(|n| (format!("p{n}"), one.clone())).collect();
    let given = Given {
        limits: &limits,
        safety: &[],
        interfaces: &BTreeMap::new(),
        numbers: &BTreeMap::new(),
        seeds: SEEDS,
        passing: &Passing::default(),
    };
    assert_eq!(plan(&given), Err(PlanError::Policies { count: 65, most: 63 }));
}

#[test]
fn what_is_known_of_a_key_is_counted() {
    let (twin, _) = twin("  policies: {all: {rate: 10/s, burst: 65536, unit: bytes}}\n", &[]);
    for _ in 0..1000 {
        twin.judge(&packet("10.0.0.1", TCP, 1), &on(2));
    }
    let keys: Vec<EntryKey> = twin.keys();
    let [key] = keys.as_slice() else { panic!("{keys:?}") };
    let entry: Entry = twin.known(key).unwrap();
    assert_eq!((entry.used, entry.over), (65_500, 345));
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

#[test]
fn grants_raise_the_policy_a_source_has_and_end_by_the_clock() {
    let settings = limits(POLICIES_TEXT);
    let rate = Rate { amount: 100, period_secs: 1, burst: 7 };
    let granted = |text: &str| Granted { net: net(text), rate, until_ns: NOW + 1000 };
    let passing =
        Passing { grants: vec![granted("198.51.100.0/24"), granted("192.0.2.0/25")], ..Passing::default() };
    let plan = made_with(&settings, &[], &passing).unwrap();
    let control = Control { heartbeat_ns: NOW, ..Control::default() };
    let twin = Twin::new(plan.tables.clone(), control, NOW);
    let admitted = |source: &str, port: u16| {
        let packet = packet(source, TCP, port);
        (0..500).take_while(|_| twin.judge(&packet, &on(2)).reason == Reason::Within).count()
    };
    assert_eq!(admitted("203.0.113.1", 80), 5, "the policy's burst");
    assert_eq!(admitted("198.51.100.1", 80), 12, "and that of the grant");
    // Inside the grant's prefix there is a single address of another policy.
    assert_eq!(admitted("192.0.2.9", 443), 107);
    assert_eq!(admitted("192.0.2.10", 443), 107);
    assert_eq!(admitted("192.0.2.200", 443), 100, "outside of the grant");
    // Later the policy alone holds: what is used beyond it is owed.
    twin.set_now(NOW + 2000);
    assert_eq!(admitted("198.51.100.2", 80), 5);
    // One place per source and policy.
    assert_eq!(plan.tables.grants.len(), 1 + plan.tables.grants[1..].len());
    let many = (0..300).map(|one: u32| granted(&format!("{}/32", std::net::Ipv4Addr::from(one << 8))));
    let passing = Passing { grants: many.collect(), ..Passing::default() };
    assert!(matches!(made_with(&settings, &[], &passing), Err(PlanError::Grants { .. })));
}

#[test]
fn a_used_up_quota_closes_its_policy_for_the_source_until_the_next_period() {
    let settings = limits(POLICIES_TEXT);
    let closed = |text: &str| Closed { policy: "web".to_owned(), net: net(text), until_ns: NOW + 1000 };
    let rate = Rate { amount: 100, period_secs: 1, burst: 7 };
    let passing = Passing {
        closed: vec![closed("198.51.100.7/32"), closed("2001:db8:1::/64"), closed("192.0.2.9/32")],
        grants: vec![Granted { net: net("198.51.100.0/24"), rate, until_ns: NOW + 9000 }],
        ..Passing::default()
    };
    let plan = made_with(&settings, &[], &passing).unwrap();
    let control = Control { heartbeat_ns: NOW, ..Control::default() };
    let world = (Twin::new(plan.tables.clone(), control, NOW), plan);
    let judged = |source: &str, protocol, port| who(&world, &packet(source, protocol, port), &on(2));
    assert_eq!(judged("198.51.100.7", TCP, 80), ("web", Reason::OverQuota), "a grant opens nothing");
    assert_eq!(judged("2001:db8:1::5", TCP, 80), ("web", Reason::OverQuota));
    assert_eq!(judged("198.51.100.8", TCP, 80), ("web", Reason::Within));
    assert_eq!(judged("198.51.100.7", UDP, 9), ("everything", Reason::Within), "another policy");
    assert_eq!(judged("192.0.2.9", TCP, 443), ("web_partner", Reason::Within), "not of the policy there");
    world.0.set_now(NOW + 1001);
    assert_eq!(judged("198.51.100.7", TCP, 80), ("web", Reason::Within));
    assert_eq!(
        world.1.tables.grants.iter().filter(|grant| grant.limit.mult == 0).count(),
        2,
        "one, and none"
    );
}
