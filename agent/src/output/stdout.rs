//! Standard output.

use std::{fs::File, io, os::fd::AsFd};

use super::{Output, OutputError, descriptor::LineFile};
use crate::config::Format;

/// Standard output, written past the buffer of the standard library, whose lock a blocked write would hold.
#[derive(Debug)]
pub struct Stdout {
    file: Result<LineFile, io::ErrorKind>,
    format: Format,
    closed: bool,
}

impl Stdout {
    /// Standard output of this process.
    pub fn new(format: Format) -> Self {
        let file = io::stdout().as_fd().try_clone_to_owned();
        Self {
            file: file.map(|fd| LineFile::new(File::from(fd))).map_err(|error| error.kind()),
            format,
            closed: false,
        }
    }

    #[cfg(test)]
    pub(super) fn over(file: File, format: Format) -> Self {
        Self { file: Ok(LineFile::new(file)), format, closed: false }
    }

    fn closed() -> OutputError {
        OutputError::Closed { target: "standard output".to_owned() }
    }

    fn failed(source: io::Error) -> OutputError {
        OutputError::Io { operation: "write", target: "standard output".to_owned(), source }
    }
}

impl Output for Stdout {
    fn name(&self) -> &'static str {
        "stdout"
    }

    fn format(&self) -> Format {
        self.format
    }

    fn check(&mut self) -> Result<(), OutputError> {
        match &self.file {
            Ok(file) if file.is_hung_up() => Err(Self::closed()),
            Ok(_) => Ok(()),
            Err(kind) => Err(Self::failed((*kind).into())),
        }
    }

    fn write(&mut self, lines: &[u8]) -> Result<(), OutputError> {
        if self.closed {
            return Err(Self::closed());
        }
        let file = self.file.as_mut().map_err(|kind| Self::failed((*kind).into()))?;
        file.write(lines).map_err(|error| {
            if error.kind() == io::ErrorKind::BrokenPipe {
                self.closed = true;
                Self::closed()
            } else {
                Self::failed(error)
            }
        })
    }

    fn reopen(&mut self) -> Result<bool, OutputError> {
        Ok(false)
    }
}
