//! Distribution packages: what is there, and installing what is not with apt.

use std::cell::Cell;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use nix::unistd::geteuid;

use crate::{console, process, workspace};

/// What packages ask before they start a service; 101 is no.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Keeps packages from starting services while it lives.
struct Stopped {
    /// Whether the answer is ours to take away: one that was there stays in force.
    ours: bool,
}

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

    /// Installs packages without letting them start services.
    pub(super) fn install_stopped(&self, packages: &[&str], reason: &str) -> Result<()> {
        // Without root there is nothing to keep from starting: installing says what is wrong.
        let _stopped = if geteuid().is_root() { Some(Stopped::begin()?) } else { None };
        self.install(packages, reason)
    }
}

impl Stopped {
    fn begin() -> Result<Self> {
        let ours = !Path::new(POLICY).exists();
        let stopped = Self { ours };
        if ours {
            fs::write(POLICY, "#!/bin/sh\nexit 101\n").with_context(|| format!("cannot write `{POLICY}`"))?;
            fs::set_permissions(POLICY, Permissions::from_mode(0o755))
                .with_context(|| format!("cannot change `{POLICY}`"))?;
        }
        Ok(stopped)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        if self.ours {
            // One that somebody else took away already is as good.
            let _ = fs::remove_file(POLICY);
        }
    }
}

fn apt() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive").args(["-o", "Dpkg::Use-Pty=0"]);
    command
}
