//! `evt.arg`, `evt.rawarg` and `evt.args`: the parameters of an event by name or position.

mod process;

use std::io::Write as _;

use rampart_common::event::AttrTag;
use rampart_rules::{
    catalog::{MODE_BITS, Param, ParamType},
    value::{FieldArg, Value},
};

use super::{Facts, evt, fd, user::Whose};
use crate::event::{
    names::{self, BitNames, OPEN_FLAGS, RESOLVE_FLAGS, bits_into, open_flags, resolve_flags},
    syscall::{ExitPart, Source},
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
        Source::Ret => Some(returned(facts, param.ty)),
        Source::Moved => plain(Raw::Uint(u64::try_from(facts.event.header.ret).ok()?)),
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
            let asked = open_flags(evt::argument(facts, index) as u32);
            Some(bits(facts, asked | evt::created_bit(facts), OPEN_FLAGS))
        }
        Source::HowFlags => {
            let asked = open_flags(evt::how(facts, 0)? as u32);
            Some(bits(facts, asked | evt::created_bit(facts), OPEN_FLAGS))
        }
        Source::HowResolve => Some(bits(facts, resolve_flags(evt::how(facts, 2)?), RESOLVE_FLAGS)),
        Source::HowMode => plain(Raw::Octal(evt::creation_mode(facts))),
        Source::Mode(index) => match param.ty {
            ParamType::Mode => Some(bits(facts, evt::argument(facts, index) as u32, &MODE_BITS)),
            _ => plain(Raw::Octal(evt::creation_mode(facts))),
        },
        Source::Dev => plain(Raw::Uint(u64::from(facts.event.file()?.dev))),
        Source::Ino => plain(Raw::Uint(facts.event.file()?.ino)),
        Source::Named(index, name) => Some(named(evt::argument(facts, index), name)),
        Source::Option(level, option) => Some(socket_option(facts, level, option)),
        Source::Device(index) => plain(Raw::Uint(u64::from(kernel_device(evt::argument(facts, index))))),
        Source::FilePath => plain(Raw::Bytes(facts.real_path()?)),
        Source::Text => plain(Raw::Bytes(facts.event.attr(AttrTag::Text)?.bytes)),
        Source::TaskName if names_task(facts) => plain(Raw::Bytes(facts.event.attr(AttrTag::Text)?.bytes)),
        Source::TaskName => plain(Raw::Bytes(b"")),
        Source::TaskNumber if names_task(facts) => plain(Raw::Int(0)),
        Source::TaskNumber => plain(Raw::Int(evt::argument(facts, 1) as i64)),
        Source::Data => plain(Raw::Bytes(facts.event.attr(AttrTag::Data)?.bytes)),
        Source::Word(index) => {
            let word = word(facts, index)?;
            Some(match param.ty {
                ParamType::Fd => number(facts, param.ty, i64::from(word as i32), false),
                _ => Parameter { raw: Raw::Uint(u64::from(word)), resolved: None },
            })
        }
        Source::WordBits(index, names) => Some(bits(facts, word(facts, index)?, names)),
        Source::Long(index) => plain(Raw::Int(long(facts, index)? as i64)),
        Source::LongBits(index, names) => Some(bits(facts, long(facts, index)? as u32, names)),
        Source::Backlog => plain(Raw::Uint(u64::from(backlog(facts)?.0))),
        Source::BacklogMax => plain(Raw::Uint(u64::from(backlog(facts)?.1))),
        Source::BacklogShare => {
            let (waiting, limit) = backlog(facts)?;
            plain(Raw::Uint(u64::from(waiting) * 100 / u64::from(limit.max(1))))
        }
        Source::CallName => {
            let number = u64::from(facts.event.header.syscall);
            Some(Parameter {
                raw: Raw::Uint(number),
                resolved: facts.row.event.def().map(|def| def.name.as_bytes()),
            })
        }
        Source::CallNumber => plain(Raw::Uint(u64::from(facts.event.header.syscall))),
        Source::Exit(part) => Some(exit(facts, part)),
        Source::Tuple => plain(Raw::Bytes(fd::tuple_text(facts)?)),
        Source::Addr => plain(Raw::Bytes(fd::address_text(facts)?)),
        Source::Process(fact) => process::fact(facts, fact),
    }
}

/// The return value; ids that a call for ids gives cannot fail.
fn returned<'e>(facts: &Facts<'e>, ty: ParamType) -> Parameter<'e> {
    let ret = facts.event.header.ret;
    match ty {
        ParamType::Uint(_) => Parameter { raw: Raw::Hex(ret as u64), resolved: None },
        _ => number(facts, ty, ret, true),
    }
}

/// One of several named numbers.
fn named<'e>(value: u64, name: fn(u64) -> Option<&'static str>) -> Parameter<'e> {
    // Registers are wider than these arguments.
    let value = u64::from(value as u32);
    Parameter { raw: Raw::Uint(value), resolved: name(value).map(str::as_bytes) }
}

/// What a socket option is called depends on its level.
fn socket_option<'e>(facts: &Facts<'e>, level: u8, option: u8) -> Parameter<'e> {
    let low = |index| u64::from(evt::argument(facts, index) as u32);
    let (level, option) = (low(level), low(option));
    let name = match level {
        1 => names::socket_option(option),
        _ => names::membership_option(level, option),
    };
    Parameter { raw: Raw::Uint(option), resolved: name.map(str::as_bytes) }
}

/// A device number as programs write it, in the kernel's own encoding.
fn kernel_device(user: u64) -> u32 {
    let user = user as u32;
    let (major, minor) = ((user >> 8) & 0xfff, (user & 0xff) | ((user >> 12) & 0xf_ff00));
    major << 20 | minor
}

/// Whether a `prctl` is about the name of the thread.
fn names_task(facts: &Facts<'_>) -> bool {
    matches!(evt::argument(facts, 0) as i32, libc::PR_SET_NAME | libc::PR_GET_NAME)
}

fn word(facts: &Facts<'_>, index: u8) -> Option<u32> {
    let (words, _) = facts.event.attr(AttrTag::Bytes)?.bytes.as_chunks::<4>();
    words.get(usize::from(index)).map(|word| u32::from_ne_bytes(*word))
}

fn long(facts: &Facts<'_>, index: u8) -> Option<u64> {
    let (words, _) = facts.event.attr(AttrTag::Bytes)?.bytes.as_chunks::<8>();
    words.get(usize::from(index)).map(|word| u64::from_ne_bytes(*word))
}

/// Connections that wait on the listening socket, and how many may.
fn backlog(facts: &Facts<'_>) -> Option<(u32, u32)> {
    match facts.event.attr(AttrTag::Backlog)?.bytes.as_chunks::<4>().0 {
        [waiting, limit] => Some((u32::from_ne_bytes(*waiting), u32::from_ne_bytes(*limit))),
        _ => None,
    }
}

/// A part of the status that a process ended with.
fn exit<'e>(facts: &Facts<'e>, part: ExitPart) -> Parameter<'e> {
    let status = facts.event.header.ret as u64;
    let raw = match part {
        ExitPart::Status => Raw::Int(status as i64),
        ExitPart::Code => Raw::Int(i64::from((status >> 8) as u8)),
        ExitPart::Signal => return named(status & 0x7f, names::signal_name),
        ExitPart::Core => Raw::Uint(status >> 7 & 1),
    };
    Parameter { raw, resolved: None }
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
