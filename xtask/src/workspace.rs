//! Where things are: the workspace, its sources, the per-user cache, and the host's cargo.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use cargo_metadata::{Metadata, MetadataCommand};

/// The workspace's root folder.
pub(crate) fn root() -> PathBuf {
    let manifest =
        env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| OsString::from(env!("CARGO_MANIFEST_DIR")));
    let manifest = PathBuf::from(manifest);
    manifest.parent().map_or_else(|| manifest.clone(), Path::to_path_buf)
}

/// Where cargo keeps foreign crates.
pub(crate) fn cargo_home() -> Result<PathBuf> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("CARGO_HOME")
        .or_else(|| set("HOME").map(|home| home.join(".cargo")))
        .context("neither `CARGO_HOME` nor `HOME` is set, so nobody knows where foreign crates are")
}

/// The per-user cache of tools, so that fresh clones reuse them.
pub(crate) fn cache() -> Result<PathBuf> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = set("XDG_CACHE_HOME")
        .or_else(|| set("HOME").map(|home| home.join(".cache")))
        .context("neither `XDG_CACHE_HOME` nor `HOME` is set, so there is no place to keep tools")?;
    Ok(base.join("rampart"))
}

/// The cargo that runs this command, started in the workspace's root.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    command.current_dir(root());
    // Facts about this program, of which build scripts would think that they have changed.
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command
}

/// Packages and resolved dependencies, as cargo sees them.
pub(crate) fn metadata() -> Result<Metadata> {
    MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .exec()
        .context("cannot read the workspace's metadata")
}

/// Falco's own rule file, when the reference data lies beside the workspace.
///
/// `RAMPART_SHARED` names another place for that data.
pub(crate) fn upstream_rules() -> Option<PathBuf> {
    shared("falco/rules/falco_rules.yaml")
}

/// The facts of Falco's own tests, when the reference data lies beside the workspace.
pub(crate) fn upstream_facts() -> Option<PathBuf> {
    shared("falco/conformance.yaml")
}

/// The list of published workloads, when the reference data lies beside the workspace.
pub(crate) fn published_workloads() -> Option<PathBuf> {
    shared("workloads/workloads.json")
}

fn shared(file: &str) -> Option<PathBuf> {
    let shared = env::var_os("RAMPART_SHARED").map_or_else(|| root().join("../shared"), PathBuf::from);
    shared.join(file).canonicalize().ok()
}

/// A program of that name in `PATH`.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    // Administration tools such as `ip` are often outside an ordinary user's path.
    let extra = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    env::split_paths(&path).chain(extra).map(|folder| folder.join(name)).find(|candidate| candidate.is_file())
}
