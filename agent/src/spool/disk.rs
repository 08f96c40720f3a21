//! Files as the spool needs them, so that tests can stop at any byte.

use std::{
    cell::RefCell,
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// Files kept open; more than are written to at a time, and far below what a process may have.
const OPEN_MAX: usize = 64;

/// A directory of files that only grow.
pub trait Disk {
    /// Names of all files.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Makes a file that is not there yet, with its first bytes.
    fn create(&self, name: &str, head: &[u8]) -> io::Result<()>;

    /// Writes behind the end of a file. After an error any part of it may be there.
    fn append(&self, name: &str, bytes: &[u8]) -> io::Result<()>;

    /// Cuts a file.
    fn truncate(&self, name: &str, length: u64) -> io::Result<()>;

    /// Forces what was written to a file to the disk.
    fn sync(&self, name: &str) -> io::Result<()>;

    /// Forces the names of files to the disk.
    fn sync_directory(&self) -> io::Result<()>;

    /// Up to so many bytes of a file from an offset; fewer only at its end.
    fn read(&self, name: &str, offset: u64, bytes: usize) -> io::Result<Vec<u8>>;

    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;
}

/// A directory of the file system.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// Files that were used and may be used again; one or two per lane.
    open: RefCell<HashMap<String, File>>,
}

impl Folder {
    /// Makes the directory if it is not there, for the owner only: alerts name files and arguments of every user.
    pub fn new(path: &Path) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        Ok(Self { path: path.to_owned(), open: RefCell::default() })
    }

    fn with<T>(&self, name: &str, work: impl FnOnce(&mut File) -> io::Result<T>) -> io::Result<T> {
        let mut open = self.open.borrow_mut();
        if let Some(file) = open.get_mut(name) {
            return work(file);
        }
        if open.len() >= OPEN_MAX {
            open.clear();
        }
        let mut file = OpenOptions::new().read(true).append(true).open(self.path.join(name))?;
        let result = work(&mut file);
        open.insert(name.to_owned(), file);
        result
    }
}

impl Disk for Folder {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            // A name that is not text is not one of ours.
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn create(&self, name: &str, head: &[u8]) -> io::Result<()> {
        let path = self.path.join(name);
        let mut file = OpenOptions::new().read(true).append(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(head)?;
        self.open.borrow_mut().insert(name.to_owned(), file);
        Ok(())
    }

    fn append(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.with(name, |file| file.write_all(bytes))
    }

    fn truncate(&self, name: &str, length: u64) -> io::Result<()> {
        self.with(name, |file| file.set_len(length))
    }

    fn sync(&self, name: &str) -> io::Result<()> {
        self.with(name, |file| file.sync_data())
    }

    fn sync_directory(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    fn read(&self, name: &str, offset: u64, bytes: usize) -> io::Result<Vec<u8>> {
        self.with(name, |file| {
            let mut buffer = vec![0; bytes];
            let mut filled = 0;
            while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
                match file.read_at(rest, offset + filled as u64) {
                    Ok(0) => break,
                    Ok(count) => filled += count,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            buffer.truncate(filled);
            Ok(buffer)
        })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.open.borrow_mut().remove(name);
        fs::remove_file(self.path.join(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_written_read_cut_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Folder::new(&dir.path().join("a/b")).unwrap();
        disk.create("one", b"head").unwrap();
        assert!(disk.create("one", b"").is_err(), "a file is made once");
        disk.append("one", b"tail").unwrap();
        disk.sync("one").unwrap();
        disk.sync_directory().unwrap();
        assert_eq!(disk.read("one", 2, 100).unwrap(), b"adtail");
        assert_eq!(disk.read("one", 2, 3).unwrap(), b"adt");
        assert_eq!(disk.read("one", 100, 3).unwrap(), b"");
        disk.truncate("one", 5).unwrap();
        disk.append("one", b"!").unwrap();
        assert_eq!(disk.read("one", 0, 100).unwrap(), b"headt!");
        let again = Folder::new(&dir.path().join("a/b")).unwrap();
        assert_eq!(again.read("one", 0, 4).unwrap(), b"head");
        assert_eq!(again.list().unwrap(), ["one"]);
        again.remove("one").unwrap();
        assert!(again.list().unwrap().is_empty());
    }
}
