//! The field and event catalogue: one table that drives the parser's types, evaluation, help and schemas.
//!
//! Owns names, types and short descriptions of everything a rule may name. It never holds values and never
//! depends on another module of the crate.

mod events;
mod fields;

use std::{collections::HashMap, fmt, sync::LazyLock};

pub use events::{EVENTS, event_ids};
pub use fields::{FIELDS, ids};

/// A field of the catalogue: index into [`FIELDS`]. `evt.arg.NAME` is field `evt.arg` with key `NAME`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FieldId(pub u16);

/// An event type of the catalogue: index into [`EVENTS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventId(pub u16);

/// Value type of a field; decides which operators and literals fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FieldType {
    /// Signed integer.
    Int,
    /// Unsigned integer.
    Uint,
    /// Floating-point number.
    Float,
    /// `true` or `false`.
    Bool,
    /// Text.
    Text,
    /// File-system path.
    Path,
    /// Byte buffer.
    Buffer,
    /// Address.
    Ip,
    /// Network.
    Net,
    /// Port number.
    Port,
    /// Relative time, nanoseconds.
    RelTime,
    /// Absolute time, nanoseconds since the epoch.
    AbsTime,
    /// Decided by the argument (`evt.rawarg.NAME` has the type of parameter `NAME`).
    Dyn,
}

/// Bits of a file mode, by the names and in the order that parameters of type [`ParamType::Mode`] show them.
pub static MODE_BITS: [(&str, u32); 12] = [
    ("S_IXOTH", 0o1),
    ("S_IWOTH", 0o2),
    ("S_IROTH", 0o4),
    ("S_IXGRP", 0o10),
    ("S_IWGRP", 0o20),
    ("S_IRGRP", 0o40),
    ("S_IXUSR", 0o100),
    ("S_IWUSR", 0o200),
    ("S_IRUSR", 0o400),
    ("S_ISVTX", 0o1000),
    ("S_ISGID", 0o2000),
    ("S_ISUID", 0o4000),
];

/// What a field's argument may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ArgForm {
    /// A number.
    Index,
    /// A text.
    Key,
    /// A number or a text.
    Any,
}

/// Whether a field takes an argument in brackets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ArgKind {
    /// It takes none.
    None,
    /// It may have one.
    Optional(ArgForm),
    /// It must have one.
    Required(ArgForm),
}

/// Group of a field, for listings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// The event itself.
    Evt,
    /// The descriptor of the event.
    Fd,
    /// Descriptors of a poll.
    Fdlist,
    /// Paths of file system calls.
    FsPath,
    /// The group of the process.
    Group,
    /// The process and its thread.
    Process,
    /// The user of the process.
    User,
    /// Counters.
    Util,
    /// The container and its pod.
    Container,
    /// Venues, sessions, roles and assets of trading, as the configuration describes them.
    Trading,
}

/// One field.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "a row of independent facts, not a state")]
pub struct Field {
    /// Name as written in rules, without argument.
    pub name: &'static str,
    /// Value type.
    pub ty: FieldType,
    /// Width in bits of a number; 0 for other types. Two fields compare only when type and width agree.
    pub bits: u8,
    /// Whether it takes an argument.
    pub arg: ArgKind,
    /// Whether it has many values.
    pub list: bool,
    /// Whether it can only be compared, not printed.
    pub filter_only: bool,
    /// Whether listings leave it out.
    pub hidden: bool,
    /// Whether it may stand on the right side of a comparison.
    pub rhs_ok: bool,
    /// Whether a transformer may be applied to it.
    pub transformer_ok: bool,
    /// Whether new rules should not use it.
    pub deprecated: bool,
    /// Whether alerts show it without being asked.
    pub suggested: bool,
    /// Group.
    pub class: Class,
    /// What it holds, one line.
    pub desc: &'static str,
}

/// Where an event comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// A system call.
    Syscall,
    /// Another kernel hook.
    Tracepoint,
    /// Made by the agent itself.
    Meta,
    /// Made by a plugin.
    Plugin,
    /// A walk over existing kernel objects at start.
    Iterator,
}

