//! The descriptor of the event.

use crate::{
    catalog::{CREATES_FD, EventDef, event_ids as ev, ids},
    unit::{
        call::Call,
        derive::{has_fd, path, set, text},
        event::Event,
    },
    value::Value,
};

/// Kinds of descriptors that calls make: the call, the kind and its letter.
const MADE: [(crate::catalog::EventId, &str, &str); 21] = [
    (ev::EPOLL_CREATE, "eventpoll", "l"),
    (ev::EPOLL_CREATE1, "eventpoll", "l"),
    (ev::EVENTFD, "event", "e"),
    (ev::EVENTFD2, "event", "e"),
    (ev::SIGNALFD, "signalfd", "s"),
    (ev::SIGNALFD4, "signalfd", "s"),
    (ev::TIMERFD_CREATE, "timerfd", "t"),
    (ev::INOTIFY_INIT, "inotify", "i"),
    (ev::INOTIFY_INIT1, "inotify", "i"),
    (ev::MEMFD_CREATE, "memfd", "m"),
    (ev::PIDFD_OPEN, "pidfd", "P"),
    (ev::BPF, "bpf", "b"),
    (ev::USERFAULTFD, "userfaultfd", "u"),
    (ev::IO_URING_SETUP, "io_uring", "r"),
    (ev::PIPE, "pipe", "p"),
    (ev::PIPE2, "pipe", "p"),
    (ev::OPEN, "file", "f"),
    (ev::OPENAT, "file", "f"),
    (ev::OPENAT2, "file", "f"),
    (ev::CREAT, "file", "f"),
    (ev::OPEN_BY_HANDLE_AT, "file", "f"),
];

/// What an open was for. On all other calls these are false, not missing.
pub(super) fn opened(event: &mut Event<'_>, call: &Call) {
    let opens = matches!(call.event, ev::OPEN | ev::OPENAT | ev::OPENAT2 | ev::OPEN_BY_HANDLE_AT);
    let given = call.text("flags").map(|flags| String::from_utf8_lossy(flags).into_owned());
    let flags: Vec<&str> = given.as_deref().unwrap_or("").split('|').map(str::trim).collect();
    let has = |flag: &str| flags.contains(&flag);
    let (write, both) = (has("O_WRONLY"), has("O_RDWR"));
    let creates = call.event == ev::CREAT || (opens && (has("O_CREAT") || has("O_TMPFILE")));
    let runs = call.number("mode").is_some_and(|mode| mode & 0o111 != 0);
    if opens && given.is_none() {
        // Nothing tells how it was opened.
        return;
    }
    set(event, ids::EVT_IS_OPEN_READ, Value::Bool(opens && !write));
    set(event, ids::EVT_IS_OPEN_WRITE, Value::Bool(opens && (write || both)));
    set(event, ids::EVT_IS_OPEN_EXEC, Value::Bool(creates && runs));
    set(event, ids::EVT_IS_OPEN_CREATE, Value::Bool(has("O_F_CREATED")));
}

/// Number, kind and name.
pub(super) fn fill(event: &mut Event<'_>, call: &Call, def: &EventDef) {
    if !has_fd(def) {
        return;
    }
    let creates = def.flags & CREATES_FD != 0;
    if creates {
        match call.result {
            Some(result) => set(event, ids::FD_NUM, Value::Int(if call.succeeded() { result } else { -1 })),
            None if !call.succeeded() => set(event, ids::FD_NUM, Value::Int(-1)),
            None => {}
        }
    } else if let Some(number) = call.number("fd") {
        set(event, ids::FD_NUM, Value::Int(number));
    }
    if let Some((_, kind, letter)) = MADE.iter().find(|(event, ..)| *event == call.event) {
        let flags = call.text("flags").unwrap_or_default();
        let directory =
            *kind == "file" && flags.split(|&byte| byte == b'|').any(|flag| flag == b"O_DIRECTORY");
        let (kind, letter) = if directory { ("directory", "d") } else { (*kind, *letter) };
        text(event, ids::FD_TYPE, kind.as_bytes());
        text(event, ids::FD_TYPECHAR, letter.as_bytes());
        if let Some(given) = path::only(call) {
            text(event, ids::FD_NAMERAW, &single_slashes(given));
            let name =
                if call.event == ev::MEMFD_CREATE { given.to_vec() } else { path::absolute(event, given) };
            text(event, ids::FD_NAME, &name);
        }
    }
    file(event);
}

/// Directory and last component of a path.
fn file(event: &mut Event<'_>) {
    let Some(name) = event.owned(ids::FD_NAME).filter(|name| name.starts_with(b"/")) else { return };
    text(event, ids::FD_TYPE, b"file");
    let directory = event.value(ids::FD_TYPE) == Value::Bytes(b"directory");
    text(event, ids::FD_TYPECHAR, if directory { b"d" } else { b"f" });
    if !matches!(event.value(ids::FD_TYPE), Value::Bytes(b"file" | b"directory")) {
        return;
    }
    let slash = name.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
    let parent = name.get(..slash.max(1)).unwrap_or_default();
    text(event, ids::FD_DIRECTORY, if directory { &name } else { parent });
    text(event, ids::FD_FILENAME, name.get(slash + 1..).unwrap_or_default());
}

fn single_slashes(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    for &byte in path {
        if byte != b'/' || out.last() != Some(&b'/') {
            out.push(byte);
        }
    }
    out
}
