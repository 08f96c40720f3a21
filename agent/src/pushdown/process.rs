//! What comparisons give when only the process is known.
//!
//! A field counts as known only if it cannot change while the process runs the same image (start, exec count), in the
//! same control group, with the same user and group ids. Those about other processes, containers' metadata and names of
//! users can change otherwise; they are known as long as the epoch stays.

use rampart_rules::{
    catalog::{Class, FieldId, ids},
    value::{FieldArg, FieldSource, Value},
};

use crate::engine::fields::{EventFields, Facts, fillable};

/// What a field of a process depends on; each on what those before it depend on too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Scope {
    /// On the name and the executable that exec gave it.
    Image,
    /// On what the entry of the process is compared with.
    Process,
    /// On other processes, on metadata or on name files too.
    Epoch,
    /// On what may change at any time, or on the event.
    Event,
}

/// The fields of an event that belong to its process.
pub(super) struct ProcessFields<'e, 'f> {
    fields: EventFields<'e, 'f>,
    /// Whether the ancestors are what the kernel told.
    lineage: bool,
    /// Whether it runs in no container, so that there is no metadata to wait for.
    on_host: bool,
    /// Whether no session begins or ends soon.
    session: bool,
    /// The last scope whose fields are given.
    known: Scope,
}

impl<'e, 'f> ProcessFields<'e, 'f> {
    /// The fields of the event's process, up to a scope; `None` when it is not in the table.
    pub(super) fn new(facts: &'f Facts<'e>, fields: EventFields<'e, 'f>, known: Scope) -> Option<Self> {
        let (lineage, session) = (facts.lineage_known()?, facts.is_session_stable());
        Some(Self { fields, lineage, on_host: facts.on_host(), session, known })
    }
}

impl FieldSource for ProcessFields<'_, '_> {
    fn field<'a>(&'a self, field: FieldId, arg: FieldArg<'_>) -> Value<'a> {
        let known = match scope(field, arg) {
            Scope::Epoch if field == ids::TRADING_SESSION => self.known >= Scope::Epoch && self.session,
            Scope::Epoch if self.on_host && field.def().class == Class::Container => {
                self.known >= Scope::Process
            }
            Scope::Epoch => self.known >= Scope::Epoch && (self.lineage || !is_lineage(field)),
            Scope::Event => false,
            scope => self.known >= scope,
        };
        if known { self.fields.field(field, arg) } else { Value::Unknown }
    }
}

/// What a field depends on.
pub(super) fn scope(field: FieldId, arg: FieldArg<'_>) -> Scope {
    let class = field.def().class;
    let of_process = matches!(class, Class::Process | Class::User | Class::Group | Class::Container);
    if of_process && !fillable(field) {
        return Scope::Image;
    }
    match field {
        ids::PROC_NAME | ids::PROC_EXEPATH => Scope::Image,
        ids::PROC_PID
        | ids::PROC_VPID
        | ids::PROC_EXE
        | ids::PROC_CMDLINE
        | ids::PROC_ARGS
        | ids::PROC_CMDNARGS
        | ids::PROC_CMDLENARGS
        | ids::PROC_EXELINE
        | ids::PROC_ENV
        | ids::PROC_IS_EXE_WRITABLE
        | ids::PROC_IS_EXE_UPPER_LAYER
        | ids::PROC_IS_EXE_LOWER_LAYER
        | ids::PROC_IS_EXE_FROM_MEMFD
        | ids::PROC_EXE_INO
        | ids::PROC_EXE_INO_CTIME
        | ids::PROC_EXE_INO_MTIME
        | ids::USER_UID
        | ids::USER_LOGINUID
        | ids::GROUP_GID
        | ids::CONTAINER_ID => Scope::Process,
        // The process itself.
        ids::PROC_ANAME | ids::PROC_AEXEPATH if arg == FieldArg::Index(0) => Scope::Image,
        ids::PROC_AEXE | ids::PROC_ACMDLINE | ids::PROC_AARGS | ids::PROC_APID | ids::PROC_AENV
            if arg == FieldArg::Index(0) =>
        {
            Scope::Process
        }
        ids::CONTAINER_START_TS | ids::CONTAINER_DURATION => Scope::Event,
        // By the image, the control group and its metadata; by the time, or once a file has been read, of which the epoch
        // is told.
        ids::TRADING_ROLE | ids::TRADING_SESSION | ids::PROC_EXE_SHA256 => Scope::Epoch,
        field if is_lineage(field) => Scope::Epoch,
        _ if matches!(class, Class::Container | Class::User | Class::Group) => Scope::Epoch,
        _ => Scope::Event,
    }
}

/// Whether a field asks for ancestors.
fn is_lineage(field: FieldId) -> bool {
    matches!(
        field,
        ids::PROC_PNAME
            | ids::PROC_PEXE
            | ids::PROC_PEXEPATH
            | ids::PROC_PCMDLINE
            | ids::PROC_PPID
            | ids::PROC_PVPID
            | ids::PROC_ANAME
            | ids::PROC_AEXE
            | ids::PROC_AEXEPATH
            | ids::PROC_ACMDLINE
            | ids::PROC_AARGS
            | ids::PROC_APID
            | ids::PROC_AENV
            | ids::PROC_LOGINSHELLID
            | ids::PROC_IS_CONTAINER_HEALTHCHECK
            | ids::PROC_IS_CONTAINER_LIVENESS_PROBE
            | ids::PROC_IS_CONTAINER_READINESS_PROBE
    )
}
