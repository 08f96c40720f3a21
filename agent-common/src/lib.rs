//! Types shared by the kernel programs (`agent-ebpf`) and the userspace agent (`agent`).
//!
//! Invariants of this crate:
//! - every type that crosses the kernel border is `repr(C)`, holds only integers and byte arrays, spells its
//!   padding out, and has its size and offsets asserted in [`layout`];
//! - nothing here allocates, does I/O or holds text for people;
//! - a change of any layout or meaning bumps [`abi::ABI_VERSION`] with one comment saying why.

#![no_std]

pub mod abi;
pub mod counter;
pub mod deny;
pub mod event;
pub mod layout;
pub mod limit;
pub mod member;
pub mod pushdown;
pub mod role;
pub mod service;
pub mod stream;
pub mod wake;
