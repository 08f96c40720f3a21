//! Who may ask what: roles, and the door that looks at tokens.

use std::{
    fmt,
    str::FromStr,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

use super::{
    IdentityError, Records,
    jwt::{self, Refused, Signed},
    keys::Keys,
    revoked::Watch,
};
use crate::ingest::now_ns;

/// What somebody may do; each includes those before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Look.
    Viewer,
    /// Act on what is there, read the audit log.
    Operator,
    /// Everything.
    Admin,
}

/// This is no role.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no role: use viewer, operator or admin")]
pub struct NoRole(String);

impl FromStr for Role {
    type Err = NoRole;

    fn from_str(text: &str) -> Result<Self, NoRole> {
        match text {
            "viewer" => Ok(Self::Viewer),
            "operator" => Ok(Self::Operator),
            "admin" => Ok(Self::Admin),
            _ => Err(NoRole(text.to_owned())),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        })
    }
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// For the audit log: `user:NAME`, or `local` where nobody is asked who they are.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// Name and end of their token, seconds since the epoch.
    pub token: Option<(String, u64)>,
}

/// Why somebody may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// They did not say who they are.
    #[error("a login is needed")]
    NoToken,
    /// What they showed is not good.
    #[error("{0}")]
    Token(#[from] Refused),
    /// They may do less.
    #[error("this needs the role {0}")]
    Role(Role),
}

/// The door.
#[derive(Clone, Debug)]
pub struct Access {
    /// Keys of tokens; `None` where nobody is asked who they are.
    pub keys: Option<Arc<Keys>>,
    /// What is refused.
    pub revoked: Watch,
    /// Users and the audit log.
    pub records: Records,
}

impl Access {
    /// Who holds this token, if they may do what needs a role.
    pub fn check(&self, token: Option<&str>, needs: Role) -> Result<Caller, Denied> {
        let Some(keys) = &self.keys else {
            return Ok(Caller { name: "local".to_owned(), role: Role::Admin, token: None });
        };
        let revoked = Arc::clone(&self.revoked.borrow());
        let claims = jwt::verify(keys, &revoked, token.ok_or(Denied::NoToken)?, now_secs())?;
        if claims.role < needs {
            return Err(Denied::Role(needs));
        }
        let name = format!("user:{}", claims.sub);
        Ok(Caller { name, role: claims.role, token: Some((claims.jti, claims.exp)) })
    }

    /// The same; where another collector may just have signed it, the store is asked for its key.
    pub async fn check_anew(&self, token: Option<&str>, needs: Role) -> Result<Caller, Denied> {
        let first = self.check(token, needs);
        let (Err(Denied::Token(Refused::UnknownKey)), Some(keys)) = (&first, &self.keys) else {
            return first;
        };
        if !keys.may_look() {
            return first;
        }
        let learns = Arc::clone(keys);
        match self.records.run(move |book| learns.learn(book)).await {
            Ok(()) => self.check(token, needs),
            Err(error) => {
                tracing::error!("Keys of other collectors cannot be read: {error}");
                first
            }
        }
    }

    /// Signs a token.
    pub fn sign(&self, user: &str, role: Role, secs: u64) -> Result<Signed, IdentityError> {
        let keys = self.keys.as_ref().ok_or(IdentityError::Ending)?;
        jwt::sign(keys, user, role, now_ns(), secs)
    }
}

/// The token of a header `Authorization: Bearer …`.
pub fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Seconds since the epoch.
pub fn now_secs() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}
