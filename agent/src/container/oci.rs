//! The OCI run-time specification of a container: what it was started with, whoever started it.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::state::container::{Metadata, Mount};

/// Capabilities of every kernel that is supported; a container with all of them is privileged.
const CAPABILITIES: usize = 38;
/// Mounts that every container has.
const OWN_MOUNTS: [&str; 6] = ["proc", "tmpfs", "devpts", "mqueue", "sysfs", "cgroup"];

/// Fills in what the specification tells and nothing else has told.
pub(super) fn fill(spec: &Value, metadata: &mut Metadata) {
    let namespaces: BTreeSet<&str> =
        list(spec, "/linux/namespaces").filter_map(|it| it.get("type")?.as_str()).collect();
    // Without a namespace of its own, or of a path, a container uses that of the runtime, which is the node's.
    let shares = |kind: &str| (!namespaces.is_empty()).then(|| !namespaces.contains(kind));
    metadata.host_pid = metadata.host_pid.or_else(|| shares("pid"));
    metadata.host_network = metadata.host_network.or_else(|| shares("network"));
    metadata.host_ipc = metadata.host_ipc.or_else(|| shares("ipc"));
    metadata.privileged = metadata.privileged.or_else(|| privileged(spec));
    if metadata.mounts.is_empty() {
        metadata.mounts = list(spec, "/mounts").filter_map(mount).collect();
    }
}

/// The specification has no such switch; it shows as all capabilities with nothing of `/proc` hidden.
fn privileged(spec: &Value) -> Option<bool> {
    let capabilities = list(spec, "/process/capabilities/bounding").count();
    spec.get("process")?;
    Some(capabilities >= CAPABILITIES && list(spec, "/linux/maskedPaths").next().is_none())
}

fn mount(found: &Value) -> Option<Mount> {
    let take = |key: &str| found.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    if OWN_MOUNTS.contains(&take("type").as_str()) {
        return None;
    }
    let options: Vec<&str> = list(found, "/options").filter_map(Value::as_str).collect();
    let propagation = options.iter().find(|option| {
        ["private", "shared", "slave", "unbindable"]
            .iter()
            .any(|kind| option.trim_start_matches('r') == *kind)
    });
    Some(Mount {
        source: take("source"),
        dest: take("destination"),
        mode: options.iter().filter(|option| matches!(**option, "z" | "Z")).copied().collect(),
        writable: !options.contains(&"ro"),
        propagation: propagation.copied().unwrap_or_default().to_owned(),
    })
}

fn list<'v>(value: &'v Value, pointer: &str) -> impl Iterator<Item = &'v Value> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_specification_tells_namespaces_privileges_and_mounts() {
        let caps: Vec<String> = (0..41).map(|number| format!("CAP_{number}")).collect();
        let mut spec = json!({
            "process": {"capabilities": {"bounding": caps}},
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/data", "type": "bind", "source": "/srv", "options": ["rbind", "rslave", "ro"]},
            ],
            "linux": {"namespaces": [{"type": "pid"}, {"type": "mount"}]},
        });
        let mut metadata = Metadata::default();
        fill(&spec, &mut metadata);
        assert_eq!(metadata.privileged, Some(true));
        assert_eq!((metadata.host_pid, metadata.host_network), (Some(false), Some(true)));
        let texts: Vec<String> = metadata.mounts.iter().map(Mount::text).collect();
        assert_eq!(texts, ["/srv:/data::false:rslave"]);
        spec["linux"]["maskedPaths"] = json!(["/proc/kcore"]);
        let mut other = Metadata { host_pid: Some(true), ..Metadata::default() };
        fill(&spec, &mut other);
        assert_eq!((other.privileged, other.host_pid), (Some(false), Some(true)));
        let mut nothing = Metadata::default();
        fill(&json!({}), &mut nothing);
        assert_eq!(nothing, Metadata::default());
    }
}
