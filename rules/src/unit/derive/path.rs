//! Paths: as given, as shown, as fields of class `fs.path`.

use crate::{
    catalog::{FieldId, event_ids as ev, ids},
    typed::Arg,
    unit::{
        call::Call,
        derive::text,
        event::{Event, Held},
    },
    value::Value,
};

/// A path as seen from the working directory, without `.`, `..` and repeated slashes.
pub(super) fn absolute(event: &Event<'_>, path: &[u8]) -> Vec<u8> {
    if path.starts_with(b"/") {
        return joined(b"/", path);
    }
    match event.value(ids::PROC_CWD) {
        Value::Bytes(directory) => joined(directory, path),
        _ => path.to_vec(),
    }
}

/// A path argument: an absolute one as given, a relative one joined.
pub(super) fn shown(event: &Event<'_>, path: &[u8]) -> Vec<u8> {
    if path.starts_with(b"/") { path.to_vec() } else { absolute(event, path) }
}

/// Joins text only: links are not followed.
fn joined(base: &[u8], path: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in base.split(|&byte| byte == b'/').chain(path.split(|&byte| byte == b'/')) {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop();
            }
            name => parts.push(name),
        }
    }
    [b"/", parts.join(&b'/').as_slice()].concat()
}

/// The paths of calls that succeeded.
pub(super) fn fill(event: &mut Event<'_>, call: &Call) {
    at(event, call);
    if !call.succeeded() {
        return;
    }
    match call.event {
        ev::RENAME | ev::RENAMEAT | ev::RENAMEAT2 => two(event, call, "oldpath", "newpath"),
        ev::LINK | ev::LINKAT => two(event, call, "newpath", "oldpath"),
        ev::SYMLINK | ev::SYMLINKAT => symlink(event, call),
        ev::MOUNT => two(event, call, "dev", "dir"),
        ev::OPEN
        | ev::OPENAT
        | ev::OPENAT2
        | ev::OPEN_BY_HANDLE_AT
        | ev::CREAT
        | ev::MKDIR
        | ev::MKDIRAT
        | ev::RMDIR
        | ev::UNLINK
        | ev::UNLINKAT
        | ev::CHMOD
        | ev::FCHMODAT
        | ev::CHOWN
        | ev::LCHOWN
        | ev::FCHOWNAT
        | ev::UMOUNT
        | ev::UMOUNT2
        | ev::MKNOD
        | ev::MKNODAT => {
            if let Some(given) = only(call) {
                text(event, ids::FS_PATH_NAMERAW, given);
                let path = absolute(event, given);
                text(event, ids::FS_PATH_NAME, &path);
            }
        }
        _ => {}
    }
}

/// The one path of a call.
pub(super) fn only(call: &Call) -> Option<&[u8]> {
    ["name", "path", "filename", "pathname"].into_iter().find_map(|name| call.text(name))
}

fn two(event: &mut Event<'_>, call: &Call, source: &str, target: &str) {
    one(event, call.text(source), ids::FS_PATH_SOURCE, ids::FS_PATH_SOURCERAW);
    one(event, call.text(target), ids::FS_PATH_TARGET, ids::FS_PATH_TARGETRAW);
}

fn one(event: &mut Event<'_>, given: Option<&[u8]>, field: FieldId, raw: FieldId) {
    let Some(given) = given else { return };
    text(event, raw, given);
    let path = absolute(event, given);
    text(event, field, &path);
}

/// A relative target is relative to the directory the link lies in.
fn symlink(event: &mut Event<'_>, call: &Call) {
    one(event, call.text("linkpath"), ids::FS_PATH_SOURCE, ids::FS_PATH_SOURCERAW);
    let Some(target) = call.text("target") else { return };
    text(event, ids::FS_PATH_TARGETRAW, target);
    let link = call.text("linkpath").map(|link| absolute(event, link));
    let path = match link {
        Some(link) if !target.starts_with(b"/") => {
            let end = link.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
            joined(link.get(..end).unwrap_or_default(), target)
        }
        _ => absolute(event, target),
    };
    text(event, ids::FS_PATH_TARGET, &path);
}

/// `evt.abspath` of calls that take a directory beside a path.
fn at(event: &mut Event<'_>, call: &Call) {
    let name = call.event.def().map_or("", |def| def.name);
    if !name.contains("at") || call.event == ev::CREAT {
        return;
    }
    if let Some(given) = only(call) {
        let path = absolute(event, given);
        text(event, ids::EVT_ABSPATH, &path);
    }
    for (key, arg) in [("src", "oldpath"), ("dst", "newpath")] {
        if let Some(given) = call.text(arg) {
            let path = absolute(event, given);
            event.set_missing(ids::EVT_ABSPATH, Arg::Key(key.into()), Held::Text(path));
        }
    }
}
