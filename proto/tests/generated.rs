//! The generated code is that of the definitions, and the definitions still speak the old wire format.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{collections::BTreeMap, env, fs, path::Path};

use prost::Message as _;
use protox::prost_reflect::{DescriptorPool, Kind};
use tonic_prost_build::FileDescriptorSet;

const FILES: [&str; 6] = [
    "rampart/v1/agent.proto",
    "rampart/v1/alert.proto",
    "rampart/v1/bundle.proto",
    "rampart/v1/identity.proto",
    "rampart/v1/job.proto",
    "rampart/v1/query.proto",
];

fn path(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn definitions() -> FileDescriptorSet {
    protox::compile(FILES, [path("api")]).unwrap()
}

#[test]
fn the_kept_code_is_current() {
    let out = tempfile();
    tonic_prost_build::configure().out_dir(&out).compile_fds(definitions()).unwrap();
    let made = fs::read_to_string(out.join("rampart.v1.rs")).unwrap();
    fs::remove_dir_all(&out).unwrap();
    let kept = path("src/gen/rampart.v1.rs");
    if env::var_os("RAMPART_UPDATE").is_some() {
        fs::create_dir_all(kept.parent().unwrap()).unwrap();
        fs::write(&kept, &made).unwrap();
    }
    assert!(
        fs::read_to_string(&kept).unwrap() == made,
        "src/gen is old: run this test with RAMPART_UPDATE=1"
    );
}

/// What programs that ask by reflection are told.
#[test]
fn the_kept_descriptors_are_current() {
    let mut made = definitions();
    for file in &mut made.file {
        file.source_code_info = None;
    }
    let made = made.encode_to_vec();
    let kept = path("src/gen/rampart.v1.bin");
    if env::var_os("RAMPART_UPDATE").is_some() {
        fs::write(&kept, &made).unwrap();
    }
    assert!(fs::read(&kept).unwrap() == made, "src/gen is old: run this test with RAMPART_UPDATE=1");
}

fn tempfile() -> std::path::PathBuf {
    let dir = env::temp_dir().join(format!("rampart-proto-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    dir
}

/// Every field, value and method, by what it is on the wire.
fn wire() -> BTreeMap<String, String> {
    let pool = DescriptorPool::from_file_descriptor_set(definitions()).unwrap();
    let mut wire = BTreeMap::new();
    for message in pool.all_messages() {
        for field in message.fields() {
            let kind = match field.kind() {
                Kind::Message(inner) => inner.full_name().to_owned(),
                Kind::Enum(inner) => inner.full_name().to_owned(),
                plain => format!("{plain:?}"),
            };
            let many = if field.is_list() { "repeated " } else { "" };
            wire.insert(
                format!("{} {}", message.full_name(), field.number()),
                format!("{many}{kind} {}", field.name()),
            );
        }
    }
    for choice in pool.all_enums() {
        for value in choice.values() {
            wire.insert(format!("{} {}", choice.full_name(), value.number()), value.name().to_owned());
        }
    }
    for service in pool.services() {
        for method in service.methods() {
            let stream = |is_stream: bool| if is_stream { "stream " } else { "" };
            let text = format!(
                "{}{} -> {}{}",
                stream(method.is_client_streaming()),
                method.input().full_name(),
                stream(method.is_server_streaming()),
                method.output().full_name()
            );
            wire.insert(method.full_name().to_owned(), text);
        }
    }
    wire
}

/// A field may be added. One that was there may not go, change its type, or give its number to another.
#[test]
fn the_wire_format_only_grows() {
    let kept = path("api/wire.txt");
    let made = wire();
    let old = fs::read_to_string(&kept).unwrap_or_default();
    for line in old.lines() {
        let (place, meaning) = line.split_once(" = ").unwrap();
        assert_eq!(made.get(place).map(String::as_str), Some(meaning), "`{place}` was on the wire before");
    }
    let lines: Vec<String> = made.iter().map(|(place, meaning)| format!("{place} = {meaning}\n")).collect();
    let text = lines.concat();
    if env::var_os("RAMPART_UPDATE").is_some() {
        fs::write(&kept, &text).unwrap();
    }
    assert!(
        fs::read_to_string(&kept).unwrap() == text,
        "wire.txt is old: run this test with RAMPART_UPDATE=1"
    );
}
