//! Removal of hop-by-hop fields (RFC 9110, section 7.6.1), and validation of backend responses.
//!
//! As in Envoy, requests lose `Connection` and the fields that it names, `Keep-Alive`, `Proxy-Connection`,
//! `Transfer-Encoding`, and every value of `TE` other than `trailers`. Responses lose these fields too, but
//! keep `TE` and the fields that `Connection` names. Framing fields are not copied, because each connection
//! has its own framing. `Content-Length` is kept as one decimal number.

use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, response};

use super::framing::{self, BadCoding, BadLength};
use super::header_presence::HeaderPresence;
use super::upgrade::{Upgrade, has_token};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Whether the head has hop-by-hop fields.
pub(crate) fn has_connection_fields(headers: &HeaderMap) -> bool {
    HeaderPresence::of(headers).has(HeaderPresence::HOP_BY_HOP)
}

/// Error: `Connection` of a request names a field that a client must not remove.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BadNomination {
    /// `Host`.
    #[error("Connection names Host")]
    Host,
    /// A field that identifies the client to the gateway or the backend.
    #[error("Connection names a field that identifies the client")]
    Protected,
}

/// Error: a backend's response is invalid and must not be forwarded. The text names the defect.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("protocol error: {0}")]
pub struct ProtocolError(pub &'static str);

/// Removes the hop-by-hop fields of a request. [`Upgrade::take`] must be called before.
///
/// # Errors
/// [`BadNomination`] if `Connection` names `Host`, the `protected` field or a field that proxies set.
pub fn strip_request(
    headers: &mut HeaderMap,
    protected: Option<&HeaderName>,
) -> Result<(), BadNomination> {
    if !has_connection_fields(headers) {
        return Ok(());
    }
    if headers.contains_key(CONNECTION) {
        remove_nominated(headers, protected)?;
    }
    headers.remove(KEEP_ALIVE);
    headers.remove(PROXY_CONNECTION);
    headers.remove(TRANSFER_ENCODING);
    reduce_te(headers);
    Ok(())
}

/// Removes `Connection` and the fields that it names.
fn remove_nominated(
    headers: &mut HeaderMap,
    protected: Option<&HeaderName>,
) -> Result<(), BadNomination> {
    let mut names = Vec::new();
    for line in headers.get_all(CONNECTION) {
        for token in line.as_bytes().split(|&b| b == b',') {
            let token = token.trim_ascii();
            if is_option(token) {
                continue;
            }
            let Ok(name) = HeaderName::from_bytes(token) else {
                continue;
            };
            if name == HOST {
                return Err(BadNomination::Host);
            }
            if is_protected(&name) || protected == Some(&name) {
                return Err(BadNomination::Protected);
            }
            if name != TE && name != CONTENT_LENGTH {
                names.push(name);
            }
        }
    }
    headers.remove(CONNECTION);
    for name in names {
        headers.remove(name);
    }
    Ok(())
}

/// Whether the token is a common connection option and not the name of a field.
fn is_option(token: &[u8]) -> bool {
    token.eq_ignore_ascii_case(b"keep-alive")
        || token.eq_ignore_ascii_case(b"close")
        || token.eq_ignore_ascii_case(b"upgrade")
}

/// Whether proxies identify the client by this field.
pub(super) fn is_protected(name: &HeaderName) -> bool {
    let name = name.as_str();
    name.starts_with("x-forwarded-")
        || name.starts_with("x-envoy-")
        || matches!(name, "forwarded" | "x-real-ip")
}

/// Reduces `TE` to `trailers` if present, otherwise removes it. An empty `TE` is kept, as in Envoy.
fn reduce_te(headers: &mut HeaderMap) {
    let mut lines = headers.get_all(TE).iter();
    let Some(first) = lines.next() else { return };
    if lines.next().is_none() && (first.is_empty() || first == "trailers") {
        return;
    }
    if has_token(headers, &TE, "trailers") {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    } else {
        headers.remove(TE);
    }
}

/// Validates a backend's response and removes its hop-by-hop fields. `asked` is the upgrade that was
/// requested from the backend, if any.
///
/// # Errors
/// [`ProtocolError`] in one of these cases:
/// - The status is not in 200 to 599. A 101 to the requested protocol is valid.
/// - The transfer coding is not exactly `chunked`.
/// - `Content-Length` is repeated, is not a decimal number, or is combined with a transfer coding.
pub fn response(head: &mut response::Parts, asked: Option<&Upgrade>) -> Result<(), ProtocolError> {
    let headers = &mut head.headers;
    if asked == Some(&Upgrade::Connect) && head.status.is_success() {
        // Framing fields have no meaning in a successful response to CONNECT (RFC 9110, section 9.3.6).
        headers.remove(CONTENT_LENGTH);
        headers.remove(TRANSFER_ENCODING);
    }
    let names = HeaderPresence::of(headers);
    if names.has(HeaderPresence::FRAMING) {
        check_framing(headers)?;
    }
    let status = head.status.as_u16();
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        check_switch(headers, asked)?;
    } else if !(200..600).contains(&status) {
        return Err(ProtocolError("status"));
    } else if names.has(HeaderPresence::CONNECTION | HeaderPresence::UPGRADE) {
        headers.remove(CONNECTION);
        headers.remove(UPGRADE);
    }
    if status == 101 || status == 204 {
        headers.remove(CONTENT_LENGTH);
    }
    if names.has(HeaderPresence::HOP_BY_HOP) {
        headers.remove(KEEP_ALIVE);
        headers.remove(PROXY_CONNECTION);
        headers.remove(TRANSFER_ENCODING);
    }
    Ok(())
}

