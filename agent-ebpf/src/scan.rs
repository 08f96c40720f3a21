//! Classifies paths: runs the automaton of the rules' strings over a path, backwards.
//!
//! Loops are bounded; a path too long for them is not classified, which rejects nothing. They are in functions of the
//! kernel's own kind, with plain numbers as arguments: the verifier checks each once, not once for every way a program
//! gets there. What they find and where they are is in the record's buffer.

use rampart_common::pushdown::{Automaton, END};

use crate::{
    cell::{END_INDEX, INDEX, LEFT, NAME, NAMED, NEXT, SCAN_AT, SKIP, STATE},
    judge::Judge,
    record::Record,
    trail::{NAME_MAX, NAMES_MAX},
};

/// Most bytes of a path that are classified.
pub(crate) const SCAN_BYTES: u64 = 512;
/// No name has begun.
const AHEAD: u64 = 0;
/// The name counts.
const READ: u64 = 1;
/// The name does not count.
const LEFT_OUT: u64 = 2;

/// The classification of a path.
#[derive(Clone, Copy)]
pub(crate) struct Run(Record);

impl Run {
    /// Starts at the end of a path. Nothing is read unless there are tables: see the functions below.
    #[inline(always)]
    pub(crate) fn start(record: Record, paths: &Automaton) -> Self {
        *record.signature() = [0; 2];
        record.set_cell::<NAMED>(0);
        record.set_cell::<STATE>(u64::from(paths.start));
        Self(record)
    }

    /// Reads `count` names of the trail, of which the first has the index `first` and begins at the word `at`, and leaves
    /// the first `skip` out. Says whether all was read.
    #[inline(always)]
    pub(crate) fn names(self, first: u64, count: u64, at: u64, skip: u64) -> bool {
        let record = self.0;
        record.set_cell::<INDEX>(first);
        record.set_cell::<END_INDEX>(first + count);
        record.set_cell::<SKIP>(skip);
        record.set_cell::<SCAN_AT>(at);
        scan_names(record.slot()) != 0
    }

    /// Reads the text of a path, without `.`, `..` and repeated slashes. [`SKIP`] then says how many names of the
    /// directory it starts from are to be left out. Says whether all was read.
    #[inline(always)]
    pub(crate) fn text(self, start: u64, len: u64) -> bool {
        scan_text(self.0.slot(), start, len) != 0
    }
}

/// The automaton on its way.
struct Steps<'a> {
    record: Record,
    paths: &'a Automaton,
    state: u32,
}

impl Steps<'_> {
    /// Goes on from where the run is.
    #[inline(always)]
    fn resume(slot: u32) -> Option<Self> {
        let record = Record::claimed(slot)?;
        let paths = &Judge::tables_of(record)?.paths;
        Some(Self { record, paths, state: record.cell::<STATE>() as u32 })
    }

    #[inline(always)]
    fn step(&mut self, byte: u8) {
        self.state = self.paths.step(self.state, byte);
        if let Some(bits) = self.paths.output(self.state) {
            let found = self.record.signature();
            found[0] |= bits[0];
            found[1] |= bits[1];
        }
    }

    /// Leaves the run for the next function.
    #[inline(always)]
    fn pause(&self) -> u32 {
        self.record.set_cell::<STATE>(u64::from(self.state));
        1
    }
}

/// See [`Run::names`]; ends at the beginning of the path. 0 = not all was read.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn scan_names(slot: u32) -> u32 {
    let Some(record) = Record::claimed(slot) else { return 0 };
    for _ in 0..=NAMES_MAX {
        let (index, at) = (record.cell::<INDEX>(), record.cell::<SCAN_AT>());
        if index >= record.cell::<END_INDEX>() {
            return scan_end(slot);
        }
        let len = record.len_of(index);
        record.set_cell::<INDEX>(index + 1);
        record.set_cell::<SCAN_AT>(at.wrapping_add((len >> 3) + 1));
        let skip = record.cell::<SKIP>();
        if skip != 0 {
            record.set_cell::<SKIP>(skip - 1);
            continue;
        }
        record.set_cell::<NEXT>((at << 3).wrapping_add(len));
        record.set_cell::<LEFT>(len);
        scan_name(slot);
    }
    0
}

/// Reads one name, and the slash before it. A function of its own, for the verifier then sees it once, not once for
/// every name.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn scan_name(slot: u32) -> u32 {
    let Some(mut steps) = Steps::resume(slot) else { return 0 };
    let record = steps.record;
    record.set_cell::<NAMED>(1);
    let (end, len) = (record.cell::<NEXT>(), record.cell::<LEFT>());
    // The turn is the only number here that the verifier knows; so one turn is seen once.
    for turn in 1..=NAME_MAX {
        if turn > len {
            break;
        }
        steps.step(record.trail_byte(end.wrapping_sub(turn)));
    }
    steps.step(b'/');
    steps.pause()
}

/// Reads the beginning of a path.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn scan_end(slot: u32) -> u32 {
    let Some(mut steps) = Steps::resume(slot) else { return 0 };
    if steps.record.cell::<NAMED>() == 0 {
        steps.step(b'/');
    }
    steps.step(END);
    steps.pause()
}

/// See [`Run::text`]. 0 = not all was read.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn scan_text(slot: u32, start: u64, len: u64) -> u32 {
    let Some(mut steps) = Steps::resume(slot) else { return 0 };
    let record = steps.record;
    record.set_cell::<NEXT>(len);
    record.set_cell::<SKIP>(0);
    record.set_cell::<NAME>(AHEAD);
    for _ in 0..SCAN_BYTES {
        let rest = record.cell::<NEXT>();
        if rest == 0 {
            break;
        }
        let rest = rest - 1;
        record.set_cell::<NEXT>(rest);
        let byte = record.byte(start.wrapping_add(rest));
        let mut name = record.cell::<NAME>();
        if byte == b'/' {
            record.set_cell::<NAME>(AHEAD);
        } else if name == AHEAD {
            let before = if rest == 0 { b'/' } else { record.byte(start.wrapping_add(rest).wrapping_sub(1)) };
            if byte == b'.' && before == b'/' {
                continue;
            }
            let skip = record.cell::<SKIP>();
            if byte == b'.' && before == b'.' {
                let earlier =
                    if rest == 1 { b'/' } else { record.byte(start.wrapping_add(rest).wrapping_sub(2)) };
                if earlier == b'/' {
                    record.set_cell::<NEXT>(rest - 1);
                    record.set_cell::<SKIP>(skip + 1);
                    continue;
                }
            }
            name = READ;
            if skip > 0 {
                name = LEFT_OUT;
                record.set_cell::<SKIP>(skip - 1);
            } else {
                record.set_cell::<NAMED>(1);
            }
            record.set_cell::<NAME>(name);
        }
        if name == READ {
            steps.step(byte);
        }
    }
    if record.cell::<NEXT>() != 0 {
        return 0;
    }
    if record.cell::<NAME>() == READ {
        steps.step(b'/');
    }
    steps.pause()
}
