//! Programs of the agent's package that measurements need and the product has not.

use std::path::PathBuf;

use anyhow::Result;

use crate::{process, workspace};

/// Builds one. `release`: with the agent's release build, which is there already.
pub(super) fn build(name: &str, release: bool) -> Result<PathBuf> {
    let mut command = workspace::cargo();
    command.args(["build", "--quiet", "--package", "rampart-agent", "--example", name]);
    if release {
        command.arg("--release");
    }
    process::run(&mut command)?;
    let profile = if release { "release" } else { "debug" };
    let target = workspace::metadata()?.target_directory;
    Ok(PathBuf::from(target.join(profile).join("examples").join(name)))
}
