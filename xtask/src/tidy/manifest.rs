//! Rules about manifests: lints and dependencies come from the root, features are chosen there.

use toml::{Table, Value};

use super::Report;

/// Tables of a manifest that hold dependencies.
const DEPENDENCY_TABLES: [&str; 3] = ["dependencies", "dev-dependencies", "build-dependencies"];
/// Package keys that are the same for all members.
const INHERITED: [&str; 4] = ["version", "edition", "rust-version", "publish"];

/// The root manifest: each dependency has its default features off and a version.
pub(super) fn check_root(manifest: &Table, report: &mut Report) {
    let dependencies = manifest.get("workspace").and_then(|workspace| workspace.get("dependencies"));
    for (name, value) in dependencies.and_then(Value::as_table).into_iter().flatten() {
        if value.get("default-features").and_then(Value::as_bool) != Some(false) {
            report.add("Cargo.toml", 0, "manifest", format!("`{name}`: set `default-features = false`"));
        }
        let version = value.get("version").and_then(Value::as_str);
        if value.get("path").is_none() && version.is_none_or(|version| version.contains('*')) {
            report.add("Cargo.toml", 0, "manifest", format!("`{name}`: give it a version"));
        }
        if value.get("git").is_some() {
            report.add(
                "Cargo.toml",
                0,
                "manifest",
                format!("`{name}`: use a released version, not a repository"),
            );
        }
    }
}

/// A member's manifest: everything shared is inherited.
pub(super) fn check_member(path: &str, manifest: &Table, report: &mut Report) {
    let inherits = |value: Option<&Value>| {
        value.and_then(|value| value.get("workspace")).and_then(Value::as_bool) == Some(true)
    };
    if !inherits(manifest.get("lints")) {
        report.add(path, 0, "manifest", "inherit the lints: `[lints]` with `workspace = true`");
    }
    let package = manifest.get("package").and_then(Value::as_table);
    for key in INHERITED {
        if !inherits(package.and_then(|package| package.get(key))) {
            report.add(path, 0, "manifest", format!("inherit `{key}`: `{key}.workspace = true`"));
        }
    }
    let mut tables: Vec<&Table> = vec![manifest];
    let targets = manifest.get("target").and_then(Value::as_table);
    tables.extend(targets.into_iter().flatten().filter_map(|(_, target)| target.as_table()));
    for table in tables {
        let kinds = DEPENDENCY_TABLES.iter().filter_map(|kind| table.get(*kind)?.as_table());
        for (name, value) in kinds.flatten() {
            if !inherits(Some(value)) {
                report.add(
                    path,
                    0,
                    "manifest",
                    format!("`{name}`: name it in the root manifest and use `workspace = true`"),
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(text: &str) -> Vec<String> {
        let mut report = Report::default();
        check_member("a/Cargo.toml", &text.parse().unwrap(), &mut report);
        report.findings.into_iter().map(|finding| finding.message).collect()
    }

    const HEAD: &str = "[package]\nname = 'a'\nversion.workspace = true\nedition.workspace = true\n\
        rust-version.workspace = true\npublish.workspace = true\n";

    #[test]
    fn a_member_inherits_lints_and_dependencies() {
        let good = format!(
            "{HEAD}[lints]\nworkspace = true\n[dependencies]\nx = {{ workspace = true, features = ['y'] }}\n"
        );
        assert!(member(&good).is_empty());
        assert_eq!(member(HEAD).len(), 1);
        let own =
            format!("{HEAD}[lints]\nworkspace = true\n[target.'cfg(unix)'.dev-dependencies]\nx = '1'\n");
        assert!(member(&own).first().unwrap().starts_with("`x`"));
    }

    #[test]
    fn the_root_pins_versions_and_turns_default_features_off() {
        let mut report = Report::default();
        let text = "[workspace.dependencies]\na = '1'\nb = { version = '*', default-features = false }\n\
            c = { path = 'c', default-features = false }\n";
        check_root(&text.parse().unwrap(), &mut report);
        let messages: Vec<&str> = report.findings.iter().map(|finding| finding.message.as_str()).collect();
        assert_eq!(messages.len(), 3, "{messages:?}");
        assert!(!messages.iter().any(|message| message.starts_with("`c`")), "{messages:?}");
    }
}
