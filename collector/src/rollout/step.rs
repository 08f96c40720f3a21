//! Who gets a bundle with a step.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::identity::sha256;

/// Hundredths of a percent.
const WHOLE: u32 = 10_000;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Step {
    /// A share of all nodes, in hundredths of a percent.
    Share(u32),
    /// Nodes that have all these labels.
    Labels(BTreeMap<String, String>),
}

/// This is no step.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no step: use a share such as `10%`, or labels such as `stage=canary,region=eu`")]
pub struct NoStep(String);

impl Step {
    /// Everybody.
    pub const ALL: Self = Self::Share(WHOLE);

    /// Whether a node is chosen. The same nodes are in a share of one rollout whoever asks, a larger share has all of a
    /// smaller one, and another rollout has others.
    pub fn has(&self, rollout: &str, node: &str, labels: &BTreeMap<String, String>) -> bool {
        match self {
            Self::Share(share) => {
                let hash = sha256(format!("{rollout}\0{node}").as_bytes());
                let drawn = hash.iter().take(8).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
                drawn % u64::from(WHOLE) < u64::from(*share)
            }
            Self::Labels(wanted) => wanted.iter().all(|(name, value)| labels.get(name) == Some(value)),
        }
    }
}

impl FromStr for Step {
    type Err = NoStep;

    fn from_str(text: &str) -> Result<Self, NoStep> {
        let wrong = || NoStep(text.to_owned());
        if let Some(number) = text.strip_suffix('%') {
            let (whole, part) = number.split_once('.').unwrap_or((number, ""));
            let is_number = |text: &str| text.bytes().all(|digit| digit.is_ascii_digit());
            if whole.is_empty() || whole.len() > 3 || part.len() > 2 || !is_number(whole) || !is_number(part)
            {
                return Err(wrong());
            }
            let digits: u32 = format!("{whole}{part:0<2}").parse().map_err(|_| wrong())?;
            return if (1..=WHOLE).contains(&digits) { Ok(Self::Share(digits)) } else { Err(wrong()) };
        }
        let mut labels = BTreeMap::new();
        for pair in text.split(',') {
            let (name, value) = pair.split_once('=').ok_or_else(wrong)?;
            let (name, value) = (name.trim(), value.trim());
            if name.is_empty() || labels.insert(name.to_owned(), value.to_owned()).is_some() {
                return Err(wrong());
            }
        }
        Ok(Self::Labels(labels))
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Share(share) if share.is_multiple_of(100) => write!(f, "{}%", share / 100),
            Self::Share(share) => write!(f, "{}.{:02}%", share / 100, share % 100),
            Self::Labels(labels) => {
                for (at, (name, value)) in labels.iter().enumerate() {
                    write!(f, "{}{name}={value}", if at > 0 { "," } else { "" })?;
                }
                Ok(())
            }
        }
    }
}

impl TryFrom<String> for Step {
    type Error = NoStep;

    fn try_from(text: String) -> Result<Self, NoStep> {
        text.parse()
    }
}

impl From<Step> for String {
    fn from(step: Step) -> Self {
        step.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_read_as_they_are_written() {
        for text in ["1%", "100%", "0.50%", "12.25%", "stage=canary", "region=eu,stage=", "a.b/c=d_e-f"] {
            assert_eq!(text.parse::<Step>().unwrap().to_string(), text);
        }
        assert_eq!("0.5%".parse(), Ok(Step::Share(50)));
        for wrong in [
            "", "%", "0%", "101%", "100.01%", "-1%", "1.234%", "1e1%", "+1%", "10", "a", "=b", "a=b,a=c",
            "a=b,",
        ] {
            assert!(wrong.parse::<Step>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn shares_grow_and_are_about_as_large_as_they_say() {
        let none = BTreeMap::new();
        let names: Vec<String> = (0..20_000).map(|number| format!("node-{number}")).collect();
        let of = |rollout: &str, share| -> Vec<&String> {
            names.iter().filter(|name| Step::Share(share).has(rollout, name, &none)).collect()
        };
        let (tenth, half) = (of("a", 1000), of("a", 5000));
        assert!((1700..2300).contains(&tenth.len()) && (9500..10_500).contains(&half.len()));
        assert!(tenth.iter().all(|name| half.contains(name)));
        assert_eq!(of("a", WHOLE).len(), names.len());
        assert_ne!(of("b", 1000), tenth, "another rollout, other canaries");
        // The same for ever: collectors of other versions must agree.
        let first: Vec<&str> = tenth.iter().take(3).map(|name| name.as_str()).collect();
        assert_eq!(first, of("a", 1000).iter().take(3).map(|name| name.as_str()).collect::<Vec<_>>());
    }

    #[test]
    fn labels_must_all_be_there() {
        let labels = BTreeMap::from([
            ("stage".to_owned(), "canary".to_owned()),
            ("region".to_owned(), "eu".to_owned()),
        ]);
        let has = |text: &str| text.parse::<Step>().unwrap().has("r", "n", &labels);
        assert!(has("stage=canary") && has("stage=canary,region=eu"));
        assert!(!has("stage=canary,region=us") && !has("stage=") && !has("other=x"));
    }
}
