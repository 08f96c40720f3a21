//! The words that settings of a few choices take.

/// Log levels.
pub const LEVELS: &[&str] = &["error", "warn", "info", "debug", "trace"];
/// Line formats.
pub const FORMATS: &[&str] = &["text", "json"];
/// Rule matching modes.
pub const MATCHING: &[&str] = &["first", "all"];
/// When the spool is forced to the disk.
pub const SYNC: &[&str] = &["always", "interval", "never"];
/// Words for how a backend is chosen.
pub const ALGORITHMS: &[&str] = &["round_robin", "weighted", "least_connections", "sticky"];
/// What is done with what is over a limit.
pub const LIMITING: &[&str] = &["observe", "enforce"];
/// Whether rates are scaled down when the node is too busy.
pub const THROTTLING: &[&str] = &["off", "observe", "enforce"];
/// How far responses go.
pub const RESPONDING: &[&str] = &["off", "observe", "enforce"];
/// When pods are watched.
pub const WATCH: &[&str] = &["auto", "on", "off"];
/// Falco's priorities, most severe first.
pub const PRIORITIES: &[&str] =
    &["emergency", "alert", "critical", "error", "warning", "notice", "informational", "debug"];
