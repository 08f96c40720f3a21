use super::*;
use crate::alert::Priority;

fn env(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn fault(text: &str) -> String {
    let error = parse(text, "file", &[]).unwrap_err();
    let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
    format!("{error} {cause}")
}

#[test]
fn nothing_written_is_a_collector_on_loopback() {
    let config = parse("", "file", &[]).unwrap();
    assert_eq!(config.grpc, Grpc { listen: "127.0.0.1:7443".parse().unwrap(), tls: None });
    assert_eq!(config.http.listen, "127.0.0.1:8080".parse().unwrap());
    assert!(config.channels.is_empty() && !config.is_log_json);
}

#[test]
fn the_environment_wins_and_falcosidekicks_names_hold() {
    let text = "store: {path: /a, keep_days: 7, keep_days_by_priority: {critical: 365}}\nslack: {webhookurl: 'http://a'}\n";
    let config = parse(
        text,
        "file",
        &env(&[
            ("RAMPART_COLLECTOR_STORE__PATH", "/b"),
            ("SLACK_WEBHOOKURL", "http://127.0.0.1:1/x"),
            ("SLACK_MINIMUMPRIORITY", "warning"),
            ("WEBHOOK_ADDRESS", "http://127.0.0.1:2/"),
            ("WEBHOOK_CUSTOMHEADERS", "A:b,C:d"),
            ("SLACK_TOKEN_OF_ANOTHER_PROGRAM", "x"),
            ("PATH", "/bin"),
        ]),
    )
    .unwrap();
    assert_eq!(config.store, Path::new("/b"));
    let days = |priority| config.retention.age_ns(priority) / 86_400_000_000_000;
    assert_eq!((days(Priority::Critical), days(Priority::Error)), (365, 7));
    let names: Vec<_> = config.channels.iter().map(|channel| (&*channel.name, channel.priority)).collect();
    assert_eq!(names, [("webhook", Priority::Debug), ("slack", Priority::Warning)]);
    assert_eq!(
        config.channels[0].headers,
        [("A".to_owned(), "b".to_owned()), ("C".to_owned(), "d".to_owned())]
    );
}

#[test]
fn several_collectors_share_a_database_and_a_bus() {
    let text = "store: {url: 'postgres://u:secret@db.example:5433/rampart', read_url: 'host=copy user=u'}\n\
                bus: {url: 'redis://:secret@bus.example/2'}\n";
    let config = parse(text, "file", &env(&[("RAMPART_COLLECTOR_STORE__TAKEOVER_SECS", "5")])).unwrap();
    assert!(config.place().is_shared());
    assert_eq!(config.place().takeover().as_secs(), 5);
    assert_eq!(config.place().to_string(), "PostgreSQL `rampart` at db.example 5433");
    let bus = config.bus.clone().unwrap();
    assert_eq!((bus.to_string().as_str(), bus.max_entries), ("Redis at bus.example/2", 10_000));
    assert!(!format!("{config:?}").contains("secret"), "{config:?}");
    let config = parse("", "file", &env(&[("RAMPART_COLLECTOR_STORE__URL", "postgres://u@h/d")])).unwrap();
    assert!(config.place().is_shared());
    let config = parse("store: {url: 'postgres://u@h/d', path: /a/b}", "file", &[]).unwrap();
    assert!(config.place().is_shared() && config.store == Path::new("/a/b"), "its own files stay there");
    assert!(fault("store: {url: 'postgres://u:secret@[h/d'}").contains("store.url"));
    assert!(!fault("store: {url: 'postgres://u:secret@[h/d'}").contains("secret"));
    assert!(fault("store: {url: 'dbname=a'}").contains("no host"));
    assert!(fault("store: {read_url: 'postgres://u@h/d'}").contains("need a `url`"));
    assert!(fault("store: {url: 'postgres://u@h/d', takeover_secs: 1}").contains("takeover_secs"));
    assert!(fault("bus: {url: 'redis://h'}").contains("store.url"));
    assert!(fault("store: {url: 'postgres://u@h/d'}\nbus: {url: 'http://h'}").contains("bus.url"));
}

#[test]
fn wrong_settings_are_named() {
    assert!(fault("stor: {}").contains("unknown field `stor`"), "{}", fault("stor: {}"));
    assert!(fault("\n\nstore: {pth: 1}").contains("line 3"), "{}", fault("\n\nstore: {pth: 1}"));
    assert!(fault("http: {auth: sometimes}").contains("sometimes"));
    assert!(fault("store: {keep_days: 0}").contains("store.keep_days"));
    assert!(fault("store: {keep_days_by_priority: {loud: 3}}").contains("`loud`"));
    assert!(
        fault("slack: {webhookurl: 'http://a', minimumpriority: loud}").contains("slack.minimumpriority")
    );
    assert!(fault("log: {level: loud}").contains("log.level"));
    assert!(fault("webhook: {address: 'ftp://a'}").contains("webhook.address"));
}
