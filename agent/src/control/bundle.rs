//! Policy bundles as they are written.

use prost::Message as _;
use rampart_proto::v1::{self, BundleOffer, BundleState};

use crate::bundles::{Active, Digest, Offer, Refused, Standing};

/// A signed bundle.
pub struct Signed {
    /// What is signed.
    pub bundle: Vec<u8>,
    /// The signature.
    pub signature: Vec<u8>,
    /// Which key to try.
    pub key: Vec<u8>,
}

/// What a bundle holds, unchecked.
pub struct Content {
    /// Form.
    pub format: u32,
    /// What people call it.
    pub name: String,
    /// When it was made.
    pub created_secs: u64,
    /// Paths with what is there.
    pub files: Vec<(String, Vec<u8>)>,
}

/// The signed bundle in these bytes.
pub fn signed(bytes: &[u8]) -> Option<Signed> {
    let v1::SignedBundle { bundle, signature, key } = v1::SignedBundle::decode(bytes).ok()?;
    Some(Signed { bundle, signature, key })
}

/// The content of these bytes, if they are the one way to write it.
pub fn content(bytes: &[u8]) -> Option<Content> {
    let bundle = v1::Bundle::decode(bytes).ok()?;
    if bundle.encode_to_vec() != bytes {
        return None;
    }
    let v1::Bundle { format, name, created_secs, files } = bundle;
    let files = files.into_iter().map(|file| (file.path, file.content)).collect();
    Some(Content { format, name, created_secs, files })
}

/// What a collector wants; `None` when it makes no sense.
pub(super) fn offer(offer: BundleOffer) -> Option<Offer> {
    let digest = match offer.digest.len() {
        0 => None,
        _ => Some(Digest(offer.digest.try_into().ok()?)),
    };
    Some(Offer { digest, content: offer.content })
}

/// How it is with bundles here.
pub(super) fn state(standing: &Standing) -> BundleState {
    let bytes = |digest: Option<Digest>| digest.map_or_else(Vec::new, |digest| digest.0.to_vec());
    let Standing { is_accepting, active, fault } = standing;
    let (digest, name) = match active {
        Some(Active { digest, name, .. }) => (bytes(Some(*digest)), name.clone()),
        None => (Vec::new(), String::new()),
    };
    let (fault, fault_digest) = match fault {
        Some(Refused { digest, text }) => (text.clone(), bytes(*digest)),
        None => (String::new(), Vec::new()),
    };
    BundleState { is_accepting: *is_accepting, digest, name, fault, fault_digest }
}

#[cfg(test)]
pub(crate) mod tests {
    //! Bundles for tests.

    use prost::Message as _;
    use rampart_proto::v1;

    /// The bytes of a bundle with these files, in this order.
    pub(crate) fn write(format: u32, name: &str, files: &[(&str, &[u8])]) -> Vec<u8> {
        let files = files
            .iter()
            .map(|(path, content)| v1::BundleFile { path: (*path).to_owned(), content: content.to_vec() });
        v1::Bundle { format, name: name.to_owned(), created_secs: 1_700_000_000, files: files.collect() }
            .encode_to_vec()
    }

    /// The bytes of a signed one.
    pub(crate) fn write_signed(bundle: Vec<u8>, signature: Vec<u8>, key: Vec<u8>) -> Vec<u8> {
        v1::SignedBundle { bundle, signature, key }.encode_to_vec()
    }
}
