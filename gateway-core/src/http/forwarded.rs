//! Header fields that inform backends about the client: `X-Forwarded-*`, `x-envoy-*`, `X-Request-Id`.
//!
//! A listener is at the *edge* if its client IP rule is [`ClientIpRule::Peer`]: no proxy in front of it is
//! trusted, and fields from the client are overwritten. Behind a trusted proxy, received fields are kept.
//!
//! | field | at the edge | behind a trusted proxy |
//! |---|---|---|
//! | `X-Forwarded-For` | the peer is appended | the peer is appended if the rule has `append` |
//! | `X-Forwarded-Proto` | set | set if missing; empty: 404 |
//! | `X-Envoy-External-Address` | set to the peer | removed, unless `keep_external_address` is set |
//! | `X-Request-Id` | by [`RequestIdMode`] | by [`RequestIdMode`] |
//! | `X-Forwarded-Client-Cert` | by `client_cert` | by `client_cert` |
//! | `x-envoy-*` that control an Envoy | removed | removed |
//! | `x-envoy-*` of tracing and rewrites | removed | kept |
//!
//! Behind a proxy, Envoy forwards `X-Envoy-External-Address` even if a client forged it. By default, the
//! gateway removes this field. An empty `X-Request-Id` counts as missing. `X-Forwarded-Host`,
//! `X-Forwarded-Port`, `Forwarded` and `X-Real-IP` carry unverified values of the client and are forwarded as
//! received, as in Envoy.

mod client_cert;

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::client_ip::{ClientIpRule, X_FORWARDED_FOR};
use super::header_presence::HeaderPresence;
use crate::Error;
use crate::conn::ConnInfo;
use crate::http::settings::{ListenerSettings, RequestIdMode};

pub(crate) const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const X_ENVOY_EXTERNAL_ADDRESS: HeaderName = HeaderName::from_static("x-envoy-external-address");

/// Fields that control an Envoy proxy. They are removed from every request, because the gateway treats no
/// client as internal.
const ALWAYS_REMOVED: [&str; 15] = [
    "x-envoy-internal",
    "x-envoy-retriable-status-codes",
    "x-envoy-retriable-header-names",
    "x-envoy-retry-on",
    "x-envoy-retry-grpc-on",
    "x-envoy-max-retries",
    "x-envoy-upstream-alt-stat-name",
    "x-envoy-upstream-rq-timeout-ms",
    "x-envoy-upstream-rq-per-try-timeout-ms",
    "x-envoy-upstream-rq-timeout-alt-response",
    "x-envoy-expected-rq-timeout-ms",
    "x-envoy-force-trace",
    "x-envoy-ip-tags",
    "x-envoy-original-url",
    "x-envoy-hedge-on-per-try-timeout",
];

/// Fields that only a trusted proxy may set.
const REMOVED_AT_THE_EDGE: [&str; 5] = [
    "x-envoy-decorator-operation",
    "x-envoy-downstream-service-cluster",
    "x-envoy-downstream-service-node",
    "x-envoy-original-path",
    "x-envoy-original-host",
];

/// Typical number of fields added to a request.
const ADDED: usize = 6;

/// Edits the fields of a request that arrived over `conn`.
///
/// # Errors
/// [`Error::NoRoute`] if `X-Forwarded-Proto` is empty behind a trusted proxy: routing requires a scheme. The
/// other fields are edited in this case too.
pub fn apply(
    headers: &mut HeaderMap,
    conn: &ConnInfo,
    settings: &ListenerSettings,
) -> Result<(), Error> {
    let names = HeaderPresence::of(headers);
    apply_named(headers, names, conn, settings)
}

