//! Calls on sockets.

use rampart_common::event::{Family, SyscallPlan};
use rampart_rules::catalog::event_ids as ev;

use super::{
    Row,
    Source::{
        Addr, Arg, Backlog, BacklogMax, BacklogShare, Data, Missing, Moved, Named, Option as SocketOption,
        Ret, Tuple, Word,
    },
    every,
    plan::{ACCEPTED, ADDRESS, FD, MESSAGE, NEW_FD, NONE, RECEIVE_FROM, SEND_TO, bytes},
    row,
};
use crate::event::names::{shutdown_direction, socket_domain, socket_level};

pub(super) static ROWS: &[Row] = &[
    row(
        ev::SOCKET,
        every!(SYS_socket),
        Family::Net,
        NEW_FD,
        &[Ret, Named(0, socket_domain), Arg(1), Arg(2), Missing],
    ),
    row(
        ev::SOCKETPAIR,
        every!(SYS_socketpair),
        Family::Scalar,
        bytes(4, 8),
        &[Ret, Word(0), Word(1), Missing, Missing, Named(0, socket_domain), Arg(1), Arg(2)],
    ),
    row(ev::BIND, every!(SYS_bind), Family::Net, ADDRESS, &[Ret, Addr, Arg(0)]),
    row(ev::CONNECT, every!(SYS_connect), Family::Net, ADDRESS, &[Ret, Tuple, Arg(0), Addr]),
    row(ev::LISTEN, every!(SYS_listen), Family::Net, FD, &[Ret, Arg(0), Arg(1)]),
    row(
        ev::ACCEPT,
        every!(SYS_accept),
        Family::Net,
        ACCEPTED,
        &[Ret, Tuple, BacklogShare, Backlog, BacklogMax],
    ),
    row(
        ev::ACCEPT4,
        every!(SYS_accept4),
        Family::Net,
        ACCEPTED,
        &[Ret, Tuple, BacklogShare, Backlog, BacklogMax, Arg(3)],
    ),
    // On 64-bit machines the C library makes them `sendto` and `recvfrom`.
    row(ev::SEND, None, Family::Net, SEND_TO, &[Ret, Data, Arg(0), Arg(2), Tuple]).when_named(),
    row(ev::RECV, None, Family::Net, RECEIVE_FROM, &[Ret, Data, Arg(0), Arg(2), Tuple]).when_named(),
    row(ev::SENDTO, every!(SYS_sendto), Family::Net, SEND_TO, &[Ret, Data, Arg(0), Arg(2), Tuple]),
    row(ev::RECVFROM, every!(SYS_recvfrom), Family::Net, RECEIVE_FROM, &[Ret, Data, Tuple, Arg(0), Arg(2)]),
    row(ev::SENDMSG, every!(SYS_sendmsg), Family::Net, MESSAGE, &[Ret, Data, Arg(0), Moved, Tuple]),
    row(ev::RECVMSG, every!(SYS_recvmsg), Family::Net, MESSAGE, &[Ret, Moved, Data, Tuple, Missing, Arg(0)]),
    // Of several messages the first is kept; how long each was is not told by the return value.
    row(
        ev::SENDMMSG,
        every!(SYS_sendmmsg),
        Family::Net,
        SyscallPlan { data: 0, data_kind: 0, ..MESSAGE },
        &[Ret, Arg(0), Missing, Missing, Tuple],
    ),
    row(
        ev::RECVMMSG,
        every!(SYS_recvmmsg),
        Family::Net,
        SyscallPlan { data: 0, data_kind: 0, ..MESSAGE },
        &[Ret, Arg(0), Missing, Missing, Tuple, Missing],
    ),
    row(ev::SHUTDOWN, every!(SYS_shutdown), Family::Net, FD, &[Ret, Arg(0), Named(1, shutdown_direction)]),
    row(ev::GETSOCKNAME, every!(SYS_getsockname), Family::Scalar, NONE, &[]),
    row(ev::GETPEERNAME, every!(SYS_getpeername), Family::Scalar, NONE, &[]),
    row(
        ev::SETSOCKOPT,
        every!(SYS_setsockopt),
        Family::Net,
        SyscallPlan { fd: 1, ..bytes(4, 4) },
        &[Ret, Arg(0), Named(1, socket_level), SocketOption(1, 2), Word(0), Arg(4)],
    ),
    row(
        ev::GETSOCKOPT,
        every!(SYS_getsockopt),
        Family::Net,
        SyscallPlan { fd: 1, ..bytes(4, 4) },
        &[Ret, Arg(0), Named(1, socket_level), SocketOption(1, 2), Word(0), Missing],
    ),
];
