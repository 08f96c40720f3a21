//! Kernel records: no bytes make the decoder panic, and what it accepts can be looked at.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rampart_agent::event::decode::decode;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(event) = decode(bytes) {
        // Formatting walks every attribute the event refers to.
        let _ = format!("{event:?}");
    }
});
