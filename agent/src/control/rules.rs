//! The texts of the rules in force, for a collector that does not know them.

use rampart_proto::v1::{RuleText, RuleTexts, RulesWanted};

use crate::telemetry::status::Policy;

/// Bytes of all texts together, as the wire format has it.
const TEXTS_MAX: usize = 2 << 20;

/// What is answered; `None` when the rules are others by now.
pub(super) fn answer(wanted: &RulesWanted, policy: &Policy) -> Option<RuleTexts> {
    if wanted.policy_digest != policy.digest {
        return None;
    }
    let bytes: usize = policy.texts.iter().map(|source| source.text.len()).sum();
    let texts = if bytes > TEXTS_MAX { &[] } else { &*policy.texts };
    let texts = texts.iter().map(|source| RuleText { name: source.name.clone(), text: source.text.clone() });
    Some(RuleTexts { policy_digest: policy.digest.clone(), texts: texts.collect() })
}

#[cfg(test)]
mod tests {
    use rampart_rules::load::Source;

    use super::*;

    #[test]
    fn only_the_rules_in_force_are_told_and_only_whole() {
        let source = |bytes: usize| Source { name: "a.yaml".to_owned(), text: vec![b' '; bytes] };
        let policy =
            |texts: Vec<Source>| Policy { digest: "d".to_owned(), texts: texts.into(), ..Policy::default() };
        let wanted = |digest: &str| RulesWanted { policy_digest: digest.to_owned() };
        let few = policy(vec![source(3), source(4)]);
        assert_eq!(answer(&wanted("other"), &few), None);
        let told = answer(&wanted("d"), &few).unwrap();
        let lengths: Vec<usize> = told.texts.iter().map(|text| text.text.len()).collect();
        assert_eq!((told.policy_digest.as_str(), lengths), ("d", vec![3, 4]));
        let many = policy(vec![source(TEXTS_MAX), source(1)]);
        assert!(answer(&wanted("d"), &many).unwrap().texts.is_empty());
    }
}
