//! What one comparison is about, and how the kernel can be certain of it.

use rampart_common::deny::Operation;
use rampart_rules::{
    catalog::{Class, ids},
    condition::ast::Op,
    typed::{Const, Right, Source, Test},
    value::Truth,
};

use crate::{event::syscall::Row, pushdown::range_truth};

/// Longest text in a table of paths, with room for the NUL behind it.
const TEXT_MAX: usize = rampart_common::deny::PATH_BYTES - 1;
/// Most values of a comparison, so that the tables have room for many.
const VALUES_MAX: usize = 1024;

/// A thing that comparisons of a term are about; the kernel has a table for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dimension {
    /// The path of the file that is opened.
    Path,
    /// The executable: what the process runs or, of an exec, what it is about to run.
    Executable,
    /// The name of the process.
    Name,
    /// The effective user.
    User,
    /// The remote address.
    Address,
    /// The remote port.
    Port,
    /// How a file is opened, or what kind of socket it is.
    Kind,
}

/// What a comparison comes to for an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// It is the same whatever happens, as long as the operation succeeds.
    Always(bool),
    /// A table decides it.
    Decided(Dimension),
    /// The kernel cannot be certain of it.
    Open(&'static str),
}

/// Fields that the kernel can be certain of, for messages.
pub const FIELDS: &str = "`fd.name`, `proc.exepath`, `proc.name`, `user.uid`, `evt.is_open_read`, `evt.is_open_write`, \
                          `fd.sip`, `fd.rip`, `fd.snet`, `fd.rnet`, `fd.sport`, `fd.rport`, `fd.l4proto`";

/// What a comparison comes to on an event of a row, which the operation would give if it succeeded.
pub fn meaning(test: &Test, operation: Operation, row: &Row) -> Meaning {
    if let Some(truth) = range_truth(test, row) {
        return match truth {
            Truth::True => Meaning::Always(true),
            Truth::False => Meaning::Always(false),
            Truth::Unknown => Meaning::Open("depends on a result that is not there yet"),
        };
    }
    let Source::Field(field) = &test.left else {
        return Meaning::Open("compares a computed value");
    };
    let Right::Values(modifier, values) = &test.right else {
        return Meaning::Open("compares no constants");
    };
    let size = |value: &Const| if let Const::Set(set) = value { set.len() } else { 1 };
    if values.iter().map(size).sum::<usize>() > VALUES_MAX {
        return Meaning::Open("compares with more than 1024 values");
    }
    let texts = || match test.op {
        Op::PMatch if !values.iter().all(is_plain_path) => Some("compares with no plain absolute path"),
        Op::Eq | Op::Ne | Op::In | Op::StartsWith | Op::PMatch if values.iter().all(fits) => None,
        Op::Eq | Op::Ne | Op::In | Op::StartsWith | Op::PMatch => Some("compares a path that is too long"),
        _ => Some("is no comparison with a whole path or the beginning of one"),
    };
    let members = || {
        let is_plain = matches!(test.op, Op::Eq | Op::Ne | Op::In) && modifier.is_none();
        let has_set = values.iter().any(|value| matches!(value, Const::Set(_)));
        (!is_plain || has_set).then_some("is no comparison with single values")
    };
    let decided = |dimension, fault: Option<&'static str>| match fault {
        None => Meaning::Decided(dimension),
        Some(why) => Meaning::Open(why),
    };
    match (field.id, operation) {
        (ids::PROC_EXEPATH, _) => decided(Dimension::Executable, texts()),
        (ids::PROC_NAME, _) => decided(Dimension::Name, members()),
        (ids::USER_UID, _) => decided(Dimension::User, members()),
        (ids::FD_NAME | ids::FS_PATH_NAME, Operation::Open) => decided(Dimension::Path, texts()),
        (ids::EVT_IS_OPEN_READ | ids::EVT_IS_OPEN_WRITE, Operation::Open)
        | (ids::FD_TYPE | ids::FD_TYPECHAR, Operation::Open | Operation::Connect)
        | (ids::FD_L4PROTO | ids::FD_SOCKFAMILY | ids::FD_IS_SERVER, Operation::Connect)
        | (ids::EVT_FAILED | ids::EVT_RES | ids::EVT_DIR | ids::EVT_SOURCE | ids::EVT_CATEGORY, _) => {
            Meaning::Decided(Dimension::Kind)
        }
        (
            ids::EVT_IS_OPEN_READ | ids::EVT_IS_OPEN_WRITE | ids::EVT_IS_OPEN_EXEC,
            Operation::Exec | Operation::Connect,
        ) => Meaning::Decided(Dimension::Kind),
        (ids::FD_SIP | ids::FD_RIP | ids::FD_SNET | ids::FD_RNET, Operation::Connect) => {
            let is_plain = matches!(test.op, Op::Eq | Op::Ne | Op::In) && modifier.is_none();
            decided(Dimension::Address, (!is_plain).then_some("is no comparison with addresses"))
        }
        (ids::FD_SPORT | ids::FD_RPORT, Operation::Connect) => decided(Dimension::Port, members()),
        // Programs that are run have no descriptor, and opened files no address.
        (_, Operation::Exec) if matches!(field.id.def().class, Class::Fd) => {
            Meaning::Decided(Dimension::Kind)
        }
        _ => Meaning::Open("is not certain when the operation begins"),
    }
}

fn fits(value: &Const) -> bool {
    matches!(value, Const::Bytes(text) if text.len() <= TEXT_MAX && !text.contains(&0))
}

/// Whether a text is an absolute path as the kernel would write it, so that it means itself.
fn is_plain_path(value: &Const) -> bool {
    let Const::Bytes(text) = value else { return false };
    let is_plain =
        |part: &[u8]| !matches!(part, b"" | b"." | b"..") && !part.iter().any(|byte| b"*?[\\".contains(byte));
    text.strip_prefix(b"/").is_some_and(|rest| rest.split(|byte| *byte == b'/').all(is_plain))
}
