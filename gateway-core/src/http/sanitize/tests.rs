//! Tests that sanitize whole request heads and compare the results with those recorded from Envoy.

use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, LOCATION};
use http::{HeaderName, HeaderValue, Uri};
use proptest::prelude::*;

use super::*;
use crate::http::settings::{Http10, Underscores};
use crate::text::TextMatch;

/// Settings of a test case: the default settings, or one value changed.
fn settings(name: &str) -> ListenerSettings {
    let mut settings = ListenerSettings::default();
    match name {
        "plain" => {}
        "allow" => settings.headers.underscores = Underscores::Allow,
        "drop" => settings.headers.underscores = Underscores::Drop,
        "dot" => settings.headers.strip_trailing_host_dot = true,
        "http10" => settings.http1.http10 = Some(Http10::default()),
        "default-host" => {
            let default_host = Some("old.test".to_owned());
            settings.http1.http10 = Some(Http10 { default_host });
        }
        "ignore" => settings.http1.ignored_upgrades = vec![TextMatch::Exact("h2c".to_owned())],
        "header" => {
            settings.client_ip = ClientIpRule::Header {
                name: HeaderName::from_static("x-client").into(),
                fail_closed: false,
            }
        }
        other => panic!("no settings {other}"),
    }
    settings
}

/// Decodes a request head as hyper does.
fn decode(text: &str) -> request::Parts {
    let mut lines = text.lines();
    let words: Vec<&str> = lines.next().unwrap().split(' ').collect();
    let version = match words[2] {
        "HTTP/1.0" => Version::HTTP_10,
        "HTTP/1.1" => Version::HTTP_11,
        "HTTP/2" => Version::HTTP_2,
        other => panic!("no version {other}"),
    };
    let mut request = http::Request::builder()
        .method(words[0])
        .uri(words[1])
        .version(version);
    for line in lines {
        let (name, value) = line.split_once(':').unwrap();
        // HTTP/1 parsers trim values, HTTP/2 parsers do not.
        let value = if version == Version::HTTP_2 {
            &value[1..]
        } else {
            value.trim()
        };
        let bytes: Vec<u8> = value
            .chars()
            .map(|c| u8::try_from(u32::from(c)).unwrap())
            .collect();
        request = request.header(name, HeaderValue::from_bytes(&bytes).unwrap());
    }
    request.body(()).unwrap().into_parts().0
}

/// The forwarded head as text. For a local reply: `status details`, then ` close` if the connection closes,
/// then the redirect location if any.
fn outcome(text: &str, settings: &ListenerSettings, tls: bool) -> String {
    let mut head = decode(text);
    let sanitized = match request(&mut head, settings, tls) {
        Ok(sanitized) => sanitized,
        Err(reply) => {
            let closes = reply.header(&CONNECTION).is_some();
            let close = if closes { " close" } else { "" };
            let to = reply.header(&LOCATION);
            let to = to.map(|to| format!(" {}", to.to_str().unwrap()));
            let status = reply.status.as_u16();
            return format!(
                "{status} {}{close}{}",
                reply.details,
                to.unwrap_or_default()
            );
        }
    };
    assert_eq!(head.headers[HOST], sanitized.authority.as_str());
    assert_eq!(head.version, Version::HTTP_11);
    if let Some(upgrade) = &sanitized.upgrade {
        if !upgrade.is_one_of(&["websocket"]) {
            return "403 upgrade_failed".to_owned();
        }
        upgrade.restore(&mut head.headers);
    }
    let mut lines: Vec<String> = Vec::new();
    for (name, value) in &head.headers {
        let value: String = value.as_bytes().iter().map(|&b| char::from(b)).collect();
        if name != CONTENT_LENGTH && name != "x-forwarded-for" {
            lines.push(format!("\n{name}: {value}"));
        }
    }
    lines.sort();
    format!("{} {}{}", head.method, head.uri, lines.concat())
}

