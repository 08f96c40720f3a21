//! The rules of a run: which there are, and what is added to them so that alerts can be told apart.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

/// The rule that reports marks.
pub(super) const MARK: &str = "Trigger case mark";
/// Below this folder, which does not exist, lie the files that the actor tries to open.
pub(super) const MARKS: &str = "/rampart-triggers/";

/// Names of the rules in these files.
pub(super) fn names(files: &[PathBuf]) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for file in files {
        let text = fs::read_to_string(file).with_context(|| format!("cannot read `{}`", file.display()))?;
        let items: Vec<Value> =
            serde_yaml::from_str(&text).with_context(|| format!("`{}` is no rule file", file.display()))?;
        names.extend(items.iter().filter_map(|item| item.get("rule")?.as_str().map(ToOwned::to_owned)));
    }
    Ok(names)
}

/// Writes the rule for marks, and the process's id for the alerts of each rule that is asked about.
pub(super) fn additions<'a>(folder: &Path, rules: impl Iterator<Item = &'a str>) -> Result<PathBuf> {
    let mut text = format!(
        "- rule: {MARK}\n  desc: The actor has reached a point of its case.\n  \
         condition: evt.type in (open, openat) and fd.name startswith {MARKS}\n  \
         output: \"mark (mark=%fd.name pid=%proc.pid)\"\n  priority: DEBUG\n"
    );
    for rule in rules.collect::<BTreeSet<_>>() {
        let name = Value::from(rule);
        // Writing to text cannot fail.
        let _ =
            write!(text, "\n- rule: {name}\n  output: \" pid=%proc.pid\"\n  override: {{output: append}}\n");
    }
    let path = folder.join("triggers.yaml");
    fs::write(&path, text).with_context(|| format!("cannot write `{}`", path.display()))?;
    Ok(path)
}
