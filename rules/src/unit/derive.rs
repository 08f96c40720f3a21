//! What a call makes known: the fields of its event, as the agent would fill them.
//!
//! Fields that are already set stay as they are, so a person may state what no call tells (the process, the file
//! behind a descriptor) or contradict it. What nothing tells stays missing.

mod exec;
mod fd;
mod path;
mod socket;

use crate::{
    catalog::{
        CREATES_FD, EventDef, FieldId, MODE_BITS, Param, ParamType, READS_FD, USES_FD, WAITS, WRITES_FD,
        event_ids as ev, ids,
    },
    typed::Arg,
    unit::{
        call::{Call, Given},
        event::{Event, Held},
    },
    value::Value,
};

/// Sets the fields that follow from the call and from the fields already there.
pub(super) fn fill(event: &mut Event<'_>, call: &Call) {
    let Some(def) = call.event.def() else { return };
    text(event, ids::EVT_TYPE, def.name.as_bytes());
    text(event, ids::SYSCALL_TYPE, def.name.as_bytes());
    text(event, ids::EVT_CATEGORY, def.category.to_string().as_bytes());
    text(event, ids::EVT_SOURCE, b"syscall");
    text(event, ids::EVT_DIR, b"<");
    set(event, ids::EVT_NUM, Value::Uint(1));
    set(event, ids::EVT_COUNT, Value::Uint(1));
    result(event, call);
    data(event, call, def);
    fd::opened(event, call);
    exec::fill(event, call);
    socket::fill(event, call);
    fd::fill(event, call, def);
    path::fill(event, call);
    for (param, index) in def.params.iter().zip(0..) {
        argument(event, call, param, index);
    }
    if call.event == ev::CHDIR
        && call.succeeded()
        && let Some(given) = call.text("path")
    {
        let mut cwd = path::absolute(event, given);
        if !cwd.ends_with(b"/") {
            cwd.push(b'/');
        }
        // The directory given beside the call is the one it was made in.
        event.set(ids::PROC_CWD, Arg::None, Held::Text(cwd));
    }
}

/// Sets a field, unless it is set.
fn set(event: &mut Event<'_>, field: FieldId, value: Value<'static>) {
    event.set_missing(field, Arg::None, Held::One(value));
}

/// Sets a field to a text, unless it is set.
fn text(event: &mut Event<'_>, field: FieldId, value: &[u8]) {
    event.set_missing(field, Arg::None, Held::Text(value.to_vec()));
}

fn result(event: &mut Event<'_>, call: &Call) {
    let good = call.succeeded();
    let name = call.failure();
    set(event, ids::EVT_FAILED, Value::Bool(!good));
    match name {
        Some(name) => text(event, ids::EVT_RES, name.as_bytes()),
        None if good => text(event, ids::EVT_RES, b"SUCCESS"),
        None => {}
    }
    if let Some(result) = call.result {
        set(event, ids::EVT_RAWRES, Value::Int(result));
    } else if good {
        set(event, ids::EVT_RAWRES, Value::Int(0));
    }
}

/// What the call did with data.
fn data(event: &mut Event<'_>, call: &Call, def: &EventDef) {
    let (reads, writes) = (def.flags & READS_FD != 0, def.flags & WRITES_FD != 0);
    set(event, ids::EVT_IS_IO, Value::Bool(reads || writes));
    set(event, ids::EVT_IS_IO_READ, Value::Bool(reads));
    set(event, ids::EVT_IS_IO_WRITE, Value::Bool(writes));
    set(event, ids::EVT_IS_WAIT, Value::Bool(def.flags & WAITS != 0));
    if reads || writes {
        text(event, ids::EVT_IO_DIR, if reads { b"r" } else { b"w" });
    }
    if (reads || writes)
        && let Some(bytes) = call.text("data")
    {
        text(event, ids::EVT_BUFFER, bytes);
        let length = call.result.and_then(|result| u64::try_from(result).ok()).unwrap_or(bytes.len() as u64);
        set(event, ids::EVT_BUFLEN, Value::Uint(length));
    }
}

/// `evt.arg` and `evt.rawarg` of one parameter.
fn argument(event: &mut Event<'_>, call: &Call, param: &Param, index: u64) {
    let Some(def) = call.event.def() else { return };
    let returned = Call::result_param(def) == Some(param.name);
    let given = if returned { None } else { call.arg(param.name) };
    let number = match (given, event.value(ids::EVT_RAWRES)) {
        (Some(Given::Number(number)), _) => Some(*number),
        (None, Value::Int(result)) if returned => Some(result),
        _ => None,
    };
    if let Some(number) = number {
        event.set_missing(ids::EVT_RAWARG, Arg::Key(param.name.into()), Held::One(Value::Int(number)));
    }
    let shown = match given {
        Some(Given::Text(bytes)) if is_path(param) => path::shown(event, bytes),
        Some(Given::Text(bytes)) => bytes.clone(),
        Some(Given::Texts(texts)) => texts.get(1..).unwrap_or_default().join(&b' '),
        Some(Given::Word(word)) => word.clone().into_bytes(),
        Some(Given::End(end)) => end.to_string().into_bytes(),
        Some(Given::Tuple(client, server)) => format!("{client}->{server}").into_bytes(),
        Some(Given::Number(number)) => shown_number(event, param, *number),
        None => match number {
            Some(number) if number < 0 => {
                call.failure().map_or_else(|| number.to_string().into(), Into::into)
            }
            Some(number) => shown_number(event, param, number),
            None => return,
        },
    };
    for arg in [Arg::Key(param.name.into()), Arg::Index(index)] {
        event.set_missing(ids::EVT_ARG, arg, Held::Text(shown.clone()));
    }
}

fn is_path(param: &Param) -> bool {
    // The directory of `chdir` and `getcwd` is text, and stays as given.
    matches!(param.ty, ParamType::Path | ParamType::RelPath)
}

fn shown_number(event: &Event<'_>, param: &Param, number: i64) -> Vec<u8> {
    match param.ty {
        ParamType::Mode => {
            let set: Vec<&str> = MODE_BITS
                .iter()
                .filter(|(_, bit)| number & i64::from(*bit) != 0)
                .map(|&(name, _)| name)
                .collect();
            if set.is_empty() { b"0".to_vec() } else { set.join("|").into_bytes() }
        }
        ParamType::Uint(_) if param.name == "mode" && number != 0 => format!("0{number:o}").into_bytes(),
        ParamType::Fd if event.value(ids::FD_NUM) == Value::Int(number) => {
            match (event.value(ids::FD_TYPECHAR), event.value(ids::FD_NAME)) {
                (Value::Bytes(kind), Value::Bytes(name)) => [b"<", kind, b">", name].concat(),
                _ => number.to_string().into_bytes(),
            }
        }
        _ => number.to_string().into_bytes(),
    }
}

/// Whether the event is about a descriptor at all.
fn has_fd(def: &EventDef) -> bool {
    def.flags & (CREATES_FD | USES_FD) != 0
}
