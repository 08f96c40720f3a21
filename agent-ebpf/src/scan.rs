//! Classifies paths: runs the automaton of the rules' strings over a path, backwards.
//!
//! Loops are bounded; a path too long for them is not classified, which rejects nothing. They are in functions of the
//! kernel's own kind, with plain numbers as arguments: the verifier checks each once, not once for every way a program
//! gets there. What they find and where they are is in the record's buffer.

use rampart_common::pushdown::{Automaton, END};

use crate::{judge::Judge, record::Record};

/// Most bytes of a path that are classified.
const SCAN_BYTES: u32 = 512;
/// Most names of a path that are classified.
const NAMES_MAX: u32 = 16;
/// Longest name that is classified, bytes.
const NAME_MAX: u64 = 80;
/// Offsets and lengths of what is scanned are below this.
const OFFSET_MASK: u64 = 16 * 1024 - 1;

/// Cell with the index of the name being read.
const INDEX: usize = 0;
/// Cell with the names still to be left out.
pub(crate) const SKIP: usize = 1;
/// Cell with what the name being read is: [`AHEAD`], [`READ`] or [`LEFT_OUT`].
const NAME: usize = 2;
/// Cell that says whether any name was read.
const NAMED: usize = 3;
/// Cell that is 1 as long as the names are the text they are compared with.
pub(crate) const SAME: usize = 9;

/// Cell with the offset behind the next byte.
const NEXT: usize = 10;
/// Cell with the offset of the first byte of the name being read.
const FIRST: usize = 11;

/// Cell with the state of the automaton.
const STATE: usize = 12;

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

    /// Reads the names of a walked path, without the first `skip`, and compares with the text that ends at `same`
    /// ([`SAME`]). Says whether all was read.
    #[inline(always)]
    pub(crate) fn names(self, payload: u64, skip: u64, same: u64) -> bool {
        scan_names(self.0.slot(), payload, skip, same) != 0
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
extern "C" fn scan_names(slot: u32, payload: u64, skip: u64, same: u64) -> u32 {
    let Some(mut steps) = Steps::resume(slot) else { return 0 };
    let record = steps.record;
    let count = record.names();
    if skip >= count {
        if record.cell::<NAMED>() == 0 {
            steps.step(b'/');
        }
        steps.step(END);
        record.set_cell::<SAME>(0);
        return 1;
    }
    record.set_cell::<INDEX>(skip);
    record.set_cell::<NEXT>(same);
    record.set_cell::<FIRST>(if skip == 0 { 0 } else { record.name_end(skip - 1) + 1 });
    for _ in 0..NAMES_MAX {
        let index = record.cell::<INDEX>();
        let (first, end) = (record.cell::<FIRST>(), record.name_end(index));
        let len = end.wrapping_sub(first) & OFFSET_MASK;
        if len > NAME_MAX {
            return 0;
        }
        let (last, text) = (payload.wrapping_add(end), record.cell::<NEXT>());
        let mut differs = 0;
        // The turn is the only number here that the verifier knows; so one turn is seen once.
        for turn in 1..=NAME_MAX {
            if turn > len {
                break;
            }
            let byte = record.byte(last.wrapping_sub(turn));
            differs |= record.byte(text.wrapping_sub(turn)) ^ byte;
            steps.step(byte);
        }
        steps.step(b'/');
        let before = text.wrapping_sub(len).wrapping_sub(1);
        if differs | (record.byte(before) ^ b'/') != 0 {
            record.set_cell::<SAME>(0);
        }
        if index + 1 >= count {
            steps.step(END);
            return 1;
        }
        record.set_cell::<NEXT>(before);
        record.set_cell::<FIRST>(end + 1);
        record.set_cell::<INDEX>(index + 1);
    }
    0
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
