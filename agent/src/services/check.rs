//! Health checks: one connection each, with a mark by which the kernel programs leave it alone, to the backend itself.
//!
//! Checks are bounded: so many at a time, one of a backend, and a random part in their times keeps them apart.

mod grpc;
mod http;
mod told;

use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, SocketAddr},
    os::fd::AsFd as _,
    sync::Arc,
    time::Duration,
};

use nix::sys::socket::{setsockopt, sockopt};
use tokio::{
    net::{TcpSocket, TcpStream},
    sync::{Semaphore, watch},
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};

pub use self::told::Told;
use super::{
    desk::{Command, Desk},
    health::jittered,
    plan::Name,
};
use crate::config::{AgentCheck, Check, Health};

/// Mark of health checks' sockets ("ramp").
pub const MARK: u32 = 0x7261_6d70;
/// Checks at a time.
const AT_A_TIME: usize = 32;
/// The first check, and one of a backend in doubt, is at once: within this part of its interval.
const FIRST_PART: u32 = 10;

/// A backend to check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its name.
    pub name: Name,
    /// Where it is.
    pub address: SocketAddr,
    /// How it is asked.
    pub ask: Ask,
}

/// How a backend is asked; the interval is the one that holds now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Whether it works.
    Health(Health),
    /// What it says of itself.
    Agent(AgentCheck),
}

impl Ask {
    const fn interval(&self) -> Duration {
        match self {
            Self::Health(health) => health.interval,
            Self::Agent(agent) => agent.interval,
        }
    }

    const fn is_agent(&self) -> bool {
        matches!(self, Self::Agent(_))
    }
}

impl Target {
    /// Whether it is the same to the clock: the same question to the same backend.
    fn is(&self, other: &Self) -> bool {
        (&self.name, self.address, self.ask.is_agent()) == (&other.name, other.address, other.ask.is_agent())
    }
}

/// Checks the targets until there is nobody who wants them checked.
pub async fn run(mut targets: watch::Receiver<Arc<Vec<Target>>>, desk: Desk) {
    let mut due: Vec<(Target, Instant)> = Vec::new();
    let mut running: JoinSet<()> = JoinSet::new();
    let slots = Arc::new(Semaphore::new(AT_A_TIME));
    let busy = Arc::new(Busy::default());
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
            Some(_) = running.join_next() => {}
            () = wait => {
                let now = Instant::now();
                for (target, at) in due.iter_mut().filter(|(_, at)| *at <= now) {
                    *at = now + jittered(target.ask.interval(), random());
                    // While all slots are taken a check may wait longer than its interval.
                    let Some(place) = Place::take(&busy, target) else { continue };
                    let (target, slots, desk) = (target.clone(), Arc::clone(&slots), desk.clone());
                    running.spawn(async move {
                        // The semaphore is never closed.
                        let _slot = slots.acquire_owned().await;
                        let result = ask(&target).await;
                        drop(place);
                        if !desk.tell(result) {
                            let (service, backend) = target.name;
                            tracing::warn!(service, backend, "A health check's result was lost");
                        }
                    });
                }
            }
        }
    }
}

/// Who is being asked what.
#[derive(Debug, Default)]
struct Busy(std::sync::Mutex<BTreeSet<(Name, bool)>>);

/// A backend that is being asked, until this is dropped.
struct Place {
    busy: Arc<Busy>,
    key: (Name, bool),
}

impl Busy {
    fn keys(&self) -> std::sync::MutexGuard<'_, BTreeSet<(Name, bool)>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Place {
    /// None when the backend is being asked this already.
    fn take(busy: &Arc<Busy>, target: &Target) -> Option<Self> {
        let key = (target.name.clone(), target.ask.is_agent());
        busy.keys().insert(key.clone()).then(|| Self { busy: Arc::clone(busy), key })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.busy.keys().remove(&self.key);
    }
}

async fn ask(target: &Target) -> Command {
    match &target.ask {
        Ask::Health(health) => Command::Checked(target.name.clone(), check(target.address, health).await),
        Ask::Agent(agent) => Command::Told(target.name.clone(), listen(target.address, agent).await),
    }
}

/// Those that are still wanted keep their time. One whose interval is shorter now is in doubt, and is asked as soon as a
/// new one.
fn rescheduled(due: &[(Target, Instant)], wanted: &[Target], now: Instant) -> Vec<(Target, Instant)> {
    let soon = |target: &Target| now + target.ask.interval().mul_f64(part(random())) / FIRST_PART;
    let at = |target: &Target| match due.iter().find(|(old, _)| old.is(target)) {
        Some((old, at)) if target.ask.interval() < old.ask.interval() => (*at).min(soon(target)),
        Some((_, at)) => *at,
        None => soon(target),
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
            Check::Http { path, host, statuses, body, tls } => {
                let own = host.clone().unwrap_or_else(|| name(address));
                let body = body.as_deref();
                match tls {
                    None => http::page(stream, path, &own, statuses, body).await,
                    Some(tls) => {
                        let server = http::host_name(host.as_deref(), address);
                        let stream = http::secured(stream, &server, tls.is_verified).await?;
                        http::page(stream, path, &own, statuses, body).await
                    }
                }
            }
            Check::Grpc { service } => grpc::serves(stream, &address.to_string(), service).await,
        }
    };
    let seconds = health.timeout.as_secs();
    timeout(health.timeout, work).await.map_err(|_| format!("no answer within {seconds} s"))?
}

/// Asks a backend once what it says of itself.
pub async fn listen(address: SocketAddr, agent: &AgentCheck) -> Result<Told, String> {
    let work = async {
        let address = SocketAddr::new(address.ip(), agent.port);
        let stream = connect(address).await.map_err(|error| format!("cannot connect: {error}"))?;
        told::listen(stream, agent.send.as_deref()).await
    };
    let seconds = agent.timeout.as_secs();
    timeout(agent.timeout, work).await.map_err(|_| format!("no answer within {seconds} s"))?
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

#[cfg(test)]
mod tests;
