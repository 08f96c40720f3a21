//! `rampart man`: manual pages from the same table as the help, for those who pack the program.

use std::{io, path::PathBuf};

use clap::{Args, CommandFactory};

use super::{Cli, Outcome};

#[derive(Args, Clone, Debug)]
pub(super) struct Arguments {
    /// The folder that they are written to
    folder: PathBuf,
}

pub(super) fn run(arguments: &Arguments) -> io::Result<Outcome> {
    clap_mangen::generate_to(Cli::command(), &arguments.folder)?;
    Ok(Outcome::Clean)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn every_command_has_a_page() {
        let folder = tempfile::tempdir().unwrap();
        run(&Arguments { folder: folder.path().to_owned() }).unwrap();
        for name in ["rampart.1", "rampart-run.1", "rampart-doctor.1"] {
            let text = fs::read_to_string(folder.path().join(name)).unwrap();
            assert!(text.contains(".SH NAME"), "{name}: {text}");
        }
        assert!(run(&Arguments { folder: folder.path().join("none") }).is_err());
    }
}
