//! Rules of which the kernel can decide nothing but the event type, and the comparisons that are to blame.
//!
//! The kernel can look up one value at a time in a table: a path or its beginning or end, a number, an address, a
//! port, the kind of a descriptor. What depends on the process alone is decided once per program start. Everything
//! else needs userspace: parts in the middle of a text, patterns, computed values, two fields compared.

use crate::{
    catalog::{Class, FieldId, ids},
    condition::ast::Op,
    diagnostic::{Diagnostic, code},
    rule::Rule,
    typed::{FieldUse, Node, Right, Source, Test},
};

/// Comparisons pointed at in one finding.
const SHOWN: usize = 3;

/// Fields of processes and containers that change while the process runs.
const CHANGING: [FieldId; 22] = [
    ids::PROC_DURATION,
    ids::PROC_PPID_DURATION,
    ids::PROC_FDOPENCOUNT,
    ids::PROC_FDUSAGE,
    ids::PROC_VMSIZE,
    ids::PROC_VMRSS,
    ids::PROC_VMSWAP,
    ids::PROC_NTHREADS,
    ids::PROC_NCHILDS,
    ids::PROC_CWD,
    ids::THREAD_PFMAJOR,
    ids::THREAD_PFMINOR,
    ids::THREAD_EXECTIME,
    ids::THREAD_TOTEXECTIME,
    ids::THREAD_CPU,
    ids::THREAD_CPU_USER,
    ids::THREAD_CPU_SYSTEM,
    ids::THREAD_VMSIZE,
    ids::THREAD_VMRSS,
    ids::THREAD_VMSIZE_B,
    ids::THREAD_VMRSS_B,
    ids::CONTAINER_DURATION,
];

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
    match test.op {
        Op::Contains | Op::IContains | Op::BContains => {
            return Some("looks for a part in the middle of a text");
        }
        Op::Glob | Op::IGlob | Op::Regex => return Some("is a pattern"),
        Op::BStartsWith => return Some("looks into the data of the call"),
        _ => {}
    }
    match field.id {
        ids::EVT_ARG | ids::EVT_RAWARG | ids::EVT_RES | ids::EVT_RAWRES | ids::EVT_FAILED => None,
        ids::EVT_IS_OPEN_READ | ids::EVT_IS_OPEN_WRITE | ids::EVT_IS_OPEN_EXEC | ids::EVT_IS_OPEN_CREATE => {
            None
        }
        id if matches!(id.def().class, Class::Fd | Class::FsPath) => None,
        id if id.def().class == Class::Evt => Some("depends on the event as a whole"),
        _ => Some("changes while the process runs"),
    }
}

/// Whether it depends on nothing but the process, so that it is decided when the process starts.
fn of_process(test: &Test) -> bool {
    let mut all = true;
    let mut look = |field: &FieldUse| {
        all &= matches!(field.id.def().class, Class::Process | Class::Group | Class::User | Class::Container)
            && !CHANGING.contains(&field.id);
    };
    test.left.for_each_field(&mut look);
    if let Right::Source(source) = &test.right {
        source.for_each_field(&mut look);
    }
    all
}
