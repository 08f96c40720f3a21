//! The way out: signals become requests, and the shutdown has a grace limit.
//!
//! Order of the shutdown, carried out by `app`: stop intake, drain the engine, close the outputs, detach the
//! programs. Must never skip a phase to save time; when the grace is over, the process ends with an error.

use std::{
    io,
    time::{Duration, Instant},
};

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// End (SIGTERM, SIGINT).
    Stop,
    /// Load configuration and rules anew (SIGHUP).
    Reload,
    /// Open output files anew (SIGUSR1).
    Reopen,
}

/// The signals the agent listens to.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    user: Signal,
}

impl Signals {
    /// Takes the signals over from their default action.
    pub fn install() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            user: signal(SignalKind::user_defined1())?,
        })
    }

    /// The next request. Cancel safe.
    pub async fn next(&mut self) -> Request {
        tokio::select! {
            _ = self.terminate.recv() => Request::Stop,
            _ = self.interrupt.recv() => Request::Stop,
            _ = self.hangup.recv() => Request::Reload,
            _ = self.user.recv() => Request::Reopen,
        }
    }

    /// Resolves when a stop is asked for once more after the first had its time to work; other requests are
    /// dropped. Cancel safe.
    ///
    /// A terminal, `timeout` and many supervisors send their signal twice in a row without meaning more by it.
    pub async fn stop_again(&mut self) {
        let first = Instant::now();
        while self.next().await != Request::Stop || first.elapsed() < AGAIN {}
    }
}

/// Time after which a second request to stop is meant as "at once".
const AGAIN: Duration = Duration::from_secs(1);

/// A phase of the shutdown, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The programs stop sending and what is in the ring is evaluated.
    Engine,
    /// The outputs write what waits.
    Outputs,
    /// The HTTP server ends.
    Admin,
}

impl Phase {
    /// Word for people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Engine => "draining the engine",
            Self::Outputs => "writing the last alerts",
            Self::Admin => "closing the HTTP server",
        }
    }
}

/// The time left for the shutdown.
#[derive(Clone, Copy, Debug)]
pub struct Grace {
    end: Instant,
}

impl Grace {
    /// Starts the clock.
    pub fn start(limit: Duration) -> Self {
        Self { end: Instant::now() + limit }
    }

    /// What is left.
    pub fn left(&self) -> Duration {
        self.end.saturating_duration_since(Instant::now())
    }
}
