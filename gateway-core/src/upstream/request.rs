//! Prepares a request head for the connection to a backend. The framing fields are set anew and never copied
//! from the client's request (RFC 9112, section 6).

use http::header::{CONNECTION, CONTENT_LENGTH, Entry, HOST, TE, TRANSFER_ENCODING, UPGRADE};
use http::uri::{Authority, Parts, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version};
use http_body::Body;

use crate::http::hop_by_hop;
use crate::http::upgrade::Upgrade;
use crate::plan::BackendProtocol;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// Wire format of a request head.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WireFormat<'a> {
    pub(crate) protocol: BackendProtocol,
    pub(crate) tls: bool,
    /// Upgrade that the client requests and the rule allows.
    pub(crate) upgrade: Option<&'a Upgrade>,
}

/// Prepares the head of `request` for `format`: version, target, host and framing.
pub(crate) fn prepare<B: Body>(request: &mut Request<B>, format: WireFormat<'_>) {
    remove_connection_fields(request.headers_mut(), format.upgrade);
    frame(request, format.protocol);
    if format.upgrade == Some(&Upgrade::Connect) {
        return target_connect(request, format.protocol);
    }
    match format.protocol {
        BackendProtocol::Http1 => target_http1(request),
        BackendProtocol::Http2 => target_http2(request, format.tls),
    }
}

fn remove_connection_fields(headers: &mut HeaderMap, upgrade: Option<&Upgrade>) {
    if upgrade.is_none() && !hop_by_hop::has_connection_fields(headers) {
        return;
    }
    for name in [
        KEEP_ALIVE,
        PROXY_CONNECTION,
        TRANSFER_ENCODING,
        HTTP2_SETTINGS,
    ] {
        headers.remove(name);
    }
    headers.remove(CONNECTION);
    headers.remove(UPGRADE);
    if let Some(upgrade) = upgrade {
        upgrade.restore(headers);
    }
    if let Entry::Occupied(mut te) = headers.entry(TE) {
        if te.iter().any(lists_trailers) {
            te.insert(HeaderValue::from_static("trailers"));
        } else if !te.iter().all(HeaderValue::is_empty) {
            te.remove();
        }
    }
}

/// Returns whether a `TE` field line lists `trailers`.
fn lists_trailers(line: &HeaderValue) -> bool {
    let mut items = line.as_bytes().split(|b| *b == b',');
    items.any(|item| item.trim_ascii().eq_ignore_ascii_case(b"trailers"))
}

/// Sets Content-Length or Transfer-Encoding. The value follows from the body and not from the client's
/// fields.
fn frame<B: Body>(request: &mut Request<B>, protocol: BackendProtocol) {
    let length = match request.body().is_end_stream() {
        true => Some(0),
        false => request.body().size_hint().exact(),
    };
    let expected = may_have_body(request.method());
    let headers = request.headers_mut();
    match length {
        None => {
            headers.remove(CONTENT_LENGTH);
            if protocol == BackendProtocol::Http1 {
                // The field is set explicitly, because otherwise hyper sends no body of unknown length with
                // GET and HEAD.
                headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
            }
        }
        // If the method is not expected to have content, the length 0 is sent only if the client sent a
        // `Content-Length`.
        Some(0) if !expected && !headers.contains_key(CONTENT_LENGTH) => {}
        Some(length) => set_length(headers, length),
    }
}

/// Returns whether requests with this method are expected to have content. If so, Content-Length is 0 for an
/// empty body (RFC 9110, section 8.6).
fn may_have_body(method: &Method) -> bool {
    !matches!(
        *method,
        Method::GET
            | Method::HEAD
            | Method::DELETE
            | Method::OPTIONS
            | Method::TRACE
            | Method::CONNECT
    )
}

/// Sets Content-Length, unless the field already contains this value in canonical form.
fn set_length(headers: &mut HeaderMap, length: u64) {
    let is_canonical = |value: &HeaderValue| {
        let digits = value.as_bytes();
        let canonical = digits.len() == 1 || digits.first() != Some(&b'0');
        canonical && decode_length(digits) == Some(length)
    };
    let mut values = headers.get_all(CONTENT_LENGTH).iter();
    let kept = values.next().is_some_and(is_canonical) && values.next().is_none();
    if !kept {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
}

/// Decodes a length of decimal digits (RFC 9110, section 8.6).
fn decode_length(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |length, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        length.checked_mul(10)?.checked_add(digit)
    })
}

