//! From the API's pod to what is kept of it.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1;

use crate::state::container::{Owner, Pod, PodContainer, Probes, image::ImageName};

/// What is kept of a pod; `None` for one without an identity.
pub(super) fn convert(pod: v1::Pod) -> Option<Pod> {
    let meta = pod.metadata;
    let owner =
        meta.owner_references.unwrap_or_default().into_iter().find(|owner| owner.controller == Some(true));
    let spec = pod.spec.unwrap_or_default();
    let status = pod.status.unwrap_or_default();
    let mut wanted: BTreeMap<String, PodContainer> = BTreeMap::new();
    for container in spec.containers.into_iter().chain(spec.init_containers.unwrap_or_default()) {
        let known = PodContainer {
            name: container.name.clone(),
            image: ImageName::parse(container.image.as_deref().unwrap_or_default()),
            // A pod that does not ask for it does not have it.
            privileged: Some(
                container.security_context.and_then(|context| context.privileged).unwrap_or(false),
            ),
            probes: Probes {
                health: None,
                liveness: container.liveness_probe.and_then(command),
                readiness: container.readiness_probe.and_then(command),
            },
        };
        wanted.insert(container.name, known);
    }
    let statuses =
        [status.container_statuses, status.init_container_statuses, status.ephemeral_container_statuses];
    let containers = statuses.into_iter().flatten().flatten().filter_map(|status| {
        // `containerd://ID`, and nothing while the container is being made.
        let (_, id) = status.container_id.as_deref()?.split_once("://")?;
        let mut container = wanted.get(&status.name).cloned().unwrap_or_else(|| PodContainer {
            name: status.name.clone(),
            image: ImageName::parse(&status.image),
            ..PodContainer::default()
        });
        container.image.complete([status.image_id.as_str()]);
        Some((id.to_owned(), container))
    });
    Some(Pod {
        uid: meta.uid?,
        name: meta.name?,
        namespace: meta.namespace.unwrap_or_default(),
        labels: meta.labels.unwrap_or_default(),
        ip: status.pod_ip,
        owner: owner.map(|owner| Owner { kind: owner.kind, name: owner.name, uid: owner.uid }),
        containers: containers.collect(),
    })
}

fn command(probe: v1::Probe) -> Option<Vec<String>> {
    probe.exec?.command
}
