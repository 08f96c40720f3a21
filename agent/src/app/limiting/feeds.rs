//! Lists from the network: fetched now and then, and kept as files that are read like any other list.
//!
//! A feed that cannot be got, is too large or is no list leaves the copy as it was; a copy that nobody renews stops
//! counting after a time (`lists`). Redirects are not followed.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use sha2::{Digest as _, Sha256};
use tokio::time::sleep;

use crate::{
    app::{in_full, tasks::Tasks},
    config::Limits,
    fetch::{self, FetchError, Fetcher, Version, Wanted},
    limits::files,
    replace::replace,
    retry::{Backoff, Budget, Retry},
};

/// Directory of the copies in `node.state_dir`.
pub(super) const DIRECTORY: &str = "feeds";
/// Name of the task.
const FEEDS: &str = "feeds";
/// Largest feed, bytes.
const FEED_MAX: usize = 8 << 20;
/// Bound of the first wait after a fault; it doubles up to the time between two looks.
const RETRY: Duration = Duration::from_secs(30);

/// Why feeds were not got, by their addresses.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults(Arc<Mutex<BTreeMap<String, String>>>);

impl Faults {
    /// Those of now.
    pub(super) fn all(&self) -> BTreeMap<String, String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, feed: &str, fault: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(shown(feed), fault);
    }

    fn forget(&self, feed: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&shown(feed));
    }
}

/// A feed's address without what may be a secret.
fn shown(feed: &str) -> String {
    fetch::shown(feed).unwrap_or_else(|| name_of(feed))
}

/// Why a feed was not got.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("line {line} is no address: `{word}`; it has more such lines than addresses")]
    NoList { line: usize, word: String },
    #[error("its copy cannot be written")]
    Copy(#[source] io::Error),
}

/// What a fetch found.
#[derive(Debug, PartialEq, Eq)]
enum Fetched {
    /// The same as before.
    Same,
    /// Something new, with what names this version.
    New(Version),
}

/// Where the copy of a feed is.
pub(super) fn copy_of(directory: &Path, feed: &str) -> PathBuf {
    directory.join(name_of(feed))
}

fn name_of(feed: &str) -> String {
    let digest = Sha256::digest(feed);
    let number = digest.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
    format!("{number:016x}.list")
}

/// Starts a task that gets the feeds, if there are any.
pub(super) fn start(limits: &Arc<Limits>, state_dir: &Path, tasks: &mut Tasks) -> Faults {
    let faults = Faults::default();
    let feeds: Vec<String> = limits.allow_feeds.iter().chain(&limits.deny_feeds).cloned().collect();
    if feeds.is_empty() {
        return faults;
    }
    let client = match Fetcher::new() {
        Ok(client) => client,
        Err(error) => {
            tracing::error!("Feeds are not fetched, the node's certificates cannot be read: {error}");
            for feed in &feeds {
                faults.set(feed, format!("the node's certificates cannot be read: {error}"));
            }
            return faults;
        }
    };
    let (directory, refresh) = (state_dir.join(DIRECTORY), limits.feed_refresh);
    let known = faults.clone();
    tasks.task(FEEDS, async move {
        // So many feeds that fail at once wait for each other.
        let budget = Arc::new(Budget::default());
        let backoff = Backoff { first: RETRY, longest: refresh };
        let all = feeds.iter().map(|feed| {
            let retry = Retry::new(backoff, Arc::clone(&budget));
            keep(&client, &directory, feed, (refresh, retry), &faults)
        });
        futures_util::future::join_all(all).await;
        Ok(())
    });
    known
}

/// Keeps the copy of a feed up to date. Never ends.
async fn keep(
    client: &Fetcher,
    directory: &Path,
    feed: &str,
    (refresh, mut retry): (Duration, Retry),
    known: &Faults,
) {
    let mut version: Option<Version> = None;
    loop {
        let wait = match fetch(client, directory, feed, version.as_ref()).await {
            Ok(fetched) => {
                if let Fetched::New(new) = fetched {
                    tracing::info!(feed, "A feed was renewed");
                    version = Some(new);
                }
                known.forget(feed);
                retry.succeeded();
                refresh
            }
            Err(fault) => {
                let why = in_full(&fault);
                tracing::warn!(feed, "A feed was not got: {why}");
                known.set(feed, why);
                retry.failed()
            }
        };
        sleep(wait).await;
    }
}

