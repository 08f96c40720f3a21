use super::*;
use crate::config::{Config, Sources, fault::Faults};

fn load(lists: &str) -> Result<Config, Faults> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("rampart.yaml");
    let text = format!("node: {{state_dir: /var/lib/x}}\nrules:\n  lists:\n{lists}");
    std::fs::write(&file, text).unwrap();
    Sources { file: Some(file), ..Sources::default() }.load()
}

#[test]
fn lists_are_read_with_their_defaults() {
    let config = load(
        "    a: {kind: ip, url: \"https://example.com/a?key=1\"}\n    \
         b: {kind: sha256, file: /etc/b.csv, column: 2, refresh_secs: 5, max_mib: 1, max_entries: 9, max_age_secs: 0, \
         stale: drop, allow_private: true}\n    c: {kind: domain, url: http://example.com/c, format: csv, column: name, \
         headers_file: /etc/h}\n",
    )
    .unwrap();
    let lists = &config.rules.lists;
    let expected = RuleList {
        kind: SetKind::Ip,
        source: ListSource::Url("https://example.com/a?key=1".to_owned()),
        format: ListFormat::Auto,
        refresh: Duration::from_hours(1),
        max_bytes: 16 << 20,
        max_entries: 500_000,
        max_age: Duration::from_hours(168),
        drops_stale: false,
        allows_private: false,
        headers_file: None,
        copy: "/var/lib/x/lists/a.list".into(),
    };
    assert_eq!(lists["a"], expected);
    let b = &lists["b"];
    assert_eq!((b.kind, &b.source), (SetKind::Sha256, &ListSource::File("/etc/b.csv".into())));
    assert_eq!(
        (&b.format, b.max_age, b.drops_stale),
        (&ListFormat::Csv(Column::At(1)), Duration::ZERO, true)
    );
    assert_eq!(lists["c"].format, ListFormat::Csv(Column::Named("name".to_owned())));
}

#[test]
fn every_fault_of_a_list_is_told_at_its_place() {
    for (list, message) in [
        ("a: {url: http://example.com/a}", "`rules.lists.a` has no kind"),
        ("a: {kind: ip}", "`rules.lists.a` has no source"),
        ("a: {kind: ip, file: /x, url: http://example.com/a}", "`rules.lists.a` has both `file` and `url`"),
        ("a: {kind: ip, url: ftp://example.com/a}", "`rules.lists.a.url` must be a web address"),
        ("a: {kind: md5, file: /x}", "`rules.lists.a.kind` must be one of ip, domain, sha256, text"),
        (
            "a: {kind: ip, file: /x, format: plain, column: 2}",
            "`rules.lists.a` has a column, but its format is `plain`",
        ),
        ("a: {kind: ip, file: /x, column: 0}", "`rules.lists.a.column` must be a column's name"),
        ("a: {kind: ip, file: /x, headers_file: /y}", "`rules.lists.a` is a file, which takes no headers"),
        ("a: {kind: ip, file: /x, refresh: 5}", "unknown setting `rules.lists.a.refresh`"),
        ("a: {kind: ip, file: /x, max_mib: 9999}", "`rules.lists.a.max_mib` must be a whole number"),
        ("203.0.113.7: {kind: ip, file: /x}", "the list `203.0.113.7` must be named by letters"),
        ("..: {kind: ip, file: /x}", "the list `..` must be named by letters"),
    ] {
        let Err(Faults(faults)) = load(&format!("    {list}\n")) else { panic!("no fault in {list}") };
        let text = faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        assert!(text.contains(message) && text.contains("rampart.yaml:4:"), "{list}: {text}");
    }
}
