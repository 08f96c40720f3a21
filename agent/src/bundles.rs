//! Policy bundles: rules and settings for many nodes, signed where they are made.
//!
//! Owns what a bundle is, whose signature counts, and the one that outlives the agent. Must never put anything in force:
//! `config` and `policy` read a bundle as they read files, and `app` does the rest. Whoever hands a bundle over is not
//! trusted: what is checked here, in this order, is its size, the key, the signature, and only then what it holds.

mod check;
pub mod keep;

use std::{fmt, sync::Arc, time::SystemTime};

use ring::signature::{ED25519, UnparsedPublicKey};
use sha2::{Digest as _, Sha256};

use crate::control::bundle as wire;

/// Largest bundle, signature included.
pub const BYTES_MAX: usize = 2 << 20;
/// What every signature is over, before the digest: a key's signatures of other things say nothing of bundles.
const LABEL: &[u8] = b"rampart policy bundle 1\0";
/// The file of settings.
pub const SETTINGS_FILE: &str = "policy.yaml";

/// SHA-256 of a bundle.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

/// Public key of somebody whose bundles are taken.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(pub [u8; 32]);

/// A bundle whose signature is good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// What people call it.
    pub name: String,
    /// When it was made, seconds since the epoch.
    pub created_secs: u64,
    /// What it is told apart by.
    pub digest: Digest,
    /// Rule files, in load order.
    pub rules: Vec<RuleFile>,
    /// Text of its settings.
    pub settings: Option<String>,
}

/// A rule file of a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleFile {
    /// How messages name it: `bundle NAME:rules/FILE.yaml`.
    pub name: String,
    /// What it holds.
    pub text: Arc<[u8]>,
}

/// What a collector wants a node to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Its digest; `None` when there is to be none.
    pub digest: Option<Digest>,
    /// A signed bundle; empty when there is to be none.
    pub content: Vec<u8>,
}

/// How it is with bundles on this node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Whether bundles are taken.
    pub is_accepting: bool,
    /// The one in force.
    pub active: Option<Active>,
    /// Why another one is not.
    pub fault: Option<Refused>,
}

/// The bundle in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Active {
    /// Which.
    pub digest: Digest,
    /// What people call it.
    pub name: String,
    /// When it was made, seconds since the epoch.
    pub created_secs: u64,
    /// Since when.
    pub since: SystemTime,
}

/// A bundle that is not in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Which, as far as that is known.
    pub digest: Option<Digest>,
    /// Why not.
    pub text: String,
}

/// Why a bundle is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// It is too large.
    #[error("the bundle has {0} bytes, more than the {BYTES_MAX} allowed")]
    TooLarge(usize),
    /// It is something else.
    #[error("this is no signed bundle; make one with `rampart-collector bundle build`")]
    NoBundle,
    /// Somebody signed it who is not trusted here.
    #[error("the bundle is signed with the key {0}, which is not one of `bundles.keys`")]
    UnknownKey(PublicKey),
    /// The signature is not one of these bytes by this key.
    #[error("the signature of the bundle is wrong: it was changed after it was signed")]
    Signature,
    /// It is signed, and not what a bundle is.
    #[error("the bundle is not written as this agent reads it: {0}")]
    Form(&'static str),
    /// A file's path is not allowed.
    #[error("the bundle has a file `{0}`; use `policy.yaml` and `rules/NAME.yaml`")]
    Path(String),
    /// A file is no text.
    #[error("the file `{0}` of the bundle is not UTF-8")]
    Text(String),
    /// What was sent is not what was announced.
    #[error("the bundle is not the one that was announced")]
    Other,
}

impl Bundle {
    /// The bundle in these bytes, if one of these keys has signed it.
    pub fn open(bytes: &[u8], keys: &[PublicKey]) -> Result<Self, BundleError> {
        if bytes.len() > BYTES_MAX {
            return Err(BundleError::TooLarge(bytes.len()));
        }
        let signed = wire::signed(bytes).ok_or(BundleError::NoBundle)?;
        let key = PublicKey(signed.key.try_into().map_err(|_| BundleError::NoBundle)?);
        if !keys.contains(&key) {
            return Err(BundleError::UnknownKey(key));
        }
        let digest = Digest(Sha256::digest(&signed.bundle).into());
        let message = [LABEL, &digest.0].concat();
        UnparsedPublicKey::new(&ED25519, key.0)
            .verify(&message, &signed.signature)
            .map_err(|_| BundleError::Signature)?;
        check::bundle(&signed.bundle, digest)
    }

    /// Whose signature it claims to have. That says nothing of whom to trust.
    pub fn signer(bytes: &[u8]) -> Option<PublicKey> {
        wire::signed(bytes)?.key.try_into().ok().map(PublicKey)
    }

    /// How messages name one of its files.
    pub fn place(&self, file: &str) -> String {
        format!("bundle {}:{file}", self.name)
    }
}

impl Standing {
    /// Digest of the bundle in force.
    pub fn digest(&self) -> Option<Digest> {
        self.active.as_ref().map(|active| active.digest)
    }
}

impl Active {
    /// This bundle, from now on.
    pub fn now(bundle: &Bundle) -> Self {
        let Bundle { name, created_secs, digest, .. } = bundle;
        Self { digest: *digest, name: name.clone(), created_secs: *created_secs, since: SystemTime::now() }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Digest(self.0), f)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
pub(crate) mod tests;