#[rustfmt::skip]
const RECORDED: &[(&str, &str, &str)] = &[
    ("plain", "GET / HTTP/1.0", "426 low_version close"),
    ("plain", "GET / HTTP/1.1\nHost: a.test", "GET /\nhost: a.test"),
    ("plain", "POST / HTTP/1.1\nHost: a.test\nTransfer-Encoding: chunked\nContent-Length: 5", "400 http1.content_length_and_chunked_not_allowed close"),
    ("plain", "POST / HTTP/1.1\nHost: a.test\nContent-Length: 2\nContent-Length: 2", "400 http1.codec_error close"),
    ("plain", "POST / HTTP/1.1\nHost: a.test\nContent-Length: 2\nContent-Length: 3", "400 http1.codec_error close"),
    ("plain", "POST / HTTP/1.1\nHost: a.test\nContent-Length: -1", "400 http1.codec_error close"),
    ("plain", "POST / HTTP/1.1\nHost: a.test\nContent-Length: ", "400 http1.codec_error close"),
    ("plain", "POST / HTTP/1.1\nHost: a.test\nTransfer-Encoding: gzip, chunked", "501 http1.invalid_transfer_encoding close"),
    ("plain", "POST / HTTP/1.1\nHost: a.test\nTransfer-Encoding: CHUNKED", "POST /\nhost: a.test"),
    ("plain", "POST / HTTP/1.1\nHost: a.test\nTransfer-Encoding: xchunked", "501 http1.invalid_transfer_encoding close"),
    ("plain", "POST / HTTP/1.1\nHost: a.test\nTransfer-Encoding: identity\nTransfer-Encoding: chunked", "501 http1.invalid_transfer_encoding close"),
    ("plain", "POST / HTTP/1.0\nHost: a.test\nTransfer-Encoding: chunked", "426 low_version close"),
    ("plain", "POST / HTTP/1.1\nHost: a.test\nTransfer-Encoding: chunked", "POST /\nhost: a.test"),
    ("plain", "POST / HTTP/1.1\nHost: a.test\nTransfer-Encoding: chunked\nTrailer: X-T", "POST /\nhost: a.test\ntrailer: X-T"),
    ("plain", "GET / HTTP/1.1\nHost: a.test\nTransfer-Encoding: chunked", "GET /\nhost: a.test"),
    ("plain", "HEAD / HTTP/1.1\nHost: a.test\nContent-Length: 2", "HEAD /\nhost: a.test"),
    ("plain", "get / HTTP/1.1\nHost: a.test", "400 http1.codec_error close"),
    ("plain", "FOO / HTTP/1.1\nHost: a.test", "400 http1.codec_error close"),
    ("plain", "M-SEARCH / HTTP/1.1\nHost: a.test", "400 http1.codec_error close"),
    ("plain", "GET * HTTP/1.1\nHost: a.test", "400 http1.invalid_url close"),
    ("plain", "PUT / HTTP/1.1\nHost: a.test", "PUT /\nhost: a.test"),
    ("plain", "PATCH / HTTP/1.1\nHost: a.test", "PATCH /\nhost: a.test"),
    ("plain", "PROPFIND / HTTP/1.1\nHost: a.test", "PROPFIND /\nhost: a.test"),
    ("plain", "PURGE / HTTP/1.1\nHost: a.test", "PURGE /\nhost: a.test"),
    ("plain", "MKCOL / HTTP/1.1\nHost: a.test", "MKCOL /\nhost: a.test"),
    ("plain", "SEARCH / HTTP/1.1\nHost: a.test", "SEARCH /\nhost: a.test"),
    ("plain", "SUBSCRIBE / HTTP/1.1\nHost: a.test", "SUBSCRIBE /\nhost: a.test"),
    ("http10", "GET / HTTP/1.0\nHost: a.test\nConnection: keep-alive", "GET /\nhost: a.test"),
    ("http10", "POST / HTTP/1.0\nHost: a.test\nContent-Length: 2", "POST /\nhost: a.test"),
    ("http10", "GET / HTTP/1.1\nHost: a.test", "GET /\nhost: a.test"),
    ("plain", "GET / HTTP/1.1\nHost: a.test\nConnection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\nSec-WebSocket-Version: 13", "GET /\nconnection: Upgrade\nhost: a.test\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\nsec-websocket-version: 13\nupgrade: websocket"),
    ("plain", "GET / HTTP/1.1\nHost: a.test\nConnection: Upgrade\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\nSec-WebSocket-Version: 13", "GET /\nhost: a.test\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\nsec-websocket-version: 13"),
    ("plain", "GET / HTTP/1.1\nHost: a.test\nConnection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\nSec-WebSocket-Version: 13\nContent-Length: 0", "GET /\nconnection: Upgrade\nhost: a.test\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\nsec-websocket-version: 13\nupgrade: websocket"),
    ("ignore", "GET / HTTP/1.1\nHost: a.test\nConnection: Upgrade\nUpgrade: h2c", "GET /\nhost: a.test"),
    ("ignore", "GET / HTTP/1.1\nHost: a.test\nConnection: Upgrade\nUpgrade: foo", "403 upgrade_failed"),
    ("plain", "GET / HTTP/1.1\nHost: a.test\nConnection: Upgrade\nUpgrade: h2", "403 upgrade_failed"),
    ("ignore", "GET / HTTP/1.1\nHost: a.test\nConnection: Upgrade\nUpgrade: HTTP/2.0", "403 upgrade_failed"),
    ("ignore", "GET / HTTP/1.1\nHost: a.test\nConnection: Upgrade\nUpgrade: spdy/3.1", "403 upgrade_failed"),
    ("plain", "GET / HTTP/1.1\nHost: a.test\nConnection: Upgrade, HTTP2-Settings\nUpgrade: h2c\nHTTP2-Settings: AAMAAABkAAQAAP__", "GET /\nhost: a.test"),
    ("plain", "CONNECT a.test:443 HTTP/1.1\nHost: a.test:443", "404 route_not_found close"),
    ("plain", "CONNECT a.test HTTP/1.1\nHost: a.test", "400 http1.codec_error close"),
    ("plain", "GET / HTTP/1.1\nHost: a.test\nX_Forwarded_For: 6.6.6.6", "400 http1.unexpected_underscore close"),
    ("plain", "GET / HTTP/1.1\nHost: a.test\ncontent_length: 5", "400 http1.unexpected_underscore close"),
    ("allow", "GET / HTTP/1.1\nHost: a.test\nx_under: 1", "GET /\nhost: a.test\nx_under: 1"),
    ("allow", "GET / HTTP/1.1\nHost: a.test\ncontent_length: 5", "GET /\ncontent_length: 5\nhost: a.test"),
    ("drop", "GET / HTTP/1.1\nHost: a.test\nx_under: 1", "GET /\nhost: a.test"),
    ("plain", "GET / HTTP/1.1\nHost: a.test\nConnection: keep-alive\nKeep-Alive: timeout=5\nProxy-Connection: keep-alive\nProxy-Authorization: Basic eA==\nProxy-Authenticate: Basic\nTE: trailers\nTrailer: x-t\nX-Keep: 1", "GET /\nhost: a.test\nproxy-authenticate: Basic\nproxy-authorization: Basic eA==\nte: trailers\ntrailer: x-t\nx-keep: 1"),
    ("plain", "GET / HTTP/1.1\nHost: a.test\nConnection: keep-alive\nX-A: 1\nX-B: 2\nX-Forwarded-For: 1.1.1.1\nAuthorization: z\nCookie: c=1", "GET /\nauthorization: z\ncookie: c=1\nhost: a.test\nx-a: 1\nx-b: 2"),
    ("plain", "GET / HTTP/1.1\nHost: a.test\nConnection: close, x-a\nX-A: 1\nX-B: 2\nX-Forwarded-For: 1.1.1.1\nAuthorization: z\nCookie: c=1", "GET /\nauthorization: z\ncookie: c=1\nhost: a.test\nx-b: 2"),
    ("plain", "GET / HTTP/1.1\nHost: a.test\nConnection: x-a, x-b\nX-A: 1\nX-B: 2\nX-Forwarded-For: 1.1.1.1\nAuthorization: z\nCookie: c=1", "GET /\nauthorization: z\ncookie: c=1\nhost: a.test"),
    ("plain", "GET / HTTP/1.1\nHost: a.test\nConnection: X-A\nX-A: 1\nX-B: 2\nX-Forwarded-For: 1.1.1.1\nAuthorization: z\nCookie: c=1", "GET /\nauthorization: z\ncookie: c=1\nhost: a.test\nx-b: 2"),
    ("plain", "GET / HTTP/1.1\nHost: a.test\nConnection: host\nX-A: 1\nX-B: 2\nX-Forwarded-For: 1.1.1.1\nAuthorization: z\nCookie: c=1", "400 missing_host_header close"),
    ("plain", "GET / HTTP/1.1\nHost: a.test\nConnection: authorization\nX-A: 1\nX-B: 2\nX-Forwarded-For: 1.1.1.1\nAuthorization: z\nCookie: c=1", "GET /\ncookie: c=1\nhost: a.test\nx-a: 1\nx-b: 2"),
    ("plain", "GET / HTTP/1.1\nHost: a.test\nConnection: te\nX-A: 1\nX-B: 2\nX-Forwarded-For: 1.1.1.1\nAuthorization: z\nCookie: c=1", "GET /\nauthorization: z\ncookie: c=1\nhost: a.test\nx-a: 1\nx-b: 2"),
    ("plain", "GET / HTTP/1.1\nHost: a.test\nConnection: upgrade\nX-A: 1\nX-B: 2\nX-Forwarded-For: 1.1.1.1\nAuthorization: z\nCookie: c=1", "GET /\nauthorization: z\ncookie: c=1\nhost: a.test\nx-a: 1\nx-b: 2"),
    ("plain", "GET / HTTP/1.1\nHost: a.test\nConnection: cookie\nX-A: 1\nX-B: 2\nX-Forwarded-For: 1.1.1.1\nAuthorization: z\nCookie: c=1", "GET /\nauthorization: z\nhost: a.test\nx-a: 1\nx-b: 2"),
    ("plain", "GET / HTTP/1.1\nHost: a.test\nConnection: ,\nX-A: 1\nX-B: 2\nX-Forwarded-For: 1.1.1.1\nAuthorization: z\nCookie: c=1", "GET /\nauthorization: z\ncookie: c=1\nhost: a.test\nx-a: 1\nx-b: 2"),
    ("plain", "GET / HTTP/1.1\nHost: a.test\nConnection: keep-alive, close\nX-A: 1\nX-B: 2\nX-Forwarded-For: 1.1.1.1\nAuthorization: z\nCookie: c=1", "GET /\nauthorization: z\ncookie: c=1\nhost: a.test\nx-a: 1\nx-b: 2"),
    ("plain", "GET / HTTP/1.1\nHost: a.test\nTE: trailers, gzip", "GET /\nhost: a.test\nte: trailers"),
    ("plain", "GET / HTTP/1.1\nHost: a.test\nTE: gzip;q=0.5, trailers", "GET /\nhost: a.test\nte: trailers"),
    ("plain", "GET / HTTP/1.1\nHost: a.test\nTE: ", "GET /\nhost: a.test\nte: "),
    ("plain", "GET / HTTP/1.1\nHost: a.test\nTE: trailers;q=0", "GET /\nhost: a.test"),
    ("plain", "GET / HTTP/1.1\nHost: a.test\nTE: trailers\nConnection: TE", "GET /\nhost: a.test\nte: trailers"),
    ("plain", "GET / HTTP/1.1\nHost: a.test\nExpect: 100-continue", "GET /\nhost: a.test"),
    ("plain", "GET / HTTP/1.1\nHost: A.TeST", "GET /\nhost: A.TeST"),
    ("plain", "GET / HTTP/1.1\nHost: a.test.", "GET /\nhost: a.test."),
    ("plain", "GET / HTTP/1.1\nHost: a.test.:80", "GET /\nhost: a.test.:80"),
    ("plain", "GET / HTTP/1.1\nHost: a test", "400 http.invalid_authority close"),
    ("plain", "GET / HTTP/1.1\nHost: a.test, b.test", "400 http.invalid_authority close"),
    ("plain", "GET / HTTP/1.1\nHost: a%2etest", "GET /\nhost: a%2etest"),
    ("plain", "GET / HTTP/1.1\nHost: é.test", "400 http.invalid_authority close"),
    ("dot", "GET / HTTP/1.1\nHost: A.EXAMPLE.COM.", "GET /\nhost: A.EXAMPLE.COM"),
    ("dot", "GET / HTTP/1.1\nHost: a.example.com:80", "GET /\nhost: a.example.com:80"),
    ("dot", "GET / HTTP/1.1\nHost: a.example.com..", "GET /\nhost: a.example.com."),
    ("dot", "GET / HTTP/1.1\nHost: b.example.com.", "GET /\nhost: b.example.com"),
    ("plain", "GET / HTTP/1.1\nHost: a.test\nReferer: http://a.test/x", "GET /\nhost: a.test\nreferer: http://a.test/x"),
    ("plain", "GET / HTTP/1.1\nHost: a.test\nReferer: HTTPS://a.test/", "GET /\nhost: a.test\nreferer: HTTPS://a.test/"),
    ("plain", "GET / HTTP/1.1\nHost: a.test\nReferer: /relative", "GET /\nhost: a.test\nreferer: /relative"),
    ("plain", "GET / HTTP/1.1\nHost: a.test\nReferer: http://u:p@a.test/", "GET /\nhost: a.test"),
    ("plain", "GET / HTTP/1.1\nHost: a.test\nReferer: http://a.test/#f", "GET /\nhost: a.test"),
    ("plain", "GET / HTTP/1.1\nHost: a.test\nReferer: http://", "GET /\nhost: a.test"),
    ("plain", "GET / HTTP/1.1\nHost: a.test\nReferer: http://a.test/\nReferer: http://b.test/", "GET /\nhost: a.test\nreferer: http://a.test/,http://b.test/"),
    ("plain", "GET / HTTP/1.1\nHost: a.test\nX-A:   a b   ", "GET /\nhost: a.test\nx-a: a b"),
    ("plain", "GET / HTTP/1.1\nHost: a.test\nX-A: é", "GET /\nhost: a.test\nx-a: é"),
    ("plain", "GET / HTTP/1.1\nHost: a.test\nCookie: a=1\nCookie: b=2", "GET /\ncookie: a=1\ncookie: b=2\nhost: a.test"),
    ("plain", "GET http://a.test/x HTTP/1.1\nHost: a.test", "GET /x\nhost: a.test"),
    ("plain", "GET http://other.test/x HTTP/1.1\nHost: a.test", "GET /x\nhost: other.test"),
    ("plain", "GET http://a.test HTTP/1.1\nHost: a.test", "GET /\nhost: a.test"),
    ("plain", "GET http://a.test:8080/x HTTP/1.1\nHost: a.test", "GET /x\nhost: a.test:8080"),
    ("plain", "GET http://a.test/a/../b HTTP/1.1\nHost: a.test", "GET /b\nhost: a.test"),
    ("plain", "GET http://a.test/a%2fb HTTP/1.1\nHost: a.test", "307 path_normalization_failed /a/b"),
    ("plain", "GET http://[::1]/x HTTP/1.1\nHost: a.test", "GET /x\nhost: [::1]"),
    ("plain", "OPTIONS * HTTP/1.1\nHost: a.test", "404 absolute_path_rejected"),
    ("plain", "OPTIONS a.test:80 HTTP/1.1\nHost: a.test", "400 http1.codec_error close"),
    ("plain", "GET http://other.test/x HTTP/1.1\nHost: ", "GET /x\nhost: other.test"),
];

