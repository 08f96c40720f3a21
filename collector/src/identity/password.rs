//! Passwords: PBKDF2 with HMAC-SHA-256, a salt for each, and a number of rounds that is kept with the result.

use std::num::NonZeroU32;

use base64::{Engine as _, prelude::BASE64_STANDARD_NO_PAD as BASE64};
use ring::pbkdf2::{PBKDF2_HMAC_SHA256, derive, verify as compare};

use super::{IdentityError, random};

/// Rounds: what OWASP asks for with this function.
const ROUNDS: u32 = 600_000;
/// Fewest letters.
pub const SHORTEST: usize = 12;
/// Most bytes: what is longer is no password.
pub const LONGEST: usize = 1024;

/// How a password is checked: `pbkdf2-sha256$ROUNDS$SALT$HASH`.
pub fn make(password: &str) -> Result<String, IdentityError> {
    make_with(password, ROUNDS)
}

fn make_with(password: &str, rounds: u32) -> Result<String, IdentityError> {
    let salt: [u8; 16] = random()?;
    let mut hash = [0; 32];
    let count = NonZeroU32::new(rounds).unwrap_or(NonZeroU32::MIN);
    derive(PBKDF2_HMAC_SHA256, count, &salt, password.as_bytes(), &mut hash);
    Ok(format!("pbkdf2-sha256${rounds}${}${}", BASE64.encode(salt), BASE64.encode(hash)))
}

/// Whether this is the password; takes the same time for each of one user, and for nobody.
pub fn is_right(password: &str, kept: Option<&str>) -> bool {
    let parsed = kept.and_then(parse);
    let is_known = parsed.is_some();
    let none = || (NonZeroU32::new(ROUNDS).unwrap_or(NonZeroU32::MIN), vec![0; 16], vec![0; 32]);
    let (rounds, salt, hash) = parsed.unwrap_or_else(none);
    compare(PBKDF2_HMAC_SHA256, rounds, &salt, password.as_bytes(), &hash).is_ok() && is_known
}

fn parse(kept: &str) -> Option<(NonZeroU32, Vec<u8>, Vec<u8>)> {
    let mut parts = kept.strip_prefix("pbkdf2-sha256$")?.split('$');
    let rounds = parts.next()?.parse().ok()?;
    let salt = BASE64.decode(parts.next()?).ok()?;
    let hash = BASE64.decode(parts.next()?).ok()?;
    (hash.len() == 32 && parts.next().is_none()).then_some((rounds, salt, hash))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_password_is_right() {
        let kept = make_with("correct horse", 1000).unwrap();
        assert!(is_right("correct horse", Some(&kept)));
        assert!(!is_right("correct horsf", Some(&kept)));
        assert_ne!(kept, make_with("correct horse", 1000).unwrap());
        for broken in ["", "pbkdf2-sha256$0$AA$AA", "pbkdf2-sha256$1$AA$AA", &kept.replace("1000", "1001")] {
            assert!(!is_right("correct horse", Some(broken)), "{broken}");
        }
        assert!(!is_right("", None));
    }
}
