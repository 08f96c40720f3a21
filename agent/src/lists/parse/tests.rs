use std::{path::PathBuf, time::Duration};

use proptest::prelude::*;
use rampart_rules::set::SetKind;

use super::*;
use crate::config::ListSource;

/// A list with ordinary settings.
pub(crate) fn list(kind: &str) -> RuleList {
    RuleList {
        kind: SetKind::ALL.into_iter().find(|known| known.name() == kind).unwrap(),
        source: ListSource::Url("https://example.com/list".to_owned()),
        format: ListFormat::Auto,
        refresh: Duration::from_mins(1),
        max_bytes: 1 << 20,
        max_entries: 1000,
        max_age: Duration::ZERO,
        drops_stale: false,
        allows_private: false,
        headers_file: None,
        copy: PathBuf::new(),
    }
}

fn read(list: &RuleList, text: &str) -> Result<Parsed, Fault> {
    parse("bad", list, text.as_bytes(), &Fence::new(Vec::new()))
}

fn has(parsed: &Parsed, member: &str) -> bool {
    match member.parse() {
        Ok(address) => parsed.set.has_address(address),
        Err(_) => parsed.set.has_text(member.as_bytes()),
    }
}

#[test]
fn plain_lines_of_each_kind_are_members() {
    let ip = read(
        &list("ip"),
        "\u{feff}# a feed\r\n198.51.100.7 ; C2\r\n\n203.0.113.0/24 , x\n2001:db8::/48\n::ffff:192.0.2.9\nnobody\n10.0.0.1\n0.0.0.0/0\n::/2\n::ffff:0:0/96\n",
    )
    .unwrap();
    assert_eq!(ip.set.len(), 4);
    assert!(
        has(&ip, "203.0.113.200") && has(&ip, "192.0.2.9") && !has(&ip, "10.0.0.1") && !has(&ip, "1.1.1.1")
    );
    assert_eq!(ip.wrong, Told { count: 1, first: vec![(7, "`nobody` is no address".to_owned())] });
    assert_eq!(ip.refused.count, 4, "{:?}", ip.refused);
    assert_eq!(ip.refused.first[1], (9, "`0.0.0.0/0` is too wide to be a member".to_owned()));

    let names = read(
        &list("domain"),
        "0.0.0.0 Evil.Example\n*.wild.test\n.dot.test.\nplain.test\ncom\nbad name.test\n?\n",
    )
    .unwrap();
    assert!(has(&names, "evil.example") && has(&names, "a.wild.test") && has(&names, "dot.test"));
    assert_eq!((names.refused.count, names.wrong.count), (2, 1), "a top-level domain is refused");

    let digest = "0f".repeat(32);
    let digests = read(&list("sha256"), &format!("{digest}  a.exe\n{digest}\nabc\n")).unwrap();
    assert_eq!((digests.set.len(), digests.wrong.count), (1, 1));
    assert!(has(&digests, &digest.to_uppercase()));

    let texts = read(&list("text"), "# paths\n/opt/a b;c\n/tmp/x # y\n").unwrap();
    assert!(has(&texts, "/opt/a b;c") && has(&texts, "/tmp/x # y"));
}

#[test]
fn a_text_that_is_no_list_is_refused_with_the_line() {
    let why = |list: &RuleList, text: &str| read(list, text).unwrap_err().to_string();
    assert_eq!(
        why(&list("ip"), "\n<html>\n198.51.100.1\n<body>\n"),
        "line 2 `<html>` is no address; it has more such lines than members"
    );
    let small = RuleList { max_entries: 1, ..list("ip") };
    assert_eq!(
        why(&small, "198.51.100.1\n198.51.100.1\n198.51.100.2\n"),
        "it has more than 1 members; raise `max_entries` if that is right"
    );
    assert_eq!(
        why(&list("ip"), "{\"type\": \"bundle\",\n \"objects\": 7}"),
        "line 2, column 13: it is no bundle of STIX: invalid type: integer `7`, expected a sequence"
    );
    assert!(why(&list("domain"), "{\"type\": \"report\"}").contains("its type is `report`"));
    assert_eq!(why(&list("text"), "{}"), Fault::NoTexts.to_string());
    let csv = RuleList { format: ListFormat::Csv(Column::Named("sha".to_owned())), ..list("sha256") };
    assert_eq!(
        why(&csv, "# x\nname,md5\na,b\n"),
        "line 2: it names no column `sha`; set `column` to its number, from 1"
    );
}