/// Sets the target in origin form and a single Host.
fn target_http1<B>(request: &mut Request<B>) {
    *request.version_mut() = Version::HTTP_11;
    keep_first_host(request.headers_mut());
    if request.uri().authority().is_some() {
        let parts = std::mem::take(request.uri_mut()).into_parts();
        let headers = request.headers_mut();
        if let (Some(authority), false) = (&parts.authority, headers.contains_key(HOST))
            && let Ok(host) = HeaderValue::from_str(authority.as_str())
        {
            headers.insert(HOST, host);
        }
        let path = parts.path_and_query;
        *request.uri_mut() = path.unwrap_or(PathAndQuery::from_static("/")).into();
    }
}

/// Sets the target in authority form: the host of the request. If the host has no port, the port of the
/// target is added.
fn target_connect<B>(request: &mut Request<B>, protocol: BackendProtocol) {
    keep_first_host(request.headers_mut());
    let host = request.headers().get(HOST);
    let host = host.and_then(|host| Authority::from_maybe_shared(bytes(host)).ok());
    let sent = request.uri().authority();
    let port = sent.and_then(|sent| sent.port_u16());
    let authority = match (host, port) {
        (Some(host), Some(port)) if host.port().is_none() => {
            Authority::try_from(format!("{host}:{port}")).ok()
        }
        (Some(host), _) => Some(host),
        (None, _) => sent.cloned(),
    };
    let mut parts = Parts::default();
    parts.authority = authority;
    *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
    match protocol {
        BackendProtocol::Http1 => *request.version_mut() = Version::HTTP_11,
        BackendProtocol::Http2 => {
            *request.version_mut() = Version::HTTP_2;
            request.headers_mut().remove(HOST);
        }
    }
}

/// Keeps only the first Host field.
fn keep_first_host(headers: &mut HeaderMap) {
    let mut hosts = headers.get_all(HOST).iter();
    if let (Some(first), Some(_)) = (hosts.next(), hosts.next()) {
        let first = first.clone();
        headers.insert(HOST, first);
    }
}

/// Sets the target in absolute form, which HTTP/2 splits into `:scheme`, `:authority` and `:path`. Removes
/// Host.
fn target_http2<B>(request: &mut Request<B>, tls: bool) {
    *request.version_mut() = Version::HTTP_2;
    let host = request.headers_mut().remove(HOST);
    let before = std::mem::take(request.uri_mut()).into_parts();
    let authority = host.and_then(|host| Authority::from_maybe_shared(bytes(&host)).ok());
    let mut parts = Parts::default();
    parts.authority = authority.or(before.authority);
    parts.path_and_query = before
        .path_and_query
        .or(Some(PathAndQuery::from_static("/")));
    if parts.authority.is_some() {
        parts.scheme = Some(if tls { Scheme::HTTPS } else { Scheme::HTTP });
    }
    *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
}

