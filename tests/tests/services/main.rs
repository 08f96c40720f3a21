//! Kernel programs of services, against real servers.

#![expect(clippy::expect_used, reason = "a panic is how a test fails")]
#![expect(clippy::indexing_slicing, reason = "an index out of bounds is a fault of the test")]

mod agent;
mod datagram;
mod drain;
mod failure;
mod keeping;
mod made;
mod stage;
mod stream;
mod ways;
