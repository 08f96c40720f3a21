//! What is true of a whole recording.

use serde::{Deserialize, Serialize};

/// What the detector is set up with, and where and how the recording was made. A field that an older recording lacks
/// has its default, one that this program does not know is skipped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Facts {
    /// Version of Rampart that made it.
    pub rampart: String,
    /// Name of the node, `hostname` in alerts.
    pub hostname: String,
    /// Release of its kernel.
    pub kernel_release: String,
    /// Start, nanoseconds since the epoch.
    pub started_ns: u64,
    /// Seed of the alerts' ids.
    pub id_seed: u64,
    /// Wall minus boot clock at the start, nanoseconds.
    pub clock_offset_ns: i64,
    /// Distance of the node's zone from UTC at the start, seconds to the east.
    pub utc_offset_secs: i32,
    /// Processes remembered.
    pub process_limit: u64,
    /// Longest wait for the metadata of a container, nanoseconds; `None` when nobody was asked.
    pub metadata_wait_ns: Option<u64>,
    /// Numbers of the system calls that were wanted, ascending.
    pub wanted: Vec<u32>,
    /// Digest of the rules they were wanted for; `None` when all were.
    pub policy_digest: Option<String>,
}
