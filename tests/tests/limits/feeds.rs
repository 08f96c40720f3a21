//! Lists from a web server with TLS: who is trusted, and what holds while nobody is.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use rampart_tests::{agent::Agent, require_root};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    crypto::ring::default_provider,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};

use crate::stage::{Stage, page};

const PORT: u16 = 47_785;

/// Who signs certificates.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new(name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("names");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// How a server of this machine shows itself.
    fn server(&self, is_expired: bool) -> Arc<ServerConfig> {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("names");
        if is_expired {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2020, 2, 1);
        }
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions of TLS")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key);
        Arc::new(config.expect("a certificate with its key"))
    }
}

/// What a server shows and says.
struct Manner {
    config: Arc<ServerConfig>,
    list: String,
}

/// A web server of one page.
struct Server {
    address: SocketAddr,
    manner: Arc<Mutex<Manner>>,
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn new(config: Arc<ServerConfig>, list: &str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let manner = Arc::new(Mutex::new(Manner { config, list: list.to_owned() }));
        let end = Arc::new(AtomicBool::new(false));
        let (own, is_over) = (Arc::clone(&manner), Arc::clone(&end));
        let thread = thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if is_over.load(Ordering::SeqCst) {
                    return;
                }
                let (config, list) = {
                    let manner = own.lock().unwrap_or_else(PoisonError::into_inner);
                    (Arc::clone(&manner.config), manner.list.clone())
                };
                // A client that does not trust it goes away: that is what is tested.
                let _ = serve(config, stream, &list);
            }
        });
        Self { address, manner, end, thread: Some(thread) }
    }

    fn set(&self, config: Arc<ServerConfig>, list: &str) {
        *self.manner.lock().unwrap_or_else(PoisonError::into_inner) =
            Manner { config, list: list.to_owned() };
    }

    fn feed(&self) -> String {
        format!("https://{}/list", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end.store(true, Ordering::SeqCst);
        let _wakes = std::net::TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(config: Arc<ServerConfig>, stream: std::net::TcpStream, list: &str) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let connection = ServerConnection::new(config).map_err(std::io::Error::other)?;
    let mut stream = BufReader::new(StreamOwned::new(connection, stream));
    let mut line = String::new();
    while stream.read_line(&mut line)? > 2 {
        line.clear();
    }
    let stream = stream.get_mut();
    write!(stream, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{list}", list.len())?;
    stream.conn.send_close_notify();
    stream.flush()
}

/// How many addresses a feed's copy names, if there is one.
fn nets(agent: &Agent, feed: usize) -> Option<u64> {
    page(agent, "/limits/deny")["files"][feed]["nets"].as_u64()
}

#[test]
fn a_feed_is_trusted_by_its_certificate_and_its_last_good_version_holds() {
    require_root!("a_feed_is_trusted_by_its_certificate_and_its_last_good_version_holds");
    let stage = Stage::with("rpfeed", "198.18.86", &[2, 3, 4, 5]);
    let [ours, another] = ["ours", "another"].map(Authority::new);
    let roots = stage.scratch.path().join("roots.pem");
    std::fs::write(&roots, &ours.pem).expect("the root is written");
    let servers = [
        Server::new(ours.server(false), "198.18.86.2\n"),
        Server::new(another.server(false), "198.18.86.3\n"),
        Server::new(ours.server(true), "198.18.86.4\n"),
    ];
    let feeds: Vec<String> = servers.iter().map(|server| format!("'{}'", server.feed())).collect();
    let settings = format!(
        "  feed_refresh_secs: 1\n  deny_feeds: [{}]\n  policies:\n    datagrams: {{rate: 10k/s, unit: packets, match: {{protocol: udp, ports: {PORT}}}}}\n",
        feeds.join(", "),
    );
    let roots = roots.to_string_lossy().into_owned();
    let mut agent = stage.start_in(&settings, &[("SSL_CERT_FILE", &roots)]);
    let flows = |last| stage.arrive(last, PORT, 200, Duration::from_millis(200)) > 0;
    let fault = |agent: &Agent, server: &Server, why: &str| {
        let page = page(agent, "/limits");
        page["faults"].as_array().is_some_and(|faults| {
            let says = |fault: &str| fault.contains(&server.feed()) && fault.contains(why);
            faults.iter().any(|fault| fault.as_str().is_some_and(says))
        })
    };
    agent.until("listed", |agent| nets(agent, 0) == Some(1));
    agent.until("denying", |_| !flows(2));
    agent.until("refusing a stranger", |agent| fault(agent, &servers[1], "UnknownIssuer"));
    agent.until("refusing what is over", |agent| fault(agent, &servers[2], "xpired"));
    assert!(flows(3) && flows(4), "nobody is denied by who is not trusted");

    // What was trusted once is so no more: the list stays as it was.
    servers[0].set(ours.server(true), "198.18.86.5\n");
    agent.until("refusing what is over", |agent| fault(agent, &servers[0], "xpired"));
    assert!(!flows(2), "the last good version holds");
    assert!(flows(5), "and the new one does not count");
    servers[0].set(ours.server(false), "198.18.86.5\n198.18.86.4\n");
    agent.until("listed again", |agent| nets(agent, 0) == Some(2));
    agent.until("denying another", |_| !flows(5));
    assert!(flows(2), "who is on the list no more may go on");
    assert!(!fault(&agent, &servers[0], ""), "nothing is wrong with it");
    assert!(agent.stop().success());
}
