//! Sanitizing of request heads: ambiguous requests are rejected, all others are normalised.
//!
//! [`request()`] performs the checks that hyper does not perform. A sanitized request has, in every HTTP
//! version:
//!
//! - a known method, and a target of path and query only, with a normalised path (see
//!   [`path`](mod@super::path));
//! - exactly one valid `Host`, also available as an [`Authority`] for route matching;
//! - no hop-by-hop field of the client's connection (see [`hop_by_hop`]), no `Upgrade` and no `Expect`.
//!   `Content-Length` is one decimal number. It does not frame the forwarded message, because the connection
//!   to the backend has its own framing.
//!
//! The behaviour is Envoy's, as recorded, with these exceptions:
//!
//! | request | Envoy | gateway |
//! |---|---|---|
//! | two `Host` lines | joined by a comma and forwarded | 400 |
//! | `Host` empty, with user information, a comma, `*` or an invalid port | forwarded | 400 |
//! | HTTP/1.1 with an absolute target and without `Host` | forwarded | 400 (RFC 9112, section 3.2) |
//! | `Expect` other than `100-continue` | forwarded | 417 |
//! | `Connection` names `Forwarded`, `X-Real-IP`, `X-Envoy-*` or the client IP header | field removed | 400 |
//! | an accepted `Upgrade` | the client's `Connection` is forwarded | `Connection: Upgrade` |
//! | HTTP/2 with different `:authority` and `host` | `:authority` takes precedence | 400 |
//! | HTTP/2 with an underscore in a field name | the stream is reset | 400 |
//! | HTTP/2 with a method that is rejected in HTTP/1 | forwarded | 400 |
//!
//! hyper itself rejects some requests with 400 and closes the connection: other HTTP versions, malformed
//! fields and lengths. hyper corrects other requests instead: it removes a fragment, merges equal lengths,
//! and decodes a body with both framings as chunked, then closes the connection. The gateway's server rejects
//! the requests that hyper corrects (see `serve::request_framer`).
//!
//! Characters of a request target:
//!
//! | characters | in the path | in the query |
//! |---|---|---|
//! | letters, digits, `-` `.` `_` `~` `!` `$` `&` `'` `(` `)` `*` `+` `,` `;` `=` `:` `@` `/` `[` `]` | unchanged | unchanged |
//! | `"` `<` `>` | percent-encoded | percent-encoded |
//! | `^` `` ` `` `{` `\|` `}` | percent-encoded | unchanged |
//! | `\` | becomes `/` | unchanged |
//! | `#`, control characters, bytes above 0x7E | 400 | 400 |
//!
//! Over HTTP/2, the codec resets a stream if its target has `<`, `>`, a backtick in the path, or `"` in the
//! query. The codec's type for request targets cannot represent these characters. HTTP/2 clients encode them.

mod fields;
mod target;

use fields::FieldChecks;
use http::{HeaderMap, Method, StatusCode, Version, request};

use super::client_ip::ClientIpRule;
use super::framing::{self, BadCoding, BadLength};
use super::header_presence::HeaderPresence;
use super::hop_by_hop::{self, BadNomination};
use super::host::Authority;
use super::lenient;
use super::upgrade::Upgrade;
use crate::LocalReply;
use crate::http::settings::{ListenerSettings, Underscores};

/// Properties of a request that the sanitizer determined, including the content of fields that the sanitizer
/// removed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Sanitized {
    /// Host and port of the request. Equal to its `Host` field.
    pub authority: Authority,
    /// Protocol of the upgrade request, if any. The matched rule accepts or rejects it.
    pub upgrade: Option<Upgrade>,
    /// Whether the request had `Expect: 100-continue`. hyper sends `100 Continue` when the body is read.
    pub expects_continue: bool,
    /// HTTP version of the request as received.
    pub version: Version,
}

/// Sanitizes the head of a request. `tls`: whether the request arrived over TLS.
///
/// This function must be called before early header edits are applied. In this order, a `Connection` field of
/// the client cannot remove a field that an edit sets, and the underscore rule applies only to fields of the
/// client.
///
/// # Errors
/// [`LocalReply`] if the request is rejected, or redirected to the normalised path. In both cases the request
/// target is unchanged, but fields may have been removed.
pub fn request(
    head: &mut request::Parts,
    settings: &ListenerSettings,
    tls: bool,
) -> Result<Sanitized, LocalReply> {
    let names = HeaderPresence::of(&head.headers);
    named(head, names, settings, tls)
}

