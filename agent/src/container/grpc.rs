//! gRPC over a unix socket.

use std::path::{Path, PathBuf};

use hyper::http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::{
    Code, Request,
    client::Grpc,
    metadata::AsciiMetadataValue,
    transport::{Channel, Endpoint, Uri},
};
use tonic_prost::ProstCodec;
use tower::service_fn;

use super::LookupError;

/// Largest answer taken, bytes.
const ANSWER_MAX: usize = 4 << 20;

/// A client of one socket; connects when it is used, and again after a failure.
#[derive(Clone, Debug)]
pub(super) struct Client {
    socket: PathBuf,
    channel: Channel,
}

impl Client {
    /// A client of a socket that may not be there yet.
    pub(super) fn new(socket: &Path) -> Self {
        let path = socket.to_owned();
        // The address is not used: the connector knows where to go.
        let channel = Endpoint::from_static("http://localhost").connect_with_connector_lazy(service_fn(
            move |_: Uri| {
                let path = path.clone();
                async move { UnixStream::connect(path).await.map(TokioIo::new) }
            },
        ));
        Self { socket: socket.to_owned(), channel }
    }

    /// The socket.
    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    /// Calls a method; `None` when what it is about does not exist. `namespace` is containerd's.
    pub(super) async fn call<Q, A>(
        &self,
        method: &'static str,
        namespace: Option<&str>,
        question: Q,
    ) -> Result<Option<A>, LookupError>
    where
        Q: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        let fault = |source| LookupError::Call { socket: self.socket.clone(), source: Box::new(source) };
        let mut grpc = Grpc::new(self.channel.clone()).max_decoding_message_size(ANSWER_MAX);
        grpc.ready().await.map_err(|error| fault(tonic::Status::from_error(error.into())))?;
        let mut request = Request::new(question);
        if let Some(namespace) = namespace {
            let value = AsciiMetadataValue::try_from(namespace)
                .map_err(|error| fault(tonic::Status::invalid_argument(error.to_string())))?;
            request.metadata_mut().insert("containerd-namespace", value);
        }
        let path = PathAndQuery::from_static(method);
        match grpc.unary(request, path, ProstCodec::<Q, A>::default()).await {
            Ok(answer) => Ok(Some(answer.into_inner())),
            Err(status) if status.code() == Code::NotFound => Ok(None),
            Err(status) => Err(fault(status)),
        }
    }
}
