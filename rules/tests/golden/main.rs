//! Golden tests: what people and programs get to read about bad rule files, byte for byte.
//!
//! Each `NAME.yaml` beside this file is loaded on its own with all lints; `NAME.FORM.txt` is what the renderer
//! of each form makes of the findings. `UPDATE_EXPECT=1 cargo test -p rampart-rules --test golden` writes them anew;
//! the difference is for a person to read.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use expect_test::expect_file;
use rampart_rules::{
    diagnostic::render,
    lint::Lints,
    load::{LoadOptions, Loaded, Source, load},
};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn loaded(name: &str) -> Loaded {
    let text = fs::read(folder().join(name)).unwrap();
    let source = Source { name: name.to_owned(), text };
    load(&[source], &LoadOptions { lints: Lints::All, ..LoadOptions::default() })
}

/// JSON over several lines, so that differences can be read.
fn pretty(json: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(json).unwrap();
    serde_json::to_string_pretty(&value).unwrap() + "\n"
}

/// Names in the folder that end in `suffix`, without it.
fn stems(suffix: &str) -> BTreeSet<String> {
    let names =
        fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter_map(|name| name.strip_suffix(suffix).map(str::to_owned)).collect()
}

#[test]
fn findings_read_as_they_did() {
    for stem in stems(".yaml") {
        let Loaded { diagnostics, sources, .. } = loaded(&format!("{stem}.yaml"));
        let expect = |form: &str, text: &str| {
            expect_file![folder().join(format!("{stem}.{form}.txt"))].assert_eq(text);
        };
        expect("full", &render::full(&diagnostics, &sources));
        expect("concise", &render::concise(&diagnostics, &sources));
        expect("json", &pretty(&render::json(&diagnostics, &sources)));
        expect("falco-json", &pretty(&render::falco(&diagnostics, &sources, &[], false)));
    }
}

#[test]
fn every_golden_file_belongs_to_a_rule_file() {
    for form in ["full", "concise", "json", "falco-json"] {
        assert_eq!(stems(&format!(".{form}.txt")), stems(".yaml"), "{form}");
    }
}

#[test]
fn ten_mistakes_are_ten_findings_in_the_right_places() {
    let Loaded { diagnostics, sources, rules } = loaded("ten_mistakes.yaml");
    assert!(rules.is_none());
    let places: Vec<(u32, u32, &str)> = diagnostics
        .iter()
        .map(|finding| {
            let place = sources.locate(finding.span.unwrap()).unwrap();
            (place.line, place.column, finding.code.0)
        })
        .collect();
    assert_eq!(
        places,
        [
            (2, 28, "RMP0012"),
            (8, 45, "RMP0110"),
            (12, 14, "RMP0100"),
            (18, 25, "RMP0116"),
            (25, 5, "RMP0103"),
            (34, 13, "RMP0015"),
            (39, 31, "RMP0130"),
            (44, 50, "RMP0112"),
            (50, 47, "RMP0113"),
            (62, 14, "RMP0030"),
        ]
    );
}
