//! Lists whose members the host brings along.

use std::{net::IpAddr, sync::Arc};

use crate::{
    catalog::{FieldId, event_ids, ids},
    load::{LoadOptions, Loaded, Source, load},
    set::{Set, SetKind, Sets},
    value::{FieldArg, FieldSource, Truth, Value},
};

/// A connection to an address that has a name.
struct Connection(IpAddr, &'static str);

impl FieldSource for Connection {
    fn field<'a>(&'a self, field: FieldId, _: FieldArg<'_>) -> Value<'a> {
        match field {
            ids::FD_RIP | ids::FD_RNET | ids::FD_SIP => Value::Ip(self.0),
            ids::FD_RIP_NAME => Value::Bytes(self.1.as_bytes()),
            _ => Value::Null,
        }
    }
}

fn sets() -> Sets {
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    Sets::new([
        Arc::new(Set::networks("bad_ips", 1, [(ip("192.0.2.7"), 32), (ip("198.51.100.0"), 24)])),
        Arc::new(Set::domains("bad_names", 1, [Box::from(&b"evil.example"[..])])),
        Arc::new(Set::empty("none_yet", SetKind::Ip)),
    ])
}

fn loaded(lists: &str, condition: &str) -> Loaded {
    let text = format!(
        "{lists}- rule: r\n  desc: d\n  condition: evt.type = connect and ({condition})\n  output: o\n  priority: INFO\n"
    );
    let source = Source { name: "r.yaml".to_owned(), text: text.into_bytes() };
    load(&[source], &LoadOptions { sets: sets(), ..LoadOptions::default() })
}

fn holds(lists: &str, condition: &str, address: &str, name: &'static str) -> bool {
    let loaded = loaded(lists, condition);
    let rules = loaded.rules.unwrap_or_else(|| panic!("{condition}: {:?}", loaded.diagnostics));
    let mut found = false;
    let event = Connection(address.parse().unwrap(), name);
    rules.evaluate_among(event_ids::CONNECT, &event, |_| true, |_, truth| found |= truth == Truth::True);
    found
}

#[test]
fn members_are_found_in_every_form_of_the_comparison() {
    for (condition, inside) in [
        ("fd.rip in (bad_ips)", true),
        ("fd.rnet in (bad_ips)", true),
        ("fd.rip in (none_yet)", false),
        ("fd.rip in (none_yet, 198.51.100.9)", true),
        ("fd.rip in (203.0.113.1, bad_ips, none_yet)", true),
        ("not fd.rip in (bad_ips)", false),
        ("fd.rip = 203.0.113.1 or fd.rip in (bad_ips)", true),
        ("fd.rip.name in (bad_names)", true),
        ("fd.rip.name in (\"bad_names\")", false),
    ] {
        assert_eq!(holds("", condition, "198.51.100.9", "www.evil.example"), inside, "{condition}");
    }
    assert!(!holds("", "fd.rip in (bad_ips)", "198.51.101.9", ""));
}

#[test]
fn a_list_of_that_name_adds_its_items() {
    let lists = "- list: bad_ips\n  items: [203.0.113.1]\n- list: all\n  items: [bad_ips, 203.0.113.2]\n";
    for (address, expected) in
        [("203.0.113.1", true), ("203.0.113.2", true), ("192.0.2.7", true), ("203.0.113.3", false)]
    {
        assert_eq!(holds(lists, "fd.rip in (all)", address, ""), expected, "{address}");
    }
    assert!(!holds(lists, "fd.rip in (bad_ips)", "203.0.113.2", ""));
    // What a pack writes so that it loads also where there is no such feed.
    let empty = "- list: bad_ips\n  items: []\n";
    assert!(holds(empty, "fd.rip in (192.0.2.1, bad_ips)", "192.0.2.7", ""));
}

#[test]
fn what_cannot_be_looked_up_is_a_finding_with_its_cure() {
    for (condition, message, help) in [
        ("proc.name in (bad_ips)", "`bad_ips` is a list of addresses, but this is text", "fd.rip in"),
        (
            "fd.rip in (bad_names)",
            "`bad_names` is a list of host names, but this is an address",
            "fd.rip.name",
        ),
        ("proc.name startswith anyof (bad_names)", "operator `startswith` cannot look into", "use `in`"),
    ] {
        let found = loaded("", condition).diagnostics;
        let error = found.iter().find(|finding| finding.is_error()).unwrap_or_else(|| panic!("{condition}"));
        assert!(error.message.starts_with(message), "{}", error.message);
        assert!(error.help.as_ref().is_some_and(|text| text.contains(help)), "{:?}", error.help);
    }
}

#[test]
fn a_condition_does_not_grow_with_its_set() {
    let many = (0..200_000_u32).map(|number| (IpAddr::from((0x0b00_0000 + number).to_be_bytes()), 32));
    let sets = Sets::new([Arc::new(Set::networks("many", 7, many))]);
    let rule = "- rule: r\n  desc: d\n  condition: evt.type = connect and fd.rip in (many)\n  output: o\n  priority: INFO\n";
    let source = Source { name: "r.yaml".to_owned(), text: rule.into() };
    let rules = load(&[source], &LoadOptions { sets, ..LoadOptions::default() }).rules.unwrap();
    assert!(format!("{:?}", rules.rules()[0].condition).len() < 2000);
    let event = Connection("11.2.3.4".parse().unwrap(), "");
    let mut found = false;
    rules.evaluate_among(event_ids::CONNECT, &event, |_| true, |_, truth| found |= truth == Truth::True);
    assert!(found);
}
