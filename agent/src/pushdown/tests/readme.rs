//! `rules/packs/README.md`: what each rule of the packs detects, what it costs, and what the kernel decides of it.
//!
//! Made from the pack and its plan. The test fails when the kept file differs, and writes it when `RAMPART_UPDATE` is
//! set.

use std::{collections::BTreeSet, env, fmt::Write as _, fs, path::Path, sync::Arc};

use rampart_rules::{
    load::{LoadOptions, Source, load},
    rule::Rule,
};

use super::{Plan, compile};
use crate::{
    config::{self, Sources},
    pushdown::{Decision, EventReport},
    trading::Trading,
};

const HEAD: &str = "\
# Rule packs

Made from the packs by a test; after a change run `RAMPART_UPDATE=1 cargo test -p rampart-agent --lib packs_readme`.

`base.yaml` is built into the agent and is used when no rules are configured; `trading.yaml` is too, before it, where the
configuration has a section `trading`. Their tests are in `tests`: `rampart test rules/packs/tests`. Every rule has events
it must match and events it must not; `cargo xtask triggers` plays those that can be played, and the last section says why
the others are not.

A rule stays silent for the programs that its lists name. To widen an exception, append to the list from a file of your
own, loaded after the pack:

```yaml
- list: credential_readers
  items: [my-backup]
  override: {items: append}
```

The list `installers` holds for most rules on files: what a package manager or the scripts below it write is no finding.
Rules on containers need the metadata of a runtime; those that look at images or pods stay silent without it.

What a rule costs:

- **start**: it looks at programs that start. The agent sees these anyway, so no event is sent for it.
- **kernel**: the kernel programs decide every part of the condition; only events that may match are sent.
- **shared**: the kernel programs end most events, the agent judges the rest of the condition on the others.
- **calls**: on some of its types every call that succeeds is sent, because the agent judges where the path of such a
  call (`rename`, `unlink`) leads. Rules of this class on the same types share the events.
- **all**: every event of its types is sent to the agent.

*In the kernel* says by what the kernel programs end an event, *in the agent* which parts are left. `rampart explain
'NAME'` shows both in full.
";

/// What is said before the rules of the trading pack.
const TRADING: &str = "
# The trading pack

Its rules speak of venues, sessions, roles and assets, which the section `trading` of the configuration describes; without
it all are silent. What the kernel decides depends on it: the table is made with that of `triggers/trading.yaml`.
*counting* says that the agent counts, waits or looks at the time after the condition holds.
";

/// What is said before the rules without a live case.
const UNPLAYED: &str = "
# Rules without a live case

| Rule | Why it is not played |
|---|---|
";

/// Tags that begin a section, in the order in which a rule is asked for them.
const AREAS: [(&str, &str); 6] = [
    ("kubernetes", "Kubernetes"),
    ("container", "Containers"),
    ("network", "Network"),
    ("kernel", "Kernel"),
    ("file", "Files"),
    ("process", "Processes"),
];

#[test]
fn packs_readme_is_current() {
    let packs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rules/packs");
    let read = |name: &str| fs::read_to_string(packs.join(name)).unwrap();
    let mut made = HEAD.to_owned();
    section(&mut made, "base.yaml", &Plan::new(compile(&read("base.yaml")), 1), &AREAS, area);
    made.push_str(TRADING);
    let meanings = Trading::meanings(&trading(&read("triggers/trading.yaml")));
    let options = LoadOptions { meanings, ..LoadOptions::default() };
    let source = Source { name: "trading.yaml".to_owned(), text: read("trading.yaml").into_bytes() };
    let rules = load(&[source], &options).rules.unwrap();
    let areas = [("trading", "Trading")];
    section(&mut made, "trading.yaml", &Plan::new(Arc::new(rules), 1), &areas, |_| "trading");
    made.push_str(UNPLAYED);
    for (pack, cases) in [("base.yaml", "triggers/base.yaml"), ("trading.yaml", "triggers/trading.yaml")] {
        unplayed(&mut made, &names(&read(pack)), &read(cases));
    }
    let path = packs.join("README.md");
    if env::var_os("RAMPART_UPDATE").is_some() {
        fs::write(&path, &made).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == made, "rules/packs/README.md is old: run this test with RAMPART_UPDATE=1");
}

/// Names of the rules of a pack.
fn names(pack: &str) -> BTreeSet<String> {
    let pack: Vec<serde_yaml::Value> = serde_yaml::from_str(pack).unwrap();
    pack.iter().filter_map(|entry| Some(entry.get("rule")?.as_str()?.to_owned())).collect()
}

/// The rules of a pack without a live case, with the reasons; each rule must have one or the other.
fn unplayed(text: &mut String, rules: &BTreeSet<String>, cases: &str) {
    let cases: serde_yaml::Value = serde_yaml::from_str(cases).unwrap();
    let list =
        |key: &str| cases.get(key).and_then(serde_yaml::Value::as_sequence).cloned().unwrap_or_default();
    let word = |entry: &serde_yaml::Value, key: &str| entry.get(key).unwrap().as_str().unwrap().to_owned();
    let mut without = rules.clone();
    for case in list("cases") {
        without.remove(&word(&case, "rule"));
    }
    for entry in list("unplayed") {
        let (rule, reason) = (word(&entry, "rule"), word(&entry, "reason"));
        assert!(without.remove(&rule), "`{rule}` has a live case, or is no rule");
        writeln!(text, "| {rule} | {reason} |").unwrap();
    }
    assert!(without.is_empty(), "neither a live case nor a reason why there is none: {without:?}");
}

