//! Calls that open files: what is judged of their paths, and what is sent of them.

use rampart_common::event::{AttrTag, EXTRA_OPEN_HOW, SLOT_RETURN};

use super::step::{Begun, Step};
use crate::{
    cell::{
        BASE_AT, BASE_DENTRY, BASE_FIRST, BASE_MOUNT, BASE_NAMES, BASE_WHOLE, CALL, COMPLETE, FILE_DENTRY,
        FILE_MOUNT, FILE_NAMES, FILE_WHOLE, FROM_BASE_AT, FROM_BASE_NAMES, HEAD, LENGTH, RELATIVE,
        ROOT_DENTRY, ROOT_MOUNT, SAME, SHAPE, SKIP, TEXT, VERBATIM, WORDS,
    },
    file,
    judge::shadow_every,
    path::{self, Path},
    read::{Raw, user},
    recall,
    record::Record,
    scan::{Run, SCAN_BYTES},
    trace::{self, Known},
    trail::{Given, Trail},
};

impl Begun {
    /// What the call opens with, where it is not among its arguments.
    #[inline(always)]
    pub(super) fn how(&self) {
        if self.plan.extra_kind == EXTRA_OPEN_HOW {
            let how: [u64; 3] = user(self.record.arg(self.plan.extra));
            self.record.put(AttrTag::OpenHow, how);
            self.record.key().numbers = how;
        }
    }

    /// The file that the call opened.
    #[inline(always)]
    pub(super) fn opened(&self) -> Raw {
        if self.plan.fd == SLOT_RETURN { file::of(self.task, self.ret) } else { Raw(0) }
    }

    /// Writes the path as the program gave it, and notes where it is and where the file is; for a relative one also the
    /// directory that it starts from and the task's root.
    #[inline(always)]
    pub(super) fn given(&self, file: Raw) {
        let record = self.record;
        record.set_cell::<TEXT>(0);
        record.set_cell::<LENGTH>(0);
        record.set_cell::<RELATIVE>(0);
        record.set_cell::<CALL>(self.first.call());
        let (mut base, mut root) = (Path::NOWHERE, Path::NOWHERE);
        if self.plan.path != 0
            && let Some(payload) = record.put_user_text(AttrTag::UserPath, record.arg(self.plan.path))
        {
            let len = record.filled();
            record.set_cell::<TEXT>(payload);
            record.set_cell::<LENGTH>(len);
            if len == 0 || record.byte(payload) != b'/' {
                record.set_cell::<RELATIVE>(1);
                base = self.base();
                root = path::root(self.task);
            }
        }
        record.set_cell::<BASE_DENTRY>(base.dentry.0);
        record.set_cell::<BASE_MOUNT>(base.mnt.0);
        let at = if file.is_null() { Path::NOWHERE } else { file::path(file) };
        record.set_cell::<FILE_DENTRY>(at.dentry.0);
        record.set_cell::<FILE_MOUNT>(at.mnt.0);
        record.set_cell::<ROOT_DENTRY>(root.dentry.0);
        record.set_cell::<ROOT_MOUNT>(root.mnt.0);
    }

    /// Gives up a call of which no rule is left, whoever made it, by what is known of the file.
    #[inline(always)]
    pub(super) fn is_rejected(&self, known: Known) -> bool {
        if known != Known::Nothing || !self.first.still_holds() || self.seen.is_sample(shadow_every()) {
            return false;
        }
        self.seen.filtered();
        self.record.release();
        true
    }
}

impl Step {
    /// Whether no rule is left for this process, by what was left for any when the file was opened by the same path
    /// before.
    #[inline(always)]
    pub(super) fn is_rejected_for_process(&self, known: Known) -> bool {
        if known != Known::Some {
            return false;
        }
        let before = self.judge.left();
        self.judge.leave(*self.record.traced());
        self.judge.process(self.task);
        if self.is_rejected() {
            return true;
        }
        // What is sent needs the names, and what is remembered must not depend on the process.
        self.judge.leave(before);
        false
    }

    /// Narrows by the paths of an opened file, or of one that could not be opened. What of them is known and where is
    /// in the record's cells.
    #[inline(always)]
    pub(super) fn judge_paths(&self, file: Raw) {
        let record = self.record;
        forget(record);
        self.follow(file);
        if record.cell::<COMPLETE>() == 0 {
            return;
        }
        if !recall::is_known(record) {
            self.classify();
            if !self.judge.knows_key() {
                return;
            }
            recall::keep(record);
        }
        trace::keep(record);
    }

