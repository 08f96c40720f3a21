//! Class `container`: what the control group alone tells. Names and images need runtime metadata, which comes
//! later; until then those fields are missing, as they are in Falco before its metadata arrives.

use rampart_rules::{
    catalog::{FieldId, ids},
    value::Value,
};

use super::Facts;

/// What Falco shows for processes in no container.
const HOST: &[u8] = b"host";

/// Fields that have a value today.
pub(super) const FILLED: &[FieldId] = &[
    ids::CONTAINER_ID,
    ids::CONTAINER_NAME,
    ids::CONTAINER_TYPE,
    ids::CONTAINER_START_TS,
    ids::CONTAINER_DURATION,
];

pub(super) fn get<'e>(facts: &Facts<'e>, field: FieldId) -> Option<Value<'e>> {
    match field {
        ids::CONTAINER_ID => Some(Value::Bytes(id(facts))),
        ids::CONTAINER_NAME | ids::CONTAINER_TYPE => on_host(facts).then_some(Value::Bytes(HOST)),
        ids::CONTAINER_START_TS => Some(Value::Uint(facts.context.clock.wall_ns(start_ns(facts)?))),
        ids::CONTAINER_DURATION => {
            let span = facts.event.header.time_ns.saturating_sub(start_ns(facts)?);
            Some(Value::Int(i64::try_from(span).ok()?))
        }
        _ => None,
    }
}

/// Container id, or `host`.
pub(super) fn id<'e>(facts: &Facts<'e>) -> &'e [u8] {
    facts.process.and_then(|process| process.container.as_deref()).map_or(HOST, str::as_bytes)
}

fn on_host(facts: &Facts<'_>) -> bool {
    facts.process.is_none_or(|process| process.container.is_none())
}

/// Start of the first process of the container's pid namespace, nanoseconds of the boot clock.
fn start_ns(facts: &Facts<'_>) -> Option<u64> {
    let process = facts.process.filter(|process| process.container.is_some())?;
    let first = facts.context.state.processes.namespace_init(process.task.pid_ns)?;
    (first.container == process.container).then_some(first.start_ns)
}
