//! Private keys of a given authority, in the forms in which tools write them.
//!
//! `openssl` and cert-manager write RSA keys as PKCS#1 and keys of elliptic curves as SEC 1; what signs takes PKCS#8,
//! which is the same bytes in an envelope that names the algorithm.

use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use yasna::{DERWriter, construct_der, models::ObjectIdentifier, parse_der};

/// `rsaEncryption` of RFC 8017.
const RSA: &[u64] = &[1, 2, 840, 113_549, 1, 1, 1];
/// `id-ecPublicKey` of RFC 5480.
const CURVE: &[u64] = &[1, 2, 840, 10_045, 2, 1];
/// `secp256r1`, by the length of its keys.
const P256: (usize, &[u64]) = (32, &[1, 2, 840, 10_045, 3, 1, 7]);
/// `secp384r1`.
const P384: (usize, &[u64]) = (48, &[1, 3, 132, 0, 34]);

/// The key as PKCS#8; none for a curve that nothing here signs with, and for what is no key.
pub(super) fn pkcs8(key: PrivateKeyDer<'static>) -> Option<PrivatePkcs8KeyDer<'static>> {
    let oid = |parts: &[u64]| ObjectIdentifier::from_slice(parts);
    match key {
        PrivateKeyDer::Pkcs8(key) => Some(key),
        PrivateKeyDer::Pkcs1(key) => Some(enveloped(key.secret_pkcs1_der(), |writer| {
            writer.write_sequence(|writer| {
                writer.next().write_oid(&oid(RSA));
                writer.next().write_null();
            });
        })),
        PrivateKeyDer::Sec1(key) => {
            let key = key.secret_sec1_der();
            let (_, curve) = [P256, P384].into_iter().find(|(length, _)| secret_len(key) == Some(*length))?;
            Some(enveloped(key, |writer| {
                writer.write_sequence(|writer| {
                    writer.next().write_oid(&oid(CURVE));
                    writer.next().write_oid(&oid(curve));
                });
            }))
        }
        _ => None,
    }
}

fn enveloped(key: &[u8], algorithm: impl FnOnce(DERWriter<'_>)) -> PrivatePkcs8KeyDer<'static> {
    let der = construct_der(|writer| {
        writer.write_sequence(|writer| {
            writer.next().write_u8(0);
            algorithm(writer.next());
            writer.next().write_bytes(key);
        });
    });
    PrivatePkcs8KeyDer::from(der)
}

/// Length of the secret in an `ECPrivateKey` of RFC 5915.
fn secret_len(key: &[u8]) -> Option<usize> {
    let parsed = parse_der(key, |reader| {
        reader.read_sequence(|reader| {
            reader.next().read_u8()?;
            let secret = reader.next().read_bytes()?;
            // The curve and the public key, each of which may be missing.
            while reader.read_optional(|reader| reader.read_der().map(drop))?.is_some() {}
            Ok(secret.len())
        })
    });
    parsed.ok()
}

#[cfg(test)]
mod tests {
    use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PublicKeyData as _};
    use rustls_pki_types::{PrivatePkcs1KeyDer, PrivateSec1KeyDer};

    use super::*;

    /// What the envelope holds.
    fn inner(der: &[u8]) -> Vec<u8> {
        parse_der(der, |reader| {
            reader.read_sequence(|reader| {
                reader.next().read_u8()?;
                reader.next().read_der()?;
                let key = reader.next().read_bytes();
                while reader.read_optional(|reader| reader.read_der().map(drop))?.is_some() {}
                key
            })
        })
        .unwrap()
    }

    #[test]
    fn keys_of_curves_get_the_envelope_of_their_curve() {
        for algorithm in [&PKCS_ECDSA_P256_SHA256, &PKCS_ECDSA_P384_SHA384] {
            let pair = KeyPair::generate_for(algorithm).unwrap();
            let sec1 = PrivateSec1KeyDer::from(inner(&pair.serialize_der()));
            let again = KeyPair::try_from(&pkcs8(PrivateKeyDer::Sec1(sec1)).unwrap()).unwrap();
            assert_eq!(again.subject_public_key_info(), pair.subject_public_key_info());
        }
    }

    #[test]
    fn what_is_no_key_gets_none_that_can_be_used() {
        let curve = |bytes: &[u8]| pkcs8(PrivateKeyDer::Sec1(PrivateSec1KeyDer::from(bytes.to_vec())));
        assert!(curve(b"").is_none());
        assert!(curve(b"\x30\x06\x02\x01\x01\x04\x01\x07").is_none());
        let rsa = pkcs8(PrivateKeyDer::Pkcs1(PrivatePkcs1KeyDer::from(b"nothing".to_vec()))).unwrap();
        assert!(KeyPair::try_from(&rsa).is_err());
    }
}