#[test]
fn requests_become_what_envoy_makes_of_them() {
    for (name, request, expected) in RECORDED {
        let got = outcome(request, &settings(name), false);

        assert_eq!(got, *expected, "{name}: {request}");
    }
}

/// Requests for which the result differs from Envoy's, as listed in the documentation of the module
/// `sanitize`.
#[rustfmt::skip]
const STRICTER: &[(&str, &str, &str)] = &[
    ("plain", "GET / HTTP/1.1\nHost: a.test\nHost: b.test", "400 http.invalid_authority close"),
    ("plain", "GET / HTTP/1.1\nHost: a.test\nHost: a.test", "400 http.invalid_authority close"),
    ("plain", "GET http://a.test/ HTTP/1.1\nHost: a.test\nHost: a.test", "400 http.invalid_authority close"),
    ("plain", "GET / HTTP/1.1\nHost: ", "400 missing_host_header close"),
    ("plain", "GET / HTTP/1.1\nHost: u@a.test", "400 http.invalid_authority close"),
    ("plain", "GET / HTTP/1.1\nHost: a.test:port", "400 http.invalid_authority close"),
    ("plain", "GET / HTTP/1.1\nHost: :80", "400 http.invalid_authority close"),
    ("dot", "GET / HTTP/1.1\nHost: .", "400 http.invalid_authority close"),
    ("plain", "GET http://a.test/ HTTP/1.1\nAccept: x", "400 missing_host_header close"),
    ("plain", "GET http://u:p@a.test/ HTTP/1.1\nHost: a.test", "400 http.invalid_authority close"),
    ("plain", "GET / HTTP/1.1\nHost: a.test\nExpect: 200-ok", "417 unknown_expectation close"),
    ("plain", "GET / HTTP/1.1\nHost: a.test\nExpect: , 100-continue,", "GET /\nhost: a.test"),
    ("plain", "GET / HTTP/1.1\nHost: a.test\nExpect:", "GET /\nhost: a.test"),
    ("plain", "GET / HTTP/1.1\nHost: a.test\nExpect:\nExpect: , 200-ok", "417 unknown_expectation close"),
    ("plain", "GET / HTTP/1.1\nHost: a.test\nConnection: x-real-ip", "400 http1.connection_header_rejected close"),
    ("header", "GET / HTTP/1.1\nHost: a.test\nConnection: x-client\nX-Client: 1.1.1.1", "400 http1.connection_header_rejected close"),
];

