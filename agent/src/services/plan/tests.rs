//! Plans of made-up services.

use rampart_common::service::breaker::stamp;

use super::*;
use crate::config::{BackendSettings, Sources};

fn settings(text: &str) -> BTreeMap<String, ServiceSettings> {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("c.yaml");
    std::fs::write(&file, format!("services:\n  list:\n{text}")).unwrap();
    let sources = Sources { file: Some(file), ..Sources::default() };
    sources.load().unwrap_or_else(|faults| panic!("{faults}")).services.list
}

fn two_tiers() -> BTreeMap<String, ServiceSettings> {
    settings(
        "    web:
      vip: 10.96.0.1:80
      panic: fail_fast
      failback_delay_secs: 0
      backends:
        a: {address: 10.0.0.1:80, weight: 3}
        b: 10.0.0.2:80
        c: {address: 10.0.0.3:80, tier: 1}
",
    )
}

struct Desk {
    services: BTreeMap<String, ServiceSettings>,
    conditions: BTreeMap<Name, Condition>,
    numbers: Numbers,
    tiers: BTreeMap<String, Tiers>,
    now_ns: u64,
    now: Timestamp,
}

impl Desk {
    fn new(services: BTreeMap<String, ServiceSettings>) -> Self {
        let (conditions, numbers, tiers) = (BTreeMap::new(), Numbers::default(), BTreeMap::new());
        Self { services, conditions, numbers, tiers, now_ns: 1 << 50, now: Timestamp::UNIX_EPOCH }
    }

    fn plan(&mut self) -> Plan {
        let given = Given {
            services: &self.services,
            conditions: &self.conditions,
            hz: 250,
            seed: 7,
            now_ns: self.now_ns,
            now: self.now,
        };
        plan(&given, &mut self.numbers, &mut self.tiers)
    }

    fn set(&mut self, backend: &str, condition: Condition) {
        self.conditions.insert(("web".to_owned(), backend.to_owned()), condition);
    }
}

/// Slots by the names of backends.
fn slots(plan: &Plan, service: usize) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for number in plan.tables.services[service].2 {
        let name = plan.backends.get(&u32::from(number)).map_or("-", |(_, backend)| backend.as_str());
        *counts.entry(name.to_owned()).or_default() += 1;
    }
    counts
}

