//! Signed tokens for people and their programs (JWT), with one algorithm: `EdDSA` over Ed25519.
//!
//! There is nothing to choose from, so nothing to confuse: a token whose header says anything else is refused before its
//! signature is looked at. The crates for this bring half a dozen algorithms, RSA among them.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use ring::signature::{ED25519, UnparsedPublicKey};
use serde::{Deserialize, Serialize};

use super::{IdentityError, access::Role, hex, keys::Keys, random, revoked::Revoked};
use crate::store::identity::Change;

/// Who signs.
const ISSUER: &str = "rampart-collector";
/// Longest token that is looked at.
const LONGEST: usize = 4096;
/// Nanoseconds of a second.
const SECOND: u64 = 1_000_000_000;
/// Clocks of collectors that share keys may differ by this, seconds.
const SKEW: u64 = 30;

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Header {
    alg: String,
    typ: String,
    kid: String,
}

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Who signed it.
    pub iss: String,
    /// For whom.
    pub sub: String,
    /// What they may do.
    pub role: Role,
    /// When it was signed, seconds since the epoch.
    pub iat: u64,
    /// The same in nanoseconds, to know it from what was refused within the same second.
    pub iat_ns: u64,
    /// When it ends, seconds since the epoch.
    pub exp: u64,
    /// Its name.
    pub jti: String,
}

/// Why a token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is none of ours.
    #[error("this is no token of this collector")]
    Foreign,
    /// Its key is gone, or never was.
    #[error("the token's key is not known")]
    UnknownKey,
    /// Its signature is wrong.
    #[error("the token's signature is wrong")]
    Forged,
    /// It has ended.
    #[error("the token has expired")]
    Expired,
    /// It was taken back.
    #[error("the token was taken back")]
    Revoked,
}

/// A token that was signed.
#[derive(Debug)]
pub struct Signed {
    /// It.
    pub token: String,
    /// What it says.
    pub claims: Claims,
    /// The public half of its key, for the book: without, other collectors of the store refuse the token.
    pub key: Change,
}

/// Signs a token.
pub fn sign(keys: &Keys, user: &str, role: Role, now_ns: u64, secs: u64) -> Result<Signed, IdentityError> {
    let now = now_ns / SECOND;
    let Some(key) = keys.newest() else { return Err(IdentityError::Ending) };
    let header = Header { alg: "EdDSA".to_owned(), typ: "JWT".to_owned(), kid: key.name.clone() };
    let claims = Claims {
        iss: ISSUER.to_owned(),
        sub: user.to_owned(),
        role,
        iat: now,
        iat_ns: now_ns,
        exp: now + secs,
        jti: hex(&random::<8>()?),
    };
    let part = |json: serde_json::Result<String>| json.map(|json| BASE64.encode(json));
    let json = |source| IdentityError::Item { name: user.to_owned(), source };
    let head = part(serde_json::to_string(&header)).map_err(json)?;
    let body = part(serde_json::to_string(&claims)).map_err(json)?;
    let signed = format!("{head}.{body}");
    let signature = BASE64.encode(key.pair.sign(signed.as_bytes()));
    Ok(Signed { token: format!("{signed}.{signature}"), claims, key: key.told()? })
}

