//! Makes of a request's head what the rest of the gateway can rely on, or refuses it.
//!
//! [`request()`] does what hyper leaves to its user. Afterwards there is, whatever the HTTP version:
//!
//! - a method of the registered ones, a target of path and query only, with the path in its one
//!   spelling (see [`path`](mod@super::path));
//! - exactly one valid `Host`; the same as a [`Authority`] to match by;
//! - no field that belongs to the client's connection (see [`hop_by_hop`]), no
//!   `Upgrade` and no `Expect`. `Content-Length` is one plain number, and only says how long the body
//!   will be: framing is written anew.
//!
//! What Envoy does is kept, by its recorded answers, but for these:
//!
//! | request | Envoy | here |
//! |---|---|---|
//! | two `Host` lines | joined by a comma and forwarded | 400 |
//! | `Host` empty, with user information, a comma, `*` or a bad port | forwarded | 400 |
//! | HTTP/1.1 with an absolute target and no `Host` at all | forwarded | 400 (RFC 9112, section 3.2) |
//! | `Expect` other than `100-continue` | forwarded | 417 |
//! | `Connection` that names `Forwarded`, `X-Real-IP`, `X-Envoy-*` or the header of the client's address | the field is dropped | 400 |
//! | an `Upgrade` that is granted | `Connection` as the client wrote it | `Connection: Upgrade` |
//! | HTTP/2 with `:authority` and another `host` | `:authority` wins | 400 |
//! | HTTP/2 with an underscore in a field's name | the stream is reset | 400 |
//! | HTTP/2 with a method that HTTP/1 does not let pass | forwarded | 400 |
//!
//! Some requests hyper refuses before this sees them, with 400 and the end of the connection: other
//! versions, malformed fields and lengths, a `<`, `>` or backtick in the target. Some it mends: it cuts
//! off a fragment, joins equal lengths, and reads a body with both framings as chunked and ends the
//! connection afterwards. Where the gateway itself serves, most of these are refused (see
//! `serve::head_scan`).

mod fields;
mod target;

use http::{HeaderMap, Method, StatusCode, Version, request};

use super::client_ip::ClientIpRule;
use super::framing::{self, BadCoding, BadLength};
use super::hop_by_hop::{self, BadNomination};
use super::host::Authority;
use super::lenient;
use super::names::Names;
use super::upgrade::Upgrade;
use crate::LocalReply;
use crate::http::settings::ListenerSettings;

/// What a clean request is for, and what was taken out of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Sanitized {
    /// Whom the request is for; `Host` says the same.
    pub authority: Authority,
    /// The protocol that the client wants to switch to. The rule that the request is routed to decides.
    pub upgrade: Option<Upgrade>,
    /// The client waits for `100 Continue` before it sends the body. hyper sends one as soon as the
    /// body is read, so nothing needs to be done.
    pub expects_continue: bool,
    /// The version that the request came in.
    pub version: Version,
}

/// Cleans the head of a request that came over TLS or not.
///
/// Runs before early header edits, so that a client cannot have a field removed that an edit has set,
/// and the rule on underscores is about what clients send.
///
/// # Errors
/// [`LocalReply`], which is the answer for the client: a refusal, or a redirect to the normal spelling of
/// the path. The request target is still as it was then; fields may be missing.
pub fn request(
    head: &mut request::Parts,
    settings: &ListenerSettings,
    tls: bool,
) -> Result<Sanitized, LocalReply> {
    let names = Names::of(&head.headers);
    named(head, names, settings, tls)
}

/// The same for a head that has these `names`.
///
/// # Errors
/// As [`request`].
pub(crate) fn named(
    head: &mut request::Parts,
    names: Names,
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

fn clean(
    head: &mut request::Parts,
    names: Names,
    settings: &ListenerSettings,
    tls: bool,
) -> Result<Sanitized, LocalReply> {
    let version = head.version;
    lenient::check(head)?;
    if names.has(Names::UNDERSCORE) {
        fields::check_underscores(&mut head.headers, version, settings.headers.underscores)?;
    }
    if is_multiplexed(version) {
        fields::check_padding(&head.headers)?;
    }
    check_method(head)?;
    if names.has(Names::FRAMING) {
        check_framing(&mut head.headers)?;
    }
    let target = target::split_target(head, tls)?;
    check_version(version, settings)?;

    let upgrade = match names.has(Names::HOP_BY_HOP) {
        true => strip_connection(head, settings)?,
        false => None,
    };
    let authority =
        target::settle_authority(&mut head.headers, target.authority, version, settings)?;
    let expects_continue = names.has(Names::EXPECT) && fields::take_expect(&mut head.headers)?;
    if names.has(Names::REFERER) {
        fields::drop_bad_referer(&mut head.headers);
    }
    if names.has(Names::COOKIE) && is_multiplexed(version) {
        fields::join_cookies(&mut head.headers);
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

/// Whether requests share the connection, so that a bad one need not end it.
fn is_multiplexed(version: Version) -> bool {
    version >= Version::HTTP_2
}

/// Removes what belongs to the client's connection; gives the upgrade that it asks for.
fn strip_connection(
    head: &mut request::Parts,
    settings: &ListenerSettings,
) -> Result<Option<Upgrade>, LocalReply> {
    let upgrade = Upgrade::take(&mut head.headers, &settings.http1.ignored_upgrades)
        // HTTP/1.0 has no upgrades (RFC 9110, section 7.8), HTTP/2 has not these.
        .filter(|_| head.version == Version::HTTP_11);
    let protected = match &settings.client_ip {
        ClientIpRule::Header { name, .. } => Some(&**name),
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

/// The methods that Envoy's HTTP/1 parser knows. CONNECT is none of them: it needs a rule for CONNECT,
/// which Gateway API does not have.
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
        &Method::CONNECT => Err(LocalReply {
            flag: "NR",
            ..LocalReply::new(StatusCode::NOT_FOUND, "route_not_found").closing()
        }),
        // The content type says what the query is written in (draft-ietf-httpbis-safe-method-w-body).
        method if method.as_str() == "QUERY" && head.headers.contains_key("content-type") => Ok(()),
        method if OTHERS.contains(&method.as_str()) => Ok(()),
        _ => Err(LocalReply::malformed("http1.codec_error")),
    }
}

fn check_framing(headers: &mut HeaderMap) -> Result<(), LocalReply> {
    let chunked = framing::is_chunked(headers).map_err(|BadCoding| {
        let details = "http1.invalid_transfer_encoding";
        LocalReply::codec_error(StatusCode::NOT_IMPLEMENTED, "Not Implemented", details)
    })?;
    let length = framing::canonical_length(headers)
        .map_err(|BadLength| LocalReply::malformed("http1.codec_error"))?;
    if chunked && length.is_some() {
        let details = "http1.content_length_and_chunked_not_allowed";
        return Err(LocalReply::malformed(details));
    }
    Ok(())
}

/// HTTP/1.0 has to be switched on.
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
