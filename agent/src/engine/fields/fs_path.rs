//! Class `fs.path`: paths of file system calls that did what they were asked to.

use rampart_common::event::{AttrTag, Family};
use rampart_rules::{
    catalog::{FieldId, event_ids as ev, ids},
    value::Value,
};

use super::{Facts, View};
use crate::event::lexical;

pub(super) fn get<'e>(facts: &Facts<'e>, view: View, field: FieldId) -> Option<Value<'e>> {
    if !facts.succeeded() || !matches!(facts.row.family, Family::Open | Family::Path) {
        return None;
    }
    let raw = |tag| facts.event.attr(tag).map(|attr| attr.bytes);
    let shown = |tag| match view {
        View::Real => facts.real_argument(tag).or_else(|| facts.path(tag)),
        View::Lexical => facts.path(tag),
    };
    let symlink = matches!(facts.row.event, ev::SYMLINK | ev::SYMLINKAT);
    // The calls whose source is the new name, the target what it points to.
    let link = symlink || matches!(facts.row.event, ev::LINK | ev::LINKAT);
    let (first, second) = (AttrTag::UserPath, AttrTag::UserPath2);
    let (source, target) = if link { (second, first) } else { (first, second) };
    let two = raw(second).is_some();
    let path = match field {
        ids::FS_PATH_NAME if !two => shown(first),
        ids::FS_PATH_NAMERAW if !two => raw(first),
        ids::FS_PATH_REALNAME if !two => facts.real_argument(first),
        ids::FS_PATH_SOURCE if two => shown(source),
        ids::FS_PATH_SOURCERAW if two => raw(source),
        ids::FS_PATH_REALSOURCE if two => facts.real_argument(source),
        ids::FS_PATH_TARGET if two && symlink => symlink_target(facts, shown(source)?),
        ids::FS_PATH_TARGET if two => shown(target),
        ids::FS_PATH_TARGETRAW if two => raw(target),
        ids::FS_PATH_REALTARGET if two => facts.real_argument(target),
        _ => None,
    };
    path.map(Value::Bytes)
}

/// A relative target is relative to the directory the link lies in.
fn symlink_target<'e>(facts: &Facts<'e>, link: &[u8]) -> Option<&'e [u8]> {
    let target = facts.event.attr(AttrTag::UserPath)?.bytes;
    let end = memchr::memrchr(b'/', link).map_or(0, |slash| slash + 1);
    let directory = link.get(..end)?;
    Some(facts.text(|out| lexical::join(directory, target, facts.context.path_limit, out)))
}
