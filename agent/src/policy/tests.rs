use std::fs;

use super::*;
use crate::{config::Sources, policy::reload::Reloader};

const RULE: &str = "- rule: One\n  desc: d\n  condition: evt.type = open\n  output: o\n  priority: WARNING\n";

fn rules(files: Vec<PathBuf>) -> config::Rules {
    let config = Sources { file: Some("/dev/null".into()), ..Sources::default() }.load().unwrap();
    config::Rules { files, ..config.rules }
}

fn none() -> config::Trading {
    config::Trading::default()
}

#[test]
fn where_there_is_trade_its_pack_is_loaded_too() {
    let asset = config::trading::PathPattern::Exact("/k".to_owned());
    let trading = config::Trading { assets: [("wallet".to_owned(), vec![asset])].into(), ..none() };
    let (bundle, findings, _) = load(&rules(Vec::new()), &trading).into_bundle().unwrap();
    assert!(findings.is_empty() && bundle.trading.is_some());
    let names: Vec<_> = bundle.files.iter().map(|(path, _)| path.to_str().unwrap()).collect();
    assert_eq!(names, [BUILT_IN_TRADING, BUILT_IN]);
    assert!(load(&rules(Vec::new()), &none()).bundle.unwrap().trading.is_none());
}

#[test]
fn without_files_the_built_in_pack_is_loaded() {
    let (bundle, findings, _) = load(&rules(Vec::new()), &none()).into_bundle().unwrap();
    assert!(findings.is_empty());
    assert!(bundle.rules.rules().len() >= 10);
    assert_eq!(bundle.files[0].0, PathBuf::from(BUILT_IN));
    assert_eq!(bundle.digest.len(), 64);
}

#[test]
fn the_digest_tells_texts_apart_and_not_names() {
    let dir = tempfile::tempdir().unwrap();
    let [a, b] = ["a.yaml", "b.yaml"].map(|name| dir.path().join(name));
    fs::write(&a, RULE).unwrap();
    fs::write(&b, RULE).unwrap();
    let digest = |path: &PathBuf| load(&rules(vec![path.clone()]), &none()).bundle.unwrap().digest;
    assert_eq!(digest(&a), digest(&b));
    fs::write(&b, RULE.replace("WARNING", "ERROR")).unwrap();
    assert_ne!(digest(&a), digest(&b));
    let source = |text: &str| Source { name: String::new(), text: text.as_bytes().to_vec() };
    assert_ne!(super::digest(&[source("ab"), source("c")]), super::digest(&[source("a"), source("bc")]));
}

#[test]
fn every_unreadable_and_every_faulty_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let bad = dir.path().join("bad.yaml");
    fs::write(&bad, RULE.replace("evt.type", "evt.typ")).unwrap();
    let report = load(&rules(vec!["/nonexistent.yaml".into(), bad.clone()]), &none());
    assert!(!report.is_clean() && report.bundle.is_none());
    let text = report.into_bundle().unwrap_err().to_string();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("cannot read rules from `/nonexistent.yaml`: No such file"), "{text}");
    assert!(lines[1].starts_with(&format!("{}:3:", bad.display())), "{text}");
    assert!(lines[1].contains("`evt.typ`") && lines[1].ends_with("; did you mean `evt.type`?"), "{text}");
}

#[test]
fn a_reload_is_all_or_nothing_and_names_what_waits() {
    let dir = tempfile::tempdir().unwrap();
    let (file, rule) = (dir.path().join("rampart.yaml"), dir.path().join("r.yaml"));
    fs::write(&file, format!("rules: {{files: [{}]}}\n", rule.display())).unwrap();
    fs::write(&rule, RULE).unwrap();
    let sources = Sources { file: Some(file.clone()), ..Sources::default() };
    let mut reloader = Reloader::new(sources.clone(), sources.load().unwrap());
    let first = load(&sources.load().unwrap().rules, &none()).bundle.unwrap();
    assert!(!reloader.changed());

    fs::write(&rule, RULE.replace("evt.type", "nonsense.field")).unwrap();
    assert!(!reloader.changed() && reloader.changed(), "a finished change is seen at the second look");
    let error = reloader.load().unwrap_err().to_string();
    assert!(error.contains("r.yaml:3:") && error.contains("nonsense.field"), "{error}");
    assert!(!reloader.changed(), "a faulty file is reported once");

    fs::write(&file, "rules: {fles: []}\n").unwrap();
    assert!(reloader.load().unwrap_err().to_string().contains("unknown setting `rules.fles`"));

    fs::write(&rule, RULE.replace("One", "Another")).unwrap();
    fs::write(&file, format!("rules: {{files: [{}]}}\nadmin: {{enabled: false}}\n", rule.display())).unwrap();
    let reload = reloader.load().unwrap();
    assert_eq!(reload.waiting, ["admin"]);
    let bundle = reloader.accept(reload);
    assert_ne!(bundle.digest, first.digest);
    assert_eq!(bundle.rules.rules()[0].name, "Another");
    assert!(!reloader.changed());
}
