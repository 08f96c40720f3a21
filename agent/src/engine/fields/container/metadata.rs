//! Fields that come from container runtimes and the API server. While a container is being looked up they are
//! unknown, not missing: a rule that needs them waits.

use std::collections::BTreeMap;

use bumpalo::Bump;
use rampart_rules::{
    catalog::{FieldId, ids},
    mount::MountKey,
    value::{FieldArg, Value},
};

use crate::state::{
    cgroup::{Container, Runtime},
    container::{Metadata, Mount, Pod, PodContainer, Probes, Sandbox, table::Known},
    process::{Process, ProcessTable},
};

/// What a mount field shows when the container has no such mount. The rules that ask for sensitive mounts compare
/// with it.
const NO_MOUNT: &[u8] = b"N/A";
/// Characters of a sandbox id as shown.
const SHORT_ID: usize = 12;

/// Fields about the event's process rather than its container.
pub(in crate::engine) const IS_PROBE: [FieldId; 3] = [
    ids::PROC_IS_CONTAINER_HEALTHCHECK,
    ids::PROC_IS_CONTAINER_LIVENESS_PROBE,
    ids::PROC_IS_CONTAINER_READINESS_PROBE,
];

/// A container that is asked about.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct Asked<'e> {
    /// The container.
    pub(in crate::engine) container: &'e Container,
    /// What its runtime said.
    pub(in crate::engine) known: Known<'e>,
    /// What the API server said of its pod.
    pub(in crate::engine) pod: Option<&'e Pod>,
    /// The process of the event.
    pub(in crate::engine) process: Option<&'e Process>,
    /// All processes.
    pub(in crate::engine) processes: &'e ProcessTable,
    /// Storage for joined texts.
    pub(in crate::engine) arena: &'e Bump,
    /// Whether Falco's faults are reproduced.
    pub(in crate::engine) strict_falco: bool,
}

impl<'e> Asked<'e> {
    /// The value of a field; unknown while the answer may still come.
    pub(in crate::engine) fn get(&self, field: FieldId, arg: FieldArg<'_>) -> Option<Value<'e>> {
        let found = match self.known {
            Known::Yes(metadata) => self.of_runtime(metadata, field, arg),
            Known::Pending | Known::No => None,
        };
        let found = found.or_else(|| self.of_pod(field, arg)).or_else(|| self.of_path(field));
        found.or_else(|| match self.known {
            Known::Pending => Some(Value::Unknown),
            // What has no probes is run by none.
            _ => IS_PROBE.contains(&field).then_some(Value::Bool(false)),
        })
    }

    fn of_runtime(&self, known: &'e Metadata, field: FieldId, arg: FieldArg<'_>) -> Option<Value<'e>> {
        let sandbox = known.pod.as_ref();
        match field {
            ids::CONTAINER_FULL_ID => text(known.full_id.as_deref()),
            ids::CONTAINER_NAME => text(known.name.as_deref()),
            ids::CONTAINER_IMAGE => text(known.image.name.as_deref()),
            ids::CONTAINER_IMAGE_ID => text(known.image_id.as_deref()),
            ids::CONTAINER_IMAGE_REPOSITORY => text(known.image.repository.as_deref()),
            ids::CONTAINER_IMAGE_TAG => text(known.image.tag.as_deref()),
            ids::CONTAINER_IMAGE_DIGEST => text(known.image.digest.as_deref()),
            ids::CONTAINER_TYPE => text(known.runtime.map(Runtime::name)),
            ids::CONTAINER_PRIVILEGED => known.privileged.map(Value::Bool),
            ids::CONTAINER_HOST_PID => known.host_pid.map(Value::Bool),
            ids::CONTAINER_HOST_NETWORK => known.host_network.map(Value::Bool),
            ids::CONTAINER_HOST_IPC => known.host_ipc.map(Value::Bool),
            ids::CONTAINER_MOUNTS => {
                let all: Vec<String> = known.mounts.iter().map(Mount::text).collect();
                Some(self.keep(&all.join(",")))
            }
            ids::CONTAINER_MOUNT
            | ids::CONTAINER_MOUNT_SOURCE
            | ids::CONTAINER_MOUNT_DEST
            | ids::CONTAINER_MOUNT_MODE
            | ids::CONTAINER_MOUNT_RDWR
            | ids::CONTAINER_MOUNT_PROPAGATION => self.mount(known, field, arg),
            ids::CONTAINER_IP => text(known.ip.as_deref()),
            ids::CONTAINER_CNI_JSON | ids::K8S_POD_CNI_JSON => text(sandbox?.cni_json.as_deref()),
            ids::CONTAINER_LABEL => label(&known.labels, arg),
            ids::CONTAINER_LABELS => Some(self.labels(&known.labels)),
            ids::K8S_POD_NAME => text(sandbox.map(|pod| &*pod.name)),
            ids::K8S_NS_NAME => text(sandbox.map(|pod| &*pod.namespace)),
            ids::K8S_POD_ID | ids::K8S_POD_UID => text(sandbox.map(|pod| &*pod.uid)),
            ids::K8S_POD_SANDBOX_ID => text(sandbox.map(|pod| pod.id.get(..SHORT_ID).unwrap_or(&pod.id))),
            ids::K8S_POD_FULL_SANDBOX_ID => text(sandbox.map(|pod| &*pod.id)),
            ids::K8S_POD_LABEL => label(&sandbox?.labels, arg),
            ids::K8S_POD_LABELS => Some(self.labels(&sandbox?.labels)),
            ids::K8S_POD_IP => text(sandbox.and_then(|pod: &Sandbox| pod.ip.as_deref())),
            _ => self.probes(&known.probes, field),
        }
    }

