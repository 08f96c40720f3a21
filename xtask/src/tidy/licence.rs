//! Licences and sources of everything that is compiled in, judged by the lists in `deny.toml`.

use std::collections::BTreeSet;

use cargo_metadata::Metadata;
use toml::{Table, Value};

use super::Report;

/// The only registry crates may come from.
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Every resolved package has a licence on the list and comes from a known place.
pub(super) fn check(metadata: &Metadata, deny: &Table, report: &mut Report) {
    let allowed = allowed(deny);
    for package in &metadata.packages {
        let name = format!("{} {}", package.name, package.version);
        match &package.license {
            Some(licence) if accepts(licence, &allowed) => {}
            Some(licence) => report.add(
                "Cargo.lock",
                0,
                "licence",
                format!(
                    "`{name}` is under `{licence}`, which `deny.toml` does not allow; choose another crate"
                ),
            ),
            None => report.add(
                "Cargo.lock",
                0,
                "licence",
                format!("`{name}` names no licence; choose another crate"),
            ),
        }
        let source = package.source.as_ref().map(|source| source.repr.as_str());
        if source.is_some_and(|source| source != REGISTRY) {
            let message = format!("`{name}` comes from `{}`; use crates.io", source.unwrap_or_default());
            report.add("Cargo.lock", 0, "dependency-source", message);
        }
    }
}

fn allowed(deny: &Table) -> BTreeSet<&str> {
    let list = deny.get("licenses").and_then(|licences| licences.get("allow")).and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str).collect()
}

/// Whether some choice that the expression offers uses allowed licences only.
///
/// `OR` (or the old `/`) offers a choice and binds weaker than `AND`; an exception (`WITH`) only grants more.
fn accepts(expression: &str, allowed: &BTreeSet<&str>) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    let verdict = either(&mut rest, allowed);
    verdict && rest.is_empty()
}

fn either(rest: &mut &[&str], allowed: &BTreeSet<&str>) -> bool {
    let mut verdict = both(rest, allowed);
    while let ["OR", tail @ ..] = *rest {
        *rest = tail;
        verdict |= both(rest, allowed);
    }
    verdict
}

fn both(rest: &mut &[&str], allowed: &BTreeSet<&str>) -> bool {
    let mut verdict = single(rest, allowed);
    while let ["AND", tail @ ..] = *rest {
        *rest = tail;
        verdict &= single(rest, allowed);
    }
    verdict
}

fn single(rest: &mut &[&str], allowed: &BTreeSet<&str>) -> bool {
    match *rest {
        ["(", tail @ ..] => {
            *rest = tail;
            let verdict = either(rest, allowed);
            let [")", tail @ ..] = *rest else { return false };
            *rest = tail;
            verdict
        }
        [licence, "WITH", _, tail @ ..] | [licence, tail @ ..] => {
            *rest = tail;
            allowed.contains(licence)
        }
        [] => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_read_with_their_precedence() {
        let allowed = BTreeSet::from(["MIT", "Apache-2.0", "Unicode-3.0"]);
        for good in [
            "MIT",
            "MIT/Apache-2.0",
            "GPL-3.0 OR MIT",
            "(MIT OR GPL-3.0) AND Unicode-3.0",
            "Apache-2.0 WITH LLVM-exception OR GPL-3.0",
        ] {
            assert!(accepts(good, &allowed), "{good}");
        }
        for bad in ["GPL-3.0", "MIT AND GPL-3.0", "(MIT OR Apache-2.0) AND GPL-3.0", "", "(MIT", "MIT MIT"] {
            assert!(!accepts(bad, &allowed), "{bad}");
        }
    }
}
