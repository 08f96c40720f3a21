//! Whether the programs need anything of the system that runs them.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use nix::unistd::Uid;

use super::PROGRAMS;
use crate::arch::Arch;
use crate::{console, process};

/// Whether no program asks for a loader, and says so; root sees each run where nothing else is.
pub(super) fn is_static(programs: &Path, arch: Arch) -> Result<bool> {
    for name in PROGRAMS {
        let program = programs.join(name);
        let segments = process::capture(Command::new("readelf").arg("-lW").arg(&program))?;
        if segments.lines().any(|line| line.trim_start().starts_with("INTERP")) {
            console::say(format!("`{name}` needs the C library of the system"));
            return Ok(false);
        }
        if !arch.is_own() {
            let version = process::capture(arch.run(&program).arg("--version"))?;
            console::say(format!("`{}` is linked statically and runs under emulation", version.trim()));
            continue;
        }
        let scratch = tempfile::tempdir().context("cannot make a folder")?;
        fs::copy(&program, scratch.path().join(name)).with_context(|| format!("cannot copy `{name}`"))?;
        if !Uid::effective().is_root() {
            console::say(format!("`{name}` is linked statically"));
            continue;
        }
        let mut command = Command::new("chroot");
        command.arg(scratch.path()).arg(format!("/{name}")).arg("--version");
        let version = process::capture(&mut command)?;
        console::say(format!("`{}` runs where nothing else is", version.trim()));
    }
    Ok(true)
}