fn counts(of: &[(&str, usize)]) -> BTreeMap<String, usize> {
    of.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

#[test]
fn weights_are_shares_and_tiers_are_ordered() {
    let mut desk = Desk::new(two_tiers());
    let plan = desk.plan();
    assert_eq!(slots(&plan, 0), counts(&[("a", 192), ("b", 64)]));
    let (number, service, table) = &plan.tables.services[0];
    assert_eq!((*number, service.count), (1, 3));
    assert_eq!((&service.tier_start[..3], &service.tier_size[..3]), (&[0, 0, 2][..], &[2, 2, 1][..]));
    assert_eq!(&table[..8], &[1, 1, 2, 1, 1, 1, 2, 1], "spread evenly");
    assert_eq!(
        plan.tables.vips[..1],
        [(
            VipKey {
                address: wire::address([10, 96, 0, 1].into()),
                port: 80_u16.to_be(),
                protocol: 6,
                slot: 0,
            },
            1
        )]
    );
    assert_eq!(plan.new, [1, 2, 3]);
    assert_eq!(desk.plan().new, Vec::<u32>::new(), "numbers are kept");
}

#[test]
fn what_is_out_gets_nothing_and_what_is_open_is_tried() {
    let mut desk = Desk::new(two_tiers());
    desk.plan();
    desk.set("a", Condition { is_up: false, ..Condition::default() });
    assert_eq!(slots(&desk.plan(), 0), counts(&[("b", 256)]));
    desk.set("b", Condition { state: State::Open, ..Condition::default() });
    let plan = desk.plan();
    assert_eq!(plan.moved, [("web".to_owned(), 0)]);
    let shares = slots(&plan, 0);
    assert!(shares["c"] > 230 && (10..20).contains(&shares["b"]), "{shares:?}");
    assert_eq!(plan.tables.services[0].1.members[..2], [3, 2]);
    // Open breakers keep their slots in the tier in use: the kernel tries them when their time has come.
    desk.set("c", Condition { state: State::Open, ..Condition::default() });
    let plan = desk.plan();
    assert!(plan.moved.is_empty() && plan.panics.is_empty());
    // Both are back, and so is the tier.
    desk.conditions.clear();
    assert_eq!(desk.plan().moved, [("web".to_owned(), 1)]);
}

#[test]
fn the_way_back_has_its_times() {
    let mut desk = Desk::new(settings(
        "    web:
      vip: 10.96.0.1:80
      failback: window
      failback_windows: ['thu 06:00-07:00', 'mon,tue 22:00-06:00']
      failback_time_zone: America/New_York
      failback_delay_secs: 0
      backends: {a: 10.0.0.1:80, b: {address: 10.0.0.2:80, tier: 1}}
",
    ));
    desk.plan();
    desk.set("a", Condition { is_up: false, ..Condition::default() });
    assert_eq!(desk.plan().moved, [("web".to_owned(), 0)]);
    desk.conditions.clear();
    // 1970 began on a Thursday; it is five hours earlier there.
    assert!(desk.plan().moved.is_empty());
    desk.now = "1970-01-01T11:30:00Z".parse().unwrap();
    assert_eq!(desk.plan().moved, [("web".to_owned(), 1)]);
}

#[test]
fn drained_backends_are_no_members() {
    let mut desk = Desk::new(two_tiers());
    desk.set("a", Condition { admin: AdminState::Drain, ..Condition::default() });
    desk.set("b", Condition { is_ejected: true, ..Condition::default() });
    let plan = desk.plan();
    assert_eq!(plan.tables.services[0].1.count, 1);
    assert_eq!(slots(&plan, 0), counts(&[("c", 256)]));
    let web = desk.services.get_mut("web").unwrap();
    web.backends.retain(|name, _| name == "a");
    desk.tiers.clear();
    let plan = desk.plan();
    assert_eq!((plan.tables.services[0].1.count, slots(&plan, 0)), (0, counts(&[("-", 256)])));
}

#[test]
fn a_backend_that_is_back_starts_slowly() {
    let mut desk = Desk::new(two_tiers());
    let word = |ago_secs: u64, now: u64| Word(stamp(now - ago_secs * 1_000_000_000) << 24 | 1 << 2);
    desk.set("a", Condition { word: word(1, desk.now_ns), ..Condition::default() });
    let shares = slots(&desk.plan(), 0);
    assert!((55..65).contains(&shares["a"]), "a tenth of three against one: {shares:?}");
    desk.set("a", Condition { word: word(15, desk.now_ns), ..Condition::default() });
    let shares = slots(&desk.plan(), 0);
    assert!((150..158).contains(&shares["a"]), "half of three against one: {shares:?}");
    desk.set("a", Condition { word: word(31, desk.now_ns), ..Condition::default() });
    assert_eq!(slots(&desk.plan(), 0)["a"], 192);
}

#[test]
fn panic_uses_all_that_are_wanted() {
    let mut services = two_tiers();
    let web = services.get_mut("web").unwrap();
    web.panic = Panic::Auto;
    web.backends.remove("c");
    let mut desk = Desk::new(services);
    for name in ["a", "b"] {
        desk.set(name, Condition { is_up: false, ..Condition::default() });
    }
    assert!(desk.plan().panics.is_empty(), "two backends are too few for it");
    let third = BackendSettings { weight: 1, ..desk.services["web"].backends["b"].clone() };
    let third = BackendSettings { address: "10.0.0.4:80".parse().unwrap(), ..third };
    desk.services.get_mut("web").unwrap().backends.insert("d".to_owned(), third);
    let plan = desk.plan();
    assert_eq!(plan.panics, ["web"]);
    assert_ne!(plan.tables.services[0].1.flags & PANIC, 0);
    assert_eq!(slots(&plan, 0).len(), 3);
}

#[test]
fn timers_are_jiffies_and_new_addresses_new_numbers() {
    let mut desk = Desk::new(two_tiers());
    let web = desk.services.get_mut("web").unwrap();
    web.syn_timeout = Some(Duration::from_millis(100));
    assert_eq!(desk.plan().tables.services[0].1.syn_timeout, 25);
    let web = desk.services.get_mut("web").unwrap();
    web.backends.get_mut("a").unwrap().address = "10.0.0.9:80".parse().unwrap();
    let plan = desk.plan();
    assert_eq!(plan.new, [4]);
    assert!(!plan.backends.contains_key(&1));
    // An agent that takes over keeps the numbers.
    let in_force: Vec<(u32, Service)> =
        plan.tables.services.iter().map(|(number, service, _)| (*number, *service)).collect();
    desk.numbers = Numbers::in_force(&in_force, &plan.tables.backends);
    assert_eq!(desk.plan(), Plan { new: vec![], ..plan });
}
