//! Writing lines to a file descriptor whole: interruptions are retried, a descriptor that would block is waited
//! for, and a line torn by a failure is closed before the next one.

use std::{
    fs::File,
    io::{self, Write},
    os::fd::{AsFd, BorrowedFd},
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// A descriptor that lines are written to.
#[derive(Debug)]
pub struct LineFile {
    file: File,
    /// The last write ended inside a line.
    torn: bool,
}

impl LineFile {
    /// Takes the descriptor over.
    pub const fn new(file: File) -> Self {
        Self { file, torn: false }
    }

    /// Writes all lines or fails.
    pub fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        if self.torn {
            write_all(&mut self.file, b"\n").map_err(|(_, error)| error)?;
            self.torn = false;
        }
        write_all(&mut self.file, lines).map_err(|(written, error)| {
            self.torn = written > 0 && lines.get(written - 1) != Some(&b'\n');
            error
        })
    }

    /// Whether the other end of a pipe or socket is gone.
    pub fn is_hung_up(&self) -> bool {
        let mut polled = [PollFd::new(self.file.as_fd(), PollFlags::POLLOUT)];
        // An error of `poll` itself says nothing about the descriptor; the next write will.
        poll(&mut polled, PollTimeout::ZERO).is_ok()
            && polled.iter().any(|one| {
                one.revents().is_some_and(|seen| seen.intersects(PollFlags::POLLERR | PollFlags::POLLNVAL))
            })
    }
}

/// On failure, how much was written and why not more.
fn write_all(file: &mut File, mut bytes: &[u8]) -> Result<(), (usize, io::Error)> {
    let total = bytes.len();
    while !bytes.is_empty() {
        let written = total - bytes.len();
        match file.write(bytes) {
            Ok(0) => return Err((written, io::ErrorKind::WriteZero.into())),
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Somebody made the shared descriptor non-blocking; wait for room as a blocking one would.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                wait_writable(file.as_fd()).map_err(|error| (written, error))?;
            }
            Err(error) => return Err((written, error)),
        }
    }
    Ok(())
}

fn wait_writable(fd: BorrowedFd<'_>) -> io::Result<()> {
    let mut polled = [PollFd::new(fd, PollFlags::POLLOUT)];
    match poll(&mut polled, PollTimeout::NONE) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Read, thread};

    use nix::fcntl::{FcntlArg, OFlag, fcntl};

    use super::*;

    #[test]
    fn a_full_disk_is_an_error_and_a_closed_pipe_hangs_up() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let error = LineFile::new(full).write(b"line\n").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        let (reader, writer) = io::pipe().unwrap();
        let mut file = LineFile::new(File::from(std::os::fd::OwnedFd::from(writer)));
        assert!(!file.is_hung_up());
        drop(reader);
        assert!(file.is_hung_up());
        assert_eq!(file.write(b"x\n").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn a_descriptor_that_would_block_gets_everything_in_the_end() {
        let (mut reader, writer) = io::pipe().unwrap();
        fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
        let lines = vec![b'x'; 1 << 20];
        let read = thread::spawn(move || {
            let mut all = Vec::new();
            reader.read_to_end(&mut all).unwrap();
            all.len()
        });
        let mut file = LineFile::new(File::from(std::os::fd::OwnedFd::from(writer)));
        file.write(&lines).unwrap();
        drop(file);
        assert_eq!(read.join().unwrap(), 1 << 20);
    }

    #[test]
    fn a_torn_line_is_closed_before_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        let mut file = LineFile { file: File::create(&path).unwrap(), torn: true };
        file.write(b"next\n").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"\nnext\n");
    }
}
