//! Keys that sign tokens for people: a directory of them, the newest signs, the others still verify what they signed.
//!
//! A file's name is the key's: the time at which it was made and a few random digits. A key signs for a month, then there
//! is a new one; it verifies until the last token that it may have signed has ended. Collectors that share the directory
//! accept each other's tokens, and so do those that share a store and have directories of their own: what a key signs is
//! told together with its public half, which is kept in the store until the last such token has ended. No secret is ever
//! there; who can write there could as well make a user.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::{Duration, Instant},
};

use ring::signature::{Ed25519KeyPair, KeyPair as _};

use super::{
    IdentityError,
    authority::{fault, make_folder, write_once},
    hex,
    items::{self, TokenKey},
    random,
};
use crate::store::identity::{Book, Change, Expect, Kind};

/// How long a key signs.
pub const SIGNS: Duration = Duration::from_hours(30 * 24);
/// How long what it signed may be good.
pub const TOKEN_MAX: Duration = Duration::from_hours(90 * 24);
/// Time in which a key is surely followed by the next one.
const SLACK: Duration = Duration::from_hours(24);
/// Time between two looks for a key that somebody has named.
const LOOK: Duration = Duration::from_millis(200);
/// What the files' names end with.
const ENDING: &str = "key";

/// A key.
#[derive(Debug)]
pub struct Key {
    /// Its name.
    pub name: String,
    /// When it was made, seconds since the epoch.
    pub made: u64,
    /// The pair.
    pub pair: Ed25519KeyPair,
}

/// The keys of a directory.
#[derive(Debug)]
pub struct Keys {
    dir: PathBuf,
    /// The oldest first.
    all: RwLock<Vec<Arc<Key>>>,
    /// Of other collectors of the store.
    told: RwLock<BTreeMap<String, TokenKey>>,
    /// When somebody with an unknown key made us look.
    looked: Mutex<Option<Instant>>,
}

impl Key {
    /// What others need to verify what it signs, to be kept together with a note of what it has signed.
    pub fn told(&self) -> Result<Change, IdentityError> {
        // It may sign a little longer, where nobody looks after it.
        let ends = self.made + SIGNS.as_secs() + TOKEN_MAX.as_secs() + SLACK.as_secs();
        let told = TokenKey { public: hex(self.pair.public_key().as_ref()), made: self.made, ends };
        let change = Change::put(Kind::TokenKey, &self.name, Expect::Anything, items::write(&told)?);
        Ok(change.until(ends.saturating_mul(1_000_000_000)))
    }
}

impl Keys {
    /// Reads the keys; makes one where there is none that may sign.
    pub fn open(dir: &Path, now: u64) -> Result<Self, IdentityError> {
        let keys = Self {
            dir: dir.to_owned(),
            all: RwLock::default(),
            told: RwLock::default(),
            looked: Mutex::default(),
        };
        make_folder(dir)?;
        keys.renew(now)?;
        Ok(keys)
    }

    /// Looks at the directory again, makes a new key where it is time, removes those that verify nothing any more.
    pub fn renew(&self, now: u64) -> Result<(), IdentityError> {
        self.read()?;
        let newest = self.list().last().map(|key| key.made);
        if newest.is_none_or(|made| now >= made + SIGNS.as_secs()) {
            self.rotate(now)?;
        }
        let all = self.list();
        for (key, next) in all.iter().zip(all.iter().skip(1)) {
            if now > next.made + TOKEN_MAX.as_secs() {
                let path = self.path(&key.name);
                fs::remove_file(&path).map_err(fault("remove", &path))?;
                tracing::info!(key = key.name, "A key verifies nothing any more and was removed");
            }
        }
        self.read()
    }

    /// A new key, which signs from now on; says its name.
    pub fn rotate(&self, now: u64) -> Result<String, IdentityError> {
        let seed: [u8; 32] = random()?;
        // Made in one second, the later one must sort behind: names are compared after times.
        let made = self.list().last().map_or(now, |key| now.max(key.made + 1));
        let name = format!("{made}-{}", hex(&random::<4>()?));
        write_once(&self.path(&name), &hex(&seed))?;
        self.read()?;
        tracing::info!(key = name, "A new key signs tokens");
        Ok(name)
    }

