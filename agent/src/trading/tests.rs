use rampart_rules::{
    catalog::event_ids,
    typed::Arg,
    unit::event::{Event, Held},
};

use super::*;
use crate::config::Sources;

const CONFIG: &str = "
trading:
  venues:
    xetra:
      kind: order_entry
      hosts: [gw.xetra.example, '*.eu.xetra.example']
      cidrs: [203.0.113.0/28, '2001:db8:1::/48']
      ports: [443, 19043]
    prices: {kind: market_data, groups: 239.7.0.0/16, ports: 30001}
    broker: {kind: api, hosts: api.broker.example}
  calendars:
    xetra:
      time_zone: Europe/Berlin
      sessions:
        pre_open: mon-fri 07:30-09:00
        auction: ['mon-fri 08:50-09:00', 'mon-fri 17:30-17:35']
        continuous: mon-fri 09:00-17:30
        post_close: mon-fri 17:35-20:30
      half_days: [2026-12-30]
      half_day_sessions: {continuous: mon-fri 09:00-14:00}
      holidays: [2026-12-24, 2026-12-25]
    night: {time_zone: America/Chicago, sessions: {continuous: 'sun-thu 17:00-16:00'}}
  roles:
    gateway: {exes: [/opt/gw/], comms: [gw-main]}
    signer: {images: [registry.example/signer, 'registry.example/hsm:1.*'], labels: {app: signer, tier: '*'}}
  assets:
    api_key: ['/opt/keys/*.key', /etc/gw/token]
    wallet: /var/lib/wallets/
";

fn load(text: &str) -> Result<config::Trading, String> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("rampart.yaml");
    std::fs::write(&file, text).unwrap();
    let sources = Sources { file: Some(file), ..Sources::default() };
    sources.load().map(|config| config.trading).map_err(|faults| {
        let text = faults.to_string();
        text.replace(&format!("{}/", dir.path().display()), "")
    })
}

fn trading() -> Trading {
    Trading::new(&load(CONFIG).unwrap()).unwrap().unwrap()
}

