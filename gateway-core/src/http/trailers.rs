//! Sanitizing of trailers.

use http::{HeaderMap, HeaderName};

use super::hop_by_hop::is_protected;

/// Removes the fields that are forbidden in trailers: framing, routing, authentication, cookies, and the
/// fields that identify the client (RFC 9110, section 6.5.1).
pub fn strip(trailers: &mut HeaderMap) {
    let bad: Vec<HeaderName> = trailers
        .keys()
        .filter(|name| !may_trail(name))
        .cloned()
        .collect();
    for name in bad {
        trailers.remove(name);
    }
}

fn may_trail(name: &HeaderName) -> bool {
    const PREFIXES: [&str; 4] = ["access-control-", "content-", "if-", "proxy-"];
    let text = name.as_str();
    let fixed = matches!(
        text,
        "age"
            | "authorization"
            | "cache-control"
            | "connection"
            | "cookie"
            | "date"
            | "expect"
            | "expires"
            | "host"
            | "http2-settings"
            | "keep-alive"
            | "location"
            | "max-forwards"
            | "range"
            | "retry-after"
            | "set-cookie"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
            | "vary"
            | "www-authenticate"
            | "x-request-id"
    );
    !(fixed || is_protected(name) || PREFIXES.iter().any(|start| text.starts_with(start)))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |&(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        };
        lines.iter().map(pair).collect()
    }

    #[test]
    fn trailers_carry_no_framing_routing_or_identity() {
        let mut lines = headers(&[
            ("content-length", "9"),
            ("transfer-encoding", "chunked"),
            ("host", "b"),
            ("authorization", "x"),
            ("cookie", "x"),
            ("set-cookie", "x"),
            ("x-forwarded-for", "1.1.1.1"),
            ("content-type", "x"),
            ("trailer", "x"),
            ("grpc-status", "0"),
            ("grpc-message", "ok"),
            ("x-t", "1"),
            ("server-timing", "x"),
        ]);

        strip(&mut lines);

        assert_eq!(
            lines,
            headers(&[
                ("grpc-status", "0"),
                ("grpc-message", "ok"),
                ("x-t", "1"),
                ("server-timing", "x")
            ])
        );
    }
}
