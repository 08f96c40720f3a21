//! Any text parses or is refused inside it; what parses prints to what it was.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rampart_rules::{
    condition::{DEFAULT_DEPTH, parse},
    filter::Filter,
    source::Mapped,
    typed::Environment,
};

fuzz_target!(|text: &str| {
    match parse(&Mapped::plain(text), DEFAULT_DEPTH) {
        Ok(tree) => {
            let printed = tree.to_string();
            let again = parse(&Mapped::plain(&*printed), DEFAULT_DEPTH + 1).expect("what is printed parses");
            assert_eq!(again.to_string(), printed);
        }
        Err(error) => assert!(error.range.start <= error.range.end && error.range.end <= text.len()),
    }
    Filter::compile(text, Environment { container_fields: true, strict: false });
});