/// Group of an event; the value of `evt.category`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Category {
    /// Files and file systems.
    File,
    /// Of no interest to rules.
    Internal,
    /// Descriptors, neither reading nor writing.
    IoOther,
    /// Reading.
    IoRead,
    /// Writing.
    IoWrite,
    /// Communication between processes.
    Ipc,
    /// Memory.
    Memory,
    /// Sockets.
    Net,
    /// None of the others.
    Other,
    /// Processes and threads.
    Process,
    /// Scheduler.
    Scheduler,
    /// Signals.
    Signal,
    /// Sleeping.
    Sleep,
    /// The machine.
    System,
    /// Clocks and timers.
    Time,
    /// Users and groups.
    User,
    /// Waiting for descriptors.
    Wait,
}

/// Type of an event parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ParamType {
    /// Signed number of that many bits.
    Int(u8),
    /// Unsigned number of that many bits.
    Uint(u8),
    /// Set of named bits, of that many bits.
    Flags(u8),
    /// One of several named numbers, of that many bits.
    EnumFlags(u8),
    /// File mode, printed as names.
    Mode,
    /// Text.
    Text,
    /// Several texts.
    TextArray,
    /// Byte buffer.
    Buffer,
    /// Absolute path.
    Path,
    /// Path relative to a descriptor parameter.
    RelPath,
    /// Return value: a negative error number, or a result.
    Errno,
    /// File descriptor.
    Fd,
    /// List of descriptors with their flags.
    FdList,
    /// Process or thread id.
    Pid,
    /// User id.
    Uid,
    /// Group id.
    Gid,
    /// Signal number.
    Signal,
    /// Set of signals.
    SigSet,
    /// System call number.
    SyscallId,
    /// Socket address.
    SockAddr,
    /// Both addresses of a socket.
    SockTuple,
    /// IPv4 address.
    Ipv4,
    /// IPv6 address.
    Ipv6,
    /// Port number.
    Port,
    /// Relative time, nanoseconds.
    RelTime,
    /// Absolute time, nanoseconds since the epoch.
    AbsTime,
    /// Decided by another parameter.
    Dyn,
}

/// One parameter of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Param {
    /// Name, as in `evt.arg.NAME`.
    pub name: &'static str,
    /// Type.
    pub ty: ParamType,
}

/// The event makes a descriptor.
pub const CREATES_FD: u8 = 1;
/// The event closes a descriptor.
pub const DESTROYS_FD: u8 = 1 << 1;
/// The event is about a descriptor.
pub const USES_FD: u8 = 1 << 2;
/// The event reads from a descriptor.
pub const READS_FD: u8 = 1 << 3;
/// The event writes to a descriptor.
pub const WRITES_FD: u8 = 1 << 4;
/// The event changes process or descriptor state.
pub const MODIFIES_STATE: u8 = 1 << 5;
/// The event waits.
pub const WAITS: u8 = 1 << 6;

/// One event type.
#[derive(Clone, Copy, Debug)]
pub struct EventDef {
    /// Name, the value of `evt.type`.
    pub name: &'static str,
    /// Where it comes from.
    pub kind: EventKind,
    /// Group.
    pub category: Category,
    /// A system call without parameters of its own.
    pub generic: bool,
    /// Facts, such as [`USES_FD`].
    pub flags: u8,
    /// Parameters, in order.
    pub params: &'static [Param],
}

/// Finds a field by its exact name, without argument.
pub fn field(name: &str) -> Option<FieldId> {
    FIELD_INDEX.get(name).copied()
}

/// Finds an event type by its exact name.
pub fn event(name: &str) -> Option<EventId> {
    EVENT_INDEX.get(name).copied()
}

/// Whether any event has a parameter of that name.
pub fn is_param(name: &str) -> bool {
    PARAM_INDEX.contains_key(name)
}

/// Type of the parameter of that name, taken from the first event that has one.
pub fn param_type(name: &str) -> Option<ParamType> {
    PARAM_INDEX.get(name).copied()
}

