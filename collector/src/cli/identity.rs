//! `token`, `certificate`, `revoke` and `restore`.

use std::{
    io::Write,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use clap::{Args, Subcommand};

use super::{Fault, book};
use crate::{
    audit::Note,
    config::Config,
    identity::{
        authority::Authority,
        items::{self, JoinToken, Refusal},
        peer::is_name,
        revoked::What,
        token::Text,
    },
    ingest::now_ns,
    notify::channel::rfc3339,
    store::identity::{Change, Expect, Kind},
};

/// Longest time that a token to join may wait.
const TOKEN_MAX: Duration = Duration::from_hours(30 * 24);

/// `token …`
#[derive(Debug, Subcommand)]
pub(super) enum Token {
    /// Make one, which is shown here and never again
    Create(Create),
    /// List those that have not ended
    List,
    /// Take one back
    Revoke(Named),
}

/// `token create`
#[derive(Args, Debug)]
pub(super) struct Create {
    /// Only for this node
    #[arg(long)]
    node: Option<String>,
    /// How long it may wait, such as `15m`, `1h`, `7d`
    #[arg(long, default_value = "1h", value_parser = span)]
    ttl: Duration,
}

/// Something by its name.
#[derive(Args, Debug)]
pub(super) struct Named {
    /// Its name, as listed
    pub(super) id: String,
}

/// `certificate …`
#[derive(Debug, Subcommand)]
pub(super) enum Certificate {
    /// List those that have not ended
    List,
}

/// What is revoked or restored.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub(super) struct Subject {
    /// A node: whatever it shows is refused, until it is restored
    #[arg(long)]
    node: Option<String>,
    /// A certificate, by its serial number
    #[arg(long)]
    serial: Option<String>,
}

