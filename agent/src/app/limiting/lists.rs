//! List files: read when they have changed and the change stands still for a look; a file that cannot be read leaves
//! what it said before. Feeds are files too, which `feeds` writes; they count for a time only.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::SystemTime,
};

use ipnet::IpNet;

use super::feeds;
use crate::{
    config::Limits,
    limits::files::{self, Listed},
};

/// Largest file, bytes: more addresses than the kernel's tables hold.
const FILE_MAX: u64 = 8 << 20;

/// Size, time of the last change, and inode.
type Stamp = (u64, i64, i64, u64);

#[derive(Default)]
struct Known {
    /// Of what was read.
    read: Option<Stamp>,
    /// Seen once, may still be written to.
    seen: Option<Stamp>,
    listed: Listed,
    fault: Option<String>,
    /// Nobody has renewed it for too long: it does not count.
    is_old: bool,
}

/// All list files.
pub(super) struct Lists {
    /// Directory of feeds.
    feeds: PathBuf,
    known: BTreeMap<PathBuf, Known>,
    /// Why feeds were not got, and what of it has been seen.
    not_got: feeds::Faults,
    seen: BTreeMap<String, String>,
}

impl Lists {
    pub(super) const fn new(feeds: PathBuf, not_got: feeds::Faults) -> Self {
        Self { feeds, known: BTreeMap::new(), not_got, seen: BTreeMap::new() }
    }

    /// Files of sources that pass.
    pub(super) fn allow_files(&self, limits: &Limits) -> Vec<PathBuf> {
        self.files(&limits.allow_files, &limits.allow_feeds)
    }

    /// Files of sources that do not.
    pub(super) fn deny_files(&self, limits: &Limits) -> Vec<PathBuf> {
        self.files(&limits.deny_files, &limits.deny_feeds)
    }

    fn files(&self, files: &[PathBuf], feeds: &[String]) -> Vec<PathBuf> {
        let copies = feeds.iter().map(|feed| feeds::copy_of(&self.feeds, feed));
        files.iter().cloned().chain(copies).collect()
    }

    /// Looks at all files that the settings name; says whether any says something else now.
    pub(super) fn look(&mut self, limits: &Limits) -> bool {
        let named: BTreeSet<PathBuf> =
            self.allow_files(limits).into_iter().chain(self.deny_files(limits)).collect();
        let before = self.known.len();
        self.known.retain(|path, _| named.contains(path));
        let mut is_changed = self.known.len() != before;
        let not_got = self.not_got.all();
        if not_got != self.seen {
            self.seen = not_got;
            is_changed = true;
        }
        for path in named {
            let max_age = limits.feed_max_age.as_secs();
            let is_feed = path.starts_with(&self.feeds);
            let max_age = (is_feed && max_age > 0).then_some(max_age);
            is_changed |= self.known.entry(path.clone()).or_default().look(&path, is_feed, max_age);
        }
        is_changed
    }

    pub(super) fn allow(&self, limits: &Limits) -> Vec<IpNet> {
        self.nets(&self.allow_files(limits))
    }

    pub(super) fn deny(&self, limits: &Limits) -> Vec<IpNet> {
        self.nets(&self.deny_files(limits))
    }

    fn nets(&self, paths: &[PathBuf]) -> Vec<IpNet> {
        let known = paths.iter().filter_map(|path| self.known.get(path)).filter(|known| !known.is_old);
        known.flat_map(|known| known.listed.nets.iter().copied()).collect()
    }

    /// Each file with how many addresses and prefixes it names.
    pub(super) fn sizes(&self, paths: &[PathBuf]) -> Vec<(PathBuf, usize)> {
        let known = paths.iter().filter_map(|path| Some((path, self.known.get(path)?)));
        known.map(|(path, known)| (path.clone(), known.listed.nets.len())).collect()
    }

    /// What is wrong with the files.
    pub(super) fn faults(&self) -> BTreeSet<String> {
        let mut faults: BTreeSet<String> =
            self.seen.iter().map(|(feed, fault)| format!("the feed `{feed}` was not got: {fault}")).collect();
        for (path, known) in &self.known {
            let path = path.display();
            faults.extend(known.fault.iter().map(|fault| format!("the list `{path}` {fault}")));
            if known.is_old {
                faults.insert(format!("the feed `{path}` is too old, it does not count"));
            }
            for (line, word) in &known.listed.faults {
                faults.insert(format!("line {line} of `{path}` is no address: `{word}`"));
            }
        }
        faults
    }
}

impl Known {
    fn look(&mut self, path: &Path, is_feed: bool, max_age: Option<u64>) -> bool {
        let was_old = self.is_old;
        let is_changed = self.read(path, is_feed);
        let changed_at = self.read.map_or(0, |(_, secs, ..)| u64::try_from(secs).unwrap_or_default());
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let age = now.saturating_sub(changed_at);
        self.is_old = self.read.is_some() && max_age.is_some_and(|max_age| age > max_age);
        is_changed || self.is_old != was_old
    }

