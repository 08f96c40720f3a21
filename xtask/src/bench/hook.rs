//! A program that does nothing at the end of every system call: what it costs is the kernel's part of what an agent costs.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

use super::example;

/// The program that attaches it.
pub(super) struct Hook {
    path: PathBuf,
}

/// It is attached as long as this value is there.
pub(super) struct Attached {
    child: Child,
}

impl Hook {
    /// Builds it, as the agent is built.
    pub(super) fn build(release: bool) -> Result<Self> {
        Ok(Self { path: example::build("hook", release)? })
    }

    /// Attaches it.
    pub(super) fn attach(&self) -> Result<Attached> {
        let mut command = Command::new(&self.path);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot run `{}`", self.path.display()))?;
        let output = child.stdout.take().context("the hook has no output")?;
        let attached = Attached { child };
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line).context("cannot hear the hook")?;
        if line.trim() != "ready" {
            bail!("the hook that does nothing was not attached");
        }
        Ok(attached)
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        // The end of its input is the end of it.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}
