//! Policy bundles: how they are made of files, signed, and read back.
//!
//! Owns the form. Nothing here trusts anybody: agents check the signature against keys of their own, and the collector
//! only hands bundles on. The key that signs lies where the operator is, never here.

use std::{
    fmt, fs,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use prost::Message as _;
use rampart_proto::v1;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};

use crate::identity::{self, IdentityError, hex, sha256, unhex};

/// The one form there is.
const FORMAT: u32 = 1;
/// Largest bundle, signature included.
pub const BYTES_MAX: usize = 2 << 20;
/// Files of a bundle.
const FILES_MAX: usize = 256;
/// Bytes of a name.
const NAME_MAX: usize = 100;
/// What every signature is over, before the digest: a key's signatures of other things say nothing of bundles.
const LABEL: &[u8] = b"rampart policy bundle 1\0";
/// The file of settings.
const SETTINGS: &str = "policy.yaml";
/// The folder of rules.
const RULES: &str = "rules";

/// A bundle that is whole: its signature is by the key that it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// What people call it.
    pub name: String,
    /// When it was made, seconds since the epoch.
    pub created_secs: u64,
    /// SHA-256, hexadecimal.
    pub digest: String,
    /// Who signed it: a public key, hexadecimal.
    pub key: String,
    /// Its files with their sizes.
    pub files: Vec<(String, usize)>,
}

/// Something is wrong with a bundle or a key.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// A file cannot be read or written.
    #[error("cannot {operation} `{}`", path.display())]
    File {
        /// What was tried.
        operation: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file must not be there.
    #[error(
        "`{0}` cannot be in a bundle; it has `policy.yaml` and `rules/NAME.yaml`, names of letters, digits, `.`, `_`, `-`"
    )]
    Path(String),
    /// A file is no text.
    #[error("`{0}` is not UTF-8")]
    Text(String),
    /// There is nothing.
    #[error("`{}` has neither `policy.yaml` nor `rules/*.yaml`", .0.display())]
    Empty(PathBuf),
    /// There are too many files.
    #[error("a bundle has {FILES_MAX} files at most")]
    Files,
    /// It cannot be called so.
    #[error("`{0}` cannot be the name of a bundle: use 1 to {NAME_MAX} letters, digits, `.`, `_`, `-`, `+`")]
    Name(String),
    /// It is too large.
    #[error("the bundle has {0} bytes, more than the {BYTES_MAX} that agents take")]
    TooLarge(usize),
    /// It is something else.
    #[error("this is no signed bundle: {0}")]
    NoBundle(&'static str),
    /// The signature does not fit.
    #[error("the signature of the bundle is wrong: it was changed after it was signed")]
    Signature,
    /// Somebody else signed it.
    #[error("the bundle is signed with the key {0}, which is none of those given")]
    UnknownKey(String),
    /// A key is none.
    #[error("`{}` holds no key of `rampart-collector bundle keygen`", .0.display())]
    Key(PathBuf),
    /// The machine gives no random numbers.
    #[error(transparent)]
    Random(#[from] IdentityError),
}

/// A key that signs.
pub struct SigningKey(Ed25519KeyPair);

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SigningKey").field(&self.public()).finish()
    }
}

impl SigningKey {
    /// Makes one, in a file for the owner only that must not be there yet.
    pub fn create(path: &Path) -> Result<Self, BundleError> {
        let seed: [u8; 32] = identity::random()?;
        let text = format!("{}\n", hex(&seed));
        let write = || -> io::Result<()> {
            let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()
        };
        write().map_err(|source| BundleError::File { operation: "make", path: path.to_owned(), source })?;
        Self::open(path)
    }

    /// The one in a file.
    pub fn open(path: &Path) -> Result<Self, BundleError> {
        let text = fs::read_to_string(path);
        let text =
            text.map_err(|source| BundleError::File { operation: "read", path: path.to_owned(), source })?;
        let pair = unhex(text.trim()).and_then(|seed| Ed25519KeyPair::from_seed_unchecked(&seed).ok());
        pair.map(Self).ok_or_else(|| BundleError::Key(path.to_owned()))
    }

    /// What agents are given as `bundles.keys`.
    pub fn public(&self) -> String {
        hex(self.0.public_key().as_ref())
    }

    /// A bundle of these bytes.
    fn sign(&self, bundle: Vec<u8>) -> Vec<u8> {
        let signature = self.0.sign(&message(&bundle)).as_ref().to_vec();
        v1::SignedBundle { bundle, signature, key: self.0.public_key().as_ref().to_vec() }.encode_to_vec()
    }
}