/// Validates that a 101 names the requested protocol, and sets `Connection` to `Upgrade`.
fn check_switch(headers: &mut HeaderMap, asked: Option<&Upgrade>) -> Result<(), ProtocolError> {
    let asked = asked.ok_or(ProtocolError("101 unasked"))?;
    match headers.get(UPGRADE) {
        Some(got)
            if asked.protocol().is_some_and(|protocol| {
                got.as_bytes().eq_ignore_ascii_case(protocol.as_bytes())
            }) =>
        {
            headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
            Ok(())
        }
        _ => Err(ProtocolError("101 for another protocol")),
    }
}

fn check_framing(headers: &mut HeaderMap) -> Result<(), ProtocolError> {
    let chunked =
        framing::is_chunked(headers).map_err(|BadCoding| ProtocolError("transfer coding"))?;
    let length =
        framing::canonical_length(headers).map_err(|BadLength| ProtocolError("content length"))?;
    if chunked && length.is_some() {
        return Err(ProtocolError("content length and transfer coding"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use http::Response;

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

    fn stripped(lines: &[(&'static str, &'static str)]) -> Result<HeaderMap, BadNomination> {
        let mut headers = headers(lines);
        strip_request(&mut headers, Some(&HeaderName::from_static("x-client")))?;
        Ok(headers)
    }

    #[test]
    fn fields_of_the_connection_stay_behind() {
        let left = stripped(&[
            ("connection", "keep-alive"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("proxy-authorization", "Basic eA=="),
            ("te", "trailers"),
            ("trailer", "x-t"),
            ("transfer-encoding", "chunked"),
            ("x-keep", "1"),
        ]);

        let expected = headers(&[
            ("proxy-authorization", "Basic eA=="),
            ("te", "trailers"),
            ("trailer", "x-t"),
            ("x-keep", "1"),
        ]);
        assert_eq!(left, Ok(expected));
    }

    #[test]
    fn what_connection_names_is_removed() {
        for (connection, left) in [
            ("keep-alive", "abz"),
            ("close, x-a", "bz"),
            ("x-a, x-b", "z"),
            ("X-A", "bz"),
            ("authorization", "ab"),
            ("te", "abz"),
            (",", "abz"),
            ("not a name", "abz"),
        ] {
            let left_over = stripped(&[
                ("connection", connection),
                ("x-a", "a"),
                ("x-b", "b"),
                ("authorization", "z"),
            ])
            .unwrap();

            let mut text: Vec<&str> = left_over.values().map(|v| v.to_str().unwrap()).collect();
            text.sort_unstable();
            assert_eq!(text.concat(), left, "{connection}");
        }
    }

    #[test]
    fn what_proxies_set_cannot_be_named() {
        for (connection, error) in [
            ("host", BadNomination::Host),
            ("x-forwarded-for", BadNomination::Protected),
            ("close, X-Forwarded-Proto", BadNomination::Protected),
            ("forwarded", BadNomination::Protected),
            ("x-envoy-external-address", BadNomination::Protected),
            ("x-client", BadNomination::Protected),
        ] {
            assert_eq!(
                stripped(&[("connection", connection)]),
                Err(error),
                "{connection}"
            );
        }
    }

    #[test]
    fn te_is_reduced_to_trailers() {
        for (te, left) in [
            ("trailers, gzip", Some("trailers")),
            ("gzip;q=0.5, trailers", Some("trailers")),
            ("trailers", Some("trailers")),
            ("", Some("")),
            ("trailers;q=0", None),
            ("gzip", None),
        ] {
            let left_over = stripped(&[("te", te)]).unwrap();

            assert_eq!(left_over.get(TE).map(|v| v.to_str().unwrap()), left, "{te}");
        }
    }

    fn answered(
        status: u16,
        lines: &[(&'static str, &'static str)],
        asked: Option<&Upgrade>,
    ) -> Result<HeaderMap, ProtocolError> {
        let mut head = Response::new(()).into_parts().0;
        head.status = StatusCode::from_u16(status).unwrap();
        head.headers = headers(lines);
        response(&mut head, asked).map(|()| head.headers)
    }

    #[test]
    fn answers_that_could_be_read_in_two_ways_are_refused() {
        for lines in [
            vec![("content-length", "2"), ("content-length", "2")],
            vec![("content-length", "2, 2")],
            vec![("content-length", "")],
            vec![("content-length", "+2")],
            vec![("content-length", "99999999999999999999")],
            vec![("content-length", "2"), ("transfer-encoding", "chunked")],
            vec![("transfer-encoding", "identity")],
            vec![("transfer-encoding", "gzip, chunked")],
            vec![
                ("transfer-encoding", "chunked"),
                ("transfer-encoding", "chunked"),
            ],
        ] {
            assert!(answered(200, &lines, None).is_err(), "{lines:?}");
        }
    }

    #[test]
    fn only_final_statuses_pass() {
        for (status, passes) in [
            (100, false),
            (101, false),
            (103, false),
            (199, false),
            (200, true),
            (599, true),
            (600, false),
            (999, false),
        ] {
            assert_eq!(answered(status, &[], None).is_ok(), passes, "{status}");
        }
    }

    #[test]
    fn a_response_keeps_what_its_connection_names() {
        let left = answered(
            200,
            &[
                ("connection", "close, x-a"),
                ("keep-alive", "1"),
                ("x-a", "1"),
                ("te", "x"),
                ("trailer", "x-t"),
                ("upgrade", "h2"),
                ("content-length", "003"),
            ],
            None,
        );

        let expected = [
            ("x-a", "1"),
            ("te", "x"),
            ("trailer", "x-t"),
            ("content-length", "3"),
        ];
        assert_eq!(left, Ok(headers(&expected)));
    }

    #[test]
    fn a_204_has_no_length() {
        assert_eq!(
            answered(204, &[("content-length", "0")], None),
            Ok(HeaderMap::new())
        );
    }

    #[test]
    fn a_101_passes_only_as_asked() {
        let mut sent = headers(&[("upgrade", "websocket"), ("connection", "upgrade")]);
        let asked = Upgrade::take(&mut sent, &[]);
        let switch = |protocol| {
            answered(
                101,
                &[("connection", "x, upgrade"), ("upgrade", protocol)],
                asked.as_ref(),
            )
        };

        assert_eq!(
            switch("WebSocket"),
            Ok(headers(&[
                ("connection", "Upgrade"),
                ("upgrade", "WebSocket")
            ]))
        );
        assert!(switch("h2c").is_err());
        assert!(answered(101, &[("connection", "upgrade")], asked.as_ref()).is_err());
    }
}
