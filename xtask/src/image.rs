//! `cargo xtask image`: the files of the container image, and the image tried out.
//!
//! The image holds the two programs, the libraries and certificates they need, the rule packs and two users: no shell, no
//! package manager. The `Dockerfile` puts together what `assemble` makes, and so does the test, which needs no registry.

mod trial;

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Subcommand;

use crate::checks::Checks;
use crate::{build, console, process, workspace};

/// Programs of the image.
const PROGRAMS: [&str; 2] = ["rampart", "rampart-collector"];
/// Certificates of public authorities, for webhooks and feeds.
const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";
/// Where rule files lie in the image; the chart names it too.
const RULES: &str = "usr/share/rampart/rules";
/// Who a program runs as unless it is told otherwise.
pub(crate) const USER: u32 = 65532;
const PASSWD: &str =
    "root:x:0:0:root:/root:/sbin/nologin\nrampart:x:65532:65532:rampart:/var/lib/rampart:/sbin/nologin\n";
const GROUP: &str = "root:x:0:\nrampart:x:65532:\n";
/// Folders that are mounted over or written to.
const FOLDERS: [&str; 7] = [
    "etc/rampart",
    "etc/falco/rules.d",
    "var/lib/rampart",
    "var/lib/rampart-collector",
    "run/rampart",
    "proc",
    "sys",
];

/// What to do with the image.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Build with optimisation and put the image's files into a folder
    Assemble {
        /// The folder; it must not be there
        folder: PathBuf,
    },
    /// Put the image together from the debug build and run it with podman
    Test {
        /// Use the debug build that is there
        #[arg(long)]
        no_build: bool,
    },
}

/// Runs the command; says whether nothing failed.
pub(crate) fn run(command: &Command) -> Result<bool> {
    match command {
        Command::Assemble { folder } => {
            build::run(&build::Options::RELEASE)?;
            let binaries = workspace::metadata()?.target_directory.join("release");
            assemble(folder, binaries.as_std_path())?;
            Ok(true)
        }
        Command::Test { no_build } => {
            if !no_build {
                build::run(&build::Options::DEBUG)?;
            }
            Ok(test()?.print())
        }
    }
}

/// Every check of the image; the binaries are built.
pub(crate) fn test() -> Result<Checks> {
    let mut checks = Checks::default();
    if !nix::unistd::geteuid().is_root() {
        checks.skip("image", "running it needs root");
        return Ok(checks);
    }
    if workspace::program("podman").is_none() {
        checks.skip("image", "`podman` is not installed");
        return Ok(checks);
    }
    let folder = tempfile::tempdir().context("cannot make a folder")?;
    let files = folder.path().join("files");
    let binaries = workspace::metadata()?.target_directory.join("debug");
    assemble(&files, binaries.as_std_path())?;
    trial::run(&files, folder.path(), &mut checks)?;
    Ok(checks)
}

/// Makes the image's files.
fn assemble(folder: &Path, binaries: &Path) -> Result<()> {
    if folder.exists() {
        bail!("`{}` is there already", folder.display());
    }
    for name in FOLDERS {
        make(&folder.join(name), 0o755)?;
    }
    make(&folder.join("tmp"), 0o1777)?;
    // Its owner is who the collector runs as: a volume that is laid there begins as a copy.
    chown(folder.join("var/lib/rampart-collector"), Some(USER), Some(USER))
        .context("cannot change a folder's owner")?;
    let mut libraries = BTreeSet::new();
    for name in PROGRAMS {
        let (from, to) = (binaries.join(name), folder.join("usr/bin").join(name));
        make(&folder.join("usr/bin"), 0o755)?;
        libraries.extend(needed(&from)?);
        process::capture(std::process::Command::new("strip").arg("-o").arg(&to).arg(&from))?;
        fs::set_permissions(&to, Permissions::from_mode(0o755))?;
    }
    for library in &libraries {
        copy(library, &folder.join(library.strip_prefix("/").unwrap_or(library)))?;
    }
    if Path::new(AUTHORITIES).is_file() {
        copy(Path::new(AUTHORITIES), &folder.join(AUTHORITIES.trim_start_matches('/')))?;
    } else {
        console::say("note: this machine has no `ca-certificates`, so the image trusts no public authority");
    }
    write(&folder.join("etc/passwd"), PASSWD)?;
    write(&folder.join("etc/group"), GROUP)?;
    // Where programs look for names before they ask the network.
    write(&folder.join("etc/nsswitch.conf"), "hosts: files dns\n")?;
    let packs = workspace::root().join("rules/packs");
    for entry in fs::read_dir(&packs).with_context(|| format!("cannot list `{}`", packs.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "yaml") {
            copy(&path, &folder.join(RULES).join(path.file_name().unwrap_or_default()))?;
        }
    }
    copy(&workspace::root().join("LICENSE"), &folder.join("usr/share/doc/rampart/LICENSE"))?;
    let mut size = 0;
    measure(folder, &mut size)?;
    console::say(format!(
        "`{}`: {} MB, {} libraries, no shell",
        folder.display(),
        size / 1_000_000,
        libraries.len()
    ));
    Ok(())
}

/// Libraries that the program loader loads, by the names it asks for.
fn needed(program: &Path) -> Result<Vec<PathBuf>> {
    if !program.is_file() {
        bail!("`{}` is missing: build it first", program.display());
    }
    let answer = process::bounded(std::process::Command::new("ldd").arg(program), Duration::from_secs(30))?;
    if !answer.success() {
        // A static program needs none.
        return Ok(Vec::new());
    }
    let path = |line: &str| {
        let place = line.split_once("=>").map_or(line, |(_, place)| place);
        let word = place.split_whitespace().next()?;
        word.starts_with('/').then(|| PathBuf::from(word))
    };
    Ok(answer.stdout.lines().filter_map(path).collect())
}

/// Copies what a path leads to.
fn copy(from: &Path, to: &Path) -> Result<()> {
    if let Some(folder) = to.parent() {
        make(folder, 0o755)?;
    }
    fs::copy(from, to).with_context(|| format!("cannot copy `{}`", from.display()))?;
    let mode = if from.extension().is_some_and(|end| end == "crt" || end == "yaml") { 0o644 } else { 0o755 };
    fs::set_permissions(to, Permissions::from_mode(mode)).context("cannot change a file's mode")
}

fn make(folder: &Path, mode: u32) -> Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(folder).with_context(|| format!("cannot create `{}`", folder.display()))?;
    fs::set_permissions(folder, Permissions::from_mode(mode)).context("cannot change a folder's mode")
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write `{}`", path.display()))
}

fn measure(folder: &Path, size: &mut u64) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            measure(&entry.path(), size)?;
        } else {
            *size += entry.metadata()?.len();
        }
    }
    Ok(())
}
