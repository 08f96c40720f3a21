//! Any text is a call or refused inside it; the fields of an event follow from any call.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rampart_rules::{
    catalog::{FIELDS, FieldId},
    unit::{call, event::Event},
    value::{FieldArg, FieldSource},
};

fuzz_target!(|text: &str| {
    match call::parse(text) {
        Ok(call) => {
            let mut event = Event::new(call.event);
            event.fill(&call);
            for index in 0..FIELDS.len() as u16 {
                event.field(FieldId(index), FieldArg::None);
            }
        }
        Err(error) => {
            assert!(text.get(error.range).is_some(), "a place outside the text, or inside a character");
        }
    }
});
