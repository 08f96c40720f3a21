//! Facts of the process that exec, fork and credential events carry as parameters.

use rampart_common::event::{AttrTag, EXEC_WRITABLE, FILE_LOWER_LAYER, FILE_MEMFD, FILE_UPPER_LAYER, Family};
use rampart_rules::catalog::ParamType;

use super::{
    super::{self as fields, Facts, process::joined_into},
    Parameter, Raw, bits, number, path,
};
use crate::{
    event::{EventKind, names::EXEC_FLAGS, syscall::ProcessFact},
    state::image::strings,
};

/// The fact as a parameter.
pub(super) fn fact<'e>(facts: &Facts<'e>, fact: ProcessFact) -> Option<Parameter<'e>> {
    use ProcessFact as F;
    let task = &facts.event.header.task;
    let image = facts.process.map(|process| &*process.image);
    let id = |value: u32| Some(number(facts, ParamType::Pid, i64::from(value), false));
    let plain = |raw| Some(Parameter { raw, resolved: None });
    match fact {
        F::Exe => match attempted(facts) {
            Some(argv) => plain(Raw::Bytes(strings(argv).next()?)),
            None => plain(Raw::Bytes(image?.exe()?)),
        },
        F::Args => match attempted(facts) {
            Some(argv) => plain(Raw::Bytes(facts.text(|out| joined_into(strings(argv).skip(1), out)))),
            None => plain(Raw::Bytes(image?.args())),
        },
        F::Env => plain(Raw::Bytes(fields::process::environment(facts, image?))),
        F::Comm => plain(Raw::Bytes(facts.text(|out| out.extend_from_slice(facts.event.comm())))),
        F::Cwd => plain(Raw::Bytes(fields::process::working_directory(facts)?)),
        F::Tid => id(task.tid),
        F::Pid => id(task.pid),
        F::Ptid => id(task.ppid),
        F::Vtid => plain(Raw::Int(i64::from(task.vtid))),
        F::Vpid => plain(Raw::Int(i64::from(task.vpid))),
        F::Pgid => id(task.pgid),
        F::Vpgid => plain(Raw::Int(i64::from(task.vpgid))),
        F::Tty => plain(Raw::Uint(u64::from(task.tty))),
        F::LoginUid => Some(match task.loginuid {
            u32::MAX => Parameter { raw: Raw::Int(-1), resolved: Some(b"<NA>") },
            uid => number(facts, ParamType::Uid, i64::from(uid), false),
        }),
        F::Uid => Some(number(facts, ParamType::Uid, i64::from(task.euid), false)),
        F::Gid => Some(number(facts, ParamType::Gid, i64::from(task.egid), false)),
        F::ExeFlags => Some(bits(facts, exec_flags(facts), EXEC_FLAGS)),
        F::CapInheritable => plain(Raw::Hex(task.cap_inheritable)),
        F::CapPermitted => plain(Raw::Hex(task.cap_permitted)),
        F::CapEffective => plain(Raw::Hex(task.cap_effective)),
        F::ExeIno => plain(Raw::Uint(image?.file?.ino)),
        F::ExeCtime => plain(Raw::Uint(image?.file?.ctime_ns)),
        F::ExeMtime => plain(Raw::Uint(image?.file?.mtime_ns)),
        F::ExePath => plain(Raw::Bytes(image?.exe_path()?)),
        F::Cgroups => plain(Raw::Bytes(cgroup(facts)?)),
        F::PidNsStart => {
            let init = facts.context.state.processes.namespace_init(task.pid_ns)?;
            plain(Raw::Uint(facts.context.clock.wall_ns(init.start_ns)))
        }
        F::FdLimit => plain(Raw::Int(i64::try_from(facts.event.usage()?.fd_limit).unwrap_or(i64::MAX))),
        F::MajorFaults => plain(Raw::Uint(facts.event.usage()?.major_faults)),
        F::MinorFaults => plain(Raw::Uint(facts.event.usage()?.minor_faults)),
        F::VmSize => plain(Raw::Uint(fields::process::kilobytes(facts.event.usage()?.virtual_pages))),
        F::VmRss => plain(Raw::Uint(fields::process::kilobytes(facts.event.usage()?.resident_pages))),
        F::VmSwap => plain(Raw::Uint(fields::process::kilobytes(facts.event.usage()?.swapped_pages))),
        F::Filename => match facts.event.kind {
            EventKind::Exec => plain(Raw::Bytes(facts.event.attr(AttrTag::ExecName)?.bytes)),
            _ => path(facts, AttrTag::UserPath),
        },
    }
}

/// Path of the control group; only an exec tells it.
fn cgroup<'e>(facts: &Facts<'e>) -> Option<&'e [u8]> {
    facts.event.attr(AttrTag::Cgroup)?;
    Some(facts.text(|out| {
        facts.event.path_into(AttrTag::Cgroup, out);
    }))
}

/// The argument vector of an exec that failed: the process still is what it was.
fn attempted<'e>(facts: &Facts<'e>) -> Option<&'e [u8]> {
    let failed = facts.event.kind == EventKind::Syscall && facts.row.family == Family::Exec;
    failed.then(|| facts.event.attr(AttrTag::Argv))?.map(|attr| attr.bytes)
}

/// Properties of the executable in Falco's numbers. A failed exec ran nothing, so it has none.
fn exec_flags(facts: &Facts<'_>) -> u32 {
    if facts.event.kind != EventKind::Exec {
        return 0;
    }
    let file = facts.event.file().map_or(0, |file| file.flags);
    let bit = |set: bool, falco: u32| if set { falco } else { 0 };
    bit(facts.event.exec().is_some_and(|exec| exec.flags & EXEC_WRITABLE != 0), 1)
        | bit(file & FILE_UPPER_LAYER != 0, 2)
        | bit(file & FILE_MEMFD != 0, 4)
        | bit(file & FILE_LOWER_LAYER != 0, 8)
}
