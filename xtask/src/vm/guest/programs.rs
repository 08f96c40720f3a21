//! Programs of the machine that are not the product's: this machine's own, or Debian's for another kind of machine.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::Entry;
use crate::arch::Arch;
use crate::vm::archive;
use crate::{process, workspace};

/// Programs of this machine: what tests copy under another name must not go by its name, as busybox does.
const OWN: [(&str, &str); 3] = [("/bin/sh", "bin/sh"), ("/bin/true", "bin/true"), ("/bin/cat", "bin/cat")];
/// The same for another kind of machine: packages, and which files of theirs.
const PACKAGES: [&str; 4] = ["busybox-static", "dash", "coreutils", "libc6"];
const FILES: [(&str, &str); 5] = [
    ("busybox", "bin/busybox"),
    ("dash", "bin/sh"),
    ("true", "bin/true"),
    ("cat", "bin/cat"),
    ("libc.so.6", "lib/libc.so.6"),
];
/// Release that they are of.
const SUITE: &str = "trixie";
/// A 32-bit program.
pub(super) const SMALL: &str = "bin/busybox32";

/// Everything that `init` and the tests run.
pub(super) fn find(arch: Arch, cache: &Path) -> Result<Vec<Entry>> {
    let mut entries = if arch.is_own() { own()? } else { foreign(arch, cache)? };
    if let Some(architecture) = small(arch) {
        let root = archive::programs(SUITE, architecture, &PACKAGES[..1], cache)?;
        entries.push(program(&named(&root, "busybox")?, SMALL)?);
    }
    Ok(entries)
}

/// Debian's name of the 32-bit programs that a kind of machine runs, where its leg tries one. That a 64-bit program makes
/// 32-bit calls, which only x86-64 knows, is a kernel test.
pub(super) const fn small(arch: Arch) -> Option<&'static str> {
    match arch {
        Arch::Amd64 => None,
        Arch::Arm64 => Some("armhf"),
    }
}

/// Libraries that the program loader of this machine would load.
pub(super) fn libraries(program: &Path) -> Result<BTreeSet<PathBuf>> {
    let answer = process::bounded(Command::new("ldd").arg(program), Duration::from_secs(30))?;
    // It fails on programs that need none.
    let text = if answer.success() { answer.stdout } else { String::new() };
    let path = |line: &str| {
        let place = line.split_once("=>").map_or(line, |(_, place)| place);
        let word = place.split_whitespace().next()?;
        word.starts_with('/').then(|| PathBuf::from(word))
    };
    Ok(text.lines().filter_map(path).collect())
}

fn own() -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    let mut needed = BTreeSet::new();
    for (from, to) in OWN {
        needed.extend(libraries(Path::new(from))?);
        entries.push(program(Path::new(from), to)?);
    }
    for library in needed {
        let to = library.to_string_lossy().trim_start_matches('/').to_owned();
        entries.push(program(&library, &to)?);
    }
    let busybox = workspace::program("busybox").context("`busybox` is not installed")?;
    if !libraries(&busybox)?.is_empty() {
        bail!("`{}` is not static; install `busybox-static`", busybox.display());
    }
    entries.push(program(&busybox, "bin/busybox")?);
    Ok(entries)
}

fn foreign(arch: Arch, cache: &Path) -> Result<Vec<Entry>> {
    let root = archive::programs(SUITE, arch.debian(), &PACKAGES, cache)?;
    let loader = match arch {
        Arch::Amd64 => ("ld-linux-x86-64.so.2", "lib64/ld-linux-x86-64.so.2"),
        Arch::Arm64 => ("ld-linux-aarch64.so.1", "lib/ld-linux-aarch64.so.1"),
    };
    FILES.iter().chain([&loader]).map(|(name, to)| program(&named(&root, name)?, to)).collect()
}

/// The file of a name in unpacked packages, which move it from release to release.
fn named(root: &Path, name: &str) -> Result<PathBuf> {
    let is_wanted = |path: &PathBuf| {
        path.file_name().is_some_and(|file| file == name)
            && path.symlink_metadata().is_ok_and(|file| file.is_file())
            && path.components().any(|part| ["bin", "lib"].iter().any(|folder| part.as_os_str() == *folder))
    };
    archive::files(root)?
        .into_iter()
        .find(is_wanted)
        .with_context(|| format!("the packages below `{}` have no `{name}`", root.display()))
}

fn program(from: &Path, to: &str) -> Result<Entry> {
    let content = fs::read(from).with_context(|| format!("cannot read `{}`", from.display()))?;
    Ok(Entry { to: to.to_owned(), content, is_program: true })
}
