//! What the verifier said about a refused program: kept for `rampart doctor`, forgotten once it accepts.

use std::{fs, io, path::Path};

use super::AppError;
use crate::{config::Config, kernel::KernelError};

/// Where the log of a refused program is kept, in the state directory or else in the runtime directory.
pub const VERIFIER_LOG: &str = "verifier.log";

/// Keeps the verifier's log where `rampart doctor` finds it.
pub(super) fn keep_log(error: KernelError, config: &Config) -> AppError {
    let Some(log) = error.verifier_log() else { return AppError::Kernel(error) };
    let write = |dir: &Path| {
        let path = dir.join(VERIFIER_LOG);
        fs::create_dir_all(dir).and_then(|()| fs::write(&path, format!("{error}\n{log}\n"))).map(|()| path)
    };
    match write(&config.node.state_dir).or_else(|_| write(&config.node.runtime_dir)) {
        Ok(path) => AppError::Verifier { error, path },
        Err(reason) => {
            // Better long than lost.
            tracing::error!("The verifier's log cannot be kept in a file ({reason}):\n{log}");
            AppError::Kernel(error)
        }
    }
}

/// Removes a log that an earlier start kept: the programs are accepted now.
pub(super) fn forget_log(config: &Config) {
    for dir in [&config.node.state_dir, &config.node.runtime_dir] {
        match fs::remove_file(dir.join(VERIFIER_LOG)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::debug!(%error, "An old verifier log stays");
            }
            _ => {}
        }
    }
}
