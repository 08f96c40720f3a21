//! Calls on memory, modules, rings, timers and other objects of the kernel.

use rampart_common::event::{Family, SyscallPlan};
use rampart_rules::catalog::event_ids as ev;

use super::{
    Row,
    Source::{Arg, Bits, Data, Missing, Named, Ret, Text, Word, WordBits},
    every, legacy,
    plan::{FD, NEW_FD, NONE, WRITE, bytes, text},
    row,
};
use crate::event::names::{
    DELETE_MODULE_FLAGS, FD_FLAGS, FINIT_FLAGS, MEMFD_FLAGS, MLOCK_FLAGS, MLOCKALL_FLAGS, MMAP_FLAGS,
    PROT_FLAGS, RING_ENTER_FLAGS, RING_FEATURES, RING_SETUP_FLAGS, USERFAULTFD_FLAGS, bpf_command,
    keyctl_operation, ring_operation,
};

pub(super) static ROWS: &[Row] = &[
    // The image is in the caller's memory, its start is the ELF header.
    row(
        ev::INIT_MODULE,
        every!(SYS_init_module),
        Family::Scalar,
        SyscallPlan { text: 3, fd: 0, data: 1, data_len: 2, ..WRITE },
        &[Ret, Data, Arg(1), Text],
    ),
    row(
        ev::FINIT_MODULE,
        every!(SYS_finit_module),
        Family::Fd,
        SyscallPlan { fd: 1, ..text(2) },
        &[Ret, Arg(0), Text, Bits(2, FINIT_FLAGS)],
    ),
    row(
        ev::DELETE_MODULE,
        every!(SYS_delete_module),
        Family::Scalar,
        text(1),
        &[Ret, Text, Bits(1, DELETE_MODULE_FLAGS)],
    ),
    row(ev::BPF, every!(SYS_bpf), Family::Scalar, NONE, &[Ret, Named(0, bpf_command)]),
    row(
        ev::MEMFD_CREATE,
        every!(SYS_memfd_create),
        Family::Fd,
        SyscallPlan { fd: NEW_FD.fd, ..text(1) },
        &[Ret, Text, Bits(1, MEMFD_FLAGS)],
    ),
    row(ev::USERFAULTFD, every!(SYS_userfaultfd), Family::Scalar, NONE, &[Ret, Bits(0, USERFAULTFD_FLAGS)]),
    row(
        ev::IO_URING_SETUP,
        every!(SYS_io_uring_setup),
        Family::Scalar,
        bytes(2, 24),
        &[
            Ret,
            Arg(0),
            Word(0),
            Word(1),
            WordBits(2, RING_SETUP_FLAGS),
            Word(3),
            Word(4),
            WordBits(5, RING_FEATURES),
        ],
    ),
    row(
        ev::IO_URING_ENTER,
        every!(SYS_io_uring_enter),
        Family::Scalar,
        NONE,
        &[Ret, Arg(0), Arg(1), Arg(2), Bits(3, RING_ENTER_FLAGS), Missing],
    )
    .when_named(),
    row(
        ev::IO_URING_REGISTER,
        every!(SYS_io_uring_register),
        Family::Scalar,
        NONE,
        &[Ret, Arg(0), Named(1, ring_operation), Arg(2), Arg(3)],
    ),
    row(
        ev::KEYCTL,
        every!(SYS_keyctl),
        Family::Scalar,
        NONE,
        &[Ret, Named(0, keyctl_operation), Arg(1), Arg(2), Arg(3), Arg(4)],
    ),
    row(
        ev::MMAP,
        every!(SYS_mmap),
        Family::Scalar,
        NONE,
        &[
            Ret,
            Missing,
            Missing,
            Missing,
            Arg(0),
            Arg(1),
            Bits(2, PROT_FLAGS),
            Bits(3, MMAP_FLAGS),
            Arg(4),
            Arg(5),
        ],
    )
    .when_named(),
    row(
        ev::MUNMAP,
        every!(SYS_munmap),
        Family::Scalar,
        NONE,
        &[Ret, Missing, Missing, Missing, Arg(0), Arg(1)],
    )
    .when_named(),
    row(
        ev::MPROTECT,
        every!(SYS_mprotect),
        Family::Scalar,
        NONE,
        &[Ret, Arg(0), Arg(1), Bits(2, PROT_FLAGS)],
    )
    .when_named(),
    row(ev::BRK, every!(SYS_brk), Family::Scalar, NONE, &[Ret, Missing, Missing, Missing, Arg(0)])
        .when_named(),
    row(ev::MLOCK, every!(SYS_mlock), Family::Scalar, NONE, &[Ret, Arg(0), Arg(1)]),
    row(ev::MUNLOCK, every!(SYS_munlock), Family::Scalar, NONE, &[Ret, Arg(0), Arg(1)]),
    row(ev::MLOCK2, every!(SYS_mlock2), Family::Scalar, NONE, &[Ret, Arg(0), Arg(1), Bits(2, MLOCK_FLAGS)]),
    row(ev::MLOCKALL, every!(SYS_mlockall), Family::Scalar, NONE, &[Ret, Bits(0, MLOCKALL_FLAGS)]),
    row(ev::MUNLOCKALL, every!(SYS_munlockall), Family::Scalar, NONE, &[Ret]),
    row(ev::PIPE, legacy!(SYS_pipe), Family::Scalar, bytes(1, 8), &[Ret, Word(0), Word(1), Missing]),
    row(
        ev::PIPE2,
        every!(SYS_pipe2),
        Family::Scalar,
        bytes(1, 8),
        &[Ret, Word(0), Word(1), Missing, Bits(1, FD_FLAGS)],
    ),
    row(ev::EVENTFD, legacy!(SYS_eventfd), Family::Fd, NEW_FD, &[Ret, Arg(0), Missing]),
    row(ev::EVENTFD2, every!(SYS_eventfd2), Family::Fd, NEW_FD, &[Ret, Bits(1, FD_FLAGS), Arg(0)]),
    row(ev::SIGNALFD, legacy!(SYS_signalfd), Family::Fd, NEW_FD, &[Ret, Arg(0), Missing, Missing]),
    row(ev::SIGNALFD4, every!(SYS_signalfd4), Family::Fd, NEW_FD, &[Ret, Bits(3, FD_FLAGS), Arg(0), Missing]),
    row(ev::TIMERFD_CREATE, every!(SYS_timerfd_create), Family::Fd, NEW_FD, &[Ret, Arg(0), Arg(1)]),
    row(ev::INOTIFY_INIT, legacy!(SYS_inotify_init), Family::Fd, NEW_FD, &[Ret, Missing]),
    row(ev::INOTIFY_INIT1, every!(SYS_inotify_init1), Family::Fd, NEW_FD, &[Ret, Bits(0, FD_FLAGS)]),
    row(ev::EPOLL_CREATE, legacy!(SYS_epoll_create), Family::Fd, NEW_FD, &[Ret, Arg(0)]),
    row(ev::EPOLL_CREATE1, every!(SYS_epoll_create1), Family::Fd, NEW_FD, &[Ret, Bits(0, FD_FLAGS)]),
    row(ev::EPOLL_WAIT, legacy!(SYS_epoll_wait), Family::Fd, FD, &[Ret, Arg(2)]).when_named(),
    row(ev::POLL, legacy!(SYS_poll), Family::Scalar, NONE, &[Ret, Missing, Arg(2)]).when_named(),
    row(ev::PPOLL, every!(SYS_ppoll), Family::Scalar, NONE, &[Ret, Missing, Missing, Missing]).when_named(),
    row(ev::SELECT, legacy!(SYS_select), Family::Scalar, NONE, &[Ret]).when_named(),
    row(ev::FUTEX, every!(SYS_futex), Family::Scalar, NONE, &[Ret, Arg(0), Arg(1), Arg(2)]).when_named(),
    row(ev::NANOSLEEP, every!(SYS_nanosleep), Family::Scalar, NONE, &[Ret, Missing]).when_named(),
    row(ev::SEMGET, every!(SYS_semget), Family::Scalar, NONE, &[Ret, Arg(0), Arg(1), Arg(2)]),
    row(ev::SEMCTL, every!(SYS_semctl), Family::Scalar, NONE, &[Ret, Arg(0), Arg(1), Arg(2), Arg(3)]),
    row(
        ev::SEMOP,
        every!(SYS_semop),
        Family::Scalar,
        NONE,
        &[Ret, Arg(2), Missing, Missing, Missing, Missing, Missing, Missing, Arg(0)],
    )
    .when_named(),
];
