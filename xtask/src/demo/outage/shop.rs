//! Two servers that say their names, and clients that ask all the time.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::PATIENCE;
use crate::interrupt;

/// Time between two connections of a client.
const PACE: Duration = Duration::from_millis(10);
/// An answer that takes longer is none.
const LIMIT: Duration = Duration::from_secs(5);
/// Answers that are slow after a backend came back, and how slow: so long its breaker is half-open.
const SLOW: u32 = 3;
const SLOWNESS: Duration = Duration::from_millis(700);

/// A server.
pub(super) struct Backend {
    name: &'static str,
    address: SocketAddr,
    running: Option<(Arc<AtomicBool>, JoinHandle<()>)>,
}

/// What became of connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Served {
    pub(super) a: u64,
    pub(super) b: u64,
    pub(super) failed: u64,
}

/// Threads that connect; they end with this value.
pub(super) struct Clients {
    served: Arc<Mutex<Served>>,
    end: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Backend {
    /// Starts on a free port of an address of the loopback device.
    pub(super) fn start(name: &'static str, last: u8) -> Result<Self> {
        let place = SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0));
        let listener = TcpListener::bind(place).context("cannot start a backend")?;
        let address = listener.local_addr().context("cannot start a backend")?;
        let mut backend = Self { name, address, running: None };
        backend.serve(listener, 0)?;
        Ok(backend)
    }

    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops to listen: connections are refused from now on.
    pub(super) fn die(&mut self) {
        if let Some((end, thread)) = self.running.take() {
            end.store(true, Ordering::SeqCst);
            // A thread that panicked listens no more either.
            let _ = thread.join();
        }
    }

    /// Listens again, where it was.
    pub(super) fn revive(&mut self) -> Result<()> {
        let listener = TcpListener::bind(self.address).context("cannot start the backend again")?;
        self.serve(listener, SLOW)
    }

    fn serve(&mut self, listener: TcpListener, slow: u32) -> Result<()> {
        listener.set_nonblocking(true)?;
        let end = Arc::new(AtomicBool::new(false));
        let (is_over, name, slow) = (Arc::clone(&end), self.name, Arc::new(AtomicU32::new(slow)));
        let thread = thread::spawn(move || {
            while !is_over.load(Ordering::SeqCst) {
                let Ok((stream, _)) = listener.accept() else {
                    thread::sleep(Duration::from_millis(1));
                    continue;
                };
                let slow = Arc::clone(&slow);
                // A client that is gone needs no answer.
                thread::spawn(move || answer(stream, name, &slow).ok());
            }
        });
        self.running = Some((end, thread));
        Ok(())
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.die();
    }
}

/// Says the name to who asks for it, and waits for the client to close.
fn answer(mut stream: TcpStream, name: &str, slow: &AtomicU32) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(LIMIT))?;
    let mut byte = [0; 1];
    stream.read_exact(&mut byte)?;
    let is_slow = slow.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
    if is_slow {
        thread::sleep(SLOWNESS);
    }
    stream.write_all(name.as_bytes())?;
    stream.read_exact(&mut byte)
}

impl Clients {
    pub(super) fn start(to: (&'static str, u16), count: usize) -> Result<Self> {
        let address: SocketAddr =
            format!("{}:{}", to.0, to.1).parse().context("the service has no address")?;
        let (served, end) = (Arc::new(Mutex::new(Served::default())), Arc::new(AtomicBool::new(false)));
        let threads = (0..count).map(|_| {
            let (served, end) = (Arc::clone(&served), Arc::clone(&end));
            thread::spawn(move || {
                while !end.load(Ordering::SeqCst) {
                    let answer = ask(address);
                    let mut served = served.lock().unwrap_or_else(PoisonError::into_inner);
                    match answer {
                        Ok(b'a') => served.a += 1,
                        Ok(b'b') => served.b += 1,
                        _ => served.failed += 1,
                    }
                    drop(served);
                    thread::sleep(PACE);
                }
            })
        });
        Ok(Self { threads: threads.collect(), served, end })
    }

    /// Counts anew until there is enough, or for as long as there is patience.
    pub(super) fn phase(&self, is_enough: impl Fn(Served) -> bool) -> Served {
        let _before = self.take();
        let end = Instant::now() + PATIENCE;
        loop {
            let now = *self.served.lock().unwrap_or_else(PoisonError::into_inner);
            if is_enough(now) || Instant::now() >= end || interrupt::pending() {
                return self.take();
            }
            thread::sleep(PACE);
        }
    }

    /// What was counted; counting begins anew.
    pub(super) fn take(&self) -> Served {
        std::mem::take(&mut *self.served.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.end.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn ask(address: SocketAddr) -> std::io::Result<u8> {
    let mut stream = TcpStream::connect_timeout(&address, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.write_all(b"?")?;
    let mut name = [0; 1];
    stream.read_exact(&mut name)?;
    let [name] = name;
    Ok(name)
}
