//! The programs under load: two CPUs at one key, invented sources, tables that change, an agent that dies.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use rampart_agent::{
    engine::clock::boot_now_ns,
    kernel::limiter::{Limiter, LimiterConfig, Tables},
};
use rampart_common::limit::{
    abi::{
        Config, Control, ENFORCE, Grant, LIST_ADDRESSES, LIST_PREFIXES, PROG_XDP_FRAGS, Policy,
        RULE_ADDRESSES, RULE_ALLOW, RULE_DENY, Rule, RuleKey, SERVICE_FIRST, SERVICE_LISTS, Service,
        ServiceKey,
    },
    gcra::Limit,
    packet::Address,
    verdict::{Reason, Unit},
};
use rampart_tests::{netns::Bpffs, require_root};

use crate::corpus::{From, packet, udp};

const SECOND: u64 = 1_000_000_000;
/// The policy of [`two_cpus_admit_one_keys_rate`].
const RATE: u64 = 200_000;
const SPAN: Duration = Duration::from_secs(2);
/// Larger than the pauses between two test runs, in which nobody uses what is refilled.
const BURST: u64 = 400_000;
/// Sources of [`every_known_key_is_read_back_with_what_it_used`].
const KEYS: u32 = 5000;
/// Publishes, at least, of [`no_packet_meets_half_a_publish`].
const PUBLISHES: u32 = 25;
const DROP: u32 = 1;
const PASS: u32 = 2;

fn limiter(entries: u32) -> Limiter {
    let mut limiter = Limiter::load(&LimiterConfig { entries, pins: None }).expect("the limiter loads");
    limiter.beat(&alive(0)).expect("the heartbeat is written");
    limiter
}

fn alive(ago: u64) -> Control {
    Control { heartbeat_ns: boot_now_ns() - ago, ..Control::default() }
}

/// One policy on everything that comes.
fn tables(limit: Limit) -> Tables {
    Tables {
        config: Config {
            flags: ENFORCE,
            shapes: 1 << 5,
            seed: 99,
            budget: Limit::new(20_000, SECOND, 1000).expect("a limit"),
            samples: Limit::new(1, SECOND, 1).expect("a limit"),
            ..Config::default()
        },
        policies: vec![
            Policy::default(),
            Policy { limit, unit: Unit::Packets as u8, key_v4: 128, key_v6: 64, ..Policy::default() },
        ],
        services: vec![(ServiceKey::default(), Service { number: SERVICE_FIRST, policy: 1 })],
        ..Tables::default()
    }
}

fn frame(source: u32) -> Vec<u8> {
    packet(From::Four(source.to_be_bytes()), 0, 0, 17, &udp(5000, 53, 18))
}

fn counted(limiter: &Limiter, reason: Reason) -> u64 {
    let counted = limiter.tallies().expect("tallies are read");
    counted.iter().filter(|one| one.reason == reason).map(|one| one.tally.packets).sum()
}

#[test]
fn two_cpus_admit_one_keys_rate() {
    require_root!("two_cpus_admit_one_keys_rate");
    let mut limiter = limiter(1 << 14);
    limiter
        .publish(&tables(Limit::new(RATE, SECOND, BURST).expect("a limit")))
        .expect("the tables are written");
    let limiter = &limiter;
    let frame = &frame(0xc000_0201);
    // The key is known before the clock is looked at.
    limiter.run(PROG_XDP_FRAGS, frame, 1).expect("it runs");
    let start = Instant::now();
    // The limit is used up when a thread's last run begins, and nothing is sent after its end.
    let last_run = || {
        let mut begun = start.elapsed();
        while begun < SPAN {
            begun = start.elapsed();
            limiter.run(PROG_XDP_FRAGS, frame, 200_000).expect("it runs");
        }
        (begun, start.elapsed())
    };
    let (begun, ended) = thread::scope(|scope| {
        let [one, two] =
            [scope.spawn(last_run), scope.spawn(last_run)].map(|thread| thread.join().expect("runs"));
        (one.0.max(two.0), one.1.max(two.1))
    });
    let (within, over) = (counted(limiter, Reason::Within), counted(limiter, Reason::Over));
    let policy = |took: Duration| RATE * took.as_nanos() as u64 / SECOND + BURST;
    let (least, most) = (policy(begun), policy(ended));
    assert!(over > within, "the load ({} packets) is more than the rate", within + over);
    assert!(within <= most + most / 100, "{within} of at most {most}");
    assert!(within >= least - least / 100, "{within} of at least {least}");
}

