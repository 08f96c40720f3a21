//! Rules of which the kernel can decide nothing but the event type, and the comparisons that are to blame.
//!
//! The kernel searches a path for the strings that comparisons need, looks up numbers, addresses, ports and the kind of
//! a descriptor, and knows what depends on the process alone once the agent has seen the process. Everything else needs
//! userspace: regular expressions, computed values, two fields compared, texts that are made of several facts.

use crate::{
    catalog::{self, Class, FieldId, ParamType, ids},
    condition::ast::Op,
    diagnostic::{Diagnostic, code},
    needle::Needles,
    rule::Rule,
    typed::{Arg, FieldUse, Node, Right, Source, Test},
};

/// Why facts that have no table are left to userspace.
const AGENT_ONLY: &str = "is known to the agent only";
/// Comparisons pointed at in one finding.
const SHOWN: usize = 3;

/// Whether a field of a process, a user or a container may change while the process runs the same program as the same
/// user in the same control group. Others count as known once the agent has seen the process.
pub fn changes_while_running(field: FieldId) -> bool {
    field.def().name.starts_with("thread.")
        || matches!(
            field,
            ids::PROC_CWD
                | ids::PROC_TTY
                | ids::PROC_SID
                | ids::PROC_SNAME
                | ids::PROC_SID_EXE
                | ids::PROC_SID_EXEPATH
                | ids::PROC_VPGID
                | ids::PROC_VPGID_NAME
                | ids::PROC_VPGID_EXE
                | ids::PROC_VPGID_EXEPATH
                | ids::PROC_PGID
                | ids::PROC_PGID_NAME
                | ids::PROC_PGID_EXE
                | ids::PROC_PGID_EXEPATH
                | ids::PROC_IS_SID_LEADER
                | ids::PROC_IS_VPGID_LEADER
                | ids::PROC_IS_PGID_LEADER
                | ids::PROC_DURATION
                | ids::PROC_PPID_DURATION
                // Times of day move with the clock.
                | ids::PROC_PID_TS
                | ids::PROC_PPID_TS
                | ids::PROC_EXE_INO_CTIME_DURATION_PROC_START
                | ids::PROC_EXE_INO_CTIME_DURATION_PIDNS_START
                | ids::PROC_PIDNS_INIT_START_TS
                | ids::PROC_FDOPENCOUNT
                | ids::PROC_FDLIMIT
                | ids::PROC_FDUSAGE
                | ids::PROC_VMSIZE
                | ids::PROC_VMRSS
                | ids::PROC_VMSWAP
                | ids::PROC_NTHREADS
                | ids::PROC_NCHILDS
                | ids::PROC_STDIN_TYPE
                | ids::PROC_STDOUT_TYPE
                | ids::PROC_STDERR_TYPE
                | ids::PROC_STDIN_NAME
                | ids::PROC_STDOUT_NAME
                | ids::PROC_STDERR_NAME
                | ids::CONTAINER_START_TS
                | ids::CONTAINER_DURATION
        )
}

/// Looks at one rule.
pub(super) fn check(rule: &Rule, found: &mut Vec<Diagnostic>) {
    if rejectable(&rule.condition) {
        return;
    }
    let mut blamed = Vec::new();
    rule.condition.for_each_test(&mut |test| {
        if blamed.len() < SHOWN
            && let Some(reason) = reason(test)
        {
            blamed.push((test.span, reason));
        }
    });
    let message =
        format!("of rule `{}` the kernel can decide nothing but the event type", rule.name.escape_debug());
    let mut finding = Diagnostic::new(code::ONLY_EVENT_TYPE, message)
        .at(rule.span)
        .help("add a comparison with `and` that the kernel can look up, such as the beginning of a path");
    for (span, reason) in blamed {
        finding = finding.label(span, reason);
    }
    found.push(finding);
}

