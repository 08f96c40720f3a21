//! Class `container`: what the control group tells, and what [`metadata`] adds once it is there.

pub(super) mod metadata;

use rampart_rules::{
    catalog::{FieldId, ids},
    value::{FieldArg, Value},
};

use self::metadata::{Asked, IS_PROBE};
use super::Facts;
use crate::state::process::Process;

/// What Falco shows for processes in no container.
const HOST: &[u8] = b"host";

/// Fields that nothing fills: Falco gave them up, and the API server's view of the node's pods has no such objects.
pub(super) const UNFILLED: &[FieldId] = &[
    ids::K8S_RC_LABEL,
    ids::K8S_RC_LABELS,
    ids::K8S_SVC_NAME,
    ids::K8S_SVC_ID,
    ids::K8S_SVC_LABEL,
    ids::K8S_SVC_LABELS,
    ids::K8S_NS_ID,
    ids::K8S_NS_LABEL,
    ids::K8S_NS_LABELS,
    ids::K8S_RS_LABEL,
    ids::K8S_RS_LABELS,
    ids::K8S_DEPLOYMENT_ID,
    ids::K8S_DEPLOYMENT_LABEL,
    ids::K8S_DEPLOYMENT_LABELS,
];

pub(super) fn get<'e>(facts: &Facts<'e>, field: FieldId, arg: FieldArg<'_>) -> Option<Value<'e>> {
    match field {
        ids::CONTAINER_ID => return Some(Value::Bytes(id(facts))),
        ids::CONTAINER_START_TS => return Some(Value::Uint(facts.context.clock.wall_ns(start_ns(facts)?))),
        ids::CONTAINER_DURATION => {
            let span = facts.event.header.time_ns.saturating_sub(start_ns(facts)?);
            return Some(Value::Int(i64::try_from(span).ok()?));
        }
        _ => {}
    }
    of(facts, facts.process, field, arg)
}

/// What is known of the container of another process.
pub(super) fn of_process<'e>(
    facts: &Facts<'e>,
    process: &'e Process,
    field: FieldId,
    arg: FieldArg<'_>,
) -> Option<Value<'e>> {
    of(facts, Some(process), field, arg)
}

fn of<'e>(
    facts: &Facts<'e>,
    process: Option<&'e Process>,
    field: FieldId,
    arg: FieldArg<'_>,
) -> Option<Value<'e>> {
    let context = &facts.context;
    let Some(container) = process.and_then(|process| process.container.as_deref()) else {
        return match field {
            ids::CONTAINER_NAME | ids::CONTAINER_TYPE => Some(Value::Bytes(HOST)),
            field => IS_PROBE.contains(&field).then_some(Value::Bool(false)),
        };
    };
    let containers = &context.state.containers;
    let asked = Asked {
        container,
        known: containers.get(container),
        pod: containers.pod(container),
        process,
        processes: &context.state.processes,
        arena: context.arena,
        strict_falco: context.strict_falco(),
    };
    asked.get(field, arg)
}

/// Container id, or `host`.
pub(super) fn id<'e>(facts: &Facts<'e>) -> &'e [u8] {
    facts.process.and_then(|process| process.container.as_deref()).map_or(HOST, |found| found.id.as_bytes())
}

/// Start of the first process of the container's pid namespace, nanoseconds of the boot clock.
fn start_ns(facts: &Facts<'_>) -> Option<u64> {
    let process = facts.process.filter(|process| process.container.is_some())?;
    let first = facts.context.state.processes.namespace_init(process.task.pid_ns)?;
    (first.container == process.container).then_some(first.start_ns)
}
