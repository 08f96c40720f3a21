//! Asks container runtimes and the API server about containers.
//!
//! Owns the clients of Docker, Podman, containerd, CRI and Kubernetes and the task that looks containers up. Runs on
//! the runtime's side; the detection thread hands in containers and takes [`crate::state::container::News`], and
//! never waits. What answers is not trusted: every answer is bounded in time and size, and a user's own runtime is
//! only asked about that user's containers.

mod containerd;
mod cri;
mod docker;
mod grpc;
mod http;
pub mod kubernetes;
pub mod lookup;
mod names;
mod oci;
mod probe;
pub mod sockets;

use std::{io, path::PathBuf};

/// Why a runtime gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// Nobody listens on the socket.
    #[error("cannot connect to `{}`", socket.display())]
    Connect {
        /// The socket.
        socket: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What listens does not speak HTTP as expected.
    #[error("no usable answer from `{}`", socket.display())]
    Http {
        /// The socket.
        socket: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The runtime refused.
    #[error("`{}` answered with status {status}", socket.display())]
    Status {
        /// The socket.
        socket: PathBuf,
        /// HTTP status.
        status: u16,
    },
    /// The call failed.
    #[error("call of `{}` failed", socket.display())]
    Call {
        /// The socket.
        socket: PathBuf,
        /// Why.
        source: Box<tonic::Status>,
    },
    /// No answer in time.
    #[error("no answer from `{}` in time", socket.display())]
    Timeout {
        /// The socket.
        socket: PathBuf,
    },
}
