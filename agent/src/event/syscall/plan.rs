//! What the kernel programs do with the arguments of a call: shorthands for the plans of the tables.

use rampart_common::event::{
    DATA_BUFFER, DATA_IOVEC, DATA_MSGHDR, EXTRA_LISTENER, EXTRA_MSGHDR, EXTRA_SOCKADDR, EXTRA_SOCKADDR_OUT,
    SLOT_NO_BASE, SLOT_RETURN, SyscallPlan,
};

/// Numbers alone.
pub(super) const NONE: SyscallPlan = SyscallPlan {
    family: 0,
    path: 0,
    dir: 0,
    path2: 0,
    dir2: 0,
    fd: 0,
    extra: 0,
    extra_kind: 0,
    text: 0,
    data: 0,
    data_len: 0,
    data_kind: 0,
    bytes: 0,
    bytes_len: 0,
    numbers: [0; 3],
    aliased: 0,
    pad: [0; 6],
};

/// A path in the first argument.
pub(super) const PATH: SyscallPlan = SyscallPlan { path: 1, ..NONE };
/// A directory descriptor and a path.
pub(super) const PATH_AT: SyscallPlan = SyscallPlan { path: 2, dir: 1, ..NONE };
/// Two paths.
pub(super) const PATHS: SyscallPlan = SyscallPlan { path: 1, path2: 2, ..NONE };
/// Two paths, each behind its directory descriptor.
pub(super) const PATHS_AT: SyscallPlan = SyscallPlan { path: 2, dir: 1, path2: 4, dir2: 3, ..NONE };
/// A text that is stored as it is and the path of the link that holds it.
pub(super) const LINK_TEXT: SyscallPlan = SyscallPlan { path: 1, dir: SLOT_NO_BASE, path2: 2, ..NONE };
/// A descriptor in the first argument.
pub(super) const FD: SyscallPlan = SyscallPlan { fd: 1, ..NONE };
/// The descriptor that the call returned.
pub(super) const NEW_FD: SyscallPlan = SyscallPlan { fd: SLOT_RETURN, ..NONE };
/// Descriptor, buffer and size, for reading.
pub(super) const READ: SyscallPlan =
    SyscallPlan { data: 2, data_len: SLOT_RETURN, data_kind: DATA_BUFFER, ..FD };
/// Descriptor, buffer and size, for writing.
pub(super) const WRITE: SyscallPlan = READ;
/// Descriptor and vector of buffers.
pub(super) const VECTOR: SyscallPlan = SyscallPlan { data: 2, data_kind: DATA_IOVEC, ..FD };
/// Descriptor and `sockaddr` with its length.
pub(super) const ADDRESS: SyscallPlan = SyscallPlan { extra: 2, extra_kind: EXTRA_SOCKADDR, ..FD };
/// The accepted connection and the socket it came from.
pub(super) const ACCEPTED: SyscallPlan = SyscallPlan { extra: 1, extra_kind: EXTRA_LISTENER, ..NEW_FD };
/// Buffer to a socket, with the address it goes to.
pub(super) const SEND_TO: SyscallPlan = SyscallPlan { extra: 5, extra_kind: EXTRA_SOCKADDR, ..WRITE };
/// Buffer from a socket, with the address it came from.
pub(super) const RECEIVE_FROM: SyscallPlan = SyscallPlan { extra: 5, extra_kind: EXTRA_SOCKADDR_OUT, ..READ };
/// Descriptor and `msghdr`; of several messages the first.
pub(super) const MESSAGE: SyscallPlan =
    SyscallPlan { extra: 2, extra_kind: EXTRA_MSGHDR, data: 2, data_kind: DATA_MSGHDR, ..FD };

/// A string in an argument.
pub(super) const fn text(slot: u8) -> SyscallPlan {
    SyscallPlan { text: slot, ..NONE }
}

/// A structure of `len` bytes in an argument.
pub(super) const fn bytes(slot: u8, len: u8) -> SyscallPlan {
    SyscallPlan { bytes: slot, bytes_len: len, ..NONE }
}