#[test]
fn a_column_of_a_table_is_read_by_name_and_number() {
    let named = |name: &str| ListFormat::Csv(Column::Named(name.to_owned()));
    let digest = "ab".repeat(32);
    for (format, text) in [
        (named("SHA256"), format!("first_seen,sha256,name\n2026-01-01,{digest},\"a, b\"\n")),
        (
            named("sha256_hash"),
            format!("# made today\n# \"first_seen\", \"sha256_hash\"\n\"2026-01-01\", \"{digest}\"\n"),
        ),
        (named("sha256"), format!("name;sha256\nx;{digest}\n")),
        (ListFormat::Csv(Column::At(1)), format!("name\tsha256\nx\t{digest}\n")),
        (ListFormat::Csv(Column::At(0)), format!("{digest},x\n{digest},x,y\n")),
    ] {
        let parsed = read(&RuleList { format, ..list("sha256") }, &text).unwrap();
        assert!(parsed.set.len() == 1 && has(&parsed, &digest) && parsed.wrong.count == 0, "{text}");
    }
}

#[test]
fn a_bundle_has_members_of_each_kind() {
    let digest = "cd".repeat(32);
    let text = format!(
        r#"{{"type": "bundle", "id": "bundle--1", "objects": [
        {{"type": "indicator", "pattern": "[ipv4-addr:value = '198.51.100.1'] OR [domain-name:value = 'evil.example']"}},
        {{"type": "indicator", "pattern": "[ipv4-addr:value = '198.51.100.2']", "revoked": true}},
        {{"type": "indicator", "pattern": "[ipv4-addr:value = '198.51.100.3']", "valid_until": "2001-01-01T00:00:00Z"}},
        {{"type": "indicator", "pattern": "[file:hashes.'SHA-256' = '{digest}']"}},
        {{"type": "ipv6-addr", "value": "2001:db8::1"}}, {{"type": "windows-registry-key", "value": 7}}]}}"#
    );
    let ip = read(&list("ip"), &text).unwrap();
    assert!(ip.set.len() == 2 && has(&ip, "198.51.100.1") && has(&ip, "2001:db8::1"));
    assert!(has(&read(&list("domain"), &text).unwrap(), "evil.example"));
    assert!(has(&read(&list("sha256"), &text).unwrap(), &digest));
}

#[test]
fn the_version_is_that_of_the_members_and_not_of_their_text() {
    let version = |text: &str| read(&list("ip"), text).unwrap().set.version();
    let first = version("# monday\n198.51.100.1\n198.51.100.2\n");
    assert_eq!(first, version("198.51.100.2/32\n# tuesday\n198.51.100.1 # again\n198.51.100.1\n"));
    assert_ne!(first, version("198.51.100.1\n"));
}

proptest! {
    #[test]
    fn no_text_makes_it_fail_and_no_address_gets_past_the_fence(
        text in "([0-9a-f.:/,;#\"'{} \n\t-]|198\\.51\\.100\\.[0-9]|10\\.0\\.0\\.1|/[0-9]{1,3}|\\PC){0,60}",
        kind in 0..4_usize,
        format in 0..4_usize,
    ) {
        let format = [
            ListFormat::Auto,
            ListFormat::Stix,
            ListFormat::Csv(Column::At(1)),
            ListFormat::Csv(Column::Named("a".to_owned())),
        ][format].clone();
        let list = RuleList { format, ..list(SetKind::ALL[kind].name()) };
        if let Ok(parsed) = read(&list, &text) {
            let fence = Fence::new(Vec::new());
            for (address, length) in parsed.set.iter_networks() {
                prop_assert!(fence.check(IpNet::new_assert(address, length), false).is_ok());
            }
        }
    }
}
