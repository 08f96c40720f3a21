//! Per-IP rate limiting: layouts, arithmetic and the whole decision, as pure code.
//!
//! One pipeline ([`pipeline::judge`]) runs in three places: in the kernel programs of `limiter-ebpf` (XDP and tc), in
//! the agent's userspace twin of the tables, and in tests. It sees the packet through [`packet::Frame`] and everything
//! else (tables, clock, state) through [`pipeline::World`], so that the three cannot drift apart.
//!
//! Nothing here divides, allocates or panics. What only userspace needs (rates into [`gcra::Limit`]) is behind the
//! feature `user`.

pub mod abi;
pub mod gate;
pub mod gcra;
pub mod packet;
pub mod pipeline;
pub mod reset;
pub mod verdict;
#[cfg(any(test, feature = "user"))]
pub mod wire;