    /// Gathers the names of the file and, if they are not what the program gave, those of the directory it gave them
    /// from.
    #[inline(always)]
    fn follow(&self, file: Raw) {
        let record = self.record;
        let (start, len) = (record.cell::<TEXT>(), record.cell::<LENGTH>());
        let relative = record.cell::<RELATIVE>() != 0;
        let trail = Trail::begin(record);
        // A file opened by handle has one name, the kernel's.
        let mut same = self.plan.path == 0;
        if same && file.is_null() {
            return;
        }
        if !file.is_null() {
            let Some(given) = trail.file(start, len, relative) else { return };
            record.set_cell::<FILE_WHOLE>(1);
            record.set_cell::<FILE_NAMES>(trail.names());
            if given == Given::Verbatim {
                record.set_cell::<VERBATIM>(1);
                same = true;
            }
            if given == Given::FromBase {
                let before = record.cell::<FROM_BASE_NAMES>();
                record.set_cell::<BASE_FIRST>(before);
                record.set_cell::<BASE_NAMES>(trail.names() - before);
                record.set_cell::<BASE_AT>(record.cell::<FROM_BASE_AT>());
                record.set_cell::<BASE_WHOLE>(1);
                same = true;
            }
        }
        if !same {
            record.set_cell::<BASE_FIRST>(trail.names());
            record.set_cell::<BASE_AT>(trail.words());
            if start == 0 || len >= SCAN_BYTES {
                return;
            }
            if relative {
                if !trail.base() {
                    return;
                }
                record.set_cell::<BASE_NAMES>(trail.names() - record.cell::<BASE_FIRST>());
                record.set_cell::<BASE_WHOLE>(1);
            }
            if !trail.text(start, len) {
                return;
            }
        }
        record.set_cell::<SAME>(u64::from(same));
        self.key(len);
        record.set_cell::<COMPLETE>(1);
    }

    /// Completes what the path is remembered by.
    #[inline(always)]
    fn key(&self, len: u64) {
        let record = self.record;
        let related =
            record.cell::<FILE_WHOLE>() | record.cell::<SAME>() << 1 | record.cell::<VERBATIM>() << 2;
        record.set_cell::<HEAD>(self.judge.call() | related << 8);
        let names = record.cell::<FILE_NAMES>() | record.cell::<BASE_NAMES>() << 8;
        record.set_cell::<SHAPE>(names | record.cell::<WORDS>() << 16 | len << 32);
    }

    /// Reads the paths as the rules' strings have them, and remembers what is left by them.
    #[inline(always)]
    fn classify(&self) {
        let record = self.record;
        let Some(tables) = self.judge.tables() else { return };
        if record.cell::<FILE_WHOLE>() != 0 {
            if !Run::start(record, &tables.paths).names(0, record.cell::<FILE_NAMES>(), 0, 0) {
                return;
            }
            self.judge.view(*record.signature(), record.cell::<VERBATIM>() != 0);
        }
        if record.cell::<SAME>() == 0 {
            let run = Run::start(record, &tables.paths);
            if !run.text(record.cell::<TEXT>(), record.cell::<LENGTH>()) {
                return;
            }
            let relative = record.cell::<RELATIVE>() != 0;
            let skip = if relative { record.cell::<SKIP>() } else { u64::MAX };
            let (first, count) = (record.cell::<BASE_FIRST>(), record.cell::<BASE_NAMES>());
            if !run.names(first, count, record.cell::<BASE_AT>(), skip) {
                return;
            }
            self.judge.view(*record.signature(), false);
        }
        self.judge.narrow();
    }

    /// Writes the paths that were judged, and those that were not.
    #[inline(always)]
    pub(super) fn put_paths(&self, file: Raw) {
        let record = self.record;
        let trail = Trail::of(record);
        if record.cell::<FILE_WHOLE>() != 0 {
            trail.put(AttrTag::RealPath, 0, record.cell::<FILE_NAMES>(), 0);
        } else if !file.is_null() {
            file::put_path(record, file);
        }
        if record.cell::<RELATIVE>() == 0 {
            return;
        }
        if record.cell::<BASE_WHOLE>() != 0 {
            let (first, count) = (record.cell::<BASE_FIRST>(), record.cell::<BASE_NAMES>());
            trail.put(AttrTag::BaseDir, first, count, record.cell::<BASE_AT>());
        } else {
            self.base(self.plan.dir, AttrTag::BaseDir);
        }
    }
}

/// Forgets what was known of the paths of another call.
#[inline(always)]
fn forget(record: Record) {
    record.set_cell::<COMPLETE>(0);
    record.set_cell::<SAME>(0);
    record.set_cell::<VERBATIM>(0);
    record.set_cell::<FILE_WHOLE>(0);
    record.set_cell::<BASE_WHOLE>(0);
    record.set_cell::<FILE_NAMES>(0);
    record.set_cell::<BASE_FIRST>(0);
    record.set_cell::<BASE_NAMES>(0);
    record.set_cell::<BASE_AT>(0);
}
