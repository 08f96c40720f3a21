//! Which fields are the same on all events that share what is known of a call.
//!
//! An explicit list: a field that is not named here is unknown.

use rampart_common::{
    event::{EXTRA_OPEN_HOW, Family, SLOT_RETURN},
    pushdown::KEY_NUMBERS,
};
use rampart_rules::{
    catalog::{Class, FieldId, ParamType, event_ids as ev, ids},
    value::FieldArg,
};

use super::{
    paths::{self, Found},
    sockets::{Ends, is_address, is_port},
};
use crate::{
    engine::fields::fillable,
    event::{
        names::{OPEN_CREAT, OPEN_TMPFILE, open_flags},
        syscall::{Row, Source},
    },
};

/// What is known of a call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known<'p> {
    /// Its row.
    pub(super) row: &'static Row,
    /// Whether it failed.
    pub(super) failed: bool,
    /// Its numbers: which argument (or word of `open_how`) has which value.
    pub(super) numbers: [Option<(u8, u64)>; KEY_NUMBERS],
    /// Its path.
    pub(super) path: Option<Found>,
    /// Its socket.
    pub(super) socket: Option<Ends<'p>>,
}

impl Known<'_> {
    /// The value of an argument.
    fn argument(&self, argument: u8) -> Option<u64> {
        let plain = self.row.plan.extra_kind != EXTRA_OPEN_HOW;
        plain.then(|| self.number(argument)).flatten()
    }

    /// The value of a word of `open_how`.
    fn word(&self, word: u8) -> Option<u64> {
        let structure = self.row.plan.extra_kind == EXTRA_OPEN_HOW;
        structure.then(|| self.number(word)).flatten()
    }

    fn number(&self, argument: u8) -> Option<u64> {
        self.numbers.iter().flatten().find(|(known, _)| *known == argument).map(|(_, value)| *value)
    }

    /// Whether a field has one value on all events of which this is known. For values that may differ in ways that are
    /// tried one by one (see [`super::call`]) it is true as well.
    pub(super) fn has(&self, field: FieldId, arg: FieldArg<'_>) -> bool {
        if !fillable(field) {
            return true;
        }
        match field.def().class {
            Class::Evt => self.has_evt(field, arg),
            Class::Fd => self.has_fd(field, arg),
            Class::FsPath => self.has_fs_path(field),
            Class::Fdlist | Class::Util => true,
            // What these imply of paths and addresses stands beside them in the rule, see `trading`.
            Class::Process | Class::User | Class::Group | Class::Container | Class::Trading => false,
        }
    }

    fn has_evt(&self, field: FieldId, arg: FieldArg<'_>) -> bool {
        let row = self.row;
        match field {
            ids::EVT_TYPE
            | ids::EVT_TYPE_IS
            | ids::SYSCALL_TYPE
            | ids::EVT_CATEGORY
            | ids::EVT_DIR
            | ids::EVT_SOURCE
            | ids::EVT_IS_IO
            | ids::EVT_IS_IO_READ
            | ids::EVT_IS_IO_WRITE
            | ids::EVT_IO_DIR
            | ids::EVT_IS_WAIT
            | ids::EVT_COUNT
            | ids::EVT_COUNT_EXIT
            | ids::EVT_IS_ASYNC
            | ids::EVT_IS_SYSLOG
            | ids::EVT_FAILED
            | ids::EVT_COUNT_ERROR
            | ids::EVT_COUNT_ERROR_FILE
            | ids::EVT_COUNT_ERROR_NET
            | ids::EVT_COUNT_ERROR_MEMORY
            | ids::EVT_COUNT_ERROR_OTHER => true,
            ids::EVT_RES => !self.failed,
            ids::EVT_IS_OPEN_READ | ids::EVT_IS_OPEN_WRITE => self.open_flags().is_some(),
            ids::EVT_IS_OPEN_EXEC => self.has_creation_mode(),
            ids::EVT_IS_OPEN_CREATE => row.family != Family::Open || self.has_file(),
            ids::EVT_ABSPATH => match arg {
                FieldArg::Key("path" | "src") => row.plan.path == 0,
                FieldArg::Key("dst") => row.plan.path2 == 0,
                _ => true,
            },
            ids::EVT_ARG | ids::EVT_RAWARG => self.has_parameter(field, arg),
            _ => false,
        }
    }

    /// The open flags of the call, zero where it has none.
    fn open_flags(&self) -> Option<u32> {
        let flags = match self.row.event {
            ev::OPEN => self.argument(1),
            ev::OPENAT | ev::OPEN_BY_HANDLE_AT => self.argument(2),
            ev::OPENAT2 => self.word(0),
            _ => return Some(0),
        };
        flags.map(|flags| open_flags(flags as u32))
    }

    fn has_creation_mode(&self) -> bool {
        match self.row.event {
            ev::CREAT => self.argument(1).is_some(),
            ev::OPENAT2 => self.word(0).is_some() && self.word(1).is_some(),
            // Calls that make no file have none, whatever the register holds.
            _ => self.open_flags().is_some_and(|flags| flags & (OPEN_CREAT | OPEN_TMPFILE) == 0),
        }
    }

    /// Whether it is known enough of the file that was opened: there is none, or it has a path, so it is a file.
    fn has_file(&self) -> bool {
        self.failed || self.path.is_some()
    }

    fn has_parameter(&self, field: FieldId, arg: FieldArg<'_>) -> bool {
        let row = self.row;
        let (Some(source), Some(param)) = (paths::source(row, arg), paths::param(row, arg)) else {
            // The event has no such parameter.
            return true;
        };
        let known = |argument| self.argument(argument).is_some();
        match source {
            Source::Missing | Source::CallName | Source::CallNumber => true,
            Source::Bits(argument, _) | Source::Named(argument, _) => known(argument),
            Source::Option(level, option) => known(level) && known(option),
            Source::OpenFlags(argument) => known(argument) && (row.family != Family::Open || self.has_file()),
            Source::HowFlags => self.word(0).is_some() && self.has_file(),
            Source::HowResolve => self.word(2).is_some(),
            Source::Mode(argument) if param.ty == ParamType::Mode => known(argument),
            Source::Mode(_) | Source::HowMode => self.has_creation_mode(),
            // Names of descriptors, processes and users come from elsewhere.
            Source::Arg(argument) => {
                let named = matches!(
                    param.ty,
                    ParamType::Fd | ParamType::Pid | ParamType::Uid | ParamType::Gid | ParamType::Errno
                );
                known(argument) && (field == ids::EVT_RAWARG || !named)
            }
            _ => false,
        }
    }

    fn has_fd(&self, field: FieldId, arg: FieldArg<'_>) -> bool {
        match self.row.family {
            Family::Open => self.has_opened(field),
            Family::Net => self.has_socket(field, arg),
            Family::Fd => field == ids::FD_NAMERAW,
            // Events without a descriptor.
            _ => true,
        }
    }

    fn has_opened(&self, field: FieldId) -> bool {
        match field {
            ids::FD_TYPE | ids::FD_TYPECHAR | ids::FD_SOCKFAMILY => {
                self.has_file() && self.open_flags().is_some()
            }
            ids::FD_REALPATH
            | ids::FD_DEV
            | ids::FD_DEV_MAJOR
            | ids::FD_DEV_MINOR
            | ids::FD_INO
            | ids::FD_IS_UPPER_LAYER
            | ids::FD_IS_LOWER_LAYER => self.failed,
            // Without a path that was asked for and a file that was opened there is none.
            ids::FD_NAME | ids::FD_FILENAME | ids::FD_DIRECTORY => self.failed && self.row.plan.path == 0,
            ids::FD_NAMERAW => self.row.plan.path == 0,
            _ => false,
        }
    }

    fn has_socket(&self, field: FieldId, arg: FieldArg<'_>) -> bool {
        // Sockets have no file.
        if matches!(field, ids::FD_FILENAME | ids::FD_DIRECTORY | ids::FD_NAMERAW) {
            return true;
        }
        // The call that should have made the socket failed: nothing is known of one because there is none.
        if self.failed && self.row.plan.fd == SLOT_RETURN {
            return match field {
                ids::FD_TYPE | ids::FD_TYPECHAR | ids::FD_SOCKFAMILY | ids::FD_L4PROTO => {
                    self.row.event != ev::SOCKET || self.argument(0).is_some()
                }
                other => is_of_tuple(other) || other == ids::FD_CONNECTED,
            };
        }
        let Some(ends) = self.socket else { return false };
        match field {
            ids::FD_TYPE | ids::FD_TYPECHAR => ends.kind_known(),
            ids::FD_TYPES => ends.kind_known() && arg == FieldArg::None,
            ids::FD_SOCKFAMILY | ids::FD_L4PROTO => true,
            ids::FD_CONNECTED => self.row.event == ev::CONNECT && !self.failed,
            other if is_of_tuple(other) => ends.known(),
            _ => false,
        }
    }

    fn has_fs_path(&self, field: FieldId) -> bool {
        if self.failed || !matches!(self.row.family, Family::Open | Family::Path) {
            return true;
        }
        match field {
            ids::FS_PATH_NAME | ids::FS_PATH_NAMERAW => self.row.plan.path == 0,
            ids::FS_PATH_REALNAME => false,
            // Two paths have these, one has not.
            _ => self.row.plan.path2 == 0,
        }
    }
}

/// Whether a field depends on the addresses of the socket and its role.
pub(super) fn is_of_tuple(field: FieldId) -> bool {
    is_address(field) || is_port(field) || field == ids::FD_IS_SERVER
}