async fn fetch(
    client: &Fetcher,
    directory: &Path,
    feed: &str,
    version: Option<&Version>,
) -> Result<Fetched, Fault> {
    let copy = copy_of(directory, feed);
    // Without a copy the same is as good as something new.
    let known = version.filter(|_| copy.exists());
    let (body, new) = match client.fetch(Wanted { url: feed, known, headers: None, most: FEED_MAX }).await? {
        fetch::Fetched::Text(body, new) => (body, new),
        fetch::Fetched::Same => {
            touch(&copy).map_err(Fault::Copy)?;
            return Ok(Fetched::Same);
        }
    };
    let text = String::from_utf8_lossy(&body);
    let listed = files::parse(&text);
    let words =
        text.lines().filter(|line| !line.split(['#', ';']).next().unwrap_or_default().trim().is_empty());
    // Single lines may be wrong; a page of something else is not a list.
    if let Some((line, word)) = listed.faults.first()
        && listed.nets.len() * 2 < words.count()
    {
        return Err(Fault::NoList { line: *line, word: word.clone() });
    }
    if fs::read(&copy).is_ok_and(|kept| kept == body) {
        touch(&copy).map_err(Fault::Copy)?;
        return Ok(Fetched::Same);
    }
    replace(directory, &name_of(feed), &body).map_err(Fault::Copy)?;
    Ok(Fetched::New(new))
}

/// The copy is as good as new.
fn touch(copy: &Path) -> io::Result<()> {
    fs::File::options().append(true).open(copy)?.set_modified(SystemTime::now())
}

#[cfg(test)]
mod tests {
    use axum::{
        Router,
        http::{HeaderMap, StatusCode, header},
        response::{IntoResponse as _, Response},
        routing::get,
    };

    use super::*;

    #[test]
    fn feeds_are_copied_renewed_and_refused_when_they_are_no_lists() {
        let text = Arc::new(Mutex::new((200_u16, "192.0.2.1\n".to_owned())));
        let given = Arc::clone(&text);
        let page = async move |headers: HeaderMap| -> Response {
            let (status, text) = given.lock().unwrap().clone();
            if status == 200 && headers.get(header::IF_NONE_MATCH).is_some_and(|tag| *tag == *text.trim()) {
                return StatusCode::NOT_MODIFIED.into_response();
            }
            let tag = text.lines().next().unwrap_or_default().to_owned();
            (StatusCode::from_u16(status).unwrap(), [(header::ETAG, tag)], text).into_response()
        };
        let dir = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let feed = format!("http://{}/list", listener.local_addr().unwrap());
            let server =
                tokio::spawn(
                    async move { axum::serve(listener, Router::new().route("/list", get(page))).await },
                );
            let client = Fetcher::new().unwrap();
            let copy = copy_of(dir.path(), &feed);
            let set = |status, new: &str| *text.lock().unwrap() = (status, new.to_owned());
            let fetch = async |version: Option<&Version>| fetch(&client, dir.path(), &feed, version).await;
            let version = Version { etag: Some("192.0.2.1".to_owned()), modified: None };
            assert_eq!(fetch(None).await.unwrap(), Fetched::New(version.clone()));
            assert_eq!(fs::read_to_string(&copy).unwrap(), "192.0.2.1\n");
            assert_eq!(fetch(Some(&version)).await.unwrap(), Fetched::Same);
            assert_eq!(fetch(None).await.unwrap(), Fetched::Same, "the same content");
            set(200, "<html>\n<body>\nnothing here\n");
            assert!(matches!(fetch(None).await, Err(Fault::NoList { line: 1, .. })));
            set(200, &"1\n".repeat(FEED_MAX));
            assert!(matches!(fetch(None).await, Err(Fault::Fetch(FetchError::TooLarge(_)))));
            set(500, "");
            assert!(matches!(fetch(None).await, Err(Fault::Fetch(FetchError::Status(_)))));
            assert_eq!(fs::read_to_string(&copy).unwrap(), "192.0.2.1\n", "the copy is as it was");
            set(200, "192.0.2.2\n# comment\n");
            assert!(matches!(fetch(Some(&version)).await, Ok(Fetched::New(_))));
            assert_eq!(fs::read_to_string(&copy).unwrap(), "192.0.2.2\n# comment\n");
            server.abort();
        });
    }
}
