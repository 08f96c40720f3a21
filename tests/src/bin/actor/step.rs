//! Steps of a case, by their types.

use std::net::ToSocketAddrs;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{argument::Bindings, call, fields::Fields};

/// Whether a step is one this program can make.
pub(crate) fn check(step: &Value) -> Result<()> {
    match kind(step)? {
        "lookup" => host(step).map(drop),
        _ => call::check(step),
    }
}

/// Makes a step; what it could not do, though it was tried, is a note.
pub(crate) fn run(step: &Value, bindings: &mut Bindings) -> Result<Option<String>> {
    match kind(step)? {
        "lookup" => lookup(&host(step)?).map(|()| None),
        _ => call::run(step, bindings),
    }
}

fn kind(step: &Value) -> Result<&str> {
    match step.get("type").and_then(Value::as_str) {
        Some(kind @ ("syscall" | "lookup")) => Ok(kind),
        Some(other) => bail!("unknown type of step `{other}`"),
        None => bail!("a step has no `type`"),
    }
}

fn host(step: &Value) -> Result<String> {
    let mut fields = Fields::new("a lookup", step)?;
    fields.needed("type")?;
    // For people.
    fields.text("name")?;
    let host = fields.needed("host")?;
    fields.finish()?;
    Ok(host)
}

/// Asks for a host's addresses, as any program does: by the C library.
fn lookup(host: &str) -> Result<()> {
    let mut found = (host, 0).to_socket_addrs().with_context(|| format!("nobody knows the host `{host}`"))?;
    found.next().map(drop).with_context(|| format!("the host `{host}` has no address"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn steps_are_told_apart_by_their_type() {
        assert!(check(&json!({"type": "lookup", "host": "localhost"})).is_ok());
        assert!(check(&json!({"type": "syscall", "syscall": "getpid"})).is_ok());
        for (step, message) in [
            (json!({"type": "walk"}), "unknown type of step `walk`"),
            (json!({}), "no `type`"),
            (json!({"type": "lookup"}), "has no `host`"),
            (json!({"type": "lookup", "host": "a", "args": {}}), "args"),
        ] {
            let error = format!("{:#}", check(&step).unwrap_err());
            assert!(error.contains(message), "{error}");
        }
        let mut bindings = Bindings::default();
        assert_eq!(run(&json!({"type": "lookup", "host": "127.0.0.1"}), &mut bindings).unwrap(), None);
    }
}