#[test]
fn what_envoy_lets_pass_unsafely_is_refused() {
    for (name, request, expected) in STRICTER {
        let got = outcome(request, &settings(name), false);

        assert_eq!(got, *expected, "{name}: {request}");
    }
}

/// Requests whose result was not recorded from Envoy.
#[rustfmt::skip]
const OTHERS: &[(&str, &str, &str)] = &[
    ("plain", "GET / HTTP/1.1\nAccept: x", "400 missing_host_header close"),
    ("plain", "GET / HTTP/1.1\nHost: a.test\nConnection: x-forwarded-for", "400 http1.connection_header_rejected close"),
    ("plain", "GET https://a.test/ HTTP/1.1\nHost: a.test", "403 http1.https_url_on_plaintext_connection close"),
    ("plain", "GET ftp://a.test/ HTTP/1.1\nHost: a.test", "400 http1.invalid_url close"),
    ("plain", "GET foo HTTP/1.1\nHost: a.test", "400 http1.codec_error close"),
    ("plain", "GET http://a.test?q=1 HTTP/1.1\nHost: a.test", "GET /?q=1\nhost: a.test"),
    ("plain", "QUERY / HTTP/1.1\nHost: a.test", "400 http1.codec_error close"),
    ("plain", "QUERY / HTTP/1.1\nHost: a.test\nContent-Type: text/plain", "QUERY /\ncontent-type: text/plain\nhost: a.test"),
    ("plain", "GET / HTTP/1.1\nHost: a.test\nUpgrade: websocket", "GET /\nhost: a.test"),
    ("plain", "GET / HTTP/1.1\nHost: a.test\nConnection: upgrade\nUpgrade: WebSocket", "GET /\nconnection: Upgrade\nhost: a.test\nupgrade: WebSocket"),
    ("plain", "GET / HTTP/1.1\nHost: a.test\nReferer: foo", "GET /\nhost: a.test\nreferer: foo"),
    ("plain", "GET / HTTP/1.1\nHost: a.test\nReferer: ?q=1", "GET /\nhost: a.test\nreferer: ?q=1"),
    ("plain", "GET / HTTP/1.1\nHost: a.test\nReferer: //b.test/x", "GET /\nhost: a.test\nreferer: //b.test/x"),
    ("plain", "GET / HTTP/1.1\nHost: a.test\nReferer: about:blank", "GET /\nhost: a.test\nreferer: about:blank"),
    ("plain", "GET / HTTP/1.1\nHost: a.test\nReferer: android-app://com.example.app/", "GET /\nhost: a.test\nreferer: android-app://com.example.app/"),
    ("plain", "GET / HTTP/1.1\nHost: a.test\nReferer: web+x.y-1://b.test/", "GET /\nhost: a.test\nreferer: web+x.y-1://b.test/"),
    ("plain", "GET / HTTP/1.1\nHost: a.test\nReferer: /x:y@z", "GET /\nhost: a.test\nreferer: /x:y@z"),
    ("plain", "GET / HTTP/1.1\nHost: a.test\nReferer: //u@b.test/", "GET /\nhost: a.test"),
    ("plain", "GET / HTTP/1.1\nHost: a.test\nReferer: 1x://b.test/", "GET /\nhost: a.test"),
    ("plain", "GET / HTTP/1.1\nHost: a.test\nReferer: https:///x", "GET /\nhost: a.test"),
    ("plain", "GET / HTTP/1.1\nHost: a.test\nReferer: ftp://a.test/x", "GET /\nhost: a.test\nreferer: ftp://a.test/x"),
    ("plain", "POST /a%2fb HTTP/1.1\nHost: a.test\nContent-Type: application/grpc+proto", "400 path_normalization_failed close"),
    ("plain", "POST /a%2fb HTTP/1.1\nHost: a.test\nContent-Type: application/grpc-web", "307 path_normalization_failed /a/b"),
    ("http10", "GET / HTTP/1.0\nAccept: x", "400 missing_host_header close"),
    ("default-host", "GET / HTTP/1.0\nAccept: x", "GET /\naccept: x\nhost: old.test"),
    ("default-host", "GET / HTTP/1.1\nAccept: x", "400 missing_host_header close"),
    ("http10", "GET / HTTP/1.0\nHost: a.test\nConnection: upgrade\nUpgrade: websocket", "GET /\nhost: a.test"),
    // HTTP/2: the target contains the authority.
    ("plain", "GET http://a.test/ HTTP/2", "GET /\nhost: a.test"),
    ("plain", "GET http://a.test?q HTTP/2", "400 http2.invalid.header.field"),
    ("plain", "GET https://A.test:80/ HTTP/2\nhost: a.test", "GET /\nhost: A.test:80"),
    ("plain", "GET http://a.test/ HTTP/2\nhost: b.test", "400 http.invalid_authority"),
    ("plain", "GET http://a.test:80/ HTTP/2\nhost: a.test:81", "400 http.invalid_authority"),
    ("plain", "GET http://a.test/ HTTP/2\nhost: a.test\nhost: a.test", "400 http.invalid_authority"),
    ("plain", "GET http://u@a.test/ HTTP/2", "400 http.invalid_authority"),
    ("plain", "GET / HTTP/2\nhost: a.test", "GET /\nhost: a.test"),
    ("plain", "GET / HTTP/2\naccept: x", "400 missing_host_header"),
    ("plain", "GET * HTTP/2\nhost: a.test", "400 http2.invalid.header.field"),
    ("plain", "get / HTTP/2\nhost: a.test", "400 http2.invalid.header.field"),
    ("plain", "M-SEARCH / HTTP/2\nhost: a.test", "400 http2.invalid.header.field"),
    ("plain", "POST / HTTP/2\nhost: a.test\ncontent-length: 2\ncontent-length: 2", "400 http2.invalid.header.field"),
    ("plain", "POST / HTTP/2\nhost: a.test\ncontent-length: ", "400 http2.invalid.header.field"),
    ("plain", "GET / HTTP/2\nhost: a.test\ncookie: a=1\ncookie:  b=2", "400 http2.invalid.header.field"),
    ("plain", "GET http://a.test/ HTTP/2\nx-a:  padded", "400 http2.invalid.header.field"),
    ("plain", "GET http://a.test/ HTTP/2\nx-a: padded\t", "400 http2.invalid.header.field"),
    ("plain", "GET http://a.test/ HTTP/2\nx_a: 1", "400 http2.unexpected_underscore"),
    ("plain", "GET http://a.test/ HTTP/2\ncookie: a=1\ncookie: b=2\ncookie: c=3", "GET /\ncookie: a=1; b=2; c=3\nhost: a.test"),
    ("plain", "GET http://a.test/a//b?x HTTP/2", "GET /a/b?x\nhost: a.test"),
];

