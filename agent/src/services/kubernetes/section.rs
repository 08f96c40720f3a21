//! From objects of the cluster to settings as they are written in the configuration.

use std::{collections::BTreeMap, net::IpAddr};

use k8s_openapi::api::{
    core::v1::{Service, ServicePort},
    discovery::v1::{Endpoint, EndpointPort, EndpointSlice},
};
use rampart_common::service::abi::MEMBERS;
use serde_yaml::{Mapping, Value};

/// Annotation of a Service: `true` makes it one of ours.
pub const ENABLED: &str = "rampart.io/enabled";
/// Annotation: the virtual address; without it the Service's cluster address.
pub const VIP: &str = "rampart.io/vip";
/// Annotation: settings of the service as YAML, as below `services.list`, but for address and backends.
pub const SETTINGS: &str = "rampart.io/settings";
/// Label of a slice: the Service it is of.
pub(super) const OF_SERVICE: &str = "kubernetes.io/service-name";
/// What the objects say, and settings do not.
const OWN: [&str; 3] = ["vip", "protocol", "backends"];

/// Whether a Service is to be one of ours.
pub(super) fn is_asked_for(service: &Service) -> bool {
    annotation(service, ENABLED).is_some_and(|value| value == "true")
}

fn annotation<'a>(service: &'a Service, name: &str) -> Option<&'a str> {
    service.metadata.annotations.as_ref()?.get(name).map(String::as_str)
}

/// Settings of services by name: `NAMESPACE.NAME`, and with several ports `NAMESPACE.NAME.PORT`. What cannot be
/// understood is not a mapping, so that whoever reads it complains.
pub fn sections<'a>(
    services: impl Iterator<Item = &'a Service>,
    slices: impl Iterator<Item = &'a EndpointSlice>,
) -> BTreeMap<String, Value> {
    let mut by_service: BTreeMap<(&str, &str), Vec<&EndpointSlice>> = BTreeMap::new();
    for slice in slices {
        let labels = slice.metadata.labels.as_ref();
        let of = labels.and_then(|labels| labels.get(OF_SERVICE));
        if let (Some(namespace), Some(of)) = (slice.metadata.namespace.as_deref(), of) {
            by_service.entry((namespace, of)).or_default().push(slice);
        }
    }
    let mut all = BTreeMap::new();
    for service in services {
        let (Some(namespace), Some(name)) =
            (service.metadata.namespace.as_deref(), service.metadata.name.as_deref())
        else {
            continue;
        };
        let own = by_service.get(&(namespace, name)).map(Vec::as_slice).unwrap_or_default();
        let ports = service.spec.as_ref().and_then(|spec| spec.ports.as_deref()).unwrap_or_default();
        for port in ports {
            let named = port.name.as_deref().filter(|_| ports.len() > 1);
            let full = match named {
                Some(port) => format!("{namespace}.{name}.{port}"),
                None => format!("{namespace}.{name}"),
            };
            all.insert(full, section(service, port, own));
        }
    }
    all
}

/// The settings of one port.
fn section(service: &Service, port: &ServicePort, slices: &[&EndpointSlice]) -> Value {
    let mut entries = match annotation(service, SETTINGS).map(serde_yaml::from_str::<Value>) {
        None => Mapping::new(),
        Some(Ok(Value::Mapping(entries))) => entries,
        Some(Ok(other)) => return other,
        Some(Err(error)) => return Value::String(format!("not YAML: {error}")),
    };
    for own in OWN {
        entries.remove(own);
    }
    let cluster = service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref());
    let address = annotation(service, VIP).or(cluster.filter(|address| *address != "None"));
    let vip = address.and_then(|address| address.parse::<IpAddr>().ok());
    if let (Some(vip), Ok(port)) = (vip, u16::try_from(port.port)) {
        entries.insert("vip".into(), std::net::SocketAddr::new(vip, port).to_string().into());
    } else if let Some(address) = address {
        // Whoever checks it says what is wrong.
        entries.insert("vip".into(), address.into());
    }
    let protocol = port.protocol.as_deref().unwrap_or("TCP").to_ascii_lowercase();
    entries.insert("protocol".into(), protocol.into());
    entries.insert("backends".into(), Value::Mapping(backends(vip, port, slices)));
    Value::Mapping(entries)
}

/// Backends of a port, the first ones by name should there be too many.
fn backends(vip: Option<IpAddr>, port: &ServicePort, slices: &[&EndpointSlice]) -> Mapping {
    let mut all: BTreeMap<String, Value> = BTreeMap::new();
    for slice in slices {
        let name = port.name.as_deref().unwrap_or_default();
        let is_own = |own: &&EndpointPort| own.name.as_deref().unwrap_or_default() == name;
        let ports = slice.ports.as_deref().unwrap_or_default();
        let Some(to) = ports.iter().find(is_own).and_then(|own| u16::try_from(own.port?).ok()) else {
            continue;
        };
        for endpoint in &slice.endpoints {
            // All addresses of an endpoint lead to the same; the first one stands for it.
            let address = endpoint.addresses.first().and_then(|address| address.parse::<IpAddr>().ok());
            let Some(address) = address.filter(|own| vip.is_none_or(|vip| vip.is_ipv4() == own.is_ipv4()))
            else {
                continue;
            };
            let Some(admin) = admin(endpoint) else { continue };
            let mut entries = Mapping::new();
            entries.insert("address".into(), std::net::SocketAddr::new(address, to).to_string().into());
            entries.insert("admin".into(), admin.into());
            // The same endpoint may be in two slices for a moment.
            all.insert(backend_name(endpoint, address), Value::Mapping(entries));
        }
    }
    all.into_iter().take(MEMBERS).map(|(name, entries)| (name.into(), entries)).collect()
}

/// A pod has its name, anything else its address; names hold no colons.
fn backend_name(endpoint: &Endpoint, address: IpAddr) -> String {
    let pod = endpoint.target_ref.as_ref().and_then(|target| target.name.clone());
    pod.unwrap_or_else(|| address.to_string().replace(':', "-"))
}

/// What is wanted of an endpoint; nothing for one that is not ready yet.
fn admin(endpoint: &Endpoint) -> Option<&'static str> {
    let conditions = endpoint.conditions.as_ref();
    let says = |value: Option<Option<bool>>, usual| value.flatten().unwrap_or(usual);
    if says(conditions.map(|conditions| conditions.ready), true) {
        return Some("ready");
    }
    // On its way out: it serves those it has.
    let is_ending = says(conditions.map(|conditions| conditions.terminating), false);
    let is_serving = says(conditions.map(|conditions| conditions.serving), false);
    (is_ending && is_serving).then_some("drain")
}
