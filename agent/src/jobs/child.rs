//! The agent's own binary as a child: bounded in time, what it says kept in files.

use std::{
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{CONTENT_MAX, Failed};

/// Time for a child to end in order.
const GRACE: Duration = Duration::from_secs(5);
/// Time between two looks at it.
const LOOK: Duration = Duration::from_millis(50);

/// What a child came to.
#[derive(Debug)]
pub(super) struct Ended {
    /// Exit code; `None` when a signal ended it.
    pub(super) code: Option<i32>,
    /// What it printed, the beginning.
    pub(super) output: Vec<u8>,
    /// What it said besides.
    pub(super) complaint: String,
}

/// Runs it in a folder that is there; `keep` is asked between looks whether to go on.
pub(super) fn run(
    mut command: Command,
    folder: &Path,
    end: Instant,
    mut keep: impl FnMut() -> Result<(), Failed>,
) -> Result<Ended, Failed> {
    let path = |name: &str| folder.join(name);
    let file = |path: PathBuf| {
        File::create(&path)
            .map_err(|error| Failed::now(format!("cannot write `{}`: {error}", path.display())))
    };
    command.stdout(file(path("stdout"))?).stderr(file(path("stderr"))?);
    let mut child =
        command.spawn().map_err(|error| Failed::now(format!("cannot start the work: {error}")))?;
    let stopped = loop {
        match child.try_wait() {
            Ok(Some(status)) => {
                let complaint = String::from_utf8_lossy(&head(&path("stderr"))).trim().to_owned();
                return Ok(Ended { code: status.code(), output: head(&path("stdout")), complaint });
            }
            Ok(None) => {}
            Err(error) => break Failed::now(format!("cannot wait for the work: {error}")),
        }
        if Instant::now() >= end {
            break Failed::now("it took longer than its lease");
        }
        if let Err(failed) = keep() {
            break failed;
        }
        thread::sleep(LOOK);
    };
    // As Ctrl-C would; it may have ended by itself.
    let _ = kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT);
    let limit = Instant::now() + GRACE;
    while matches!(child.try_wait(), Ok(None)) && Instant::now() < limit {
        thread::sleep(LOOK);
    }
    let _ = child.kill();
    let _ = child.wait();
    Err(stopped)
}

/// The beginning of a file, empty when there is none.
fn head(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Ok(file) = File::open(path) {
        // What came before a fault is of use too.
        let _ = file.take(CONTENT_MAX).read_to_end(&mut bytes);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(text: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", text]);
        command
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_mins(1)
    }

    #[test]
    fn what_a_child_says_and_how_it_ends_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let ended = run(shell("echo out; echo err >&2; exit 3"), dir.path(), soon(), || Ok(())).unwrap();
        assert_eq!((ended.code, &*ended.output, &*ended.complaint), (Some(3), b"out\n".as_slice(), "err"));
    }

    #[test]
    fn a_child_ends_when_it_is_told_to_or_its_time_is_over() {
        let dir = tempfile::tempdir().unwrap();
        let late = run(shell("sleep 100"), dir.path(), Instant::now(), || Ok(())).unwrap_err();
        assert!(late.reason.contains("lease"), "{late}");
        let gone = Failed::forever("not wanted");
        // It does not listen to SIGINT.
        let deaf = shell("trap '' INT; exec sleep 100");
        assert_eq!(run(deaf, dir.path(), soon(), || Err(gone.clone())).unwrap_err(), gone);
    }
}
