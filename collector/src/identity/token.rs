//! Tokens to join with: `rj1.ID.SECRET.CA`, where `CA` is the SHA-256 of the authority's certificate, so that an agent that
//! knows nothing yet knows whom to trust.

use std::{fmt, str::FromStr};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use subtle::ConstantTimeEq as _;

use super::{
    IdentityError, hex,
    items::{JoinToken, Used},
    random, sha256, unhex,
};

/// What tokens of this form begin with.
const PREFIX: &str = "rj1";

/// A token as its holder has it.
#[derive(Clone, PartialEq, Eq)]
pub struct Text {
    /// Its name, which is no secret.
    pub id: String,
    secret: [u8; 32],
    /// SHA-256 of the authority's certificate.
    pub authority: [u8; 32],
}

/// This is no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no token to join with")]
pub struct NoToken;

/// Why a token is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Nobody made it, or its secret is another one.
    #[error("the token is not known")]
    Unknown,
    /// It was taken back.
    #[error("the token was taken back")]
    Revoked,
    /// It is too old.
    #[error("the token has expired")]
    Expired,
    /// It was used before.
    #[error("the token was used")]
    Used,
    /// It is for another node.
    #[error("the token is for another node")]
    OtherNode,
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Text").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Text {
    /// A new one.
    pub fn new(authority: [u8; 32]) -> Result<Self, IdentityError> {
        Ok(Self { id: hex(&random::<6>()?), secret: random()?, authority })
    }

    /// What is stored of it.
    pub fn item(&self, node: Option<String>, created_ns: u64, ends_ns: u64) -> JoinToken {
        let hash = hex(&sha256(&self.secret));
        JoinToken { hash, node, created_ns, ends_ns, is_revoked: false, used: None }
    }

    /// The token with its use by a node's key; whoever used it may do so again with the same key.
    pub fn used(&self, item: JoinToken, node: &str, key: &str, now_ns: u64) -> Result<JoinToken, Refused> {
        let hash = hex(&sha256(&self.secret));
        if !bool::from(hash.as_bytes().ct_eq(item.hash.as_bytes())) {
            return Err(Refused::Unknown);
        }
        if item.is_revoked {
            return Err(Refused::Revoked);
        }
        if now_ns >= item.ends_ns {
            return Err(Refused::Expired);
        }
        if item.node.as_deref().is_some_and(|bound| bound != node) {
            return Err(Refused::OtherNode);
        }
        match &item.used {
            Some(used) if used.node == node && used.key == key => Ok(item),
            Some(_) => Err(Refused::Used),
            None => {
                let used = Used { time_ns: now_ns, node: node.to_owned(), key: key.to_owned() };
                Ok(JoinToken { used: Some(used), ..item })
            }
        }
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}.{}.{}.{}", self.id, BASE64.encode(self.secret), hex(&self.authority))
    }
}

impl FromStr for Text {
    type Err = NoToken;

    fn from_str(text: &str) -> Result<Self, NoToken> {
        let mut parts = text.trim().split('.');
        let mut next = || parts.next().ok_or(NoToken);
        let (prefix, id, secret, authority) = (next()?, next()?, next()?, next()?);
        if prefix != PREFIX || parts.next().is_some() || unhex(id).is_none_or(|id| id.len() != 6) {
            return Err(NoToken);
        }
        let secret = BASE64.decode(secret).map_err(|_| NoToken)?.try_into().map_err(|_| NoToken)?;
        let authority = unhex(authority).ok_or(NoToken)?.try_into().map_err(|_| NoToken)?;
        Ok(Self { id: id.to_owned(), secret, authority })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_as_it_was_written_and_shown_to_nobody() {
        let token = Text::new([7; 32]).unwrap();
        let text = token.to_string();
        assert_eq!(format!(" {text}\n").parse(), Ok(token.clone()));
        assert!(!format!("{token:?}").contains(text.split('.').nth(2).unwrap()));
        assert!(!format!("{:?}", token.item(None, 0, 1)).contains(text.split('.').nth(2).unwrap()));
        for wrong in
            ["", "rj1", &text[1..], &format!("{text}.x"), &text.replace('.', "-"), &text[..text.len() - 2]]
        {
            assert_eq!(wrong.parse::<Text>(), Err(NoToken), "{wrong}");
        }
    }

    #[test]
    fn a_token_is_for_one_key_of_one_node_in_time() {
        let token = Text::new([7; 32]).unwrap();
        let fresh = token.item(None, 0, 100);
        let used = token.used(fresh.clone(), "n1", "k1", 50).unwrap();
        assert_eq!(token.used(used.clone(), "n1", "k1", 60), Ok(used.clone()));
        assert_eq!(token.used(used.clone(), "n1", "k2", 60), Err(Refused::Used));
        assert_eq!(token.used(used, "n2", "k1", 60), Err(Refused::Used));
        assert_eq!(token.used(fresh.clone(), "n1", "k1", 100), Err(Refused::Expired));
        let bound = token.item(Some("n2".to_owned()), 0, 100);
        assert_eq!(token.used(bound.clone(), "n1", "k1", 50), Err(Refused::OtherNode));
        assert!(token.used(bound, "n2", "k1", 50).is_ok());
        let revoked = JoinToken { is_revoked: true, ..fresh.clone() };
        assert_eq!(token.used(revoked, "n1", "k1", 50), Err(Refused::Revoked));
        let other = Text { secret: [1; 32], ..token };
        assert_eq!(other.used(fresh, "n1", "k1", 50), Err(Refused::Unknown));
    }
}
