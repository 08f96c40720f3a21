//! Round trips of built records, and proof that no bytes make the decoder panic.

use proptest::prelude::*;
use rampart_common::{
    abi::ABI_VERSION,
    event::{ATTR_DISCONNECTED, AttrTag, EventKind, Family, HEADER_BYTES},
};

use super::decode;
use crate::event::DecodeError;

/// Builds record bytes the way the kernel side lays them out.
fn record(attrs: &[(u16, u16, &[u8])]) -> Vec<u8> {
    let mut bytes = vec![0u8; HEADER_BYTES];
    bytes[4..6].copy_from_slice(&(EventKind::Syscall as u16).to_ne_bytes());
    bytes[6] = Family::Open as u8;
    bytes[7] = ABI_VERSION;
    for (tag, flags, payload) in attrs {
        bytes.extend_from_slice(&tag.to_ne_bytes());
        bytes.extend_from_slice(&flags.to_ne_bytes());
        bytes.extend_from_slice(&(payload.len() as u32).to_ne_bytes());
        bytes.extend_from_slice(payload);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
    }
    let len = bytes.len() as u32;
    bytes[..4].copy_from_slice(&len.to_ne_bytes());
    bytes
}

#[test]
fn path_components_come_out_root_first() {
    let bytes = record(&[(AttrTag::RealPath as u16, 0, b"shadow\0etc\0")]);
    let event = decode(&bytes).expect("a well-formed record");
    let mut path = Vec::new();
    assert!(event.path_into(AttrTag::RealPath, &mut path));
    assert_eq!(path, b"/etc/shadow");
    assert!(!event.path_into(AttrTag::Cwd, &mut path));
}

#[test]
fn the_root_and_a_disconnected_file_keep_their_form() {
    let bytes =
        record(&[(AttrTag::Cwd as u16, 0, b""), (AttrTag::RealPath as u16, ATTR_DISCONNECTED, b"memfd:x\0")]);
    let event = decode(&bytes).expect("a well-formed record");
    let (mut cwd, mut real) = (Vec::new(), Vec::new());
    event.path_into(AttrTag::Cwd, &mut cwd);
    event.path_into(AttrTag::RealPath, &mut real);
    assert_eq!((cwd.as_slice(), real.as_slice()), (b"/".as_slice(), b"memfd:x".as_slice()));
}

#[test]
fn faults_are_named() {
    assert_eq!(decode(&[]).err(), Some(DecodeError::Short { have: 0, need: HEADER_BYTES }));
    let mut other = record(&[]);
    other[7] = ABI_VERSION + 1;
    assert_eq!(decode(&other).err(), Some(DecodeError::Version(ABI_VERSION + 1)));
    let mut long = record(&[(AttrTag::Argv as u16, 0, b"x\0")]);
    long[HEADER_BYTES + 4] = 200;
    let offset = HEADER_BYTES;
    assert_eq!(decode(&long).err(), Some(DecodeError::AttrLength { tag: AttrTag::Argv as u16, offset }));
    assert_eq!(decode(&record(&[(999, 0, b"")])).err(), Some(DecodeError::Attr(999)));
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = decode(&bytes);
    }

    #[test]
    fn no_mutation_of_a_record_panics(
        payload in prop::collection::vec(any::<u8>(), 0..64),
        tag in 1u16..20,
        flips in prop::collection::vec((0usize..400, any::<u8>()), 0..6),
    ) {
        let mut bytes = record(&[(tag, 0, &payload), (AttrTag::File as u16, 0, &payload)]);
        for (at, value) in flips {
            let len = bytes.len();
            bytes[at % len] = value;
        }
        if let Ok(event) = decode(&bytes) {
            let mut out = Vec::new();
            for tag in (0..24).filter_map(|raw| AttrTag::try_from(raw).ok()) {
                event.path_into(tag, &mut out);
            }
            let _ = (event.file(), event.socket(), event.exec());
        }
    }

    #[test]
    fn payloads_survive(payload in prop::collection::vec(any::<u8>(), 0..64), flags in any::<u16>()) {
        let bytes = record(&[(AttrTag::Argv as u16, flags, &payload)]);
        let event = decode(&bytes).expect("a well-formed record");
        let attr = event.attr(AttrTag::Argv).expect("the attribute");
        prop_assert_eq!((attr.flags, attr.bytes), (flags, payload.as_slice()));
    }
}
