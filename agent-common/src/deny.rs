//! Deny: operations that the kernel refuses before they happen, because a rule is certain to be true of them.
//!
//! The dual of [`crate::pushdown`]: a mask there says which rules *may* be true, here a bit says that something *is* true.
//! A condition becomes *terms*, each a conjunction of comparisons, and each comparison is about one thing: the operation
//! itself (which, how a file is opened, what kind of file it is), the path or address it is about, the executable, the name
//! and the user of the process. For each of these things a table gives the terms whose comparisons on it all hold. A term
//! that is in all tables' answers is true, so its rule is, and the operation is refused, or counted.
//!
//! What processes run is remembered in the kernel by the kernel: their exec writes it, a fork copies it, their end removes it.
//! So nobody has to be asked and nothing has to be awaited. What is not known (no entry, a path that is too long) refuses
//! nothing: the operation goes on, and is counted as undecided.
//!
//! Tables lie in one of two slots by the parity of their generation, as those of pushdown do.

#![expect(clippy::inline_always, reason = "kernel programs are made of it: a call is not free there")]

use crate::event::TaskFacts;

/// A set of terms, a bit each.
pub type Terms = u64;

/// Terms of all rules together.
pub const TERMS: usize = 64;

/// Bytes of a path that are compared: longer ones are known by their beginning.
pub const PATH_BYTES: usize = 255;
/// Longest path that is judged at all.
pub const WALK_BYTES: usize = 1024;
/// Longest name of an executable that can be protected by name.
pub const FILE_NAME_BYTES: usize = 64;
/// Bytes of a process's name, as `task_struct.comm` holds it.
pub const NAME_BYTES: usize = 16;

/// What a program would do.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    /// Open a file.
    Open = 0,
    /// Run a file.
    Exec = 1,
    /// Connect a socket.
    Connect = 2,
}

impl Operation {
    /// All.
    pub const ALL: [Self; 3] = [Self::Open, Self::Exec, Self::Connect];

    /// Word in alerts and messages.
    #[cfg(feature = "user")]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Exec => "exec",
            Self::Connect => "connect",
        }
    }
}

/// The classes of an open: access mode (`O_RDONLY`, `O_WRONLY`, `O_RDWR`, none), and whether only a directory will do.
pub const OPEN_CLASSES: usize = 8;

/// Kinds of sockets that are told apart.
pub const SOCKET_KINDS: usize = 8;
/// The class of an open.
#[inline(always)]
pub const fn open_class(access: usize, directory: bool) -> usize {
    (access & 3) * 2 + directory as usize
}

/// The class of a connect: 1 when the socket's family is IPv6, 2 when it is so and the address is one of IPv4, plus 4 when
/// the protocol is UDP. Of other protocols nothing is decided.
#[inline(always)]
pub const fn socket_class(v6: bool, mapped: bool, udp: bool) -> usize {
    (if udp { 4 } else { 0 })
        + if mapped {
            2
        } else if v6 {
            1
        } else {
            0
        }
}

/// [`Settings::flags`]: a process's control group must be known, because its namespace may be protected.
pub const NEEDS_GROUP: u32 = 1;

/// What is in force in one slot: terms that do not depend on a look-up.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Generation of the slot's tables.
    pub generation: u32,
    /// `NEEDS_GROUP`.
    pub flags: u32,
    /// The agent's process id: it and its children are never refused anything.
    pub own: u32,
    /// Always zero.
    pub pad: u32,
    /// Terms about opening files, by [`open_class`].
    pub open: [Terms; OPEN_CLASSES],
    /// Terms about connecting sockets, by [`socket_class`].
    pub connect: [Terms; SOCKET_KINDS],
    /// Terms about running files.
    pub exec: Terms,
    /// Terms that hold for users that have no entry.
    pub other_users: Terms,
    /// Terms that hold for names that have no entry.
    pub other_names: Terms,
    /// Terms that hold for ports that have no entry.
    pub other_ports: Terms,
    /// Terms that hold whatever the name of the process is.
    pub nameless: Terms,
    /// How far terms go: changed in place, without another generation.
    pub switch: Switch,
}

/// Words of [`Settings`] as its map takes it.
#[cfg(feature = "user")]
pub const SETTINGS_WORDS: usize = size_of::<Settings>() / 8;

