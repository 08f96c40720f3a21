//! What a match asks to be done, and about whom: all that is needed once the event is gone.

use std::{net::IpAddr, sync::Arc};

use rampart_rules::{
    catalog::{FieldId, ids},
    response::Responses,
    value::{FieldArg, FieldSource, Value},
};

use crate::event::ProcessId;

/// What `container.id` says of a process of the node itself.
const HOST: &str = "host";

/// About whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The process.
    pub process: ProcessId,
    /// Its control group's id in the unified hierarchy, as the event had it.
    pub cgroup_id: u64,
    /// Its name.
    pub name: String,
    /// Path of its executable.
    pub exe: String,
    /// The other end of the event's connection.
    pub address: Option<IpAddr>,
    /// Its container; `None` on the host.
    pub container: Option<String>,
    /// The namespace of its pod.
    pub namespace: Option<String>,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// What.
    pub responses: Arc<Responses>,
    /// About whom.
    pub subject: Subject,
    /// What became of the operation.
    pub operation: Operation,
}

/// What became of the operation that an alert is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// It was done.
    Done,
    /// It failed by itself.
    Failed,
    /// The kernel refused it for the rule; what it was.
    Refused(String),
}

impl Order {
    /// What a rule asks for about the process of an event.
    pub fn new<S: FieldSource>(
        responses: &Arc<Responses>,
        process: ProcessId,
        cgroup_id: u64,
        (operation, source): (Operation, &S),
    ) -> Box<Self> {
        let text = |field: FieldId| match source.field(field, FieldArg::None) {
            Value::Bytes(bytes) if !bytes.is_empty() => Some(String::from_utf8_lossy(bytes).into_owned()),
            _ => None,
        };
        let subject = Subject {
            process,
            cgroup_id,
            name: text(ids::PROC_NAME).unwrap_or_default(),
            exe: text(ids::PROC_EXEPATH).unwrap_or_default(),
            address: match source.field(ids::FD_RIP, FieldArg::None) {
                Value::Ip(address) => Some(address.to_canonical()),
                _ => None,
            },
            container: text(ids::CONTAINER_ID).filter(|id| id != HOST),
            namespace: text(ids::K8S_NS_NAME),
        };
        Box::new(Self { responses: Arc::clone(responses), subject, operation })
    }
}
