//! The emulator: installing it, and one run of it with a limit.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use nix::unistd::geteuid;

use super::archive;
use crate::{console, process, workspace};

const PROGRAM: &str = "qemu-system-x86_64";
const PACKAGE: &str = "qemu-system-x86";
/// MiB of the machine: the programs are unpacked in it, and their maps want some.
const MEMORY: &str = "2048";

/// How the machine's processor is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Accel {
    /// In software: slow, and everywhere.
    Tcg,
    /// By this processor.
    Kvm,
}

/// A machine that is run once.
pub(super) struct Machine<'a> {
    pub(super) accel: Accel,
    pub(super) kernel: &'a Path,
    pub(super) initrd: &'a Path,
    /// More for the kernel's command line.
    pub(super) append: &'a str,
    pub(super) limit: Duration,
    /// Where what it said is kept.
    pub(super) log: std::path::PathBuf,
}

/// What a run came to.
pub(super) struct Said {
    /// What the first process and its programs wrote.
    pub(super) text: String,
    /// The end of what the kernel wrote.
    pub(super) console: String,
    /// It did not end by itself.
    pub(super) was_killed: bool,
}

/// Installs the emulator where it is missing, and never at the price of another package.
pub(super) fn emulator() -> Result<()> {
    if workspace::program(PROGRAM).is_some() {
        return Ok(());
    }
    if workspace::program("apt-get").is_none() || !geteuid().is_root() {
        bail!("`{PROGRAM}` is not installed; install Debian's `{PACKAGE}`, or its equivalent");
    }
    console::say(format!("installing {PACKAGE} (the emulator)"));
    let install = |options: &[String]| {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive").args(["-y", "-qq", "-o", "Dpkg::Use-Pty=0"]);
        for option in options {
            command.args(["-o", option]);
        }
        command.args(["install", "--no-install-recommends", "--no-remove"]);
        command
    };
    process::run(Command::new("apt-get").args(["update", "-qq"]))?;
    if process::run(install(&[]).arg(PACKAGE)).is_ok() {
        return Ok(());
    }
    // Tools of another version keep the release's emulator out: that of its backports is as new as they are.
    console::say("    not possible beside what is installed; trying the release's backports");
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
    let options = [
        format!("Dir::State::lists={}", at("lists")),
        format!("Dir::Cache={}", at("cache")),
        format!("Dir::Etc::sourcelist={}", at("sources.list")),
        format!("Dir::Etc::sourceparts={}", at("none")),
        "APT::Sandbox::User=root".to_owned(),
    ];
    let mut update = Command::new("apt-get");
    for option in &options {
        update.args(["-o", option]);
    }
    process::run(update.args(["update", "-qq"]))?;
    process::run(install(&options).args(["-t", &format!("{name}-backports"), PACKAGE]))
}

impl Machine<'_> {
    /// Boots it and waits for its end. One that dies before its first process is booted a second time.
    pub(super) fn run(&self) -> Result<Said> {
        let said = self.once()?;
        if said.text.contains("VM-START") || said.was_killed {
            return Ok(said);
        }
        console::begin("died before its first process, booting again … ");
        self.once()
    }

    fn once(&self) -> Result<Said> {
        let folder = tempfile::tempdir().context("cannot make a folder")?;
        let (lines, console) = (folder.path().join("lines"), folder.path().join("console"));
        let accel = match self.accel {
            Accel::Tcg => "tcg",
            Accel::Kvm => "kvm",
        };
        let append = format!(
            "console=ttyS0 quiet panic=-1 tsc=reliable no_timer_check cryptomgr.notests {}",
            self.append
        );
        let mut command = Command::new(PROGRAM);
        command.args(["-accel", accel, "-cpu", "max", "-machine", "q35", "-m", MEMORY, "-smp", "2"]);
        command.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
        command.arg("-serial").arg(format!("file:{}", console.display()));
        command.arg("-serial").arg(format!("file:{}", lines.display()));
        command.arg("-kernel").arg(self.kernel).arg("-initrd").arg(self.initrd);
        command.args(["-append", &append]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).process_group(0);
        command.stderr(File::create(folder.path().join("complaints"))?);
        let mut child = command.spawn().with_context(|| format!("cannot run `{PROGRAM}`"))?;
        let status = process::wait(&mut child, self.limit)?;
        let read = |path: &Path| {
            let bytes = fs::read(path).unwrap_or_default();
            String::from_utf8_lossy(&bytes).replace('\r', "")
        };
        let (text, console) = (read(&lines), read(&console));
        let complaints = read(&folder.path().join("complaints"));
        fs::write(&self.log, format!("{complaints}{console}\n--- what ran\n{text}"))
            .with_context(|| format!("cannot write `{}`", self.log.display()))?;
        if text.is_empty() && !complaints.is_empty() {
            bail!("{PROGRAM}: {}", complaints.trim());
        }
        Ok(Said { text, console: tail(&console), was_killed: status.is_none() })
    }
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.trim_end().lines().collect();
    lines.get(lines.len().saturating_sub(8)..).unwrap_or_default().join("\n    ")
}
