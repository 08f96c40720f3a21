//! Both servers: what they serve, by which certificate, and to whom.

use std::{fs, net::SocketAddr, sync::Arc};

use rampart_proto::v1::{
    agent_service_server::AgentServiceServer, identity_service_server::IdentityServiceServer,
    query_service_server::QueryServiceServer,
};
use tokio::{net::TcpListener, sync::watch, task::JoinSet};
use tonic::{
    Request, Status,
    transport::{
        Server,
        server::{Router, TcpIncoming},
    },
};

use super::{AppError, KEEPALIVE};
use crate::{
    agents::{Agents, MESSAGE_MAX},
    config::{self, Config},
    http::{self, login::Logins},
    identity::{
        IdentityError, Records,
        access::{Access, Denied, Role, bearer, now_secs},
        authority::{Authority, ends_secs},
        enrol::{self, Enrolment},
        keys::Keys,
        review::Review,
        revoked::Watch,
    },
    query::Query,
    telemetry::Metrics,
    tls::{self, Shown, Source},
    traces::{self, context},
    views::Views,
};

/// Where the machine's name stands.
const HOSTNAME: &str = "/proc/sys/kernel/hostname";

/// The identities of a running collector.
pub(super) struct Identities {
    records: Records,
    /// What is refused.
    pub(super) revoked: Watch,
    authority: Option<Arc<Authority>>,
    shown: Option<Arc<Shown>>,
    review: Option<Review>,
    /// For the door of people.
    http: Arc<Access>,
    /// For those who ask over gRPC.
    grpc: Arc<Access>,
    /// Keys of tokens.
    pub(super) keys: Option<Arc<Keys>>,
}

impl Identities {
    /// Opens what this configuration needs; makes the authority and the first key where they are needed.
    pub(super) fn open(config: &Config, records: Records, revoked: Watch) -> Result<Self, IdentityError> {
        let (tls, identity) = (config.grpc.tls.as_ref(), &config.identity);
        let is_secure = tls.is_some() || config.http.is_tls;
        let authority = if is_secure {
            let own = Authority::open(&identity.authority)?;
            Some(Arc::new(own.trusting(identity.trusted.as_deref())?))
        } else {
            None
        };
        let shown = match (&authority, tls.and_then(|tls| tls.files.clone())) {
            (_, Some((cert, key))) => Some(Shown::open(Source::Files { cert, key })?),
            (Some(authority), None) => {
                let authority = Arc::clone(authority);
                Some(Shown::open(Source::Made { authority, names: names(config) })?)
            }
            (None, None) => None,
        };
        let has_tokens = tls.is_some() || config.http.has_login;
        let keys = if has_tokens {
            Some(Arc::new(Keys::open(&identity.dir.join("jwt"), now_secs())?))
        } else {
            None
        };
        let review = identity.kubernetes.clone().filter(|_| tls.is_some()).map(Review::new).transpose()?;
        let access = |is_asked: bool| {
            let keys = keys.clone().filter(|_| is_asked);
            Arc::new(Access { keys, revoked: revoked.clone(), records: records.clone() })
        };
        let (http, grpc) = (access(config.http.has_login), access(tls.is_some()));
        Ok(Self { records, revoked, authority, shown, review, http, grpc, keys })
    }

    /// When the certificate of the authority ends, seconds since the epoch.
    pub(super) fn authority_ends_secs(&self) -> Option<i64> {
        ends_secs(self.authority.as_ref()?.certificate())
    }

    /// The certificate that needs looking after.
    pub(super) fn shown(&self) -> Option<Arc<Shown>> {
        self.shown.clone()
    }
}

/// Names and addresses under which the collector may be reached.
fn names(config: &Config) -> Vec<String> {
    let mut names = config.identity.names.clone();
    names.extend(["localhost", "127.0.0.1", "::1"].map(str::to_owned));
    let host = fs::read_to_string(HOSTNAME).unwrap_or_default();
    names.extend(Some(host.trim().to_owned()).filter(|name| crate::identity::peer::is_name(name)));
    for address in [config.grpc.listen, config.http.listen] {
        if !address.ip().is_unspecified() {
            names.push(address.ip().to_string());
        }
    }
    names.sort();
    names.dedup();
    names
}

