//! The control group a task is in, as a path.

use rampart_common::{
    event::{ATTR_TRUNCATED, AttrTag},
    member::Member as M,
};

use crate::{
    read::{Raw, Typed, has, layout},
    record::Record,
};

/// Levels followed; container runtimes use six at the most.
const DEPTH: u32 = 16;

/// Writes the path of the v2 group, or of the `pids` group when the task is in v2's root.
#[inline(always)]
pub(crate) fn put(record: Record, task: Typed) {
    let set = task.follow(M::TaskCgroups).raw();
    let mut node = node(set.follow(M::CssSetDfl));
    if node.follow(M::KernfsParent).is_null() && has(M::PidsSubsys) {
        let subsys = Raw(set.load_at(layout(M::CssSetSubsys) + layout(M::PidsSubsys) * 8));
        let pids = self::node(subsys.follow(M::CssCgroup));
        if !pids.is_null() {
            node = pids;
        }
    }
    let Some(attr) = record.open(AttrTag::Cgroup) else { return };
    let mut flags = ATTR_TRUNCATED;
    for _ in 0..DEPTH {
        let parent = node.follow(M::KernfsParent);
        if parent.is_null() {
            flags = 0;
            break;
        }
        if !record.push_name(attr, node.follow(M::KernfsName)) {
            break;
        }
        node = parent;
    }
    record.close(attr, flags);
}

#[inline(always)]
fn node(cgroup: Raw) -> Raw {
    if cgroup.is_null() { cgroup } else { cgroup.follow(M::CgroupKn) }
}
