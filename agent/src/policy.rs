//! The rules in force.

pub mod files;
pub mod watch;
