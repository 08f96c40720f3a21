//! Distribution packages: what is there, and installing what is not with apt.

use std::cell::Cell;
use std::process::Command;

use anyhow::{Result, bail};
use nix::unistd::geteuid;

use crate::{console, process, workspace};

/// The machine's package manager, as far as this user may use it.
pub(super) struct Packages {
    /// Package lists are fetched at most once per run: a fresh machine has none, an old one has stale ones.
    refreshed: Cell<bool>,
}

impl Packages {
    pub(super) fn new() -> Self {
        Self { refreshed: Cell::new(false) }
    }

    /// Installs packages, each already installed one being left as it is.
    ///
    /// Without root or apt the error names the packages, so that a person can install them.
    pub(super) fn install(&self, packages: &[&str], reason: &str) -> Result<()> {
        let list = packages.join(" ");
        if workspace::program("apt-get").is_none() {
            bail!(
                "this machine has no apt-get; install the equivalents of these Debian packages by hand: {list} ({reason})"
            );
        }
        if !geteuid().is_root() {
            bail!(
                "only root may install packages; run `sudo apt-get install --no-install-recommends {list}` ({reason})"
            );
        }
        if !self.refreshed.replace(true) {
            console::say("    apt-get update (the package lists may be absent or stale)");
            process::run(apt().args(["update", "-qq"]))?;
        }
        console::say(format!("    apt-get install {list} ({reason})"));
        process::run(apt().args(["install", "-y", "-qq", "--no-install-recommends"]).args(packages))
    }
}

fn apt() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive").args(["-o", "Dpkg::Use-Pty=0"]);
    command
}
