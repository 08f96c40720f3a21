//! Venues, roles and assets as conditions on other fields.

use ipnet::IpNet;
use rampart_rules::condition::quote::escape;

use crate::config::trading::{PathPattern, Role, Venue};

/// Fields that show a path of an event; the last is that of a socket.
const PATHS: [&str; 5] = ["fd.name", "fs.path.name", "fs.path.source", "fs.path.target", "evt.arg.addr"];
/// Holds on no event.
const NEVER: &str = "evt.num = 0";

/// Events on which one of these paths occurs.
pub(super) fn asset(paths: &[PathPattern]) -> String {
    any(PATHS.into_iter().flat_map(|field| pattern(field, paths)))
}

/// Events of processes with a role.
pub(super) fn role(role: &Role) -> String {
    let mut parts = pattern("proc.exepath", &role.exes);
    if !role.comms.is_empty() {
        parts.push(format!("proc.name in ({})", list(&role.comms)));
    }
    for image in &role.images {
        // A tag stands behind the last slash; without one any will do.
        let last = image.rsplit('/').next().unwrap_or(image);
        let field = if last.contains(':') { "container.image" } else { "container.image.repository" };
        let op = if image.contains(['*', '?', '[']) { "glob" } else { "=" };
        parts.push(format!("{field} {op} {}", escape(image.as_bytes())));
    }
    for (label, value) in &role.labels {
        for field in ["container.label", "k8s.pod.label"] {
            parts.push(match value.as_str() {
                "*" => format!("{field}[{label}] exists"),
                value => format!("{field}[{label}] = {}", escape(value.as_bytes())),
            });
        }
    }
    any(parts)
}

/// Events whose address is the venue's own.
pub(super) fn listed(venue: &Venue) -> Option<String> {
    let mut parts = Vec::new();
    if !venue.cidrs.is_empty() {
        parts.push(with_ports(format!("fd.rnet in ({})", nets(&venue.cidrs)), &["fd.rport"], venue));
    }
    if !venue.groups.is_empty() {
        // Who receives from a group is bound to it, who sends names it.
        let groups = nets(&venue.groups);
        let condition = format!("(fd.rnet in ({groups}) or fd.lnet in ({groups}))");
        parts.push(with_ports(condition, &["fd.rport", "fd.lport"], venue));
    }
    (!parts.is_empty()).then(|| any(parts))
}

/// Events whose address has one of the venue's names.
pub(super) fn named(venue: &Venue) -> Option<String> {
    let (patterns, names): (Vec<&String>, Vec<&String>) =
        venue.hosts.iter().partition(|host| host.contains('*'));
    let mut parts: Vec<String> =
        patterns.into_iter().map(|host| format!("fd.rip.name glob {}", escape(host.as_bytes()))).collect();
    if !names.is_empty() {
        parts.push(format!("fd.rip.name in ({})", list(&names)));
    }
    (!parts.is_empty()).then(|| with_ports(any(parts), &["fd.rport"], venue))
}

/// Events that may be about the venue: also those that may join one of its groups.
pub(super) fn venue(venue: &Venue) -> String {
    let joins = (!venue.groups.is_empty()).then(|| "evt.type = setsockopt".to_owned());
    any([listed(venue), named(venue), joins].into_iter().flatten())
}

/// Adds the venue's ports, if it has any.
fn with_ports(condition: String, fields: &[&str], venue: &Venue) -> String {
    if venue.ports.is_empty() {
        return condition;
    }
    let ports: Vec<String> = venue.ports.iter().map(u16::to_string).collect();
    let ports = ports.join(", ");
    format!("{condition} and {}", any(fields.iter().map(|field| format!("{field} in ({ports})"))))
}

/// Comparisons of a field with patterns.
fn pattern(field: &str, paths: &[PathPattern]) -> Vec<String> {
    let mut parts = Vec::new();
    let exact: Vec<&String> = paths
        .iter()
        .filter_map(|path| match path {
            PathPattern::Exact(path) => Some(path),
            _ => None,
        })
        .collect();
    if !exact.is_empty() {
        parts.push(format!("{field} in ({})", list(&exact)));
    }
    for path in paths {
        match path {
            PathPattern::Exact(_) => {}
            PathPattern::Below(path) => parts.push(format!("{field} startswith {}", escape(path.as_bytes()))),
            PathPattern::Glob(path) => parts.push(format!("{field} glob {}", escape(path.as_bytes()))),
        }
    }
    parts
}

fn any(parts: impl IntoIterator<Item = String>) -> String {
    let parts: Vec<String> = parts.into_iter().collect();
    if parts.is_empty() { NEVER.to_owned() } else { format!("({})", parts.join(" or ")) }
}

fn list<T: AsRef<str>>(texts: &[T]) -> String {
    let texts: Vec<String> = texts.iter().map(|text| escape(text.as_ref().as_bytes())).collect();
    texts.join(", ")
}

fn nets(nets: &[IpNet]) -> String {
    let nets: Vec<String> = nets.iter().map(|net| format!("\"{net}\"")).collect();
    nets.join(", ")
}
