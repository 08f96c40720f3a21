//! `cargo xtask dist`: what is given away. Stripped binaries, manual pages, completions, units of systemd, rules, alert rules
//! and dashboards as an archive and as a Debian package, with their checksums.
//!
//! The same files give the same archives, byte for byte: times are those of the last commit, order and owners are fixed, and
//! everything is packed twice to see it. `--verify` builds the binaries once more, in a clone somewhere else, and compares.

mod linking;
mod verify;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::arch::Arch;
use crate::{build, console, process, workspace};

/// Programs.
const PROGRAMS: [&str; 2] = ["rampart", "rampart-collector"];
/// Shells with what stands before and behind a program's name in the place of its completions.
const SHELLS: [(&str, &str, &str); 3] = [
    ("bash", "usr/share/bash-completion/completions/", ""),
    ("zsh", "usr/share/zsh/vendor-completions/_", ""),
    ("fish", "usr/share/fish/vendor_completions.d/", ".fish"),
];
/// Files of the workspace with their places.
const FILES: [(&str, &str); 4] = [
    ("deploy/systemd/rampart.service", "lib/systemd/system/rampart.service"),
    ("deploy/systemd/rampart-collector.service", "lib/systemd/system/rampart-collector.service"),
    ("LICENSE", "usr/share/doc/rampart/copyright"),
    ("CHANGELOG.md", "usr/share/doc/rampart/CHANGELOG.md"),
];
/// Folders with how names of files end there, and their places.
const FOLDERS: [(&str, &str, &str); 3] = [
    ("rules/packs", "yaml", "usr/share/rampart/rules"),
    ("deploy/prometheus", "yaml", "usr/share/rampart/prometheus"),
    ("deploy/grafana", "json", "usr/share/rampart/grafana"),
];
/// Where manual pages are.
const MANUAL: &str = "usr/share/man/man1";

/// From what, and where to.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Use these binaries instead of building with optimisation
    #[arg(long, value_name = "DIR")]
    binaries: Option<PathBuf>,
    /// Build the last commit once more, from a clone in another folder, and fail where a binary differs
    #[arg(long)]
    verify: bool,
    /// For which kind of machine
    #[arg(long, value_enum, default_value_t = Arch::OWN)]
    arch: Arch,
    /// Where the archives go
    #[arg(long, value_name = "DIR", default_value = "target/dist")]
    out: PathBuf,
}

/// Packs everything.
pub(crate) fn run(options: &Options) -> Result<()> {
    if options.verify {
        verify::can_be()?;
    }
    let arch = options.arch;
    let binaries = if let Some(folder) = &options.binaries {
        folder.clone()
    } else {
        // They need nothing of the system that runs them.
        let how = build::Options { arch, ..build::Options::STATIC };
        build::run(&how)?;
        build::folder(&how)?
    };
    let out = workspace::root().join(&options.out);
    fs::create_dir_all(&out).with_context(|| format!("cannot create `{}`", out.display()))?;
    let scratch = tempfile::tempdir().context("cannot make a folder")?;
    let tree = scratch.path().join("tree");
    stage(&tree, &binaries, arch)?;
    let is_static = linking::is_static(&tree.join("usr/bin"), arch)?;
    if !is_static && options.binaries.is_none() {
        bail!("the binaries need libraries of the system although they were linked not to");
    }
    let time = commit_time();
    let version = version(&binaries, arch)?;
    let (machine, debian) = (arch.name(), arch.debian());
    let names =
        [format!("rampart-{version}-linux-{machine}.tar.gz"), format!("rampart_{version}_{debian}.deb")];
    let mut sums = String::new();
    for name in &names {
        let pack = |to: &Path| {
            if Path::new(name).extension().is_some_and(|end| end == "deb") {
                package(&tree, to, &control(&version, debian, is_static), &time)
            } else {
                archive(&tree, to, &time)
            }
        };
        let (path, again) = (out.join(name), scratch.path().join("again"));
        pack(&path)?;
        pack(&again)?;
        let sum = checksum(&path)?;
        if checksum(&again)? != sum {
            bail!("`{name}` is another each time it is packed");
        }
        console::say(format!("{} ({} MB), the same when packed again", path.display(), megabytes(&path)?));
        sums.extend([&sum, "  ", name, "\n"]);
    }
    fs::write(out.join("SHA256SUMS"), sums).context("cannot write the checksums")?;
    if options.verify { verify::run(&tree.join("usr/bin"), arch) } else { Ok(()) }
}

