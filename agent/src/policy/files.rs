//! Which rule files there are: a directory stands for its `.yaml` and `.yml` files in byte order of their names.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

/// Largest rule file in bytes.
const FILE_MAX_BYTES: u64 = 16 << 20;

/// A rule file that could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read rules from `{}`: {source}{}", path.display(), hint(.source))]
pub struct ReadFault {
    /// The file or directory.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "; check the name given with `-r` or in `rules.files`",
        io::ErrorKind::PermissionDenied => "; make it readable for the agent's user",
        _ => "",
    }
}

/// What tells one version of a file from the next.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp {
    path: PathBuf,
    modified: Option<SystemTime>,
    bytes: u64,
    inode: u64,
}

/// The files behind the names given, in load order.
pub fn expand(names: &[PathBuf]) -> Result<Vec<PathBuf>, Vec<ReadFault>> {
    let mut files = Vec::new();
    let mut faults = Vec::new();
    for name in names {
        match list(name) {
            Ok(found) => files.extend(found),
            Err(source) => faults.push(ReadFault { path: name.clone(), source }),
        }
    }
    if faults.is_empty() { Ok(files) } else { Err(faults) }
}

fn list(name: &Path) -> io::Result<Vec<PathBuf>> {
    if !fs::metadata(name)?.is_dir() {
        return Ok(vec![name.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(name)? {
        let path = entry?.path();
        // A link counts as what it points at: Kubernetes mounts configuration that way.
        if is_rule_file(&path) && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    if files.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the directory has no `.yaml` or `.yml` file"));
    }
    Ok(files)
}

fn is_rule_file(path: &Path) -> bool {
    let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
    !hidden
        && path
            .extension()
            .is_some_and(|end| end.eq_ignore_ascii_case("yaml") || end.eq_ignore_ascii_case("yml"))
}

/// One file's bytes.
pub fn read(path: &Path) -> Result<Vec<u8>, ReadFault> {
    let fault = |source| ReadFault { path: path.to_owned(), source };
    let meta = fs::metadata(path).map_err(fault)?;
    if meta.len() > FILE_MAX_BYTES {
        let text = format!("it has {} bytes, more than the {FILE_MAX_BYTES} allowed", meta.len());
        return Err(fault(io::Error::new(io::ErrorKind::FileTooLarge, text)));
    }
    fs::read(path).map_err(fault)
}

/// The versions of all files behind the names, for noticing changes. What cannot be looked at is a version too.
pub fn stamps(names: &[PathBuf]) -> Vec<Stamp> {
    let mut stamps = Vec::new();
    for name in names {
        match list(name) {
            Ok(files) => stamps.extend(files.into_iter().map(stamp)),
            Err(_) => stamps.push(stamp(name.clone())),
        }
    }
    stamps
}

fn stamp(path: PathBuf) -> Stamp {
    use std::os::unix::fs::MetadataExt;
    match fs::metadata(&path) {
        Ok(meta) => Stamp { modified: meta.modified().ok(), bytes: meta.len(), inode: meta.ino(), path },
        Err(_) => Stamp { modified: None, bytes: 0, inode: 0, path },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_listed_in_order_and_other_files_left_out() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b.yaml", "a.yml", "Z.YAML", "notes.txt", ".hidden.yaml"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        fs::create_dir(dir.path().join("c.yaml")).unwrap();
        let single = dir.path().join("notes.txt");
        let files = expand(&[single.clone(), dir.path().to_owned()]).unwrap();
        let names: Vec<_> = files.iter().map(|file| file.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["notes.txt", "Z.YAML", "a.yml", "b.yaml"]);
    }

    #[test]
    fn every_fault_is_named_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let faults = expand(&["/nonexistent/a.yaml".into(), dir.path().to_owned()]).unwrap_err();
        assert_eq!(faults.len(), 2);
        assert_eq!(
            faults[0].to_string(),
            "cannot read rules from `/nonexistent/a.yaml`: No such file or directory (os error 2); \
             check the name given with `-r` or in `rules.files`"
        );
        assert!(faults[1].to_string().contains("no `.yaml` or `.yml` file"));
    }

    #[test]
    fn huge_files_are_refused_before_they_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("huge.yaml");
        fs::File::create(&path).unwrap().set_len(FILE_MAX_BYTES + 1).unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("more than the"));
    }

    #[test]
    fn a_changed_added_or_removed_file_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let names = [dir.path().to_owned()];
        let path = dir.path().join("a.yaml");
        fs::write(&path, "1").unwrap();
        let first = stamps(&names);
        assert_eq!(stamps(&names), first);
        fs::write(&path, "22").unwrap();
        let second = stamps(&names);
        assert_ne!(second, first);
        fs::write(dir.path().join("b.yaml"), "").unwrap();
        assert_ne!(stamps(&names), second);
        fs::remove_file(&path).unwrap();
        fs::remove_file(dir.path().join("b.yaml")).unwrap();
        assert_eq!(stamps(&names).len(), 1);
    }
}
