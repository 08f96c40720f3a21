//! Logging in, roles, and what anybody may see.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{HeaderMap, Request, StatusCode};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use rampart_proto::v1::{ListNodesRequest, query_service_client::QueryServiceClient};
use rustls::{ClientConfig, RootCertStore, crypto::ring::default_provider};
use serde_json::{Value, json};
use tonic::Code;

use super::*;
use crate::identity::{access::Role, items::User, password};

const PASSWORD: &str = "correct horse battery";

fn user(bench: &Bench, name: &str, role: Role) {
    let user = User { role, password: password::make(PASSWORD).unwrap(), created_ns: now_ns() };
    let change = Change::put(Kind::User, name, Expect::Anything, items::write(&user).unwrap());
    bench.book().change(&[change], &Note::new("cli:test", "user.set", name, ""), now_ns()).unwrap();
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Value,
    text: String,
}

async fn ask(bench: &Bench, line: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut roots = RootCertStore::empty();
    roots.add(bench.authority().certificate().clone()).unwrap();
    let tls = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let https = HttpsConnectorBuilder::new().with_tls_config(tls).https_only().enable_http1().build();
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build(https);
    let (method, path) = line.split_once(' ').unwrap();
    let mut request =
        Request::builder().method(method).uri(format!("https://{}{path}", bench.collector.http));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = client.request(request.body(Full::from(body.to_owned())).unwrap()).await.unwrap();
    let (status, headers) = (answer.status(), answer.headers().clone());
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    let text = String::from_utf8_lossy(&body).into_owned();
    Answer { status, headers, body: serde_json::from_slice(&body).unwrap_or_default(), text }
}

const JSON: (&str, &str) = ("content-type", "application/json");

async fn login(bench: &Bench, name: &str, password: &str) -> Answer {
    let body = json!({ "user": name, "password": password }).to_string();
    ask(bench, "POST /login", &[JSON], &body).await
}

