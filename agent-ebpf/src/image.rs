//! Masks for the first moments of a process: those that hold for whoever runs the image, by its name and executable.
//!
//! They are put beside the facts of the process as they are now, like masks that the agent computed for it, and hold
//! as long as those would.

#![expect(
    clippy::needless_borrows_for_generic_args,
    reason = "by value keys and values would go over the stack"
)]

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use rampart_common::pushdown::{EPOCH_OF_IMAGE, ProcessEntry};

use crate::{
    judge::generation,
    maps::{IMAGES, PROCESSES},
    record::Record,
};

/// Gives the process whose exec this record tells the masks of its image, which is in the record's key. Without
/// such masks the process has none, for those of the image before hold no longer.
#[inline(always)]
pub(crate) fn specialise(record: Record) {
    let generation = generation();
    let key = record.image();
    if generation == 0 || key.path_len == 0 {
        return;
    }
    let task = &record.header().task;
    key.generation = generation;
    key.comm = task.comm;
    let Some(masks) = IMAGES.get_ptr(&*key) else { return };
    let entry: &mut ProcessEntry = record.entry();
    entry.start_ns = task.start_ns;
    entry.exec_id = task.exec_id;
    entry.cgroup_id = task.cgroup_id;
    entry.epoch = EPOCH_OF_IMAGE;
    entry.uid = task.uid;
    entry.euid = task.euid;
    entry.gid = task.gid;
    entry.egid = task.egid;
    entry.loginuid = task.loginuid;
    entry.generation = generation;
    entry.identity = 0;
    let size = size_of_val(&entry.masks) as u32;
    // By a helper, for the compiler's copy would go byte by byte.
    // SAFETY: both are this long. An entry is removed only when its rule set is in force no longer, which is checked
    // again before anything is rejected.
    unsafe { bpf_probe_read_kernel(entry.masks.as_mut_ptr().cast(), size, masks.cast()) };
    // When there is no room the process has no masks until some ends.
    let _ = PROCESSES.insert(&task.pid, &*entry, 0);
}
