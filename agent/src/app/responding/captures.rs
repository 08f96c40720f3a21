//! Captures: the agent's own binary records for a while, beside it, one at a time; the oldest recordings make room.

use std::{
    path::{Path, PathBuf},
    process::{Child, Stdio},
};

use jiff::Timestamp;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{captures, own};

/// A capture has at most this part of the room for all.
const SHARE: u64 = 4;

/// See the module.
pub(super) struct Captures {
    directory: PathBuf,
    config_file: PathBuf,
    running: Option<(Child, PathBuf)>,
}

impl Captures {
    pub(super) fn new(state_dir: &Path, config_file: &Path) -> Self {
        Self {
            directory: state_dir.join(captures::DIRECTORY),
            config_file: config_file.to_owned(),
            running: None,
        }
    }

    /// Starts one; gives its file, or that of the one that runs.
    pub(super) fn start(&mut self, ms: u64, room: u64) -> Result<PathBuf, String> {
        self.look();
        if let Some((_, file)) = &self.running {
            return Ok(file.clone());
        }
        let share = (room / SHARE).max(1);
        captures::make_room(&self.directory, room.saturating_sub(share))?;
        let name = format!("{}.{}", captures::stamp(Timestamp::now()), captures::EXTENSION);
        let file = self.directory.join(name);
        let mut command = own::command(&self.config_file, &["record"]);
        command.arg("--output").arg(&file);
        command.arg("--duration").arg(format!("{ms}ms")).arg("--max-bytes").arg(share.to_string());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().map_err(|error| format!("cannot start the recorder: {error}"))?;
        self.running = Some((child, file.clone()));
        Ok(file)
    }

    /// The one that has ended since the last look, and how.
    pub(super) fn look(&mut self) -> Option<(PathBuf, String)> {
        let (child, _) = self.running.as_mut()?;
        let outcome = match child.try_wait() {
            Ok(None) => return None,
            Ok(Some(status)) => status.to_string(),
            Err(error) => error.to_string(),
        };
        self.running.take().map(|(_, file)| (file, outcome))
    }

    /// Ends the one that runs, as Ctrl-C would.
    pub(super) fn end(&mut self) {
        if let Some((mut child, _)) = self.running.take() {
            // It may have ended by itself.
            let _ = kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT);
            let _ = child.wait();
        }
    }
}
