//! What the agent's dashboard is told, as it is told: the states of one breaker, each when it is another one.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

/// The agent says something twice a second, unless the machine is very busy.
const LIMIT: Duration = Duration::from_secs(30);
/// At the end, so many more states are waited for.
const LAST: usize = 3;

/// Somebody who looks at the page.
pub(super) struct Feed {
    end: Arc<AtomicBool>,
    thread: JoinHandle<Vec<String>>,
}

impl Feed {
    pub(super) fn listen(address: SocketAddr) -> Result<Self> {
        let mut stream =
            TcpStream::connect_timeout(&address, LIMIT).context("cannot reach the agent's dashboard")?;
        stream.set_read_timeout(Some(LIMIT))?;
        write!(stream, "GET /dashboard/events HTTP/1.1\r\nHost: {address}\r\n\r\n")?;
        let end = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&end);
        Ok(Self { end, thread: thread::spawn(move || follow(stream, &is_over)) })
    }

    /// All states that it was told of.
    pub(super) fn finish(self) -> Vec<String> {
        self.end.store(true, Ordering::SeqCst);
        self.thread.join().unwrap_or_default()
    }
}

fn follow(stream: TcpStream, is_over: &AtomicBool) -> Vec<String> {
    let (mut states, mut left): (Vec<String>, usize) = (Vec::new(), LAST);
    let mut lines = BufReader::new(stream);
    let mut line = String::new();
    while left > 0 {
        line.clear();
        match lines.read_line(&mut line) {
            Ok(0) => break,
            Err(error) if error.kind() != ErrorKind::Interrupted => break,
            Ok(_) | Err(_) => {}
        }
        let Some(state) = line.strip_prefix("data: ").and_then(state) else { continue };
        if states.last() != Some(&state) {
            states.push(state);
        }
        if is_over.load(Ordering::SeqCst) {
            left -= 1;
        }
    }
    states
}

/// The state of the breaker of backend a, if this is what the page is told.
fn state(data: &str) -> Option<String> {
    let data: Value = serde_json::from_str(data.trim_end()).ok()?;
    let breakers = data.pointer("/breakers/circuit_breakers")?.as_array()?;
    let own = breakers.iter().find(|breaker| breaker.get("id").and_then(Value::as_str) == Some("shop/a"))?;
    own.get("state").and_then(Value::as_str).map(ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_is_found() {
        let data = r#"{"breakers":{"circuit_breakers":[{"id":"shop","state":"closed"},{"id":"shop/a","state":"open"}]}}"#;
        assert_eq!(state(data).as_deref(), Some("open"));
        assert_eq!(state("{}"), None);
        assert_eq!(state("hello"), None);
    }
}
