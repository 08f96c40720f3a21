//! Running other programs: bounded in time, with what they said kept for the error.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use crate::interrupt;

/// How often a running child is looked at; short enough not to be felt at the end of a command.
const POLL: Duration = Duration::from_millis(20);
/// Lines of a failed command's output that go into the error.
const TAIL_LINES: usize = 40;

/// What a bounded command did.
pub(crate) struct Finished {
    /// Its exit status; `None` when the limit ran out and it was killed.
    pub(crate) status: Option<ExitStatus>,
    /// Standard output and standard error, in the order they came on each.
    pub(crate) stdout: String,
    /// Standard error alone.
    pub(crate) stderr: String,
}

impl Finished {
    /// Whether it ended by itself with status 0.
    pub(crate) fn success(&self) -> bool {
        self.status.is_some_and(|status| status.success())
    }

    /// The last lines of what it said, for an error message.
    pub(crate) fn tail(&self) -> String {
        let text = if self.stderr.trim().is_empty() { &self.stdout } else { &self.stderr };
        let lines: Vec<&str> = text.trim_end().lines().collect();
        lines.get(lines.len().saturating_sub(TAIL_LINES)..).unwrap_or_default().join("\n")
    }
}

/// How a command reads when written down.
pub(crate) fn describe(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// Runs a command with the terminal's own streams; a non-zero end is an error.
///
/// It stays in this process group, so Ctrl-C reaches it too; a request to stop that came only here is passed on.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let text = describe(command);
    let mut child = command.spawn().with_context(|| format!("cannot run `{text}`"))?;
    let status = loop {
        if let Some(status) = child.try_wait().context("cannot wait for a child process")? {
            break status;
        }
        if interrupt::pending() {
            let _ = kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM);
            child.wait().context("cannot wait for a stopped child process")?;
            bail!("interrupted");
        }
        thread::sleep(POLL);
    };
    if !status.success() {
        bail!("`{text}` ended with {status}");
    }
    Ok(())
}

/// Standard output of a command that must succeed.
pub(crate) fn capture(command: &mut Command) -> Result<String> {
    let text = describe(command);
    let Output { status, stdout, stderr } =
        command.output().with_context(|| format!("cannot run `{text}`"))?;
    if !status.success() {
        bail!("`{text}` ended with {status}: {}", String::from_utf8_lossy(&stderr).trim());
    }
    Ok(String::from_utf8_lossy(&stdout).into_owned())
}

/// Runs a command quietly in its own process group and kills the group when `limit` runs out.
pub(crate) fn bounded(command: &mut Command, limit: Duration) -> Result<Finished> {
    let text = describe(command);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn().with_context(|| format!("cannot run `{text}`"))?;
    let stdout = child.stdout.take().map(reader);
    let stderr = child.stderr.take().map(reader);
    let status = wait(&mut child, limit)?;
    // What it left running would hold the pipes open.
    let _ = killpg(Pid::from_raw(child.id().cast_signed()), Signal::SIGKILL);
    let text_of = |handle: Option<thread::JoinHandle<Vec<u8>>>| {
        let bytes = handle.and_then(|handle| handle.join().ok()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    Ok(Finished { status, stdout: text_of(stdout), stderr: text_of(stderr) })
}

/// Waits for a child that leads its own process group; kills the group and returns `None` after `limit`.
///
/// When the user asks to stop meanwhile, the group is killed too and that is the error.
pub(crate) fn wait(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait().context("cannot wait for a child process")? {
            return Ok(Some(status));
        }
        let interrupted = interrupt::pending();
        if interrupted || Instant::now() >= deadline {
            // The group holds only what this child started; it may already be gone.
            let _ = killpg(Pid::from_raw(child.id().cast_signed()), Signal::SIGKILL);
            child.wait().context("cannot wait for a killed child process")?;
            if interrupted {
                bail!("interrupted");
            }
            return Ok(None);
        }
        thread::sleep(POLL);
    }
}

fn reader(mut source: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // A broken pipe ends the output like its end does; what was read is kept.
        drop(source.read_to_end(&mut bytes));
        bytes
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_hangs_is_killed_with_what_it_said() {
        let finished =
            bounded(Command::new("sh").args(["-c", "echo said; sleep 60"]), Duration::from_millis(300))
                .unwrap();
        assert!(finished.status.is_none());
        assert_eq!(finished.stdout, "said\n");
    }

    #[test]
    fn a_failed_command_is_named_in_the_error() {
        let error = capture(Command::new("sh").args(["-c", "echo why >&2; exit 3"])).unwrap_err().to_string();
        assert!(error.contains("sh -c"), "{error}");
        assert!(error.ends_with("why"), "{error}");
    }
}
