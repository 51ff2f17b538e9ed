//! The `WWW-Authenticate` fields of rejected requests (RFC 9110, section 11.6.1).

use http::header::{HOST, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, request};

const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// A challenge of `scheme` with the URL of the request as realm, as in Envoy. The query is omitted, because
/// it may contain a token. `extra` is added after the realm.
pub(crate) fn challenge(
    scheme: &str,
    head: &request::Parts,
    extra: &str,
) -> (HeaderName, HeaderValue) {
    let text = |name: HeaderName| head.headers.get(name).and_then(|value| value.to_str().ok());
    let proto = text(X_FORWARDED_PROTO)
        .or(head.uri.scheme_str())
        .unwrap_or("http");
    let host = match head.uri.authority() {
        Some(authority) => authority.as_str(),
        None => text(HOST).unwrap_or_default(),
    };
    let realm = format!("{proto}://{host}{}", head.uri.path()).replace(['"', '\\'], "");
    let value = HeaderValue::try_from(format!("{scheme} realm=\"{realm}\"{extra}"));
    (
        WWW_AUTHENTICATE,
        value.unwrap_or_else(|_| match scheme {
            "Basic" => HeaderValue::from_static("Basic"),
            _ => HeaderValue::from_static("Bearer"),
        }),
    )
}

/// A challenge of `scheme` with a fixed realm. The realm is omitted if it cannot be part of a field
/// value.
pub(crate) fn challenge_with_realm(scheme: &str, realm: &str) -> (HeaderName, HeaderValue) {
    let quoted = realm.replace('\\', r"\\").replace('"', "\\\"");
    let value = HeaderValue::try_from(format!("{scheme} realm=\"{quoted}\""));
    let value = value.or_else(|_| HeaderValue::from_str(scheme));
    (
        WWW_AUTHENTICATE,
        value.unwrap_or_else(|_| HeaderValue::from_static("Basic")),
    )
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[test]
    fn the_realm_is_the_url_without_its_query() {
        let (head, ()) = Request::get("/a/b?access_token=secret")
            .header("host", "api.test")
            .header("x-forwarded-proto", "https")
            .body(())
            .unwrap()
            .into_parts();

        let (name, value) = challenge("Bearer", &head, ", error=\"invalid_token\"");

        assert_eq!(name, "www-authenticate");
        assert_eq!(
            value,
            r#"Bearer realm="https://api.test/a/b", error="invalid_token""#
        );
    }

    #[test]
    fn a_fixed_realm_is_a_quoted_string() {
        for (realm, expected) in [
            ("", r#"Basic realm="""#),
            ("Staff only", r#"Basic realm="Staff only""#),
            (r#"a"b\c"#, r#"Basic realm="a\"b\\c""#),
            ("a\nb", "Basic"),
        ] {
            assert_eq!(challenge_with_realm("Basic", realm).1, expected);
        }
    }
}
