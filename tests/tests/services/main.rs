//! Kernel programs of services, against real servers.

mod agent;
mod datagram;
mod failure;
mod stage;
mod stream;
