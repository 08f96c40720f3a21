//! Calls that open files: what is judged of their paths, and what is sent of them.

use rampart_common::event::{AttrTag, SLOT_RETURN};

use super::step::Step;
use crate::{
    cell::{
        BASE_AT, BASE_FIRST, BASE_NAMES, BASE_WHOLE, COMPLETE, FILE_NAMES, FILE_WHOLE, FROM_BASE_AT,
        FROM_BASE_NAMES, HEAD, LENGTH, RELATIVE, SAME, SHAPE, SKIP, TEXT, VERBATIM, WORDS,
    },
    file,
    path::{self, Path},
    read::Raw,
    recall,
    record::Record,
    scan::{Run, SCAN_BYTES},
    trail::{Given, Trail},
};

impl Step {
    /// The file that the call opened.
    #[inline(always)]
    pub(super) fn opened(&self) -> Raw {
        if self.plan.fd == SLOT_RETURN { file::of(self.task, self.ret) } else { Raw(0) }
    }

    /// Writes the path as the program gave it, and notes where it is.
    #[inline(always)]
    pub(super) fn given(&self) {
        let record = self.record;
        forget(record);
        record.set_cell::<TEXT>(0);
        record.set_cell::<LENGTH>(0);
        record.set_cell::<RELATIVE>(0);
        if self.plan.path == 0 {
            return;
        }
        let Some(payload) = record.put_user_text(AttrTag::UserPath, record.arg(self.plan.path)) else {
            return;
        };
        let len = record.filled();
        record.set_cell::<TEXT>(payload);
        record.set_cell::<LENGTH>(len);
        record.set_cell::<RELATIVE>(u64::from(len == 0 || record.byte(payload) != b'/'));
    }

    /// Narrows by the paths of an opened file, or of one that could not be opened. What of them is known and where is
    /// in the record's cells.
    #[inline(always)]
    pub(super) fn judge_paths(&self, file: Raw) {
        let record = self.record;
        self.follow(file);
        if record.cell::<COMPLETE>() == 0 || recall::is_known(record) {
            return;
        }
        self.classify();
    }

    /// Gathers the names of the file and, if they are not what the program gave, those of the directory it gave them
    /// from.
    #[inline(always)]
    fn follow(&self, file: Raw) {
        let record = self.record;
        let (start, len) = (record.cell::<TEXT>(), record.cell::<LENGTH>());
        let relative = record.cell::<RELATIVE>() != 0;
        let trail = Trail::begin(record, path::root(self.task));
        let base = if relative { self.start(self.plan.dir) } else { Path::NOWHERE };
        trail.starts_from(base);
        // A file opened by handle has one name, the kernel's.
        let mut same = self.plan.path == 0;
        if same && file.is_null() {
            return;
        }
        if !file.is_null() {
            let Some(given) = trail.file(file::path(file), start, len, relative) else { return };
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
                if !trail.base(base) {
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
        if self.judge.knows_key() {
            recall::keep(record);
        }
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
