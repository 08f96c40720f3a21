//! Whether a second build of the same commit, somewhere else, gives the same binaries.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{PROGRAMS, checksum, strip};
use crate::arch::Arch;
use crate::{build, console, process, workspace};

/// Fails where the files differ from the last commit: a clone would hold something else.
pub(super) fn can_be() -> Result<()> {
    let mut command = Command::new("git");
    command.args(["status", "--porcelain"]).current_dir(workspace::root());
    let changed = process::capture(&mut command).context("`--verify` needs the history")?;
    match changed.lines().next() {
        Some(first) => {
            bail!("`--verify` builds the last commit, and there are changes: `{first}`; commit them")
        }
        None => Ok(()),
    }
}

/// Builds a clone and compares its programs with those in a folder.
pub(super) fn run(programs: &Path, arch: Arch) -> Result<()> {
    // In a place with a name of another length, so that a path in a binary shows itself.
    let scratch = tempfile::Builder::new().prefix("rampart-build-once-more-").tempdir()?;
    let clone = scratch.path().join("source");
    console::say(format!("building the last commit once more in `{}`", clone.display()));
    process::capture(Command::new("git").args(["clone", "-q"]).arg(workspace::root()).arg(&clone))?;
    let mut command = Command::new("cargo");
    command.args(["xtask", "build", "--release", "--static", "--arch", arch.debian()]).current_dir(&clone);
    process::run(command.env_remove("CARGO_TARGET_DIR"))?;
    let target = build::folder(&build::Options { arch, ..build::Options::STATIC })?;
    let below = target.strip_prefix(workspace::metadata()?.target_directory)?;
    let mut differing = Vec::new();
    for name in PROGRAMS {
        let again = scratch.path().join(name);
        strip(&clone.join("target").join(below).join(name), &again, arch)?;
        if checksum(&again)? == checksum(&programs.join(name))? {
            console::say(format!("`{name}` is the same, built again"));
        } else {
            differing.push(format!("`{name}` ({})", sections(&programs.join(name), &again)?));
        }
    }
    if !differing.is_empty() {
        bail!("differs when built again: {}", differing.join(", "));
    }
    Ok(())
}

/// Names of the sections in which two programs differ.
fn sections(one: &Path, other: &Path) -> Result<String> {
    let (one, other) = (listing(one)?, listing(other)?);
    let names: Vec<_> =
        one.iter().filter(|section| !other.contains(section)).map(|(name, _)| name.as_str()).collect();
    Ok(if names.is_empty() { "what is outside sections".to_owned() } else { names.join(" ") })
}

/// Names of sections with sums of what is in them.
fn listing(path: &Path) -> Result<Vec<(String, String)>> {
    let scratch = tempfile::tempdir()?;
    let headers = process::capture(Command::new("readelf").args(["-SW"]).arg(path))?;
    let names = headers.lines().filter_map(|line| line.split(']').nth(1)?.split_whitespace().next());
    let mut listing = Vec::new();
    for name in names.filter(|name| name.starts_with('.')) {
        let bytes = scratch.path().join("section");
        let dump = format!("{name}={}", bytes.display());
        let mut command = Command::new("objcopy");
        command.args(["-O", "binary", "--dump-section", &dump]).arg(path).arg(scratch.path().join("rest"));
        // What has no bytes in the file (`.bss`) cannot be taken out.
        if process::capture(&mut command).is_ok() {
            listing.push((name.to_owned(), checksum(&bytes)?));
        }
    }
    Ok(listing)
}
