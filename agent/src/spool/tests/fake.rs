//! Files in memory that can stop at any byte, and what is left of them then.

use std::{cell::RefCell, collections::BTreeMap, io, rc::Rc};

use super::super::disk::Disk;

/// How the machine stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// The process is killed: everything written is there.
    Kill,
    /// Power is cut: what was not synchronised is there in part, and what is there may be zeros.
    Power,
}

#[derive(Clone, Debug, Default)]
struct Entry {
    data: Vec<u8>,
    synced: usize,
    is_name_synced: bool,
}

#[derive(Debug, Default)]
struct Inner {
    files: BTreeMap<String, Entry>,
    /// Removed, but not for sure.
    removed: BTreeMap<String, Entry>,
    /// Bytes and calls until it stops.
    budget: Option<usize>,
    /// Bytes that fit.
    space: Option<usize>,
}

/// The files; clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Fake(Rc<RefCell<Inner>>);

impl Inner {
    /// How much of it can be done; fewer means that this is the end.
    fn spend(&mut self, wanted: usize) -> usize {
        let Some(budget) = &mut self.budget else { return wanted };
        let done = wanted.min(*budget);
        *budget -= done;
        done
    }

    fn call(&mut self) -> io::Result<()> {
        if self.spend(1) == 1 { Ok(()) } else { Err(io::Error::other("stopped")) }
    }

    fn entry(&mut self, name: &str) -> io::Result<&mut Entry> {
        self.files.get_mut(name).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Fake {
    pub(super) fn stop_after(&self, budget: usize) {
        self.0.borrow_mut().budget = Some(budget);
    }

    pub(super) fn has_stopped(&self) -> bool {
        self.0.borrow().budget == Some(0)
    }

    pub(super) fn limit_space(&self, space: Option<usize>) {
        self.0.borrow_mut().space = space;
    }

    /// What is found at the next start. `luck` decides what survives.
    pub(super) fn restart(&self, stop: Stop, mut luck: impl FnMut(usize) -> usize) {
        let mut inner = self.0.borrow_mut();
        inner.budget = None;
        let removed = std::mem::take(&mut inner.removed);
        if stop == Stop::Power {
            for (name, entry) in removed {
                if luck(2) == 0 {
                    inner.files.entry(name).or_insert(entry);
                }
            }
            inner.files.retain(|_, entry| entry.is_name_synced || luck(2) == 0);
            for entry in inner.files.values_mut() {
                let kept = entry.synced + luck(entry.data.len() - entry.synced + 1);
                let zeros = luck(2) * luck(entry.data.len() - kept + 1);
                entry.data.truncate(kept);
                entry.data.resize(kept + zeros, 0);
            }
        }
        for entry in inner.files.values_mut() {
            entry.synced = entry.data.len();
            entry.is_name_synced = true;
        }
    }

    pub(super) fn total(&self) -> usize {
        self.0.borrow().files.values().map(|entry| entry.data.len()).sum()
    }

    pub(super) fn change(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        change(&mut self.0.borrow_mut().files.get_mut(name).unwrap().data);
    }
}

impl Disk for Fake {
    fn list(&self) -> io::Result<Vec<String>> {
        self.0.borrow_mut().call()?;
        Ok(self.0.borrow().files.keys().cloned().collect())
    }

    fn create(&self, name: &str, head: &[u8]) -> io::Result<()> {
        self.0.borrow_mut().call()?;
        assert!(!self.0.borrow().files.contains_key(name), "{name} is made twice");
        self.0.borrow_mut().files.insert(name.to_owned(), Entry::default());
        self.append(name, head)
    }

    fn append(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut inner = self.0.borrow_mut();
        let used: usize = inner.files.values().map(|entry| entry.data.len()).sum();
        let fits = inner.space.map_or(bytes.len(), |space| bytes.len().min(space.saturating_sub(used)));
        let done = inner.spend(fits);
        inner.entry(name)?.data.extend_from_slice(&bytes[..done]);
        if done < fits {
            return Err(io::Error::other("stopped"));
        }
        if fits < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn truncate(&self, name: &str, length: u64) -> io::Result<()> {
        self.0.borrow_mut().call()?;
        self.0.borrow_mut().entry(name)?.data.truncate(length as usize);
        Ok(())
    }

    fn sync(&self, name: &str) -> io::Result<()> {
        let mut inner = self.0.borrow_mut();
        inner.call()?;
        let entry = inner.entry(name)?;
        entry.synced = entry.data.len();
        Ok(())
    }

    fn sync_directory(&self) -> io::Result<()> {
        let mut inner = self.0.borrow_mut();
        inner.call()?;
        inner.removed.clear();
        inner.files.values_mut().for_each(|entry| entry.is_name_synced = true);
        Ok(())
    }

    fn read(&self, name: &str, offset: u64, bytes: usize) -> io::Result<Vec<u8>> {
        let mut inner = self.0.borrow_mut();
        inner.call()?;
        let data = &inner.entry(name)?.data;
        let rest = data.get(offset as usize..).unwrap_or_default();
        Ok(rest[..rest.len().min(bytes)].to_vec())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut inner = self.0.borrow_mut();
        inner.call()?;
        let entry = inner.files.remove(name).ok_or(io::ErrorKind::NotFound)?;
        if entry.is_name_synced {
            inner.removed.insert(name.to_owned(), entry);
        }
        Ok(())
    }
}
