//! Kernel programs of services, against real servers.

mod datagram;
mod failure;
mod stage;
mod stream;
