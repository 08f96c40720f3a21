//! What is looked after while the collector runs: alerts that are kept no longer, keys of tokens, items that have ended.

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, time::sleep};

use crate::{
    identity::{Records, access::now_secs, keys::Keys, revoked::Watch},
    ingest::{Ingest, now_ns},
    store::Retention,
    telemetry::Metrics,
};

/// Time between two looks for alerts that are kept no longer.
const TRIM: Duration = Duration::from_mins(1);
/// Time between two steps, in which alerts are stored.
const TRIM_STEP: Duration = Duration::from_millis(50);
/// Time between two looks for keys of tokens and identities that have ended.
const KEYS: Duration = Duration::from_secs(5);

/// Removes what is kept no longer, a little at a time.
pub(super) async fn trim(
    ingest: Ingest,
    metrics: Arc<Metrics>,
    retention: Retention,
    mut stop: watch::Receiver<bool>,
) {
    let mut pause = TRIM;
    loop {
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            () = sleep(pause) => {}
        }
        let removed = ingest.run(move |writer| writer.trim(&retention, now_ns())).await.unwrap_or(0);
        metrics.trimmed.inc_by(removed);
        pause = if removed > 0 { TRIM_STEP } else { TRIM };
    }
}

/// Looks after the keys of tokens, and forgets identities whose time is over.
pub(super) async fn keep(
    records: Records,
    keys: Option<Arc<Keys>>,
    revoked: Watch,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            () = sleep(KEYS) => {}
        }
        let (keys, revoked) = (keys.clone(), Arc::clone(&revoked.borrow()));
        let kept = records.run(move |book| {
            book.prune(now_ns())?;
            let Some(keys) = keys else { return Ok(()) };
            keys.renew(now_secs())?;
            if keys.newest().is_some_and(|key| revoked.has_key(&key.name)) {
                keys.rotate(now_secs())?;
            }
            keys.learn(book)
        });
        if let Err(error) = kept.await {
            tracing::error!("Keys and identities cannot be looked after: {error}");
        }
    }
}
