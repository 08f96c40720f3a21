//! UDP: per datagram and connected.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use rampart_common::service::{
    abi::{ROUND_ROBIN, Service},
    breaker::State,
};
use rampart_tests::require_root;

use super::stage::{Stage, ip, policy, wait};

fn service() -> Service {
    Service { policy: policy(), algorithm: ROUND_ROBIN, ..Service::default() }
}

/// Sends back its own name.
struct Echo {
    address: SocketAddr,
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Echo {
    fn new(at: &str) -> Self {
        let socket = UdpSocket::bind(at).expect("the address is free");
        socket.set_read_timeout(Some(Duration::from_millis(20))).expect("a timeout");
        let address = socket.local_addr().expect("an address");
        let end = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&end);
        let thread = thread::spawn(move || {
            while !is_over.load(Ordering::SeqCst) {
                if let Ok((_, from)) = socket.recv_from(&mut [0; 64]) {
                    let _ = socket.send_to(address.to_string().as_bytes(), from);
                }
            }
        });
        Self { address, end, thread: Some(thread) }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.end.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn client(at: &str) -> UdpSocket {
    let socket = UdpSocket::bind(at).expect("a socket");
    socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    socket
}

#[test]
fn datagrams_come_from_where_they_were_sent_to() {
    require_root!("datagrams_come_from_where_they_were_sent_to");
    for (vip, here, servers) in [
        ("198.18.66.1:53", "127.0.0.1:0", ["127.0.0.2:0", "127.0.0.3:0"]),
        ("[fd00:7261:6d70::2]:53", "[::1]:0", ["[::1]:0", "[::1]:0"]),
    ] {
        let servers = servers.map(Echo::new);
        let backends = servers.each_ref().map(|server| server.address);
        let stage = Stage::new(vip, 17, &backends, service());
        let socket = client(here);
        let mut buffer = [0; 64];
        let mut names = Vec::new();
        for _ in 0..4 {
            socket.send_to(b"?", stage.vip).expect("a datagram");
            let (length, from) = socket.recv_from(&mut buffer).expect("an answer");
            assert_eq!(from, stage.vip);
            names.push(buffer[..length].to_vec());
        }
        names.dedup();
        assert_eq!(names.len(), 1, "a socket stays with its backend");

        let connected = client(here);
        connected.connect(stage.vip).expect("a peer");
        assert_eq!(connected.peer_addr().expect("a peer"), stage.vip);
        connected.send(b"?").expect("a datagram");
        let (_, from) = connected.recv_from(&mut buffer).expect("an answer");
        assert_eq!(from, stage.vip);

        // Others are left alone.
        socket.send_to(b"?", backends[0]).expect("a datagram");
        let (_, from) = socket.recv_from(&mut buffer).expect("an answer");
        assert!(from == backends[0] || from == stage.vip, "{from}");
    }
}

#[test]
fn icmp_errors_open_the_breaker_and_the_socket_moves_on() {
    require_root!("icmp_errors_open_the_breaker_and_the_socket_moves_on");
    let gone = {
        let socket = UdpSocket::bind("127.0.0.2:0").expect("a free port");
        socket.local_addr().expect("an address")
    };
    let server = Echo::new("127.0.0.3:0");
    let stage = Stage::new("198.18.66.3:53", 17, &[gone, server.address], service());
    assert_eq!(stage.vip.ip(), ip("198.18.66.3"));
    wait(|| {
        let socket = client("127.0.0.1:0");
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout");
        socket.connect(stage.vip).expect("a peer");
        let _ = socket.send(b"?");
        let _ = socket.recv(&mut [0; 64]);
        stage.state(1) == State::Open
    });
    let mut buffer = [0; 64];
    for _ in 0..5 {
        let socket = client("127.0.0.1:0");
        socket.send_to(b"?", stage.vip).expect("a datagram");
        let (length, _) = socket.recv_from(&mut buffer).expect("an answer");
        assert_eq!(&buffer[..length], server.address.to_string().as_bytes());
    }
}
