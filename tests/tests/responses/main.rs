//! Responses of the real agent: what rules ask for is done, to whom it is meant for and nobody else, for its time.

mod network;
mod process;
mod stage;
