//! The rule packs that ship with Rampart.

/// The base pack: detections that make sense on any node.
pub const BASE_PACK: &str = include_str!("../packs/base.yaml");

#[cfg(test)]
mod tests;
