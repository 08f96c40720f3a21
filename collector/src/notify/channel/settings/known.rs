//! Which settings falcosidekick has too: only these are taken from environment names of its form.

/// Settings that falcosidekick has too, by section.
const KEYS: [(&str, &[&str]); 10] = [
    ("webhook", &["address", "method", "customheaders", "minimumpriority"]),
    ("slack", &["webhookurl", "channel", "footer", "icon", "username", "outputformat", "minimumpriority"]),
    ("teams", &["webhookurl", "activityimage", "outputformat", "minimumpriority"]),
    ("pagerduty", &["routingkey", "region", "minimumpriority"]),
    ("opsgenie", &["apikey", "region", "minimumpriority"]),
    (
        "alertmanager",
        &[
            "hostport",
            "endpoint",
            "expiresafter",
            "extralabels",
            "extraannotations",
            "customheaders",
            "minimumpriority",
        ],
    ),
    ("loki", &["hostport", "endpoint", "tenant", "extralabels", "customheaders", "minimumpriority"]),
    ("elasticsearch", &["hostport", "index", "suffix", "customheaders", "minimumpriority"]),
    ("cloudevents", &["address", "extensions", "minimumpriority"]),
    (
        "smtp",
        &[
            "hostport",
            "tls",
            "authmechanism",
            "user",
            "password",
            "from",
            "to",
            "outputformat",
            "minimumpriority",
        ],
    ),
];

/// Whether falcosidekick has the setting too.
pub fn is_known(section: &str, key: &str) -> bool {
    KEYS.iter().any(|(name, keys)| *name == section && keys.contains(&key))
}
