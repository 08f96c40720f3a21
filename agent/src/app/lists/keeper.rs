//! One list: when it is looked at, and what becomes of what is found.

use std::{
    io,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{task::spawn_blocking, time::sleep};

use super::{
    Desk,
    notices::{self, Told},
};
use crate::{
    app::in_full,
    config::{ListSource, RuleList},
    fetch::{self, FetchError, Fetched, Fetcher, Version, Wanted},
    lists::{self, Kept, Opened, copy, fence::Fence, parse},
    policy::{files, watch::Watch},
    retry::{Backoff, Budget, Retry},
    telemetry::lists::Outcome,
};

/// Time between two looks at a file; a change counts at the second look after it.
const LOOK: Duration = Duration::from_secs(1);
/// Bound of the first wait after a fault; it doubles up to the time between two looks.
const RETRY: Duration = Duration::from_secs(30);
/// Largest file of headers, bytes.
const HEADERS_MAX: usize = 64 << 10;
/// Longest time between two looks at the age.
const AGE: Duration = Duration::from_mins(1);

/// Why a list stays as it was.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error(transparent)]
    Parse(#[from] parse::Fault),
    #[error("it has no members any more, {0} before")]
    Emptied(usize),
    #[error("it cannot be read")]
    Read(#[source] io::Error),
    #[error("its copy cannot be written")]
    Copy(#[source] io::Error),
    #[error("the headers in `{path}` cannot be used: {why}")]
    Headers { path: String, why: String },
    #[error("{0}")]
    Node(String),
}

/// See the module.
pub(super) struct Keeper {
    name: String,
    list: Arc<RuleList>,
    desk: Desk,
    fetcher: Result<Fetcher, String>,
    retry: Retry,
    kept: Option<Kept>,
    is_stale: bool,
    told: Told,
}

impl Keeper {
    pub(super) fn new(
        name: String,
        list: RuleList,
        desk: Desk,
        fetcher: Result<Fetcher, String>,
        budget: Arc<Budget>,
    ) -> Self {
        let backoff = Backoff { first: RETRY.min(list.refresh), longest: list.refresh };
        let (list, retry) = (Arc::new(list), Retry::new(backoff, budget));
        Self { name, list, desk, fetcher, retry, kept: None, is_stale: false, told: Told::default() }
    }

    /// Keeps it. Never ends.
    pub(super) async fn run(mut self) {
        let source = self.list.source.clone();
        // Before it is opened: a change during that is then seen as one.
        let watch = match &source {
            ListSource::File(path) => Watch::new(files::stamps(std::slice::from_ref(path))),
            ListSource::Url(_) => Watch::new(Vec::new()),
        };
        let Opened { kept, fault } = self.open().await;
        self.kept = kept;
        self.stand(fault);
        match source {
            ListSource::Url(url) => self.follow(&url).await,
            ListSource::File(path) => self.watch(&path, watch).await,
        }
    }

    /// What makes the fence as it stands now; it reads files.
    fn fence(&self) -> impl FnOnce() -> Fence + use<> {
        let collector = self.desk.status.delivery().addresses;
        move || Fence::of_node(collector)
    }

    async fn open(&self) -> Opened {
        let (name, list, fence) = (self.name.clone(), Arc::clone(&self.list), self.fence());
        let opened = spawn_blocking(move || {
            let opened = lists::open(&name, &list, &fence());
            if let (ListSource::File(path), Some(_), None) = (&list.source, &opened.kept, &opened.fault)
                && let Ok((text, _)) = lists::text(path, list.max_bytes)
                && let Err(error) = copy::keep(&list, &Version::default(), &text)
            {
                tracing::warn!(list = name, "The copy of a list cannot be written: {error}");
            }
            opened
        });
        opened.await.unwrap_or_default()
    }

    /// Gets it again and again.
    async fn follow(&mut self, url: &str) {
        loop {
            let wait = match self.fetch(url).await {
                Ok(outcome) => {
                    self.retry.succeeded();
                    self.done(outcome);
                    self.list.refresh
                }
                Err(fault) => {
                    self.failed(&fault);
                    self.retry.failed()
                }
            };
            self.pause(wait).await;
        }
    }

    /// Reads it when it has changed and the change stands still.
    async fn watch(&mut self, path: &Path, mut watch: Watch) {
        let names = [path.to_owned()];
        let mut is_owed = false;
        loop {
            self.pause(LOOK).await;
            if !watch.look(files::stamps(&names)) && !is_owed {
                continue;
            }
            let (path, most) = (path.to_owned(), self.list.max_bytes);
            let text = spawn_blocking(move || lists::text(&path, most)).await;
            let text = text.unwrap_or_else(|error| Err(io::Error::other(error)));
            // A file that is not there now may be in the middle of being replaced.
            is_owed = text.is_err() && !is_owed;
            let taken = match text {
                Ok((text, confirmed)) => self.take(Version::default(), text, confirmed).await,
                Err(error) => Err(Fault::Read(error)),
            };
            match taken {
                Ok(outcome) => self.done(outcome),
                Err(fault) => self.failed(&fault),
            }
        }
    }

    /// Waits, and says meanwhile when it becomes too old.
    async fn pause(&mut self, mut wait: Duration) {
        loop {
            let age = if self.list.max_age.is_zero() { AGE } else { AGE.min(self.list.max_age) };
            let step = wait.min(age.max(LOOK));
            sleep(step).await;
            let is_stale = self.is_old();
            if is_stale != self.is_stale {
                self.stand(self.told.fault.clone());
            }
            wait = wait.saturating_sub(step);
            if wait.is_zero() {
                return;
            }
        }
    }

    fn is_old(&self) -> bool {
        let confirmed = self.kept.as_ref().map(|kept| kept.confirmed);
        confirmed.is_some_and(|confirmed| lists::is_stale(&self.list, confirmed, SystemTime::now()))
    }

    async fn fetch(&mut self, url: &str) -> Result<Outcome, Fault> {
        let fetcher = self.fetcher.as_ref().map_err(|why| Fault::Node(why.clone()))?;
        let headers = match &self.list.headers_file {
            None => None,
            Some(path) => {
                let fault = |why| Fault::Headers { path: path.display().to_string(), why };
                let (text, _) = lists::text(path, HEADERS_MAX).map_err(|error| fault(error.to_string()))?;
                Some(fetch::headers(&String::from_utf8_lossy(&text)).map_err(fault)?)
            }
        };
        let known = self.kept.as_ref().map(|kept| &kept.version);
        let wanted = Wanted { url, known, headers: headers.as_ref(), most: self.list.max_bytes };
        match fetcher.fetch(wanted).await? {
            Fetched::Same => {
                self.confirm()?;
                Ok(Outcome::Same)
            }
            Fetched::Text(text, version) => self.take(version, text.to_vec(), SystemTime::now()).await,
        }
    }

    fn confirm(&mut self) -> Result<(), Fault> {
        if let Some(kept) = &mut self.kept {
            copy::confirm(&self.list.copy).map_err(Fault::Copy)?;
            kept.confirmed = SystemTime::now();
        }
        Ok(())
    }

    /// Takes a text over, if it is a list.
    async fn take(
        &mut self,
        version: Version,
        text: Vec<u8>,
        confirmed: SystemTime,
    ) -> Result<Outcome, Fault> {
        let (name, list, before) = (self.name.clone(), Arc::clone(&self.list), self.members());
        let fence = self.fence();
        let taken = spawn_blocking(move || {
            let is_file = matches!(list.source, ListSource::File(_));
            if is_file && lists::is_blank(&text) {
                return Err(Fault::Node(lists::BLANK.to_owned()));
            }
            let parsed = parse::parse(&name, &list, &text, &fence())?;
            // Whoever empties a file leaves something behind; a feed that says nothing any more is broken.
            if !is_file && parsed.set.is_empty() && before > 0 {
                return Err(Fault::Emptied(before));
            }
            copy::keep(&list, &version, &text).map_err(Fault::Copy)?;
            Ok(Kept { parsed, version, confirmed })
        });
        let kept = taken.await.map_err(|error| Fault::Node(error.to_string()))??;
        let is_same = self.kept.as_ref().is_some_and(|known| known.parsed.set == kept.parsed.set);
        self.kept = Some(kept);
        Ok(if is_same { Outcome::Same } else { Outcome::Renewed })
    }

    fn members(&self) -> usize {
        self.kept.as_ref().map_or(0, |kept| kept.parsed.set.len())
    }

    fn done(&mut self, outcome: Outcome) {
        if outcome == Outcome::Renewed {
            tracing::info!(list = self.name, members = self.members(), "A list was renewed");
        }
        self.desk.status.update_lists(|lists| lists.count(&self.name, outcome));
        self.stand(None);
    }

    fn failed(&mut self, fault: &Fault) {
        let why = in_full(fault);
        tracing::warn!(list = self.name, "A list stays as it was: {why}");
        self.desk.status.update_lists(|lists| lists.count(&self.name, Outcome::Failed));
        self.stand(Some(why));
    }

    /// Shows how it stands, and puts in force what is new.
    fn stand(&mut self, fault: Option<String>) {
        self.is_stale = self.is_old();
        let opened = Opened { kept: self.kept.clone(), fault: fault.clone() };
        let set = lists::counting(&self.name, &self.list, &opened, self.is_stale);
        let (name, list) = (&self.name, &self.list);
        self.desk.status.update_lists(|lists| lists.stand(name, list, &opened, set, self.is_stale));
        self.desk.publish();
        let before = std::mem::replace(
            &mut self.told,
            Told {
                fault,
                is_stale: self.is_stale,
                refused: self.kept.as_ref().map_or(0, |kept| kept.parsed.refused.count),
            },
        );
        for notice in notices::notices(name, list, &before, &self.told, self.kept.as_ref()) {
            // Full policy: drop newest; what stands here is on the page and in the metrics too.
            let _ = self.desk.notices.try_send(notice);
        }
    }
}