    fn of_pod(&self, field: FieldId, arg: FieldArg<'_>) -> Option<Value<'e>> {
        let pod = self.pod?;
        let owner = |kind: &str| pod.owner.as_ref().filter(|owner| owner.kind == kind);
        match field {
            ids::K8S_POD_NAME => text(Some(&pod.name)),
            ids::K8S_NS_NAME => text(Some(&pod.namespace)),
            ids::K8S_POD_ID | ids::K8S_POD_UID => text(Some(&pod.uid)),
            ids::K8S_POD_LABEL => label(&pod.labels, arg),
            ids::K8S_POD_LABELS => Some(self.labels(&pod.labels)),
            ids::K8S_POD_IP => text(pod.ip.as_deref()),
            ids::K8S_RS_NAME => text(owner("ReplicaSet").map(|owner| &*owner.name)),
            ids::K8S_RS_ID => text(owner("ReplicaSet").map(|owner| &*owner.uid)),
            ids::K8S_RC_NAME => text(owner("ReplicationController").map(|owner| &*owner.name)),
            ids::K8S_RC_ID => text(owner("ReplicationController").map(|owner| &*owner.uid)),
            ids::K8S_DEPLOYMENT_NAME => {
                // A deployment names its replica sets after itself and a digest, which its pods carry as a label.
                let digest = pod.labels.get("pod-template-hash")?;
                let name = owner("ReplicaSet")?.name.strip_suffix(digest.as_str())?.strip_suffix('-');
                text(name)
            }
            _ => self.of_pod_container(pod.containers.get(&*self.container.full_id)?, field),
        }
    }

    fn of_pod_container(&self, known: &'e PodContainer, field: FieldId) -> Option<Value<'e>> {
        match field {
            ids::CONTAINER_NAME => text(Some(&known.name)),
            ids::CONTAINER_IMAGE => text(known.image.name.as_deref()),
            ids::CONTAINER_IMAGE_REPOSITORY => text(known.image.repository.as_deref()),
            ids::CONTAINER_IMAGE_TAG => text(known.image.tag.as_deref()),
            ids::CONTAINER_IMAGE_DIGEST => text(known.image.digest.as_deref()),
            ids::CONTAINER_PRIVILEGED => known.privileged.map(Value::Bool),
            _ => self.probes(&known.probes, field),
        }
    }

    fn of_path(&self, field: FieldId) -> Option<Value<'e>> {
        match field {
            ids::CONTAINER_FULL_ID => text(Some(&self.container.full_id)),
            ids::CONTAINER_TYPE => text(self.container.runtime.map(Runtime::name)),
            ids::K8S_POD_ID | ids::K8S_POD_UID => text(self.container.pod_uid.as_deref()),
            _ => None,
        }
    }

    fn probes(&self, probes: &'e Probes, field: FieldId) -> Option<Value<'e>> {
        let command = |argv: &Option<Vec<String>>| argv.as_ref().map(|argv| self.keep(&argv.join(" ")));
        let running = |argv: &Option<Vec<String>>| Some(Value::Bool(self.runs(argv.as_deref()?)));
        match field {
            ids::CONTAINER_HEALTHCHECK => command(&probes.health),
            ids::CONTAINER_LIVENESS_PROBE => command(&probes.liveness),
            ids::CONTAINER_READINESS_PROBE => command(&probes.readiness),
            ids::PROC_IS_CONTAINER_HEALTHCHECK => running(&probes.health),
            ids::PROC_IS_CONTAINER_LIVENESS_PROBE => running(&probes.liveness),
            ids::PROC_IS_CONTAINER_READINESS_PROBE => running(&probes.readiness),
            _ => None,
        }
    }

    /// Whether the process, or one above it, is this command and was put into the container from outside.
    fn runs(&self, argv: &[String]) -> bool {
        let Some(process) = self.process else { return false };
        let inside = |it: &&Process| it.container.as_deref() == Some(self.container);
        let chain = std::iter::once(process).chain(self.processes.ancestors(process));
        let Some(entry) = chain.take_while(inside).last() else { return false };
        let given = argv.split_first();
        // The first process of the container is its own, not a visitor.
        entry.task.vpid != 1
            && given.is_some_and(|(program, args)| {
                entry.image.exe() == Some(program.as_bytes())
                    && entry.image.arg_list().eq(args.iter().map(String::as_bytes))
            })
    }

    fn mount(&self, known: &'e Metadata, field: FieldId, arg: FieldArg<'_>) -> Option<Value<'e>> {
        let by_dest = field == ids::CONTAINER_MOUNT_SOURCE;
        let key = match arg {
            FieldArg::Index(index) => index.to_string(),
            FieldArg::Key(key) => key.to_owned(),
            FieldArg::None => return None,
        };
        let paths = known.mounts.iter().map(|mount| if by_dest { &mount.dest } else { &mount.source });
        let found = MountKey::parse(&key, self.strict_falco)
            .and_then(|key| key.find(paths.map(String::as_bytes)))
            .and_then(|index| known.mounts.get(index));
        let Some(mount) = found else {
            return (!self.strict_falco).then_some(Value::Bytes(NO_MOUNT));
        };
        match field {
            ids::CONTAINER_MOUNT => Some(self.keep(&mount.text())),
            ids::CONTAINER_MOUNT_SOURCE => text(Some(&mount.source)),
            ids::CONTAINER_MOUNT_DEST => text(Some(&mount.dest)),
            ids::CONTAINER_MOUNT_MODE => text(Some(&mount.mode)),
            ids::CONTAINER_MOUNT_RDWR => text(Some(if mount.writable { "true" } else { "false" })),
            _ => text(Some(&mount.propagation)),
        }
    }

    fn labels(&self, labels: &BTreeMap<String, String>) -> Value<'e> {
        let all: Vec<String> = labels.iter().map(|(key, value)| format!("{key}:{value}")).collect();
        self.keep(&all.join(","))
    }

    fn keep(&self, text: &str) -> Value<'e> {
        Value::Bytes(self.arena.alloc_slice_copy(text.as_bytes()))
    }
}

fn text(value: Option<&str>) -> Option<Value<'_>> {
    value.map(|value| Value::Bytes(value.as_bytes()))
}

fn label<'e>(labels: &'e BTreeMap<String, String>, arg: FieldArg<'_>) -> Option<Value<'e>> {
    let FieldArg::Key(key) = arg else { return None };
    text(labels.get(key).map(String::as_str))
}
