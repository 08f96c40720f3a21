//! The key and the certificate that the collector has made for it, in one file for the owner only.
//!
//! The key is written before it is shown to anybody: when an answer is lost, the collector is asked again with the same
//! key, which a token allows. A new key comes with each renewal and replaces the old one together with its certificate.

use std::{
    fmt,
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rcgen::{CertificateParams, KeyPair};
use serde::{Deserialize, Serialize};

use crate::telemetry::status::CertificateLife;

/// What is kept.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    /// Name of the node.
    pub(super) node: String,
    /// The key, PEM.
    key: String,
    /// What the collector has made for it; `None` until it has.
    pub(super) given: Option<Given>,
}

/// What the collector has made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Given {
    /// The certificate, PEM.
    pub(super) certificate: String,
    /// Whom to trust, PEM.
    pub(super) authorities: String,
    /// When it came, by this node's clock, seconds since the epoch.
    pub(super) came_secs: u64,
    /// How long it is good from then on.
    pub(super) life_secs: u64,
}

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
pub(super) enum IdentityError {
    /// The file cannot be read or written.
    #[error("cannot {operation} `{}`: {source}", path.display())]
    File { operation: &'static str, path: PathBuf, source: io::Error },
    /// Its content is of no use.
    #[error("`{}` is no identity: {source}", path.display())]
    Content { path: PathBuf, source: serde_json::Error },
    /// A key or a request cannot be made.
    #[error("cannot make a key: {0}")]
    Key(#[from] rcgen::Error),
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("node", &self.node)
            .field("given", &self.given)
            .finish_non_exhaustive()
    }
}

impl Identity {
    /// A new key without a certificate.
    pub(super) fn new(node: &str) -> Result<Self, IdentityError> {
        Ok(Self { node: node.to_owned(), key: KeyPair::generate()?.serialize_pem(), given: None })
    }

    /// What the file holds; `None` when there is none.
    pub(super) fn load(path: &Path) -> Result<Option<Self>, IdentityError> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(fault("read", path)(source)),
        };
        serde_json::from_str(&text)
            .map(Some)
            .map_err(|source| IdentityError::Content { path: path.to_owned(), source })
    }

    /// Replaces the file, whole or not at all.
    pub(super) fn store(&self, path: &Path) -> Result<(), IdentityError> {
        let content = |source| IdentityError::Content { path: path.to_owned(), source };
        let text = serde_json::to_string(self).map_err(content)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        if let Some(folder) = folder {
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
            made.map_err(fault("make", folder))?;
        }
        let draft = path.with_extension("new");
        let write = || -> io::Result<()> {
            // One that was left behind may have other rights.
            match fs::remove_file(&draft) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&draft, path)?;
            folder.map_or(Ok(()), |folder| fs::File::open(folder)?.sync_all())
        };
        write().map_err(fault("write", path))
    }

    /// A request for a certificate, DER.
    pub(super) fn request(&self) -> Result<Vec<u8>, IdentityError> {
        let key = KeyPair::from_pem(&self.key)?;
        Ok(CertificateParams::default().serialize_request(&key)?.der().to_vec())
    }

    /// The same key, to be asked for again.
    pub(super) fn without_certificate(self) -> Self {
        Self { given: None, ..self }
    }

    /// The key, PEM.
    pub(super) fn key(&self) -> &str {
        &self.key
    }
}

impl Given {
    /// Time until the next certificate is asked for: two thirds of its life after it came.
    pub(super) fn until_renewal(&self, now_secs: u64) -> Duration {
        let due = self.came_secs + self.life_secs / 3 * 2 + self.life_secs % 3 * 2 / 3;
        // A clock that was put back does not make it good for longer.
        Duration::from_secs(due.saturating_sub(now_secs).min(self.life_secs))
    }

    /// How long it is good, for who watches it.
    pub(super) const fn life(&self) -> CertificateLife {
        CertificateLife { ends_secs: self.came_secs + self.life_secs, life_secs: self.life_secs }
    }

    /// Whether it is good no longer.
    pub(super) fn has_ended(&self, now_secs: u64) -> bool {
        now_secs >= self.came_secs + self.life_secs
    }
}

/// Seconds since the epoch.
pub(super) fn now_secs() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

fn fault(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> IdentityError {
    let path = path.to_owned();
    move |source| IdentityError::File { operation, path, source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_is_kept_for_its_owner_only_and_shown_to_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state/collector.json");
        assert_eq!(Identity::load(&path).unwrap(), None);
        let mut identity = Identity::new("n1").unwrap();
        identity.store(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!format!("{identity:?}").contains("PRIVATE"));
        let given = Given {
            certificate: "c".to_owned(),
            authorities: "a".to_owned(),
            came_secs: 1000,
            life_secs: 100,
        };
        identity.given = Some(given);
        identity.store(&path).unwrap();
        assert_eq!(Identity::load(&path).unwrap(), Some(identity.clone()));
        assert!(!identity.request().unwrap().is_empty());
        assert_eq!(fs::read_dir(dir.path().join("state")).unwrap().count(), 1);
        fs::write(&path, "{").unwrap();
        assert!(Identity::load(&path).unwrap_err().to_string().contains("is no identity"));
    }

    #[test]
    fn the_next_one_is_asked_for_after_two_thirds() {
        let given = |life_secs| Given {
            certificate: String::new(),
            authorities: String::new(),
            came_secs: 1000,
            life_secs,
        };
        for (life, due) in [(86_400, 57_600), (100, 66), (3, 2), (0, 0)] {
            assert_eq!(given(life).until_renewal(1000).as_secs(), due);
            assert!(!given(life + 1).has_ended(1000 + life) && given(life).has_ended(1000 + life));
        }
        assert_eq!(given(90).until_renewal(5000), Duration::ZERO);
        assert_eq!(given(90).until_renewal(0).as_secs(), 90);
    }
}
