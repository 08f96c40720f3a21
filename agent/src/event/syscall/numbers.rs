//! Which arguments of a call count for pushdown: those that few different numbers are given for (flags, modes,
//! commands) and that parameters of the event show. Never addresses, sizes, process ids or descriptors: each would
//! make every call a new one.

use rampart_common::{
    event::{ArgSlot, EXTRA_OPEN_HOW, Family},
    pushdown::KEY_NUMBERS,
};
use rampart_rules::catalog::event_ids as ev;

use super::{Row, Source};

/// Arguments that are plain numbers to the catalogue, yet of few values: the request of `ioctl`, type and protocol
/// of `socket`.
fn plain(row: &Row, argument: u8) -> bool {
    matches!((row.event, argument), (ev::IOCTL, 1) | (ev::SOCKET, 1 | 2))
}

/// The slots of [`rampart_common::event::SyscallPlan::numbers`] for a row.
pub fn numbers(row: &Row) -> [ArgSlot; KEY_NUMBERS] {
    if row.plan.extra_kind == EXTRA_OPEN_HOW {
        return [1, 2, 3];
    }
    let mut found = [0; KEY_NUMBERS];
    let mut free = found.iter_mut();
    let mut taken: Vec<u8> = Vec::new();
    let mut take = |argument: u8| {
        if !taken.contains(&argument)
            && let Some(slot) = free.next()
        {
            taken.push(argument);
            *slot = argument + 1;
        }
    };
    for source in row.params {
        match *source {
            Source::Bits(argument, _) | Source::Named(argument, _) | Source::OpenFlags(argument) => {
                take(argument);
            }
            Source::Arg(argument) if plain(row, argument) => take(argument),
            Source::Option(level, option) => {
                take(level);
                take(option);
            }
            // Without `O_CREAT` the register of an open's mode holds whatever was in it.
            Source::Mode(argument) if row.family != Family::Open || row.event == ev::CREAT => take(argument),
            _ => {}
        }
    }
    found
}
