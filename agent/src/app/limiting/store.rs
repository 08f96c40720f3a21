//! What outlives the agent besides the kernel's tables: entries made while it ran, and the book of quotas.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::node::boot_id;
use crate::{
    limits::{
        entries::{Entries, Entry, Now},
        quota::Book,
    },
    replace::replace,
};

/// Version of both files; others are left alone and not read.
const VERSION: u32 = 1;
const ENTRIES: &str = "limits.json";
const QUOTAS: &str = "quotas.bin";

/// The files.
pub(super) struct Store {
    directory: PathBuf,
    /// Times of the boot clock and counts of the kernel mean nothing in another boot.
    boot: String,
}

#[derive(Serialize, Deserialize)]
struct Kept<T> {
    version: u32,
    boot: String,
    content: T,
}

impl Store {
    pub(super) fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), boot: boot_id() }
    }

    /// Entries of an agent before; none when there are none that can be read.
    pub(super) fn entries(&self, now: Now) -> Entries {
        let read = |bytes: &[u8]| serde_json::from_slice::<Kept<Vec<Entry>>>(bytes).map_err(io::Error::other);
        self.read(ENTRIES, read)
            .map(|kept| Entries::restore(kept.content, kept.boot == self.boot, now))
            .unwrap_or_default()
    }

    /// Keeps the entries.
    pub(super) fn keep(&self, entries: &Entries) -> io::Result<()> {
        let content: Vec<&Entry> = entries.iter().collect();
        let kept = Kept { version: VERSION, boot: self.boot.clone(), content };
        self.replace(ENTRIES, &serde_json::to_vec_pretty(&kept)?)
    }

    /// The book of an agent before.
    pub(super) fn book(&self) -> Book {
        let read = |bytes: &[u8]| rmp_serde::from_slice::<Kept<Book>>(bytes).map_err(io::Error::other);
        let kept = self.read(QUOTAS, read);
        kept.map(|kept| if kept.boot == self.boot { kept.content } else { kept.content.of_another_boot() })
            .unwrap_or_default()
    }

    /// Keeps the book.
    pub(super) fn keep_book(&self, book: &Book) -> io::Result<()> {
        let kept = Kept { version: VERSION, boot: self.boot.clone(), content: book };
        self.replace(QUOTAS, &rmp_serde::to_vec(&kept).map_err(io::Error::other)?)
    }

    fn read<T>(&self, name: &str, parse: impl Fn(&[u8]) -> io::Result<Kept<T>>) -> Option<Kept<T>> {
        let path = self.directory.join(name);
        let kept = match fs::read(&path).and_then(|bytes| parse(&bytes)) {
            Ok(kept) => kept,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::error!(path = %path.display(), "What was kept of rate limits cannot be read: {error}");
                return None;
            }
        };
        if kept.version != VERSION {
            tracing::error!(path = %path.display(), version = kept.version, "Kept by another version, not read");
            return None;
        }
        Some(kept)
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        replace(&self.directory, name, bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::entries::{End, Kind};

    #[test]
    fn entries_come_back_and_damage_is_survived() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(&dir.path().join("state"));
        let now = Now { wall_secs: 100, boot_ns: 100 };
        assert_eq!(store.entries(now), Entries::default());
        let mut entries = Entries::default();
        let entry = Entry {
            kind: Kind::Deny,
            net: "192.0.2.0/24".parse().unwrap(),
            rate: None,
            policy: None,
            until: Some(End::after(now, 60)),
            by: "test".to_owned(),
            made_secs: 100,
            comment: Some("why".to_owned()),
        };
        entries.put(entry, &[], &[]).unwrap();
        store.keep(&entries).unwrap();
        assert_eq!(store.entries(now), entries);
        assert!(store.entries(Now { boot_ns: u64::MAX, ..now }).iter().next().is_none());
        let path = dir.path().join("state").join(ENTRIES);
        // A crash in the middle of a write leaves the old file.
        fs::write(path.with_extension("json.new"), "{").unwrap();
        assert_eq!(store.entries(now), entries);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("\"version\": 1", "\"version\": 9")).unwrap();
        assert_eq!(store.entries(now), Entries::default());
        fs::write(&path, &text.as_bytes()[..text.len() / 2]).unwrap();
        assert_eq!(store.entries(now), Entries::default());
    }

    #[test]
    fn the_book_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path());
        assert_eq!(store.book(), Book::default());
        store.keep_book(&Book::default()).unwrap();
        assert_eq!(store.book(), Book::default());
        fs::write(dir.path().join(QUOTAS), [0x93, 1]).unwrap();
        assert_eq!(store.book(), Book::default());
    }
}
