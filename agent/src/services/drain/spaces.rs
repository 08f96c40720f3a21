//! Network namespaces of this node, each once.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use nix::sys::statfs::{NSFS_MAGIC, fstatfs};

/// Directories in which tools keep names of namespaces; one without processes is found here only.
const NAMED: [&str; 2] = ["/run/netns", "/run/docker/netns"];
/// Namespaces that are looked into, at most.
const MOST: usize = 8192;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Spaces {
    pub(super) open: Vec<File>,
    /// Those that could not be opened.
    pub(super) unseen: usize,
}

/// All that can be found now.
pub(super) fn all() -> Spaces {
    let mut known = BTreeSet::new();
    let mut spaces = Spaces::default();
    let own = PathBuf::from("/proc/self/ns/net");
    for path in std::iter::once(own).chain(of_processes()).chain(named()) {
        if spaces.open.len() >= MOST {
            spaces.unseen += 1;
            continue;
        }
        match look(&path, &mut known) {
            Ok(Some(file)) => spaces.open.push(file),
            Ok(None) => {}
            // A process that ended meanwhile has no namespace any more.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)) => {}
            Err(_) => spaces.unseen += 1,
        }
    }
    spaces
}

/// Opens a namespace that is not known yet.
fn look(path: &Path, known: &mut BTreeSet<(u64, u64)>) -> io::Result<Option<File>> {
    let meta = fs::metadata(path)?;
    if !known.insert((meta.dev(), meta.ino())) {
        return Ok(None);
    }
    let file = File::open(path)?;
    // A name whose namespace is gone is a plain file.
    Ok((fstatfs(&file)?.filesystem_type() == NSFS_MAGIC).then_some(file))
}

fn of_processes() -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let name = entry.file_name();
        let is_process = name.to_str()?.bytes().all(|letter| letter.is_ascii_digit());
        is_process.then(|| entry.path().join("ns/net"))
    })
}

fn named() -> impl Iterator<Item = PathBuf> {
    let directories = NAMED.into_iter().filter_map(|directory| fs::read_dir(directory).ok());
    directories.flatten().flatten().map(|entry| entry.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_found_once() {
        let mut known = BTreeSet::new();
        let own = Path::new("/proc/self/ns/net");
        assert!(look(own, &mut known).unwrap().is_some());
        assert!(look(Path::new("/proc/thread-self/ns/net"), &mut known).unwrap().is_none());
        assert!(look(Path::new("/etc/passwd"), &mut known).unwrap().is_none(), "no namespace");
        assert!(!all().open.is_empty());
    }
}
