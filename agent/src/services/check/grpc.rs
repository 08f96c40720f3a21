//! The health service of gRPC (`grpc.health.v1.Health`).

use std::{io, sync::Mutex, sync::PoisonError};

use hyper::http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tonic::{Code, Request, Status, client::Grpc, transport::Endpoint};
use tonic_prost::ProstCodec;
use tower::service_fn;

/// Largest answer taken, bytes.
const ANSWER_MAX: usize = 4 << 10;
/// The status of who serves.
const SERVING: i32 = 1;

#[derive(Clone, PartialEq, prost::Message)]
struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct HealthCheckResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// Asks how a service is, the server as a whole when it has no name. `authority` is who is asked.
pub(super) async fn serves(stream: TcpStream, authority: &str, service: &str) -> Result<(), String> {
    let wrong = |status: &Status| match status.code() {
        Code::NotFound => format!("it does not know the service `{service}`"),
        Code::Unimplemented => "it has no health service".to_owned(),
        code => format!("no answer: {code:?}: {}", status.message()),
    };
    let endpoint = Endpoint::from_shared(format!("http://{authority}")).map_err(|error| error.to_string())?;
    // The one connection that is there; another one would be another check.
    let stream = Mutex::new(Some(stream));
    let connector = service_fn(move |_| {
        let taken = stream.lock().unwrap_or_else(PoisonError::into_inner).take();
        async move { taken.map(TokioIo::new).ok_or_else(|| io::Error::from(io::ErrorKind::ConnectionAborted)) }
    });
    let channel = endpoint
        .connect_with_connector(connector)
        .await
        .map_err(|error| wrong(&Status::from_error(error.into())))?;
    let mut grpc = Grpc::new(channel).max_decoding_message_size(ANSWER_MAX);
    grpc.ready().await.map_err(|error| wrong(&Status::from_error(error.into())))?;
    let request = Request::new(HealthCheckRequest { service: service.to_owned() });
    let path = PathAndQuery::from_static("/grpc.health.v1.Health/Check");
    let codec = ProstCodec::<HealthCheckRequest, HealthCheckResponse>::default();
    match grpc.unary(request, path, codec).await {
        Ok(answer) if answer.get_ref().status == SERVING => Ok(()),
        Ok(answer) => Err(format!("status {}", name(answer.get_ref().status))),
        Err(status) => Err(wrong(&status)),
    }
}

const fn name(status: i32) -> &'static str {
    match status {
        0 => "UNKNOWN",
        SERVING => "SERVING",
        2 => "NOT_SERVING",
        3 => "SERVICE_UNKNOWN",
        _ => "of another kind",
    }
}
