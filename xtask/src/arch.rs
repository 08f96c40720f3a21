//! Machines that binaries are built for: this one, or another one by a cross compiler and emulation.

use std::path::Path;
use std::process::Command;

use clap::ValueEnum;

/// A kind of machine, by Debian's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Arch {
    /// x86-64.
    Amd64,
    /// 64-bit Arm.
    Arm64,
}

impl Arch {
    /// All of them.
    pub(crate) const ALL: [Self; 2] = [Self::Amd64, Self::Arm64];
    /// This machine's.
    pub(crate) const OWN: Self = if cfg!(target_arch = "aarch64") { Self::Arm64 } else { Self::Amd64 };

    /// Whether its programs run here as they are.
    pub(crate) fn is_own(self) -> bool {
        self == Self::OWN
    }

    /// As Debian names it.
    pub(crate) const fn debian(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// As the kernel and Rust name it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64",
            Self::Arm64 => "aarch64",
        }
    }

    /// Rust's target.
    pub(crate) fn target(self) -> String {
        format!("{}-unknown-linux-gnu", self.name())
    }

    /// A tool of its compiler, such as `strip`.
    pub(crate) fn tool(self, name: &str) -> String {
        if self.is_own() { name.to_owned() } else { format!("{}-linux-gnu-{name}", self.name()) }
    }

    /// Debian packages that build for it and run what is built.
    pub(crate) const fn packages(self) -> [&'static str; 3] {
        match self {
            Self::Amd64 => ["gcc-x86-64-linux-gnu", "libc6-dev-amd64-cross", "qemu-user-static"],
            Self::Arm64 => ["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross", "qemu-user-static"],
        }
    }

    /// A command that runs one of its programs.
    pub(crate) fn run(self, program: &Path) -> Command {
        if self.is_own() {
            return Command::new(program);
        }
        let mut command = Command::new(format!("qemu-{}-static", self.name()));
        command.arg(program);
        command
    }
}
