//! containerd's own interface, for containers that no kubelet made: by `ctr`, `nerdctl` or Docker.

mod wire;

use self::wire::{
    GetContainerRequest, GetContainerResponse, GetImageRequest, GetImageResponse, ListNamespacesRequest,
    ListNamespacesResponse,
};
use super::{LookupError, grpc::Client, oci, probe};
use crate::state::{
    cgroup::{Container, Runtime},
    container::{Metadata, image::ImageName},
};

const CONTAINER: &str = "/containerd.services.containers.v1.Containers/Get";
const IMAGE: &str = "/containerd.services.images.v1.Images/Get";
const NAMESPACES: &str = "/containerd.services.namespaces.v1.Namespaces/List";
/// Namespaces that are searched for an id whose namespace is not known; a node has a handful.
const NAMESPACES_MAX: usize = 16;
/// Label in which `nerdctl` keeps the name.
const NAME: &str = "nerdctl/name";

/// Asks for a container; `None` when no namespace has it.
pub(super) async fn inspect(client: &Client, wanted: &Container) -> Result<Option<Metadata>, LookupError> {
    let namespaces: Vec<String> = if let Some(namespace) = &wanted.namespace {
        vec![namespace.to_string()]
    } else {
        let all: Option<ListNamespacesResponse> =
            client.call(NAMESPACES, None, ListNamespacesRequest {}).await?;
        let names = all.unwrap_or_default().namespaces.into_iter().map(|namespace| namespace.name);
        names.take(NAMESPACES_MAX).collect()
    };
    for namespace in namespaces {
        let question = GetContainerRequest { id: wanted.full_id.to_string() };
        let found: Option<GetContainerResponse> = client.call(CONTAINER, Some(&namespace), question).await?;
        if let Some(found) = found.and_then(|found| found.container) {
            return metadata(client, &namespace, found).await.map(Some);
        }
    }
    Ok(None)
}

async fn metadata(client: &Client, namespace: &str, found: wire::Container) -> Result<Metadata, LookupError> {
    let mut image = ImageName::parse(&found.image);
    if image.digest.is_none() && !found.image.is_empty() {
        let question = GetImageRequest { name: found.image.clone() };
        // A container outlives the name of its image; then there is no digest.
        if let Ok(Some(answer)) = client.call::<_, GetImageResponse>(IMAGE, Some(namespace), question).await {
            image.digest = answer.image.and_then(|image| image.target).map(|target| target.digest);
        }
    }
    let labels = found.labels.into_iter().collect();
    let mut metadata = Metadata {
        runtime: Some(Runtime::Containerd),
        probes: probe::of_annotations(&labels),
        name: labels.get(NAME).cloned().or_else(|| Some(found.id.clone())),
        full_id: Some(found.id),
        image,
        labels,
        ..Metadata::default()
    };
    if let Some(spec) = found.spec
        && let Ok(spec) = serde_json::from_slice(&spec.value)
    {
        oci::fill(&spec, &mut metadata);
    }
    Ok(metadata)
}