/// Whether something the kernel can look up may make it false.
fn rejectable(node: &Node) -> bool {
    match node {
        Node::Const(_) => false,
        Node::All(parts) => parts.iter().any(rejectable),
        Node::Any(parts) => !parts.is_empty() && parts.iter().all(rejectable),
        Node::Test(test) => !names_type(test) && reason(test).is_none(),
    }
}

fn names_type(test: &Test) -> bool {
    matches!(
        &test.left,
        Source::Field(FieldUse { id: ids::EVT_TYPE | ids::EVT_TYPE_IS | ids::SYSCALL_TYPE, .. })
    )
}

/// Why the kernel cannot decide a comparison; `None` when it can.
fn reason(test: &Test) -> Option<&'static str> {
    if names_type(test) || of_process(test) {
        return None;
    }
    if matches!(test.right, Right::Source(_)) {
        return Some("compares two values of the event");
    }
    let Source::Field(field) = &test.left else { return Some("compares a computed value") };
    match field.id {
        ids::EVT_ARG | ids::EVT_RAWARG => of_parameter(test, &field.arg),
        ids::EVT_RES | ids::EVT_RAWRES | ids::EVT_FAILED => None,
        ids::EVT_IS_OPEN_READ | ids::EVT_IS_OPEN_WRITE | ids::EVT_IS_OPEN_EXEC | ids::EVT_IS_OPEN_CREATE => {
            None
        }
        ids::FD_NAME
        | ids::FD_NAMERAW
        | ids::FD_FILENAME
        | ids::FD_DIRECTORY
        | ids::FS_PATH_NAME
        | ids::FS_PATH_NAMERAW => of_path(test),
        id if names_of_descriptor(id) => Some(AGENT_ONLY),
        id if matches!(id.def().class, Class::Fd | Class::FsPath) => None,
        id if id.def().class == Class::Evt => Some("depends on the event as a whole"),
        // What these imply of paths, addresses and processes is known when the configuration is.
        id if id.def().class == Class::Trading => None,
        _ => Some("changes while the process runs"),
    }
}

fn of_path(test: &Test) -> Option<&'static str> {
    let told = test.op == Op::Exists || Needles::of(test).is_some();
    (!told).then_some("no part of the path is necessary for it")
}

/// The kernel knows flags, modes and commands, the result, and the path of an open.
fn of_parameter(test: &Test, arg: &Arg) -> Option<&'static str> {
    let Arg::Key(name) = arg else { return None };
    match (&**name, catalog::param_type(name)) {
        ("res", _) => None,
        ("name" | "path", _) => of_path(test),
        (_, Some(ParamType::Flags(_) | ParamType::EnumFlags(_) | ParamType::Mode | ParamType::Signal)) => {
            None
        }
        _ => Some(AGENT_ONLY),
    }
}

/// Facts of descriptors that the kernel has no table of.
fn names_of_descriptor(field: FieldId) -> bool {
    matches!(
        field,
        ids::FD_REALPATH
            | ids::FD_CONTAINERNAME
            | ids::FD_CONTAINERDIRECTORY
            | ids::FD_CIP_NAME
            | ids::FD_SIP_NAME
            | ids::FD_LIP_NAME
            | ids::FD_RIP_NAME
            | ids::FD_NAME_CHANGED
            | ids::FD_UID
            | ids::FD_DEV
            | ids::FD_DEV_MAJOR
            | ids::FD_DEV_MINOR
            | ids::FD_INO
            | ids::FD_IS_UPPER_LAYER
            | ids::FD_IS_LOWER_LAYER
    )
}

/// Whether it depends on nothing but the process, so that it is decided when the process starts.
fn of_process(test: &Test) -> bool {
    let mut all = true;
    let mut look = |field: &FieldUse| {
        all &= matches!(field.id.def().class, Class::Process | Class::Group | Class::User | Class::Container)
            && !changes_while_running(field.id);
    };
    test.left.for_each_field(&mut look);
    if let Right::Source(source) = &test.right {
        source.for_each_field(&mut look);
    }
    all
}