/// Names of all parameters, each once, in no particular order.
pub fn param_names() -> impl Iterator<Item = &'static str> {
    PARAM_INDEX.keys().copied()
}

static FIELD_INDEX: LazyLock<HashMap<&'static str, FieldId>> =
    LazyLock::new(|| FIELDS.iter().zip(0..).map(|(field, index)| (field.name, FieldId(index))).collect());

static EVENT_INDEX: LazyLock<HashMap<&'static str, EventId>> =
    LazyLock::new(|| EVENTS.iter().zip(0..).map(|(event, index)| (event.name, EventId(index))).collect());

static PARAM_INDEX: LazyLock<HashMap<&'static str, ParamType>> = LazyLock::new(|| {
    let mut index = HashMap::new();
    for param in EVENTS.iter().flat_map(|event| event.params) {
        index.entry(param.name).or_insert(param.ty);
    }
    index
});

impl FieldId {
    /// The table row. Ids made by hand that lie outside the table give the first row.
    pub fn def(self) -> &'static Field {
        FIELDS.get(usize::from(self.0)).unwrap_or(&Field::PLAIN)
    }
}

impl EventId {
    /// The table row, `None` for an id outside the table.
    pub fn def(self) -> Option<&'static EventDef> {
        EVENTS.get(usize::from(self.0))
    }
}

impl Field {
    /// The defaults of a row: no argument, one value, usable everywhere.
    pub(crate) const PLAIN: Self = Self {
        name: "?",
        ty: FieldType::Text,
        bits: 0,
        arg: ArgKind::None,
        list: false,
        filter_only: false,
        hidden: false,
        rhs_ok: true,
        transformer_ok: true,
        deprecated: false,
        suggested: false,
        class: Class::Evt,
        desc: "",
    };
}

impl fmt::Display for FieldId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.def().name)
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.def().map_or("?", |event| event.name))
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Evt => "evt",
            Self::Fd => "fd",
            Self::Fdlist => "fdlist",
            Self::FsPath => "fs.path",
            Self::Group => "group",
            Self::Process => "process",
            Self::User => "user",
            Self::Util => "util",
            Self::Container => "container",
            Self::Trading => "trading",
        })
    }
}

impl fmt::Display for Category {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::File => "file",
            Self::Internal => "internal",
            Self::IoOther => "IO-other",
            Self::IoRead => "IO-read",
            Self::IoWrite => "IO-write",
            Self::Ipc => "ipc",
            Self::Memory => "memory",
            Self::Net => "net",
            Self::Other => "other",
            Self::Process => "process",
            Self::Scheduler => "scheduler",
            Self::Signal => "signal",
            Self::Sleep => "sleep",
            Self::System => "system",
            Self::Time => "time",
            Self::User => "user",
            Self::Wait => "wait",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_agree_with_the_tables() {
        assert_eq!(ids::PROC_NAME.def().name, "proc.name");
        assert_eq!(ids::EVT_NUM.def().ty, FieldType::Uint);
        assert_eq!(event_ids::OPENAT.def().map(|event| event.name), Some("openat"));
        assert_eq!(event_ids::REBOOT.def().map(|event| event.generic), Some(true));
    }

    #[test]
    fn every_name_is_found_at_its_own_place() {
        for (row, index) in FIELDS.iter().zip(0..) {
            assert_eq!(field(row.name), Some(FieldId(index)), "{}", row.name);
            assert!(!row.desc.is_empty() && !row.desc.ends_with('.'), "{}", row.name);
        }
        for (row, index) in EVENTS.iter().zip(0..) {
            assert_eq!(event(row.name), Some(EventId(index)), "{}", row.name);
        }
        assert_eq!(field("evt"), None);
        assert_eq!(event("opena"), None);
    }

    #[test]
    fn parameters_are_known_by_name() {
        assert_eq!(param_type("dirfd"), Some(ParamType::Fd));
        assert!(is_param("oldpath") && !is_param("nosuch"));
    }
}
