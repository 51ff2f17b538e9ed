//! Claims that a token must have, in addition to a valid signature, for a provider to accept it.

use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::token::seconds;
use super::{Claims, JwtError};

/// Allowed difference between the clocks of issuer and gateway, in both directions. Envoy: 60 s.
pub const CLOCK_SKEW: Duration = Duration::from_secs(60);

/// Checks `iss`, `exp`, `nbf` and `aud` of a token at the time `now`, in Envoy's order.
///
/// # Errors
/// The first claim that is invalid.
pub fn check_claims(
    claims: &Claims,
    issuer: Option<&str>,
    audiences: &[String],
    now: SystemTime,
) -> Result<(), JwtError> {
    let named = claims.get("iss").and_then(Value::as_str);
    if issuer.is_some_and(|issuer| named != Some(issuer)) {
        return Err(JwtError::UnknownIssuer);
    }
    let now = now
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    if time(claims, "nbf").is_some_and(|start| now + CLOCK_SKEW < start) {
        return Err(JwtError::NotYetValid);
    }
    if expiry(claims).is_some_and(|end| now.saturating_sub(CLOCK_SKEW) > end) {
        return Err(JwtError::Expired);
    }
    if !audiences.is_empty() && !has_audience(claims.get("aud"), audiences) {
        return Err(JwtError::WrongAudience);
    }
    Ok(())
}

/// The expiry time in `exp`, since 1970.
pub(super) fn expiry(claims: &Claims) -> Option<Duration> {
    time(claims, "exp")
}

fn time(claims: &Claims, name: &str) -> Option<Duration> {
    match claims.get(name)? {
        Value::Number(number) => seconds(number).map(Duration::from_secs),
        _ => None,
    }
}

fn has_audience(named: Option<&Value>, allowed: &[String]) -> bool {
    let fits = |value: &Value| {
        let text = value.as_str().map(plain_audience);
        text.is_some_and(|text| allowed.iter().any(|own| plain_audience(own) == text))
    };
    match named {
        Some(Value::Array(list)) => list.iter().any(fits),
        Some(value) => fits(value),
        None => false,
    }
}

/// An audience without its scheme and without a trailing slash. Envoy ignores both in the comparison.
fn plain_audience(text: &str) -> &str {
    let text = text
        .strip_prefix("https://")
        .or(text.strip_prefix("http://"))
        .unwrap_or(text);
    text.strip_suffix('/').unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: u64 = 1_700_000_000;

    fn check(claims: &Value, issuer: Option<&str>, audiences: &[&str]) -> Result<(), JwtError> {
        let Value::Object(claims) = claims else {
            panic!("claims are an object");
        };
        let audiences: Vec<String> = audiences.iter().map(|text| (*text).to_owned()).collect();
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(NOW);
        check_claims(claims, issuer, &audiences, now)
    }

    #[test]
    fn times_allow_a_minute_of_skew_both_ways() {
        for (claims, expected) in [
            (json!({}), Ok(())),
            (json!({"exp": NOW - 45}), Ok(())),
            (json!({"exp": NOW - 60}), Ok(())),
            (json!({"exp": NOW - 61}), Err(JwtError::Expired)),
            (json!({"exp": NOW as f64 + 0.5}), Ok(())),
            (json!({"exp": 0}), Err(JwtError::Expired)),
            (json!({"exp": u64::MAX}), Ok(())),
            (json!({"nbf": NOW + 60}), Ok(())),
            (json!({"nbf": NOW + 61}), Err(JwtError::NotYetValid)),
            (
                json!({"nbf": NOW + 61, "exp": NOW - 61}),
                Err(JwtError::NotYetValid),
            ),
        ] {
            assert_eq!(check(&claims, None, &[]), expected, "{claims}");
        }
    }

    #[test]
    fn an_issuer_is_compared_whole() {
        for (claims, expected) in [
            (json!({"iss": "https://a.test"}), Ok(())),
            (
                json!({"iss": "https://a.test/"}),
                Err(JwtError::UnknownIssuer),
            ),
            (
                json!({"iss": "https://b.test"}),
                Err(JwtError::UnknownIssuer),
            ),
            (json!({}), Err(JwtError::UnknownIssuer)),
        ] {
            assert_eq!(
                check(&claims, Some("https://a.test"), &[]),
                expected,
                "{claims}"
            );
        }
        assert_eq!(check(&json!({}), None, &[]), Ok(()));
    }

    #[test]
    fn an_audience_is_one_of_those_allowed_but_for_scheme_and_trailing_slash() {
        for (claims, expected) in [
            (json!({"aud": "api"}), Ok(())),
            (json!({"aud": "api/"}), Ok(())),
            (json!({"aud": "https://api"}), Ok(())),
            (json!({"aud": ["other", "web"]}), Ok(())),
            (json!({"aud": "API"}), Err(JwtError::WrongAudience)),
            (json!({"aud": []}), Err(JwtError::WrongAudience)),
            (json!({}), Err(JwtError::WrongAudience)),
        ] {
            assert_eq!(
                check(&claims, None, &["api", "http://web/"]),
                expected,
                "{claims}"
            );
        }
    }
}
