//! Class `evt`: the event itself.

use rampart_common::event::{AttrTag, FILE_CREATED, Family};
use rampart_rules::{
    catalog::{
        Category, EventKind as DefKind, FieldId, READS_FD, WAITS, WRITES_FD, event, event_ids as ev, ids,
    },
    value::{FieldArg, Value},
};

use super::{Facts, args};
use crate::{
    engine::clock::{Clock, iso_into},
    event::{
        EventKind,
        names::{OPEN_CREAT, OPEN_CREATED, OPEN_READ, OPEN_TMPFILE, OPEN_WRITE, errno_name, open_flags},
    },
};

const SECOND_NS: u64 = 1_000_000_000;

/// Fields the kernel programs do not deliver yet.
pub(super) const UNFILLED: &[FieldId] = &[
    ids::EVT_COUNT_PROCINFO,
    ids::EVT_COUNT_THREADINFO,
    ids::EVT_AROUND,
    ids::EVT_INFRA_DOCKER_NAME,
    ids::EVT_INFRA_DOCKER_CONTAINER_ID,
    ids::EVT_INFRA_DOCKER_CONTAINER_NAME,
    ids::EVT_INFRA_DOCKER_CONTAINER_IMAGE,
    ids::EVT_PLUGINNAME,
    ids::EVT_PLUGININFO,
    ids::EVT_ASYNCTYPE,
];

