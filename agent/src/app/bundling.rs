//! Policy bundles while the agent runs: what the collector wants is checked, loaded like any reload, put in force, kept.
//!
//! Whatever goes wrong on the way, the bundle before it stays in force, and the reason goes to the collector with the next
//! heartbeat, into the status, the log and an alert.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        mpsc::{SyncSender, TrySendError},
    },
};

use rampart_rules::rule::Priority;
use tokio::sync::watch;

use super::{
    AppError, in_full,
    supervisor::{Supervisor, publish},
};
use crate::{
    alert::build::Internal,
    bundles::{
        Active, Bundle, BundleError, Digest, Offer, Refused, Standing,
        keep::{KeepError, Kept},
    },
    limits::plan::{PlanError, fit::fits},
    policy::reload::ReloadError,
};

/// Why a bundle is not put in force.
#[derive(Debug, thiserror::Error)]
enum TakeError {
    #[error("this node takes no bundles: `bundles.keys` is empty")]
    NoKeys,
    #[error(transparent)]
    Bundle(#[from] BundleError),
    #[error("the agent does not load with it: {0}")]
    Load(#[from] ReloadError),
    #[error("the rate limits of the node do not fit with it: {0}")]
    Limits(#[from] PlanError),
    #[error(transparent)]
    Keep(#[from] KeepError),
    #[error(transparent)]
    App(#[from] AppError),
}

/// What the supervisor needs for it.
pub(super) struct Bundling {
    offers: Option<watch::Receiver<Option<Offer>>>,
    notices: SyncSender<Internal>,
}

impl Bundling {
    pub(super) const fn new(
        offers: Option<watch::Receiver<Option<Offer>>>,
        notices: SyncSender<Internal>,
    ) -> Self {
        Self { offers, notices }
    }

    /// The next offer; never, without a collector.
    pub(super) async fn next(&mut self) -> Offer {
        loop {
            let Some(offers) = &mut self.offers else { std::future::pending().await };
            if offers.changed().await.is_err() {
                self.offers = None;
            } else if let Some(offer) = offers.borrow_and_update().clone() {
                return offer;
            }
        }
    }

    fn say(&self, what: &'static str, priority: Priority, message: String, digest: Option<Digest>) {
        let digest = digest.map(|digest| ("digest".to_owned(), digest.to_string().into()));
        let fields = BTreeMap::from_iter(digest);
        // Full policy: drop the newest. The detection thread takes them once a second, and the log has it.
        match self.notices.try_send(Internal { what, priority, message, fields }) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                tracing::warn!("An alert about a policy bundle was lost, too many wait");
            }
        }
    }
}

impl Supervisor {
    /// Does what an offer says, or keeps everything as it was and says why.
    pub(super) async fn take(&mut self, offer: Offer) {
        let standing = self.status.bundles.borrow().clone();
        let is_there = offer.digest == standing.digest();
        if is_there {
            // What was refused in between is wanted no more, and neither is a kept one that could not be used.
            if standing.fault.is_some() {
                if offer.digest.is_none()
                    && let Err(error) = Kept::new(self.reloader.bundles().dir.clone()).clear()
                {
                    tracing::warn!("A policy bundle that is not used cannot be removed: {error}");
                }
                self.status.bundles.send_replace(Standing { fault: None, ..standing });
            }
            return;
        }
        let outcome = match offer.digest {
            Some(digest) => self.switch(digest, &offer.content).await,
            None => self.leave().await.map(|unkept| (None, unkept)),
        };
        match outcome {
            Ok((active, unkept)) => {
                let name = active.as_ref().map(|active| active.name.clone());
                let message = name.map_or_else(
                    || "no policy bundle is in force any more, only the node's own files".to_owned(),
                    |name| format!("the policy bundle `{name}` is in force"),
                );
                tracing::info!(digest = ?offer.digest, "Policy: {message}");
                self.bundling.say("policy bundle in force", Priority::Notice, message, offer.digest);
                let fault = unkept.map(|error| {
                    let text = format!("it is in force, and the next start does not know it: {error}");
                    tracing::error!(digest = ?offer.digest, "A policy bundle is not kept: {text}");
                    Refused { digest: offer.digest, text }
                });
                self.status.bundles.send_replace(Standing { active, fault, ..standing });
            }
            Err(error) => {
                let text = in_full(&error);
                tracing::error!(digest = ?offer.digest, "A policy bundle is refused: {text}");
                let message = format!("a policy bundle is refused, what was in force stays: {text}");
                self.bundling.say("policy bundle refused", Priority::Error, message, offer.digest);
                let fault = Some(Refused { digest: offer.digest, text });
                self.status.bundles.send_replace(Standing { fault, ..standing });
            }
        }
    }

    async fn switch(
        &mut self,
        digest: Digest,
        content: &[u8],
    ) -> Result<(Option<Active>, Option<KeepError>), TakeError> {
        let settings = self.reloader.bundles().clone();
        if settings.keys.is_empty() {
            return Err(TakeError::NoKeys);
        }
        let bundle = Arc::new(Bundle::open(content, &settings.keys)?);
        if bundle.digest != digest {
            return Err(BundleError::Other.into());
        }
        let active = Active::now(&bundle);
        let reload = self.reloader.load_with(Some(bundle))?;
        // Their thread would say so too late to refuse it.
        fits(reload.written_limits())?;
        let kept = Kept::new(settings.dir);
        // Before it is in force: a disk that is full must not show only at the next start.
        kept.stage(content)?;
        let loaded = self.put_in_force(reload).await?;
        publish(&self.status, &loaded);
        Ok((Some(active), kept.commit().err()))
    }

    async fn leave(&mut self) -> Result<Option<KeepError>, TakeError> {
        let dir = self.reloader.bundles().dir.clone();
        let reload = self.reloader.load_with(None)?;
        let loaded = self.put_in_force(reload).await?;
        publish(&self.status, &loaded);
        Ok(Kept::new(dir).clear().err())
    }
}
