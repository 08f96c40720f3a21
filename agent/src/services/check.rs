//! Health checks: one connection each, with a mark by which the kernel programs leave it alone, to the backend itself.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    os::fd::AsFd as _,
    sync::Arc,
};

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{Request, body::Bytes, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use nix::sys::socket::{setsockopt, sockopt};
use tokio::{
    net::{TcpSocket, TcpStream},
    sync::{Semaphore, watch},
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};

use super::{
    desk::{Command, Desk},
    health::jittered,
    plan::Name,
};
use crate::config::{Check, Health};

/// Mark of health checks' sockets ("ramp").
pub const MARK: u32 = 0x7261_6d70;
/// Checks at a time.
const AT_A_TIME: usize = 32;
/// Largest page that is searched.
const BODY_MAX: usize = 64 << 10;
/// The first check is at once, and within this part of its interval.
const FIRST_PART: u32 = 10;

/// A backend to check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its name.
    pub name: Name,
    /// Where it is.
    pub address: SocketAddr,
    /// How it is checked; its interval is the one that holds now.
    pub health: Health,
}

/// Checks the targets until there is nobody who wants them checked.
pub async fn run(mut targets: watch::Receiver<Arc<Vec<Target>>>, desk: Desk) {
    let mut due: Vec<(Target, Instant)> = Vec::new();
    let mut running: JoinSet<(Name, Result<(), String>)> = JoinSet::new();
    let slots = Arc::new(Semaphore::new(AT_A_TIME));
    targets.mark_changed();
    loop {
        let next = due.iter().map(|(_, at)| *at).min();
        let wait = async {
            match next {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = targets.changed() => {
                if changed.is_err() {
                    return;
                }
                let wanted = Arc::clone(&targets.borrow_and_update());
                due = rescheduled(&due, &wanted, Instant::now());
            }
            Some(done) = running.join_next() => {
                // A check that panicked is one without a result; it is due again by then.
                if let Ok((name, result)) = done
                    && !desk.tell(Command::Checked(name.clone(), result))
                {
                    tracing::warn!(service = name.0, backend = name.1, "A health check's result was lost");
                }
            }
            () = wait => {
                let now = Instant::now();
                for (target, at) in due.iter_mut().filter(|(_, at)| *at <= now) {
                    // The next one does not begin before this one is over.
                    *at = now + target.health.timeout.max(jittered(target.health.interval, random()));
                    let (target, slots) = (target.clone(), Arc::clone(&slots));
                    running.spawn(async move {
                        // The semaphore is never closed.
                        let _slot = slots.acquire_owned().await;
                        let result = check(target.address, &target.health).await;
                        (target.name, result)
                    });
                }
            }
        }
    }
}

/// Those that are still wanted keep their time, unless their interval is shorter now.
fn rescheduled(due: &[(Target, Instant)], wanted: &[Target], now: Instant) -> Vec<(Target, Instant)> {
    let at = |target: &Target| {
        let old = due.iter().find(|(old, _)| old.name == target.name && old.address == target.address);
        match old {
            Some((_, at)) => (*at).min(now + jittered(target.health.interval, random())),
            None => now + target.health.interval.mul_f64(part(random())) / FIRST_PART,
        }
    };
    wanted.iter().map(|target| (target.clone(), at(target))).collect()
}

/// A number from 0 to 1.
fn part(random: u64) -> f64 {
    f64::from((random >> 32) as u32) / f64::from(u32::MAX)
}

fn random() -> u64 {
    let mut bytes = [0; 8];
    // Without randomness checks are made all the same, a little more in step.
    let _ = getrandom::fill(&mut bytes);
    u64::from_ne_bytes(bytes)
}

/// Checks once.
pub async fn check(address: SocketAddr, health: &Health) -> Result<(), String> {
    let address = SocketAddr::new(address.ip(), health.port.unwrap_or(address.port()));
    let work = async {
        let stream = connect(address).await.map_err(|error| format!("cannot connect: {error}"))?;
        match &health.check {
            Check::Tcp => Ok(()),
            Check::Http { path, host, statuses, body } => {
                let host = host.clone().unwrap_or_else(|| name(address));
                page(stream, path, &host, statuses, body.as_deref()).await
            }
        }
    };
    let seconds = health.timeout.as_secs();
    timeout(health.timeout, work).await.map_err(|_| format!("no answer within {seconds} s"))?
}

fn name(address: SocketAddr) -> String {
    match address.ip() {
        IpAddr::V4(_) if address.port() == 80 => address.ip().to_string(),
        _ => address.to_string(),
    }
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    setsockopt(&socket.as_fd(), sockopt::Mark, &MARK)?;
    socket.connect(address).await
}

async fn page(
    stream: TcpStream,
    path: &str,
    host: &str,
    statuses: &[(u16, u16)],
    wanted: Option<&str>,
) -> Result<(), String> {
    let wrong = |error: &dyn std::error::Error| format!("no HTTP answer: {error}");
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| wrong(&error))?;
    let request = Request::get(path)
        .header(header::HOST, host)
        .header(header::USER_AGENT, "rampart-health-check")
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| wrong(&error))?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(|error| wrong(&error))?;
        let status = response.status().as_u16();
        if !statuses.iter().any(|(first, last)| (*first..=*last).contains(&status)) {
            return Err(format!("status {status}"));
        }
        let Some(wanted) = wanted else { return Ok(()) };
        let body = Limited::new(response.into_body(), BODY_MAX).collect().await;
        let body = body.map_err(|error| format!("the page cannot be read: {error}"))?.to_bytes();
        if String::from_utf8_lossy(&body).contains(wanted) {
            Ok(())
        } else {
            Err("the page lacks the text".to_owned())
        }
    };
    // The connection moves the bytes while the answer is awaited.
    tokio::pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        _ = connection => answer.await,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    fn health(check: Check) -> Health {
        Health {
            check,
            interval: Duration::from_secs(30),
            fast_interval: Duration::from_secs(1),
            timeout: Duration::from_secs(5),
            rise: 2,
            fall: 3,
            port: None,
        }
    }

    fn http(body: Option<&str>) -> Health {
        let body = body.map(str::to_owned);
        health(Check::Http { path: "/up".to_owned(), host: None, statuses: vec![(200, 299)], body })
    }

    /// Answers one connection.
    async fn answered(answer: &'static str, health: &Health) -> Result<(), String> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            if answer.is_empty() {
                return String::new();
            }
            let length = stream.read(&mut request).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8_lossy(&request[..length]).into_owned()
        };
        let (result, request) = tokio::join!(check(address, health), server);
        if !answer.is_empty() && matches!(health.check, Check::Http { .. }) {
            assert!(request.starts_with("GET /up HTTP/1.1\r\n"), "{request}");
        }
        result
    }

    #[test]
    fn checks_tell_good_from_bad() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        if !nix::unistd::geteuid().is_root() {
            println!("SKIP: checks_tell_good_from_bad: marks need root");
            return;
        }
        runtime.block_on(async {
            assert_eq!(answered("", &health(Check::Tcp)).await, Ok(()));
            let good = "HTTP/1.1 204 No Content\r\n\r\n";
            assert_eq!(answered(good, &http(None)).await, Ok(()));
            let page = "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nall up\n";
            assert_eq!(answered(page, &http(Some("all up"))).await, Ok(()));
            assert_eq!(answered(page, &http(Some("down"))).await, Err("the page lacks the text".to_owned()));
            let bad = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";
            assert_eq!(answered(bad, &http(None)).await, Err("status 503".to_owned()));
            assert!(answered("SSH-2.0-x\r\n\r\n", &http(None)).await.is_err());
            let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            let result = check(nobody, &health(Check::Tcp)).await;
            assert!(result.unwrap_err().starts_with("cannot connect"));
        });
    }

    #[test]
    fn a_shorter_interval_holds_at_once() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let now = Instant::now();
            let name = ("web".to_owned(), "a".to_owned());
            let address = "127.0.0.1:1".parse().unwrap();
            let slow = Target { name, address, health: health(Check::Tcp) };
            let first = rescheduled(&[], std::slice::from_ref(&slow), now);
            assert!(first[0].1 <= now + Duration::from_secs(3), "the first one is soon");
            let later = vec![(slow.clone(), now + Duration::from_secs(30))];
            let mut fast = slow.clone();
            fast.health.interval = Duration::from_secs(1);
            assert!(rescheduled(&later, &[fast], now)[0].1 <= now + Duration::from_secs(2));
            assert_eq!(rescheduled(&later, &[], now).len(), 0);
        });
    }
}
