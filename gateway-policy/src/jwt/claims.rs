//! Lookup of claims by path, and their conversion to values of header fields.

use data_encoding::BASE64;
use http::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use towergate_core::plan::Text;

use super::Claims;

/// A claim that the backend receives in a header field.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct ClaimHeader {
    /// Name of the field. A field of this name in the client's request is removed.
    pub name: Text<HeaderName>,
    /// The claim's path, with dots between the members of nested objects.
    pub claim: String,
}

impl ClaimHeader {
    /// The value of the field; `Ok(None)` if the token lacks the claim.
    ///
    /// # Errors
    /// If the claim contains a character that is not allowed in a field value.
    pub fn value(&self, claims: &Claims) -> Result<Option<HeaderValue>, InvalidClaim> {
        let Some(text) = find_claim(claims, &self.claim).and_then(claim_text) else {
            return Ok(None);
        };
        let value = HeaderValue::from_str(&text);
        value.map(Some).map_err(|_| InvalidClaim)
    }
}

/// A claim contains a character that is not allowed in a field value.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a claim contains a character that is not allowed in a header field")]
pub struct InvalidClaim;

/// The claim at `path`. Dots in `path` separate the members of nested objects. As in Envoy, a claim is not
/// found if its name contains dots.
pub fn find_claim<'c>(claims: &'c Claims, path: &str) -> Option<&'c Value> {
    let mut names = path.split('.');
    let mut value = claims.get(names.next()?)?;
    for name in names {
        value = value.as_object()?.get(name)?;
    }
    Some(value)
}

/// A claim as text, in the forms that Envoy sends: arrays and objects as base64 of their JSON, fractions with
/// six digits. `None` for `null`.
fn claim_text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::Bool(flag) => Some(flag.to_string()),
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(match number.as_f64() {
            Some(float) if number.is_f64() && float.fract() != 0.0 => format!("{float:.6}"),
            Some(float) if number.is_f64() => format!("{float:.0}"),
            _ => number.to_string(),
        }),
        Value::Array(_) | Value::Object(_) => Some(BASE64.encode(value.to_string().as_bytes())),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn claims() -> Claims {
        let claims = json!({
            "sub": "ada", "n": 42, "f": 1.5, "b": true, "list": ["a", "b", 3], "nothing": null,
            "org": {"team": {"name": "red"}}, "a.b": "dotted", "evil": "a\r\nx-evil: 1",
        });
        match claims {
            Value::Object(claims) => claims,
            _ => unreachable!("claims are an object"),
        }
    }

    #[test]
    fn claims_are_sent_as_envoy_sends_them() {
        for (claim, expected) in [
            ("sub", Some("ada")),
            ("n", Some("42")),
            ("f", Some("1.500000")),
            ("b", Some("true")),
            ("list", Some("WyJhIiwiYiIsM10=")),
            ("org.team", Some("eyJuYW1lIjoicmVkIn0=")),
            ("org.team.name", Some("red")),
            ("a.b", None),
            ("nothing", None),
            ("org.none", None),
            ("sub.name", None),
        ] {
            let header = ClaimHeader {
                name: HeaderName::from_static("x-claim").into(),
                claim: claim.to_owned(),
            };
            let value = header.value(&claims()).unwrap();
            assert_eq!(
                value.as_ref().map(|value| value.to_str().unwrap()),
                expected,
                "{claim}"
            );
        }
    }

    #[test]
    fn a_claim_cannot_add_a_header_field() {
        let header = ClaimHeader {
            name: HeaderName::from_static("x-claim").into(),
            claim: "evil".to_owned(),
        };

        assert_eq!(header.value(&claims()), Err(InvalidClaim));
    }
}
