//! A web server of one list on this machine, which knows versions.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// What it says, and what it was asked.
#[derive(Default)]
struct Said {
    text: Mutex<String>,
    unchanged: AtomicU32,
    refused: AtomicU32,
    end: AtomicBool,
}

/// The server; it ends when it is dropped.
pub(crate) struct Server {
    address: SocketAddr,
    said: Arc<Said>,
    thread: Option<JoinHandle<()>>,
}

/// The token that it wants to see.
pub(crate) const TOKEN: &str = "Bearer of-the-test";

impl Server {
    pub(crate) fn start(text: &str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let said = Arc::new(Said { text: Mutex::new(text.to_owned()), ..Said::default() });
        let of_thread = Arc::clone(&said);
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                if of_thread.end.load(Ordering::Relaxed) {
                    return;
                }
                // Whoever hangs up asks again.
                let _ = stream.and_then(|stream| answer(&stream, &of_thread));
            }
        });
        Self { address, said, thread: Some(thread) }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/list", self.address)
    }

    pub(crate) fn say(&self, text: &str) {
        text.clone_into(&mut self.said.text.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Answers that nothing has changed.
    pub(crate) fn unchanged(&self) -> u32 {
        self.said.unchanged.load(Ordering::Relaxed)
    }

    /// Questions without the token.
    pub(crate) fn refused(&self) -> u32 {
        self.said.refused.load(Ordering::Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.said.end.store(true, Ordering::Relaxed);
        let _woken = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}

fn answer(mut stream: &TcpStream, said: &Said) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let (mut known, mut token) = (None, None);
    for line in BufReader::new(stream).lines() {
        let line = line?;
        match line.split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("if-none-match") => {
                known = Some(value.to_owned());
            }
            Some((name, value)) if name.eq_ignore_ascii_case("authorization") => {
                token = Some(value.to_owned());
            }
            _ if line.is_empty() => break,
            _ => {}
        }
    }
    if token.as_deref() != Some(TOKEN) {
        said.refused.fetch_add(1, Ordering::Relaxed);
        return stream
            .write_all(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    }
    let text = said.text.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let tag = format!("\"{}-{}\"", text.len(), text.bytes().map(u64::from).sum::<u64>());
    if known.as_ref() == Some(&tag) {
        said.unchanged.fetch_add(1, Ordering::Relaxed);
        return stream.write_all(b"HTTP/1.1 304 Not Modified\r\nConnection: close\r\n\r\n");
    }
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nETag: {tag}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
        text.len()
    )
}
