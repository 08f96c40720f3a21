//! `cargo xtask build`: the product's binaries with the kernel programs inside.

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::{Result, bail};
use clap::Args;

use crate::arch::Arch;
use crate::{console, process, toolchain, workspace};

/// Members whose binaries are not part of the product.
const NOT_PRODUCT: [&str; 5] =
    ["rampart-ebpf", "rampart-limiter-ebpf", "rampart-services-ebpf", "rampart-tests", "xtask"];

/// The C library inside.
const STATIC_FLAGS: &str = "-C target-feature=+crt-static";

/// What to build.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Optimise; the binaries land in `target/release`
    #[arg(long)]
    pub(crate) release: bool,
    /// Link the C library in, so that the binaries run on any distribution; the binaries land in a folder of the target's
    /// name, and optimised ones name files as if they lay in `/rampart`, wherever they are
    #[arg(long = "static")]
    pub(crate) is_static: bool,
    /// Build for another kind of machine; installs a cross compiler and Rust's standard library for it
    #[arg(long, value_enum, default_value_t = Arch::OWN, requires = "is_static")]
    pub(crate) arch: Arch,
}

impl Options {
    /// Not optimised, linked as usual.
    pub(crate) const DEBUG: Self = Self { release: false, is_static: false, arch: Arch::OWN };
    /// Optimised, linked as usual.
    pub(crate) const RELEASE: Self = Self { release: true, ..Self::DEBUG };
    /// Optimised, with everything inside.
    pub(crate) const STATIC: Self = Self { is_static: true, ..Self::RELEASE };
}

/// Where binaries are that were built like this.
pub(crate) fn folder(options: &Options) -> Result<PathBuf> {
    let target = workspace::metadata()?.target_directory.into_std_path_buf();
    // Static binaries have a target by name, so that what runs while building is linked as usual.
    let target = if options.is_static { target.join(options.arch.target()) } else { target };
    Ok(target.join(if options.release { "release" } else { "debug" }))
}

/// Builds the product in release mode and returns the agent's binary.
pub(crate) fn agent() -> Result<PathBuf> {
    run(&Options::RELEASE)?;
    Ok(folder(&Options::RELEASE)?.join("rampart"))
}

/// Makes a command of cargo build for a kind of machine, with the C library inside; installs what that takes.
pub(crate) fn link_statically(command: &mut Command, arch: Arch) -> Result<()> {
    if !arch.is_own() {
        toolchain::cross(arch)?;
        command.env(format!("{}_LINKER", variable(arch)), arch.tool("gcc"));
    }
    // Flags of the environment would take the place of these, also for what runs while building.
    command.args(["--target", &arch.target()]).env_remove("RUSTFLAGS").env(flags_of(arch), STATIC_FLAGS);
    Ok(())
}

/// What cargo's variables about a target begin with.
fn variable(arch: Arch) -> String {
    format!("CARGO_TARGET_{}", arch.target().to_uppercase().replace('-', "_"))
}

/// Cargo's variable of the compiler's flags for a target.
fn flags_of(arch: Arch) -> String {
    format!("{}_RUSTFLAGS", variable(arch))
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
    if options.is_static {
        link_statically(&mut command, options.arch)?;
    }
    if options.is_static && options.release {
        let target = options.arch.target();
        let places = [(workspace::cargo_home()?, "/cargo"), (workspace::root(), "/rampart")];
        let flags = places.iter().map(|(from, to)| format!(" --remap-path-prefix={}={to}", from.display()));
        command.env(flags_of(options.arch), flags.fold(STATIC_FLAGS.to_owned(), |all, flag| all + &flag));
        let flags = places.iter().map(|(from, to)| format!("-ffile-prefix-map={}={to} ", from.display()));
        command.env(format!("CFLAGS_{}", target.replace('-', "_")), flags.collect::<String>());
    }
    for package in &packages {
        command.args(["--package", package]);
    }
    process::run(&mut command)?;
    let folder = folder(options)?;
    for binary in &binaries {
        let path = folder.join(binary);
        console::say(format!("built {} ({:.1} s)", path.display(), started.elapsed().as_secs_f64()));
    }
    Ok(())
}
