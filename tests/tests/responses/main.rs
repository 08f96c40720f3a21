//! Responses of the real agent: what rules ask for is done, to whom it is meant for and nobody else, for its time.

#![expect(clippy::expect_used, reason = "a panic is how a test fails")]
#![expect(clippy::indexing_slicing, reason = "an index out of bounds is a fault of the test")]

mod network;
mod process;
mod stage;