fn event(fields: &[(FieldId, Value<'static>)]) -> Event<'static> {
    let mut event = Event::new(event_ids::CONNECT);
    for (field, value) in fields {
        event.set(*field, Arg::None, Held::One(*value));
    }
    event
}

fn text(value: Option<Value<'_>>) -> String {
    match value {
        None => "-".to_owned(),
        Some(Value::Bytes(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
        Some(other) => format!("{other:?}"),
    }
}

#[test]
fn venues_are_known_by_address_name_and_group() {
    let trading = trading();
    let to = |address: &str, port, name: Option<&'static str>| {
        let address = Value::Ip(address.parse().unwrap());
        let mut fields = vec![
            (ids::FD_RIP, address),
            (ids::FD_RNET, address),
            (ids::FD_RPORT, Value::Uint(port)),
            (ids::FD_LNET, Value::Ip([10, 0, 0, 1].into())),
        ];
        fields.extend(name.map(|name| (ids::FD_RIP_NAME, Value::Bytes(name.as_bytes()))));
        let event = event(&fields);
        let of = |field| text(trading.venue(field, None, &event));
        [of(ids::TRADING_VENUE), of(ids::TRADING_VENUE_KIND), of(ids::TRADING_VENUE_LISTED)].join(" ")
    };
    assert_eq!(to("203.0.113.5", 443, None), "xetra order_entry Bool(true)");
    assert_eq!(to("203.0.113.5", 80, None), "- - -", "another port");
    assert_eq!(to("203.0.113.16", 443, None), "- - -");
    assert_eq!(to("2001:db8:1::7", 19043, None), "xetra order_entry Bool(true)");
    assert_eq!(to("198.51.100.1", 443, Some("gw.xetra.example")), "xetra order_entry Bool(false)");
    assert_eq!(to("198.51.100.1", 443, Some("a.eu.xetra.example")), "xetra order_entry Bool(false)");
    assert_eq!(to("239.7.1.1", 30001, None), "prices market_data Bool(true)");
    // Of a venue without addresses none can be wrong.
    assert_eq!(to("198.51.100.1", 8443, Some("api.broker.example")), "broker api Bool(true)");
    let join =
        |group: [u8; 4]| text(trading.venue(ids::TRADING_VENUE, Some(IpAddr::from(group)), &event(&[])));
    assert_eq!((join([239, 7, 9, 9]), join([239, 8, 9, 9])), ("prices".to_owned(), "-".to_owned()));
}

#[test]
fn roles_and_assets_are_known_by_what_describes_them() {
    let trading = trading();
    let bytes = |text: &'static str| Value::Bytes(text.as_bytes());
    let role = |fields: &[(FieldId, Value<'static>)]| text(trading.role(&event(fields)));
    assert_eq!(role(&[(ids::PROC_EXEPATH, bytes("/opt/gw/bin/x"))]), "gateway");
    assert_eq!(role(&[(ids::PROC_NAME, bytes("gw-main"))]), "gateway");
    assert_eq!(role(&[(ids::PROC_NAME, bytes("gw-mainx"))]), "-");
    assert_eq!(role(&[(ids::CONTAINER_IMAGE_REPOSITORY, bytes("registry.example/signer"))]), "signer");
    assert_eq!(role(&[(ids::CONTAINER_IMAGE, bytes("registry.example/hsm:1.4"))]), "signer");
    assert_eq!(role(&[(ids::CONTAINER_IMAGE, bytes("registry.example/hsm:2.0"))]), "-");
    let mut labelled = event(&[]);
    labelled.set(ids::K8S_POD_LABEL, Arg::Key("tier".into()), Held::One(bytes("any")));
    assert_eq!(text(trading.role(&labelled)), "signer");
    // While the runtime is asked, nobody knows.
    assert_eq!(role(&[(ids::CONTAINER_IMAGE_REPOSITORY, Value::Unknown)]), "Unknown");
    let asset = |field, path: &'static str| text(trading.asset(&event(&[(field, bytes(path))])));
    assert_eq!(asset(ids::FD_NAME, "/opt/keys/a/b.key"), "api_key");
    assert_eq!(asset(ids::FS_PATH_TARGET, "/etc/gw/token"), "api_key");
    assert_eq!(asset(ids::FS_PATH_NAME, "/var/lib/wallets/w1"), "wallet");
    assert_eq!(asset(ids::FD_NAME, "/var/lib/wallets"), "-");
    let mut seen = 0;
    trading.for_each_role_field(&mut |_| seen += 1);
    assert!(seen > 5);
}

/// Nanoseconds since the epoch.
fn at(moment: &str) -> u64 {
    let moment: jiff::Timestamp = moment.parse().unwrap();
    u64::try_from(moment.as_nanosecond()).unwrap()
}

#[test]
fn sessions_follow_the_calendar() {
    let trading = trading();
    let session = |moment: &str| text(trading.session(at(moment), Some("xetra")));
    // 20 November 2026 is a Friday; Berlin is an hour before UTC.
    for (moment, expected) in [
        ("2026-11-20T06:29:59Z", "closed"),
        ("2026-11-20T06:30:00Z", "pre_open"),
        ("2026-11-20T07:50:00Z", "auction"),
        ("2026-11-20T08:00:00Z", "continuous"),
        ("2026-11-20T16:30:00Z", "auction"),
        ("2026-11-20T16:35:00Z", "post_close"),
        ("2026-11-20T19:30:00Z", "closed"),
        ("2026-11-21T10:00:00Z", "closed"),
        // In summer two hours.
        ("2026-07-01T07:00:00Z", "continuous"),
        ("2026-12-24T10:00:00Z", "closed"),
        ("2026-12-30T12:59:00Z", "continuous"),
        ("2026-12-30T13:00:00Z", "closed"),
    ] {
        assert_eq!(session(moment), expected, "{moment}");
    }
    let of = |moment: &str, name| text(trading.session(at(moment), name));
    assert_eq!(of("2026-11-20T06:00:00Z", Some("night")), "continuous", "since the evening before");
    assert_eq!(of("2026-11-20T22:30:00Z", Some("night")), "closed", "on a Friday nothing begins");
    assert_eq!(of("2026-11-20T06:00:00Z", None), "continuous", "the busiest");
    assert_eq!(of("2026-11-20T16:31:00Z", None), "auction");
    assert_eq!(of("2026-11-20T06:00:00Z", Some("other")), "-");
}

#[test]
fn what_was_told_of_a_session_is_taken_back_in_time() {
    let text = CONFIG.replace(
        "    night: {time_zone: America/Chicago, sessions: {continuous: 'sun-thu 17:00-16:00'}}\n",
        "",
    );
    let trading = Trading::new(&load(&text).unwrap()).unwrap().unwrap();
    let before = at("2026-11-20T07:00:00Z");
    let (taken_back, begins) = (at("2026-11-20T07:49:50Z"), at("2026-11-20T07:50:00Z"));
    assert!(trading.is_stable(before) && trading.is_stable(taken_back - 1));
    assert_eq!(trading.next_change(before), Some(taken_back));
    assert!(!trading.is_stable(taken_back) && !trading.is_stable(begins - 1));
    assert_eq!(trading.next_change(taken_back), Some(begins));
    assert!(trading.is_stable(begins));
    // Wherever one begins, it is the same session until the next change of it.
    let mut now = at("2026-12-20T00:00:00Z");
    let mut changes = 0;
    while now < at("2027-01-04T00:00:00Z") {
        let next = trading.next_change(now).unwrap();
        let session = trading.session(now, None);
        for part in [1, 2, 3] {
            let between = now + (next - now) / 4 * part;
            assert!(!trading.is_stable(now) || trading.session(between, None) == session, "{between}");
        }
        assert!(next > now);
        now = next;
        changes += 1;
    }
    assert!(changes > 50, "{changes}");
}

#[test]
fn nothing_is_described_without_the_section() {
    assert!(Trading::new(&config::Trading::default()).unwrap().is_none());
    let meanings = Trading::meanings(&config::Trading::default());
    assert!(meanings.len() == FIELDS.len() && meanings.iter().all(|meaning| meaning.values.is_empty()));
    // A role alone is a section: then the session is known to be none.
    let one = load("trading: {roles: {signer: {comms: signerd}}}").unwrap();
    let trading = Trading::new(&one).unwrap().unwrap();
    assert_eq!(text(trading.session(at("2026-11-20T10:00:00Z"), None)), "closed");
    assert_eq!(trading.next_change(0), None);
}

#[test]
fn faults_are_told_with_place_and_cure() {
    for (text, fault) in [
        ("venues: {x: {hosts: a}}", "`trading.venues.x` has no kind; set `kind` to one of order_entry"),
        ("venues: {x: {kind: dark, hosts: a}}", "`trading.venues.x.kind` must be one of order_entry"),
        ("venues: {x: {kind: api}}", "`trading.venues.x` is nowhere; set `hosts`, `cidrs` or `groups`"),
        ("venues: {x: {kind: api, cidrs: [10.0.0]}}", "`trading.venues.x.cidrs` names the address `10.0.0`"),
        ("venues: {x: {kind: api, groups: [10.0.0.1]}}", "names the multicast group `10.0.0.1`"),
        ("venues: {x: {kind: api, hosts: a, ports: 0}}", "names the port `0`"),
        (
            "venues: {x: {kind: api, host: a}}",
            "unknown setting `trading.venues.x.host`; did you mean `hosts`?",
        ),
        ("calendars: {x: {sessions: {continuous: 09:00-17:00}}}", "has no time zone"),
        (
            "calendars: {x: {time_zone: Mars/Base, sessions: {continuous: '09:00-17:00'}}}",
            "an IANA time zone",
        ),
        ("calendars: {x: {time_zone: UTC}}", "has no session"),
        ("calendars: {x: {time_zone: UTC, sessions: {lunch: '12:00-13:00'}}}", "unknown setting"),
        ("calendars: {x: {time_zone: UTC, sessions: {auction: noon}}}", "names the time `noon`"),
        (
            "calendars: {x: {time_zone: UTC, sessions: {auction: '12:00-13:00'}, holidays: [2026-02-30]}}",
            "names the day `2026-02-30`",
        ),
        (
            "calendars: {x: {time_zone: UTC, sessions: {auction: '12:00-13:00'}, half_days: [2026-02-20]}}",
            "only one of `half_days` and `half_day_sessions`",
        ),
        ("roles: {gatway: {comms: a}}", "no rule knows the role `gatway`; did you mean `gateway`?"),
        ("roles: {gateway: {}}", "is nobody's"),
        ("roles: {gateway: {comms: a-name-that-is-far-too-long}}", "names have up to 15 bytes"),
        ("assets: {api_keys: [/k]}", "no rule knows the asset `api_keys`; did you mean `api_key`?"),
        ("assets: {api_key: [relative/k]}", "names the path `relative/k`"),
        ("assets: {api_key: [/a/../k]}", "names the path `/a/../k`"),
        ("assets: {api_key: []}", "must be a list of paths"),
        ("asset: {}", "unknown setting `trading.asset`; did you mean `assets`?"),
    ] {
        let error = load(&format!("trading:\n  {text}\n")).unwrap_err();
        assert!(error.contains(fault), "{text}: {error}");
        assert!(error.starts_with("rampart.yaml:2:"), "{text}: {error}");
    }
    assert!(load("trading: {roles: {x_desk: {comms: a}}, assets: {x_secret: /s}}").is_ok());
}