    /// The key that signs.
    pub fn newest(&self) -> Option<Arc<Key>> {
        self.list().last().cloned()
    }

    /// The key of this name, if it is one of this directory.
    pub fn get(&self, name: &str) -> Option<Arc<Key>> {
        self.list().iter().find(|key| key.name == name).cloned()
    }

    /// The public half of the key of this name, whoever has the other one.
    pub fn public(&self, name: &str, now: u64) -> Option<Vec<u8>> {
        if let Some(own) = self.get(name) {
            return Some(own.pair.public_key().as_ref().to_vec());
        }
        let told = self.told.read().unwrap_or_else(PoisonError::into_inner);
        told.get(name).filter(|key| now < key.ends).and_then(|key| super::unhex(&key.public))
    }

    /// Whether it is time to look for a key that is not known: anybody can name one.
    pub fn may_look(&self) -> bool {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        let is_time = looked.is_none_or(|at| at.elapsed() >= LOOK);
        if is_time {
            *looked = Some(Instant::now());
        }
        is_time
    }

    /// Reads what others have told.
    pub fn learn(&self, book: &mut dyn Book) -> Result<(), IdentityError> {
        let told = items::list::<TokenKey>(book, Kind::TokenKey)?.into_iter().collect();
        *self.told.write().unwrap_or_else(PoisonError::into_inner) = told;
        Ok(())
    }

    fn list(&self) -> Vec<Arc<Key>> {
        // It is replaced whole.
        self.all.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name).with_extension(ENDING)
    }

    fn read(&self) -> Result<(), IdentityError> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(fault("list", &self.dir))? {
            let path = entry.map_err(fault("list", &self.dir))?.path();
            if path.extension().is_none_or(|ending| ending != ENDING) {
                continue;
            }
            let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned();
            let made = name.split_once('-').and_then(|(made, _)| made.parse().ok());
            let text = fs::read_to_string(&path).map_err(fault("read", &path))?;
            let pair =
                super::unhex(text.trim()).and_then(|seed| Ed25519KeyPair::from_seed_unchecked(&seed).ok());
            let (Some(made), Some(pair)) = (made, pair) else {
                return Err(IdentityError::Unusable { path, problem: "is no key of tokens" });
            };
            found.push(Arc::new(Key { name, made, pair }));
        }
        found.sort_by(|a, b| (a.made, &a.name).cmp(&(b.made, &b.name)));
        *self.all.write().unwrap_or_else(PoisonError::into_inner) = found;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn keys_follow_each_other_with_an_overlap() {
        let dir = tempfile::tempdir().unwrap();
        let keys = Keys::open(dir.path(), 1000).unwrap();
        let first = keys.newest().unwrap().name.clone();
        let mode = fs::metadata(keys.path(&first)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let later = 1000 + SIGNS.as_secs();
        keys.renew(later - 1).unwrap();
        assert_eq!(keys.newest().unwrap().name, first);
        keys.renew(later).unwrap();
        let second = keys.newest().unwrap().name.clone();
        assert_ne!(second, first);
        assert!(keys.get(&first).is_some(), "what it signed is still good");
        // Another process turns them; this one sees it.
        let other = Keys::open(dir.path(), later).unwrap();
        let third = other.rotate(later).unwrap();
        keys.renew(later).unwrap();
        assert_eq!(keys.newest().unwrap().name, third);
        keys.renew(later + TOKEN_MAX.as_secs() + 5).unwrap();
        assert!(keys.get(&first).is_none() && keys.get(&second).is_none());
        assert!(!keys.path(&first).exists());
        fs::write(dir.path().join("5-a.key"), "short").unwrap();
        assert!(keys.renew(later).unwrap_err().to_string().contains("is no key of tokens"));
    }
}
