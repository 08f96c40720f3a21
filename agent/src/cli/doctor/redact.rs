//! Taking secrets out of settings and logs. When in doubt it takes out too much: a path stays, a word beside a name that
//! sounds like a secret does not.

use serde_yaml::{Mapping, Value};

/// What stands in a secret's place.
const GONE: &str = "(redacted)";
/// Parts of names of settings whose values are secrets.
const SECRET: [&str; 11] = [
    "token",
    "password",
    "passwd",
    "passphrase",
    "secret",
    "credential",
    "authorization",
    "apikey",
    "api_key",
    "private_key",
    "webhook",
];

/// The settings without secrets and comments; none when they are no YAML.
pub(super) fn settings(text: &str) -> Option<String> {
    let mut value: Value = serde_yaml::from_str(text).ok()?;
    clean(&mut value);
    serde_yaml::to_string(&value).ok()
}

/// The value of a setting of this name.
pub(super) fn named(name: &str, value: &str) -> String {
    if is_secret(name) && !is_path(value) { GONE.to_owned() } else { line(value) }
}

/// A text without what is secret in its addresses, and without words behind names of secrets.
pub(super) fn line(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut is_next_secret = false;
    for piece in text.split_inclusive(char::is_whitespace) {
        let word = piece.trim_end();
        let (end, lower) = (piece.get(word.len()..).unwrap_or_default(), word.to_ascii_lowercase());
        if is_next_secret && !word.is_empty() {
            clean.push_str(GONE);
            // `Authorization: Bearer abc`: what is hidden was only the kind.
            is_next_secret = is_scheme(&lower);
        } else {
            clean.push_str(&self::word(word));
            is_next_secret = is_scheme(&lower) || lower.strip_suffix([':', '=']).is_some_and(is_secret);
        }
        clean.push_str(end);
    }
    clean
}

fn is_scheme(word: &str) -> bool {
    matches!(word.trim_matches('"'), "bearer" | "basic")
}

/// One word, which may be an address or `NAME=VALUE`.
fn word(word: &str) -> String {
    if let Some((scheme, rest)) = word.split_once("://") {
        let (host, path) = rest.find(['/', '?', '#']).map_or((rest, ""), |at| rest.split_at(at));
        let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
        let path = path.find(['?', '#']).map_or(path, |at| path.get(..at).unwrap_or_default());
        let cut = rest.contains('@') || rest.contains('?') || rest.contains('#');
        return format!("{scheme}://{host}{path}{}", if cut { GONE } else { "" });
    }
    match word.split_once('=') {
        Some((name, value)) if is_secret(name) && !is_path(value) => format!("{name}={GONE}"),
        _ => word.to_owned(),
    }
}

fn clean(value: &mut Value) {
    match value {
        Value::Mapping(map) => settings_of(map),
        Value::Sequence(list) => list.iter_mut().for_each(clean),
        Value::String(text) => *text = line(text),
        Value::Tagged(tagged) => clean(&mut tagged.value),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn settings_of(map: &mut Mapping) {
    for (key, value) in map.iter_mut() {
        if key.as_str().is_some_and(is_secret) {
            hide(value);
        } else {
            clean(value);
        }
    }
}

/// Everything below a name of a secret, but paths.
fn hide(value: &mut Value) {
    match value {
        Value::Mapping(map) => map.iter_mut().for_each(|(_, value)| hide(value)),
        Value::Sequence(list) => list.iter_mut().for_each(hide),
        Value::Tagged(tagged) => hide(&mut tagged.value),
        Value::String(text) if is_path(text) => {}
        Value::Null | Value::Bool(_) => {}
        Value::String(_) | Value::Number(_) => *value = Value::from(GONE),
    }
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET.iter().any(|part| name.contains(part))
}

/// A path says where a secret is, not what it is.
fn is_path(text: &str) -> bool {
    text.starts_with('/') && !text.contains(char::is_whitespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_keep_what_they_are_about() {
        let text = "a: {token: x, token_file: /etc/t, url: 'https://u:p@h.example:1/p?q=s#f'} # x\n\
                    b: {api_key: ['/opt/keys/*.key', plain, 7]}\nc: [1, {password: 5}]\nd: 'postgres://u:p@h/db'\n";
        let clean = settings(text).unwrap();
        let value: Value = serde_yaml::from_str(&clean).unwrap();
        let at = |one: &str, other: &str| value[one][other].clone();
        assert_eq!(at("a", "token"), GONE);
        assert_eq!(at("a", "token_file"), "/etc/t");
        assert_eq!(at("a", "url"), "https://h.example:1/p(redacted)");
        assert_eq!(value["b"]["api_key"][0], "/opt/keys/*.key");
        assert_eq!((&value["b"]["api_key"][1], &value["b"]["api_key"][2]), (&GONE.into(), &GONE.into()));
        assert_eq!(value["c"][1]["password"], GONE);
        assert_eq!(value["d"], "postgres://h/db(redacted)");
        assert_eq!(settings("a: [unclosed"), None);
    }

    #[test]
    fn lines_lose_what_is_behind_a_name_of_a_secret() {
        for (text, clean) in [
            ("Reached https://h/p in 3 s", "Reached https://h/p in 3 s"),
            ("get https://u:p@h/x?k=v now", "get https://h/x(redacted) now"),
            ("Authorization: Bearer abc", "Authorization: (redacted) (redacted)"),
            ("sent Bearer abc\n", "sent Bearer (redacted)\n"),
            ("join token=abc file token_file=/etc/t", "join token=(redacted) file token_file=/etc/t"),
            ("a password: b", "a password: (redacted)"),
        ] {
            assert_eq!(line(text), clean);
        }
    }
}
