//! What is said about a list as an alert of the agent's own, each once until it is over.

use std::collections::BTreeMap;

use rampart_rules::rule::Priority;
use serde_json::Value as Json;

use crate::{
    alert::build::Internal,
    config::RuleList,
    lists::{self, Kept},
};

/// How a list stood when it was last told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) fault: Option<String>,
    pub(super) is_stale: bool,
    pub(super) refused: usize,
}

/// What is new and worth an alert.
pub(super) fn notices(
    name: &str,
    list: &RuleList,
    before: &Told,
    now: &Told,
    kept: Option<&Kept>,
) -> Vec<Internal> {
    let members = kept.map_or(0, |kept| kept.parsed.set.len());
    let fields = || {
        BTreeMap::from([
            ("list".to_owned(), Json::from(name)),
            ("source".to_owned(), lists::shown(&list.source).into()),
            ("members".to_owned(), members.into()),
        ])
    };
    let mut all = Vec::new();
    // A source that was away and is away still says something else now and then.
    if let (None, Some(fault)) = (&before.fault, &now.fault) {
        let mut fields = fields();
        fields.insert("fault".to_owned(), fault.as_str().into());
        let message = format!("the list `{name}` is not renewed, {members} members stay: {fault}");
        all.push(Internal { what: "list fault", priority: Priority::Warning, message, fields });
    }
    if now.is_stale && !before.is_stale {
        let what = if list.drops_stale { "it counts as empty" } else { "it still counts" };
        let hours = list.max_age.as_secs() / 3600;
        let message = format!("nobody has confirmed the list `{name}` for more than {hours} h, {what}");
        all.push(Internal { what: "list stale", priority: Priority::Warning, message, fields: fields() });
    }
    if let Some((line, why)) = kept.and_then(|kept| kept.parsed.refused.first.first())
        && now.refused > before.refused
    {
        let mut fields = fields();
        fields.insert("refused".to_owned(), now.refused.into());
        let message = format!(
            "{} entries of the list `{name}` are left out, the first in line {line}: {why}",
            now.refused
        );
        all.push(Internal { what: "list entries refused", priority: Priority::Warning, message, fields });
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_is_told_once_until_it_is_over() {
        let list = lists::parse::tests::list("ip");
        let told = |before: &Told, now: &Told| -> Vec<&'static str> {
            notices("bad", &list, before, now, None).iter().map(|notice| notice.what).collect()
        };
        let good = Told::default();
        let away = Told { fault: Some("it cannot be reached".to_owned()), ..Told::default() };
        let refused = Told { fault: Some("it answered with status 500".to_owned()), ..Told::default() };
        let old = Told { is_stale: true, ..away.clone() };
        assert_eq!(told(&good, &away), ["list fault"]);
        assert_eq!(told(&away, &refused), [""; 0]);
        assert_eq!(told(&refused, &old), ["list stale"]);
        assert_eq!(told(&old, &good), [""; 0]);
        assert_eq!(told(&good, &old), ["list fault", "list stale"]);
    }
}
