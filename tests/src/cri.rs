//! The part of a kubelet that starts a pod: four calls of the container runtime interface.

use std::{collections::HashMap, path::Path};

use hyper::http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::{
    Request,
    client::Grpc,
    transport::{Channel, Endpoint, Uri},
};
use tonic_prost::ProstCodec;
use tower::service_fn;

#[derive(Clone, PartialEq, prost::Message)]
struct RunPodSandboxRequest {
    #[prost(message, optional, tag = "1")]
    config: Option<PodSandboxConfig>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PodSandboxConfig {
    #[prost(message, optional, tag = "1")]
    metadata: Option<PodSandboxMetadata>,
    #[prost(string, tag = "3")]
    log_directory: String,
    #[prost(map = "string, string", tag = "6")]
    labels: HashMap<String, String>,
    #[prost(message, optional, tag = "8")]
    linux: Option<LinuxPodSandboxConfig>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PodSandboxMetadata {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    uid: String,
    #[prost(string, tag = "3")]
    namespace: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct LinuxPodSandboxConfig {
    #[prost(string, tag = "1")]
    cgroup_parent: String,
    #[prost(message, optional, tag = "2")]
    security_context: Option<SandboxSecurity>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct SandboxSecurity {
    #[prost(message, optional, tag = "1")]
    namespace_options: Option<NamespaceOption>,
    #[prost(bool, tag = "6")]
    privileged: bool,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct NamespaceOption {
    #[prost(int32, tag = "1")]
    network: i32,
}

/// The mode that shares the node's namespace.
const NODE: i32 = 2;

/// An answer that is an id: of a sandbox or of a container.
#[derive(Clone, PartialEq, prost::Message)]
struct Id {
    #[prost(string, tag = "1")]
    id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct CreateContainerRequest {
    #[prost(string, tag = "1")]
    pod_sandbox_id: String,
    #[prost(message, optional, tag = "2")]
    config: Option<ContainerConfig>,
    #[prost(message, optional, tag = "3")]
    sandbox_config: Option<PodSandboxConfig>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ContainerConfig {
    /// Its metadata, of which the name is set.
    #[prost(message, optional, tag = "1")]
    metadata: Option<Id>,
    /// Its image, of which the name is set.
    #[prost(message, optional, tag = "2")]
    image: Option<Id>,
    #[prost(string, repeated, tag = "3")]
    command: Vec<String>,
    #[prost(message, repeated, tag = "7")]
    mounts: Vec<Mount>,
    #[prost(map = "string, string", tag = "9")]
    labels: HashMap<String, String>,
    #[prost(message, optional, tag = "15")]
    linux: Option<LinuxContainerConfig>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Mount {
    #[prost(string, tag = "1")]
    container_path: String,
    #[prost(string, tag = "2")]
    host_path: String,
    #[prost(bool, tag = "3")]
    readonly: bool,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct LinuxContainerConfig {
    #[prost(message, optional, tag = "2")]
    security_context: Option<ContainerSecurity>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct ContainerSecurity {
    #[prost(bool, tag = "2")]
    privileged: bool,
    #[prost(message, optional, tag = "3")]
    namespace_options: Option<NamespaceOption>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct Nothing {}

/// A privileged pod on the node's network with one container, of image `localhost/test:1`.
pub struct Pod<'p> {
    /// Name.
    pub name: &'p str,
    /// Namespace.
    pub namespace: &'p str,
    /// Uid, also in the control group as the kubelet has it.
    pub uid: &'p str,
    /// What the container runs.
    pub command: &'p [&'p str],
    /// A directory of the node that the container sees at `/host`, read-only.
    pub mount: &'p Path,
}

/// Starts a pod and its container; gives the ids of both.
pub fn start(socket: &Path, pod: &Pod<'_>) -> (String, String) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let path = socket.to_owned();
        let channel = Endpoint::from_static("http://localhost")
            .connect_with_connector(service_fn(move |_: Uri| {
                let path = path.clone();
                async move { UnixStream::connect(path).await.map(TokioIo::new) }
            }))
            .await
            .expect("the socket answers");
        let namespace_options = Some(NamespaceOption { network: NODE });
        let config = PodSandboxConfig {
            metadata: Some(PodSandboxMetadata {
                name: pod.name.into(),
                uid: pod.uid.into(),
                namespace: pod.namespace.into(),
            }),
            labels: [("app".to_owned(), "web".to_owned())].into(),
            log_directory: String::new(),
            linux: Some(LinuxPodSandboxConfig {
                cgroup_parent: format!("/kubepods/besteffort/pod{}", pod.uid),
                security_context: Some(SandboxSecurity { namespace_options, privileged: true }),
            }),
        };
        let question = RunPodSandboxRequest { config: Some(config.clone()) };
        let sandbox: Id = call(&channel, "/runtime.v1.RuntimeService/RunPodSandbox", question).await;
        let question = CreateContainerRequest {
            pod_sandbox_id: sandbox.id.clone(),
            config: Some(ContainerConfig {
                metadata: Some(Id { id: "web".into() }),
                image: Some(Id { id: "localhost/test:1".into() }),
                command: pod.command.iter().map(|word| (*word).to_owned()).collect(),
                mounts: vec![Mount {
                    container_path: "/host".into(),
                    host_path: pod.mount.display().to_string(),
                    readonly: true,
                }],
                labels: [("io.kubernetes.container.name".to_owned(), "web".to_owned())].into(),
                linux: Some(LinuxContainerConfig {
                    security_context: Some(ContainerSecurity { privileged: true, namespace_options }),
                }),
            }),
            sandbox_config: Some(config),
        };
        let container: Id = call(&channel, "/runtime.v1.RuntimeService/CreateContainer", question).await;
        let question = Id { id: container.id.clone() };
        let _started: Nothing = call(&channel, "/runtime.v1.RuntimeService/StartContainer", question).await;
        (sandbox.id, container.id)
    })
}

async fn call<Q, A>(channel: &Channel, method: &'static str, question: Q) -> A
where
    Q: prost::Message + Send + Sync + 'static,
    A: prost::Message + Default + Send + Sync + 'static,
{
    let mut grpc = Grpc::new(channel.clone());
    grpc.ready().await.expect("the socket answers");
    let path = PathAndQuery::from_static(method);
    let answer = grpc.unary(Request::new(question), path, ProstCodec::<Q, A>::default()).await;
    answer.unwrap_or_else(|status| panic!("{method}: {status}")).into_inner()
}
