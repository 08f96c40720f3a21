//! A channel: an HTTP server that takes its time.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

/// The server. It ends with this process.
pub(crate) struct Sink {
    address: SocketAddr,
    told: Arc<Mutex<BTreeSet<String>>>,
}

impl Sink {
    /// Starts one that takes so long for each answer.
    pub(crate) fn start(pause: Duration) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot listen")?;
        let address = listener.local_addr().context("cannot listen")?;
        let told: Arc<Mutex<BTreeSet<String>>> = Arc::default();
        let heard = Arc::clone(&told);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let heard = Arc::clone(&heard);
                thread::spawn(move || {
                    // A connection that breaks is the client's to make again.
                    let _ = serve(stream, pause, &heard);
                });
            }
        });
        Ok(Self { address, told })
    }

    /// Where it listens.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Alerts that it was told of, by the names of their rules.
    pub(super) fn told(&self) -> BTreeSet<String> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn serve(stream: TcpStream, pause: Duration, told: &Mutex<BTreeSet<String>>) -> Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream;
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let line = line.trim().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse()?;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        thread::sleep(pause);
        let body: Value = serde_json::from_slice(&body)?;
        let rule = body.get("rule").and_then(Value::as_str).context("an alert without a rule")?;
        told.lock().unwrap_or_else(PoisonError::into_inner).insert(rule.to_owned());
        writer.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")?;
    }
}
