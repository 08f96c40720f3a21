//! Who may do what: the authority that signs agents' certificates, how agents get them, and what is refused.
//!
//! ```text
//! token create ─▶ token ─▶ agent ─▶ Enrol (key's request, token) ─▶ certificate ≤ 24 h ─▶ Session over mTLS
//!                                     ▲ at two thirds of its life: Enrol (request) over the old certificate
//! revoke ─▶ store ─▶ every 2 s ─▶ Revoked ─▶ open streams end, new ones and renewals are refused
//! user add, jwt create ─▶ signed token (EdDSA) ─▶ HTTP and queries: viewer, operator, admin
//! ```
//!
//! Owns keys and rules; what is kept lies in the store ([`Book`]), each change together with a record of the audit log.
//! A token's secret is never stored, only its hash. Must never send a private key anywhere.

pub mod access;
pub mod authority;
pub mod enrol;
pub mod items;
pub mod jwt;
mod key;
pub mod keys;
pub mod password;
pub mod peer;
pub mod review;
pub mod revoked;
pub mod rotation;
pub mod throttle;
pub mod token;

use std::{
    fmt::{self, Write as _},
    io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use rustls_pki_types::CertificateDer;
use tokio::task::spawn_blocking;

use crate::store::{StoreError, identity::Book};

/// Something about identities does not work.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What the store holds cannot be read.
    #[error("the store holds an item that cannot be read: `{name}`")]
    Item {
        /// Which.
        name: String,
        /// Why not.
        source: serde_json::Error,
    },
    /// A file cannot be read or written.
    #[error("cannot {operation} `{}`", path.display())]
    File {
        /// What was tried.
        operation: &'static str,
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A key or a certificate is of no use.
    #[error("`{}` {problem}", path.display())]
    Unusable {
        /// Where it lies.
        path: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A certificate cannot be made.
    #[error("cannot make a certificate")]
    Certificate(#[from] rcgen::Error),
    /// A key cannot be used for TLS.
    #[error("cannot use a certificate for TLS")]
    Tls(#[from] rustls::Error),
    /// Those who connect cannot be checked.
    #[error("cannot use the certificates of those who may connect")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
    /// The machine gives no random numbers.
    #[error("cannot get a random number")]
    Random,
    /// The collector ends.
    #[error("the collector ends")]
    Ending,
}

/// The way to the book, from tasks.
#[derive(Clone)]
pub struct Records {
    book: Arc<Mutex<Box<dyn Book>>>,
}

impl fmt::Debug for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Records").finish_non_exhaustive()
    }
}

impl Records {
    /// The way to this book.
    pub fn new(book: Box<dyn Book>) -> Self {
        Self { book: Arc::new(Mutex::new(book)) }
    }

    /// Does something with the book, on a thread that may wait for the disk.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut dyn Book) -> Result<T, IdentityError> + Send + 'static,
    ) -> Result<T, IdentityError> {
        let book = Arc::clone(&self.book);
        let done = spawn_blocking(move || {
            // The book's transactions are whole or not there.
            let mut book = book.lock().unwrap_or_else(PoisonError::into_inner);
            work(&mut **book)
        });
        done.await.unwrap_or(Err(IdentityError::Ending))
    }
}

/// Random bytes.
pub fn random<const N: usize>() -> Result<[u8; N], IdentityError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| IdentityError::Random)?;
    Ok(bytes)
}

/// SHA-256.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref());
    hash
}

/// Bytes as people write them.
pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Strings have room for everything.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// The bytes that a text of two hexadecimal digits each stands for.
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.bytes().all(|letter| letter.is_ascii_hexdigit()) {
        return None;
    }
    let pair = |at: usize| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    (0..text.len()).step_by(2).map(pair).collect()
}

/// A certificate as it stands in files.
pub fn pem(certificate: &CertificateDer<'_>) -> String {
    let text = BASE64_STANDARD.encode(certificate);
    let lines: Vec<&str> = text.as_bytes().chunks(64).filter_map(|line| str::from_utf8(line).ok()).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

#[cfg(test)]
mod tests;