/// Makes a signed bundle of a directory.
pub fn build(dir: &Path, name: &str, created_secs: u64, key: &SigningKey) -> Result<Vec<u8>, BundleError> {
    if !is_name(name) {
        return Err(BundleError::Name(name.to_owned()));
    }
    let mut files = Vec::new();
    for path in listed(dir)? {
        let inner = path.strip_prefix(dir).unwrap_or(&path).to_string_lossy().into_owned();
        if !is_file(&inner) {
            return Err(BundleError::Path(inner));
        }
        let content = fs::read(&path);
        let content = content.map_err(|source| BundleError::File { operation: "read", path, source })?;
        if str::from_utf8(&content).is_err() {
            return Err(BundleError::Text(inner));
        }
        files.push(v1::BundleFile { path: inner, content });
    }
    if files.is_empty() {
        return Err(BundleError::Empty(dir.to_owned()));
    }
    if files.len() > FILES_MAX {
        return Err(BundleError::Files);
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let bundle = v1::Bundle { format: FORMAT, name: name.to_owned(), created_secs, files };
    let signed = key.sign(bundle.encode_to_vec());
    if signed.len() > BYTES_MAX { Err(BundleError::TooLarge(signed.len())) } else { Ok(signed) }
}

/// What a signed bundle is, once its signature fits the key that it names.
pub fn open(bytes: &[u8]) -> Result<Bundle, BundleError> {
    if bytes.len() > BYTES_MAX {
        return Err(BundleError::TooLarge(bytes.len()));
    }
    let form =
        |_| BundleError::NoBundle("it is something else; make one with `rampart-collector bundle build`");
    let signed = v1::SignedBundle::decode(bytes).map_err(form)?;
    UnparsedPublicKey::new(&ED25519, &signed.key)
        .verify(&message(&signed.bundle), &signed.signature)
        .map_err(|_| BundleError::Signature)?;
    let bundle = v1::Bundle::decode(signed.bundle.as_slice()).map_err(form)?;
    if bundle.format != FORMAT || bundle.encode_to_vec() != signed.bundle {
        return Err(BundleError::NoBundle("it is of another version"));
    }
    if !is_name(&bundle.name) {
        return Err(BundleError::Name(bundle.name));
    }
    let v1::Bundle { name, created_secs, files, .. } = bundle;
    if files.is_empty() || files.len() > FILES_MAX {
        return Err(BundleError::Files);
    }
    if let Some(file) = files.iter().find(|file| !is_file(&file.path)) {
        return Err(BundleError::Path(file.path.chars().take(NAME_MAX).collect()));
    }
    let files = files.into_iter().map(|file| (file.path, file.content.len())).collect();
    Ok(Bundle { name, created_secs, digest: hex(&sha256(&signed.bundle)), key: hex(&signed.key), files })
}

fn message(bundle: &[u8]) -> Vec<u8> {
    [LABEL, &sha256(bundle)].concat()
}

/// The files of a directory that make a bundle. Whatever else lies there is a mistake and said, but for hidden files.
fn listed(dir: &Path) -> Result<Vec<PathBuf>, BundleError> {
    let list = |dir: &Path| -> Result<Vec<PathBuf>, BundleError> {
        let fault = |source| BundleError::File { operation: "list", path: dir.to_owned(), source };
        let entries = fs::read_dir(dir).map_err(fault)?;
        let mut paths = entries
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<io::Result<Vec<_>>>()
            .map_err(fault)?;
        paths.retain(|path| path.file_name().is_some_and(|name| !name.to_string_lossy().starts_with('.')));
        Ok(paths)
    };
    let mut files = Vec::new();
    for path in list(dir)? {
        if path.ends_with(RULES) && path.is_dir() { files.extend(list(&path)?) } else { files.push(path) }
    }
    Ok(files)
}

fn is_name(name: &str) -> bool {
    (1..=NAME_MAX).contains(&name.len()) && name.bytes().all(|letter| is_plain(letter) || letter == b'+')
}

fn is_file(path: &str) -> bool {
    if path == SETTINGS {
        return true;
    }
    let Some(name) = path.strip_prefix("rules/") else { return false };
    let Some(stem) = name.strip_suffix(".yaml").or_else(|| name.strip_suffix(".yml")) else { return false };
    !stem.is_empty() && name.len() <= NAME_MAX && !name.starts_with('.') && name.bytes().all(is_plain)
}

const fn is_plain(letter: u8) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, b'.' | b'_' | b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_becomes_the_same_bytes_each_time_and_no_byte_can_be_changed() {
        let dir = tempfile::tempdir().unwrap();
        let key = SigningKey::create(&dir.path().join("key")).unwrap();
        assert_eq!(SigningKey::open(&dir.path().join("key")).unwrap().public(), key.public());
        assert!(SigningKey::create(&dir.path().join("key")).is_err(), "a key is never written over");
        let policy = dir.path().join("policy");
        fs::create_dir_all(policy.join("rules")).unwrap();
        assert!(matches!(build(&policy, "v1", 5, &key), Err(BundleError::Empty(_))));
        for (path, text) in
            [("rules/b.yaml", "b"), ("rules/a.yml", "a"), ("policy.yaml", "limits: {}"), (".git", "")]
        {
            fs::write(policy.join(path), text).unwrap();
        }
        let bytes = build(&policy, "v1", 5, &key).unwrap();
        assert_eq!(build(&policy, "v1", 5, &key).unwrap(), bytes);
        let bundle = open(&bytes).unwrap();
        let names: Vec<&str> = bundle.files.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["policy.yaml", "rules/a.yml", "rules/b.yaml"]);
        assert_eq!((bundle.name.as_str(), bundle.created_secs, &bundle.key), ("v1", 5, &key.public()));
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            assert!(open(&bad).is_err(), "byte {at}");
        }
        assert!(matches!(build(&policy, "v 1", 5, &key), Err(BundleError::Name(_))));
        fs::write(policy.join("notes.txt"), "").unwrap();
        assert!(matches!(build(&policy, "v1", 5, &key), Err(BundleError::Path(path)) if path == "notes.txt"));
    }
}