/// As [`apply`], but the caller passes the set of the field names in `headers` as `names`. A name in `names`
/// may be absent from `headers`.
///
/// # Errors
/// As [`apply`].
pub(crate) fn apply_named(
    headers: &mut HeaderMap,
    names: HeaderPresence,
    conn: &ConnInfo,
    settings: &ListenerSettings,
) -> Result<(), Error> {
    // One reallocation suffices for all fields that are added here and later, before the request is sent.
    headers.reserve(ADDED);
    let rule = &settings.client_ip;
    let edge = *rule == ClientIpRule::Peer;
    let scheme = if conn.tls.is_some() { "https" } else { "http" };
    let proto = proto(headers, scheme, edge);
    if names.has(HeaderPresence::X_ENVOY) {
        clean(headers, edge);
    }
    if !appended(rule) {
        join(headers, &X_FORWARDED_FOR);
    } else if names.has(HeaderPresence::X_FORWARDED_FOR) {
        append(headers, &text(conn, seen_by_backend(conn)));
    } else {
        headers.insert(X_FORWARDED_FOR, text(conn, seen_by_backend(conn)));
    }
    if edge {
        headers.insert(X_ENVOY_EXTERNAL_ADDRESS, text(conn, conn.peer.ip()));
    } else if names.has(HeaderPresence::X_ENVOY) && !settings.keep_external_address {
        headers.remove(X_ENVOY_EXTERNAL_ADDRESS);
    }
    request_id(headers, settings.headers.request_id, edge);
    let client = conn.tls.as_ref().and_then(|tls| tls.client.as_deref());
    if client.is_some() || names.has(HeaderPresence::X_FORWARDED_CLIENT_CERT) {
        client_cert::apply(headers, client, &settings.headers);
    }
    proto
}

/// Whether the rule appends the peer to `X-Forwarded-For`.
fn appended(rule: &ClientIpRule) -> bool {
    match rule {
        ClientIpRule::Peer => true,
        ClientIpRule::TrustedHops { append, .. } | ClientIpRule::TrustedNetworks { append, .. } => {
            *append
        }
        ClientIpRule::Header { .. } | ClientIpRule::TrustedHeader { .. } => false,
    }
}

/// The client's address in a form that is meaningful to backends on other hosts: 127.0.0.1 is replaced by the
/// local address of the connection, if known. A program that embeds the gateway may leave the local address
/// unspecified.
fn seen_by_backend(conn: &ConnInfo) -> IpAddr {
    match (conn.peer.ip(), conn.local.ip()) {
        (IpAddr::V4(Ipv4Addr::LOCALHOST), local) if !local.is_unspecified() => local,
        (peer, _) => peer,
    }
}

fn proto(headers: &mut HeaderMap, scheme: &'static str, edge: bool) -> Result<(), Error> {
    if !edge {
        join(headers, &X_FORWARDED_PROTO);
        match headers.get(X_FORWARDED_PROTO) {
            Some(believed) if believed.is_empty() => return Err(Error::NoRoute),
            Some(_) => return Ok(()),
            None => {}
        }
    }
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(scheme));
    Ok(())
}

fn clean(headers: &mut HeaderMap, edge: bool) {
    for name in ALWAYS_REMOVED {
        headers.remove(name);
    }
    if edge {
        for name in REMOVED_AT_THE_EDGE {
            headers.remove(name);
        }
    }
}

/// Joins all lines of `X-Forwarded-For` and appends `peer`.
fn append(headers: &mut HeaderMap, peer: &HeaderValue) {
    let mut line = joined(headers, &X_FORWARDED_FOR, peer.len() + 1).unwrap_or_default();
    if !line.is_empty() {
        line.push(b',');
    }
    line.extend_from_slice(peer.as_bytes());
    let value = HeaderValue::from_maybe_shared(Bytes::from(line));
    headers.insert(X_FORWARDED_FOR, value.expect(VALID));
}

/// Reason why header values that this module joins are valid.
const VALID: &str = "valid values, commas and addresses form a valid value";

/// Joins the lines of a field into one.
fn join(headers: &mut HeaderMap, name: &HeaderName) {
    if headers.get_all(name).iter().nth(1).is_some()
        && let Some(line) = joined(headers, name, 0)
    {
        let value = HeaderValue::from_maybe_shared(Bytes::from(line)).expect(VALID);
        headers.insert(name, value);
    }
}

