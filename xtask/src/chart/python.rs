//! Helm's engine and the schemas of Kubernetes, as Python packages in an environment of their own below the tool cache.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::{console, process, toolchain, workspace};

/// Packages with their versions; another list is another environment.
const REQUIREMENTS: &str = include_str!("requirements.txt");
/// Downloading some 40 MB takes seconds; a network that is gone must not take for ever.
const LIMIT: Duration = Duration::from_mins(4);

/// An interpreter that has the packages.
pub(super) struct Python(PathBuf);

impl Python {
    /// The environment, made at its first use.
    pub(super) fn ready() -> Result<Self> {
        let number = REQUIREMENTS.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let folder = workspace::cache()?.join(format!("python-{number:016x}"));
        let program = folder.join("bin/python3");
        if folder.join("complete").is_file() && program.is_file() {
            return Ok(Self(program));
        }
        console::say("installing Helm's engine and Kubernetes' schemas (first use)");
        let _ = fs::remove_dir_all(&folder);
        environment(&folder)?;
        let list = folder.join("requirements.txt");
        fs::write(&list, REQUIREMENTS)?;
        let mut command = Command::new(&program);
        command.args([
            "-m",
            "pip",
            "--disable-pip-version-check",
            "install",
            "--quiet",
            "--only-binary",
            ":all:",
        ]);
        command.args(["--retries", "1", "--requirement"]).arg(&list);
        finish(&mut command)?;
        fs::write(folder.join("complete"), "")?;
        Ok(Self(program))
    }

    /// Runs a script on a text.
    pub(super) fn run(&self, script: &str, input: &str) -> Result<String> {
        let mut command = Command::new(&self.0);
        command.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context("cannot run Python")?;
        let mut stdin = child.stdin.take().context("Python has no standard input")?;
        stdin.write_all(input.as_bytes()).context("cannot speak to Python")?;
        drop(stdin);
        let output = child.wait_with_output().context("cannot wait for Python")?;
        if !output.status.success() {
            bail!("the script failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// An empty environment; what Debian needs for it is installed where it is missing.
fn environment(folder: &Path) -> Result<()> {
    let make = || {
        let mut command = Command::new("python3");
        command.args(["-m", "venv"]).arg(folder);
        finish(&mut command)
    };
    if make().is_ok() {
        return Ok(());
    }
    toolchain::python_environments()?;
    let _ = fs::remove_dir_all(folder);
    make()
}

fn finish(command: &mut Command) -> Result<()> {
    let text = process::describe(command);
    let finished = process::bounded(command, LIMIT)?;
    if finished.success() { Ok(()) } else { bail!("`{text}` failed: {}", finished.tail()) }
}
