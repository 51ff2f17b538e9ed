//! Types of keys: which are supported, and the reasons why others are not.
//!
//! A certificate is served with RSA of 2048 to 8192 bits, ECDSA on P-256, P-384 or P-521, or Ed25519. Both the
//! certificate and the private key state the type of the key, and [`algorithm`] and [`private_key_fault`]
//! report an unsupported type by name.

use std::ops::RangeInclusive;

use rustls_pki_types::PrivateKeyDer;
use x509_parser::asn1_rs::{Any, Class, Integer, OctetString, Sequence, Tag};
use x509_parser::oid_registry::Oid;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::{AlgorithmIdentifier, SubjectPublicKeyInfo};

use crate::certificate::{CertificateError, KeyAlgorithm};

/// Supported lengths of RSA keys, in bits. The lower limit is that of Envoy.
const RSA_BITS: RangeInclusive<usize> = 2048..=8192;

const RSA: &str = "1.2.840.113549.1.1.1";
const EC: &str = "1.2.840.10045.2.1";
const ED25519: &str = "1.3.101.112";

/// The supported curves of ECDSA.
const CURVES: [&str; 3] = ["1.2.840.10045.3.1.7", "1.3.132.0.34", "1.3.132.0.35"];

/// Names of algorithms and curves that OpenSSL and other tools create but no certificate may have.
const NAMES: [(&str, &str); 21] = [
    ("1.2.840.113549.1.1.7", "RSA-OAEP"),
    ("1.2.840.113549.1.1.10", "RSA-PSS"),
    ("1.2.840.10040.4.1", "DSA"),
    ("1.2.840.10046.2.1", "Diffie-Hellman"),
    ("1.2.840.113549.1.3.1", "Diffie-Hellman"),
    ("1.3.101.110", "X25519"),
    ("1.3.101.111", "X448"),
    ("1.3.101.113", "Ed448"),
    ("2.16.840.1.101.3.4.3.17", "ML-DSA-44"),
    ("2.16.840.1.101.3.4.3.18", "ML-DSA-65"),
    ("2.16.840.1.101.3.4.3.19", "ML-DSA-87"),
    ("1.2.840.10045.3.1.1", "P-192"),
    ("1.3.132.0.33", "P-224"),
    ("1.3.132.0.10", "secp256k1"),
    ("1.3.36.3.3.2.8.1.1.7", "brainpoolP256r1"),
    ("1.3.36.3.3.2.8.1.1.8", "brainpoolP256t1"),
    ("1.3.36.3.3.2.8.1.1.11", "brainpoolP384r1"),
    ("1.3.36.3.3.2.8.1.1.12", "brainpoolP384t1"),
    ("1.3.36.3.3.2.8.1.1.13", "brainpoolP512r1"),
    ("1.3.36.3.3.2.8.1.1.14", "brainpoolP512t1"),
    ("1.2.156.10197.1.301", "SM2"),
];

/// The algorithm of a certificate's public key.
///
/// # Errors
/// [`CertificateError::UnsupportedKey`] if no certificate with this key can be served.
pub(crate) fn algorithm(key: &SubjectPublicKeyInfo<'_>) -> Result<KeyAlgorithm, CertificateError> {
    public_key_fault(key).map_err(CertificateError::UnsupportedKey)
}

fn public_key_fault(key: &SubjectPublicKeyInfo<'_>) -> Result<KeyAlgorithm, String> {
    let algorithm = supported(&key.algorithm)?;
    match algorithm {
        KeyAlgorithm::Rsa => {
            if let Ok(PublicKey::RSA(rsa)) = key.parsed() {
                check_rsa_length(bits(rsa.modulus))?;
            }
        }
        // RFC 5480, section 2.2: the first byte of a compressed point is 2 or 3. Go rejects such a key.
        KeyAlgorithm::Ecdsa if matches!(&*key.subject_public_key.data, [2 | 3, ..]) => {
            return Err(
                "ECDSA with a compressed point; create the key with an uncompressed point"
                    .to_owned(),
            );
        }
        KeyAlgorithm::Ecdsa | KeyAlgorithm::Ed25519 => {}
    }
    Ok(algorithm)
}