#[cfg(feature = "user")]
impl Settings {
    /// The settings as their map takes them.
    pub fn to_words(&self) -> [u64; SETTINGS_WORDS] {
        let two = |low: u32, high: u32| {
            let mut bytes = [0; 8];
            bytes.iter_mut().zip(low.to_ne_bytes().into_iter().chain(high.to_ne_bytes())).for_each(
                |(to, from)| {
                    *to = from;
                },
            );
            u64::from_ne_bytes(bytes)
        };
        let mut words = [0; SETTINGS_WORDS];
        let head = [two(self.generation, self.flags), two(self.own, self.pad)];
        let tail = [
            self.exec,
            self.other_users,
            self.other_names,
            self.other_ports,
            self.nameless,
            self.switch.enforce,
            self.switch.observe,
        ];
        let all = head.into_iter().chain(self.open).chain(self.connect).chain(tail);
        words.iter_mut().zip(all).for_each(|(to, from)| *to = from);
        words
    }
}

/// How far terms go.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Switch {
    /// Terms whose operations are refused.
    pub enforce: Terms,
    /// Terms whose operations are only counted.
    pub observe: Terms,
}

/// Key of the tables of paths, a longest-prefix match. A path ends with NUL, so an entry that does is a whole path and
/// another one the beginning of paths.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PathKey {
    /// Slot.
    pub slot: u8,
    /// The path, and NUL when it fits.
    pub path: [u8; PATH_BYTES],
}

/// What is known of paths that begin like this.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PathTerms {
    /// Terms that hold.
    pub terms: Terms,
    /// `PATH_*` bits.
    pub flags: u64,
}

/// [`PathTerms::flags`], of an executable: who runs it on the node itself is protected.
pub const PATH_PROTECTED: u64 = 1;
/// [`PathTerms::flags`], of an executable: it lies in a directory of the system, where names are trusted.
pub const PATH_SYSTEM: u64 = 1 << 1;

/// Key of the tables of names.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct NameKey {
    /// Slot.
    pub slot: u64,
    /// Name of a process, filled up with NUL.
    pub name: [u8; NAME_BYTES],
}

/// Key of the tables of users and ports.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct NumberKey {
    /// Slot.
    pub slot: u32,
    /// The number.
    pub number: u32,
}

/// What a process runs. Key of the map: process id.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Running {
    /// Start of the process in ticks of 10 ms of the boot clock.
    pub start_ticks: u64,
    /// Bytes of the executable's path; 0 = it is not known.
    pub exe_len: u32,
    /// Bytes of its last name.
    pub file_len: u32,
    /// Name that exec gave it; empty = not known.
    pub name: [u8; NAME_BYTES],
    /// Path of the executable as the process's root directory shows it, NUL behind it.
    pub exe: [u8; PATH_BYTES + 1],
}

/// Nanoseconds of a tick.
pub const TICK_NS: u64 = 10_000_000;

/// Words of [`Running`] as its map takes it.
#[cfg(feature = "user")]
pub const RUNNING_WORDS: usize = size_of::<Running>() / 8;

#[cfg(feature = "user")]
impl Running {
    /// What a process runs; `None` when the path is too long, or none.
    pub fn new(start_ticks: u64, name: Option<&[u8]>, exe: &[u8]) -> Option<Self> {
        let mut running = Self {
            start_ticks,
            exe_len: exe.len() as u32,
            file_len: exe.rsplit(|byte| *byte == b'/').next()?.len() as u32,
            name: [0; NAME_BYTES],
            exe: [0; PATH_BYTES + 1],
        };
        running.exe.get_mut(..PATH_BYTES)?.get_mut(..exe.len())?.copy_from_slice(exe);
        let name = name.unwrap_or_default();
        running.name.iter_mut().take(NAME_BYTES - 1).zip(name).for_each(|(to, from)| *to = *from);
        exe.starts_with(b"/").then_some(running)
    }

    /// As its map takes it.
    pub fn to_words(&self) -> [u64; RUNNING_WORDS] {
        let numbers = self.start_ticks.to_ne_bytes().into_iter();
        let lens = self.exe_len.to_ne_bytes().into_iter().chain(self.file_len.to_ne_bytes());
        words(numbers.chain(lens).chain(self.name).chain(self.exe))
    }
}

