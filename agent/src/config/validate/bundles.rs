//! Section `bundles`, and the labels by which rollouts choose nodes.

use std::collections::BTreeMap;

use super::Check;
use crate::{
    bundles::PublicKey,
    config::{Bundles, keys},
};

/// Keys of those who sign: the current one, the next one, and a few teams.
const KEYS_MAX: usize = 16;
/// Labels of a node.
const LABELS_MAX: usize = 32;
/// Bytes of a label's name or value.
const LABEL_MAX: usize = 63;

impl Check {
    pub(super) fn bundles(&mut self) -> Bundles {
        let path = "bundles.keys";
        let place = self.place(path);
        let written = self.words(path);
        let mut keys = Vec::new();
        for text in &written {
            if let Some(key) = super::collector::sha256_of(text) {
                keys.push(PublicKey(key));
                continue;
            }
            let help = "`rampart-collector bundle keygen` prints the one of a new key".to_owned();
            let message = format!("`{path}`: `{text}` is no public key of 64 hexadecimal digits");
            self.raw.fault(place.clone(), message, Some(help));
        }
        if keys.len() > KEYS_MAX {
            self.raw.fault(
                place,
                format!("`{path}` has {} keys", keys.len()),
                Some(format!("use {KEYS_MAX} at most")),
            );
        }
        Bundles { keys, dir: self.state_dir().join("bundles") }
    }

    pub(super) fn labels(&mut self) -> BTreeMap<String, String> {
        let path = "node.labels";
        let place = self.place(path);
        let mut labels = BTreeMap::new();
        for text in self.words(path) {
            let (name, value) = text.split_once('=').unwrap_or((&text, ""));
            if !is_label(name) || name.is_empty() || !is_label(value) {
                let help =
                    "use `NAME=VALUE` of letters, digits, `.`, `_`, `-` and `/`, 63 at most each".to_owned();
                self.raw.fault(place.clone(), format!("`{path}` cannot have `{text}`"), Some(help));
            } else if labels.insert(name.to_owned(), value.to_owned()).is_some() {
                self.raw.fault(place.clone(), format!("`{path}` has `{name}` twice"), None);
            }
        }
        if labels.len() > LABELS_MAX {
            let help = Some(format!("use {LABELS_MAX} at most"));
            self.raw.fault(place, format!("`{path}` has {} labels", labels.len()), help);
        }
        labels
    }

    fn words(&mut self, path: &str) -> Vec<String> {
        let list = self.paths(path);
        list.into_iter().map(|word| word.to_string_lossy().trim().to_owned()).collect()
    }
}

fn is_label(text: &str) -> bool {
    let allowed = |letter: u8| letter.is_ascii_alphanumeric() || matches!(letter, b'.' | b'_' | b'-' | b'/');
    text.len() <= LABEL_MAX && text.bytes().all(allowed)
}

/// Why a bundle may not have a setting; `None` when it may.
pub(in crate::config) fn unbundled(key: &keys::Key) -> Option<&'static str> {
    let section = key.path.split('.').next().unwrap_or_default();
    if !matches!(section, "limits" | "services" | "trading") {
        return Some("a bundle has settings of `limits`, `services` and `trading` only");
    }
    matches!(key.kind, keys::Kind::Path | keys::Kind::Paths)
        .then_some("it names files of one node; write it in the node's own configuration")
}
