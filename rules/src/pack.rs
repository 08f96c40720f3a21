//! The rule packs that ship with Rampart.

/// The base pack: detections that make sense on any node.
pub const BASE_PACK: &str = include_str!("../packs/base.yaml");

/// The trading pack: detections for nodes that trade, silent where the configuration has no section `trading`.
pub const TRADING_PACK: &str = include_str!("../packs/trading.yaml");

#[cfg(test)]
mod tests;
