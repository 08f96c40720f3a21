//! The bundle in force, on the disk: the next start finds it without a collector.
//!
//! There is one file, as it was signed, so that its signature is checked again whenever it is read. A new one is written
//! beside it, forced to the disk, and takes its place by a rename once it is in force: whenever the agent dies, one of the
//! two is there, whole.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use super::BYTES_MAX;

/// The bundle in force.
const CURRENT: &str = "current";
/// One that may become it.
const NEXT: &str = "next";

/// The file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} `{}`: {source}", path.display())]
pub struct KeepError {
    /// What was tried.
    pub operation: &'static str,
    /// With what.
    pub path: PathBuf,
    /// Why not.
    pub source: io::Error,
}

/// The directory.
#[derive(Clone, Debug)]
pub struct Kept {
    dir: PathBuf,
}

impl Kept {
    /// That of a state directory.
    pub fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// What is kept; nothing when there is nothing. A file that is too large to be a bundle is read only so far.
    pub fn read(&self) -> Result<Option<Vec<u8>>, KeepError> {
        let path = self.dir.join(CURRENT);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(fault("read", &path)(source)),
        };
        let mut bytes = Vec::new();
        file.take(BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(fault("read", &path))?;
        Ok(Some(bytes))
    }

    /// Writes what may become the next one.
    pub fn stage(&self, bytes: &[u8]) -> Result<(), KeepError> {
        let dir = &self.dir;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(fault("make", dir))?;
        let path = dir.join(NEXT);
        let write = || -> io::Result<()> {
            // One that was left behind may have other rights.
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
            file.write_all(bytes)?;
            file.sync_all()
        };
        write().map_err(fault("write", &path))
    }

    /// What was staged is the one.
    pub fn commit(&self) -> Result<(), KeepError> {
        let path = self.dir.join(CURRENT);
        fs::rename(self.dir.join(NEXT), &path).map_err(fault("replace", &path))?;
        self.sync()
    }

    /// There is to be none.
    pub fn clear(&self) -> Result<(), KeepError> {
        let path = self.dir.join(CURRENT);
        match fs::remove_file(&path) {
            Ok(()) => self.sync(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(fault("remove", &path)(source)),
        }
    }

    fn sync(&self) -> Result<(), KeepError> {
        File::open(&self.dir).and_then(|dir| dir.sync_all()).map_err(fault("write", &self.dir))
    }
}

fn fault(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> KeepError {
    move |source| KeepError { operation, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_staged_counts_once_it_is_committed() {
        let dir = tempfile::tempdir().unwrap();
        let kept = Kept::new(dir.path().join("bundles"));
        assert_eq!(kept.read().unwrap(), None);
        kept.clear().unwrap();
        kept.stage(b"first").unwrap();
        assert_eq!(kept.read().unwrap(), None);
        kept.commit().unwrap();
        kept.stage(b"second").unwrap();
        assert_eq!(kept.read().unwrap().unwrap(), b"first");
        kept.stage(b"third").unwrap();
        kept.commit().unwrap();
        assert_eq!(kept.read().unwrap().unwrap(), b"third");
        assert!(kept.commit().is_err(), "nothing is staged");
        kept.clear().unwrap();
        assert_eq!(kept.read().unwrap(), None);
        let huge = File::create(dir.path().join("bundles/current")).unwrap();
        huge.set_len(1 << 40).unwrap();
        assert_eq!(kept.read().unwrap().unwrap().len(), BYTES_MAX + 1);
    }
}