/// As [`request()`], but the caller passes the set of the field names in the head as `names`.
///
/// # Errors
/// As [`request()`].
pub(crate) fn named(
    head: &mut request::Parts,
    names: HeaderPresence,
    settings: &ListenerSettings,
    tls: bool,
) -> Result<Sanitized, LocalReply> {
    let version = head.version;
    clean(head, names, settings, tls).map_err(|reply| {
        if is_multiplexed(version) {
            reply.keep_open()
        } else {
            reply
        }
    })
}

/// Sanitizes the head of a CONNECT request (RFC 9110, section 9.3.6). The target stays in authority form. A
/// target in this form has an empty path, which rules for other requests do not match.
///
/// # Errors
/// As [`request()`].
pub(crate) fn connect(
    head: &mut request::Parts,
    names: HeaderPresence,
    settings: &ListenerSettings,
) -> Result<Sanitized, LocalReply> {
    let version = head.version;
    clean_connect(head, names, settings).map_err(|reply| match is_multiplexed(version) {
        true => reply.keep_open(),
        false => reply,
    })
}

fn clean_connect(
    head: &mut request::Parts,
    names: HeaderPresence,
    settings: &ListenerSettings,
) -> Result<Sanitized, LocalReply> {
    let version = head.version;
    check_fields(head, names, settings)?;
    if names.has(HeaderPresence::FRAMING) {
        // A CONNECT request has no content (RFC 9112, section 6.3).
        return Err(malformed(version, "http1.codec_error"));
    }
    let target = target::connect_target(head)?;
    if version < Version::HTTP_11 {
        return Err(LocalReply::malformed("http1.codec_error"));
    }
    if names.has(HeaderPresence::HOP_BY_HOP) {
        strip_connection(head, settings)?;
    }
    let authority = target::settle_authority(&mut head.headers, Some(target), version, settings)?;
    let expects_continue =
        names.has(HeaderPresence::EXPECT) && fields::take_expect(&mut head.headers)?;
    head.version = Version::HTTP_11;
    Ok(Sanitized {
        authority,
        upgrade: Some(Upgrade::Connect),
        expects_continue,
        version,
    })
}

/// Checks that all fields are valid, and that their number does not exceed the limit.
fn check_fields(
    head: &mut request::Parts,
    names: HeaderPresence,
    settings: &ListenerSettings,
) -> Result<(), LocalReply> {
    lenient::check(head)?;
    let checks = FieldChecks {
        version: head.version,
        underscores: settings.headers.underscores,
        pseudo: fields::pseudo_fields(head),
    };
    checks.apply(&mut head.headers, names)
}

/// Checks the trailers of a request as the fields of a head. `version`: HTTP version of the request.
pub(crate) fn trailers(
    trailers: &mut HeaderMap,
    version: Version,
    underscores: Underscores,
) -> Result<(), LocalReply> {
    let checks = FieldChecks {
        version,
        underscores,
        pseudo: 0,
    };
    let names = HeaderPresence::of(trailers);
    checks
        .apply(trailers, names)
        .map_err(|reply| match is_multiplexed(version) {
            true => reply.keep_open(),
            false => reply,
        })
}

/// The rejection of a malformed request. `http1_details` are the details for HTTP/1.
fn malformed(version: Version, http1_details: &'static str) -> LocalReply {
    LocalReply::malformed(match is_multiplexed(version) {
        true => "http2.invalid.header.field",
        false => http1_details,
    })
}

fn clean(
    head: &mut request::Parts,
    names: HeaderPresence,
    settings: &ListenerSettings,
    tls: bool,
) -> Result<Sanitized, LocalReply> {
    let version = head.version;
    check_fields(head, names, settings)?;
    check_method(head)?;
    if names.has(HeaderPresence::FRAMING) {
        check_framing(&mut head.headers, version)?;
    }
    let target = target::split_target(head, tls)?;
    check_version(version, settings)?;

    let upgrade = match names.has(HeaderPresence::HOP_BY_HOP) {
        true => strip_connection(head, settings)?,
        false => None,
    };
    let authority =
        target::settle_authority(&mut head.headers, target.authority, version, settings)?;
    let expects_continue =
        names.has(HeaderPresence::EXPECT) && fields::take_expect(&mut head.headers)?;
    if names.has(HeaderPresence::REFERER) {
        fields::drop_bad_referer(&mut head.headers);
    }
    target::settle_path(head, target.path, settings)?;

    head.version = Version::HTTP_11;
    Ok(Sanitized {
        authority,
        upgrade,
        expects_continue,
        version,
    })
}

