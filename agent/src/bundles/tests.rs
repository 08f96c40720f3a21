//! Signatures, and what is refused although it is signed.

use proptest::{collection::vec, prelude::*};
use ring::signature::{Ed25519KeyPair, KeyPair as _};

use super::*;
use crate::control::bundle::tests::{write, write_signed};

/// A key that signs.
pub(crate) fn pair(seed: u8) -> (Ed25519KeyPair, PublicKey) {
    let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
    let public = PublicKey(pair.public_key().as_ref().try_into().unwrap());
    (pair, public)
}

/// These bytes, signed.
pub(crate) fn sign(bundle: Vec<u8>, seed: u8) -> Vec<u8> {
    let (pair, public) = pair(seed);
    let message = [LABEL, &Sha256::digest(&bundle)].concat();
    let signature = pair.sign(&message).as_ref().to_vec();
    write_signed(bundle, signature, public.0.to_vec())
}

fn open(bundle: Vec<u8>) -> Result<Bundle, BundleError> {
    Bundle::open(&sign(bundle, 1), &[pair(2).1, pair(1).1])
}

#[test]
fn a_signed_bundle_is_what_was_signed() {
    let bytes = write(
        1,
        "v1.2+a",
        &[("policy.yaml", b"limits: {}\n"), ("rules/a.yaml", b"[]"), ("rules/b.yml", b"")],
    );
    let bundle = open(bytes.clone()).unwrap();
    assert_eq!((bundle.name.as_str(), bundle.created_secs), ("v1.2+a", 1_700_000_000));
    assert_eq!(bundle.digest.0, <[u8; 32]>::from(Sha256::digest(&bytes)));
    let names: Vec<&str> = bundle.rules.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names, ["bundle v1.2+a:rules/a.yaml", "bundle v1.2+a:rules/b.yml"]);
    assert_eq!(bundle.settings.as_deref(), Some("limits: {}\n"));
}

#[test]
fn no_byte_can_be_changed_added_or_left_out() {
    let good = sign(write(1, "a", &[("rules/a.yaml", b"- list: a\n  items: []\n")]), 1);
    let keys = [pair(1).1];
    let opened = Bundle::open(&good, &keys).unwrap();
    for at in 0..good.len() {
        for flip in [1, 0x80] {
            let mut bad = good.clone();
            bad[at] ^= flip;
            assert!(Bundle::open(&bad, &keys).is_err(), "byte {at}");
        }
        assert!(Bundle::open(&good[..at], &keys).is_err(), "cut at {at}");
    }
    // What stands outside of the signature may be more, but says nothing.
    let more = [&good[..], &[0x20, 1]].concat();
    assert_eq!(Bundle::open(&more, &keys).unwrap(), opened);
    assert_eq!(Bundle::open(&vec![0; BYTES_MAX + 1], &keys), Err(BundleError::TooLarge(BYTES_MAX + 1)));
    assert_eq!(Bundle::open(b"", &keys), Err(BundleError::NoBundle));
}

#[test]
fn only_keys_of_the_configuration_count() {
    let bundle = sign(write(1, "a", &[("rules/a.yaml", b"")]), 3);
    assert_eq!(Bundle::open(&bundle, &[pair(1).1]), Err(BundleError::UnknownKey(pair(3).1)));
    assert_eq!(Bundle::open(&bundle, &[]), Err(BundleError::UnknownKey(pair(3).1)));
    // Another key's name on the same signature.
    let signed = wire::signed(&bundle).unwrap();
    let renamed = write_signed(signed.bundle.clone(), signed.signature, pair(1).1.0.to_vec());
    assert_eq!(Bundle::open(&renamed, &[pair(1).1]), Err(BundleError::Signature));
    // A signature over the bundle itself, or over its digest without the label, is one of something else.
    let (other, public) = pair(1);
    for message in [signed.bundle.clone(), Sha256::digest(&signed.bundle).to_vec()] {
        let signature = other.sign(&message).as_ref().to_vec();
        let wrong = write_signed(signed.bundle.clone(), signature, public.0.to_vec());
        assert_eq!(Bundle::open(&wrong, &[public]), Err(BundleError::Signature));
    }
}

#[test]
fn signed_nonsense_is_refused_with_its_reason() {
    let refused = |bytes: Vec<u8>| open(bytes).unwrap_err().to_string();
    let one: &[(&str, &[u8])] = &[("rules/a.yaml", b"")];
    assert!(refused(write(2, "a", one)).contains("another format"));
    for name in ["", "a b", "<b>", "a\n", &"a".repeat(101)] {
        assert!(refused(write(1, name, one)).contains("its name"), "{name:?}");
    }
    assert!(refused(write(1, "a", &[])).contains("1 to 256 files"));
    let twice: &[(&str, &[u8])] = &[("rules/a.yaml", b"1"), ("rules/a.yaml", b"2")];
    assert!(refused(write(1, "a", twice)).contains("order"));
    let disordered: &[(&str, &[u8])] = &[("rules/b.yaml", b"1"), ("rules/a.yaml", b"2")];
    assert!(refused(write(1, "a", disordered)).contains("order"));
    for path in ["../a.yaml", "/etc/passwd", "rules/../../a.yaml", "rampart.yaml"] {
        assert!(refused(write(1, "a", &[(path, b"")])).contains(path), "{path}");
    }
    assert_eq!(
        refused(write(1, "a", &[("rules/a.yaml", b"\xff")])),
        "the file `rules/a.yaml` of the bundle is not UTF-8"
    );
    // A field that this version does not know.
    let unknown = [write(1, "a", one), vec![0x78, 1]].concat();
    assert!(refused(unknown).contains("must not have"));
}

proptest! {
    /// Whoever has a key may still make mistakes: whatever bytes are signed, nothing panics, and what opens is what is
    /// allowed.
    #[test]
    fn signed_bytes_open_or_are_refused(
        files in vec(("[a-z./]{0,12}|rules/[a-z]{1,3}\\.ya?ml|policy\\.yaml", vec(any::<u8>(), 0..8)), 0..5),
        name in "[a-c ]{0,4}",
        flips in vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
    ) {
        let files: Vec<(&str, &[u8])> = files.iter().map(|(path, text)| (path.as_str(), text.as_slice())).collect();
        let mut bytes = write(1, &name, &files);
        for (at, value) in flips {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Ok(bundle) = open(bytes.clone()) {
            prop_assert_eq!(bundle.digest.0, <[u8; 32]>::from(Sha256::digest(&bytes)));
            prop_assert!(!bundle.name.is_empty() && !bundle.name.contains(' '));
            prop_assert!(bundle.rules.len() + usize::from(bundle.settings.is_some()) > 0);
            for file in &bundle.rules {
                let path = file.name.strip_prefix(&bundle.place("")).unwrap_or_default().to_owned();
                prop_assert!(path.starts_with("rules/") && path.matches('/').count() == 1 && !path.contains(".."), "{}", path);
            }
        }
    }
}
