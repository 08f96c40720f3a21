//! The items of the book: what their JSON says, and how they are read, listed and changed.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{IdentityError, access::Role};
use crate::store::identity::{Book, Item, Kind};

/// A token to join with. Its secret is not here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinToken {
    /// SHA-256 of the secret, hexadecimal.
    pub hash: String,
    /// The node that may use it; any when not set.
    pub node: Option<String>,
    /// When it was made, nanoseconds since the epoch.
    pub created_ns: u64,
    /// When it ends.
    pub ends_ns: u64,
    /// Whether it was taken back.
    pub is_revoked: bool,
    /// Who used it.
    pub used: Option<Used>,
}

/// The one use of a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Used {
    /// When, nanoseconds since the epoch.
    pub time_ns: u64,
    /// By which node.
    pub node: String,
    /// SHA-256 of its public key: whoever holds it and lost the answer may ask again.
    pub key: String,
}

/// A certificate that was made; the item's name is its serial number, hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// Whose.
    pub node: String,
    /// When it was made, nanoseconds since the epoch.
    pub created_ns: u64,
    /// When it ends.
    pub ends_ns: u64,
    /// What showed that it is this node: `token ID`, `service account NAME`, `certificate SERIAL`.
    pub proof: String,
    /// SHA-256 of the authorities that the node was told to trust with it, hexadecimal; the first one has signed it.
    #[serde(default)]
    pub told: Vec<String>,
}

/// Something refused; the item's name is `node NAME`, `serial HEX`, `jwt ID` or `user NAME`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Since when, nanoseconds since the epoch.
    pub since_ns: u64,
}

/// The public half of a key that has signed tokens for people; the item's name is the key's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenKey {
    /// The key, hexadecimal.
    pub public: String,
    /// When it was made, seconds since the epoch.
    pub made: u64,
    /// When the last token that it may sign has ended.
    pub ends: u64,
}

/// A person; the item's name is theirs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// What they may do.
    pub role: Role,
    /// How their password is checked.
    pub password: String,
    /// Since when, nanoseconds since the epoch.
    pub created_ns: u64,
}

/// What an item says.
pub fn read<T: DeserializeOwned>(item: &Item) -> Result<T, IdentityError> {
    serde_json::from_str(&item.value)
        .map_err(|source| IdentityError::Item { name: item.name.clone(), source })
}

/// The item of this name and its revision.
pub fn get<T: DeserializeOwned>(
    book: &mut dyn Book,
    kind: Kind,
    name: &str,
) -> Result<Option<(T, u64)>, IdentityError> {
    let Some(item) = book.get(kind, name)? else { return Ok(None) };
    Ok(Some((read(&item)?, item.revision)))
}

/// All of a kind, with their names.
pub fn list<T: DeserializeOwned>(book: &mut dyn Book, kind: Kind) -> Result<Vec<(String, T)>, IdentityError> {
    book.list(kind)?.iter().map(|item| Ok((item.name.clone(), read(item)?))).collect()
}

/// The JSON of an item.
pub fn write<T: Serialize>(value: &T) -> Result<String, IdentityError> {
    serde_json::to_string(value).map_err(|source| IdentityError::Item { name: String::new(), source })
}
