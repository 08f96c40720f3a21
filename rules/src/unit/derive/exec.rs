//! Started programs.

use crate::{
    catalog::{event_ids as ev, ids},
    typed::Arg,
    unit::{
        call::{Call, Given},
        derive::{path, set, text},
        event::{Event, Held},
    },
    value::Value,
};

/// Longest name the kernel keeps, bytes.
const COMM: usize = 15;

/// A program that was started replaces what its process was.
pub(super) fn fill(event: &mut Event<'_>, call: &Call) {
    if matches!(call.event, ev::EXECVE | ev::EXECVEAT) && call.succeeded() {
        started(event, call);
    }
    // The command line follows from its parts, whoever gave them.
    let (name, args) = (event.owned(ids::PROC_NAME), event.owned(ids::PROC_ARGS));
    let line = |first: Vec<u8>| match &args {
        Some(args) if !args.is_empty() => [first.as_slice(), b" ", args].concat(),
        _ => first,
    };
    if args.is_some() {
        if let Some(name) = name {
            text(event, ids::PROC_CMDLINE, &line(name));
        }
        if let Some(exe) = event.owned(ids::PROC_EXE) {
            text(event, ids::PROC_EXELINE, &line(exe));
        }
    }
}

fn started(event: &mut Event<'_>, call: &Call) {
    let file = call.text("filename").or_else(|| call.text("pathname"));
    if let Some(file) = file.filter(|file| !file.is_empty()) {
        let whole = path::absolute(event, file);
        text(event, ids::PROC_EXEPATH, &whole);
        let start = file.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
        let name = file.get(start..).unwrap_or_default();
        text(event, ids::PROC_NAME, name.get(..COMM).unwrap_or(name));
    }
    if let Some(Given::Texts(words)) = call.arg("args") {
        let args = words.get(1..).unwrap_or_default();
        text(event, ids::PROC_EXE, words.first().map_or(&[], Vec::as_slice));
        text(event, ids::PROC_ARGS, &args.join(&b' '));
        for (arg, index) in args.iter().zip(0..) {
            event.set_missing(ids::PROC_ARGS, Arg::Index(index), Held::Text(arg.clone()));
        }
        set(event, ids::PROC_CMDNARGS, Value::Uint(args.len() as u64));
        set(event, ids::PROC_CMDLENARGS, Value::Uint(args.iter().map(Vec::len).sum::<usize>() as u64));
        let key = |name: &str| Arg::Key(name.into());
        let exe = words.first().cloned().unwrap_or_default();
        event.set_missing(ids::EVT_ARG, key("exe"), Held::Text(exe));
    }
    if let Some(Given::Texts(variables)) = call.arg("env") {
        text(event, ids::PROC_ENV, &variables.join(&b' '));
        for variable in variables {
            let text = String::from_utf8_lossy(variable);
            if let Some((name, value)) = text.split_once('=') {
                event.set_missing(
                    ids::PROC_ENV,
                    Arg::Key(name.into()),
                    Held::Text(value.as_bytes().to_vec()),
                );
            }
        }
    }
    let flags = call.text("flags").map(|flags| String::from_utf8_lossy(flags).into_owned());
    for (flag, field) in [
        ("EXE_WRITABLE", ids::PROC_IS_EXE_WRITABLE),
        ("EXE_UPPER_LAYER", ids::PROC_IS_EXE_UPPER_LAYER),
        ("EXE_LOWER_LAYER", ids::PROC_IS_EXE_LOWER_LAYER),
        ("EXE_FROM_MEMFD", ids::PROC_IS_EXE_FROM_MEMFD),
    ] {
        if let Some(flags) = &flags {
            set(event, field, Value::Bool(flags.split('|').any(|known| known == flag)));
        }
    }
}