/// The reason why a private key cannot be used. `None` if its type is supported, or if the key is malformed.
pub(crate) fn private_key_fault(key: &PrivateKeyDer<'_>) -> Option<String> {
    match key {
        PrivateKeyDer::Pkcs1(key) => rsa_fault(key.secret_pkcs1_der()),
        PrivateKeyDer::Sec1(key) => sec1_fault(key.secret_sec1_der()),
        PrivateKeyDer::Pkcs8(key) => pkcs8_fault(key.secret_pkcs8_der()),
        _ => None,
    }
}

/// RFC 5208, section 5: the version, the algorithm, and the key as an octet string.
fn pkcs8_fault(der: &[u8]) -> Option<String> {
    let (_, key) = element::<Sequence<'_>>(der)?;
    let (rest, _version) = element::<Integer<'_>>(&key.content)?;
    let (rest, algorithm) = AlgorithmIdentifier::from_der(rest).ok()?;
    match supported(&algorithm) {
        Err(fault) => Some(fault),
        Ok(KeyAlgorithm::Rsa) => {
            let (_, key) = element::<OctetString<'_>>(rest)?;
            rsa_fault(key.as_ref())
        }
        Ok(KeyAlgorithm::Ecdsa | KeyAlgorithm::Ed25519) => None,
    }
}

/// RFC 8017, section A.1.2: the version, which is 1 if the key has more than two primes, and the modulus.
fn rsa_fault(der: &[u8]) -> Option<String> {
    let (_, key) = element::<Sequence<'_>>(der)?;
    let (rest, version) = element::<Integer<'_>>(&key.content)?;
    if version.as_u8() == Ok(1) {
        return Some("RSA with more than two primes; use two primes".to_owned());
    }
    let (_, modulus) = element::<Integer<'_>>(rest)?;
    check_rsa_length(bits(modulus.as_ref())).err()
}

/// RFC 5915, section 3: the version, the key, and the parameters of the curve with the tag 0.
fn sec1_fault(der: &[u8]) -> Option<String> {
    let (_, key) = element::<Sequence<'_>>(der)?;
    let mut rest = &key.content[..];
    while let Some((after, field)) = element::<Any<'_>>(rest) {
        if field.class() == Class::ContextSpecific && field.tag() == Tag(0) {
            let (_, parameters) = element::<Any<'_>>(field.data)?;
            return check_curve(Some(&parameters)).err();
        }
        rest = after;
    }
    None
}

/// The supported algorithm that `algorithm` identifies. The error is the name of another algorithm.
fn supported(algorithm: &AlgorithmIdentifier<'_>) -> Result<KeyAlgorithm, String> {
    match algorithm.algorithm.to_id_string().as_str() {
        RSA => Ok(KeyAlgorithm::Rsa),
        EC => check_curve(algorithm.parameters.as_ref()).map(|()| KeyAlgorithm::Ecdsa),
        ED25519 => Ok(KeyAlgorithm::Ed25519),
        other => Err(format!(
            "{}; use RSA, ECDSA or Ed25519",
            name(other).unwrap_or(other)
        )),
    }
}

/// Checks the parameters of an EC key (RFC 5480, section 2.1.1), which must be the name of a curve.
fn check_curve(parameters: Option<&Any<'_>>) -> Result<(), String> {
    const USE: &str = "use P-256, P-384 or P-521";
    match parameters {
        Some(parameters) if parameters.tag() == Tag::Oid => {
            let curve = parameters.as_oid().map(|oid: Oid<'_>| oid.to_id_string());
            match curve.as_deref() {
                Ok(curve) if CURVES.contains(&curve) => Ok(()),
                Ok(curve) => {
                    let curve = name(curve).unwrap_or(curve);
                    Err(format!("ECDSA on the curve {curve}; {USE}"))
                }
                Err(_) => Err(format!("ECDSA on a curve without a valid name; {USE}")),
            }
        }
        Some(parameters) if parameters.tag() == Tag::Sequence => Err(format!(
            "ECDSA with explicit curve parameters; {USE} by name"
        )),
        _ => Err(format!("ECDSA without a curve; {USE}")),
    }
}

fn check_rsa_length(bits: usize) -> Result<(), String> {
    if RSA_BITS.contains(&bits) {
        return Ok(());
    }
    let (min, max) = (RSA_BITS.start(), RSA_BITS.end());
    Err(format!("RSA with {bits} bits; use {min} to {max} bits"))
}

/// The name of the algorithm or curve `oid`.
fn name(oid: &str) -> Option<&'static str> {
    let mut names = NAMES.iter();
    names.find_map(|(known, name)| (*known == oid).then_some(*name))
}

