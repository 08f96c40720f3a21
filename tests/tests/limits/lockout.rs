//! Nobody is locked out by a list: the node's own addresses, its API server, name server, gateway, collector, and who is
//! logged in by SSH. All ways to deny them are tried, while the rest of what is denied is.

use std::{
    fs,
    io::ErrorKind,
    net::{TcpListener, TcpStream},
    path::Path,
    thread,
    time::Duration,
};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};
use rampart_tests::{agent::Agent, require_root, skip};

use crate::stage::{Stage, TOKEN, ask, page};

const PORT: u16 = 47_784;
const SPAN: Duration = Duration::from_millis(300);
/// Last numbers of the addresses.
const API_SERVER: u8 = 2;
const NAME_SERVER: u8 = 3;
const SSH_PEER: u8 = 4;
const CONFIGURED: u8 = 5;
const COLLECTOR: u8 = 6;
const NOBODY: u8 = 7;
const RESOLVERS: &str = "/etc/resolv.conf";

/// Starts an agent that sees this file as the node's list of name servers.
fn start(stage: &Stage, settings: &str, env: &[(&str, &str)], resolvers: &Path) -> Agent {
    thread::scope(|scope| {
        let started = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNS).expect("mounts of its own");
            let none = None::<&str>;
            let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
            mount(none, "/", none, private, none).expect("mounts that nobody sees");
            mount(Some(resolvers), RESOLVERS, none, MsFlags::MS_BIND, none).expect("the list is replaced");
            stage.start_in(settings, env)
        });
        started.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[test]
fn no_list_locks_out_what_the_node_needs() {
    let name = "no_list_locks_out_what_the_node_needs";
    require_root!(name);
    if !Path::new(RESOLVERS).exists() {
        skip!(name, "there is no `{RESOLVERS}`");
    }
    let sources = [API_SERVER, NAME_SERVER, SSH_PEER, CONFIGURED, COLLECTOR, NOBODY];
    let stage = Stage::with("rpsafe", "198.18.85", &sources);
    let file = |name: &str, text: &str| {
        let path = stage.scratch.path().join(name);
        fs::write(&path, text).expect("a file is written");
        path
    };
    let address = |last: u8| stage.address(last).to_string();
    let resolvers = file("resolv.conf", &format!("nameserver {}\n", address(NAME_SERVER)));
    let denied = file("denied", "# nobody yet\n");
    // Somebody is logged in. Where a server of SSH runs, it is that one's connection.
    let listener = match TcpListener::bind((stage.address(1), 22)) {
        Ok(listener) => Some(listener),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::AddrInUse, "{error}");
            None
        }
    };
    let here = stage.address(1);
    let _peer = stage.space.inside(|| {
        let bound = nix::sys::socket::SockaddrIn::new(198, 18, 85, SSH_PEER, 0);
        connect_from(&bound, here)
    });
    let settings = format!(
        "  deny_files: ['{}']\n  safety: ['{}']\n  policies:\n    datagrams: {{rate: 10k/s, unit: packets, match: {{protocol: udp, ports: {PORT}}}}}\nkubernetes: {{watch: 'off'}}\noutput: {{collector: {{url: 'https://{}:7443', token: none, spool_dir: '{}'}}}}\n",
        denied.display(),
        address(CONFIGURED),
        address(COLLECTOR),
        stage.scratch.path().join("spool").display(),
    );
    let api_server = address(API_SERVER);
    let mut agent = start(&stage, &settings, &[("KUBERNETES_SERVICE_HOST", &api_server)], &resolvers);

    let safe = [
        (1, "an address of this node"),
        (API_SERVER, "the API server"),
        (NAME_SERVER, "a name server of this node"),
        (SSH_PEER, "logged in by SSH"),
        (CONFIGURED, "on `limits.safety`"),
        (COLLECTOR, "the collector"),
    ];
    for (last, why) in safe {
        let body = format!("{{\"net\": \"{}\"}}", address(last));
        let (status, answer) = ask(&agent, "POST", "/limits/deny", Some(TOKEN), &body);
        assert_eq!(status, 409, "{why}: {answer}");
        assert!(answer["error"].as_str().is_some_and(|text| text.contains(why)), "{why}: {answer}");
        let refused = stage.limits(&agent, &["deny", &address(last), "--for", "1h"]);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(refused.status.code() == Some(1) && said.contains(why), "{why}: {said}");
    }
    assert_eq!(page(&agent, "/limits/deny")["entries"].as_array().map(Vec::len), Some(0));

    // A list that names them all, and a prefix around them, are in force without them.
    let all: Vec<String> = (1..=NOBODY).map(address).collect();
    fs::write(&denied, all.join("\n")).expect("the list is written");
    let flows = |last| stage.arrive(last, PORT, 200, SPAN) > 0;
    agent.until("listed", |_| !flows(NOBODY));
    let is_kept = |what: &str| {
        for (last, why) in safe.into_iter().skip(1) {
            assert!(flows(last), "{what}: {why}");
        }
        assert!(!flows(NOBODY), "{what}");
    };
    is_kept("a list names them");
    let said = stage.done(&agent, &["deny", "198.18.85.0/24", "--for", "1h"]);
    for (_, why) in safe {
        assert!(said.contains(why), "{why}: {said}");
    }
    fs::write(&denied, "\n").expect("the list is written");
    agent.until("listed no more", |agent| page(agent, "/limits/deny")["files"][0]["nets"] == 0);
    is_kept("they lie in a denied prefix");
    let explained = stage.done(&agent, &["explain", &address(SSH_PEER)]);
    assert!(explained.contains("logged in by SSH"), "{explained}");
    stage.done(&agent, &["undeny", "198.18.85.0/24"]);
    assert!(flows(NOBODY), "it may go on");
    assert!(agent.stop().success());
    drop(listener);
}

/// A connection to the port of SSH from an address.
fn connect_from(from: &nix::sys::socket::SockaddrIn, to: std::net::IpAddr) -> TcpStream {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, socket};
    use std::os::fd::AsRawFd as _;

    let socket =
        socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).expect("a socket inside");
    bind(socket.as_raw_fd(), from).expect("an address inside");
    let std::net::SocketAddr::V4(to) = std::net::SocketAddr::new(to, 22) else { panic!("an IPv4 address") };
    connect(socket.as_raw_fd(), &SockaddrIn::from(to)).expect("a connection");
    TcpStream::from(socket)
}