#[test]
fn every_other_head_has_one_outcome() {
    for (name, request, expected) in OTHERS {
        let got = outcome(request, &settings(name), false);

        assert_eq!(got, *expected, "{name}: {request}");
    }
}

#[test]
fn a_request_has_at_most_a_hundred_fields_over_http2() {
    // The limit is 100 fields, and method, scheme, authority and path count as fields.
    for (fields, expected) in [(95, true), (96, false)] {
        let lines = "\nx-a: 1".repeat(fields);
        let mut head = decode(&format!("GET http://a.test/ HTTP/2\nhost: a.test{lines}"));

        let reply = request(&mut head, &settings("plain"), false);

        assert_eq!(reply.is_ok(), expected);
        assert!(reply.is_ok() || reply.unwrap_err().status == 431);
    }
}

#[test]
fn the_cookies_of_an_http2_request_count_as_one_field() {
    for (cookies, others, expected) in [(180, 94, true), (180, 95, false), (0, 95, true)] {
        let cookies: String = (0..cookies).map(|n| format!("\ncookie: a={n}")).collect();
        let others = "\nx-a: 1".repeat(others);
        let text = format!("GET http://a.test/ HTTP/2\nhost: a.test{cookies}{others}");
        let mut head = decode(&text);

        let reply = request(&mut head, &settings("plain"), false);

        assert_eq!(reply.is_ok(), expected, "{reply:?}");
        if reply.is_ok() && !cookies.is_empty() {
            assert_eq!(head.headers.get_all("cookie").iter().count(), 1);
        }
    }
}

