//! The agent's own program as a child, with the configuration that it has itself.

use std::{
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Command, Stdio},
};

/// A command of this program; also when its file was replaced meanwhile.
pub fn command(config_file: &Path, words: &[&str]) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("rampart").args(words);
    if config_file.exists() {
        command.arg("--config").arg(config_file);
    }
    command.stdin(Stdio::null());
    command
}
