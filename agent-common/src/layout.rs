//! Size and offset assertions of every type that crosses the kernel border. Checked at compile time, for both
//! targets.

use core::mem::offset_of;

use crate::{
    counter::FamilyCounters,
    event::{
        Answer, AnswerCounters, AttrHeader, Control, ExecFacts, FileFacts, RecordHeader, SocketFacts,
        SyscallPlan, TaskFacts, UsageFacts,
    },
};

const _: () = assert!(size_of::<TaskFacts>() == 144);
const _: () = assert!(offset_of!(TaskFacts, pid) == 56);
const _: () = assert!(offset_of!(TaskFacts, comm) == 128);
const _: () = assert!(size_of::<RecordHeader>() == 280);
const _: () = assert!(offset_of!(RecordHeader, task) == 32);
const _: () = assert!(offset_of!(RecordHeader, syscall) == 176);
const _: () = assert!(offset_of!(RecordHeader, ret) == 224);
const _: () = assert!(size_of::<AttrHeader>() == 8);
const _: () = assert!(size_of::<FileFacts>() == 56);
const _: () = assert!(size_of::<SocketFacts>() == 64);
const _: () = assert!(size_of::<ExecFacts>() == 24);
const _: () = assert!(size_of::<UsageFacts>() == 48);
const _: () = assert!(size_of::<Control>() == 16);
const _: () = assert!(size_of::<FamilyCounters>() == 48);
const _: () = assert!(size_of::<SyscallPlan>() == 24);
const _: () = assert!(size_of::<Answer>() == 1480);
const _: () = assert!(size_of::<AnswerCounters>() == 16);
