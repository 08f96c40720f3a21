//! Asking a server of this machine for a page.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result};

/// Limit for one answer, also of a busy server.
const LIMIT: Duration = Duration::from_secs(10);

/// Status and body of a page.
pub(crate) fn get(address: SocketAddr, path: &str) -> Result<(u16, String)> {
    let mut stream =
        TcpStream::connect_timeout(&address, LIMIT).with_context(|| format!("cannot reach {address}"))?;
    stream.set_read_timeout(Some(LIMIT))?;
    // Version 1.0 without keep-alive: the answer ends with the connection.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).with_context(|| format!("cannot read the answer of {address}"))?;
    let (head, body) = answer.split_once("\r\n\r\n").context("the answer has no end of its head")?;
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Ok((code.context("the answer has no status")?, body.to_owned()))
}

/// The text as the value of a query's parameter.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            // Writing to text cannot fail.
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_query_cannot_hold_is_escaped() {
        assert_eq!(escape("a{b=~\".*\"}[5m] é"), "a%7Bb%3D~%22.%2A%22%7D%5B5m%5D%20%C3%A9");
    }

    #[test]
    fn a_server_that_is_not_there_is_named() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        assert!(get(address, "/").unwrap_err().to_string().contains(&address.to_string()));
    }
}