/// The section of the configuration that the live cases are played with.
fn trading(cases: &str) -> config::Trading {
    let cases: serde_yaml::Value = serde_yaml::from_str(cases).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("rampart.yaml");
    fs::write(&file, cases.get("configuration").and_then(serde_yaml::Value::as_str).unwrap()).unwrap();
    Sources { file: Some(file), ..Sources::default() }.load().unwrap().trading
}

fn section(
    text: &mut String,
    pack: &str,
    plan: &Plan,
    areas: &[(&str, &str)],
    area: impl Fn(&Rule) -> &'static str,
) {
    let rules = plan.policy().rules();
    let costs: Vec<&str> = (0..rules.len()).map(|at| cost(&plan.report(at))).collect();
    let of = |cost: &str| costs.iter().filter(|other| **other == cost).count();
    let count = rules.len();
    let counts =
        ["start", "kernel", "shared", "calls", "all"].map(|cost| format!("{} {cost}", of(cost))).join(", ");
    writeln!(text, "\n`{pack}`: {count} rules: {counts}.").unwrap();
    let mut told = 0;
    for (tag, title) in areas {
        writeln!(
            text,
            "\n## {title}\n\n| Rule | Tells of | Priority | Cost | In the kernel | In the agent | ATT&CK |"
        )
        .unwrap();
        text.push_str("|---|---|---|---|---|---|---|\n");
        for (at, rule) in rules.iter().enumerate().filter(|(_, rule)| area(rule) == *tag) {
            let reports = plan.report(at);
            let (kernel, agent) = split(&reports);
            let agent = match (&rule.window, agent.as_str()) {
                (None, _) => agent,
                (Some(_), "-") => "counting".to_owned(),
                (Some(_), _) => format!("{agent}, counting"),
            };
            let attack: Vec<&str> =
                rule.tags.iter().map(String::as_str).filter(|tag| is_technique(tag)).collect();
            let desc = rule.desc.split_whitespace().collect::<Vec<_>>().join(" ");
            writeln!(
                text,
                "| {} | {desc} | {} | {} | {kernel} | {agent} | {} |",
                rule.name,
                rule.priority.as_str(),
                cost(&reports),
                attack.join(", ")
            )
            .unwrap();
            told += 1;
        }
    }
    assert_eq!(told, count, "a rule has no tag of a section");
}

fn area(rule: &Rule) -> &'static str {
    let has = |tag: &str| rule.tags.iter().any(|other| other == tag);
    // A rule that holds on the node too is about what it looks at, not about containers.
    let wanted = |tag: &str| has(tag) && (tag != "container" || !has("host"));
    AREAS.iter().map(|(tag, _)| *tag).find(|tag| wanted(tag)).unwrap_or_default()
}

fn is_technique(tag: &str) -> bool {
    tag.strip_prefix('T').is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
}

fn cost(reports: &[EventReport]) -> &'static str {
    let narrowed = |report: &EventReport| {
        let by = [
            Decision::Arguments,
            Decision::Path,
            Decision::PathPart,
            Decision::PathAsGiven,
            Decision::Socket,
        ];
        report.comparisons.iter().any(|(_, decision)| by.contains(decision))
    };
    let any = |test: &dyn Fn(&EventReport) -> bool| reports.iter().any(test);
    if reports.iter().all(|report| report.family == "exec") {
        "start"
    } else if any(&|report| !report.rejectable || report.always_sent) {
        "all"
    } else if any(&|report| !narrowed(report) && report.comparisons.iter().any(is_path_of_call)) {
        "calls"
    } else if any(&|report| report.comparisons.iter().any(is_left)) {
        "shared"
    } else {
        "kernel"
    }
}

/// Whether it is about the path of a call, of which the kernel knows no more than whether there is one.
fn is_path_of_call((comparison, decision): &(String, Decision)) -> bool {
    comparison.starts_with("fs.path.") && matches!(decision, Decision::Result | Decision::Event)
}

fn is_left(entry: &(String, Decision)) -> bool {
    !entry.1.in_kernel() || is_path_of_call(entry)
}

/// By what the kernel decides, and the fields of what it leaves.
fn split(reports: &[EventReport]) -> (String, String) {
    let (mut kernel, mut agent) = (Vec::new(), BTreeSet::new());
    for entry in reports.iter().flat_map(|report| &report.comparisons) {
        let (comparison, decision) = entry;
        if is_left(entry) {
            agent.extend(comparison.split_whitespace().next().map(|field| format!("`{field}`")));
        } else if !kernel.contains(decision) {
            kernel.push(*decision);
        }
    }
    // Of a program that starts, the kernel knows nothing that would let it withhold the event.
    if reports.iter().all(|report| report.family == "exec") {
        return ("-".to_owned(), "all".to_owned());
    }
    kernel.sort();
    let names: Vec<&str> = kernel.iter().map(|decision| decision.name()).collect();
    let names = if names.is_empty() { "-".to_owned() } else { names.join("; ") };
    let fields: Vec<String> = agent.into_iter().collect();
    (names, if fields.is_empty() { "-".to_owned() } else { fields.join(", ") })
}
