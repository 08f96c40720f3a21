//! `evt.arg`, `evt.rawarg` and `evt.args`: the parameters of an event by name or position.

use std::io::Write as _;

use rampart_common::event::{AttrTag, EXEC_WRITABLE, FILE_LOWER_LAYER, FILE_MEMFD, FILE_UPPER_LAYER, Family};
use rampart_rules::{
    catalog::{Param, ParamType},
    value::{FieldArg, Value},
};

use super::{Facts, evt, fd, process::joined_into, user::Whose};
use crate::{
    event::{
        EventKind,
        names::{
            BitNames, EXEC_FLAGS, MODE_BITS, OPEN_FLAGS, RESOLVE_FLAGS, bits_into, open_flags,
            ptrace_request, resolve_flags, socket_domain,
        },
        syscall::{ProcessFact, Source},
    },
    state::image::strings,
};

/// A parameter as the kernel gave it.
#[derive(Clone, Copy, Debug)]
enum Raw<'e> {
    Int(i64),
    Uint(u64),
    Hex(u64),
    Octal(u32),
    Bytes(&'e [u8]),
}

/// A parameter and the text that explains it, if it has one.
struct Parameter<'e> {
    raw: Raw<'e>,
    resolved: Option<&'e [u8]>,
}

/// The parameter as text: explained if it can be, else as given.
pub(super) fn text<'e>(facts: &Facts<'e>, arg: FieldArg<'_>) -> Option<Value<'e>> {
    let (param, source) = find(facts, arg)?;
    let parameter = parameter(facts, param, source)?;
    Some(Value::Bytes(parameter.resolved.unwrap_or_else(|| raw_text(facts, parameter.raw))))
}

/// The parameter as the kernel gave it.
pub(super) fn raw<'e>(facts: &Facts<'e>, arg: FieldArg<'_>) -> Option<Value<'e>> {
    let (param, source) = find(facts, arg)?;
    Some(match parameter(facts, param, source)?.raw {
        Raw::Int(number) => Value::Int(number),
        Raw::Uint(number) | Raw::Hex(number) => Value::Uint(number),
        Raw::Octal(number) => Value::Uint(u64::from(number)),
        Raw::Bytes(bytes) => Value::Bytes(bytes),
    })
}

/// All parameters, `name=raw` or `name=raw(explained)`, joined by blanks.
pub(super) fn all<'e>(facts: &Facts<'e>) -> &'e [u8] {
    facts.text(|out| {
        let params = facts.row.event.def().map_or(&[][..], |def| def.params);
        for (param, source) in params.iter().zip(facts.row.params) {
            let Some(parameter) = parameter(facts, param, *source) else { continue };
            if !out.is_empty() {
                out.push(b' ');
            }
            out.extend_from_slice(param.name.as_bytes());
            out.push(b'=');
            write_raw(parameter.raw, out);
            if let Some(resolved) = parameter.resolved {
                out.push(b'(');
                out.extend_from_slice(resolved);
                out.push(b')');
            }
        }
    })
}

fn find(facts: &Facts<'_>, arg: FieldArg<'_>) -> Option<(&'static Param, Source)> {
    let params = facts.row.event.def()?.params;
    let index = match arg {
        FieldArg::Key(name) => params.iter().position(|param| param.name == name)?,
        FieldArg::Index(index) => usize::try_from(index).ok()?,
        FieldArg::None => return None,
    };
    Some((params.get(index)?, *facts.row.params.get(index)?))
}

