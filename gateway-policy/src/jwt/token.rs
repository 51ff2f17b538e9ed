//! A JSON Web Token in its compact form (RFC 7519, RFC 7515 section 3.1), decoded but not verified.
//!
//! ```text
//! BASE64URL(header) "." BASE64URL(claims) "." BASE64URL(signature)
//! └────────── signed ─────────────────┘
//! ```
//!
//! Decoding rejects tokens that two implementations could interpret differently: a duplicate member name, a
//! claim of the wrong type, or a critical header parameter.

use std::fmt;

use data_encoding::BASE64URL_NOPAD;
use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::{Algorithm, JwtError};

/// The claims of a token.
pub type Claims = Map<String, Value>;

/// Maximum nesting depth of arrays and objects in a token.
const MAX_DEPTH: usize = 32;

/// A decoded token with an unverified signature.
#[derive(Debug)]
pub struct UnverifiedToken<'t> {
    /// The algorithm in the header.
    pub algorithm: Algorithm,
    /// The key ID in the header.
    pub key_id: Option<String>,
    /// The claims.
    pub claims: Claims,
    /// Header and claims as they were signed.
    pub signed: &'t str,
    /// The signature.
    pub signature: Vec<u8>,
}

impl<'t> UnverifiedToken<'t> {
    /// Decodes a compact token.
    ///
    /// # Errors
    /// The first error in the token.
    pub fn decode(text: &'t str) -> Result<Self, JwtError> {
        let mut parts = text.split('.');
        let (Some(header), Some(claims), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(JwtError::BadFormat);
        };
        if header.is_empty() || claims.is_empty() || signature.is_empty() {
            return Err(JwtError::BadFormat);
        }
        let signed = &text[..header.len() + 1 + claims.len()];
        let (algorithm, key_id) = decode_header(header)?;
        let claims = decode_claims(claims)?;
        let signature = base64(signature).ok_or(JwtError::BadSignatureEncoding)?;
        Ok(Self {
            algorithm,
            key_id,
            claims,
            signed,
            signature,
        })
    }
}

fn decode_header(text: &str) -> Result<(Algorithm, Option<String>), JwtError> {
    let bytes = base64(text).ok_or(JwtError::BadHeaderEncoding)?;
    let header = object(&bytes).ok_or(JwtError::BadHeader)?;
    let algorithm = match header.get("alg") {
        Some(Value::String(name)) => name.parse().map_err(|()| JwtError::UnsupportedAlgorithm)?,
        _ => return Err(JwtError::NoAlgorithm),
    };
    let key_id = match header.get("kid") {
        None => None,
        Some(Value::String(id)) => Some(id.clone()),
        Some(_) => return Err(JwtError::BadKeyId),
    };
    if header.contains_key("crit") {
        // No critical extension is supported (RFC 7515, section 4.1.11).
        return Err(JwtError::CriticalHeader);
    }
    Ok((algorithm, key_id))
}

fn decode_claims(text: &str) -> Result<Claims, JwtError> {
    let bytes = base64(text).ok_or(JwtError::BadClaimsEncoding)?;
    let claims = object(&bytes).ok_or(JwtError::BadClaims)?;
    for name in ["iss", "sub", "jti"] {
        if claims.get(name).is_some_and(|value| !value.is_string()) {
            return Err(JwtError::ClaimNotString(name));
        }
    }
    for name in ["iat", "nbf", "exp"] {
        match claims.get(name) {
            None => {}
            Some(Value::Number(number)) if seconds(number).is_some() => {}
            Some(Value::Number(_)) => return Err(JwtError::ClaimOutOfRange(name)),
            Some(_) => return Err(JwtError::ClaimNotInteger(name)),
        }
    }
    let audience = match claims.get("aud") {
        None | Some(Value::String(_)) => true,
        Some(Value::Array(list)) => list.iter().all(Value::is_string),
        Some(_) => false,
    };
    if !audience {
        return Err(JwtError::BadAudience);
    }
    Ok(claims)
}

/// Seconds since 1970 of a NumericDate (RFC 7519, section 2), without its fraction. `None` for a negative
/// number, and for a number beyond the range of the clock.
pub(super) fn seconds(number: &Number) -> Option<u64> {
    number.as_u64().or_else(|| {
        let value = number.as_f64()?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the range is checked, and the fraction is dropped intentionally"
        )]
        (0.0..9.0e15).contains(&value).then_some(value as u64)
    })
}

/// Decodes base64url. As in Envoy, padding is allowed.
fn base64(text: &str) -> Option<Vec<u8>> {
    let text = text
        .strip_suffix("==")
        .or(text.strip_suffix('='))
        .unwrap_or(text);
    BASE64URL_NOPAD.decode(text.as_bytes()).ok()
}

/// A JSON object without duplicate member names.
pub(super) fn object(bytes: &[u8]) -> Option<Claims> {
    let mut input = serde_json::Deserializer::from_slice(bytes);
    let value = UniqueKeys { depth: MAX_DEPTH }
        .deserialize(&mut input)
        .ok()?;
    input.end().ok()?;
    match value {
        Value::Object(members) => Some(members),
        _ => None,
    }
}

/// Reads a JSON value and rejects duplicate member names at every depth.
#[derive(Clone, Copy)]
struct UniqueKeys {
    depth: usize,
}