    /// Whether it says something else now.
    fn read(&mut self, path: &Path, is_feed: bool) -> bool {
        let stamp = match stamp(path) {
            Ok(stamp) => stamp,
            Err(error) => {
                let fault = Some(format!("cannot be read, what it said before holds: {error}"));
                let is_new = self.fault != fault;
                self.fault = fault;
                return is_new;
            }
        };
        if self.read == Some(stamp) {
            self.seen = None;
            return self.fault.take().is_some();
        }
        // At the start there is nothing to wait for. Copies of feeds are replaced whole, and their time says when the feed was
        // asked last: those of one that is asked at each look never stand still.
        if !is_feed && self.read.is_some() && self.seen != Some(stamp) {
            self.seen = Some(stamp);
            return false;
        }
        let is_first = self.read.replace(stamp).is_none();
        self.seen = None;
        match text(path, stamp.0) {
            Ok(text) => {
                let listed = files::parse(&text);
                let is_same = self.listed == listed && self.fault.is_none() && !is_first;
                self.fault = None;
                if is_same {
                    return false;
                }
                self.listed = listed;
                tracing::info!(path = %path.display(), nets = self.listed.nets.len(), "A list was read");
            }
            Err(error) => self.fault = Some(format!("cannot be read, what it said before holds: {error}")),
        }
        true
    }
}

fn stamp(path: &Path) -> io::Result<Stamp> {
    let data = fs::metadata(path)?;
    if !data.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no file"));
    }
    Ok((data.size(), data.mtime(), data.mtime_nsec(), data.ino()))
}

fn text(path: &Path, size: u64) -> io::Result<String> {
    if size > FILE_MAX {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it has more than {FILE_MAX} bytes"),
        ));
    }
    fs::read_to_string(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sources;

    #[test]
    fn changes_are_read_when_they_stand_still_and_the_last_good_version_holds() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deny");
        let file = dir.path().join("rampart.yaml");
        fs::write(&file, format!("limits: {{deny_files: ['{}']}}\n", path.display())).unwrap();
        let limits = Sources { file: Some(file), ..Sources::default() }.load().unwrap().limits;
        let mut lists = Lists::new(dir.path().join("feeds"), feeds::Faults::default());
        assert!(lists.look(&limits));
        assert!(lists.faults().iter().any(|fault| fault.contains("cannot be read")));
        fs::write(&path, "192.0.2.1\n198.51.100.0/24\nwho\n").unwrap();
        assert!(lists.look(&limits), "the first version is read at once");
        assert_eq!(lists.deny(&limits).len(), 2);
        assert_eq!(lists.allow(&limits).len(), 0);
        assert_eq!(lists.sizes(&limits.deny_files), [(path.clone(), 2)]);
        assert!(lists.faults().iter().any(|fault| fault.starts_with("line 3 of")));
        assert!(!lists.look(&limits));
        fs::write(&path, "192.0.2.1\n").unwrap();
        assert!(!lists.look(&limits), "may still be written to");
        assert!(lists.look(&limits));
        assert_eq!(lists.deny(&limits).len(), 1);
        fs::remove_file(&path).unwrap();
        assert!(lists.look(&limits), "a complaint");
        assert!(!lists.look(&limits));
        assert_eq!(lists.deny(&limits).len(), 1, "what it said before holds");
        let none = Limits { deny_files: Vec::new(), ..limits };
        assert!(lists.look(&none));
        assert_eq!(lists.deny(&none).len(), 0);
    }

    #[test]
    fn feeds_count_for_a_time_only() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("rampart.yaml");
        fs::write(&file, "limits: {deny_feeds: ['http://localhost/x'], feed_max_age_secs: 1000}\n").unwrap();
        let limits = Sources { file: Some(file), ..Sources::default() }.load().unwrap().limits;
        let mut lists = Lists::new(dir.path().to_owned(), feeds::Faults::default());
        let copy = feeds::copy_of(dir.path(), &limits.deny_feeds[0]);
        fs::write(&copy, "192.0.2.1\n").unwrap();
        assert!(lists.look(&limits));
        assert_eq!(lists.deny(&limits).len(), 1);
        let long_ago = SystemTime::now() - std::time::Duration::from_secs(2000);
        fs::File::options().append(true).open(&copy).unwrap().set_modified(long_ago).unwrap();
        assert!(lists.look(&limits));
        assert_eq!(lists.deny(&limits).len(), 0);
        assert!(lists.faults().iter().any(|fault| fault.contains("too old")));
        let patient = Limits { feed_max_age: std::time::Duration::ZERO, ..limits };
        assert!(lists.look(&patient));
        assert_eq!(lists.deny(&patient).len(), 1);
    }

    #[test]
    fn a_feed_that_is_asked_at_each_look_is_read_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("rampart.yaml");
        fs::write(&file, "limits: {deny_feeds: ['http://localhost/x']}\n").unwrap();
        let limits = Sources { file: Some(file), ..Sources::default() }.load().unwrap().limits;
        let mut lists = Lists::new(dir.path().to_owned(), feeds::Faults::default());
        let copy = feeds::copy_of(dir.path(), &limits.deny_feeds[0]);
        let asked = |seconds| {
            let file = fs::File::options().append(true).open(&copy).unwrap();
            file.set_modified(SystemTime::now() + std::time::Duration::from_secs(seconds)).unwrap();
        };
        fs::write(&copy, "192.0.2.1\n").unwrap();
        assert!(lists.look(&limits));
        for seconds in 1..4 {
            asked(seconds);
            assert!(!lists.look(&limits), "it says the same");
        }
        fs::write(&copy, "192.0.2.1\n192.0.2.2\n").unwrap();
        asked(5);
        assert!(lists.look(&limits));
        assert_eq!(lists.deny(&limits).len(), 2);
    }
}
