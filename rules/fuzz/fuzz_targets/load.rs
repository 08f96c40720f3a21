//! Any bytes load or give findings that can be rendered.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rampart_rules::{
    diagnostic::render,
    load::{LoadOptions, Source, load},
};

fuzz_target!(|text: &[u8]| {
    let source = Source { name: "fuzz.yaml".to_owned(), text: text.to_vec() };
    let loaded = load(&[source], &LoadOptions::default());
    assert_eq!(loaded.rules.is_none(), loaded.diagnostics.iter().any(|finding| finding.is_error()));
    render::full(&loaded.diagnostics, &loaded.sources);
    render::json(&loaded.diagnostics, &loaded.sources);
});
