//! Classes `user` and `group`.

use rampart_rules::{
    catalog::{FieldId, ids},
    value::Value,
};

use super::Facts;
use crate::state::{
    container::table::KnownNames,
    users::{NameTable, Names, User},
};

/// What Falco shows for an id without a name.
const UNKNOWN: &[u8] = b"<NA>";

pub(super) fn get<'e>(facts: &Facts<'e>, field: FieldId) -> Value<'e> {
    let task = &facts.event.header.task;
    let host = &facts.context.state.names;
    // The effective ids: they decide what the process may do.
    let number = match field {
        ids::USER_UID => return Value::Uint(u64::from(task.euid)),
        ids::GROUP_GID => return Value::Uint(u64::from(task.egid)),
        ids::USER_LOGINUID => {
            return Value::Int(if task.loginuid == u32::MAX { -1 } else { i64::from(task.loginuid) });
        }
        // Logins are the host's.
        ids::USER_LOGINNAME => {
            let name = if task.loginuid == u32::MAX { None } else { host.user_name(task.loginuid) };
            return Value::Bytes(name.unwrap_or(UNKNOWN));
        }
        ids::GROUP_NAME => task.egid,
        _ => task.euid,
    };
    let names = Whose::of(facts);
    match (names.field(field, number), names) {
        (None, Whose::Pending) => Value::Unknown,
        (value, _) => Value::Bytes(value.unwrap_or(UNKNOWN)),
    }
}

/// A name that was not known when the event came, with what is known by now.
pub(in crate::engine) fn late(names: KnownNames<'_>, field: FieldId, uid: u32, gid: u32) -> Value<'_> {
    let number = if field == ids::GROUP_NAME { gid } else { uid };
    let names = match names {
        KnownNames::Own(names) => Whose::Container(names),
        KnownNames::Pending | KnownNames::None | KnownNames::Host => Whose::Nobody,
    };
    Value::Bytes(names.field(field, number).unwrap_or(UNKNOWN))
}

/// The names that count for the event's process.
#[derive(Clone, Copy)]
pub(super) enum Whose<'e> {
    /// The host's.
    Host(&'e Names),
    /// The container's.
    Container(&'e NameTable),
    /// The container's, which are being read.
    Pending,
    /// The container's, which cannot be read.
    Nobody,
}

impl<'e> Whose<'e> {
    pub(super) fn of(facts: &Facts<'e>) -> Self {
        let state = facts.context.state;
        match facts.process.and_then(|process| process.container.as_ref()) {
            None => Self::Host(&state.names),
            Some(container) => match state.containers.names(container) {
                KnownNames::Own(names) => Self::Container(names),
                KnownNames::Pending => Self::Pending,
                KnownNames::None => Self::Nobody,
                KnownNames::Host => Self::Host(&state.names),
            },
        }
    }

    fn field(self, field: FieldId, number: u32) -> Option<&'e [u8]> {
        match field {
            ids::USER_NAME => self.user_name(number),
            ids::USER_HOMEDIR => self.user(number).map(|user| &*user.home),
            ids::USER_SHELL => self.user(number).map(|user| &*user.shell),
            ids::GROUP_NAME => self.group_name(number),
            _ => None,
        }
    }

    fn user(self, uid: u32) -> Option<&'e User> {
        match self {
            Self::Host(names) => names.user(uid),
            Self::Container(names) => names.user(uid),
            Self::Pending | Self::Nobody => None,
        }
    }

    /// Name of a user; uid 0 is `root` everywhere.
    pub(super) fn user_name(self, uid: u32) -> Option<&'e [u8]> {
        match self {
            Self::Host(names) => names.user_name(uid),
            Self::Container(names) => names.user_name(uid),
            Self::Pending | Self::Nobody => (uid == 0).then_some(b"root"),
        }
    }

    /// Name of a group; gid 0 is `root` everywhere.
    pub(super) fn group_name(self, gid: u32) -> Option<&'e [u8]> {
        match self {
            Self::Host(names) => names.group_name(gid),
            Self::Container(names) => names.group_name(gid),
            Self::Pending | Self::Nobody => (gid == 0).then_some(b"root"),
        }
    }
}
