//! List files: read when they have changed and the change stands still for a look; a file that cannot be read leaves
//! what it said before.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use ipnet::IpNet;

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
}

/// All list files.
#[derive(Default)]
pub(super) struct Lists(BTreeMap<PathBuf, Known>);

impl Lists {
    /// Looks at all files that the settings name; says whether any says something else now.
    pub(super) fn look(&mut self, limits: &Limits) -> bool {
        let named: BTreeSet<&PathBuf> = limits.allow_files.iter().chain(&limits.deny_files).collect();
        let before = self.0.len();
        self.0.retain(|path, _| named.contains(path));
        let mut is_changed = self.0.len() != before;
        for path in named {
            is_changed |= self.0.entry(path.clone()).or_default().look(path);
        }
        is_changed
    }

    pub(super) fn allow(&self, limits: &Limits) -> impl Iterator<Item = IpNet> {
        self.nets(&limits.allow_files)
    }

    pub(super) fn deny(&self, limits: &Limits) -> impl Iterator<Item = IpNet> {
        self.nets(&limits.deny_files)
    }

    fn nets(&self, paths: &[PathBuf]) -> impl Iterator<Item = IpNet> {
        let known = paths.iter().filter_map(|path| self.0.get(path));
        known.flat_map(|known| known.listed.nets.iter().copied())
    }

    /// Each file with how many addresses and prefixes it names.
    pub(super) fn sizes(&self, paths: &[PathBuf]) -> Vec<(PathBuf, usize)> {
        let known = paths.iter().filter_map(|path| Some((path, self.0.get(path)?)));
        known.map(|(path, known)| (path.clone(), known.listed.nets.len())).collect()
    }

    /// What is wrong with the files.
    pub(super) fn faults(&self) -> BTreeSet<String> {
        let mut faults = BTreeSet::new();
        for (path, known) in &self.0 {
            let path = path.display();
            faults.extend(known.fault.iter().map(|fault| format!("the list `{path}` {fault}")));
            for (line, word) in &known.listed.faults {
                faults.insert(format!("line {line} of `{path}` is no address: `{word}`"));
            }
        }
        faults
    }
}

impl Known {
    fn look(&mut self, path: &Path) -> bool {
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
        // At the start there is nothing to wait for.
        if self.read.is_some() && self.seen != Some(stamp) {
            self.seen = Some(stamp);
            return false;
        }
        self.read = Some(stamp);
        self.seen = None;
        match text(path, stamp.0) {
            Ok(text) => {
                self.listed = files::parse(&text);
                self.fault = None;
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
        let mut lists = Lists::default();
        assert!(lists.look(&limits));
        assert!(lists.faults().iter().any(|fault| fault.contains("cannot be read")));
        fs::write(&path, "192.0.2.1\n198.51.100.0/24\nwho\n").unwrap();
        assert!(lists.look(&limits), "the first version is read at once");
        assert_eq!(lists.deny(&limits).count(), 2);
        assert_eq!(lists.allow(&limits).count(), 0);
        assert_eq!(lists.sizes(&limits.deny_files), [(path.clone(), 2)]);
        assert!(lists.faults().iter().any(|fault| fault.starts_with("line 3 of")));
        assert!(!lists.look(&limits));
        fs::write(&path, "192.0.2.1\n").unwrap();
        assert!(!lists.look(&limits), "may still be written to");
        assert!(lists.look(&limits));
        assert_eq!(lists.deny(&limits).count(), 1);
        fs::remove_file(&path).unwrap();
        assert!(lists.look(&limits), "a complaint");
        assert!(!lists.look(&limits));
        assert_eq!(lists.deny(&limits).count(), 1, "what it said before holds");
        let none = Limits { deny_files: Vec::new(), ..limits };
        assert!(lists.look(&none));
        assert_eq!(lists.deny(&none).count(), 0);
    }
}
