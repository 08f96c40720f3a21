//! The cells of a record's buffer: numbers that loops and programs keep there, of which the verifier then knows nothing,
//! so that it sees each turn of a loop, and each way through a program, once.

use core::arch::asm;

macro_rules! cells {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        #[expect(non_camel_case_types, clippy::upper_case_acronyms, reason = "names of constants")]
        #[repr(usize)]
        enum Cell { $($name,)* COUNT }
        $($(#[$doc])* pub(crate) const $name: usize = Cell::$name as usize;)*
        /// How many cells there are.
        pub(crate) const COUNT: usize = Cell::COUNT as usize;
    };
}

cells! {
    /// Rule set, call and result.
    CALL,
    /// Where the text of the given path starts; 0 = it could not be read.
    TEXT,
    /// Its length.
    LENGTH,
    /// 1 when it is relative.
    RELATIVE,
    /// 1 as long as everything there is to know of the paths is known.
    COMPLETE,
    /// 1 when the given path leads, name by name, to where the file is: there is one path to judge by.
    SAME,
    /// 1 when moreover the given path is the file's, byte by byte.
    VERBATIM,
    /// 1 when the names of the file are whole.
    FILE_WHOLE,
    /// 1 when the names of the directory are whole.
    BASE_WHOLE,
    /// Where the file is: the entry; 0 = there is no file.
    FILE_DENTRY,
    /// Where the file is: the mount.
    FILE_MOUNT,
    /// Names of the file.
    FILE_NAMES,
    /// Index of the first name of the directory that the given path starts from.
    BASE_FIRST,
    /// How many they are.
    BASE_NAMES,
    /// Word that they begin at.
    BASE_AT,
    /// Where the attribute being written begins.
    ATTRIBUTE,
    /// Where a walk is: the entry.
    DENTRY,
    /// Where a walk is: the mount.
    MOUNT,
    /// Where the walk ends: the entry.
    END_DENTRY,
    /// Where the walk ends: the mount.
    END_MOUNT,
    /// The directory that a relative path starts from: the entry.
    BASE_DENTRY,
    /// The directory that a relative path starts from: the mount.
    BASE_MOUNT,
    /// The root of the task: the entry.
    ROOT_DENTRY,
    /// The root of the task: the mount.
    ROOT_MOUNT,
    /// 1 when the walk ends at that root, 0 when it goes on to the root of the mount namespace.
    TO_ROOT,
    /// Names below the task's root, once the walk was there.
    BELOW_ROOT,
    /// Where the given path began when the walk was at the directory it starts from.
    FROM_BASE,
    /// Not 0 when a name behind that directory differed from the given path.
    FROM_BASE_DIFFERS,
    /// Names before that directory.
    FROM_BASE_NAMES,
    /// Words before it.
    FROM_BASE_AT,
    /// Where the part of the given path ends that has not been compared.
    REST,
    /// Not 0 once a name differed from the given path.
    DIFFERS,
    /// Words of the trail so far.
    WORDS,
    /// Names of the trail so far.
    NAMES,
    /// A hash of all words of the trail.
    HASH,
    /// What the path is remembered by, besides its names: call and result.
    HEAD,
    /// What the path is remembered by, besides its names: how they are to be read.
    SHAPE,
    /// Names still to be left out.
    SKIP,
    /// What the name being read is.
    NAME,
    /// Whether any name was read.
    NAMED,
    /// Offset behind the next byte.
    NEXT,
    /// Index of the next name to be read.
    INDEX,
    /// Word that it begins at.
    SCAN_AT,
    /// Index at which there are no more.
    END_INDEX,
    /// Bytes left of the name being read.
    LEFT,
    /// State of the automaton.
    STATE,
    /// 1 when the record says how many events were counted before it.
    COUNTED,
}

/// The number, of which the compiler then knows nothing.
#[inline(always)]
pub(crate) fn unknown(mut number: u64) -> u64 {
    // SAFETY: does nothing.
    unsafe {
        asm!("/* {0} */", inout(reg) number, options(pure, nomem, nostack, preserves_flags));
    }
    number
}
