//! Any text is an output format or refused; formats render with nothing known.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rampart_rules::{
    catalog::FieldId,
    output::OutputFormat,
    value::{FieldArg, FieldSource, Value},
};

struct Nothing;

impl FieldSource for Nothing {
    fn field<'a>(&'a self, _: FieldId, _: FieldArg<'_>) -> Value<'a> {
        Value::Null
    }
}

fuzz_target!(|text: &str| {
    if let Ok(format) = OutputFormat::parse(text) {
        let mut out = String::new();
        assert!(format.lenient().render(&Nothing, &mut out));
    }
});
