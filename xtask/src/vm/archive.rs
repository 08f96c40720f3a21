//! Kernels from the Debian archive: downloaded by apt with a state of its own, unpacked, never installed.
//!
//! Where the archive is, the machine's own apt configuration says. Names with a number disappear from the archive, so the
//! newest is looked up each time; without a network, what was unpacked before is used, and that is said.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::Series;
use crate::{console, process};

/// Who signs the archive.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// File that says what a folder holds.
const MANIFEST: &str = "package";

/// An unpacked kernel.
pub(super) struct Kernel {
    /// Package with its version.
    pub(super) package: String,
    pub(super) image: PathBuf,
    /// Modules by name, with `_` for `-`.
    pub(super) modules: BTreeMap<String, PathBuf>,
}

/// apt with lists of one suite, and nothing of the machine's packages.
struct Apt {
    options: Vec<String>,
    folder: PathBuf,
}

/// The newest kernel of a series.
pub(super) fn fetch(series: &Series, cache: &Path) -> Result<Kernel> {
    let folder = cache.join("kernels").join(series.name);
    match refresh(series, cache, &folder) {
        Ok(()) => {}
        Err(reason) if folder.join(MANIFEST).is_file() => {
            console::say(format!("{}: the one fetched before is used: {reason:#}", series.name));
        }
        Err(reason) => return Err(reason),
    }
    open(&folder)
}

/// Brings the folder to the newest package.
fn refresh(series: &Series, cache: &Path, folder: &Path) -> Result<()> {
    let apt = Apt::open(series.suite, cache)?;
    let image = apt.newest(series.package)?;
    // From 6.19 on the image is an empty package, and its parts have packages of their own.
    let parts = |kind: &str| image.replacen("-image-", &format!("-{kind}-"), 1);
    let split = [parts("binary"), parts("modules")];
    let names: Vec<String> =
        if apt.version(&split[0]).is_ok() { split.to_vec() } else { vec![image.clone()] };
    let first = names.first().context("a kernel has a package")?;
    let manifest = format!("{image} {}", apt.version(first)?);
    if fs::read_to_string(folder.join(MANIFEST)).is_ok_and(|old| old == manifest) {
        return Ok(());
    }
    let fresh = folder.with_extension("new");
    let _ = fs::remove_dir_all(&fresh);
    fs::create_dir_all(&fresh).with_context(|| format!("cannot create `{}`", fresh.display()))?;
    for name in &names {
        let package = apt.download(name, &fresh)?;
        process::capture(Command::new("dpkg-deb").arg("-x").arg(&package).arg(fresh.join("root")))?;
        fs::remove_file(&package)?;
    }
    fs::write(fresh.join(MANIFEST), manifest)?;
    let _ = fs::remove_dir_all(folder);
    fs::rename(&fresh, folder).with_context(|| format!("cannot make `{}`", folder.display()))
}

/// What an unpacked package holds.
fn open(folder: &Path) -> Result<Kernel> {
    let package = fs::read_to_string(folder.join(MANIFEST)).context("the kernel's folder has no manifest")?;
    let (mut image, mut modules) = (None, BTreeMap::new());
    let mut folders = vec![folder.join("root")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("cannot list `{}`", folder.display()))? {
            let entry = entry?;
            let (name, path) = (entry.file_name().to_string_lossy().into_owned(), entry.path());
            if entry.file_type()?.is_dir() {
                folders.push(path);
            } else if name.starts_with("vmlinuz") {
                image = Some(path);
            } else if let Some((module, end)) = name.split_once(".ko")
                && ["", ".xz"].contains(&end)
            {
                modules.insert(module.replace('-', "_"), path);
            }
        }
    }
    let image = image.with_context(|| format!("`{package}` holds no kernel"))?;
    Ok(Kernel { package, image, modules })
}

