//! `/dashboard/events`: what the dashboard shows, as server-sent events.
//!
//! One task makes the state for all clients, and only while there are any. A client that is slow skips states; alerts are
//! taken from the ring of recent ones, and what it was too slow for is counted to it. So a client holds one state and one
//! ring of alerts at most, there are never more than [`CLIENTS`], and one that takes nothing is closed (`patience`).

use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode, header::RETRY_AFTER},
    response::{IntoResponse, Response, Sse, sse::Event},
};
use futures_util::{Stream, stream};
use serde_json::{Value, json};
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore, watch},
    time::{MissedTickBehavior, interval, sleep, timeout},
};

use super::{alerts, dashboard};
use crate::{
    limits::desk::{Ask, Desk},
    telemetry::{recent::Kept, status::Status},
};

/// Most clients at a time.
pub(super) const CLIENTS: usize = 16;
/// Time between two states.
const TICK: Duration = Duration::from_millis(500);
/// Time between two questions for the heaviest sources, and for the answer.
const TOP: Duration = Duration::from_secs(2);
/// What a client is told to wait before it connects again.
const RETRY: Duration = Duration::from_secs(2);

/// The feed of all clients.
pub(super) struct Live {
    status: Arc<Status>,
    limits: Option<Desk>,
    stop: watch::Receiver<bool>,
    states: watch::Sender<Arc<str>>,
    /// A client has come.
    wanted: Notify,
    slots: Arc<Semaphore>,
    /// The heaviest sources, as the limiter last said.
    top: Mutex<Value>,
    /// Names this run of the agent, so that nobody takes its numbers for those of another.
    run: u64,
}

/// What a client has got.
struct Client {
    live: Arc<Live>,
    states: watch::Receiver<Arc<str>>,
    /// Number of its last alert.
    last: u64,
    /// What it gets next, in this order.
    first: Option<Event>,
    alerts: VecDeque<Kept>,
    state: Option<Arc<str>>,
    _slot: OwnedSemaphorePermit,
}

pub(super) async fn events(State(live): State<Arc<Live>>, headers: HeaderMap) -> Response {
    let Ok(slot) = Arc::clone(&live.slots).try_acquire_owned() else {
        let body = Json(json!({ "error": format!("{CLIENTS} clients listen already") }));
        return (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "5")], body).into_response();
    };
    let seen = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let last = seen.and_then(|id| live.seen(id)).unwrap_or(0);
    let hello = json!({ "run": live.run.to_string(), "version": env!("CARGO_PKG_VERSION") });
    let hello = Event::default().retry(RETRY).event("hello").data(hello.to_string());
    // What was made for clients of before is old, and not sent.
    let states = live.states.subscribe();
    live.wanted.notify_one();
    let client =
        Client { live, states, last, first: Some(hello), alerts: VecDeque::new(), state: None, _slot: slot };
    Sse::new(client.stream()).into_response()
}

impl Live {
    pub(super) fn new(status: Arc<Status>, limits: Option<Desk>, stop: watch::Receiver<bool>) -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self {
            status,
            limits,
            stop,
            states: watch::Sender::new("".into()),
            wanted: Notify::new(),
            slots: Arc::new(Semaphore::new(CLIENTS)),
            top: Mutex::default(),
            run: since.as_millis() as u64,
        }
    }

    /// Makes states until the server stops.
    pub(super) async fn run(&self) {
        let mut stop = self.stop.clone();
        tokio::select! {
            () = self.make() => {}
            () = self.ask() => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
    }

    async fn make(&self) {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if self.states.is_closed() {
                self.wanted.notified().await;
            } else {
                tick.tick().await;
            }
            let top = self.top.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let state = dashboard::state(&self.status, top).to_string();
            self.states.send_replace(state.into());
        }
    }

    /// Asks who is over the limits most; the limiter's thread may take its time.
    async fn ask(&self) {
        let Some(limits) = &self.limits else { return std::future::pending().await };
        loop {
            sleep(TOP).await;
            if !self.states.is_closed()
                && let Ok(Ok(top)) = timeout(TOP, limits.ask(Ask::Top)).await
            {
                *self.top.lock().unwrap_or_else(PoisonError::into_inner) = top;
            }
        }
    }

    /// Number of the last alert that a client saw of this run.
    fn seen(&self, id: &str) -> Option<u64> {
        let (run, number) = id.split_once('-')?;
        (run.parse() == Ok(self.run)).then(|| number.parse().ok()).flatten()
    }
}

impl Client {
    fn stream(self) -> impl Stream<Item = Result<Event, Infallible>> {
        stream::unfold(self, |mut client| async { client.next().await.map(|event| (Ok(event), client)) })
    }

    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.first.take() {
                return Some(event);
            }
            if let Some(kept) = self.alerts.pop_front() {
                let id = format!("{}-{}", self.live.run, kept.number);
                return Some(Event::default().event("alert").id(id).data(alerts::shown(&kept)));
            }
            if let Some(state) = self.state.take() {
                return Some(Event::default().event("state").data(&*state));
            }
            let mut stop = self.live.stop.clone();
            tokio::select! {
                changed = self.states.changed() => changed.ok()?,
                _ = stop.wait_for(|stop| *stop) => return None,
            }
            self.state = Some(Arc::clone(&self.states.borrow_and_update()));
            self.look();
        }
    }

    /// Takes the alerts that are new, and notes how many came too fast for this client.
    fn look(&mut self) {
        self.alerts = self.live.status.recent.after(self.last).into();
        let (Some(oldest), Some(newest)) = (self.alerts.front(), self.alerts.back()) else { return };
        // Whoever has seen none missed none.
        let missed = if self.last == 0 { 0 } else { oldest.number.saturating_sub(self.last + 1) };
        if missed > 0 {
            self.first = Some(Event::default().event("missed").data(missed.to_string()));
        }
        self.last = newest.number;
    }
}
