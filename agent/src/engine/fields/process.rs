//! Class `process`: the process of the event, its ancestors, session and group.

use std::sync::{Arc, LazyLock};

use nix::unistd::{SysconfVar, sysconf};
use rampart_common::event::{FILE_LOWER_LAYER, FILE_MEMFD, FILE_UPPER_LAYER};
use rampart_rules::{
    catalog::{FieldId, ids},
    value::{FieldArg, Value},
};

use super::Facts;
use crate::{
    event::names::capability_name,
    state::{digest::KnownDigest, image::Image, process::Process},
};

/// Fields that need data the agent does not collect.
pub(super) const UNFILLED: &[FieldId] = &[
    ids::PROC_FDOPENCOUNT,
    ids::PROC_FDUSAGE,
    ids::THREAD_NAMETID,
    ids::THREAD_EXECTIME,
    ids::THREAD_TOTEXECTIME,
    ids::THREAD_CGROUPS,
    ids::THREAD_CGROUP,
    ids::PROC_NTHREADS,
    ids::PROC_NCHILDS,
    ids::THREAD_CPU,
    ids::THREAD_CPU_USER,
    ids::THREAD_CPU_SYSTEM,
    ids::THREAD_VMSIZE,
    ids::THREAD_VMRSS,
    ids::THREAD_VMSIZE_B,
    ids::THREAD_VMRSS_B,
    ids::PROC_STDIN_TYPE,
    ids::PROC_STDOUT_TYPE,
    ids::PROC_STDERR_TYPE,
    ids::PROC_STDIN_NAME,
    ids::PROC_STDOUT_NAME,
    ids::PROC_STDERR_NAME,
];

/// Kilobytes of a page on this machine; a recording belongs to one type of machine.
static PAGE_KILOBYTES: LazyLock<u64> = LazyLock::new(|| {
    let bytes = sysconf(SysconfVar::PAGE_SIZE).ok().flatten().and_then(|bytes| u64::try_from(bytes).ok());
    bytes.map_or(4, |bytes| bytes / 1024)
});

/// Names by which an ancestor counts as a login shell.
const SHELLS: [&[u8]; 8] = [b"bash", b"csh", b"dash", b"ksh", b"sh", b"tcsh", b"zsh", b"fish"];