/// Reads one element. Returns the bytes that follow it, and the element.
fn element<'a, T: FromDer<'a>>(der: &'a [u8]) -> Option<(&'a [u8], T)> {
    T::from_der(der).ok()
}

/// The number of bits of an unsigned integer, which is given as big-endian bytes.
fn bits(big_endian: &[u8]) -> usize {
    let start = big_endian.iter().position(|byte| *byte != 0);
    let digits = start.map_or(&[][..], |start| &big_endian[start..]);
    let unused = digits
        .first()
        .map_or(0, |first| first.leading_zeros() as usize);
    digits.len() * 8 - unused
}

#[cfg(test)]
#[cfg(feature = "aws-lc-rs")]
mod tests {
    use super::*;
    use crate::Certificate;
    use crate::testing::{Key, TEST_CA, params};

    macro_rules! pair {
        ($name:literal) => {
            (
                include_str!(concat!("../testdata/", $name, ".pem")),
                include_str!(concat!("../testdata/", $name, ".key")),
            )
        };
    }

    #[test]
    fn unsupported_keys_are_reported_by_name() {
        for ((cert, key), expected) in [
            (
                pair!("rsa1024"),
                "RSA with 1024 bits; use 2048 to 8192 bits",
            ),
            (
                pair!("rsa-three-primes"),
                "RSA with more than two primes; use two primes",
            ),
            (pair!("rsa-pss"), "RSA-PSS; use RSA, ECDSA or Ed25519"),
            (pair!("ed448"), "Ed448; use RSA, ECDSA or Ed25519"),
            (
                pair!("secp256k1"),
                "ECDSA on the curve secp256k1; use P-256, P-384 or P-521",
            ),
        ] {
            let (other, _) = TEST_CA.sign(&params(&["a.test"]), Key::P256);
            let expected = CertificateError::UnsupportedKey(expected.to_owned());

            let from_certificate = Certificate::from_pem(cert, key);
            let from_key = Certificate::from_pem(other, key);

            assert_eq!(from_certificate.as_ref(), Err(&expected), "{cert}");
            assert_eq!(from_key.as_ref(), Err(&expected), "{key}");
        }
    }

    /// Go reports "invalid ECDSA parameters" and "invalid uncompressed public key".
    #[test]
    fn encodings_of_ecdsa_keys_that_go_rejects_are_reported() {
        for ((cert, key), expected) in [
            (
                pair!("ec-explicit"),
                "the key is not supported: ECDSA with explicit curve parameters; use P-256, P-384 or P-521 by name",
            ),
            (
                pair!("ec-compressed"),
                "the key is not supported: ECDSA with a compressed point; create the key with an uncompressed point",
            ),
        ] {
            let error = Certificate::from_pem(cert, key).unwrap_err();

            assert_eq!(error.to_string(), expected);
        }
    }

    #[test]
    fn the_length_of_an_integer_ignores_leading_zeros() {
        for (bytes, expected) in [
            (&[][..], 0),
            (&[0, 0], 0),
            (&[0, 0x80], 8),
            (&[0x7f, 0xff], 15),
            (&[1, 0], 9),
        ] {
            assert_eq!(bits(bytes), expected, "{bytes:?}");
        }
    }

    #[test]
    fn each_identifier_has_one_name() {
        for (at, (oid, _)) in NAMES.iter().enumerate() {
            assert!(NAMES[..at].iter().all(|(other, _)| other != oid), "{oid}");
            assert!(!CURVES.contains(oid) && ![RSA, EC, ED25519].contains(oid));
        }
    }
}