fn bytes(value: &HeaderValue) -> bytes::Bytes {
    bytes::Bytes::copy_from_slice(value.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Body;
    use http::request;
    use http_body_util::StreamBody;

    const HTTP1: WireFormat<'_> = WireFormat {
        protocol: BackendProtocol::Http1,
        tls: false,
        upgrade: None,
    };

    fn prepared(request: request::Builder, body: Body, format: WireFormat<'_>) -> request::Parts {
        let mut request = request.body(body).unwrap();
        prepare(&mut request, format);
        request.into_parts().0
    }

    fn unknown() -> Body {
        type Frames = Vec<Result<http_body::Frame<bytes::Bytes>, std::io::Error>>;
        Body::new(StreamBody::new(futures_util::stream::iter(Frames::new())))
    }

    fn lengths(head: &request::Parts) -> Vec<&str> {
        let values = head.headers.get_all(CONTENT_LENGTH).iter();
        values.map(|v| v.to_str().unwrap()).collect()
    }

    #[test]
    fn content_length_is_the_length_of_the_body_whatever_the_client_sent() {
        for sent in ["3", "4", "03", "3, 3", "x"] {
            let request = Request::post("/").header(CONTENT_LENGTH, sent);
            assert_eq!(lengths(&prepared(request, "abc".into(), HTTP1)), ["3"]);
        }
        let request = Request::get("/").header(CONTENT_LENGTH, "5");
        assert_eq!(lengths(&prepared(request, Body::empty(), HTTP1)), ["0"]);
    }

    #[test]
    fn no_length_is_sent_for_methods_without_content() {
        assert!(lengths(&prepared(Request::get("/"), Body::empty(), HTTP1)).is_empty());
        for method in ["POST", "PATCH", "PROPFIND", "QUERY"] {
            let request = Request::builder().method(method);
            assert_eq!(lengths(&prepared(request, Body::empty(), HTTP1)), ["0"]);
        }
    }

    #[test]
    fn an_unknown_length_is_chunked_in_http1_only() {
        let request = || {
            Request::get("/")
                .header(TRANSFER_ENCODING, "gzip, chunked")
                .header(CONTENT_LENGTH, "7")
        };

        let head = prepared(request(), unknown(), HTTP1);
        assert_eq!(head.headers[TRANSFER_ENCODING], "chunked");
        assert!(lengths(&head).is_empty());

        let http2 = WireFormat {
            protocol: BackendProtocol::Http2,
            ..HTTP1
        };
        let head = prepared(request(), unknown(), http2);
        assert!(!head.headers.contains_key(TRANSFER_ENCODING));
    }

    #[test]
    fn http1_gets_origin_form_and_one_host() {
        let request = Request::get("http://inner.test/a?b").version(Version::HTTP_2);

        let head = prepared(request, Body::empty(), HTTP1);

        assert_eq!(head.version, Version::HTTP_11);
        assert_eq!(head.uri, "/a?b");
        assert_eq!(head.headers[HOST], "inner.test");
    }

    #[test]
    fn http2_gets_the_host_as_authority() {
        let format = WireFormat {
            protocol: BackendProtocol::Http2,
            tls: true,
            upgrade: None,
        };
        let request = Request::get("/a?b")
            .header(HOST, "outer.test:8443")
            .header(CONNECTION, "close");

        let head = prepared(request, Body::empty(), format);

        assert_eq!(head.uri, "https://outer.test:8443/a?b");
        assert!(head.headers.is_empty());
    }

    #[test]
    fn a_connect_request_has_the_host_as_target_with_the_port_of_the_client() {
        for (host, protocol, expected) in [
            ("db.test:5432", BackendProtocol::Http1, "db.test:5432"),
            ("other.test", BackendProtocol::Http1, "other.test:5432"),
            ("other.test:1", BackendProtocol::Http2, "other.test:1"),
        ] {
            let request = Request::connect("db.test:5432").header(HOST, host);
            let format = WireFormat {
                protocol,
                tls: false,
                upgrade: Some(&Upgrade::Connect),
            };

            let head = prepared(request, Body::empty(), format);

            assert_eq!(head.uri.to_string(), expected);
            assert_eq!(
                head.headers.contains_key(HOST),
                protocol == BackendProtocol::Http1
            );
            assert!(!head.headers.contains_key(CONTENT_LENGTH));
        }
    }

    #[test]
    fn connection_fields_are_removed_unless_an_upgrade_is_allowed() {
        let request = || {
            Request::get("/")
                .header(CONNECTION, "keep-alive, upgrade")
                .header(UPGRADE, "WebSocket")
                .header("keep-alive", "5")
                .header(TE, "gzip, Trailers")
        };

        let head = prepared(request(), Body::empty(), HTTP1);
        assert_eq!(head.headers.len(), 1);
        assert_eq!(head.headers[TE], "trailers");

        let mut headers = request().body(()).unwrap().into_parts().0.headers;
        let upgrade = Upgrade::take(&mut headers, &[]);
        let format = WireFormat {
            upgrade: upgrade.as_ref(),
            ..HTTP1
        };
        let head = prepared(request(), Body::empty(), format);
        assert_eq!(head.headers[CONNECTION], "Upgrade");
        assert_eq!(head.headers[UPGRADE], "WebSocket");
    }
}