/// What is served to agents and programs.
pub(super) async fn grpc(
    config: &Config,
    identities: &Identities,
    agents: Agents,
    views: Arc<Views>,
    metrics: &Arc<Metrics>,
) -> Result<Router, AppError> {
    let (health, service) = tonic_health::server::health_reporter();
    health.set_serving::<AgentServiceServer<Agents>>().await;
    let mut stop = agents.stop.clone();
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(rampart_proto::DESCRIPTORS)
        .build_v1()?;
    let access = Arc::clone(&identities.grpc);
    let door = move |request: Request<()>| admit(&access, request);
    let agents = AgentServiceServer::new(agents).max_decoding_message_size(MESSAGE_MAX);
    let mut router = Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .tcp_nodelay(true)
        .trace_fn(traced)
        .add_service(agents)
        .add_service(QueryServiceServer::with_interceptor(Query { views }, door))
        .add_service(service)
        .add_service(reflection);
    if let (Some(authority), Some(_)) = (&identities.authority, &config.grpc.tls) {
        let enrolment = Enrolment::new(
            Arc::clone(authority),
            identities.records.clone(),
            identities.revoked.clone(),
            identities.review.clone(),
            config.identity.life,
            Arc::clone(metrics),
        );
        router = router
            .add_service(IdentityServiceServer::new(enrolment).max_decoding_message_size(enrol::MESSAGE_MAX));
    }
    // Ends with the collector; those who watch the health hear of it first.
    tokio::spawn(async move {
        let _ = stop.wait_for(|stop| *stop).await;
        health.set_not_serving::<AgentServiceServer<Agents>>().await;
    });
    Ok(router)
}

/// A span for each question over gRPC; streams of agents make their own, one for each batch.
fn traced(request: &hyper::Request<()>) -> tracing::Span {
    let path = request.uri().path().trim_start_matches('/');
    if !path.starts_with("rampart.v1.QueryService/") && !path.starts_with("rampart.v1.IdentityService/") {
        return tracing::Span::none();
    }
    let span = tracing::info_span!(
        target: traces::TARGET,
        "request",
        otel.name = path,
        otel.kind = "server",
        rpc.system = "grpc",
        rpc.method = path,
    );
    context::take_up(&span, request.headers());
    span
}

/// Whether somebody may ask for alerts and nodes over gRPC.
fn admit(access: &Access, request: Request<()>) -> Result<Request<()>, Status> {
    let shown =
        request.metadata().get("authorization").and_then(|value| value.to_str().ok()).and_then(bearer);
    match access.check(shown, Role::Viewer) {
        Ok(_) => Ok(request),
        Err(denied @ Denied::Role(_)) => Err(Status::permission_denied(denied.to_string())),
        Err(denied) => Err(Status::unauthenticated(denied.to_string())),
    }
}

/// Serves agents until `stop` is true.
pub(super) fn spawn_grpc(
    tasks: &mut JoinSet<Result<(), AppError>>,
    (listener, address): (TcpListener, SocketAddr),
    tls: Option<&config::Tls>,
    identities: &Identities,
    router: Router,
    stop: &watch::Receiver<bool>,
) -> Result<(), AppError> {
    let mut ends = stop.clone();
    let end = async move {
        let _ = ends.wait_for(|stop| *stop).await;
    };
    let Some(tls) = tls else {
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        tasks.spawn(async move { Ok(router.serve_with_incoming_shutdown(incoming, end).await?) });
        return Ok(());
    };
    // Both were opened for this; never without them where certificates are asked for.
    let (Some(shown), Some(authority)) = (&identities.shown, &identities.authority) else {
        return Err(AppError::Ended);
    };
    let config = tls::for_agents(Arc::clone(shown), authority, tls.client_ca.as_deref())?;
    let (ready, handshakes) = tls::accept(listener, config, address, stop.clone());
    tasks.spawn(async move {
        handshakes.await;
        Ok(())
    });
    tasks.spawn(async move { Ok(router.serve_with_incoming_shutdown(ready.stream(), end).await?) });
    Ok(())
}

/// Serves people until `stop` is true.
pub(super) fn spawn_http(
    tasks: &mut JoinSet<Result<(), AppError>>,
    (listener, address): (TcpListener, SocketAddr),
    is_tls: bool,
    identities: &Identities,
    (views, metrics): (Arc<Views>, Arc<Metrics>),
    stop: &watch::Receiver<bool>,
) -> Result<(), AppError> {
    let logins = Logins::new(Arc::clone(&identities.http), metrics, is_tls);
    let pages = http::router(views, logins).into_make_service_with_connect_info::<http::login::From>();
    let mut ends = stop.clone();
    let end = async move {
        let _ = ends.wait_for(|stop| *stop).await;
    };
    let failed = |source| AppError::System { operation: "serve HTTP", source };
    if !is_tls {
        tasks.spawn(
            async move { axum::serve(listener, pages).with_graceful_shutdown(end).await.map_err(failed) },
        );
        return Ok(());
    }
    let Some(shown) = &identities.shown else { return Err(AppError::Ended) };
    let (ready, handshakes) =
        tls::accept(listener, tls::for_people(Arc::clone(shown))?, address, stop.clone());
    tasks.spawn(async move {
        handshakes.await;
        Ok(())
    });
    tasks.spawn(async move { axum::serve(ready, pages).with_graceful_shutdown(end).await.map_err(failed) });
    Ok(())
}
