//! How important a policy's traffic is: what is throttled first when the node is short of CPU.

use rampart_common::limit::abi::CLASSES;

/// A class; the number is its place among [`rampart_common::limit::abi::Control::stretch`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Orders: their rates are never scaled.
    OrderEntry = 0,
    /// Market data.
    MarketData = 1,
    /// People who wait for an answer.
    Interactive = 2,
    /// What nothing is said about.
    #[default]
    Standard = 3,
    /// Transfers that nobody waits for.
    Bulk = 4,
    /// Whatever is left; throttled first.
    BestEffort = 5,
}

impl Class {
    /// All, the most important first.
    pub const ALL: [Self; 6] =
        [Self::OrderEntry, Self::MarketData, Self::Interactive, Self::Standard, Self::Bulk, Self::BestEffort];
    /// Their words, in the same order.
    pub const NAMES: [&'static str; 6] =
        ["order_entry", "market_data", "interactive", "standard", "bulk", "best_effort"];

    /// The word in settings and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::OrderEntry => "order_entry",
            Self::MarketData => "market_data",
            Self::Interactive => "interactive",
            Self::Standard => "standard",
            Self::Bulk => "bulk",
            Self::BestEffort => "best_effort",
        }
    }

    /// The class of a word.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.name() == name)
    }
}

const _: () = assert!(Class::ALL.len() <= CLASSES);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_the_classes() {
        assert_eq!(Class::ALL.map(Class::name), Class::NAMES);
        assert_eq!(Class::of_name("bulk"), Some(Class::Bulk));
        assert_eq!(Class::of_name("first"), None);
    }
}