/// Joins all lines of a field by commas, except empty lines (RFC 9110, sections 5.2 and 5.6.1.2). The result
/// has capacity for `more` additional bytes. `None` if the field is absent.
fn joined(headers: &HeaderMap, name: &HeaderName, more: usize) -> Option<Vec<u8>> {
    let lines = headers.get_all(name);
    let len: usize = lines.iter().map(|line| line.len() + 1).sum();
    if len == 0 {
        return None;
    }
    let mut all = Vec::with_capacity(len + more);
    for line in lines.iter().filter(|line| !line.is_empty()) {
        if !all.is_empty() {
            all.push(b',');
        }
        all.extend_from_slice(line.as_bytes());
    }
    Some(all)
}

/// Sets the request ID. As in Envoy, the response does not contain the ID.
fn request_id(headers: &mut HeaderMap, mode: RequestIdMode, edge: bool) {
    let fresh = match mode {
        RequestIdMode::Generate => edge || !has_id(headers),
        RequestIdMode::PreserveOrGenerate => !has_id(headers),
        RequestIdMode::Preserve | RequestIdMode::Disable => false,
    };
    if fresh {
        headers.insert(X_REQUEST_ID, uuid(fastrand::u128(..)));
    } else {
        join(headers, &X_REQUEST_ID);
    }
}

fn has_id(headers: &HeaderMap) -> bool {
    headers
        .get_all(X_REQUEST_ID)
        .iter()
        .any(|id| !id.is_empty())
}

/// A random UUID (RFC 9562, section 5.4).
fn uuid(random: u128) -> HeaderValue {
    const DIGITS: [u8; 16] = *b"0123456789abcdef";
    /// For each byte of the UUID, the offset of its two hexadecimal digits in the text.
    const PLACES: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];
    let bits = random & !(0xF << 76) & !(0x3 << 62) | 0x4 << 76 | 0x2 << 62;
    let mut text = [b'-'; 36];
    for (byte, place) in bits.to_be_bytes().into_iter().zip(PLACES) {
        text[place] = DIGITS[usize::from(byte >> 4)];
        text[place + 1] = DIGITS[usize::from(byte & 0xF)];
    }
    HeaderValue::from_bytes(&text).expect("hexadecimal digits and dashes are valid")
}

/// Buffer size for a formatted address, in bytes.
const IP_TEXT: usize = 48;

fn write_ip(ip: IpAddr, buffer: &mut [u8; IP_TEXT]) -> &[u8] {
    if let IpAddr::V4(ip) = ip {
        return write_ipv4(ip, buffer);
    }
    let mut rest = &mut buffer[..];
    write!(rest, "{ip}").expect("an address has at most 45 characters");
    let unused = rest.len();
    &buffer[..IP_TEXT - unused]
}

/// Writes an IPv4 address. IPv4 addresses are the most frequent case, and formatting them with the standard
/// library takes four times as long.
fn write_ipv4(ip: Ipv4Addr, buffer: &mut [u8; IP_TEXT]) -> &[u8] {
    let mut len = 0;
    let mut push = |byte: u8| {
        buffer[len] = byte;
        len += 1;
    };
    for (i, octet) in ip.octets().into_iter().enumerate() {
        if i > 0 {
            push(b'.');
        }
        if octet >= 100 {
            push(b'0' + octet / 100);
        }
        if octet >= 10 {
            push(b'0' + octet / 10 % 10);
        }
        push(b'0' + octet % 10);
    }
    &buffer[..len]
}

/// An address as a header value. The first address that a connection formats is cached.
fn text(conn: &ConnInfo, ip: IpAddr) -> HeaderValue {
    let write = || {
        let value = HeaderValue::from_bytes(write_ip(ip, &mut [0; IP_TEXT]));
        value.expect("an address is a valid header value")
    };
    let (first, text) = conn.client_header.get_or_init(|| (ip, write()));
    match *first == ip {
        true => text.clone(),
        false => write(),
    }
}

#[cfg(test)]
mod tests;
