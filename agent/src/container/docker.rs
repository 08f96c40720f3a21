//! Docker's API, which Podman speaks too.

use std::{collections::BTreeMap, path::Path};

use serde_json::Value;

use super::{LookupError, http, probe};
use crate::state::{
    cgroup::Runtime,
    container::{Metadata, Mount, Probes, Sandbox, image::ImageName},
};

/// Oldest version of the API with all that is used; later servers accept it.
const VERSION: &str = "v1.24";
/// Labels that the kubelet's Docker shim puts on containers of pods.
const POD_LABELS: [&str; 4] = [
    "io.kubernetes.pod.name",
    "io.kubernetes.pod.namespace",
    "io.kubernetes.pod.uid",
    "io.kubernetes.sandbox.id",
];

/// Asks for a container; `None` when the runtime has none of that id.
pub(super) async fn inspect(
    socket: &Path,
    id: &str,
    runtime: Runtime,
) -> Result<Option<Metadata>, LookupError> {
    // The id is of a control group's name: it must not become another path.
    if !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte)) {
        return Ok(None);
    }
    let Some(found) = http::get(socket, &format!("/{VERSION}/containers/{id}/json")).await? else {
        return Ok(None);
    };
    let mut metadata = container(&found, runtime);
    if let Some(image) = &metadata.image_id
        && image.bytes().all(|byte| byte.is_ascii_hexdigit())
        && let Ok(Some(found)) = http::get(socket, &format!("/{VERSION}/images/{image}/json")).await
    {
        complete_image(&mut metadata.image, &found);
    }
    Ok(Some(metadata))
}

/// Reads the answer about a container.
fn container(found: &Value, runtime: Runtime) -> Metadata {
    let labels = labels(found.pointer("/Config/Labels"));
    let mode = |pointer: &str| Some(text(found, pointer)? == "host");
    let state = text(found, "/State/Status").unwrap_or_default();
    let ip = address(found);
    let host_network = mode("/HostConfig/NetworkMode");
    Metadata {
        runtime: Some(runtime),
        full_id: text(found, "/Id").map(str::to_owned),
        name: text(found, "/Name").map(|name| name.trim_start_matches('/').to_owned()),
        image: ImageName::parse(text(found, "/Config/Image").unwrap_or_default()),
        image_id: text(found, "/Image").map(|id| id.trim_start_matches("sha256:").to_owned()),
        privileged: found.pointer("/HostConfig/Privileged").and_then(Value::as_bool),
        host_pid: mode("/HostConfig/PidMode"),
        host_network,
        host_ipc: mode("/HostConfig/IpcMode"),
        mounts: list(found, "/Mounts").iter().map(mount).collect(),
        unsettled: matches!(state, "" | "created") || (ip.is_none() && host_network == Some(false)),
        ip,
        probes: Probes { health: health(found), ..probe::of_annotations(&labels) },
        pod: pod(&labels),
        labels,
    }
}

fn complete_image(image: &mut ImageName, found: &Value) {
    let names = |pointer| list(found, pointer).iter().filter_map(Value::as_str);
    image.complete(names("/RepoTags").chain(names("/RepoDigests")));
    if image.digest.is_none() {
        image.digest = text(found, "/Digest").map(str::to_owned);
    }
}

fn mount(found: &Value) -> Mount {
    let take = |key: &str| found.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    Mount {
        source: take("Source"),
        dest: take("Destination"),
        mode: take("Mode"),
        writable: found.get("RW").and_then(Value::as_bool).unwrap_or(false),
        propagation: take("Propagation"),
    }
}

fn address(found: &Value) -> Option<String> {
    let of = |network: &Value| network.get("IPAddress").and_then(Value::as_str).map(str::to_owned);
    let networks = found.pointer("/NetworkSettings/Networks").and_then(Value::as_object);
    let named = networks.into_iter().flat_map(|networks| networks.values()).filter_map(of);
    let first = found.pointer("/NetworkSettings").and_then(of);
    first.into_iter().chain(named).find(|ip| !ip.is_empty())
}

/// The health check as an argument vector; `CMD-SHELL` means the shell of the container.
fn health(found: &Value) -> Option<Vec<String>> {
    let words: Vec<&str> = list(found, "/Config/Healthcheck/Test").iter().filter_map(Value::as_str).collect();
    match words.as_slice() {
        ["CMD", command @ ..] if !command.is_empty() => {
            Some(command.iter().map(|word| (*word).to_owned()).collect())
        }
        ["CMD-SHELL", script] => Some(vec!["/bin/sh".into(), "-c".into(), (*script).to_owned()]),
        _ => None,
    }
}

fn pod(labels: &BTreeMap<String, String>) -> Option<Sandbox> {
    let [name, namespace, uid, id] = POD_LABELS.map(|key| labels.get(key).cloned());
    Some(Sandbox {
        name: name?,
        namespace: namespace?,
        uid: uid.unwrap_or_default(),
        id: id.unwrap_or_default(),
        ..Sandbox::default()
    })
}

fn labels(found: Option<&Value>) -> BTreeMap<String, String> {
    let entries = found.and_then(Value::as_object).into_iter().flatten();
    entries.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

fn text<'v>(value: &'v Value, pointer: &str) -> Option<&'v str> {
    value.pointer(pointer)?.as_str()
}

fn list<'v>(value: &'v Value, pointer: &str) -> &'v [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}