/// What a token says, if it is good.
pub fn verify(keys: &Keys, revoked: &Revoked, token: &str, now: u64) -> Result<Claims, Refused> {
    if token.len() > LONGEST {
        return Err(Refused::Foreign);
    }
    let (signed, signature) = token.rsplit_once('.').ok_or(Refused::Foreign)?;
    let (head, body) = signed.split_once('.').ok_or(Refused::Foreign)?;
    let decode = |text: &str| BASE64.decode(text).map_err(|_| Refused::Foreign);
    let header: Header = serde_json::from_slice(&decode(head)?).map_err(|_| Refused::Foreign)?;
    if header.alg != "EdDSA" {
        return Err(Refused::Foreign);
    }
    if revoked.has_key(&header.kid) {
        return Err(Refused::Revoked);
    }
    let key = keys.public(&header.kid, now).ok_or(Refused::UnknownKey)?;
    UnparsedPublicKey::new(&ED25519, key)
        .verify(signed.as_bytes(), &decode(signature)?)
        .map_err(|_| Refused::Forged)?;
    let claims: Claims = serde_json::from_slice(&decode(body)?).map_err(|_| Refused::Foreign)?;
    if claims.iss != ISSUER || claims.iat > now + SKEW {
        return Err(Refused::Foreign);
    }
    if now >= claims.exp {
        return Err(Refused::Expired);
    }
    if revoked.has_token(&claims.jti, &claims.sub, claims.iat_ns) {
        return Err(Refused::Revoked);
    }
    Ok(claims)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        audit::Note,
        identity::{
            items::{self, Refusal, TokenKey},
            revoked::What,
        },
        store::{
            identity::{Book as _, Expect, Kind},
            sqlite,
        },
    };

    #[test]
    fn only_what_was_signed_here_is_good_and_only_for_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let keys = Keys::open(dir.path(), 1000).unwrap();
        let none = Revoked::default();
        let Signed { token, claims, .. } = sign(&keys, "ann", Role::Operator, 1000 * SECOND, 60).unwrap();
        assert_eq!(verify(&keys, &none, &token, 1059), Ok(claims.clone()));
        assert_eq!((claims.sub.as_str(), claims.role), ("ann", Role::Operator));
        assert_eq!(verify(&keys, &none, &token, 1060), Err(Refused::Expired));
        assert_eq!(verify(&keys, &none, &token, 900), Err(Refused::Foreign), "of the future");
        keys.rotate(2000).unwrap();
        assert_eq!(verify(&keys, &none, &token, 1059), Ok(claims.clone()), "the old key still verifies");

        let parts: Vec<&str> = token.split('.').collect();
        let body = |change: &dyn Fn(&mut Claims)| {
            let mut other = claims.clone();
            change(&mut other);
            BASE64.encode(serde_json::to_string(&other).unwrap())
        };
        let admin = body(&|claims| claims.role = Role::Admin);
        assert_eq!(
            verify(&keys, &none, &format!("{}.{admin}.{}", parts[0], parts[2]), 1059),
            Err(Refused::Forged)
        );
        let head = |alg: &str, kid: &str| {
            BASE64.encode(serde_json::json!({"alg": alg, "typ": "JWT", "kid": kid}).to_string())
        };
        let kid =
            &keys.get(&serde_json::from_slice::<Header>(&BASE64.decode(parts[0]).unwrap()).unwrap().kid);
        let kid = &kid.as_ref().unwrap().name;
        for (alg, expected) in
            [("none", Refused::Foreign), ("HS256", Refused::Foreign), ("EdDSA", Refused::Forged)]
        {
            for signature in ["", parts[2]] {
                let forged = format!("{}.{admin}.{signature}", head(alg, kid));
                assert_eq!(verify(&keys, &none, &forged, 1059), Err(expected), "{alg}");
            }
        }
        let unknown = format!("{}.{}.{}", head("EdDSA", "5-00"), parts[1], parts[2]);
        assert_eq!(verify(&keys, &none, &unknown, 1059), Err(Refused::UnknownKey));
        let long = format!("{}.{}", "x".repeat(LONGEST), token);
        for wrong in ["", ".", "..", "a.b.c", &token[1..], &long] {
            assert_eq!(verify(&keys, &none, wrong, 1059), Err(Refused::Foreign), "{wrong}");
        }
        // Another collector of the store has keys of its own and is told of this one.
        let Signed { token: newer, key, .. } = sign(&keys, "ann", Role::Viewer, 2500 * SECOND, 60).unwrap();
        let other = Keys::open(&dir.path().join("another"), 1000).unwrap();
        assert_eq!(verify(&other, &none, &newer, 2510), Err(Refused::UnknownKey));
        let mut book = sqlite::identity::book(&dir.path().join("db")).unwrap();
        assert!(book.change(std::slice::from_ref(&key), &Note::default(), 0).unwrap());
        other.learn(&mut book).unwrap();
        assert_eq!(verify(&other, &none, &newer, 2510).unwrap().sub, "ann");
        let forged =
            format!("{}.{admin}.{}", newer.split('.').next().unwrap(), newer.rsplit('.').next().unwrap());
        assert_eq!(verify(&other, &none, &forged, 2510), Err(Refused::Forged));
        // A key that was withdrawn is refused by whoever has it, too.
        let what = What::Key(key.name.clone()).name();
        let refusal = items::write(&Refusal { since_ns: 1 }).unwrap();
        let change = Change::put(Kind::Revoked, what, Expect::Anything, refusal);
        assert!(book.change(&[change], &Note::default(), 0).unwrap());
        let withdrawn = Revoked::load(&mut book).unwrap();
        for keys in [&keys, &other] {
            assert_eq!(verify(keys, &withdrawn, &newer, 2510), Err(Refused::Revoked));
        }
        // What somebody else's key has signed ends with what is known of it.
        let ends = items::get::<TokenKey>(&mut book, Kind::TokenKey, &key.name).unwrap().unwrap().0.ends;
        let late = sign(&keys, "ann", Role::Viewer, (ends - 10) * SECOND, 60).unwrap().token;
        assert!(verify(&other, &none, &late, ends - 1).is_ok());
        assert_eq!(verify(&other, &none, &late, ends), Err(Refused::UnknownKey));

        let elsewhere = Keys::open(&dir.path().join("other"), 1000).unwrap();
        assert_eq!(verify(&elsewhere, &none, &token, 1059), Err(Refused::UnknownKey));
    }
}
