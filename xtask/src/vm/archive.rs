//! Packages from the Debian archive: downloaded by apt with a state of its own, unpacked, never installed.
//!
//! Names with a number disappear from the archive, so the newest is looked up each time; without a network, what was
//! unpacked before is used, and that is said.

mod apt;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use self::apt::Apt;
pub(super) use self::apt::uri;
use super::Target;
use crate::console;

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

/// The newest kernel of a series.
pub(super) fn kernel(target: &Target, cache: &Path) -> Result<Kernel> {
    let folder = cache.join("kernels").join(target.folder());
    let packages = |apt: &Apt| {
        let image = apt.newest(&target.package())?;
        // From 6.19 on the image is an empty package, and its parts have packages of their own.
        let parts = |kind: &str| image.replacen("-image-", &format!("-{kind}-"), 1);
        let split = vec![parts("binary"), parts("modules")];
        let first = split.first().context("a kernel has a package")?;
        Ok(match apt.version(first) {
            Ok(version) => (format!("{image} {version}"), split),
            Err(_) => (format!("{image} {}", apt.version(&image)?), vec![image]),
        })
    };
    let fresh = refresh(target.series.suite, target.arch.debian(), cache, &folder, packages);
    or_older(&target.name(), &folder, fresh)?;
    open(&folder)
}

/// Programs of another kind of machine: a folder with their unpacked packages.
pub(super) fn programs(suite: &str, architecture: &str, packages: &[&str], cache: &Path) -> Result<PathBuf> {
    let folder = cache.join("programs").join(architecture);
    let packages = |apt: &Apt| {
        let mut manifest = Vec::new();
        for package in packages {
            manifest.push(format!("{package} {}", apt.version(package)?));
        }
        Ok((manifest.join("\n"), packages.iter().map(|package| (*package).to_owned()).collect()))
    };
    let fresh = refresh(suite, architecture, cache, &folder, packages);
    or_older(&format!("programs of {architecture}"), &folder, fresh)?;
    Ok(folder.join("root"))
}

/// What was unpacked before is better than nothing.
fn or_older(name: &str, folder: &Path, fresh: Result<()>) -> Result<()> {
    match fresh {
        Err(reason) if folder.join(MANIFEST).is_file() => {
            console::say(format!("{name}: what was fetched before is used: {reason:#}"));
            Ok(())
        }
        fresh => fresh,
    }
}

/// Brings a folder to the newest of some packages, which `packages` names, with a line that tells them from older ones.
fn refresh(
    suite: &str,
    architecture: &str,
    cache: &Path,
    folder: &Path,
    packages: impl FnOnce(&Apt) -> Result<(String, Vec<String>)>,
) -> Result<()> {
    let apt = Apt::open(suite, architecture, cache)?;
    let (manifest, packages) = packages(&apt)?;
    if fs::read_to_string(folder.join(MANIFEST)).is_ok_and(|old| old == manifest) {
        return Ok(());
    }
    let fresh = folder.with_extension("new");
    let _ = fs::remove_dir_all(&fresh);
    fs::create_dir_all(&fresh).with_context(|| format!("cannot create `{}`", fresh.display()))?;
    apt.unpack(&packages, &fresh)?;
    fs::write(fresh.join(MANIFEST), manifest)?;
    let _ = fs::remove_dir_all(folder);
    fs::rename(&fresh, folder).with_context(|| format!("cannot make `{}`", folder.display()))
}

/// What an unpacked kernel holds.
fn open(folder: &Path) -> Result<Kernel> {
    let package = fs::read_to_string(folder.join(MANIFEST)).context("the kernel's folder has no manifest")?;
    let (mut image, mut modules) = (None, BTreeMap::new());
    for path in files(&folder.join("root"))? {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if name.starts_with("vmlinuz") {
            image = Some(path);
        } else if let Some((module, end)) = name.split_once(".ko")
            && ["", ".xz"].contains(&end)
        {
            modules.insert(module.replace('-', "_"), path);
        }
    }
    let image = image.with_context(|| format!("`{package}` holds no kernel"))?;
    Ok(Kernel { package, image, modules })
}

/// Everything below a folder that is not a folder itself.
pub(super) fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("cannot list `{}`", folder.display()))? {
            let entry = entry?;
            let list = if entry.file_type()?.is_dir() { &mut folders } else { &mut found };
            list.push(entry.path());
        }
    }
    Ok(found)
}