impl UniqueKeys {
    fn deeper<E: de::Error>(self) -> Result<Self, E> {
        let depth = self.depth.checked_sub(1);
        let depth = depth.ok_or_else(|| E::custom("nested too deeply"))?;
        Ok(Self { depth })
    }
}

impl<'de> DeserializeSeed<'de> for UniqueKeys {
    type Value = Value;

    fn deserialize<D: de::Deserializer<'de>>(self, input: D) -> Result<Value, D::Error> {
        input.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for UniqueKeys {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut values = Vec::new();
        while let Some(value) = list.next_element_seed(inner)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut members = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            if members.contains_key(&name) {
                return Err(de::Error::custom("a member name occurs twice"));
            }
            members.insert(name, map.next_value_seed(inner)?);
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encode(header: &str, claims: &str, signature: &[u8]) -> String {
        let [header, claims] = [header, claims].map(|part| BASE64URL_NOPAD.encode(part.as_bytes()));
        format!("{header}.{claims}.{}", BASE64URL_NOPAD.encode(signature))
    }

    fn error(header: &str, claims: &str) -> JwtError {
        UnverifiedToken::decode(&encode(header, claims, b"s")).unwrap_err()
    }

    #[test]
    fn a_token_is_taken_apart() {
        let text = encode(
            r#"{"alg":"ES256","kid":"k"}"#,
            r#"{"sub":"ada"}"#,
            b"\x01\x02",
        );

        let token = UnverifiedToken::decode(&text).unwrap();

        assert_eq!(token.algorithm, Algorithm::Es256);
        assert_eq!(token.key_id.as_deref(), Some("k"));
        assert_eq!(token.claims["sub"], "ada");
        assert_eq!(token.signed, text.rsplit_once('.').unwrap().0);
        assert_eq!(token.signature, [1, 2]);
    }

    #[test]
    fn malformed_tokens_are_refused_with_the_reason_that_envoy_gives() {
        let good = r#"{"alg":"RS256"}"#;
        for (header, claims, expected) in [
            ("{", "{}", JwtError::BadHeader),
            (r#"["alg"]"#, "{}", JwtError::BadHeader),
            (
                r#"{"alg":"RS256","alg":"HS256"}"#,
                "{}",
                JwtError::BadHeader,
            ),
            ("{}", "{}", JwtError::NoAlgorithm),
            (r#"{"alg":1}"#, "{}", JwtError::NoAlgorithm),
            (r#"{"alg":"none"}"#, "{}", JwtError::UnsupportedAlgorithm),
            (r#"{"alg":"None"}"#, "{}", JwtError::UnsupportedAlgorithm),
            (r#"{"alg":"rs256"}"#, "{}", JwtError::UnsupportedAlgorithm),
            (r#"{"alg":"RS256","kid":1}"#, "{}", JwtError::BadKeyId),
            (
                r#"{"alg":"RS256","crit":["exp"],"exp":1}"#,
                "{}",
                JwtError::CriticalHeader,
            ),
            (good, "hello", JwtError::BadClaims),
            (good, "{} {}", JwtError::BadClaims),
            (good, r#"{"sub":"a","sub":"b"}"#, JwtError::BadClaims),
            (good, r#"{"a":{"b":1,"b":2}}"#, JwtError::BadClaims),
            (good, r#"{"sub":["a"]}"#, JwtError::ClaimNotString("sub")),
            (good, r#"{"iss":null}"#, JwtError::ClaimNotString("iss")),
            (good, r#"{"exp":"1"}"#, JwtError::ClaimNotInteger("exp")),
            (good, r#"{"exp":-1}"#, JwtError::ClaimOutOfRange("exp")),
            (good, r#"{"nbf":1e300}"#, JwtError::ClaimOutOfRange("nbf")),
            (good, r#"{"aud":[1]}"#, JwtError::BadAudience),
            (good, r#"{"aud":{}}"#, JwtError::BadAudience),
        ] {
            assert_eq!(error(header, claims), expected, "{header} {claims}");
        }
    }

    #[test]
    fn a_token_has_three_parts_none_of_which_is_empty() {
        for text in ["", ".", "..", "a.b", "a.b.", ".b.c", "a..c", "a.b.c.d"] {
            assert_eq!(
                UnverifiedToken::decode(text).unwrap_err(),
                JwtError::BadFormat,
                "{text}"
            );
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let deep = |depth: usize| format!(r#"{{"a":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));

        assert!(object(deep(MAX_DEPTH - 1).as_bytes()).is_some());
        assert!(object(deep(MAX_DEPTH).as_bytes()).is_none());
        assert!(object(deep(100_000).as_bytes()).is_none());
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in "[A-Za-z0-9_.=-]{0,80}") {
            let _ = UnverifiedToken::decode(&text);
        }

        /// An object without duplicate member names decodes to the same value as with serde_json.
        #[test]
        fn unique_objects_read_as_plain_json(members in prop::collection::btree_map("[a-c]{0,2}", 0_i64..9, 0..4)) {
            let text = serde_json::to_string(&members).unwrap();

            let read = object(text.as_bytes()).map(Value::Object);

            prop_assert_eq!(read, serde_json::from_str::<Value>(&text).ok());
        }
    }
}
