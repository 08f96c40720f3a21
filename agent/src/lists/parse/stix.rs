//! A bundle of STIX 2: its indicators that compare one thing, and its observables.
//!
//! Of patterns only those count in which each comparison alone is enough: a single one, or several joined by `OR`.
//! Revoked and expired indicators do not count. Members have no lines of their own; their number among the objects stands
//! in for one.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rampart_rules::set::SetKind;
use serde::Deserialize;

use super::{Fault, Take};

#[derive(Deserialize)]
struct Bundle {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    objects: Vec<Object>,
}

#[derive(Deserialize)]
struct Object {
    #[serde(rename = "type", default)]
    kind: String,
    pattern: Option<String>,
    #[serde(default)]
    revoked: bool,
    valid_until: Option<String>,
    value: Option<serde_json::Value>,
    #[serde(default)]
    hashes: BTreeMap<String, String>,
}

/// Takes in the members of a kind.
pub(super) fn words(text: &str, kind: SetKind, take: &mut Take<'_>) -> Result<(), Fault> {
    if kind == SetKind::Text {
        return Err(Fault::NoTexts);
    }
    let bundle: Bundle = serde_json::from_str(text).map_err(|error| Fault::Stix {
        line: error.line(),
        column: error.column(),
        why: error.to_string().split(" at line ").next().unwrap_or_default().to_owned(),
    })?;
    if bundle.kind != "bundle" {
        let why = format!("its type is `{}`", bundle.kind.escape_debug());
        return Err(Fault::Stix { line: 1, column: 1, why });
    }
    let now = Timestamp::now();
    for (number, object) in (1..).zip(&bundle.objects) {
        let is_over = object.valid_until.as_ref().and_then(|until| until.parse::<Timestamp>().ok());
        if object.revoked || is_over.is_some_and(|until| until <= now) {
            continue;
        }
        if object.kind == "indicator" {
            for (path, value) in object.pattern.as_deref().map(comparisons).unwrap_or_default() {
                if is_about(&path, kind) {
                    take(number, &value)?;
                }
            }
        } else if let Some(value) = observable(object, kind) {
            take(number, value)?;
        }
    }
    Ok(())
}

/// The member that an observable is.
fn observable(object: &Object, kind: SetKind) -> Option<&str> {
    let value = || object.value.as_ref().and_then(serde_json::Value::as_str);
    match (object.kind.as_str(), kind) {
        ("ipv4-addr" | "ipv6-addr", SetKind::Ip) | ("domain-name", SetKind::Domain) => value(),
        ("file", SetKind::Sha256) => object.hashes.get("SHA-256").map(String::as_str),
        _ => None,
    }
}

/// Whether the property that a comparison is about has members of a kind.
fn is_about(path: &str, kind: SetKind) -> bool {
    match kind {
        SetKind::Ip => matches!(path, "ipv4-addr:value" | "ipv6-addr:value"),
        SetKind::Domain => path == "domain-name:value",
        SetKind::Sha256 => {
            let plain: String = path.chars().filter(|letter| !"'\"-[]".contains(*letter)).collect();
            plain.eq_ignore_ascii_case("file:hashes.sha256")
        }
        SetKind::Text => false,
    }
}

/// The comparisons of a pattern, each of which is enough; none when some are not.
fn comparisons(pattern: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut tokens = tokens(pattern).into_iter().peekable();
    loop {
        let Some(Token::Word(path)) = tokens.next() else { return Vec::new() };
        let Some(Token::Word(op)) = tokens.next() else { return Vec::new() };
        if !["=", "IN", "ISSUBSET"].contains(&op.as_str()) {
            return Vec::new();
        }
        let before = found.len();
        while let Some(Token::Text(value)) = tokens.next_if(|token| matches!(token, Token::Text(_))) {
            found.push((path.clone(), value));
        }
        if found.len() == before {
            return Vec::new();
        }
        match tokens.next() {
            None => return found,
            Some(Token::Word(word)) if word == "OR" => {}
            Some(_) => return Vec::new(),
        }
    }
}

enum Token {
    Word(String),
    Text(String),
}

/// Words and quoted texts; brackets and commas only part them.
fn tokens(pattern: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut letters = pattern.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\'' => {
                let mut text = String::new();
                while let Some(letter) = letters.next() {
                    match letter {
                        '\'' => break,
                        '\\' => text.extend(letters.next()),
                        letter => text.push(letter),
                    }
                }
                tokens.push(Token::Text(text));
            }
            '=' => tokens.push(Token::Word("=".to_owned())),
            '[' | ']' | '(' | ')' | ',' => {}
            letter if letter.is_whitespace() => {}
            letter => {
                let mut word = String::from(letter);
                let mut is_quoted = false;
                // A part of a path may be quoted: `file:hashes.'SHA-256'`.
                while let Some(next) =
                    letters.next_if(|next| is_quoted || !(next.is_whitespace() || "=[](),".contains(*next)))
                {
                    is_quoted ^= next == '\'';
                    word.push(next);
                }
                tokens.push(Token::Word(word));
            }
        }
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_comparisons_that_are_enough_alone_count() {
        let found = |pattern| {
            let found = comparisons(pattern);
            found.into_iter().map(|(path, value)| format!("{path}={value}")).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(found("[ipv4-addr:value = '198.51.100.1']"), "ipv4-addr:value=198.51.100.1");
        assert_eq!(
            found("[ipv4-addr:value='198.51.100.1' OR ipv4-addr:value ISSUBSET '198.51.100.0/24']"),
            "ipv4-addr:value=198.51.100.1 ipv4-addr:value=198.51.100.0/24"
        );
        assert_eq!(
            found("[domain-name:value IN ('a.test', 'b\\'.test')] OR [domain-name:value = 'c.test']"),
            "domain-name:value=a.test domain-name:value=b'.test domain-name:value=c.test"
        );
        assert_eq!(found("[file:hashes.'SHA-256' = 'ab']"), "file:hashes.'SHA-256'=ab");
        for not_enough in [
            "[ipv4-addr:value = '198.51.100.1' AND network-traffic:dst_port = 53]",
            "[a:b = '1'] FOLLOWEDBY [c:d = '2']",
            "[a:b = '1'] WITHIN 5 SECONDS",
            "[ipv4-addr:value != '198.51.100.1']",
            "[NOT a:b = '1']",
            "[a:b LIKE 'x%']",
            "[a:b =",
            "",
            "'",
        ] {
            assert_eq!(found(not_enough), "", "{not_enough}");
        }
        assert!(is_about("file:hashes.'SHA-256'", SetKind::Sha256));
        assert!(is_about("file:hashes.SHA256", SetKind::Sha256));
        assert!(!is_about("file:hashes.MD5", SetKind::Sha256));
    }
}
