//! Which alerts somebody wants to see.

use super::{Alert, Kind, Kinds, Priority};

/// Longest text that is searched for.
pub const TEXT_MAX: usize = 200;

/// Which alerts. What is `None` says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Name of the node.
    pub node: Option<String>,
    /// Name of the rule.
    pub rule: Option<String>,
    /// This severe or more.
    pub priority: Option<Priority>,
    /// Source of the event.
    pub source: Option<String>,
    /// Not before.
    pub since_ns: Option<u64>,
    /// Before.
    pub until_ns: Option<u64>,
    /// What they are about.
    pub kinds: Kinds,
    /// What occurs in them.
    pub text: Option<Needle>,
    /// Only those with a number above this one are looked at.
    pub above: Option<u64>,
}

/// A text that occurs in an alert's JSON, in any case of the letters a to z.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Needle(String);

impl Needle {
    /// The text as JSON writes it, in small letters.
    pub fn new(text: &str) -> Self {
        let quoted = serde_json::Value::from(text).to_string();
        let inner = quoted.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
        Self(inner.unwrap_or(text).to_ascii_lowercase())
    }

    /// What is compared with the alert in small letters.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it occurs there.
    pub fn is_in(&self, json: &str) -> bool {
        let (needle, json) = (self.0.as_bytes(), json.as_bytes());
        needle.is_empty() || json.windows(needle.len()).any(|part| part.eq_ignore_ascii_case(needle))
    }
}

impl Filter {
    /// Whether what it asks for has no index, so that a question may have to look at very many alerts.
    pub fn is_a_search(&self) -> bool {
        self.text.is_some() || !self.kinds.is_all()
    }

    /// Whether an alert is one of them, its number apart.
    pub fn accepts(&self, node: &str, alert: &Alert) -> bool {
        let is = |wanted: &Option<String>, value: &str| wanted.as_ref().is_none_or(|wanted| wanted == value);
        is(&self.node, node)
            && is(&self.rule, &alert.rule)
            && is(&self.source, &alert.source)
            && self.priority.is_none_or(|least| alert.priority <= least)
            && self.since_ns.is_none_or(|since| alert.time_ns >= since)
            && self.until_ns.is_none_or(|until| alert.time_ns < until)
            && (self.kinds.is_all() || self.kinds.has(Kind::of(&alert.source, &alert.rule)))
            && self.text.as_ref().is_none_or(|text| text.is_in(&alert.json))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::tests::alert;

    #[test]
    fn a_filter_takes_what_fits_in_all_it_says() {
        let alert = alert(1, 5, Priority::Error, "A");
        let all = Filter::default();
        assert!(all.accepts("n", &alert));
        let text = |text: &str| Some(text.to_owned());
        assert!(Filter { node: text("n"), rule: text("A"), ..all.clone() }.accepts("n", &alert));
        assert!(!Filter { node: text("m"), ..all.clone() }.accepts("n", &alert));
        assert!(!Filter { source: text("internal"), ..all.clone() }.accepts("n", &alert));
        assert!(Filter { priority: Some(Priority::Error), ..all.clone() }.accepts("n", &alert));
        assert!(!Filter { priority: Some(Priority::Critical), ..all.clone() }.accepts("n", &alert));
        assert!(Filter { since_ns: Some(alert.time_ns), ..all.clone() }.accepts("n", &alert));
        assert!(!Filter { until_ns: Some(alert.time_ns), ..all.clone() }.accepts("n", &alert));
        let word = |word: &str| Filter { text: Some(Needle::new(word)), ..all.clone() };
        assert!(word("TEXT of 5").accepts("n", &alert) && !word("text of 6").accepts("n", &alert));
        let kinds = |kinds: &[Kind]| Filter { kinds: Kinds::of(kinds), ..all.clone() };
        assert!(kinds(&[Kind::Detection, Kind::Agent]).accepts("n", &alert));
        assert!(!kinds(&[Kind::Limits]).accepts("n", &alert));
    }

    #[test]
    fn a_text_is_found_as_json_writes_it() {
        let json = serde_json::json!({ "output": "say \"Äh\"\n" }).to_string();
        assert!(Needle::new("SAY \"Äh\"\n").is_in(&json));
        assert!(!Needle::new("äh").is_in(&json), "only letters of ASCII have two cases here");
        assert!(Needle::new("").is_in(""));
    }
}
