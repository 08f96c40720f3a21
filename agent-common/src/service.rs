//! Services: which backend a connection gets, and what becomes of a backend whose connections fail; the half that is
//! the same in the kernel, in the agent and in the tests.
//!
//! The kernel programs (`services-ebpf`) decide at `connect()` and hear of each connection's end; they do so without the
//! agent. This module owns the layouts of their maps ([`abi`]), a backend's breaker ([`breaker`]), what the signals of a
//! connection mean ([`signal`]), and the choice of a backend ([`select`]).
//!
//! Nothing here allocates or panics; times are nanoseconds of the boot clock and always an argument.

pub mod abi;
pub mod breaker;
pub mod select;
pub mod signal;
#[cfg(any(test, feature = "user"))]
pub mod wire;
