//! The rate limiter in the running kernel: against its twin in userspace, and on real traffic.

#![expect(clippy::expect_used, clippy::panic, reason = "a panic is how a test fails")]
#![expect(clippy::indexing_slicing, reason = "an index out of bounds is a fault of the test")]

mod answers;
mod chaos;
mod control;
mod corpus;
mod feeds;
mod hooks;
mod icmp;
mod load;
mod lockout;
mod programs;
mod stage;
mod traffic;