#[tokio::test(flavor = "multi_thread")]
async fn people_log_in_and_may_what_their_role_says() {
    let bench = Bench::start("").await;
    user(&bench, "vera", Role::Viewer);
    user(&bench, "otto", Role::Operator);
    for path in ["/health", "/healthz", "/ready", "/login"] {
        assert_eq!(ask(&bench, &format!("GET {path}"), &[], "").await.status, 200, "{path}");
    }
    for line in ["GET /", "GET /alerts", "GET /metrics", "GET /audit", "GET /no/such", "POST /dead/redrive"] {
        let answer = ask(&bench, line, &[JSON], "").await;
        assert_eq!(
            (answer.status.as_u16(), &answer.headers["www-authenticate"]),
            (401, &"Bearer".parse().unwrap()),
            "{line}"
        );
        assert_eq!(answer.headers["strict-transport-security"], "max-age=31536000");
        assert!(
            answer.headers["content-security-policy"].to_str().unwrap().contains("frame-ancestors 'none'")
        );
    }
    let page = ask(&bench, "GET /", &[("accept", "text/html,*/*")], "").await;
    assert_eq!((page.status.as_u16(), &page.headers["location"]), (303, &"/login".parse().unwrap()));
    assert_eq!(login(&bench, "vera", "wrong horse battery").await.status, 401);
    assert_eq!(login(&bench, "nobody", PASSWORD).await.status, 401);

    let vera = login(&bench, "vera", PASSWORD).await;
    assert_eq!((vera.status.as_u16(), &vera.body["role"]), (200, &json!("viewer")));
    let cookie = vera.headers["set-cookie"].to_str().unwrap();
    for part in ["HttpOnly", "SameSite=Strict", "Secure", "Path=/"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    let cookie = ("cookie", cookie.split(';').next().unwrap());
    assert_eq!(ask(&bench, "GET /alerts", &[cookie], "").await.status, 200);
    assert_eq!(ask(&bench, "GET /me", &[cookie], "").await.body["name"], "user:vera");
    for line in ["GET /audit", "POST /dead/redrive"] {
        let answer = ask(&bench, line, &[cookie, JSON], "").await;
        assert_eq!(
            (answer.status.as_u16(), &answer.body["error"]),
            (403, &json!("this needs the role operator"))
        );
    }
    let otto = login(&bench, "otto", PASSWORD).await;
    let bearer = format!("Bearer {}", otto.body["token"].as_str().unwrap());
    let bearer = ("authorization", bearer.as_str());
    assert_eq!(ask(&bench, "POST /dead/redrive", &[bearer], "").await.status, 415);
    assert_eq!(ask(&bench, "POST /dead/redrive?number=5", &[bearer, JSON], "").await.body["redriven"], 0);
    let log = ask(&bench, "GET /audit?limit=2", &[bearer], "").await.body;
    let newest = &log["records"][0];
    assert_eq!((&newest["actor"], &newest["action"]), (&json!("user:otto"), &json!("dlq.redrive")));
    assert_eq!(newest["detail"], "number 5");
    assert_eq!(log["records"][1]["hash"], newest["previous"]);
    assert_eq!(ask(&bench, "GET /audit?limit=0", &[bearer], "").await.status, 400);
    assert_eq!(ask(&bench, "GET /cluster", &[bearer], "").await.body["nodes"]["known"], 0);

    // Over gRPC the same tokens hold.
    let mut query = QueryServiceClient::new(bench.channel(None));
    assert_eq!(query.list_nodes(ListNodesRequest {}).await.unwrap_err().code(), Code::Unauthenticated);
    let mut request = tonic::Request::new(ListNodesRequest {});
    request.metadata_mut().insert("authorization", bearer.1.parse().unwrap());
    assert!(query.list_nodes(request).await.unwrap().into_inner().nodes.is_empty());

    // Who logs out takes the token back.
    assert_eq!(ask(&bench, "POST /logout", &[cookie, JSON], "").await.status, 200);
    until("the token is refused", async || ask(&bench, "GET /alerts", &[cookie], "").await.status == 401)
        .await;
    assert_eq!(ask(&bench, "GET /alerts", &[bearer], "").await.status, 200, "that of another person is not");
    assert_eq!(bench.actions(), ["user.set", "user.set", "login", "login", "dlq.redrive", "logout"]);
    bench.collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_guesses_waits() {
    let bench = Bench::start("").await;
    user(&bench, "vera", Role::Viewer);
    let mut statuses = Vec::new();
    for _ in 0..8 {
        let answer = login(&bench, "vera", "wrong horse battery").await;
        if answer.status == 429 {
            assert!(answer.headers["retry-after"].to_str().unwrap().parse::<u64>().unwrap() >= 1);
        }
        statuses.push(answer.status.as_u16());
    }
    assert_eq!(statuses[..5], [401; 5]);
    assert!(statuses.contains(&429), "{statuses:?}");
    bench.collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn anybody_may_ask_how_it_is_and_what_can_be_asked() {
    use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
    use tonic_reflection::pb::v1::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };
    let bench = Bench::start("").await;
    let mut health = HealthClient::new(bench.channel(None));
    for service in ["", "rampart.v1.AgentService"] {
        let request = HealthCheckRequest { service: service.to_owned() };
        assert_eq!(health.check(request).await.unwrap().into_inner().status, 1, "{service}");
    }
    let unknown = HealthCheckRequest { service: "rampart.v1.Nothing".to_owned() };
    assert_eq!(health.check(unknown).await.unwrap_err().code(), Code::NotFound);
    let question = |request| ServerReflectionRequest { host: String::new(), message_request: Some(request) };
    let questions = futures_util::stream::iter([
        question(MessageRequest::ListServices(String::new())),
        question(MessageRequest::FileContainingSymbol("rampart.v1.EnrolRequest".to_owned())),
    ]);
    let mut reflection = ServerReflectionClient::new(bench.channel(None));
    let mut answers = reflection.server_reflection_info(questions).await.unwrap().into_inner();
    let Some(MessageResponse::ListServicesResponse(list)) =
        answers.message().await.unwrap().unwrap().message_response
    else {
        panic!("no list of services")
    };
    let names: Vec<&str> = list.service.iter().map(|service| service.name.as_str()).collect();
    for name in ["rampart.v1.AgentService", "rampart.v1.IdentityService", "rampart.v1.QueryService"] {
        assert!(names.contains(&name), "{names:?}");
    }
    assert!(matches!(
        answers.message().await.unwrap().unwrap().message_response,
        Some(MessageResponse::FileDescriptorResponse(_))
    ));
    bench.collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_say_when_certificates_end() {
    let bench = Bench::start("").await;
    user(&bench, "ann", Role::Viewer);
    let token = login(&bench, "ann", PASSWORD).await.body["token"].as_str().unwrap().to_owned();
    let bearer = format!("Bearer {token}");
    let name = "rampart_collector_certificate_expiry_timestamp_seconds";
    let mut page = String::new();
    while !page.contains(&format!("{name}{{certificate=\"server\"}}")) {
        page = ask(&bench, "GET /metrics", &[("authorization", &bearer)], "").await.text;
        assert!(page.contains("rampart_collector_sessions"), "{page}");
    }
    let ends = |certificate: &str| {
        let line = format!("{name}{{certificate=\"{certificate}\"}} ");
        let value = page.lines().find_map(|own| own.strip_prefix(&line)).expect(&page);
        (value.parse::<u64>().unwrap() * 1_000_000_000).saturating_sub(now_ns()) / 86_400_000_000_000
    };
    assert!((5..=7).contains(&ends("server")), "days: {}", ends("server"));
    assert!(ends("authority") > 365);
    bench.collector.stop().await;
}
