//! The Kubernetes container runtime interface, version 1: containerd and CRI-O below a kubelet.

mod wire;

use std::collections::HashMap;

use serde_json::Value;

use self::wire::{
    ContainerStatus, ContainerStatusRequest, ContainerStatusResponse, MountPropagation, NamespaceMode,
    PodSandboxStatusRequest, PodSandboxStatusResponse,
};
use super::{LookupError, grpc::Client, oci, probe};
use crate::state::{
    cgroup::Runtime,
    container::{Metadata, Mount, Probes, Sandbox, image::ImageName},
};

const CONTAINER: &str = "/runtime.v1.RuntimeService/ContainerStatus";
const SANDBOX: &str = "/runtime.v1.RuntimeService/PodSandboxStatus";
/// Container name that a kubelet gives sandboxes.
const SANDBOX_NAME: &str = "POD";

/// Asks for a container, or for a sandbox of that id; `None` when there is neither.
pub(super) async fn inspect(
    client: &Client,
    id: &str,
    hint: Option<Runtime>,
) -> Result<Option<Metadata>, LookupError> {
    let question = ContainerStatusRequest { container_id: id.to_owned(), verbose: true };
    let found: Option<ContainerStatusResponse> = client.call(CONTAINER, None, question).await?;
    let runtime = hint.or_else(|| runtime_of(client));
    let Some(found) = found else {
        let Some(sandbox) = sandbox(client, id).await? else { return Ok(None) };
        let info = info(&sandbox.info);
        let mut metadata = Metadata { runtime, name: Some(SANDBOX_NAME.to_owned()), ..Metadata::default() };
        metadata.image = ImageName::parse(info.get("image").and_then(Value::as_str).unwrap_or_default());
        apply_sandbox(&sandbox, &info, &mut metadata);
        oci::fill(info.get("runtimeSpec").unwrap_or(&Value::Null), &mut metadata);
        return Ok(Some(metadata));
    };
    let info = info(&found.info);
    let mut metadata = container(found.status.unwrap_or_default(), &info);
    metadata.runtime = runtime;
    let sandbox_id = info.get("sandboxID").and_then(Value::as_str);
    if let Some(id) = sandbox_id
        && let Some(sandbox) = sandbox(client, id).await?
    {
        let info = self::info(&sandbox.info);
        apply_sandbox(&sandbox, &info, &mut metadata);
    }
    oci::fill(info.get("runtimeSpec").unwrap_or(&Value::Null), &mut metadata);
    Ok(Some(metadata))
}

async fn sandbox(client: &Client, id: &str) -> Result<Option<PodSandboxStatusResponse>, LookupError> {
    let question = PodSandboxStatusRequest { pod_sandbox_id: id.to_owned(), verbose: true };
    client.call(SANDBOX, None, question).await
}