fn parameter<'e>(facts: &Facts<'e>, param: &Param, source: Source) -> Option<Parameter<'e>> {
    let plain = |raw| Some(Parameter { raw, resolved: None });
    match source {
        Source::Missing => None,
        Source::Ret => Some(number(facts, param.ty, facts.event.header.ret, true)),
        Source::Arg(index) => {
            let value = evt::argument(facts, index);
            match param.ty {
                ParamType::Dyn => plain(Raw::Hex(value)),
                // Registers are wider than these arguments; the upper half is not theirs.
                ParamType::Fd | ParamType::Pid | ParamType::Int(32) => {
                    Some(number(facts, param.ty, i64::from(value as i32), false))
                }
                ParamType::Uid | ParamType::Gid => {
                    Some(number(facts, param.ty, i64::from(value as u32), false))
                }
                ParamType::Uint(32) | ParamType::Flags(32) | ParamType::EnumFlags(32) => {
                    plain(Raw::Uint(u64::from(value as u32)))
                }
                _ => plain(Raw::Uint(value)),
            }
        }
        Source::Bits(index, names) => Some(bits(facts, evt::argument(facts, index) as u32, names)),
        Source::Path => path(facts, AttrTag::UserPath),
        Source::Path2 => path(facts, AttrTag::UserPath2),
        Source::Verbatim => plain(Raw::Bytes(facts.event.attr(AttrTag::UserPath)?.bytes)),
        Source::OpenFlags(index) => {
            Some(bits(facts, open_flags(evt::argument(facts, index) as u32), OPEN_FLAGS))
        }
        Source::HowFlags => Some(bits(facts, open_flags(evt::how(facts, 0)? as u32), OPEN_FLAGS)),
        Source::HowResolve => Some(bits(facts, resolve_flags(evt::how(facts, 2)?), RESOLVE_FLAGS)),
        Source::HowMode => plain(Raw::Octal(evt::creation_mode(facts))),
        Source::Mode(index) => match param.ty {
            ParamType::Mode => Some(bits(facts, evt::argument(facts, index) as u32, MODE_BITS)),
            _ => plain(Raw::Octal(evt::creation_mode(facts))),
        },
        Source::Dev => plain(Raw::Uint(u64::from(facts.event.file()?.dev))),
        Source::Ino => plain(Raw::Uint(facts.event.file()?.ino)),
        Source::Domain(index) => {
            let domain = evt::argument(facts, index);
            Some(Parameter { raw: Raw::Uint(domain), resolved: socket_domain(domain).map(str::as_bytes) })
        }
        Source::Ptrace(index) => {
            let request = evt::argument(facts, index);
            Some(Parameter { raw: Raw::Uint(request), resolved: Some(ptrace_request(request).as_bytes()) })
        }
        Source::Tuple => plain(Raw::Bytes(fd::tuple_text(facts)?)),
        Source::Addr => plain(Raw::Bytes(fd::address_text(facts)?)),
        Source::Process(fact) => process(facts, fact),
    }
}

/// A number whose type gives it a name: an error, a descriptor, a process, a user.
fn number<'e>(facts: &Facts<'e>, ty: ParamType, value: i64, ret: bool) -> Parameter<'e> {
    let resolved = match ty {
        ParamType::Fd if !ret && value == i64::from(libc::AT_FDCWD) => Some(&b"AT_FDCWD"[..]),
        ParamType::Errno | ParamType::Fd if ret && value < 0 => {
            Some(facts.text(|out| evt::error_into(value, out)))
        }
        ParamType::Fd => fd::described(facts, value),
        ParamType::Pid => u32::try_from(value)
            .ok()
            .and_then(|pid| facts.context.state.processes.by_pid(pid))
            .map(|process| process.image.comm()),
        ParamType::Uid => Some(user_name(facts, value as u32)),
        ParamType::Gid => Whose::of(facts).group_name(value as u32),
        _ => None,
    };
    Parameter { raw: Raw::Int(value), resolved }
}

fn user_name<'e>(facts: &Facts<'e>, uid: u32) -> &'e [u8] {
    Whose::of(facts).user_name(uid).unwrap_or(b"<NA>")
}

fn bits<'e>(facts: &Facts<'e>, value: u32, names: &BitNames) -> Parameter<'e> {
    let resolved = facts.text(|out| bits_into(names, value, out));
    Parameter { raw: Raw::Uint(u64::from(value)), resolved: (!resolved.is_empty()).then_some(resolved) }
}

/// An absolute path shows as it was given, a relative one is explained by its join.
fn path<'e>(facts: &Facts<'e>, tag: AttrTag) -> Option<Parameter<'e>> {
    let given = facts.event.attr(tag)?.bytes;
    let relative = given.first() != Some(&b'/');
    let resolved = if relative { facts.path(tag) } else { None };
    Some(Parameter { raw: Raw::Bytes(given), resolved })
}

fn process<'e>(facts: &Facts<'e>, fact: ProcessFact) -> Option<Parameter<'e>> {
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
        F::Env => plain(Raw::Bytes(super::process::environment(facts, image?))),
        F::Comm => plain(Raw::Bytes(facts.text(|out| out.extend_from_slice(facts.event.comm())))),
        F::Cwd => plain(Raw::Bytes(super::process::working_directory(facts)?)),
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
        F::Filename => match facts.event.kind {
            EventKind::Exec => plain(Raw::Bytes(facts.event.attr(AttrTag::ExecName)?.bytes)),
            _ => path(facts, AttrTag::UserPath),
        },
    }
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

fn raw_text<'e>(facts: &Facts<'e>, raw: Raw<'e>) -> &'e [u8] {
    match raw {
        Raw::Bytes(bytes) => bytes,
        number => facts.text(|out| write_raw(number, out)),
    }
}

fn write_raw(raw: Raw<'_>, out: &mut Vec<u8>) {
    // Writing to memory does not fail.
    let _ = match raw {
        Raw::Int(number) => write!(out, "{number}"),
        Raw::Uint(number) => write!(out, "{number}"),
        Raw::Hex(number) => write!(out, "{number:X}"),
        Raw::Octal(0) => write!(out, "0"),
        Raw::Octal(mode) => write!(out, "0{mode:o}"),
        Raw::Bytes(bytes) => out.write_all(bytes),
    };
}
