//! Probe commands of pods: from the manifest that `kubectl apply` leaves in an annotation.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::state::container::Probes;

/// Where `kubectl apply` keeps the manifest.
const APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// The name of the container, as the kubelet labels it.
const NAME: &str = "io.kubernetes.container.name";
/// Docker's shim puts annotations among the labels, after this.
const PREFIX: &str = "annotation.";

/// The probes of a container whose labels or annotations hold the pod's manifest.
pub(super) fn of_annotations(labels: &BTreeMap<String, String>) -> Probes {
    let applied = labels.get(APPLIED).or_else(|| labels.get(&format!("{PREFIX}{APPLIED}")));
    let name = labels.get(NAME).map_or("", String::as_str);
    applied.map_or_else(Probes::default, |manifest| of_manifest(manifest, name))
}

/// The probes of the container of that name in a pod's manifest.
pub(super) fn of_manifest(manifest: &str, name: &str) -> Probes {
    let manifest: Value = serde_json::from_str(manifest).unwrap_or_default();
    // Workloads that make pods have them below a template.
    let spec = ["/spec", "/spec/template/spec"]
        .into_iter()
        .filter_map(|pointer| manifest.pointer(pointer)?.get("containers")?.as_array());
    let mut containers = spec.flatten();
    let named = |container: &&Value| container.get("name").and_then(Value::as_str) == Some(name);
    let Some(container) = containers.find(named) else { return Probes::default() };
    let command = |probe: &str| -> Option<Vec<String>> {
        let words = container.get(probe)?.pointer("/exec/command")?.as_array()?;
        words.iter().map(|word| word.as_str().map(str::to_owned)).collect()
    };
    Probes { health: None, liveness: command("livenessProbe"), readiness: command("readinessProbe") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_of_the_named_container_are_found() {
        let manifest = r#"{"kind":"Pod","spec":{"containers":[
            {"name":"side","livenessProbe":{"exec":{"command":["no"]}}},
            {"name":"web","livenessProbe":{"exec":{"command":["cat","/ok"]}},"readinessProbe":{"httpGet":{"port":1}}}
        ]}}"#;
        let labels = BTreeMap::from([
            (format!("annotation.{APPLIED}"), manifest.to_owned()),
            (NAME.to_owned(), "web".to_owned()),
        ]);
        let probes = of_annotations(&labels);
        assert_eq!(probes.liveness, Some(vec!["cat".to_owned(), "/ok".to_owned()]));
        assert_eq!((probes.readiness, probes.health), (None, None));
        let deployment = format!(r#"{{"spec":{{"template":{manifest}}}}}"#);
        assert!(of_manifest(&deployment, "web").liveness.is_some());
        for bad in ["", "[", "{}", r#"{"spec":{"containers":7}}"#] {
            assert_eq!(of_manifest(bad, "web"), Probes::default());
        }
    }
}
