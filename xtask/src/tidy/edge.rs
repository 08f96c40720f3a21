//! Who may depend on whom: crates by their manifests, modules by what they name.

use cargo_metadata::{DependencyKind, Metadata};

use super::source::Source;
use super::{Report, is_test};

/// Edges between workspace members that exist on purpose; development edges are judged too.
///
/// `None` allows every member.
const CRATES: [(&str, Option<&[&str]>); 10] = [
    ("rampart-common", Some(&[])),
    ("rampart-ebpf", Some(&["rampart-common"])),
    ("rampart-limiter-ebpf", Some(&["rampart-common"])),
    ("rampart-services-ebpf", Some(&["rampart-common"])),
    ("rampart-rules", Some(&[])),
    ("rampart-proto", Some(&[])),
    ("rampart-agent", Some(&["rampart-common", "rampart-rules", "rampart-proto"])),
    ("rampart-collector", Some(&["rampart-proto"])),
    ("rampart-tests", None),
    ("xtask", Some(&[])),
];
/// External crates that only some members may use directly.
const RESERVED: [(&str, &[&str]); 3] = [
    ("aya", &["rampart-agent", "rampart-tests"]),
    ("aya-ebpf", &["rampart-ebpf", "rampart-limiter-ebpf", "rampart-services-ebpf"]),
    ("anyhow", &["rampart-agent", "rampart-collector", "rampart-tests", "xtask"]),
];
/// Paths that production code may name only below the given folders.
const MODULES: [(&str, &[&str], &str); 9] = [
    ("aya::", &["agent/src/kernel", "agent/examples/", "tests/"], "only `agent::kernel` imports aya"),
    (
        "rampart_proto::",
        &["agent/src/control", "collector/", "proto/", "tests/"],
        "only `agent::control` imports proto",
    ),
    (
        "aya_ebpf::",
        &["agent-ebpf/src", "limiter-ebpf/src", "services-ebpf/src"],
        "kernel programs live in `agent-ebpf`, `limiter-ebpf` and `services-ebpf`",
    ),
    ("std::fs", &[], "the rule language does no I/O; the host hands it text"),
    ("std::net::Tcp", &[], "the rule language does no I/O"),
    ("std::net::Udp", &[], "the rule language does no I/O"),
    ("std::process", &[], "the rule language does no I/O"),
    ("std::env", &[], "the rule language reads no environment"),
    ("tokio::", &[], "the rule language knows no runtime"),
];
/// The rows of [`MODULES`] without folders are about this crate alone.
const PURE: &str = "rules/src/";

/// Compares the members' manifests with the table.
pub(super) fn check_crates(metadata: &Metadata, report: &mut Report) {
    let members = metadata.workspace_packages();
    for package in &members {
        let name = package.name.as_str();
        let manifest =
            package.manifest_path.strip_prefix(&metadata.workspace_root).unwrap_or(&package.manifest_path);
        let Some((_, allowed)) = CRATES.iter().find(|(member, _)| *member == name) else {
            report.add(
                manifest.as_str(),
                0,
                "crate-edge",
                format!("`{name}` is not in tidy's table of crates; add it with its edges"),
            );
            continue;
        };
        for dependency in &package.dependencies {
            let target = dependency.name.as_str();
            let is_member = members.iter().any(|member| member.name.as_str() == target);
            if is_member && allowed.is_some_and(|allowed| !allowed.contains(&target)) {
                let message = format!("`{name}` must not depend on `{target}`");
                report.add(manifest.as_str(), 0, "crate-edge", message);
            }
            let reserved = RESERVED.iter().find(|(reserved, _)| *reserved == target);
            // What only tests use cannot leak into the product.
            let shipped = dependency.kind != DependencyKind::Development;
            if shipped && reserved.is_some_and(|(_, users)| !users.contains(&name)) {
                report.add(manifest.as_str(), 0, "crate-edge", format!("`{name}` must not use `{target}`"));
            }
        }
    }
}

/// Looks for paths that this file must not name.
pub(super) fn check_modules(source: &Source, report: &mut Report) {
    if is_test(source) {
        return;
    }
    for (line, code) in source.production_code() {
        for (path, folders, reason) in &MODULES {
            let judged = if folders.is_empty() {
                source.path.starts_with(PURE)
            } else {
                !folders.iter().any(|folder| source.path.starts_with(folder))
            };
            if judged && names(code, path) {
                report.add(&source.path, line, "module-edge", format!("`{path}`: {reason}"));
            }
        }
    }
}

/// Whether the code names the path, and not only a longer word that ends like it.
fn names(code: &str, path: &str) -> bool {
    code.match_indices(path).any(|(start, _)| {
        let before = code.get(..start).and_then(|before| before.chars().next_back());
        !before.is_some_and(|character| character.is_alphanumeric() || matches!(character, '_' | ':'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> usize {
        let mut report = Report::default();
        check_modules(&Source::new(path.to_owned(), text), &mut report);
        report.findings.len()
    }

    #[test]
    fn only_the_kernel_module_names_aya() {
        assert_eq!(findings("agent/src/engine.rs", "use aya::Ebpf;\n"), 1);
        assert_eq!(findings("agent/src/kernel/load.rs", "use aya::Ebpf;\n"), 0);
        assert_eq!(findings("agent/src/engine.rs", "use playa::Ebpf; // aya::\n"), 0);
    }

    #[test]
    fn the_rule_language_does_no_io_outside_its_tests() {
        assert_eq!(findings("rules/src/load.rs", "use std::fs;\n"), 1);
        assert_eq!(findings("rules/src/load.rs", "use std::net::IpAddr;\n"), 0);
        assert_eq!(findings("agent/src/load.rs", "use std::fs;\n"), 0);
        assert_eq!(findings("rules/src/load.rs", "#[cfg(test)]\nmod tests {\n    use std::fs;\n}\n"), 0);
    }

    #[test]
    fn every_workspace_member_is_in_the_table() {
        let mut report = Report::default();
        check_crates(&crate::workspace::metadata().unwrap(), &mut report);
        assert!(report.findings.is_empty(), "\n{}", report.render());
    }
}
