//! Captures: the agent's own binary records for a while, beside it, one at a time; the oldest recordings make room.

use std::{
    fs,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use jiff::Timestamp;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// Directory in `node.state_dir`.
const DIRECTORY: &str = "captures";
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
        Self { directory: state_dir.join(DIRECTORY), config_file: config_file.to_owned(), running: None }
    }

    /// Starts one; gives its file, or that of the one that runs.
    pub(super) fn start(&mut self, ms: u64, room: u64) -> Result<PathBuf, String> {
        self.look();
        if let Some((_, file)) = &self.running {
            return Ok(file.clone());
        }
        let share = (room / SHARE).max(1);
        let because = |what: &str, error: std::io::Error| format!("cannot {what}: {error}");
        fs::create_dir_all(&self.directory)
            .map_err(|error| because("make the directory of captures", error))?;
        prune(&self.directory, room.saturating_sub(share));
        let name = Timestamp::now().strftime("%Y%m%dT%H%M%S%.3fZ.rec").to_string();
        let file = self.directory.join(name);
        let mut command = Command::new("/proc/self/exe");
        command.arg0("rampart").arg("record").arg("--output").arg(&file);
        command.arg("--duration").arg(format!("{ms}ms")).arg("--max-bytes").arg(share.to_string());
        if self.config_file.exists() {
            command.arg("--config").arg(&self.config_file);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().map_err(|error| because("start the recorder", error))?;
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

/// Removes the oldest recordings until the rest has room.
fn prune(directory: &Path, room: u64) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    let mut files: Vec<(PathBuf, u64)> = entries
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "rec"))
        .filter_map(|path| fs::metadata(&path).ok().map(|meta| (path, meta.len())))
        .collect();
    // Their names are their times.
    files.sort();
    let mut total: u64 = files.iter().map(|(_, bytes)| bytes).sum();
    for (path, bytes) in files {
        if total <= room {
            return;
        }
        match fs::remove_file(&path) {
            Ok(()) => total -= bytes,
            Err(error) => tracing::warn!(path = %path.display(), "An old capture is not removed: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_recordings_make_room() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["20260101T000000.000Z.rec", "20260201T000000.000Z.rec", "20260301T000000.000Z.rec"] {
            fs::write(dir.path().join(name), [0; 100]).unwrap();
        }
        fs::write(dir.path().join("note.txt"), [0; 1000]).unwrap();
        prune(dir.path(), 250);
        let mut left: Vec<String> = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, ["20260201T000000.000Z.rec", "20260301T000000.000Z.rec", "note.txt"]);
        prune(dir.path(), 0);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