/// Whether a connection carries concurrent requests. If true, rejecting a request does not close the
/// connection.
fn is_multiplexed(version: Version) -> bool {
    version >= Version::HTTP_2
}

/// Removes the hop-by-hop fields of the client's connection. Returns the upgrade request, if any.
fn strip_connection(
    head: &mut request::Parts,
    settings: &ListenerSettings,
) -> Result<Option<Upgrade>, LocalReply> {
    let upgrade = Upgrade::take(&mut head.headers, &settings.http1.ignored_upgrades)
        // HTTP/1.0 has no upgrades (RFC 9110, section 7.8); HTTP/2 has no `Upgrade` (RFC 9113, section 8.6).
        .filter(|_| head.version == Version::HTTP_11);
    let protected = match &settings.client_ip {
        ClientIpRule::Header { name, .. } | ClientIpRule::TrustedHeader { name, .. } => {
            Some(&**name)
        }
        ClientIpRule::Peer
        | ClientIpRule::TrustedHops { .. }
        | ClientIpRule::TrustedNetworks { .. } => None,
    };
    hop_by_hop::strip_request(&mut head.headers, protected).map_err(|bad| match bad {
        BadNomination::Host => target::missing_host(),
        BadNomination::Protected => LocalReply::malformed("http1.connection_header_rejected"),
    })?;
    Ok(upgrade)
}

/// Accepts the methods of Envoy's HTTP/1 parser, except CONNECT, which [`connect`] sanitizes.
fn check_method(head: &request::Parts) -> Result<(), LocalReply> {
    const OTHERS: [&str; 25] = [
        "ACL",
        "BIND",
        "CHECKOUT",
        "COPY",
        "LINK",
        "LOCK",
        "MERGE",
        "MKACTIVITY",
        "MKCALENDAR",
        "MKCOL",
        "MOVE",
        "MSEARCH",
        "NOTIFY",
        "PROPFIND",
        "PROPPATCH",
        "PURGE",
        "REBIND",
        "REPORT",
        "SEARCH",
        "SOURCE",
        "SUBSCRIBE",
        "UNBIND",
        "UNLINK",
        "UNLOCK",
        "UNSUBSCRIBE",
    ];
    match &head.method {
        &Method::GET
        | &Method::POST
        | &Method::PUT
        | &Method::DELETE
        | &Method::HEAD
        | &Method::OPTIONS
        | &Method::PATCH
        | &Method::TRACE => Ok(()),
        &Method::CONNECT => {
            // Envoy's HTTP/1 parser rejects a target without a port, whether or not a route exists.
            if !is_multiplexed(head.version) {
                target::connect_target(head)?;
            }
            Err(LocalReply {
                flag: "NR",
                ..LocalReply::new(StatusCode::NOT_FOUND, "route_not_found").closing()
            })
        }
        // A QUERY request must have `Content-Type`, which defines the format of the query
        // (draft-ietf-httpbis-safe-method-w-body).
        method if method.as_str() == "QUERY" && head.headers.contains_key("content-type") => Ok(()),
        method if OTHERS.contains(&method.as_str()) => Ok(()),
        _ => Err(malformed(head.version, "http1.codec_error")),
    }
}

fn check_framing(headers: &mut HeaderMap, version: Version) -> Result<(), LocalReply> {
    let chunked = framing::is_chunked(headers).map_err(|BadCoding| {
        let details = "http1.invalid_transfer_encoding";
        LocalReply::codec_error(StatusCode::NOT_IMPLEMENTED, "Not Implemented", details)
    })?;
    let length = framing::canonical_length(headers)
        .map_err(|BadLength| malformed(version, "http1.codec_error"))?;
    if chunked && length.is_some() {
        let details = "http1.content_length_and_chunked_not_allowed";
        return Err(LocalReply::malformed(details));
    }
    Ok(())
}

/// Rejects HTTP/1.0 unless `http1.http10` is set.
fn check_version(version: Version, settings: &ListenerSettings) -> Result<(), LocalReply> {
    if version < Version::HTTP_11 && settings.http1.http10.is_none() {
        let status = StatusCode::UPGRADE_REQUIRED;
        return Err(LocalReply::codec_error(
            status,
            "Upgrade Required",
            "low_version",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