#[test]
fn invented_sources_neither_evict_the_known_nor_pass() {
    require_root!("invented_sources_neither_evict_the_known_nor_pass");
    let mut limiter = limiter(1 << 12);
    limiter.publish(&tables(Limit::new(10, SECOND, 10).expect("a limit"))).expect("the tables are written");
    // Somebody who uses half of the rate, from a prefix of his own.
    let friend = frame(0xcb00_7105);
    let mut lost = 0;
    let (mut passed, mut sent) = (0_u64, 0_u64);
    let start = Instant::now();
    let mut due = Duration::ZERO;
    let mut random = 1_u64;
    while start.elapsed() < Duration::from_secs(2) {
        if start.elapsed() >= due {
            due += Duration::from_millis(200);
            let (verdict, _) = limiter.run(PROG_XDP_FRAGS, &friend, 1).expect("it runs");
            lost += u32::from(verdict == DROP);
        }
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // A million sources in sixteen prefixes of /16.
        let source = 0x0a00_0000 | (random >> 44) as u32;
        let (verdict, _) = limiter.run(PROG_XDP_FRAGS, &frame(source), 1).expect("it runs");
        passed += u64::from(verdict == PASS);
        sent += 1;
    }
    assert_eq!(lost, 0, "a source within its limit loses nothing");
    // Each /16: 64 times the rate and burst of a source.
    let seconds = start.elapsed().as_secs() + 1;
    let most = 16 * 64 * (10 + 10 * seconds);
    assert!(sent > most / 4 && passed <= most, "{passed} of {sent} passed, {most} may");
}

#[test]
fn a_flood_of_one_prefix_is_cut_before_it_fills_the_table() {
    require_root!("a_flood_of_one_prefix_is_cut_before_it_fills_the_table");
    let mut limiter = limiter(1 << 12);
    limiter.publish(&tables(Limit::new(1, SECOND, 5).expect("a limit"))).expect("the tables are written");
    for source in 0..256_u32 {
        for _ in 0..4 {
            limiter.run(PROG_XDP_FRAGS, &frame(0x0a14_1e00 | source), 1).expect("it runs");
        }
    }
    // Four sources' worth of burst for those that are unknown, and what the known ones have left of theirs.
    assert!(counted(&limiter, Reason::OverNear) > 800, "{:?}", limiter.tallies());
}

#[test]
fn no_packet_meets_half_a_publish() {
    require_root!("no_packet_meets_half_a_publish");
    let bpffs = Bpffs::mount().expect("a BPF file system is mounted");
    let config = LimiterConfig { entries: 1 << 14, pins: Some(bpffs.pins()) };
    // Two sets of programs on the same maps: those of the one run while the other publishes.
    let mut writer = Limiter::load(&config).expect("the limiter loads");
    let limiter = Limiter::load(&config).expect("the limiter is taken over");
    writer.beat(&alive(0)).expect("the heartbeat is written");
    let wide = tables(Limit::new(1_000_000_000, SECOND, 1 << 30).expect("a limit"));
    writer.publish(&wide).expect("the tables are written");
    let frame = frame(0xc000_0201);
    limiter.run(PROG_XDP_FRAGS, &frame, 1).expect("it runs");
    let stop = AtomicBool::new(false);
    let runs = AtomicU64::new(0);
    let publishes = thread::scope(|scope| {
        let runner = scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let (verdict, _) = limiter.run(PROG_XDP_FRAGS, &frame, 10_000).expect("it runs");
                assert_eq!(verdict, PASS);
                runs.fetch_add(10_000, Ordering::Relaxed);
            }
        });
        let mut publishes = 0;
        while !runner.is_finished() && (publishes < PUBLISHES || runs.load(Ordering::Relaxed) < 1_000_000) {
            writer.publish(&wide).expect("the tables are written");
            publishes += 1;
        }
        stop.store(true, Ordering::Relaxed);
        publishes
    });
    let counted = limiter.tallies().expect("tallies are read");
    let reasons: Vec<Reason> = counted.iter().map(|one| one.reason).collect();
    assert_eq!(reasons, [Reason::Within], "after {publishes} publishes");
}

