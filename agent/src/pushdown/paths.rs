//! Comparisons on paths as strings to search for, and as bits of a signature.

mod sets;
mod strings;

use std::collections::HashMap;

use rampart_common::{
    event::Family,
    pushdown::{SIGNATURE_BITS, Signature},
};
use rampart_rules::{
    catalog::{FieldId, Param, ids},
    comparisons::{ComparisonId, Comparisons},
    condition::ast::Op,
    needle::Needles,
    typed::{Arg, FieldUse, Source as Value, Test},
    value::{FieldArg, FieldSource, Truth, Value as FieldValue},
};

use self::{
    sets::{build, set, share},
    strings::Part,
};
use super::{
    automaton::{Size, Table},
    image::Image,
};
use crate::event::syscall::{self, Row, Source};

/// What the evaluator sees instead of a path that is too long, when upstream's faults are reproduced.
const PLACEHOLDER: &[u8] = b"/DIR_TOO_LONG/FILENAME_TOO_LONG";

/// What is known of the path of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Which strings occur.
    pub(super) signature: Signature,
    /// Whether the path as given is the classified one, byte by byte.
    pub(super) verbatim: bool,
}

/// Which text of an event a field shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Text {
    /// The path.
    Normal,
    /// The path as given.
    Verbatim,
}

/// Whether a path field has a value on an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    /// It is missing.
    Missing,
    /// It shows the path of the event.
    Shown,
    /// Who knows.
    Unknown,
}

/// How the kernel decides one comparison on a path.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct PathTest {
    /// Its bit.
    pub(super) bit: u8,
    text: Text,
    /// A set bit means that its strings occur, and those decide it.
    pub(super) exact: bool,
    inverted: bool,
    /// Other comparisons have the same bit.
    pub(super) shared: bool,
    /// Strings were cut to make the table fit.
    pub(super) cut: bool,
    /// What it gives on the placeholder, where that may stand for the path.
    placeholder: Option<Truth>,
}

/// All comparisons on paths.
#[derive(Debug)]
pub(super) struct Paths {
    tests: Vec<Option<PathTest>>,
    table: Table,
    verbatim: Signature,
}

impl Paths {
    /// Finds the comparisons on paths and builds the automaton of their strings.
    pub(super) fn new(comparisons: &Comparisons, strict: bool) -> Self {
        let mut tests: Vec<Option<PathTest>> = vec![None; comparisons.len()];
        let mut groups: HashMap<(Text, Vec<Vec<u8>>), usize> = HashMap::new();
        let mut sets: Vec<(Text, Vec<Vec<u8>>)> = Vec::new();
        let mut members: Vec<(usize, usize, bool, bool)> = Vec::new();
        for id in comparisons.ids() {
            let Some((text, part, needles)) = comparisons.test(id).and_then(search) else { continue };
            let (strings, exact) = strings::of(part, &needles);
            let group = *groups.entry((text, strings.clone())).or_insert(sets.len());
            if group == sets.len() {
                sets.push((text, strings));
            }
            members.push((id.0 as usize, group, exact, needles.inverted));
        }
        let bits = share(sets.iter().map(|(text, _)| *text));
        let (table, limit) = build(&sets, &bits);
        let mut owners = [0usize; SIGNATURE_BITS];
        let mut verbatim = Signature::default();
        for (bit, (text, _)) in bits.iter().zip(&sets) {
            if let Some(owners) = owners.get_mut(usize::from(*bit)) {
                *owners += 1;
            }
            if *text == Text::Verbatim {
                set(&mut verbatim, *bit);
            }
        }
        for (id, group, exact, inverted) in members {
            let (Some(bit), Some((text, strings))) = (bits.get(group).copied(), sets.get(group)) else {
                continue;
            };
            let cut = strings.iter().any(|string| string.len() > limit);
            let shared = owners.get(usize::from(bit)).is_some_and(|owners| *owners > 1);
            let placeholder =
                strict.then(|| comparisons.evaluate(ComparisonId(id as u32), None, &OneText(PLACEHOLDER)));
            if let Some(slot) = tests.get_mut(id) {
                *slot = Some(PathTest {
                    bit,
                    text: *text,
                    exact: exact && !cut,
                    inverted,
                    shared,
                    cut,
                    placeholder,
                });
            }
        }
        Self { tests, table, verbatim }
    }

    /// How a comparison is decided, if it is one on a path.
    pub(super) fn test(&self, comparison: ComparisonId) -> Option<&PathTest> {
        self.tests.get(comparison.0 as usize)?.as_ref()
    }

    /// Size of the automaton.
    pub(super) fn size(&self) -> Size {
        self.table.size()
    }

    /// Writes the automaton.
    pub(super) fn write(&self, image: &mut Image) {
        self.table.write(&self.verbatim, image);
    }
}

impl PathTest {
    /// Whether it is about the path as given.
    pub(super) fn is_verbatim(self) -> bool {
        self.text == Text::Verbatim
    }

    /// What a comparison gives on an event whose field shows a path of which `found` is known.
    pub(super) fn truth(self, found: Found) -> Truth {
        if self.text == Text::Verbatim && !found.verbatim {
            return Truth::Unknown;
        }
        let occurs = get(&found.signature, self.bit);
        if occurs && (self.shared || !self.exact) {
            return Truth::Unknown;
        }
        let truth = Truth::from(occurs != self.inverted);
        match self.placeholder {
            Some(other) if other != truth => Truth::Unknown,
            _ => truth,
        }
    }
}

