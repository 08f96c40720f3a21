//! One run of the emulator with a limit.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use crate::arch::Arch;
use crate::{console, process};

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
    pub(super) arch: Arch,
    pub(super) emulator: &'a Path,
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

/// What differs between kinds of machines.
struct Board {
    machine: &'static str,
    processor: &'static str,
    /// The second serial line, which is for what is judged; the first is the kernel's console.
    second: &'static str,
    /// Its file in the machine.
    lines: &'static str,
    /// Where the console is, and what else the kernel is told.
    append: &'static str,
}

const fn board(arch: Arch) -> Board {
    match arch {
        Arch::Amd64 => Board {
            machine: "q35",
            processor: "max",
            second: "isa-serial,index=1",
            lines: "/dev/ttyS1",
            append: "console=ttyS0 tsc=reliable no_timer_check",
        },
        // A processor of servers that runs 32-bit programs too; with `max`, kernels before 5.12 do not boot.
        Arch::Arm64 => Board {
            machine: "virt",
            processor: "neoverse-n1",
            second: "pci-serial",
            lines: "/dev/ttyS0",
            append: "console=ttyAMA0",
        },
    }
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
        let board = board(self.arch);
        // What the kernel does not know goes into the environment of the first process.
        let append = format!(
            "{} quiet panic=-1 cryptomgr.notests lines={} {}",
            board.append, board.lines, self.append
        );
        let mut command = Command::new(self.emulator);
        command.args(["-accel", accel, "-cpu", board.processor, "-machine", board.machine]);
        command.args(["-m", MEMORY, "-smp", "2"]);
        command.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
        command.arg("-serial").arg(format!("file:{}", console.display()));
        command.arg("-chardev").arg(format!("file,id=lines,path={}", lines.display()));
        command.args(["-device", &format!("{},chardev=lines", board.second)]);
        command.arg("-kernel").arg(self.kernel).arg("-initrd").arg(self.initrd);
        command.args(["-append", &append]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).process_group(0);
        command.stderr(File::create(folder.path().join("complaints"))?);
        let mut child =
            command.spawn().with_context(|| format!("cannot run `{}`", self.emulator.display()))?;
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
            bail!("{}: {}", self.emulator.display(), complaints.trim());
        }
        Ok(Said { text, console: tail(&console), was_killed: status.is_none() })
    }
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.trim_end().lines().collect();
    lines.get(lines.len().saturating_sub(8)..).unwrap_or_default().join("\n    ")
}
