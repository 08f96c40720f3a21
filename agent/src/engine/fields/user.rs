//! Classes `user` and `group`.

use rampart_rules::{
    catalog::{FieldId, ids},
    value::Value,
};

use super::Facts;

/// What Falco shows for an id without a name.
const UNKNOWN: &[u8] = b"<NA>";

pub(super) fn get<'e>(facts: &Facts<'e>, field: FieldId) -> Option<Value<'e>> {
    let task = &facts.event.header.task;
    let names = &facts.context.state.names;
    // The effective ids: they decide what the process may do.
    Some(match field {
        ids::USER_UID => Value::Uint(u64::from(task.euid)),
        ids::USER_NAME => Value::Bytes(names.user_name(task.euid).unwrap_or(UNKNOWN)),
        ids::USER_HOMEDIR => Value::Bytes(names.user(task.euid).map_or(UNKNOWN, |user| &user.home)),
        ids::USER_SHELL => Value::Bytes(names.user(task.euid).map_or(UNKNOWN, |user| &user.shell)),
        ids::USER_LOGINUID => Value::Int(match task.loginuid {
            u32::MAX => -1,
            uid => i64::from(uid),
        }),
        ids::USER_LOGINNAME => Value::Bytes(match task.loginuid {
            u32::MAX => UNKNOWN,
            uid => names.user_name(uid).unwrap_or(UNKNOWN),
        }),
        ids::GROUP_GID => Value::Uint(u64::from(task.egid)),
        ids::GROUP_NAME => Value::Bytes(names.group_name(task.egid).unwrap_or(UNKNOWN)),
        _ => return None,
    })
}
