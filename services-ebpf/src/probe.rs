//! The programs.

mod address;
mod datagram;
mod operation;
mod stream;
mod trace;