#[test]
fn a_dead_agent_limits_nobody_and_a_living_one_does_again() {
    require_root!("a_dead_agent_limits_nobody_and_a_living_one_does_again");
    let mut limiter = limiter(1 << 14);
    let mut tables = tables(Limit::new(1, 3600 * SECOND, 1).expect("a limit"));
    tables.config.dead_man_ns = 10 * SECOND;
    limiter.publish(&tables).expect("the tables are written");
    let frame = frame(0xc000_0201);
    let verdict = |limiter: &Limiter| limiter.run(PROG_XDP_FRAGS, &frame, 1).expect("it runs").0;
    assert_eq!((verdict(&limiter), verdict(&limiter)), (PASS, DROP));
    limiter.beat(&alive(11 * SECOND)).expect("the heartbeat is written");
    assert_eq!(verdict(&limiter), PASS);
    limiter.beat(&alive(0)).expect("the heartbeat is written");
    assert_eq!(verdict(&limiter), DROP);
    limiter.switch_off().expect("it is switched off");
    assert_eq!(verdict(&limiter), PASS);
    assert_eq!(counted(&limiter, Reason::Off), 1);
}

#[test]
fn every_known_key_is_read_back_with_what_it_used() {
    require_root!("every_known_key_is_read_back_with_what_it_used");
    let mut limiter = limiter(1 << 16);
    let mut tables = tables(Limit::new(1_000_000, SECOND, 1 << 20).expect("a limit"));
    tables.config.budget = Limit::new(1_000_000, SECOND, 1 << 20).expect("a limit");
    limiter.publish(&tables).expect("the tables are written");
    for source in 0..KEYS {
        // Each source in a prefix of its own, and some use more. One run at a time: the kernel waits for all CPUs
        // before and after runs that repeat.
        for _ in 0..=source % 3 {
            limiter.run(PROG_XDP_FRAGS, &frame(0x0b00_0001 | source << 8), 1).expect("it runs");
        }
    }
    let (mut used, mut known) = (0, 0);
    let start = Instant::now();
    let count = limiter.entries(|_, entry| {
        used += entry.used;
        known += u32::from(entry.policy == 1);
    });
    let took = start.elapsed();
    assert_eq!(count.expect("entries are read"), KEYS as usize);
    assert_eq!((known, used), (KEYS, u64::from((0..KEYS).map(|source| 1 + source % 3).sum::<u32>())));
    eprintln!("{KEYS} entries read in {took:?}");
}

#[test]
fn grants_end_by_the_kernels_clock_and_new_rates_hold_at_once() {
    require_root!("grants_end_by_the_kernels_clock_and_new_rates_hold_at_once");
    let mut limiter = limiter(1 << 14);
    let source = 0xc000_0209;
    let mut granted = tables(Limit::new(1, 3600 * SECOND, 1).expect("a limit"));
    let limit = Limit::new(1_000_000, SECOND, 50).expect("a limit");
    granted.grants = vec![Grant::default(), Grant { until_ns: boot_now_ns() + SECOND, limit }];
    granted.config.flags |= RULE_ADDRESSES;
    let key = RuleKey::new(0, SERVICE_FIRST, Address::v4(source));
    granted.addresses.push((key, Rule { policy: 1, grant: 1, ..Rule::default() }));
    limiter.publish(&granted).expect("the tables are written");
    let frame = frame(source);
    let passes = |limiter: &Limiter| limiter.run(PROG_XDP_FRAGS, &frame, 1).expect("it runs").0 == PASS;
    assert!((0..20).all(|_| passes(&limiter)), "the grant holds");
    while boot_now_ns() < granted.grants[1].until_ns {
        thread::sleep(Duration::from_millis(10));
    }
    assert!(passes(&limiter) && !passes(&limiter), "the policy holds again");
    // The key would wait for hours, but its policy has another rate now.
    let quick = tables(Limit::new(1_000_000, SECOND, 10).expect("a limit"));
    limiter
        .publish(&Tables { addresses: granted.addresses.clone(), config: granted.config, ..quick })
        .expect("tables");
    assert!((0..100).any(|_| passes(&limiter)), "a debt of the old rate is not kept");
}