#[test]
fn trailers_pass_the_checks_of_heads() {
    use Underscores::{Allow, Drop, Reject};
    for (fields, version, underscores, expected) in [
        ("x-a: 1", Version::HTTP_2, Reject, "1"),
        ("x-a: 1", Version::HTTP_11, Reject, "1"),
        (
            "x_a: 1",
            Version::HTTP_2,
            Reject,
            "400 http2.unexpected_underscore",
        ),
        (
            "x_a: 1",
            Version::HTTP_11,
            Reject,
            "400 http1.unexpected_underscore close",
        ),
        ("x_a: 1\nx-b: 1", Version::HTTP_2, Drop, "1"),
        ("x_a: 1", Version::HTTP_11, Allow, "1"),
        (
            "x-a:  1",
            Version::HTTP_2,
            Reject,
            "400 http2.invalid.header.field",
        ),
        (
            "x-a: 1 ",
            Version::HTTP_2,
            Reject,
            "400 http2.invalid.header.field",
        ),
        (&"x-a: 1\n".repeat(100), Version::HTTP_2, Reject, "100"),
        (
            &"x-a: 1\n".repeat(101),
            Version::HTTP_2,
            Reject,
            "431 http2.too_many_headers",
        ),
        (&"cookie: a=1\n".repeat(101), Version::HTTP_2, Reject, "1"),
    ] {
        let mut lines = decode(&format!("GET / HTTP/2\n{fields}")).headers;

        let outcome = match trailers(&mut lines, version, underscores) {
            Ok(()) => lines.len().to_string(),
            Err(reply) => {
                let close = match reply.header(&CONNECTION) {
                    Some(_) => " close",
                    None => "",
                };
                format!("{} {}{close}", reply.status.as_u16(), reply.details)
            }
        };

        assert_eq!(outcome, expected, "{fields:?} {version:?} {underscores:?}");
    }
}

