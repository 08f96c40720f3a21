//! A control group, a service in it, and servers for it.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rampart_agent::kernel::services::{Services, ServicesConfig, Tables};
use rampart_common::service::{
    abi::{Backend, Breaker, MEMBERS, SLOTS, Service, VipKey},
    breaker::{Order, Policy, State, Word},
    signal::Outcome,
    wire,
};
use rampart_tests::cgroup::{Cgroup, Unreachable};

pub(super) const SECOND: u64 = 1_000_000_000;
/// Mark of health checks.
pub(super) const MARK: u32 = 0x7261_6d70;
/// Longest wait for something that happens at once on an idle machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Services on a control group of their own.
pub(super) struct Stage {
    pub(super) services: Services,
    pub(super) vip: SocketAddr,
    pub(super) tables: Tables,
    _route: Unreachable,
    pub(super) cgroup: Cgroup,
}

/// A server that answers each connection's first bytes with its name.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) accepted: Arc<AtomicUsize>,
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What a server does with a connection.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Manner {
    /// Answers and keeps it until the client closes.
    Answer,
    /// Keeps it and says nothing.
    Silent,
    /// Resets it when it was asked something.
    Reset,
    /// Closes it without an answer when it was asked something.
    Empty,
}

pub(super) fn policy() -> Policy {
    Policy {
        recovery_ns: 60 * SECOND,
        recovery_cap_ns: 600 * SECOND,
        probe_ns: 5 * SECOND,
        half_open_ns: 30 * SECOND,
        failure_threshold: 5,
        half_open_calls: 3,
        half_open_successes: 3,
        ..Policy::default()
    }
}

/// A service of one tier, number 1, whose backends are numbers 1, 2, ….
pub(super) fn tables(vip: SocketAddr, protocol: u8, backends: &[SocketAddr], settings: Service) -> Tables {
    let mut service = Service { name_low: 1, count: backends.len() as u8, ..settings };
    let mut slots = [0; SLOTS];
    for (slot, to) in slots.iter_mut().enumerate() {
        *to = if backends.is_empty() { 0 } else { (slot % backends.len()) as u16 + 1 };
    }
    let mut numbered = Vec::new();
    for (number, address) in (1..).zip(backends) {
        let place = number as usize - 1;
        assert!(place < MEMBERS);
        service.members[place] = number;
        service.tier_start[place] = 0;
        service.tier_size[place] = backends.len() as u8;
        let backend = Backend {
            name_hash: u64::from(number),
            address: wire::address(address.ip()),
            port: address.port().to_be(),
            service: 1,
            weight: 1,
        };
        numbered.push((u32::from(number), backend));
    }
    let key = VipKey { address: wire::address(vip.ip()), port: vip.port().to_be(), protocol, slot: 0 };
    Tables { vips: vec![(key, 1)], services: vec![(1, service, slots)], backends: numbered }
}

impl Stage {
    pub(super) fn new(vip: &str, protocol: u8, backends: &[SocketAddr], settings: Service) -> Self {
        let vip: SocketAddr = vip.parse().expect("an address");
        let prefix = if vip.is_ipv4() { format!("{}/32", vip.ip()) } else { format!("{}/128", vip.ip()) };
        let route = Unreachable::new(&prefix);
        let cgroup = Cgroup::enter("rampart-services").expect("a control group");
        let config = ServicesConfig { cgroup: cgroup.path().to_owned(), pins: None, probe_mark: MARK };
        let mut services = Services::load(config).expect("the programs load");
        let tables = tables(vip, protocol, backends, settings);
        services.publish(&tables).expect("the tables are written");
        services.attach(1).expect("the programs are attached");
        Self { services, vip, tables, _route: route, cgroup }
    }

    pub(super) fn breaker(&self, backend: u32) -> (Breaker, Word) {
        let breaker = self.services.breaker(backend).expect("the breaker is read");
        (breaker, Word(breaker.word).under(&Order::default()))
    }

    pub(super) fn state(&self, backend: u32) -> State {
        self.breaker(backend).1.state()
    }

    pub(super) fn outcomes(&self, backend: u32, outcome: Outcome) -> u64 {
        self.services.tally(backend).expect("the tally is read").outcomes[outcome as usize]
    }

    /// Connects, asks and reads the answer; the server's name.
    pub(super) fn ask(&self) -> std::io::Result<String> {
        ask(TcpStream::connect(self.vip)?)
    }

    /// Connects until a breaker has a state; the connections' own fates are as they may be.
    pub(super) fn connect_until(&self, backend: u32, state: State) {
        wait(|| {
            let _ = self.ask();
            self.state(backend) == state
        });
    }
}

/// Waits for something; who waits in vain is told where.
#[track_caller]
pub(super) fn wait(mut until: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !until() {
        assert!(Instant::now() < end, "it does not come about");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Asks on a connection and reads the answer.
pub(super) fn ask(mut stream: TcpStream) -> std::io::Result<String> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(b"?")?;
    let mut name = [0; 64];
    let length = stream.read(&mut name)?;
    if length == 0 {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    Ok(String::from_utf8_lossy(&name[..length]).into_owned())
}

impl Server {
    pub(super) fn new(at: &str, manner: Manner) -> Self {
        let listener = TcpListener::bind(at).expect("the server's address is free");
        Self::of(listener, manner)
    }

    pub(super) fn of(listener: TcpListener, manner: Manner) -> Self {
        let address = listener.local_addr().expect("an address");
        let (accepted, end) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, is_over) = (Arc::clone(&accepted), Arc::clone(&end));
        listener.set_nonblocking(true).expect("a listener");
        let thread = thread::spawn(move || {
            let mut open = Vec::new();
            while !is_over.load(Ordering::SeqCst) {
                match listener.accept() {
                    Ok((stream, _)) => {
                        count.fetch_add(1, Ordering::SeqCst);
                        stream.set_nonblocking(true).expect("a stream");
                        open.push(stream);
                    }
                    Err(_) => thread::sleep(Duration::from_millis(1)),
                }
                open.retain_mut(|stream| serve(stream, address, manner));
            }
        });
        Self { address, accepted, end, thread: Some(thread) }
    }

    /// Stops to listen: connections are refused from now on.
    pub(super) fn stop(mut self) -> SocketAddr {
        self.finish();
        self.address
    }

    fn finish(&mut self) {
        self.end.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.finish();
    }
}

/// Whether the connection stays.
fn serve(stream: &mut TcpStream, name: SocketAddr, manner: Manner) -> bool {
    if manner == Manner::Reset {
        // Unread bytes make the close a reset.
        return match stream.peek(&mut [0; 1]) {
            Ok(_) => false,
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        };
    }
    match stream.read(&mut [0; 64]) {
        Ok(0) => false,
        Ok(_) => match manner {
            Manner::Answer => stream.write_all(name.to_string().as_bytes()).is_ok(),
            Manner::Silent => true,
            Manner::Empty | Manner::Reset => false,
        },
        Err(error) => error.kind() == ErrorKind::WouldBlock,
    }
}

/// An address of the loopback device on which nobody listens.
pub(super) fn nobody() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address")
}

pub(super) fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}