/// The verbose part of an answer: a document whose shape is the runtime's own affair.
fn info(info: &HashMap<String, String>) -> Value {
    info.get("info").and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

fn container(status: ContainerStatus, info: &Value) -> Metadata {
    let mut image = ImageName::parse(&status.image.unwrap_or_default().image);
    // The image's reference by digest, or its id, or both names in one.
    image.complete([status.image_ref.as_str()]);
    if image.digest.is_none() {
        image.digest = ImageName::parse(&status.image_ref).digest.filter(|_| status.image_ref.contains('@'));
    }
    let id = [&status.image_id, &status.image_ref].into_iter().find_map(|text| text.strip_prefix("sha256:"));
    let security = |pointer| info.pointer(pointer).and_then(Value::as_bool);
    let privileged =
        security("/config/linux/security_context/privileged").or_else(|| security("/privileged"));
    let probes = status
        .annotations
        .get("kubectl.kubernetes.io/last-applied-configuration")
        .zip(status.labels.get("io.kubernetes.container.name"))
        .map_or_else(Probes::default, |(manifest, name)| probe::of_manifest(manifest, name));
    Metadata {
        full_id: Some(status.id),
        name: status.metadata.map(|metadata| metadata.name),
        image_id: id.map(str::to_owned),
        image,
        privileged,
        mounts: status.mounts.into_iter().map(mount).collect(),
        labels: status.labels.into_iter().collect(),
        probes,
        ..Metadata::default()
    }
}

fn mount(mount: wire::Mount) -> Mount {
    let propagation = match mount.propagation() {
        MountPropagation::Private => "private",
        MountPropagation::HostToContainer => "rslave",
        MountPropagation::Bidirectional => "rshared",
    };
    Mount {
        source: mount.host_path,
        dest: mount.container_path,
        mode: if mount.selinux_relabel { "z".to_owned() } else { String::new() },
        writable: !mount.readonly,
        propagation: propagation.to_owned(),
    }
}

fn apply_sandbox(found: &PodSandboxStatusResponse, info: &Value, metadata: &mut Metadata) {
    let Some(status) = &found.status else { return };
    let pod = status.metadata.clone().unwrap_or_default();
    let options = status.linux.as_ref().and_then(|linux| linux.namespaces.as_ref()?.options);
    if let Some(options) = options {
        metadata.host_network = Some(options.network() == NamespaceMode::Node);
        metadata.host_pid = Some(options.pid() == NamespaceMode::Node);
        metadata.host_ipc = Some(options.ipc() == NamespaceMode::Node);
    }
    let ip = status.network.as_ref().map(|network| network.ip.clone()).filter(|ip| !ip.is_empty());
    metadata.unsettled = ip.is_none() && metadata.host_network == Some(false);
    metadata.ip.clone_from(&ip);
    let cni = ["cniResult", "cni_result"].into_iter().find_map(|key| info.get(key));
    metadata.pod = Some(Sandbox {
        id: status.id.clone(),
        name: pod.name,
        namespace: pod.namespace,
        uid: pod.uid,
        labels: status.labels.clone().into_iter().collect(),
        ip,
        cni_json: cni.filter(|result| !result.is_null()).map(Value::to_string),
    });
}

/// Whose socket it is, by its usual name.
fn runtime_of(client: &Client) -> Option<Runtime> {
    let name = client.socket().file_name()?.to_str()?;
    [("crio", Runtime::CriO), ("containerd", Runtime::Containerd)]
        .into_iter()
        .find_map(|(start, runtime)| name.starts_with(start).then_some(runtime))
}

#[cfg(test)]
mod tests {
    use std::{fmt::Write as _, path::Path};

    use prost::Message as _;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_status_becomes_metadata() {
        let digest = format!("sha256:{}", "c".repeat(64));
        let status = ContainerStatus {
            id: "a".repeat(64),
            metadata: Some(wire::ContainerMetadata { name: "web".into(), attempt: 1 }),
            image: Some(wire::ImageSpec { image: "reg/web:1".into() }),
            image_ref: format!("reg/web@{digest}"),
            mounts: vec![wire::Mount {
                container_path: "/host".into(),
                host_path: "/".into(),
                readonly: true,
                propagation: 1,
                ..wire::Mount::default()
            }],
            ..ContainerStatus::default()
        };
        // The bytes are what travels; reading them back proves the fields' kinds fit each other.
        let status = ContainerStatus::decode(status.encode_to_vec().as_slice()).expect("a message");
        let info = json!({"config": {"linux": {"security_context": {"privileged": true}}}});
        let metadata = container(status, &info);
        assert_eq!(metadata.name.as_deref(), Some("web"));
        assert_eq!((metadata.image.digest, metadata.image.tag.as_deref()), (Some(digest), Some("1")));
        assert_eq!(metadata.privileged, Some(true));
        assert_eq!(metadata.mounts[0].text(), "/:/host::false:rslave");
    }

    #[test]
    fn hostile_answers_are_survived() {
        let mut deep = String::new();
        write!(deep, "{}", "[".repeat(100_000)).expect("text");
        let info_of = |text: &str| info(&HashMap::from([("info".to_owned(), text.to_owned())]));
        assert_eq!(info_of(&deep), Value::Null);
        assert_eq!(info_of("7"), json!(7));
        let metadata = container(ContainerStatus::default(), &info_of("[1]"));
        assert_eq!((metadata.privileged, metadata.image), (None, ImageName::default()));
        assert!(ContainerStatus::decode(&[0xff; 64][..]).is_err());
    }

    #[tokio::test]
    async fn a_missing_socket_is_an_error() {
        let client = Client::new(Path::new("/nonexistent/crio.sock"));
        assert_eq!(runtime_of(&client), Some(Runtime::CriO));
        assert!(inspect(&client, "x", None).await.is_err());
    }
}
