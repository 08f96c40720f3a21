//! `user` and `jwt`.

use std::{
    fs,
    io::{self, Write},
    path::PathBuf,
    time::Duration,
};

use clap::{Args, Subcommand};

use super::{
    Fault, book,
    identity::{Named, span},
};
use crate::{
    audit::Note,
    config::Config,
    identity::{
        access::{Role, now_secs},
        items::{self, Refusal, TokenKey},
        jwt::{self, Signed},
        keys::{Keys, TOKEN_MAX},
        password,
        revoked::{Revoked, What},
    },
    ingest::now_ns,
    notify::channel::rfc3339,
    store::identity::{Change, Expect, Kind},
};

/// `user …`
#[derive(Debug, Subcommand)]
pub(super) enum User {
    /// Add somebody, or change role and password
    Set(Set),
    /// List them
    List,
    /// Remove somebody; what was signed for them is refused
    Remove(Named),
}

/// `user set`
#[derive(Args, Debug)]
pub(super) struct Set {
    /// Their name
    name: String,
    /// What they may do: viewer, operator or admin
    #[arg(long)]
    role: Role,
    /// File that holds the password [default: a line from standard input]
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

/// `jwt …`
#[derive(Debug, Subcommand)]
pub(super) enum Jwt {
    /// Sign one, which is shown here and never again
    Create(Create),
    /// Take one back, by the name that was shown when it was made
    Revoke(Named),
    /// Let a new key sign from now on; what older ones signed stays good
    Rotate,
    /// List the keys that have signed tokens, of all collectors of the store
    Keys,
    /// Refuse everything that a key has signed, on all collectors; whoever has it signs with a new one
    Withdraw(Named),
}

/// `jwt create`
#[derive(Args, Debug)]
pub(super) struct Create {
    /// For whom, such as `prometheus`
    #[arg(long)]
    name: String,
    /// What they may do: viewer, operator or admin
    #[arg(long)]
    role: Role,
    /// How long it is good, up to 90d
    #[arg(long, default_value = "12h", value_parser = span)]
    ttl: Duration,
}

impl User {
    pub(super) fn run(self, config: &Config, actor: &str, out: &mut impl Write) -> Result<(), Fault> {
        let mut book = book(config)?;
        let now = now_ns();
        match self {
            Self::Set(Set { name, role, password_file }) => {
                let is_name = |letter: char| letter.is_ascii_alphanumeric() || "-_.@".contains(letter);
                if name.is_empty() || name.len() > 128 || !name.chars().all(is_name) {
                    return Err(Fault(format!("`{name}` is no name: use letters, digits and -_.@")));
                }
                let text = match password_file {
                    Some(path) => fs::read_to_string(path)?,
                    None => io::read_to_string(io::stdin())?,
                };
                let word = text.lines().next().unwrap_or_default();
                if word.chars().count() < password::SHORTEST || word.len() > password::LONGEST {
                    let least = password::SHORTEST;
                    return Err(Fault(format!("a password has {least} letters or more, in one line")));
                }
                let user = items::User { role, password: password::make(word)?, created_ns: now };
                let change = Change::put(Kind::User, &name, Expect::Anything, items::write(&user)?);
                // Who knew the old password must log in anew.
                let changes = [change, refuse(&name, now)?];
                book.change(&changes, &Note::new(actor, "user.set", &name, format!("role {role}")), now)?;
                writeln!(out, "`{name}` may log in as {role}")?;
            }
            Self::List => {
                for (name, user) in items::list::<items::User>(&mut *book, Kind::User)? {
                    writeln!(out, "{name}\t{}\tsince {}", user.role, rfc3339(user.created_ns))?;
                }
            }
            Self::Remove(Named { id: name }) => {
                let changes = [Change::remove(Kind::User, &name), refuse(&name, now)?];
                if !book.change(&changes, &Note::new(actor, "user.remove", &name, ""), now)? {
                    return Err(Fault(format!("there is no user `{name}`")));
                }
                writeln!(out, "`{name}` may log in no more")?;
            }
        }
        Ok(())
    }
}

/// Refuses what was signed for somebody so far.
fn refuse(name: &str, now: u64) -> Result<Change, Fault> {
    let value = items::write(&Refusal { since_ns: now })?;
    let change = Change::put(Kind::Revoked, What::User(name.to_owned()).name(), Expect::Anything, value);
    Ok(change.until(now + TOKEN_MAX.as_nanos() as u64))
}

impl Jwt {
    pub(super) fn run(self, config: &Config, actor: &str, out: &mut impl Write) -> Result<(), Fault> {
        let mut book = book(config)?;
        let (now, secs) = (now_ns(), now_secs());
        let keys = || Keys::open(&config.identity.dir.join("jwt"), secs);
        match self {
            Self::Create(Create { name, role, ttl }) => {
                if ttl > TOKEN_MAX {
                    return Err(Fault("a signed token is good for 90d at most".to_owned()));
                }
                let Signed { token, claims, key } = jwt::sign(&keys()?, &name, role, now, ttl.as_secs())?;
                let ends = rfc3339(claims.exp.saturating_mul(1_000_000_000));
                let detail = format!("for {name}, role {role}, until {ends}");
                book.change(&[key], &Note::new(actor, "jwt.create", &claims.jti, detail), now)?;
                writeln!(io::stderr(), "the token's name is {}, for `jwt revoke`", claims.jti)?;
                writeln!(out, "{token}")?;
            }
            Self::Revoke(Named { id }) => {
                let value = items::write(&Refusal { since_ns: now })?;
                let change =
                    Change::put(Kind::Revoked, What::Jwt(id.clone()).name(), Expect::Anything, value)
                        .until(now + TOKEN_MAX.as_nanos() as u64);
                book.change(&[change], &Note::new(actor, "jwt.revoke", &id, ""), now)?;
                writeln!(out, "the token `{id}` is refused within seconds")?;
            }
            Self::Rotate => {
                let name = keys()?.rotate(secs)?;
                book.change(&[], &Note::new(actor, "jwt.rotate", &name, ""), now)?;
                writeln!(out, "the key `{name}` signs from now on")?;
            }
            Self::Keys => {
                let revoked = Revoked::load(&mut *book)?;
                for (name, key) in items::list::<TokenKey>(&mut *book, Kind::TokenKey)? {
                    let time = |secs: u64| rfc3339(secs.saturating_mul(1_000_000_000));
                    let state = if revoked.has_key(&name) { "withdrawn" } else { "good" };
                    let (made, ends) = (time(key.made), time(key.ends));
                    writeln!(out, "{name}\t{state}\tmade {made}\tuntil {ends}\t{}", key.public)?;
                }
            }
            Self::Withdraw(Named { id: name }) => {
                let Some((key, _)) = items::get::<TokenKey>(&mut *book, Kind::TokenKey, &name)? else {
                    return Err(Fault(format!("no key `{name}` has signed anything: see `jwt keys`")));
                };
                let value = items::write(&Refusal { since_ns: now })?;
                let change =
                    Change::put(Kind::Revoked, What::Key(name.clone()).name(), Expect::Anything, value)
                        .until(key.ends.saturating_mul(1_000_000_000));
                book.change(&[change], &Note::new(actor, "jwt.withdraw", &name, ""), now)?;
                writeln!(out, "what the key `{name}` has signed is refused within seconds")?;
            }
        }
        Ok(())
    }
}