#[test]
fn an_https_target_is_right_over_tls() {
    let got = outcome(
        "GET https://a.test/x HTTP/1.1\nHost: a.test",
        &settings("plain"),
        true,
    );

    assert_eq!(got, "GET /x\nhost: a.test");
}

#[test]
fn a_length_is_one_plain_number() {
    let mut head = decode("POST / HTTP/1.1\nHost: a.test\nContent-Length: 0003");

    request(&mut head, &settings("plain"), false).unwrap();

    assert_eq!(head.headers[CONTENT_LENGTH], "3");
}

#[test]
fn what_was_taken_out_is_told() {
    let mut head = decode("POST / HTTP/1.0\nHost: A.test:8080\nExpect: 100-Continue");

    let clean = request(&mut head, &settings("http10"), false).unwrap();

    assert_eq!(
        (clean.authority.host(), clean.authority.port()),
        ("a.test", Some(8080))
    );
    assert!(clean.expects_continue && clean.upgrade.is_none());
    assert_eq!(clean.version, Version::HTTP_10);
    assert!(!head.headers.contains_key(EXPECT));
}

#[test]
fn the_texts_of_refusals_are_those_of_envoy() {
    for (request, status, body, flag) in [
        (
            "GET / HTTP/1.0\nHost: a.test",
            426,
            "Upgrade Required",
            "DPE",
        ),
        ("GET / HTTP/1.1\nHost: a b", 400, "Bad Request", "DPE"),
        ("GET / HTTP/1.1\nAccept: x", 400, "", ""),
        ("GET /%00 HTTP/1.1\nHost: a.test", 400, "", ""),
        (
            "POST / HTTP/1.1\nHost: a.test\nTransfer-Encoding: x",
            501,
            "Not Implemented",
            "DPE",
        ),
        (
            "GET https://a.test/ HTTP/1.1\nHost: a.test",
            403,
            "Forbidden",
            "DPE",
        ),
        (
            "CONNECT a.test:443 HTTP/1.1\nHost: a.test:443",
            404,
            "",
            "NR",
        ),
    ] {
        let reply = super::request(&mut decode(request), &settings("plain"), false).unwrap_err();

        assert_eq!(
            (reply.status.as_u16(), &reply.body[..], reply.flag),
            (status, body.as_bytes(), flag),
            "{request}"
        );
    }
}

