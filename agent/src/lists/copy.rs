//! The last good text of a list, on the disk: one file, a line of JSON and then the text.
//!
//! The file is replaced whole. The time of its last change says when its source last confirmed it. It names its source by
//! a digest, because an address may hold a secret; the copy of another source does not count.

use std::{fs, io, io::Read as _, path::Path, time::SystemTime};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{
    config::{ListSource, RuleList},
    fetch::Version,
    replace::replace,
};

/// Version of the file; others are not read.
const FORMAT: u32 = 1;
/// Room for the first line.
const HEAD_MAX: usize = 4096;

/// A copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    /// What names its version at its source.
    pub version: Version,
    /// When its source last confirmed it.
    pub confirmed: SystemTime,
    /// The text.
    pub text: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct Head {
    format: u32,
    source: String,
    #[serde(default)]
    etag: Option<String>,
    #[serde(default)]
    modified: Option<String>,
}

/// The copy of a list; `None` when there is none of its source.
pub fn read(list: &RuleList) -> io::Result<Option<Copy>> {
    let mut file = match fs::File::open(&list.copy) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let confirmed = file.metadata()?.modified()?;
    let mut text = Vec::new();
    file.by_ref().take((list.max_bytes + HEAD_MAX) as u64 + 1).read_to_end(&mut text)?;
    let damaged = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
    let end = text.iter().take(HEAD_MAX).position(|byte| *byte == b'\n');
    let end = end.ok_or_else(|| damaged("it has no first line"))?;
    let rest = text.split_off(end + 1);
    let head: Head = serde_json::from_slice(&text).map_err(|_| damaged("its first line is damaged"))?;
    if head.format != FORMAT || head.source != digest(&list.source) || rest.len() > list.max_bytes {
        return Ok(None);
    }
    let version = Version { etag: head.etag, modified: head.modified };
    Ok(Some(Copy { version, confirmed, text: rest }))
}

/// Keeps a text.
pub fn keep(list: &RuleList, version: &Version, text: &[u8]) -> io::Result<()> {
    let head = Head {
        format: FORMAT,
        source: digest(&list.source),
        etag: version.etag.clone().filter(|tag| tag.len() < HEAD_MAX / 4),
        modified: version.modified.clone().filter(|date| date.len() < HEAD_MAX / 4),
    };
    let mut bytes = serde_json::to_vec(&head)?;
    bytes.push(b'\n');
    bytes.extend_from_slice(text);
    let (Some(directory), Some(name)) = (list.copy.parent(), list.copy.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    replace(directory, &name.to_string_lossy(), &bytes)
}

/// Its source says that it is current.
pub fn confirm(copy: &Path) -> io::Result<()> {
    fs::File::options().append(true).open(copy)?.set_modified(SystemTime::now())
}

fn digest(source: &ListSource) -> String {
    let digest = match source {
        ListSource::File(path) => {
            use std::os::unix::ffi::OsStrExt as _;
            Sha256::new().chain_update(b"file ").chain_update(path.as_os_str().as_bytes()).finalize()
        }
        ListSource::Url(url) => Sha256::new().chain_update(b"url ").chain_update(url).finalize(),
    };
    let number = digest.first_chunk().map_or(0, |bytes| u128::from_be_bytes(*bytes));
    format!("{number:032x}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lists::parse::tests::list;

    #[test]
    fn a_copy_comes_back_for_its_own_source_only() {
        let dir = tempfile::tempdir().unwrap();
        let mut list = list("ip");
        list.copy = dir.path().join("state/lists/bad");
        assert_eq!(read(&list).unwrap(), None);
        let version = Version { etag: Some("\"7\"".to_owned()), modified: None };
        keep(&list, &version, b"192.0.2.1\n\n").unwrap();
        let copy = read(&list).unwrap().unwrap();
        assert_eq!((&copy.version, copy.text.as_slice()), (&version, &b"192.0.2.1\n\n"[..]));
        // A crash in the middle of a write leaves the old one.
        fs::write(dir.path().join("state/lists/bad.new"), "{").unwrap();
        assert_eq!(read(&list).unwrap().unwrap().text, copy.text);
        let old = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1000);
        fs::File::options().append(true).open(&list.copy).unwrap().set_modified(old).unwrap();
        assert_eq!(read(&list).unwrap().unwrap().confirmed, old);
        confirm(&list.copy).unwrap();
        assert!(read(&list).unwrap().unwrap().confirmed > old);
        let other = RuleList { source: ListSource::File("/elsewhere".into()), ..list.clone() };
        assert_eq!(read(&other).unwrap(), None);
        let smaller = RuleList { max_bytes: 3, ..list.clone() };
        assert_eq!(read(&smaller).unwrap(), None);
        for damaged in ["", "{}\n1", "nothing", "{\"format\": 9, \"source\": \"\"}\n"] {
            fs::write(&list.copy, damaged).unwrap();
            assert!(read(&list).ok().flatten().is_none(), "{damaged}");
        }
    }
}
