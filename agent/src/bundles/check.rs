//! What a signed bundle may hold.

use std::str;

use super::{Bundle, BundleError, Digest, RuleFile, SETTINGS_FILE};
use crate::control::bundle as wire;

/// The one form there is.
const FORMAT: u32 = 1;
/// Files of a bundle.
const FILES_MAX: usize = 256;
/// Bytes of a name.
const NAME_MAX: usize = 100;

/// The bundle in these bytes, which were signed.
pub(super) fn bundle(bytes: &[u8], digest: Digest) -> Result<Bundle, BundleError> {
    let content =
        wire::content(bytes).ok_or(BundleError::Form("there is something in it that it must not have"))?;
    if content.format != FORMAT {
        return Err(BundleError::Form("it is of another format; use an agent of its version"));
    }
    if !is_name(&content.name) {
        return Err(BundleError::Form("its name must be 1 to 100 letters, digits, `.`, `_`, `-`, `+`"));
    }
    if content.files.is_empty() || content.files.len() > FILES_MAX {
        return Err(BundleError::Form("it must have 1 to 256 files"));
    }
    if !content.files.is_sorted_by(|(a, _), (b, _)| a < b) {
        return Err(BundleError::Form("its files are not in the order of their paths"));
    }
    let mut bundle = Bundle {
        name: content.name,
        created_secs: content.created_secs,
        digest,
        rules: Vec::new(),
        settings: None,
    };
    for (path, text) in content.files {
        let Ok(valid) = str::from_utf8(&text) else { return Err(BundleError::Text(shown(&path))) };
        if path == SETTINGS_FILE {
            bundle.settings = Some(valid.to_owned());
        } else if is_rule_file(&path) {
            bundle.rules.push(RuleFile { name: bundle.place(&path), text: text.into() });
        } else {
            return Err(BundleError::Path(shown(&path)));
        }
    }
    Ok(bundle)
}

/// Whether a bundle may be called this; it stands in messages and on the page.
fn is_name(name: &str) -> bool {
    (1..=NAME_MAX).contains(&name.len()) && name.bytes().all(|letter| is_plain(letter) || letter == b'+')
}

/// Whether a path is one of a rule file: one folder, no dots at the start, nothing that leads elsewhere.
fn is_rule_file(path: &str) -> bool {
    let Some(name) = path.strip_prefix("rules/") else { return false };
    let Some(stem) = name.strip_suffix(".yaml").or_else(|| name.strip_suffix(".yml")) else { return false };
    !stem.is_empty() && name.len() <= NAME_MAX && !name.starts_with('.') && name.bytes().all(is_plain)
}

const fn is_plain(letter: u8) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, b'.' | b'_' | b'-')
}

/// A path that may hold anything, for a message.
fn shown(path: &str) -> String {
    path.chars().take(NAME_MAX).flat_map(char::escape_default).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_rule_files_are_allowed() {
        for good in ["rules/a.yaml", "rules/10-base_2.yml", "rules/a..b.yaml"] {
            assert!(is_rule_file(good), "{good}");
        }
        for bad in [
            "",
            "a.yaml",
            "/etc/passwd",
            "rules/",
            "rules/.yaml",
            "rules/.hidden.yaml",
            "rules/../a.yaml",
            "../rules/a.yaml",
            "rules/a/b.yaml",
            "rules//a.yaml",
            "rules/a.txt",
            "rules/a.yaml/",
            "rules/a\0.yaml",
            "rules/a\n.yaml",
            "rules/ä.yaml",
            "Rules/a.yaml",
            "rules\\a.yaml",
            "policy.yml",
            "POLICY.yaml",
            "./policy.yaml",
        ] {
            assert!(!is_rule_file(bad), "{bad:?}");
        }
        assert_eq!(shown("a\nb"), "a\\nb");
    }
}