pub(super) fn get<'e>(facts: &Facts<'e>, field: FieldId, arg: FieldArg<'_>) -> Option<Value<'e>> {
    let task = &facts.event.header.task;
    let number = |value: u32| Some(Value::Int(i64::from(value)));
    // Facts of the record first: they need no table.
    match field {
        ids::PROC_PID => return number(task.pid),
        ids::PROC_VPID => return number(task.vpid),
        ids::PROC_SID => return number(task.sid),
        ids::PROC_PGID => return number(task.pgid),
        ids::PROC_VPGID => return number(task.vpgid),
        ids::PROC_TTY => return Some(Value::Uint(u64::from(task.tty))),
        ids::PROC_IS_SID_LEADER => return Some(Value::Bool(task.sid == task.pid)),
        ids::PROC_IS_PGID_LEADER => return Some(Value::Bool(task.pgid == task.pid)),
        ids::PROC_IS_VPGID_LEADER => return Some(Value::Bool(task.vpgid == task.vpid)),
        ids::THREAD_TID => return number(task.tid),
        ids::THREAD_VTID => return number(task.vtid),
        ids::THREAD_ISMAIN => return Some(Value::Bool(task.tid == task.pid)),
        ids::THREAD_CAP_PERMITTED => return Some(capabilities(facts, task.cap_permitted)),
        ids::THREAD_CAP_INHERITABLE => return Some(capabilities(facts, task.cap_inheritable)),
        ids::THREAD_CAP_EFFECTIVE => return Some(capabilities(facts, task.cap_effective)),
        _ => {}
    }
    let process = facts.process?;
    let image = &*process.image;
    match field {
        ids::PROC_NAME => Some(Value::Bytes(image.comm())),
        ids::PROC_EXE => bytes(image.exe()),
        ids::PROC_EXEPATH => bytes(image.exe_path()),
        ids::PROC_CMDLINE => Some(Value::Bytes(image.cmdline())),
        ids::PROC_ARGS => match arg {
            FieldArg::Index(index) => Some(Value::Bytes(nth(image.arg_list(), index).unwrap_or_default())),
            _ => Some(Value::Bytes(image.args())),
        },
        ids::PROC_CMDNARGS => Some(Value::Uint(image.arg_list().count() as u64)),
        ids::PROC_CMDLENARGS => Some(Value::Uint(image.arg_list().map(|arg| arg.len() as u64).sum())),
        ids::PROC_EXELINE => Some(Value::Bytes(facts.text(|out| {
            out.extend_from_slice(image.exe().unwrap_or_default());
            if !image.args().is_empty() {
                out.push(b' ');
                out.extend_from_slice(image.args());
            }
        }))),
        ids::PROC_ENV => match arg {
            FieldArg::Key(name) => bytes(image.env_value(name.as_bytes())),
            _ => Some(Value::Bytes(environment(facts, image))),
        },
        ids::PROC_FDLIMIT => Some(Value::Int(i64::try_from(image.usage?.fd_limit).unwrap_or(i64::MAX))),
        ids::PROC_VMSIZE => Some(Value::Uint(kilobytes(image.usage?.virtual_pages))),
        ids::PROC_VMRSS => Some(Value::Uint(kilobytes(image.usage?.resident_pages))),
        ids::PROC_VMSWAP => Some(Value::Uint(kilobytes(image.usage?.swapped_pages))),
        ids::THREAD_PFMAJOR => Some(Value::Uint(image.usage?.major_faults)),
        ids::THREAD_PFMINOR => Some(Value::Uint(image.usage?.minor_faults)),
        ids::PROC_CWD => bytes(working_directory(facts)),
        ids::PROC_PNAME => parent(facts, |at| Some(Value::Bytes(at.image.comm()))),
        ids::PROC_PEXE => parent(facts, |at| bytes(at.image.exe())),
        ids::PROC_PEXEPATH => parent(facts, |at| bytes(at.image.exe_path())),
        ids::PROC_PCMDLINE => parent(facts, |at| Some(Value::Bytes(at.image.cmdline()))),
        ids::PROC_PPID => parent(facts, |at| number(at.id.pid)),
        ids::PROC_PVPID => parent(facts, |at| number(at.task.vpid)),
        ids::PROC_PPID_TS => parent(facts, |at| span(facts.context.clock.wall_ns(at.start_ns))),
        ids::PROC_PPID_DURATION => parent(facts, |at| span(age(facts, at))),
        ids::PROC_PID_TS => span(facts.context.clock.wall_ns(process.start_ns)),
        ids::PROC_DURATION => span(age(facts, process)),
        ids::PROC_ANAME => ancestors(facts, arg, |at| Some(Value::Bytes(at.image.comm()))),
        ids::PROC_AEXE => ancestors(facts, arg, |at| bytes(at.image.exe())),
        ids::PROC_AEXEPATH => ancestors(facts, arg, |at| bytes(at.image.exe_path())),
        ids::PROC_ACMDLINE => ancestors(facts, arg, |at| Some(Value::Bytes(at.image.cmdline()))),
        ids::PROC_AARGS => ancestors(facts, arg, |at| Some(Value::Bytes(at.image.args()))),
        ids::PROC_APID => ancestors(facts, arg, |at| number(at.id.pid)),
        ids::PROC_AENV => match arg {
            FieldArg::Key(name) => {
                ancestors(facts, FieldArg::None, |at| bytes(at.image.env_value(name.as_bytes())))
            }
            _ => ancestors(facts, arg, |at| Some(Value::Bytes(environment(facts, &at.image)))),
        },
        ids::PROC_LOGINSHELLID => login_shell(facts).and_then(|at| number(at.id.pid)),
        ids::PROC_SNAME => Some(Value::Bytes(leader(facts, task.sid).map_or(b"", |at| at.image.comm()))),
        ids::PROC_SID_EXE => bytes(leader(facts, task.sid)?.image.exe()),
        ids::PROC_SID_EXEPATH => bytes(leader(facts, task.sid)?.image.exe_path()),
        ids::PROC_PGID_NAME | ids::PROC_VPGID_NAME => {
            Some(Value::Bytes(leader(facts, task.pgid).map_or(b"", |at| at.image.comm())))
        }
        ids::PROC_PGID_EXE | ids::PROC_VPGID_EXE => bytes(leader(facts, task.pgid)?.image.exe()),
        ids::PROC_PGID_EXEPATH | ids::PROC_VPGID_EXEPATH => bytes(leader(facts, task.pgid)?.image.exe_path()),
        ids::PROC_EXE_SHA256 => match facts.context.state.digests.get(image.file.as_ref()?.into()) {
            KnownDigest::Yes(text) => Some(Value::Bytes(text)),
            KnownDigest::Pending => Some(Value::Unknown),
            KnownDigest::No => None,
        },
        ids::PROC_IS_EXE_WRITABLE => Some(Value::Bool(image.writable)),
        ids::PROC_IS_EXE_UPPER_LAYER => Some(Value::Bool(has_flag(image, FILE_UPPER_LAYER))),
        ids::PROC_IS_EXE_LOWER_LAYER => Some(Value::Bool(has_flag(image, FILE_LOWER_LAYER))),
        ids::PROC_IS_EXE_FROM_MEMFD => Some(Value::Bool(has_flag(image, FILE_MEMFD))),
        ids::PROC_EXE_INO => Some(Value::Int(i64::try_from(nonzero(image.file?.ino)?).ok()?)),
        ids::PROC_EXE_INO_CTIME => Some(Value::Uint(nonzero(image.file?.ctime_ns)?)),
        ids::PROC_EXE_INO_MTIME => Some(Value::Uint(nonzero(image.file?.mtime_ns)?)),
        ids::PROC_EXE_INO_CTIME_DURATION_PROC_START => since_change(facts, image, process.start_ns),
        ids::PROC_EXE_INO_CTIME_DURATION_PIDNS_START => since_change(facts, image, namespace_start(facts)?),
        ids::PROC_PIDNS_INIT_START_TS => {
            Some(Value::Uint(facts.context.clock.wall_ns(namespace_start(facts)?)))
        }
        _ => None,
    }
}

