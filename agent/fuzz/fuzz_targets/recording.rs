//! Recordings: no bytes make the reader or a replay of them panic.
//!
//! Few inputs get past a checksum, so the bytes are also taken for the contents of a frame whose checksum is right.

#![no_main]

use std::{collections::VecDeque, sync::LazyLock};

use libfuzzer_sys::fuzz_target;
use rampart_agent::{
    config, policy,
    recording::{
        facts::Facts,
        frame::{FrameWriter, Kind},
        read::Reader,
        replay::{self, Switches},
    },
};

static BUNDLE: LazyLock<policy::Bundle> = LazyLock::new(|| {
    let config = config::Sources::default().load().expect("defaults are valid");
    policy::load(&config.rules, &config.trading).bundle.expect("the built-in rules load")
});

fn replay(bytes: VecDeque<u8>) {
    let Ok(mut reader) = Reader::new(bytes) else { return };
    let switches = Switches { realpath_matching: true, strict_falco: false };
    let mut detectors = [replay::detector(reader.facts(), &BUNDLE, switches)];
    let summary = replay::run(&mut reader, &mut detectors, &mut |_, alert| drop(alert.text()));
    assert!(summary.fault.is_none_or(|fault| !fault.to_string().is_empty()));
}

fuzz_target!(|bytes: &[u8]| {
    replay(bytes.iter().copied().collect());
    let facts = Facts { process_limit: 64, metadata_wait_ns: Some(1000), ..Facts::default() };
    let facts = rmp_serde::to_vec_named(&facts).expect("facts are plain data");
    let mut writer = FrameWriter::new(Vec::new()).expect("a vector takes all");
    writer.frame(Kind::Facts, &facts).expect("a vector takes all");
    writer.frame(Kind::Items, bytes).expect("a vector takes all");
    replay(writer.into_inner().into());
});
