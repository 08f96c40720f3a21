//! The bytes of bundles, as agents get them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};

use crate::{
    identity::{IdentityError, Records},
    store::identity::Kind,
};

/// Bundles that are held: the one that comes, the one that goes, and what a few stragglers have.
const HELD: usize = 4;

/// Reads bundles from the store, each once.
#[derive(Debug)]
pub struct Shelf {
    records: Records,
    held: Mutex<BTreeMap<String, Arc<[u8]>>>,
}

impl Shelf {
    /// Of this store.
    pub fn new(records: Records) -> Self {
        Self { records, held: Mutex::default() }
    }

    /// The signed bundle of a digest; `None` when it is not there any more.
    pub async fn get(&self, digest: &str) -> Result<Option<Arc<[u8]>>, IdentityError> {
        let held = || self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bytes) = held().get(digest) {
            return Ok(Some(Arc::clone(bytes)));
        }
        let name = digest.to_owned();
        let Some(item) = self.records.run(move |book| Ok(book.get(Kind::BundleContent, &name)?)).await?
        else {
            return Ok(None);
        };
        // What cannot be read is not there; agents would refuse it.
        let Ok(bytes) = BASE64_STANDARD.decode(&item.value) else { return Ok(None) };
        let bytes: Arc<[u8]> = bytes.into();
        let mut held = held();
        if held.len() >= HELD {
            held.clear();
        }
        held.insert(digest.to_owned(), Arc::clone(&bytes));
        Ok(Some(bytes))
    }
}