impl Apt {
    fn open(suite: &str, cache: &Path) -> Result<Self> {
        let folder = cache.join("apt").join(suite);
        for part in ["lists/partial", "cache/archives/partial", "none"] {
            fs::create_dir_all(folder.join(part)).context("cannot create apt's folders")?;
        }
        let uri = uri(suite.ends_with("-security"))?;
        fs::write(folder.join("sources.list"), format!("deb [signed-by={KEYRING}] {uri} {suite} main\n"))?;
        fs::write(folder.join("status"), "")?;
        let at = |name: &str| folder.join(name).display().to_string();
        let options = [
            format!("Dir::State={}", at("")),
            format!("Dir::State::lists={}", at("lists")),
            format!("Dir::State::status={}", at("status")),
            format!("Dir::Cache={}", at("cache")),
            format!("Dir::Etc::sourcelist={}", at("sources.list")),
            format!("Dir::Etc::sourceparts={}", at("none")),
            format!("Dir::Etc::preferences={}", at("none/preferences")),
            format!("Dir::Etc::preferencesparts={}", at("none")),
            "Acquire::Languages=none".to_owned(),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
            "Acquire::IndexTargets::deb::CNF::DefaultEnabled=false".to_owned(),
            "APT::Sandbox::User=root".to_owned(),
            "APT::Architecture=amd64".to_owned(),
            "APT::Architectures=amd64".to_owned(),
        ];
        let apt = Self { options: options.to_vec(), folder };
        apt.ask("apt-get", &["-qq", "-o", "Acquire::Retries=2", "update"])
            .with_context(|| format!("the archive has no `{suite}`"))?;
        Ok(apt)
    }

    /// The package that a package without content depends on.
    fn newest(&self, package: &str) -> Result<String> {
        let text = self.ask("apt-cache", &["show", package])?;
        let depends = text.lines().find_map(|line| line.strip_prefix("Depends: "));
        let names = depends.into_iter().flat_map(|list| list.split([' ', ',']));
        let name = names.into_iter().find(|name| name.starts_with("linux-image-"));
        name.map(str::to_owned).with_context(|| format!("`{package}` depends on no kernel"))
    }

    fn version(&self, package: &str) -> Result<String> {
        let text = self.ask("apt-cache", &["show", package])?;
        let version = text.lines().find_map(|line| line.strip_prefix("Version: "));
        version.map(str::to_owned).with_context(|| format!("there is no package `{package}`"))
    }

    /// Downloads a package into a folder.
    fn download(&self, package: &str, to: &Path) -> Result<PathBuf> {
        let mut command = self.command("apt-get");
        process::capture(command.args(["-qq", "download", package]).current_dir(to))?;
        let start = format!("{package}_");
        let found = fs::read_dir(to)?
            .filter_map(Result::ok)
            .find(|entry| entry.file_name().to_string_lossy().starts_with(&start));
        found.map(|entry| entry.path()).with_context(|| format!("apt downloaded no `{package}`"))
    }

    fn ask(&self, program: &str, arguments: &[&str]) -> Result<String> {
        process::capture(self.command(program).args(arguments).current_dir(&self.folder))
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        for option in &self.options {
            command.args(["-o", option]);
        }
        command
    }
}

/// Where the machine's own configuration finds Debian.
pub(super) fn uri(is_security: bool) -> Result<String> {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(entries) = fs::read_dir("/etc/apt/sources.list.d") {
        files.extend(entries.filter_map(Result::ok).map(|entry| entry.path()));
    }
    let end = if is_security { "/debian-security" } else { "/debian" };
    for file in files {
        let text = fs::read_to_string(&file).unwrap_or_default();
        let words =
            text.lines().filter(|line| !line.trim_start().starts_with('#')).flat_map(str::split_whitespace);
        for word in words {
            let word = word.trim_end_matches('/');
            if word.starts_with("http") && word.ends_with(end) {
                return Ok(word.to_owned());
            }
        }
    }
    bail!("apt's configuration names no archive that ends with `{end}`")
}
