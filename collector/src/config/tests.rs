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
    assert_eq!(config.http, "127.0.0.1:8080".parse().unwrap());
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
fn wrong_settings_are_named() {
    assert!(fault("stor: {}").contains("unknown field `stor`"), "{}", fault("stor: {}"));
    assert!(fault("\n\nstore: {pth: 1}").contains("line 3"), "{}", fault("\n\nstore: {pth: 1}"));
    assert!(fault("http: {listen: '0.0.0.0:80'}").contains("loopback"));
    assert!(fault("grpc: {listen: '0.0.0.0:80'}").contains("loopback"));
    assert!(fault("grpc: {cert_file: a}").contains("go together"));
    assert!(fault("store: {keep_days: 0}").contains("store.keep_days"));
    assert!(fault("store: {keep_days_by_priority: {loud: 3}}").contains("`loud`"));
    assert!(
        fault("slack: {webhookurl: 'http://a', minimumpriority: loud}").contains("slack.minimumpriority")
    );
    assert!(fault("log: {level: loud}").contains("log.level"));
    assert!(fault("webhook: {address: 'ftp://a'}").contains("webhook.address"));
}
