//! A token is accepted only if its signature covers its exact bytes and the token decodes unambiguously.
//!
//! Input: a compact token. The key set has one shared secret.

use data_encoding::{BASE64URL_NOPAD, Encoding};
use towergate_policy::jwt::{Algorithm, KeySet, UnverifiedToken};

const KEYS: &str = r#"{"keys": [
    {"kty": "oct", "alg": "HS256", "k": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"}
]}"#;
const BASE64: Encoding = BASE64URL_NOPAD;

/// Checks the property for one input.
pub fn check(bytes: &[u8]) {
    // Any bytes parse to a key set or an error, without a panic.
    let _ = KeySet::parse(bytes);
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let Ok(token) = UnverifiedToken::decode(text) else {
        return;
    };
    let signature = BASE64.encode(&token.signature);
    // Padding of the signature is accepted, as in Envoy.
    assert_eq!(
        format!("{}.{signature}", token.signed),
        text.trim_end_matches('=')
    );

    let keys = KeySet::parse(KEYS.as_bytes()).expect("the key set is valid");
    if keys.verify(&token).is_err() {
        return;
    }
    assert_eq!(token.algorithm, Algorithm::Hs256);
    let mut changed = token.signature.clone();
    changed[0] ^= 1;
    let changed = format!("{}.{}", token.signed, BASE64.encode(&changed));
    let changed = UnverifiedToken::decode(&changed).expect("only the signature changed");
    assert!(keys.verify(&changed).is_err());
}