/// Everything under the places where a system has it.
fn stage(tree: &Path, binaries: &Path, arch: Arch) -> Result<()> {
    for name in PROGRAMS {
        let (from, to) = (binaries.join(name), tree.join("usr/bin").join(name));
        if !from.is_file() {
            bail!("`{}` is missing", from.display());
        }
        parent(&to)?;
        strip(&from, &to, arch)?;
        fs::set_permissions(&to, Permissions::from_mode(0o755))?;
        manual(&from, &tree.join(MANUAL), arch)?;
        for (shell, before, behind) in SHELLS {
            let script = process::capture(arch.run(&from).args(["completions", shell]))?;
            write(&tree.join(format!("{before}{name}{behind}")), &script)?;
        }
    }
    for (from, place) in FILES {
        let text = fs::read_to_string(workspace::root().join(from))
            .with_context(|| format!("cannot read `{from}`"))?;
        write(&tree.join(place), &text)?;
    }
    for (from, end, place) in FOLDERS {
        for entry in
            fs::read_dir(workspace::root().join(from)).with_context(|| format!("cannot list `{from}`"))?
        {
            let path = entry?.path();
            if path.extension().is_some_and(|own| own == end) {
                let name = path.file_name().unwrap_or_default();
                write(&tree.join(place).join(name), &fs::read_to_string(&path)?)?;
            }
        }
    }
    Ok(())
}

/// A program without what only a debugger reads.
fn strip(from: &Path, to: &Path, arch: Arch) -> Result<()> {
    process::capture(Command::new(arch.tool("strip")).arg("-o").arg(to).arg(from)).map(drop)
}

/// Manual pages of a program, packed as Debian wants them: the same each time.
fn manual(program: &Path, to: &Path, arch: Arch) -> Result<()> {
    let pages = tempfile::tempdir().context("cannot make a folder")?;
    process::capture(arch.run(program).arg("man").arg(pages.path()))?;
    fs::create_dir_all(to).with_context(|| format!("cannot create `{}`", to.display()))?;
    for entry in fs::read_dir(pages.path())? {
        let page = entry?.path();
        process::capture(Command::new("gzip").arg("-9n").arg(&page))?;
        let name = format!("{}.gz", page.file_name().unwrap_or_default().to_string_lossy());
        let packed = to.join(&name);
        fs::copy(pages.path().join(&name), &packed).with_context(|| format!("cannot copy `{name}`"))?;
        fs::set_permissions(&packed, Permissions::from_mode(0o644)).context("cannot change a file's mode")?;
    }
    Ok(())
}

fn archive(tree: &Path, to: &Path, time: &str) -> Result<()> {
    let mut command = Command::new("tar");
    command.args(["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--format=gnu"]);
    command.arg(format!("--mtime=@{time}")).args(["--use-compress-program", "gzip -n"]);
    command.arg("-C").arg(tree).arg("-cf").arg(to).arg(".");
    process::capture(&mut command).map(drop)
}

/// What Debian's tools are told of the package.
fn control(version: &str, debian: &str, is_static: bool) -> String {
    let depends = if is_static { "" } else { "Depends: libc6 (>= 2.36), libgcc-s1\n" };
    format!(
        "Package: rampart\nVersion: {version}\nArchitecture: {debian}\nSection: admin\nPriority: optional\n\
         Maintainer: Rampart <rampart@localhost>\n{depends}\
         Description: runtime security and traffic agent for every node\n \
         Watches system calls, files, processes and the network by kernel programs, evaluates Falco's rules,\n \
         limits rates per source and gives services backends. With a collector for the alerts of all nodes.\n"
    )
}

fn package(tree: &Path, to: &Path, control: &str, time: &str) -> Result<()> {
    write(&tree.join("DEBIAN/control"), control)?;
    let mut command = Command::new("dpkg-deb");
    command.args(["--root-owner-group", "-Zxz", "--build"]).arg(tree).arg(to).env("SOURCE_DATE_EPOCH", time);
    let packed = process::capture(&mut command).map(drop);
    fs::remove_dir_all(tree.join("DEBIAN"))?;
    packed
}

/// Seconds since the epoch of the last commit; of nothing where there is no history.
fn commit_time() -> String {
    let mut command = Command::new("git");
    command.args(["log", "-1", "--format=%ct"]).current_dir(workspace::root());
    process::capture(&mut command).map_or_else(|_| "0".to_owned(), |text| text.trim().to_owned())
}

/// What the agent says its version is.
fn version(binaries: &Path, arch: Arch) -> Result<String> {
    let text = process::capture(arch.run(&binaries.join("rampart")).arg("--version"))?;
    text.split_whitespace().nth(1).map(str::to_owned).context("the agent says no version")
}

fn checksum(path: &Path) -> Result<String> {
    let text = process::capture(Command::new("sha256sum").arg(path))?;
    text.split_whitespace().next().map(str::to_owned).context("`sha256sum` says nothing")
}

fn megabytes(path: &Path) -> Result<u64> {
    Ok(fs::metadata(path)?.len() / 1_000_000)
}

fn write(path: &Path, text: &str) -> Result<()> {
    parent(path)?;
    fs::write(path, text).with_context(|| format!("cannot write `{}`", path.display()))?;
    fs::set_permissions(path, Permissions::from_mode(0o644)).context("cannot change a file's mode")
}

fn parent(path: &Path) -> Result<()> {
    let Some(folder) = path.parent() else { return Ok(()) };
    fs::create_dir_all(folder).with_context(|| format!("cannot create `{}`", folder.display()))
}
