//! `cargo xtask build`: the product's binaries with the kernel programs inside.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Result, bail};
use clap::Args;

use crate::{console, process, toolchain, workspace};

/// Members whose binaries are not part of the product.
const NOT_PRODUCT: [&str; 5] =
    ["rampart-ebpf", "rampart-limiter-ebpf", "rampart-services-ebpf", "rampart-tests", "xtask"];

/// What to build.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Optimise; the binaries land in `target/release`
    #[arg(long)]
    pub(crate) release: bool,
}

/// Builds the product in release mode and returns the agent's binary.
pub(crate) fn agent() -> Result<PathBuf> {
    run(&Options { release: true })?;
    Ok(PathBuf::from(workspace::metadata()?.target_directory.join("release/rampart")))
}

/// Builds every product crate that has a binary and says where the binaries are.
pub(crate) fn run(options: &Options) -> Result<()> {
    toolchain::ensure()?;
    let metadata = workspace::metadata()?;
    let mut packages = Vec::new();
    let mut binaries = Vec::new();
    for package in metadata.workspace_packages() {
        if NOT_PRODUCT.contains(&package.name.as_str()) {
            continue;
        }
        for target in package.targets.iter().filter(|target| target.is_bin()) {
            packages.push(package.name.to_string());
            binaries.push(target.name.clone());
        }
    }
    if packages.is_empty() {
        bail!("no workspace member has a product binary");
    }
    packages.dedup();
    let profile = if options.release { "release" } else { "debug" };
    console::say(format!("building {} ({profile}), kernel programs first", packages.join(", ")));
    let started = Instant::now();
    let mut command = workspace::cargo();
    command.args(["build", "--bins"]);
    if options.release {
        command.arg("--release");
    }
    for package in &packages {
        command.args(["--package", package]);
    }
    process::run(&mut command)?;
    for binary in &binaries {
        let path = metadata.target_directory.join(profile).join(binary);
        console::say(format!("built {path} ({:.1} s)", started.elapsed().as_secs_f64()));
    }
    Ok(())
}