pub(super) fn get<'e>(facts: &Facts<'e>, field: FieldId, arg: FieldArg<'_>) -> Option<Value<'e>> {
    let def = facts.row.event.def()?;
    let wall = || facts.context.clock.wall_ns(facts.event.header.time_ns);
    Some(match field {
        ids::EVT_TYPE => Value::Bytes(def.name.as_bytes()),
        ids::EVT_TYPE_IS => match arg {
            FieldArg::Key(name) => Value::Uint(u64::from(event(name) == Some(facts.row.event))),
            _ => return None,
        },
        ids::SYSCALL_TYPE => match def.kind {
            DefKind::Syscall => Value::Bytes(def.name.as_bytes()),
            _ => return None,
        },
        ids::EVT_NUM => Value::Uint(facts.position.number),
        ids::EVT_ARG => args::text(facts, arg)?,
        ids::EVT_RAWARG => args::raw(facts, arg)?,
        ids::EVT_ARGS | ids::EVT_INFO => Value::Bytes(args::all(facts)),
        ids::EVT_ABSPATH => Value::Bytes(absolute_path(facts, arg)?),
        ids::EVT_RES => Value::Bytes(result_name(facts)?),
        ids::EVT_RAWRES => Value::Int(result(facts)?),
        ids::EVT_FAILED => Value::Bool(result(facts)? < 0),
        ids::EVT_IS_OPEN_READ => Value::Bool(open_bits(facts) & OPEN_READ != 0),
        ids::EVT_IS_OPEN_WRITE => Value::Bool(open_bits(facts) & OPEN_WRITE != 0),
        ids::EVT_IS_OPEN_CREATE => Value::Bool(facts.row.family == Family::Open && created_bit(facts) != 0),
        ids::EVT_BUFFER => Value::Bytes(facts.event.attr(AttrTag::Data)?.bytes),
        ids::EVT_BUFLEN => moved(facts, None, 0)?,
        ids::EVT_BUFLEN_IN => moved(facts, None, READS_FD)?,
        ids::EVT_BUFLEN_OUT => moved(facts, None, WRITES_FD)?,
        ids::EVT_BUFLEN_FILE => moved(facts, Some(false), 0)?,
        ids::EVT_BUFLEN_FILE_IN => moved(facts, Some(false), READS_FD)?,
        ids::EVT_BUFLEN_FILE_OUT => moved(facts, Some(false), WRITES_FD)?,
        ids::EVT_BUFLEN_NET => moved(facts, Some(true), 0)?,
        ids::EVT_BUFLEN_NET_IN => moved(facts, Some(true), READS_FD)?,
        ids::EVT_BUFLEN_NET_OUT => moved(facts, Some(true), WRITES_FD)?,
        ids::EVT_IS_OPEN_EXEC => Value::Bool(open_executable(facts)),
        ids::EVT_DIR => Value::Bytes(b"<"),
        ids::EVT_SOURCE => Value::Bytes(b"syscall"),
        ids::EVT_HOSTNAME => Value::Bytes(facts.context.hostname.as_bytes()),
        ids::EVT_IS_ASYNC | ids::EVT_IS_SYSLOG => Value::Bool(false),
        ids::EVT_CPU => Value::Int(i64::from(facts.event.header.cpu)),
        ids::EVT_CATEGORY => Value::Bytes(facts.string(|out| out.push_str(&def.category.to_string()))),
        ids::EVT_IS_IO => Value::Bool(def.flags & (READS_FD | WRITES_FD) != 0),
        ids::EVT_IS_IO_READ => Value::Bool(def.flags & READS_FD != 0),
        ids::EVT_IS_IO_WRITE => Value::Bool(def.flags & WRITES_FD != 0),
        ids::EVT_IO_DIR => match def.flags & (READS_FD | WRITES_FD) {
            READS_FD => Value::Bytes(b"read"),
            WRITES_FD => Value::Bytes(b"write"),
            _ => return None,
        },
        ids::EVT_IS_WAIT => Value::Bool(def.flags & WAITS != 0),
        ids::EVT_COUNT | ids::EVT_COUNT_EXIT => Value::Uint(1),
        ids::EVT_COUNT_ERROR => Value::Uint(u64::from(result(facts).is_some_and(|ret| ret < 0))),
        ids::EVT_COUNT_ERROR_FILE => count_error(facts, &[Category::File]),
        ids::EVT_COUNT_ERROR_NET => count_error(facts, &[Category::Net]),
        ids::EVT_COUNT_ERROR_MEMORY => count_error(facts, &[Category::Memory]),
        ids::EVT_COUNT_ERROR_OTHER => {
            let named = [Category::File, Category::Net, Category::Memory].contains(&def.category);
            Value::Uint(u64::from(!named && result(facts).is_some_and(|ret| ret < 0)))
        }
        // Only exits are recorded, so nothing lies between entry and exit.
        ids::EVT_LATENCY | ids::EVT_LATENCY_S | ids::EVT_LATENCY_NS | ids::EVT_WAIT_LATENCY => Value::Int(0),
        ids::EVT_LATENCY_QUANTIZED => Value::Uint(0),
        ids::EVT_LATENCY_HUMAN => Value::Bytes(b"0ns"),
        ids::EVT_TIME | ids::EVT_OUTPUTTIME => local(facts, |clock, out| clock.time_into(wall(), out)),
        ids::EVT_TIME_S => local(facts, |clock, out| clock.time_seconds_into(wall(), out)),
        ids::EVT_TIME_ISO8601 => local(facts, |_, out| iso_into(wall(), "+0000", out)),
        ids::EVT_DATETIME => local(facts, |clock, out| clock.date_into(wall(), out)),
        ids::EVT_DATETIME_S => local(facts, |clock, out| clock.date_seconds_into(wall(), out)),
        ids::EVT_RAWTIME => Value::Uint(wall()),
        ids::EVT_RAWTIME_S => Value::Uint(wall() / SECOND_NS),
        ids::EVT_RAWTIME_NS => Value::Uint(wall() % SECOND_NS),
        ids::EVT_RELTIME => span(since_first(facts)),
        ids::EVT_RELTIME_S => span(since_first(facts) / SECOND_NS),
        ids::EVT_RELTIME_NS => span(since_first(facts) % SECOND_NS),
        ids::EVT_DELTATIME => span(since_previous(facts)),
        ids::EVT_DELTATIME_S => span(since_previous(facts) / SECOND_NS),
        ids::EVT_DELTATIME_NS => span(since_previous(facts) % SECOND_NS),
        _ => return None,
    })
}

/// Falco's open flags of an open event; 0 for every other event, `creat` included.
pub(super) fn open_bits(facts: &Facts<'_>) -> u32 {
    *facts.open_bits.get_or_init(|| match facts.row.event {
        ev::OPEN => open_flags(argument(facts, 1) as u32),
        ev::OPENAT | ev::OPEN_BY_HANDLE_AT => open_flags(argument(facts, 2) as u32),
        ev::OPENAT2 => open_flags(how(facts, 0).unwrap_or(0) as u32),
        _ => 0,
    })
}