/// Bytes as words.
#[cfg(feature = "user")]
fn words<const N: usize>(mut bytes: impl Iterator<Item = u8>) -> [u64; N] {
    let mut words = [0; N];
    for word in &mut words {
        let mut eight = [0; 8];
        eight.iter_mut().zip(&mut bytes).for_each(|(to, from)| *to = from);
        *word = u64::from_ne_bytes(eight);
    }
    words
}

/// What becomes of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    Pass,
    /// It goes on, and would be refused for this term.
    Observe(u32),
    /// It is refused for this term.
    Refuse(u32),
}

/// The terms in force.
#[inline(always)]
pub const fn armed(switch: &Switch) -> Terms {
    switch.enforce | switch.observe
}

/// What becomes of an operation of which these terms are true. The first that refuses counts.
#[inline(always)]
pub const fn verdict(terms: Terms, switch: &Switch) -> Verdict {
    let refusing = terms & switch.enforce;
    if refusing != 0 {
        return Verdict::Refuse(refusing.trailing_zeros());
    }
    let observing = terms & switch.observe;
    if observing != 0 { Verdict::Observe(observing.trailing_zeros()) } else { Verdict::Pass }
}

/// [`Notice::outcome`]: the operation was refused.
pub const REFUSED: u8 = 1;
/// [`Notice::outcome`]: it would have been.
pub const OBSERVED: u8 = 2;
/// [`Notice::outcome`]: what the process runs is not known.
pub const UNKNOWN_PROCESS: u8 = 3;
/// [`Notice::outcome`]: what the process's control group is, is not known.
pub const UNKNOWN_GROUP: u8 = 4;

/// Bytes of a path that a notice shows.
pub const SHOWN_BYTES: usize = 512;

/// What the programs tell of an operation.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Notice {
    /// Boot clock, nanoseconds.
    pub time_ns: u64,
    /// Generation by which it was judged.
    pub generation: u32,
    /// The term.
    pub term: u8,
    /// [`Operation`].
    pub operation: u8,
    /// `REFUSED`, …
    pub outcome: u8,
    /// Protocol of a socket.
    pub protocol: u8,
    /// Flags of the open file, or the remote port.
    pub number: u32,
    /// Mode of the file, or the address family of the socket.
    pub mode: u32,
    /// Bytes of the path, which may be more than are shown.
    pub path_len: u32,
    /// Always zero.
    pub pad: u32,
    /// The remote address, in its IPv6 form.
    pub address: [u8; 16],
    /// Who.
    pub task: TaskFacts,
    /// The path; its beginning when it is longer.
    pub path: [u8; SHOWN_BYTES],
}

/// What is counted per term.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Operations that were refused.
    pub refused: u64,
    /// Operations that would have been.
    pub observed: u64,
    /// Of those, the ones that are not told because there were too many in the second.
    pub untold: u64,
}

/// Index of [`MAP_UNDECIDED`]: what the process runs is not known.
pub const UNDECIDED_PROCESS: u32 = 0;
/// Index of [`MAP_UNDECIDED`]: its control group is not known.
pub const UNDECIDED_GROUP: u32 = 1;
/// Index of [`MAP_UNDECIDED`]: a path is too long, or leads to no root.
pub const UNDECIDED_PATH: u32 = 2;
/// Index of [`MAP_UNDECIDED`]: no buffer was free.
pub const UNDECIDED_BUSY: u32 = 3;
/// Entries of [`MAP_UNDECIDED`].
pub const UNDECIDED_KINDS: u32 = 4;

