//! A file that alerts are appended to. It is opened anew after a failure and on SIGUSR1 (log rotation).

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
};

use super::{Output, OutputError, descriptor::LineFile};
use crate::config::Format;

/// The file.
#[derive(Debug)]
pub struct AppendFile {
    path: PathBuf,
    format: Format,
    file: Option<LineFile>,
}

impl AppendFile {
    /// Opens nothing yet.
    pub const fn new(path: PathBuf, format: Format) -> Self {
        Self { path, format, file: None }
    }

    fn opened(&mut self) -> Result<&mut LineFile, OutputError> {
        let file = match self.file.take() {
            Some(file) => file,
            None => LineFile::new(self.open()?),
        };
        Ok(self.file.insert(file))
    }

    fn open(&self) -> Result<File, OutputError> {
        // Alerts name files and arguments of every user: for the owner only.
        let opened = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.path);
        opened.map_err(|source| OutputError::Io { operation: "open", target: self.target(), source })
    }

    fn target(&self) -> String {
        format!("`{}`", self.path.display())
    }
}

impl Output for AppendFile {
    fn name(&self) -> &'static str {
        "file"
    }

    fn format(&self) -> Format {
        self.format
    }

    fn check(&mut self) -> Result<(), OutputError> {
        self.opened().map(|_| ())
    }

    fn write(&mut self, lines: &[u8]) -> Result<(), OutputError> {
        let target = self.target();
        self.opened()?.write(lines).map_err(|source| OutputError::Io { operation: "write", target, source })
    }

    fn reopen(&mut self) -> Result<bool, OutputError> {
        self.file = None;
        self.check().map(|()| true)
    }
}
