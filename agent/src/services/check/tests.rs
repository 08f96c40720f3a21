//! Checks against small servers.

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
    health(Check::Http { path: "/up".to_owned(), host: None, statuses: vec![(200, 299)], body, tls: None })
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
        let slow = Target { name, address, ask: Ask::Health(health(Check::Tcp)) };
        let first = rescheduled(&[], std::slice::from_ref(&slow), now);
        assert!(first[0].1 <= now + Duration::from_secs(3), "the first one is soon");
        let later = vec![(slow.clone(), now + Duration::from_secs(30))];
        let quick = Health { interval: Duration::from_secs(1), ..health(Check::Tcp) };
        let fast = Target { ask: Ask::Health(quick), ..slow.clone() };
        let asked = rescheduled(&later, std::slice::from_ref(&fast), now);
        assert!(asked[0].1 <= now + Duration::from_millis(100), "one in doubt is asked at once");
        let later = vec![(fast.clone(), now + Duration::from_secs(1))];
        assert_eq!(rescheduled(&later, &[fast], now)[0].1, later[0].1, "and keeps its time then");
        assert_eq!(rescheduled(&later, &[], now).len(), 0);
    });
}

fn is_root(name: &str) -> bool {
    let is_root = nix::unistd::geteuid().is_root();
    if !is_root {
        println!("SKIP: {name}: marks need root");
    }
    is_root
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

#[test]
fn pages_are_asked_for_with_tls() {
    if !is_root("pages_are_asked_for_with_tls") {
        return;
    }
    let made = rcgen::generate_simple_self_signed(vec!["web.example".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (asked, mut names) = tokio::sync::mpsc::channel(8);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let name = stream.get_ref().1.server_name().map(str::to_owned);
                let mut request = [0; 1024];
                let length = stream.read(&mut request).await.unwrap();
                let _ = asked.send((name, String::from_utf8_lossy(&request[..length]).into_owned())).await;
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nup").await;
                let _ = stream.shutdown().await;
            }
        });
        let page = |is_verified| {
            health(Check::Http {
                path: "/up".to_owned(),
                host: Some("web.example:8443".to_owned()),
                statuses: vec![(200, 200)],
                body: Some("up".to_owned()),
                tls: Some(crate::config::TlsCheck { is_verified }),
            })
        };
        assert_eq!(check(address, &page(false)).await, Ok(()));
        let (name, request) = names.recv().await.unwrap();
        assert_eq!(name.as_deref(), Some("web.example"));
        assert!(request.contains("host: web.example:8443\r\n"), "{request}");
        let refused = check(address, &page(true)).await.unwrap_err();
        assert!(refused.starts_with("no TLS: invalid peer certificate"), "{refused}");
    });
}

#[test]
fn grpc_servers_say_how_their_services_are() {
    if !is_root("grpc_servers_say_how_their_services_are") {
        return;
    }
    block_on(async {
        let (reporter, service) = tonic_health::server::health_reporter();
        let status = |name: &'static str, status| reporter.set_service_status(name, status);
        status("good", tonic_health::ServingStatus::Serving).await;
        status("bad", tonic_health::ServingStatus::NotServing).await;
        let incoming = tonic::transport::server::TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = incoming.local_addr().unwrap();
        tokio::spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming));
        let ask =
            async |service: &str| check(address, &health(Check::Grpc { service: service.to_owned() })).await;
        assert_eq!(ask("").await, Ok(()), "the server as a whole");
        assert_eq!(ask("good").await, Ok(()));
        assert_eq!(ask("bad").await, Err("status NOT_SERVING".to_owned()));
        assert_eq!(ask("other").await, Err("it does not know the service `other`".to_owned()));
        // Somebody who speaks something else.
        let http = "HTTP/1.1 200 OK\r\n\r\n";
        let other = answered(http, &health(Check::Grpc { service: String::new() })).await;
        assert!(other.unwrap_err().starts_with("no answer"));
    });
}

#[test]
fn backends_say_how_they_are() {
    if !is_root("backends_say_how_they_are") {
        return;
    }
    block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let agent = AgentCheck {
            port: address.port(),
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(5),
            send: Some("how are you".to_owned()),
        };
        let server = async |line: &'static [u8]| {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut greeting = [0; 64];
            let length = stream.read(&mut greeting).await.unwrap();
            assert_eq!(&greeting[..length], b"how are you\n");
            stream.write_all(line).await.unwrap();
        };
        let ask = async |line| tokio::join!(listen(address, &agent), server(line)).0;
        assert_eq!(ask(b"up 40%\n").await.unwrap().percent, Some(40));
        assert_eq!(ask(b"maint").await.unwrap().admin, Some(crate::config::AdminState::Maintenance));
        assert!(ask(b"\xff\xfe\n").await.unwrap_err().starts_with("it says nothing"));
        assert!(ask(b"").await.is_err());
    });
}

/// Many backends of which nobody answers: so many checks at a time, and of each backend one.
#[test]
fn checks_are_bounded() {
    if !is_root("checks_are_bounded") {
        return;
    }
    block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let settings =
            Health { interval: Duration::from_millis(10), timeout: Duration::from_mins(1), ..http(None) };
        let target = |number: usize| Target {
            name: ("web".to_owned(), number.to_string()),
            address,
            ask: Ask::Health(settings.clone()),
        };
        let (sender, wanted) = watch::channel(Arc::new((0..100).map(target).collect::<Vec<_>>()));
        let (desk, _received) = super::super::desk::desk();
        let checks = tokio::spawn(run(wanted, desk));
        let mut held = Vec::new();
        while held.len() < AT_A_TIME {
            held.push(timeout(Duration::from_secs(30), listener.accept()).await.expect("in time").unwrap());
        }
        // Each check is due many times over.
        let more = timeout(Duration::from_millis(300), listener.accept()).await;
        assert!(more.is_err(), "more than {AT_A_TIME} at a time");
        drop(sender);
        timeout(Duration::from_secs(30), checks).await.expect("it ends").unwrap();
    });
}
