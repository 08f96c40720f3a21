use std::sync::mpsc::sync_channel;

use rampart_common::limit::abi::Tally;

use super::*;
use crate::config::Sources;

fn limits(text: &str) -> Limits {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("rampart.yaml");
    std::fs::write(&file, format!("limits:\n  alert_secs: 10\n{text}")).unwrap();
    Sources { file: Some(file), ..Sources::default() }
        .load()
        .unwrap_or_else(|faults| panic!("{faults}"))
        .limits
}

fn counted(policy: u32, reason: Reason, packets: u64) -> Counted {
    Counted {
        policy,
        reason,
        direction: Direction::Ingress,
        is_observed: false,
        tally: Tally { packets, bytes: packets * 100 },
    }
}

fn sample(source: u32, policy: u16, reason: Reason) -> Sample {
    Sample { source: Address::v4(source).words(), policy, reason: reason as u8, ..Sample::default() }
}

#[test]
fn one_alert_a_policy_and_interval_says_who_and_how_much() {
    let limits = limits("  policies: {web: {rate: 50/s, unit: packets}}\n");
    let names = BTreeMap::from([(1, "web".to_owned())]);
    let (sender, received) = sync_channel(8);
    let mut notices = Notices::new(sender);
    notices.start(&[counted(1, Reason::Over, 1000)]);
    let mut samples: Vec<Sample> = (0..75).map(|_| sample(0xc000_0207, 1, Reason::Over)).collect();
    samples.extend((0..25).map(|one| sample(0xcb00_7100 + one, 1, Reason::OverNear)));
    let now = Instant::now();
    let all = [counted(1, Reason::Over, 5000), counted(1, Reason::OverNear, 1000)];
    let said = notices.due(&samples, &all, &names, &limits, now);
    assert_eq!(said.len(), 1);
    assert_eq!((said[0].what, said[0].priority), ("rate limit exceeded", Priority::Warning));
    assert_eq!(said[0].fields["policy"], "web");
    assert_eq!(said[0].fields["source"], "192.0.2.7");
    assert_eq!((&said[0].fields["sources"], &said[0].fields["packets"]), (&26.into(), &5000.into()));
    // Three quarters of 5000 in ten seconds, and what is allowed.
    assert_eq!(
        (&said[0].fields["observed_per_sec"], &said[0].fields["allowed_per_sec"]),
        (&425.into(), &50.into())
    );
    assert!(said[0].message.ends_with("5000 packets of 26 sources were dropped"), "{}", said[0].message);
    // Within the interval it is gathered, and said at its end.
    let soon = now + Duration::from_secs(3);
    let all = [counted(1, Reason::Over, 7000), counted(1, Reason::OverNear, 1000)];
    assert!(notices.due(&samples, &all, &names, &limits, soon).is_empty());
    let later = notices.due(&[], &all, &names, &limits, now + Duration::from_secs(10));
    assert_eq!(later[0].fields["packets"], 2000);
    assert!(notices.due(&[], &all, &names, &limits, now + Duration::from_secs(30)).is_empty(), "nothing new");
    assert!(received.try_recv().is_err());
}

#[test]
fn denied_sources_and_quotas_have_alerts_of_their_own_and_may_be_switched_off() {
    let limits = limits("  policies: {web: {rate: 50/s}}\n");
    let names = BTreeMap::from([(1, "web".to_owned())]);
    let (sender, received) = sync_channel(2);
    let mut notices = Notices::new(sender);
    let samples = [
        sample(1, 0, Reason::Denied),
        Sample { is_observed: 1, ..sample(2, 0, Reason::Malformed) },
        sample(3, 1, Reason::OverQuota),
        sample(3, 1, Reason::Within),
    ];
    notices.take(&samples, &[counted(0, Reason::Denied, 3)], &names, &limits);
    let said: Vec<Internal> = received.try_iter().collect();
    assert_eq!(said.iter().map(|one| one.what).collect::<Vec<_>>(), ["denied source", "malformed packets"]);
    assert_eq!(said[0].message, "0.0.0.1 is denied (ingress); 3 packets were dropped");
    assert_eq!(said[1].priority, Priority::Notice);
    assert_eq!(notices.dropped(), 1, "there was room for two");
    let silent = Limits { alert: Duration::ZERO, ..limits };
    let mut notices = Notices::new(sync_channel(8).0);
    notices.take(&samples, &[], &names, &silent);
    assert_eq!(notices.dropped(), 0);
}

#[test]
fn many_used_up_quotas_are_few_alerts() {
    let limits = limits("  policies: {web: {rate: 50/s, quota: {amount: 10k, per: month}}}\n");
    let closed: Vec<Closed> = (0..20_u32)
        .map(|one| Closed {
            policy: "web".to_owned(),
            net: std::net::IpAddr::from(one.to_be_bytes()).into(),
            until_ns: 1,
        })
        .collect();
    let said = used_up(&closed.iter().collect::<Vec<_>>(), &limits);
    assert_eq!(said.len(), 9);
    assert_eq!(said[1].message, "`web`: 0.0.0.1 has used up its quota of 10000");
    assert_eq!(said[8].message, "12 more sources have used up a quota");
}
