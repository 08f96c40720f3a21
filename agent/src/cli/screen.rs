//! The terminal while a live view is on it: put back as it was when the view ends, whatever the reason.

use std::{
    io::{self, IsTerminal, Read},
    os::fd::AsFd,
    time::{Duration, Instant},
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{SigSet, Signal},
        signalfd::{SfdFlags, SignalFd},
        termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr},
    },
};
use terminal_size::{Height, Width, terminal_size};

use super::print;

/// The other screen, without a cursor.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
/// The first screen again, with a cursor.
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
/// Size of a terminal that does not tell.
const SIZE: (usize, usize) = (80, 24);
/// Ctrl-C, which arrives as a key.
const INTERRUPT: u8 = 3;

/// See the module.
pub(super) struct Screen {
    /// How the keyboard was; `None` when there is none.
    keyboard: Option<Termios>,
    signals: SignalFd,
    before: SigSet,
}

/// Why a wait is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wake {
    /// The time is.
    Time,
    /// The view is to end.
    Quit,
    /// The terminal has another size.
    Resized,
    /// A key.
    Key(u8),
}

impl Screen {
    /// Takes the terminal.
    pub(super) fn enter() -> io::Result<Self> {
        let mut watched = SigSet::empty();
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGWINCH] {
            watched.add(signal);
        }
        // Before the terminal is changed: nothing may end the process without changing it back.
        let before = SigSet::thread_get_mask()?;
        watched.thread_block()?;
        let mut screen =
            Self { keyboard: None, signals: SignalFd::with_flags(&watched, SfdFlags::SFD_CLOEXEC)?, before };
        let input = io::stdin();
        if input.is_terminal() {
            let was = tcgetattr(&input)?;
            let mut keys = was.clone();
            keys.local_flags.remove(LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ISIG);
            tcsetattr(&input, SetArg::TCSANOW, &keys)?;
            screen.keyboard = Some(was);
        }
        print::data(ENTER)?;
        Ok(screen)
    }

    /// Shows lines made for a number of columns and rows.
    #[expect(clippy::unused_self, reason = "only who has taken the terminal may draw on it")]
    pub(super) fn draw(&self, lines: impl FnOnce(usize, usize) -> Vec<String>) -> io::Result<()> {
        let (columns, rows) = terminal_size()
            .map_or(SIZE, |(Width(columns), Height(rows))| (usize::from(columns), usize::from(rows)));
        print::data(&frame(&lines(columns, rows)))
    }

    /// Waits for a key, a signal or the end of the time.
    pub(super) fn wait(&self, time: Duration) -> io::Result<Wake> {
        let end = Instant::now() + time;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let timeout = PollTimeout::try_from(left.as_millis()).unwrap_or(PollTimeout::MAX);
            let input = io::stdin();
            let mut watched = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
            if self.keyboard.is_some() {
                watched.push(PollFd::new(input.as_fd(), PollFlags::POLLIN));
            }
            match poll(&mut watched, timeout) {
                Ok(0) if left.is_zero() || Instant::now() >= end => return Ok(Wake::Time),
                Ok(0) | Err(nix::errno::Errno::EINTR) => continue,
                Ok(_) => {}
                Err(error) => return Err(error.into()),
            }
            let has = |index: usize| watched.get(index).and_then(PollFd::any).unwrap_or(false);
            let (signalled, typed) = (has(0), has(1));
            if signalled && let Some(signal) = self.signals.read_signal()? {
                let resized = signal.ssi_signo == Signal::SIGWINCH as u32;
                return Ok(if resized { Wake::Resized } else { Wake::Quit });
            }
            if typed {
                let mut key = [0];
                // A terminal that is gone has no more to type.
                return Ok(match io::stdin().read(&mut key)? {
                    0 => Wake::Quit,
                    _ => meaning(key),
                });
            }
        }
    }
}

fn meaning([key]: [u8; 1]) -> Wake {
    if matches!(key, b'q' | b'Q' | INTERRUPT) { Wake::Quit } else { Wake::Key(key) }
}

/// Lines over what was there before, each cleared to its end, and everything below.
fn frame(lines: &[String]) -> String {
    format!("\x1b[H{}\x1b[K\x1b[J", lines.join("\x1b[K\n"))
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that is gone cannot be put back.
        let _ = print::data(LEAVE);
        if let Some(was) = &self.keyboard {
            let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, was);
        }
        let _ = self.before.thread_set_mask();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn q_and_an_interrupt_end_the_view() {
        assert_eq!([b"q", b"Q", b"\x03"].map(|key| meaning(*key)), [Wake::Quit; 3]);
        assert_eq!(meaning(*b"t"), Wake::Key(b't'));
    }

    #[test]
    fn a_frame_leaves_nothing_of_the_one_before() {
        assert_eq!(frame(&["a".to_owned(), "b".to_owned()]), "\x1b[Ha\x1b[K\nb\x1b[K\x1b[J");
    }
}