#[test]
fn lists_end_by_the_kernels_clock() {
    require_root!("lists_end_by_the_kernels_clock");
    let mut limiter = limiter(1 << 14);
    let mut listed = tables(Limit::new(1_000_000, SECOND, 1 << 20).expect("a limit"));
    listed.config.flags |= LIST_ADDRESSES | LIST_PREFIXES;
    let until_secs = (boot_now_ns() / SECOND) as u32 + 2;
    let deny = Rule { kind: RULE_DENY, until_secs, ..Rule::default() };
    let place = |address| RuleKey::new(0, SERVICE_LISTS, Address::v4(address));
    listed.addresses.push((place(0xc000_0201), deny));
    listed.prefixes.push((96 + 24, place(0xcb00_7100), deny));
    listed.prefixes.push((96 + 24, place(0xc633_6400), Rule { kind: RULE_ALLOW, then: RULE_DENY, ..deny }));
    limiter.publish(&listed).expect("the tables are written");
    let verdicts = || {
        [0xc000_0201, 0xcb00_7105, 0xc633_6409]
            .map(|source| limiter.run(PROG_XDP_FRAGS, &frame(source), 1).expect("it runs").0)
    };
    let (begun, before) = (boot_now_ns(), verdicts());
    if boot_now_ns() < u64::from(until_secs) * SECOND {
        assert_eq!(before, [DROP, DROP, PASS], "{begun}");
    }
    while boot_now_ns() < u64::from(until_secs) * SECOND {
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(verdicts(), [PASS, PASS, DROP]);
}

/// Another seed for the hashes; without `before`, what lies under the one before is forgotten.
fn reseed(tables: &mut Tables, before: bool) {
    let config = &mut tables.config;
    config.seed_before = config.seed;
    config.seed += 1;
    // Long ago, however short the node has been up.
    config.seeded_ns = if before { boot_now_ns() } else { boot_now_ns().wrapping_sub(1 << 60) };
}

#[test]
fn a_new_seed_gives_nobody_a_fresh_burst() {
    require_root!("a_new_seed_gives_nobody_a_fresh_burst");
    let mut limiter = limiter(1 << 14);
    let mut tables = tables(Limit::new(1, 3600 * SECOND, 10).expect("a limit"));
    limiter.publish(&tables).expect("the tables are written");
    let mut unknown = 0x0a14_1e00..0x0a14_1eff;
    let mut passed = |limiter: &Limiter| {
        let passes =
            |source| u32::from(limiter.run(PROG_XDP_FRAGS, &frame(source), 1).expect("it runs").0 == PASS);
        unknown.by_ref().take(60).map(passes).sum::<u32>()
    };
    assert_eq!(passed(&limiter), 40, "four sources' burst");
    for _ in 0..2 {
        reseed(&mut tables, true);
        limiter.publish(&tables).expect("the tables are written");
        assert_eq!(passed(&limiter), 0, "the prefix has used what it may");
    }
    // This is what it would be without that.
    reseed(&mut tables, false);
    limiter.publish(&tables).expect("the tables are written");
    assert_eq!(passed(&limiter), 40);
}

#[test]
fn a_new_seed_forgets_no_flow() {
    require_root!("a_new_seed_forgets_no_flow");
    let mut limiter = limiter(1 << 14);
    let mut tables = tables(Limit::new(1, 3600 * SECOND, 1).expect("a limit"));
    tables.policies[1].unit = Unit::NewFlows as u8;
    limiter.publish(&tables).expect("the tables are written");
    let verdict = |limiter: &Limiter, port| {
        let frame = packet(From::Four([192, 0, 2, 1]), 0, 0, 17, &udp(port, 53, 18));
        limiter.run(PROG_XDP_FRAGS, &frame, 1).expect("it runs").0
    };
    assert_eq!((verdict(&limiter, 5000), verdict(&limiter, 5001)), (PASS, DROP));
    for _ in 0..2 {
        reseed(&mut tables, true);
        limiter.publish(&tables).expect("the tables are written");
        assert_eq!((verdict(&limiter, 5000), verdict(&limiter, 5001)), (PASS, DROP));
    }
    reseed(&mut tables, false);
    limiter.publish(&tables).expect("the tables are written");
    assert_eq!(verdict(&limiter, 5000), DROP, "forgotten");
}