/// A time such as `90s`, `15m`, `1h`, `7d`.
pub(super) fn span(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no time such as 90s, 15m, 1h or 7d");
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = match text.get(digits.len()..) {
        Some("s") => 1,
        Some("m") => 60,
        Some("h") => 3600,
        Some("d") => 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    match number.checked_mul(unit) {
        Some(secs @ 1..) => Ok(Duration::from_secs(secs)),
        _ => Err(wrong()),
    }
}

impl Token {
    pub(super) fn run(self, config: &Config, actor: &str, out: &mut impl Write) -> Result<(), Fault> {
        let mut book = book(config)?;
        match self {
            Self::Create(Create { node, ttl }) => {
                if ttl > TOKEN_MAX {
                    return Err(Fault("a token to join may wait 30d at most".to_owned()));
                }
                if let Some(node) = node.as_ref().filter(|node| !is_name(node)) {
                    return Err(Fault(format!("`{node}` is no name that a certificate can hold")));
                }
                let token = Text::new(Authority::open(&config.identity.authority)?.fingerprint())?;
                let (now, node) = (now_ns(), node.as_deref());
                let ends = now + ttl.as_nanos() as u64;
                let value = items::write(&token.item(node.map(str::to_owned), now, ends))?;
                let change = Change::put(Kind::Token, &token.id, Expect::Absent, value).until(ends);
                let bound = node.map_or_else(|| "any node".to_owned(), |node| format!("node {node}"));
                let detail = format!("for {bound}, until {}", rfc3339(ends));
                let written = Note::new(actor, "token.create", &token.id, detail);
                if !book.change(&[change], &written, now)? {
                    return Err(Fault("a token of this name is there, try again".to_owned()));
                }
                writeln!(out, "{token}")?;
            }
            Self::List => {
                for (id, token) in items::list::<JoinToken>(&mut *book, Kind::Token)? {
                    let JoinToken { node, created_ns, ends_ns, is_revoked, used, .. } = token;
                    let state = match used {
                        _ if is_revoked => "taken back".to_owned(),
                        Some(used) => format!("used by {} at {}", used.node, rfc3339(used.time_ns)),
                        None if ends_ns <= now_ns() => "expired".to_owned(),
                        None => "unused".to_owned(),
                    };
                    let node = node.unwrap_or_else(|| "any node".to_owned());
                    let (made, ends) = (rfc3339(created_ns), rfc3339(ends_ns));
                    writeln!(out, "{id}\t{node}\tmade {made}\tuntil {ends}\t{state}")?;
                }
            }
            Self::Revoke(Named { id }) => {
                let Some((token, revision)) = items::get::<JoinToken>(&mut *book, Kind::Token, &id)? else {
                    return Err(Fault(format!("there is no token `{id}`")));
                };
                let ends = token.ends_ns;
                let value = items::write(&JoinToken { is_revoked: true, ..token })?;
                let change = Change::put(Kind::Token, &id, Expect::Revision(revision), value).until(ends);
                if !book.change(&[change], &Note::new(actor, "token.revoke", &id, ""), now_ns())? {
                    return Err(Fault(format!("the token `{id}` is used at this moment, try again")));
                }
                writeln!(out, "the token `{id}` is taken back")?;
            }
        }
        Ok(())
    }
}

impl Certificate {
    pub(super) fn run(self, config: &Config, out: &mut impl Write) -> Result<(), Fault> {
        let Self::List = self;
        let mut all = items::list::<items::Certificate>(&mut *book(config)?, Kind::Certificate)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64;
        all.retain(|(_, certificate)| certificate.ends_ns > now);
        all.sort_by(|(_, a), (_, b)| (&a.node, a.created_ns).cmp(&(&b.node, b.created_ns)));
        for (serial, certificate) in all {
            let (made, ends) = (rfc3339(certificate.created_ns), rfc3339(certificate.ends_ns));
            writeln!(
                out,
                "{serial}\t{}\tmade {made}\tuntil {ends}\tby {}",
                certificate.node, certificate.proof
            )?;
        }
        Ok(())
    }
}

impl Subject {
    fn what(&self) -> Result<(What, &str), Fault> {
        match (&self.node, &self.serial) {
            (Some(node), _) => Ok((What::Node(node.clone()), node)),
            (None, Some(serial)) => {
                if serial.is_empty() || !serial.bytes().all(|letter| letter.is_ascii_hexdigit()) {
                    return Err(Fault(format!("`{serial}` is no serial number, see `certificate list`")));
                }
                Ok((What::Serial(serial.to_lowercase()), serial))
            }
            (None, None) => Err(Fault("name a node or a serial number".to_owned())),
        }
    }

    pub(super) fn revoke(self, config: &Config, actor: &str, out: &mut impl Write) -> Result<(), Fault> {
        let (what, name) = self.what()?;
        let value = items::write(&Refusal { since_ns: now_ns() })?;
        let change = Change::put(Kind::Revoked, what.name(), Expect::Anything, value);
        let action = if self.node.is_some() { "node.revoke" } else { "certificate.revoke" };
        book(config)?.change(&[change], &Note::new(actor, action, name, ""), now_ns())?;
        writeln!(out, "`{name}` is refused, within seconds also where it is connected")?;
        Ok(())
    }

    pub(super) fn restore(self, config: &Config, actor: &str, out: &mut impl Write) -> Result<(), Fault> {
        let (what, name) = self.what()?;
        let action = if self.node.is_some() { "node.restore" } else { "certificate.restore" };
        let change = Change::remove(Kind::Revoked, what.name());
        if !book(config)?.change(&[change], &Note::new(actor, action, name, ""), now_ns())? {
            return Err(Fault(format!("`{name}` is not refused")));
        }
        writeln!(out, "`{name}` is accepted again")?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        for (text, secs) in [("90s", 90), ("15m", 900), ("1h", 3600), ("7d", 604_800)] {
            assert_eq!(span(text), Ok(Duration::from_secs(secs)));
        }
        for wrong in ["", "1", "h", "0s", "1w", "-1h", "1.5h", "99999999999999999d"] {
            assert!(span(wrong).is_err(), "{wrong}");
        }
    }
}
