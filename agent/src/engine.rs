//! Detection: records in, alerts out.

pub mod clock;
pub mod fields;