/// Array with two entries, [`Settings`].
pub const MAP_SETTINGS: &str = "DENY_SETTINGS";
/// Array with one entry, u64: generation in force; 0 = nothing is.
pub const MAP_GENERATION: &str = "DENY_GENERATION";
/// Longest prefix match, [`PathKey`] → [`PathTerms`]: what operations are about.
pub const MAP_PATHS: &str = "DENY_PATHS";
/// Longest prefix match, [`PathKey`] → [`PathTerms`]: executables.
pub const MAP_EXES: &str = "DENY_EXES";
/// Longest prefix match, [`crate::pushdown::AddressKey`] → [`Terms`]: remote addresses.
pub const MAP_ADDRESSES: &str = "DENY_ADDRESSES";
/// Hash, [`NumberKey`] → [`Terms`]: remote ports.
pub const MAP_PORTS: &str = "DENY_PORTS";
/// Hash, [`NumberKey`] → [`Terms`]: users.
pub const MAP_USERS: &str = "DENY_USERS";
/// Hash, [`NameKey`] → [`Terms`]: names of processes.
pub const MAP_NAMES: &str = "DENY_NAMES";
/// Hash, name of an executable (`FILE_NAME_BYTES`) → u32: programs of the node.
pub const MAP_PROTECTED: &str = "DENY_PROTECTED";
/// Hash, process id → u32: the agent's parents.
pub const MAP_SPARED: &str = "DENY_SPARED";
/// Hash, control group → u32: 0 = its pods may be refused something, 1 = they are protected.
pub const MAP_GROUPS: &str = "DENY_GROUPS";
/// Hash, process id → [`Running`].
pub const MAP_RUNNING: &str = "DENY_RUNNING";
/// Per-CPU array, term → [`Counts`].
pub const MAP_COUNTS: &str = "DENY_COUNTS";
/// Per-CPU array, `UNDECIDED_*` → u64.
pub const MAP_UNDECIDED: &str = "DENY_UNDECIDED";
/// Array with one entry, u64: not 0 once a hook was asked while nothing is in force. A kernel without `bpf` among its security
/// modules takes the programs and never asks them.
pub const MAP_ASKED: &str = "DENY_ASKED";
/// Ring buffer of [`Notice`].
pub const MAP_NOTICES: &str = "DENY_NOTICES";

/// Entries of tables of paths and addresses, both slots together.
pub const TABLE_ENTRIES: u32 = 16 * 1024;
/// Entries of tables of names, users and ports, both slots together.
pub const HASH_ENTRIES: u32 = 4 * 1024;
/// Processes at most.
pub const RUNNING_ENTRIES: u32 = 32 * 1024;
/// Control groups at most.
pub const GROUP_ENTRIES: u32 = 8 * 1024;

/// Programs at security hooks, with the hook of each.
pub const HOOKS: [(&str, &str); 3] =
    [("deny_open", "file_open"), ("deny_exec", "bprm_creds_from_file"), ("deny_connect", "socket_connect")];
/// Programs that follow processes, with the tracepoint of each.
pub const FOLLOWERS: [(&str, &str); 3] = [
    ("deny_image", "sched_process_exec"),
    ("deny_fork", "sched_process_fork"),
    ("deny_exit", "sched_process_exit"),
];

const _: () = assert!(size_of::<PathKey>() == 256);
const _: () = assert!(size_of::<Running>() == 288);
const _: () = assert!(size_of::<Notice>() == 48 + 144 + SHOWN_BYTES);
const _: () = assert!(size_of::<Settings>().is_multiple_of(8));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_term_that_refuses_counts_and_what_is_off_does_nothing() {
        let switch = Switch { enforce: 0b1100, observe: 0b0011 };
        assert_eq!(verdict(0, &switch), Verdict::Pass);
        assert_eq!(verdict(0b10_0000, &switch), Verdict::Pass);
        assert_eq!(verdict(0b0010, &switch), Verdict::Observe(1));
        assert_eq!(verdict(0b1110, &switch), Verdict::Refuse(2), "what refuses goes before what observes");
        assert_eq!(armed(&switch), 0b1111);
    }

    #[test]
    fn classes_are_distinct_and_inside() {
        let mut seen = [false; OPEN_CLASSES];
        for access in 0..4 {
            for directory in [false, true] {
                assert!(!core::mem::replace(&mut seen[open_class(access, directory)], true));
            }
        }
        for (v6, mapped, udp) in [(true, true, true), (true, false, false), (false, false, true)] {
            assert!(socket_class(v6, mapped, udp) < SOCKET_KINDS);
        }
    }

    #[cfg(feature = "user")]
    #[test]
    fn what_a_process_runs_is_told_by_its_path() {
        let running = Running::new(7, Some(b"a-name-that-is-too-long"), b"/usr/bin/true").unwrap();
        assert_eq!((running.exe_len, running.file_len), (13, 4));
        assert_eq!(&running.name, b"a-name-that-is-\0");
        assert_eq!(&running.exe[..14], b"/usr/bin/true\0");
        assert!(Running::new(7, None, b"memfd:x").is_none());
        assert!(Running::new(7, None, &[b'/'; 256]).is_none());
    }
}
