//! The way to a thread that alone owns something: commands that do not wait, and questions that wait for an answer.
//!
//! Knows nothing of what is asked. Must never block the asker's thread. Called by `limits` and `services`.

use std::{
    sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    time::Duration,
};

use tokio::{sync::oneshot, time::timeout};

/// Time for an answer: a publish of full tables takes most of a second, and the thread may be in the middle of one.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why a question has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// The thread does not run.
    Off,
    /// It has no room for the question, or no time.
    Busy,
}

/// The asker's end.
#[derive(Debug)]
pub struct Desk<C>(SyncSender<C>);

impl<C> Clone for Desk<C> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// Both ends, with room for so many commands on their way.
pub fn desk<C>(commands: usize) -> (Desk<C>, Receiver<C>) {
    let (sender, received) = sync_channel(commands);
    (Desk(sender), received)
}

impl<C> Desk<C> {
    /// Tells without waiting. False when the thread does not take it.
    pub fn tell(&self, command: C) -> bool {
        self.0.try_send(command).is_ok()
    }

    /// Asks by a command that carries the way back, and waits for the answer. Full policy: refuse.
    pub async fn put<A, E: From<Unanswered>>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<A, E>>) -> C,
    ) -> Result<A, E> {
        let (sender, answer) = oneshot::channel();
        match self.0.try_send(command(sender)) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => return Err(Unanswered::Busy.into()),
            Err(TrySendError::Disconnected(_)) => return Err(Unanswered::Off.into()),
        }
        match timeout(PATIENCE, answer).await {
            Ok(Ok(answer)) => answer,
            // The thread dropped the question: it does not run.
            Ok(Err(_)) => Err(Unanswered::Off.into()),
            Err(_) => Err(Unanswered::Busy.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Way = oneshot::Sender<Result<u32, Unanswered>>;

    #[tokio::test]
    async fn a_thread_that_answers_drops_is_full_or_is_gone_is_told_apart() {
        let (asker, received) = desk::<Way>(1);
        let clerk = std::thread::spawn(move || {
            received.recv().unwrap().send(Ok(7)).unwrap();
            drop(received.recv().unwrap());
            received
        });
        assert_eq!(asker.put(|way| way).await, Ok(7));
        assert_eq!(asker.put(|way| way).await, Err(Unanswered::Off), "it drops the question");
        let received = clerk.join().unwrap();
        assert!(asker.tell(oneshot::channel().0));
        assert_eq!(asker.clone().put(|way| way).await, Err(Unanswered::Busy), "one lies there still");
        drop(received);
        assert_eq!(asker.put(|way| way).await, Err(Unanswered::Off));
        assert!(!asker.tell(oneshot::channel().0));
    }
}