/// Falco's bit for a file that this call made.
pub(super) fn created_bit(facts: &Facts<'_>) -> u32 {
    let made = facts.event.file().is_some_and(|file| file.flags & FILE_CREATED != 0);
    if made { OPEN_CREATED } else { 0 }
}

/// Bytes that an input or output event moved, if it went that way and to that kind of descriptor.
fn moved<'e>(facts: &Facts<'_>, socket: Option<bool>, direction: u8) -> Option<Value<'e>> {
    let flags = facts.row.event.def()?.flags & (READS_FD | WRITES_FD);
    let fits = flags != 0
        && (direction == 0 || flags & direction != 0)
        && socket.is_none_or(|socket| facts.event.socket().is_some() == socket);
    fits.then(|| result(facts)).flatten().and_then(|ret| u64::try_from(ret).ok()).map(Value::Uint)
}

/// Mode of a call that may make a file; 0 when it does not.
pub(super) fn creation_mode(facts: &Facts<'_>) -> u32 {
    let mode = match facts.row.event {
        ev::CREAT => return argument(facts, 1) as u32,
        ev::OPEN => argument(facts, 2),
        ev::OPENAT => argument(facts, 3),
        ev::OPENAT2 => how(facts, 1).unwrap_or(0),
        _ => return 0,
    };
    // Without these flags the register holds whatever was in it.
    if open_bits(facts) & (OPEN_CREAT | OPEN_TMPFILE) == 0 { 0 } else { mode as u32 }
}

/// One of the three words of `open_how`.
pub(super) fn how(facts: &Facts<'_>, word: usize) -> Option<u64> {
    let bytes = facts.event.attr(AttrTag::OpenHow)?.bytes;
    let (words, _) = bytes.as_chunks::<8>();
    words.get(word).map(|word| u64::from_ne_bytes(*word))
}

pub(super) fn argument(facts: &Facts<'_>, index: u8) -> u64 {
    facts.event.header.args.get(usize::from(index)).copied().unwrap_or(0)
}

/// Appends the name of an error, or the plain number if it has none. `ret` is negative.
pub(super) fn error_into(ret: i64, out: &mut Vec<u8>) {
    match u32::try_from(-ret).ok().and_then(errno_name) {
        Some(name) => out.extend_from_slice(name.as_bytes()),
        None => out.extend_from_slice(ret.to_string().as_bytes()),
    }
}

fn open_executable(facts: &Facts<'_>) -> bool {
    creation_mode(facts) & 0o111 != 0
}

/// Return value; `None` for events that have none.
fn result(facts: &Facts<'_>) -> Option<i64> {
    match facts.event.kind {
        EventKind::Exit => None,
        EventKind::Exec | EventKind::Fork => Some(0),
        EventKind::Syscall => Some(facts.event.header.ret),
    }
}

fn result_name<'e>(facts: &Facts<'e>) -> Option<&'e [u8]> {
    let ret = result(facts)?;
    if ret >= 0 {
        return Some(b"SUCCESS");
    }
    Some(facts.text(|out| error_into(ret, out)))
}

fn absolute_path<'e>(facts: &Facts<'e>, arg: FieldArg<'_>) -> Option<&'e [u8]> {
    match arg {
        FieldArg::Key("path" | "src") => facts.path(AttrTag::UserPath),
        FieldArg::Key("dst") => facts.path(AttrTag::UserPath2),
        _ => None,
    }
}

fn count_error<'e>(facts: &Facts<'_>, categories: &[Category]) -> Value<'e> {
    let counted = facts.row.event.def().is_some_and(|def| categories.contains(&def.category));
    Value::Uint(u64::from(counted && result(facts).is_some_and(|ret| ret < 0)))
}

fn local<'e>(facts: &Facts<'e>, write: impl FnOnce(&Clock, &mut String)) -> Value<'e> {
    Value::Bytes(facts.string(|out| write(facts.context.clock, out)))
}

fn since_first(facts: &Facts<'_>) -> u64 {
    facts.event.header.time_ns.saturating_sub(facts.position.first_ns)
}

fn since_previous(facts: &Facts<'_>) -> u64 {
    match facts.position.previous_ns {
        0 => 0,
        previous => facts.event.header.time_ns.saturating_sub(previous),
    }
}

fn span<'e>(ns: u64) -> Value<'e> {
    Value::Int(i64::try_from(ns).unwrap_or(i64::MAX))
}
