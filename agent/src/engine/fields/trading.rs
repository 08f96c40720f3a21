//! Class `trading`: venues, sessions, roles and assets, as [`crate::trading`] finds them in the other fields.

use std::net::{IpAddr, Ipv4Addr};

use rampart_common::event::AttrTag;
use rampart_rules::{
    catalog::{FieldId, event_ids as ev, ids},
    value::{FieldArg, FieldSource, Value},
};

use super::{Class, EventFields, Facts, evt};
use crate::state::process::Process;

/// `setsockopt` level of IPv4.
const LEVEL_IP: u32 = 0;
/// Its options that name a group first: join, leave, and both for one source.
const GROUP_OPTIONS: [u32; 4] = [35, 36, 39, 40];
/// `setpriority` and `ioprio_set` by process id.
const WHICH_PROCESS: [u32; 2] = [0, 1];

pub(super) fn get<'a>(
    fields: &'a EventFields<'_, '_>,
    field: FieldId,
    arg: FieldArg<'_>,
) -> Option<Value<'a>> {
    let facts = fields.facts;
    let trading = facts.context.trading?;
    match field {
        ids::TRADING_ROLE => trading.role(fields),
        ids::TRADING_TARGET_ROLE => {
            let target = Target { fields, process: target(facts)? };
            // What is not known yet of another process is not waited for.
            trading.role(&target).filter(|role| *role != Value::Unknown)
        }
        ids::TRADING_ASSET => trading.asset(fields),
        ids::TRADING_VENUE | ids::TRADING_VENUE_KIND | ids::TRADING_VENUE_LISTED => {
            trading.venue(field, group(facts), fields)
        }
        ids::TRADING_SESSION => {
            let calendar = match arg {
                FieldArg::Key(name) => Some(name),
                _ => None,
            };
            trading.session(facts.context.clock.wall_ns(facts.time_ns()), calendar)
        }
        _ => None,
    }
}

/// The multicast group that a call joins or leaves.
fn group(facts: &Facts<'_>) -> Option<IpAddr> {
    if facts.row.event != ev::SETSOCKOPT {
        return None;
    }
    let (level, option) = (evt::argument(facts, 1) as u32, evt::argument(facts, 2) as u32);
    if level != LEVEL_IP || !GROUP_OPTIONS.contains(&option) {
        return None;
    }
    let octets: [u8; 4] = *facts.event.attr(AttrTag::Bytes)?.bytes.first_chunk()?;
    Some(Ipv4Addr::from(octets).into())
}

/// The other process that a call is about.
fn target<'e>(facts: &Facts<'e>) -> Option<&'e Process> {
    let argument = |index| evt::argument(facts, index) as u32;
    let pid = match facts.row.event {
        ev::PTRACE => argument(1),
        ev::KILL
        | ev::TKILL
        | ev::TGKILL
        | ev::RT_SIGQUEUEINFO
        | ev::RT_TGSIGQUEUEINFO
        | ev::PIDFD_OPEN
        | ev::PROCESS_VM_READV
        | ev::PROCESS_VM_WRITEV
        | ev::PRLIMIT
        | ev::SCHED_SETAFFINITY
        | ev::SCHED_SETSCHEDULER
        | ev::SCHED_SETPARAM
        | ev::SCHED_SETATTR
        | ev::MIGRATE_PAGES
        | ev::MOVE_PAGES => argument(0),
        ev::SETPRIORITY if argument(0) == WHICH_PROCESS[0] => argument(1),
        ev::IOPRIO_SET if argument(0) == WHICH_PROCESS[1] => argument(1),
        _ => from_path(facts)?,
    };
    // A signal may be sent to a group, by its number below zero.
    let pid = if pid.cast_signed() < 0 { pid.cast_signed().unsigned_abs() } else { pid };
    let own = &facts.event.header.task;
    let processes = &facts.context.state.processes;
    let target = if own.pid == own.vpid {
        processes.by_pid(pid)?
    } else {
        // Inside of a pid namespace numbers are its own.
        processes
            .iter()
            .find(|at| at.task.vpid == pid && at.task.pid_ns == own.pid_ns && at.exited_ns.is_none())?
    };
    (target.id.pid != own.pid).then_some(target)
}

/// The process of a path below `/proc`.
fn from_path(facts: &Facts<'_>) -> Option<u32> {
    let path = facts.real_path().or_else(|| facts.path(AttrTag::UserPath))?;
    let rest = path.strip_prefix(b"/proc/")?;
    let number = rest.get(..rest.iter().position(|byte| *byte == b'/')?)?;
    std::str::from_utf8(number).ok()?.parse().ok()
}

/// The fields of an event as if another process had caused it, as far as roles ask for them.
struct Target<'a, 'e, 'f> {
    fields: &'a EventFields<'e, 'f>,
    process: &'e Process,
}

impl FieldSource for Target<'_, '_, '_> {
    fn field<'a>(&'a self, field: FieldId, arg: FieldArg<'_>) -> Value<'a> {
        let image = &self.process.image;
        let value = match field {
            ids::PROC_NAME => Some(Value::Bytes(image.comm())),
            ids::PROC_EXEPATH => image.exe_path().map(Value::Bytes),
            _ if field.def().class == Class::Container => {
                super::container::of_process(self.fields.facts, self.process, field, arg)
            }
            _ => None,
        };
        value.unwrap_or(Value::Null)
    }
}
