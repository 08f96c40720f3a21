//! `/alerts/stream` and `/timeline/stream`: server-sent events. A client that comes back says what it saw last and gets what it
//! missed. A feed ends with the token that it was asked with.

use std::{collections::VecDeque, convert::Infallible, future::pending, sync::Arc, time::Duration};

use axum::{
    Extension,
    extract::{Query, State, rejection::QueryRejection},
    http::{HeaderMap, StatusCode},
    response::{
        IntoResponse, Response, Sse,
        sse::{Event, KeepAlive},
    },
};
use futures_util::{Stream, stream};
use tokio::{
    sync::{
        broadcast::{self, error::RecvError},
        watch,
    },
    time::sleep,
};

use super::{
    alerts::{Asked, shown},
    door, fault,
};
use crate::{
    alert::{Filter, Stored},
    identity::{
        access::{Access, Caller, Role, now_secs},
        revoked::Watch,
    },
    views::{PAGE_MAX, Views},
};

struct Feed {
    views: Arc<Views>,
    filter: Filter,
    live: broadcast::Receiver<Arc<Stored>>,
    stop: watch::Receiver<bool>,
    /// Number of the last alert the client saw.
    last: Option<u64>,
    /// Whether the store may have some that it missed.
    is_behind: bool,
    ready: VecDeque<Arc<Stored>>,
    /// Name of the events, and what is in them.
    show: (&'static str, fn(&Stored) -> String),
    pass: Pass,
}

/// What let somebody in.
pub(super) struct Pass {
    access: Arc<Access>,
    token: Option<String>,
    /// When the token ends, seconds since the epoch; `None` where nobody is asked who they are.
    ends: Option<u64>,
    revoked: Watch,
}

impl Pass {
    pub(super) fn new(access: &Arc<Access>, caller: Caller, headers: &HeaderMap) -> Self {
        Self {
            token: door::token(headers).map(str::to_owned),
            ends: caller.token.map(|(_, ends)| ends),
            revoked: access.revoked.clone(),
            access: Arc::clone(access),
        }
    }

    /// Waits until it is good no more.
    async fn ended(&mut self) {
        let Some(ends) = self.ends else { return pending().await };
        while self.access.check(self.token.as_deref(), Role::Viewer).is_ok() {
            let left = Duration::from_secs(ends.saturating_sub(now_secs()).max(1));
            tokio::select! {
                () = sleep(left) => {}
                Ok(()) = self.revoked.changed() => {}
            }
        }
    }
}

pub(super) async fn stream(
    State(views): State<Arc<Views>>,
    Extension(access): Extension<Arc<Access>>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Response {
    let pass = Pass::new(&access, caller, &headers);
    streamed(views, pass, &headers, asked, ("alert", shown))
}

/// A feed of what was asked for.
pub(super) fn streamed(
    views: Arc<Views>,
    pass: Pass,
    headers: &HeaderMap,
    asked: Result<Query<Asked>, QueryRejection>,
    show: (&'static str, fn(&Stored) -> String),
) -> Response {
    let filter = match asked.map_err(|error| error.body_text()).and_then(|Query(asked)| asked.filter()) {
        Ok(filter) => filter,
        Err(problem) => return fault(StatusCode::BAD_REQUEST, &problem),
    };
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()).and_then(|id| id.parse().ok());
    let (live, stop) = (views.ingest.watch(), views.stop.clone());
    let feed = Feed {
        views,
        filter,
        live,
        stop,
        last,
        is_behind: last.is_some(),
        ready: VecDeque::new(),
        show,
        pass,
    };
    Sse::new(events(feed)).keep_alive(KeepAlive::default()).into_response()
}

fn events(feed: Feed) -> impl Stream<Item = Result<Event, Infallible>> {
    stream::unfold(feed, |mut feed| async { feed.next().await.map(|event| (Ok(event), feed)) })
}

impl Feed {
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(stored) = self.ready.pop_front() {
                self.last = Some(stored.number);
                let (name, show) = self.show;
                let event = Event::default().id(stored.number.to_string()).event(name);
                return Some(event.data(show(&stored)));
            }
            if let Some(last) = self.last.filter(|_| self.is_behind) {
                let missed = self.views.alerts_after(self.filter.clone(), last).await.ok()?;
                self.is_behind = missed.len() >= PAGE_MAX;
                self.ready.extend(missed.into_iter().map(Arc::new));
                continue;
            }
            let heard = tokio::select! {
                heard = self.live.recv() => heard,
                _ = self.stop.wait_for(|stop| *stop) => return None,
                () = self.pass.ended() => return None,
            };
            match heard {
                Ok(stored) => {
                    let is_new = self.last.is_none_or(|last| stored.number > last);
                    if is_new && self.filter.accepts(&stored.node, &stored.alert) {
                        self.ready.push_back(stored);
                    }
                }
                Err(RecvError::Lagged(missed)) => {
                    self.views.metrics.feed_missed.inc_by(missed);
                    // Those it was too slow for are in the store.
                    self.is_behind = self.last.is_some();
                    return Some(Event::default().event("missed").data(missed.to_string()));
                }
                Err(RecvError::Closed) => return None,
            }
        }
    }
}