proptest! {
    /// An accepted request is in canonical form: sanitizing it again does not change it.
    #[test]
    fn a_clean_head_stays_as_it_is(
        path in "/[a-z./%2\\?-]{0,12}",
        host in "[aA.:0-9@]{0,6}",
        fields in prop::collection::vec((
            prop::sample::select(vec!["connection", "te", "upgrade", "host", "transfer-encoding", "content-length", "referer", "x-a", "x_b", "expect", "cookie"]),
            prop::sample::select(vec!["", "close", "x-a", "upgrade, te", "trailers", "chunked", "1", "001", "websocket", "h2c", "/x", "a@b://", "100-continue"]),
        ), 0..5),
        version in prop::sample::select(vec![Version::HTTP_10, Version::HTTP_11, Version::HTTP_2]),
    ) {
        let Ok(uri) = path.parse::<Uri>() else { return Ok(()) };
        let mut head = http::Request::new(()).into_parts().0;
        head.uri = uri;
        head.version = version;
        head.headers.append(HOST, HeaderValue::from_str(&host).unwrap());
        for (name, value) in fields {
            head.headers.append(name, HeaderValue::from_static(value));
        }
        let settings = settings("plain");

        if let Ok(first) = request(&mut head, &settings, false) {
            prop_assert_eq!(head.headers.get_all(HOST).iter().count(), 1);
            for name in ["connection", "upgrade", "transfer-encoding", "keep-alive", "expect"] {
                prop_assert!(!head.headers.contains_key(name));
            }
            prop_assert!(head.uri.authority().is_none() && head.uri.path().starts_with('/'));
            let before = (head.uri.clone(), head.headers.clone());
            let second = request(&mut head, &settings, false).unwrap();
            prop_assert_eq!((head.uri, head.headers), before);
            prop_assert_eq!(second.authority, first.authority);
        }
    }
}

#[test]
fn a_connect_request_has_a_host_with_a_port_as_its_target_and_no_content() {
    for (text, expected) in [
        (
            "CONNECT db.test:5432 HTTP/1.1\nhost: db.test:5432",
            Some("db.test:5432"),
        ),
        // The target takes precedence (RFC 9112, section 3.2.2).
        (
            "CONNECT db.test:5432 HTTP/1.1\nhost: other.test",
            Some("db.test:5432"),
        ),
        ("CONNECT db.test:5432 HTTP/2", Some("db.test:5432")),
        ("CONNECT db.test:5432 HTTP/1.1", None),
        ("CONNECT db.test HTTP/1.1\nhost: db.test", None),
        (
            "CONNECT http://db.test:80/ HTTP/1.1\nhost: db.test:80",
            None,
        ),
        ("CONNECT http://db.test:80/ HTTP/2", None),
        ("CONNECT /path HTTP/1.1\nhost: db.test:80", None),
        ("CONNECT db.test:80 HTTP/1.0\nhost: db.test:80", None),
        (
            "CONNECT db.test:80 HTTP/1.1\nhost: db.test:80\ncontent-length: 3",
            None,
        ),
        (
            "CONNECT db.test:80 HTTP/1.1\nhost: db.test:80\ntransfer-encoding: chunked",
            None,
        ),
        ("CONNECT u@db.test:80 HTTP/1.1\nhost: db.test:80", None),
    ] {
        let mut head = decode(text);
        let names = HeaderPresence::of(&head.headers);

        let sanitized = connect(&mut head, names, &settings("plain"));

        if let Err(reply) = &sanitized
            && head.version == Version::HTTP_2
        {
            assert_eq!(reply.details, "http2.invalid.header.field", "{text}");
        }
        let host = sanitized.as_ref().ok().map(|_| &head.headers[HOST]);
        assert_eq!(
            host.map(|host| host.to_str().unwrap()),
            expected,
            "{text}: {sanitized:?}"
        );
        if let Ok(sanitized) = sanitized {
            assert_eq!(sanitized.upgrade, Some(Upgrade::Connect));
            assert_eq!(head.uri.path(), "");
        }
    }
}
