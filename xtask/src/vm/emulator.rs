//! The emulator of a kind of machine: found, installed where that changes nothing else, or unpacked beside the kernels.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use nix::unistd::geteuid;

use super::archive;
use crate::arch::Arch;
use crate::{console, process, workspace};

/// Where QEMU's programs come from, as options of apt.
struct Source {
    options: Vec<String>,
    /// Release to prefer, where there are several.
    release: Option<String>,
    /// Holds its lists.
    _folder: Option<tempfile::TempDir>,
}

/// The program's name, and the Debian package that has it.
const fn named(arch: Arch) -> (&'static str, &'static str) {
    match arch {
        Arch::Amd64 => ("qemu-system-x86_64", "qemu-system-x86"),
        Arch::Arm64 => ("qemu-system-aarch64", "qemu-system-arm"),
    }
}

/// The program that computes a machine, installed where it is missing, and never at the price of another package.
pub(super) fn find(arch: Arch, cache: &Path) -> Result<PathBuf> {
    let (program, package) = named(arch);
    let folder = cache.join("emulator").join(package);
    let unpacked = folder.join("root/usr/bin").join(program);
    if let Some(found) =
        workspace::program(program).or_else(|| runs(&unpacked).is_ok().then(|| unpacked.clone()))
    {
        return Ok(found);
    }
    if workspace::program("apt-get").is_none() || !geteuid().is_root() {
        bail!("`{program}` is not installed; install Debian's `{package}`, or its equivalent");
    }
    console::say(format!("installing {package} (the emulator)"));
    process::run(Command::new("apt-get").args(["update", "-qq"]))?;
    let release = Source { options: Vec::new(), release: None, _folder: None };
    if release.install(package).is_ok() {
        return workspace::program(program).with_context(|| format!("`{package}` brought no `{program}`"));
    }
    // Parts of another version keep the release's emulator out: that of its backports is as new as they are.
    console::say("    not possible beside what is installed; trying the release's backports");
    let backports = Source::backports()?;
    let Err(reason) = backports.install(package) else {
        return workspace::program(program).with_context(|| format!("`{package}` brought no `{program}`"));
    };
    console::say(format!("    not installed: {reason:#}; unpacking it instead"));
    backports.unpack(package, &folder)?;
    runs(&unpacked)?;
    Ok(unpacked)
}

/// Whether an unpacked program finds the libraries it needs.
fn runs(program: &Path) -> Result<()> {
    process::capture(Command::new(program).arg("--version")).map(drop)
}

impl Source {
    /// The backports of this machine's release, beside the release itself, with lists of their own.
    fn backports() -> Result<Self> {
        let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
        let name = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
        let name = name.context("`/etc/os-release` names no release")?;
        let folder = tempfile::tempdir().context("cannot make a folder")?;
        let at = |name: &str| folder.path().join(name).display().to_string();
        for part in ["lists/partial", "cache/archives/partial", "none"] {
            fs::create_dir_all(folder.path().join(part))?;
        }
        let (main, security) = (archive::uri(false)?, archive::uri(true)?);
        let lines = [
            format!("deb {main} {name} main"),
            format!("deb {main} {name}-updates main"),
            format!("deb {security} {name}-security main"),
            format!("deb {main} {name}-backports main"),
        ];
        fs::write(folder.path().join("sources.list"), lines.join("\n") + "\n")?;
        let options = vec![
            format!("Dir::State::lists={}", at("lists")),
            format!("Dir::Cache={}", at("cache")),
            format!("Dir::Etc::sourcelist={}", at("sources.list")),
            format!("Dir::Etc::sourceparts={}", at("none")),
            "APT::Sandbox::User=root".to_owned(),
        ];
        let source = Self { options, release: Some(format!("{name}-backports")), _folder: Some(folder) };
        process::run(source.apt().args(["update", "-qq"]))?;
        Ok(source)
    }

    /// Installs a package, unless that takes another one away or changes an emulator that is there.
    fn install(&self, package: &str) -> Result<()> {
        let plan = process::capture(self.install_command(package).arg("--simulate"))?;
        // `Inst NAME [old version] (new version …)`: without brackets it is new.
        let costs = |line: &&str| {
            line.starts_with("Remv ")
                || (line.starts_with("Inst qemu")
                    && line.split_whitespace().nth(2).is_some_and(|word| word.starts_with('[')))
        };
        if let Some(cost) = plan.lines().find(costs) {
            let name = cost.split_whitespace().nth(1).unwrap_or_default();
            bail!("`{name}` would be removed or replaced");
        }
        process::run(&mut self.install_command(package))
    }

    fn install_command(&self, package: &str) -> Command {
        let mut command = self.apt();
        command.args(["-y", "-qq", "-o", "Dpkg::Use-Pty=0"]);
        command.args(["install", "--no-install-recommends", "--no-remove", package]);
        if let Some(release) = &self.release {
            command.args(["-t", release]);
        }
        command
    }

    /// Unpacks the program alone. It uses the libraries and the data of the emulator that is installed.
    fn unpack(&self, package: &str, folder: &Path) -> Result<()> {
        let _ = fs::remove_dir_all(folder);
        fs::create_dir_all(folder).with_context(|| format!("cannot create `{}`", folder.display()))?;
        let mut command = self.apt();
        command.args(["-qq", "download", package]).current_dir(folder);
        if let Some(release) = &self.release {
            command.args(["-t", release]);
        }
        process::capture(&mut command)?;
        let files = archive::files(folder)?;
        let file = files.first().with_context(|| format!("apt downloaded no `{package}`"))?;
        process::capture(Command::new("dpkg-deb").arg("-x").arg(file).arg(folder.join("root")))?;
        fs::remove_file(file).with_context(|| format!("cannot remove `{}`", file.display()))
    }

    fn apt(&self) -> Command {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive");
        for option in &self.options {
            command.args(["-o", option]);
        }
        command
    }
}
