//! Facts of upstream's own tests, read from the folder beside the workspace when it is there.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use serde_yaml::Value;

/// One case of a section.
pub(crate) struct Case(Value);

impl Case {
    /// A text value.
    pub(crate) fn text(&self, key: &str) -> Option<String> {
        self.0.get(key).and_then(Value::as_str).map(str::to_owned)
    }

    /// The bytes of `key`, or of `key_hex`.
    pub(crate) fn bytes(&self, key: &str) -> Vec<u8> {
        if let Some(text) = self.text(key) {
            return text.into_bytes();
        }
        let hex = self.text(&format!("{key}_hex")).expect("text or hex");
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex")).collect()
    }

    /// A pair of a text and how often it repeats.
    pub(crate) fn repeat(&self, key: &str) -> Option<(String, usize)> {
        let pair = self.0.get(key)?.as_sequence()?;
        Some((pair[0].as_str()?.to_owned(), pair[1].as_u64()? as usize))
    }
}

/// The folder, if this machine has it.
pub(crate) fn root() -> Option<PathBuf> {
    let root = env::var_os("RAMPART_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared"), PathBuf::from);
    root.is_dir().then_some(root)
}

/// The cases of a section of the conformance file; says so when the file is not there.
pub(crate) fn section(name: &str) -> Option<Vec<Case>> {
    let Some(root) = root() else {
        println!("skipped: no shared facts beside the workspace ({name})");
        return None;
    };
    let text = fs::read_to_string(root.join("falco/conformance.yaml")).expect("the facts file reads");
    let all: Value = serde_yaml::from_str(&text).expect("the facts file parses");
    let cases = all.get(name)?.get("cases")?.as_sequence()?;
    Some(cases.iter().cloned().map(Case).collect())
}