/// Whether the event of a row shows its path in the field of a comparison. `None` for other fields.
pub(super) fn presence(test: &Test, row: &Row, failed: bool) -> Option<Presence> {
    use Presence::{Missing, Shown, Unknown};
    let Value::Field(field) = &test.left else { return None };
    text(field)?;
    let plan = &row.plan;
    Some(match (field.id, row.family) {
        // There is neither a path that was asked for nor a file.
        (ids::FD_NAME | ids::FD_FILENAME | ids::FD_DIRECTORY, Family::Open) if failed && plan.path == 0 => {
            Missing
        }
        (ids::EVT_ABSPATH, _) if plan.path == 0 => Missing,
        (ids::FD_NAME | ids::FD_FILENAME | ids::FD_DIRECTORY | ids::EVT_ABSPATH, Family::Open) => Shown,
        (ids::FS_PATH_NAME | ids::FS_PATH_NAMERAW, _) if failed => Missing,
        (ids::FS_PATH_NAME | ids::FS_PATH_NAMERAW, Family::Path) => Unknown,
        (ids::FD_NAMERAW | ids::FS_PATH_NAME | ids::FS_PATH_NAMERAW, Family::Open) if plan.path > 0 => Shown,
        (ids::EVT_ARG | ids::EVT_RAWARG, family) => match source(row, field.arg.as_ref()) {
            Some(Source::Path) if family == Family::Open => Shown,
            Some(Source::Path) => Unknown,
            // Not a path on this event.
            _ => return None,
        },
        (ids::FD_NAME, Family::Net) | (ids::FD_NAME | ids::FD_FILENAME | ids::FD_DIRECTORY, Family::Fd) => {
            Unknown
        }
        // Sockets have no files; other families have no descriptor and no path.
        (
            ids::FD_NAME
            | ids::FD_FILENAME
            | ids::FD_DIRECTORY
            | ids::FD_NAMERAW
            | ids::FS_PATH_NAME
            | ids::FS_PATH_NAMERAW,
            _,
        ) => Missing,
        _ => Unknown,
    })
}

/// Whether the kernel classifies the path of a row.
pub(super) fn classified(row: &Row) -> bool {
    row.family == Family::Open
}

/// Where a parameter of a row comes from.
pub(super) fn source(row: &Row, arg: FieldArg<'_>) -> Option<Source> {
    row.params.get(position(row, arg)?).copied()
}

/// A parameter of a row.
pub(super) fn param(row: &Row, arg: FieldArg<'_>) -> Option<&'static Param> {
    row.event.def()?.params.get(position(row, arg)?)
}

fn position(row: &Row, arg: FieldArg<'_>) -> Option<usize> {
    let params = row.event.def()?.params;
    match arg {
        FieldArg::Key(name) => params.iter().position(|param| param.name == name),
        FieldArg::Index(index) => usize::try_from(index).ok().filter(|index| *index < params.len()),
        FieldArg::None => None,
    }
}

fn search(test: &Test) -> Option<(Text, Part, Needles)> {
    let Value::Field(field) = &test.left else { return None };
    let (shown, part) = text(field)?;
    let mut needles = Needles::of(test)?;
    // Directories and names are no normal absolute paths, which `pmatch` asks for.
    if part != Part::Whole && test.op == Op::PMatch {
        needles.exact = false;
        if part == Part::Name {
            return None;
        }
    }
    Some((shown, part, needles))
}

/// The text a field shows on the events that have a path.
fn text(field: &FieldUse) -> Option<(Text, Part)> {
    Some(match field.id {
        ids::FD_NAME | ids::FS_PATH_NAME => (Text::Normal, Part::Whole),
        ids::FD_FILENAME => (Text::Normal, Part::Name),
        ids::FD_DIRECTORY => (Text::Normal, Part::Directory),
        ids::FD_NAMERAW | ids::FS_PATH_NAMERAW => (Text::Verbatim, Part::Whole),
        ids::EVT_ABSPATH if matches!(field.arg.as_ref(), FieldArg::Key("path" | "src")) => {
            (Text::Verbatim, Part::Whole)
        }
        ids::EVT_ARG | ids::EVT_RAWARG if names_path(&field.arg) => (Text::Verbatim, Part::Whole),
        _ => return None,
    })
}

/// Whether a parameter is the path of any call whose path can be classified.
fn names_path(arg: &Arg) -> bool {
    syscall::rows()
        .filter(|row| classified(row))
        .any(|row| matches!(source(row, arg.as_ref()), Some(Source::Path)))
}

fn get(signature: &Signature, bit: u8) -> bool {
    signature.get(usize::from(bit) / 64).is_none_or(|word| word & (1 << (bit % 64)) != 0)
}

/// One text in every field.
struct OneText(&'static [u8]);

impl FieldSource for OneText {
    fn field<'a>(&'a self, _: FieldId, _: FieldArg<'_>) -> FieldValue<'a> {
        FieldValue::Bytes(self.0)
    }
}