/// Environment, joined by blanks.
pub(super) fn environment<'e>(facts: &Facts<'e>, image: &Image) -> &'e [u8] {
    facts.text(|out| joined_into(image.env(), out))
}

/// Appends texts, joined by blanks.
pub(super) fn joined_into<'t>(texts: impl Iterator<Item = &'t [u8]>, out: &mut Vec<u8>) {
    for (index, text) in texts.enumerate() {
        if index > 0 {
            out.push(b' ');
        }
        out.extend_from_slice(text);
    }
}

/// Working directory, always with a final slash; `None` when unknown.
pub(super) fn working_directory<'e>(facts: &Facts<'e>) -> Option<&'e [u8]> {
    let cwd: &'e Arc<[u8]> = &facts.process?.cwd;
    if cwd.is_empty() || cwd.ends_with(b"/") {
        return Some(&**cwd).filter(|cwd| !cwd.is_empty());
    }
    Some(facts.text(|out| {
        out.extend_from_slice(cwd);
        out.push(b'/');
    }))
}

fn parent<'e>(facts: &Facts<'e>, value: impl FnOnce(&'e Process) -> Option<Value<'e>>) -> Option<Value<'e>> {
    value(facts.context.state.processes.parent(facts.process?)?)
}

/// One ancestor by index (0 is the process itself), or all of them, nearest first.
fn ancestors<'e>(
    facts: &Facts<'e>,
    arg: FieldArg<'_>,
    value: impl Fn(&'e Process) -> Option<Value<'e>>,
) -> Option<Value<'e>> {
    let process = facts.process?;
    let mut chain = facts.context.state.processes.ancestors(process);
    match arg {
        FieldArg::Index(0) => value(process),
        FieldArg::Index(index) => value(chain.nth(usize::try_from(index - 1).ok()?)?),
        _ => {
            let values = facts.list(chain.filter_map(value));
            (!values.is_empty()).then_some(Value::Any(values))
        }
    }
}

/// The process that leads a session or group, if it lives; else the eldest ancestor of the same session.
fn leader<'e>(facts: &Facts<'e>, pid: u32) -> Option<&'e Process> {
    let processes = &facts.context.state.processes;
    if let Some(leader) = processes.by_pid(pid) {
        return Some(leader);
    }
    let process = facts.process?;
    processes
        .ancestors(process)
        .take_while(|at| at.task.sid == process.task.sid && at.task.pid_ns == process.task.pid_ns)
        .last()
}

/// The oldest shell among the process and its ancestors.
fn login_shell<'e>(facts: &Facts<'e>) -> Option<&'e Process> {
    let process = facts.process?;
    std::iter::once(process)
        .chain(facts.context.state.processes.ancestors(process))
        .filter(|at| SHELLS.contains(&at.image.comm()))
        .last()
}

fn capabilities<'e>(facts: &Facts<'e>, bits: u64) -> Value<'e> {
    Value::Bytes(facts.text(|out| {
        for name in (0..64).filter(|bit| bits & (1 << bit) != 0).filter_map(capability_name) {
            if !out.is_empty() {
                out.push(b' ');
            }
            out.extend_from_slice(name.as_bytes());
        }
    }))
}

fn namespace_start(facts: &Facts<'_>) -> Option<u64> {
    let first = facts.context.state.processes.namespace_init(facts.event.header.task.pid_ns)?;
    Some(first.start_ns)
}

/// Nanoseconds from the last change of the executable's inode to a start; missing when it changed later.
fn since_change<'e>(facts: &Facts<'e>, image: &Image, start_ns: u64) -> Option<Value<'e>> {
    let changed = nonzero(image.file?.ctime_ns)?;
    Some(Value::Uint(facts.context.clock.wall_ns(start_ns).checked_sub(changed)?))
}

fn age(facts: &Facts<'_>, process: &Process) -> u64 {
    facts.event.header.time_ns.saturating_sub(process.start_ns)
}

fn has_flag(image: &Image, flag: u32) -> bool {
    image.file.is_some_and(|file| file.flags & flag != 0)
}

fn nonzero(value: u64) -> Option<u64> {
    (value != 0).then_some(value)
}

fn bytes(value: Option<&[u8]>) -> Option<Value<'_>> {
    value.map(Value::Bytes)
}

fn span<'e>(ns: u64) -> Option<Value<'e>> {
    Some(Value::Int(i64::try_from(ns).ok()?))
}

fn nth<'e>(mut items: impl Iterator<Item = &'e [u8]>, index: u64) -> Option<&'e [u8]> {
    items.nth(usize::try_from(index).ok()?)
}

/// Memory in pages as rules ask for it.
pub(super) fn kilobytes(pages: u64) -> u64 {
    pages.saturating_mul(*PAGE_KILOBYTES)
}
