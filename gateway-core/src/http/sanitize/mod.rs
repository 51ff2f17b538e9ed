//! Makes of a request's head what the rest of the gateway can rely on, or refuses it.
//!
//! [`request`] does what hyper leaves to its user. Afterwards there is, whatever the HTTP version:
//!
//! - a method of the registered ones, a target of path and query only, with the path in its one
//!   spelling (see [`path`](super::path));
//! - exactly one valid `Host`; the same as a [`Authority`] to match by;
//! - no field that belongs to the client's connection (see [`hop_by_hop`](super::hop_by_hop)), no
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
//! hyper answers some requests before this sees them, always with 400 and the end of the connection;
//! it cuts off a fragment, joins equal lengths, and takes a body with both framings as chunked and
//! ends the connection afterwards.

use http::header::{COOKIE, EXPECT, HOST, REFERER};
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version, request};

use super::client_ip::ClientIpRule;
use super::hop_by_hop::{self, BadCoding, BadLength, BadNomination};
use super::host::{Authority, BadAuthority};
use super::path::{self, Normalized};
use super::rejected::Rejected;
use super::upgrade::Upgrade;
use crate::plan::{HeaderSettings, ListenerSettings, Underscores};

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
/// [`Rejected`], which is the answer for the client: a refusal, or a redirect to the normal spelling of
/// the path. The request target is still as it was then; fields may be missing.
pub fn request(
    head: &mut request::Parts,
    settings: &ListenerSettings,
    tls: bool,
) -> Result<Sanitized, Rejected> {
    let version = head.version;
    clean(head, settings, tls).map_err(|rejected| {
        if is_multiplexed(version) {
            rejected.keep_open()
        } else {
            rejected
        }
    })
}

fn clean(
    head: &mut request::Parts,
    settings: &ListenerSettings,
    tls: bool,
) -> Result<Sanitized, Rejected> {
    let version = head.version;
    check_fields(&mut head.headers, version, settings.headers.underscores)?;
    check_method(head)?;
    check_framing(&mut head.headers)?;
    let target = split_target(head, tls)?;
    check_version(version, settings)?;

    let upgrade = Upgrade::take(&mut head.headers, &settings.http1.ignored_upgrades);
    strip_connection(&mut head.headers, &settings.client_ip)?;
    let authority = settle_authority(&mut head.headers, target.authority, version, settings)?;
    let expects_continue = take_expect(&mut head.headers)?;
    drop_bad_referer(&mut head.headers);
    if is_multiplexed(version) {
        // Cookies may come in crumbs, and HTTP/1 has one line (RFC 9113, section 8.2.3).
        join_lines(&mut head.headers, &COOKIE, b"; ");
    }
    settle_path(head, target.path, settings)?;

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

/// Removes what belongs to the client's connection.
fn strip_connection(headers: &mut HeaderMap, client_ip: &ClientIpRule) -> Result<(), Rejected> {
    let protected = match client_ip {
        ClientIpRule::Header { name, .. } => Some(&**name),
        ClientIpRule::Peer
        | ClientIpRule::TrustedHops { .. }
        | ClientIpRule::TrustedNetworks { .. } => None,
    };
    hop_by_hop::strip_request(headers, protected).map_err(|bad| match bad {
        BadNomination::Host => missing_host(),
        BadNomination::Protected => Rejected::malformed("http1.connection_header_rejected"),
    })
}

fn missing_host() -> Rejected {
    Rejected::refused(StatusCode::BAD_REQUEST, "missing_host_header")
}

fn bad_authority(_: BadAuthority) -> Rejected {
    Rejected::malformed("http.invalid_authority")
}

fn bad_path() -> Rejected {
    Rejected::refused(StatusCode::BAD_REQUEST, "path_normalization_failed")
}

/// Looks at every field once: underscores in names, and, as HTTP/2 has no parser that would strip
/// them, blanks around values (RFC 9113, section 8.2.1).
fn check_fields(
    headers: &mut HeaderMap,
    version: Version,
    underscores: Underscores,
) -> Result<(), Rejected> {
    let multiplexed = is_multiplexed(version);
    if underscores != Underscores::Allow && headers.keys().any(has_underscore) {
        if underscores == Underscores::Reject {
            return Err(Rejected::malformed(if multiplexed {
                "http2.unexpected_underscore"
            } else {
                "http1.unexpected_underscore"
            }));
        }
        let names: Vec<HeaderName> = headers
            .keys()
            .filter(|n| has_underscore(n))
            .cloned()
            .collect();
        for name in names {
            headers.remove(name);
        }
    }
    let is_blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let padded = |value: &HeaderValue| {
        is_blank(value.as_bytes().first()) || is_blank(value.as_bytes().last())
    };
    if multiplexed && headers.values().any(padded) {
        return Err(Rejected::malformed("http2.invalid.header.field"));
    }
    Ok(())
}

fn has_underscore(name: &HeaderName) -> bool {
    name.as_str().contains('_')
}

/// The methods that Envoy's HTTP/1 parser knows. CONNECT is none of them: it needs a rule for CONNECT,
/// which Gateway API does not have.
fn check_method(head: &request::Parts) -> Result<(), Rejected> {
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
        &Method::CONNECT => Err(Rejected {
            flag: "NR",
            ..Rejected::refused(StatusCode::NOT_FOUND, "route_not_found")
        }),
        // The content type says what the query is written in (draft-ietf-httpbis-safe-method-w-body).
        method if method.as_str() == "QUERY" && head.headers.contains_key("content-type") => Ok(()),
        method if OTHERS.contains(&method.as_str()) => Ok(()),
        _ => Err(Rejected::malformed("http1.codec_error")),
    }
}

fn check_framing(headers: &mut HeaderMap) -> Result<(), Rejected> {
    let chunked = hop_by_hop::is_chunked(headers).map_err(|BadCoding| {
        let details = "http1.invalid_transfer_encoding";
        Rejected::codec(StatusCode::NOT_IMPLEMENTED, "Not Implemented", details)
    })?;
    let length = hop_by_hop::canonical_length(headers)
        .map_err(|BadLength| Rejected::malformed("http1.codec_error"))?;
    if chunked && length.is_some() {
        let details = "http1.content_length_and_chunked_not_allowed";
        return Err(Rejected::malformed(details));
    }
    Ok(())
}

/// HTTP/1.0 has to be switched on.
fn check_version(version: Version, settings: &ListenerSettings) -> Result<(), Rejected> {
    if version < Version::HTTP_11 && settings.http1.http10.is_none() {
        let status = StatusCode::UPGRADE_REQUIRED;
        return Err(Rejected::codec(status, "Upgrade Required", "low_version"));
    }
    Ok(())
}

/// What a request target consists of.
struct Target {
    /// From an absolute target, or `:authority`.
    authority: Option<HeaderValue>,
    path: PathAndQuery,
}

/// Splits the target.
fn split_target(head: &request::Parts, tls: bool) -> Result<Target, Rejected> {
    let parts = head.uri.clone().into_parts();
    if !is_multiplexed(head.version) {
        match &parts.scheme {
            Some(scheme) if *scheme == Scheme::HTTPS && !tls => {
                let details = "http1.https_url_on_plaintext_connection";
                return Err(Rejected::codec(StatusCode::FORBIDDEN, "Forbidden", details));
            }
            Some(scheme) if *scheme != Scheme::HTTP && *scheme != Scheme::HTTPS => {
                return Err(Rejected::malformed("http1.invalid_url"));
            }
            // `GET a.test:80`, which only CONNECT may have.
            None if parts.authority.is_some() => {
                return Err(Rejected::malformed("http1.codec_error"));
            }
            _ => {}
        }
    }
    let path = match parts.path_and_query {
        Some(path) if path.as_str() == "*" => return Err(bad_asterisk(&head.method)),
        Some(path) if path.as_str().starts_with('/') => path,
        // `http://a.test` and `http://a.test?q`.
        path if parts.authority.is_some() => {
            let query = path.as_ref().map_or("", PathAndQuery::as_str);
            PathAndQuery::try_from(format!("/{query}"))
                .map_err(|_| Rejected::malformed("http1.invalid_url"))?
        }
        _ => return Err(Rejected::malformed("http1.codec_error")),
    };
    let authority = parts
        .authority
        .map(|authority| HeaderValue::try_from(authority.as_str()))
        .transpose()
        .map_err(|_| bad_authority(BadAuthority))?;
    Ok(Target { authority, path })
}

/// `*` is the server as a whole, of which there are many behind a gateway.
fn bad_asterisk(method: &Method) -> Rejected {
    if method == Method::OPTIONS {
        Rejected::refused(StatusCode::NOT_FOUND, "absolute_path_rejected").keep_open()
    } else {
        Rejected::malformed("http1.invalid_url")
    }
}

/// Leaves exactly one `Host`, and parses it. What the target says goes before `Host` (RFC 9112,
/// section 3.2.2); in HTTP/2 both have to agree.
fn settle_authority(
    headers: &mut HeaderMap,
    target: Option<HeaderValue>,
    version: Version,
    settings: &ListenerSettings,
) -> Result<Authority, Rejected> {
    let mut lines = headers.get_all(HOST).iter();
    let sent = lines.next();
    if lines.next().is_some() {
        return Err(bad_authority(BadAuthority));
    }
    let text = match (target, sent) {
        (Some(target), None) if version == Version::HTTP_11 => {
            drop(target);
            return Err(missing_host());
        }
        (Some(target), Some(sent)) if is_multiplexed(version) && target != *sent => {
            let conflict = || bad_authority(BadAuthority);
            let one = Authority::parse(&target).map_err(|_| conflict())?;
            let other = Authority::parse(sent).map_err(|_| conflict())?;
            one.agrees_with(&other)
                .then_some(target)
                .ok_or_else(conflict)?
        }
        (Some(target), _) => target,
        (None, Some(sent)) if !sent.is_empty() => sent.clone(),
        (None, None) if version < Version::HTTP_11 => default_host(settings)?,
        (None, _) => return Err(missing_host()),
    };
    let authority = Authority::parse(&text).map_err(bad_authority)?;
    let authority = strip_dot(authority, &settings.headers)?;
    if headers.get(HOST) != Some(authority.as_header()) {
        headers.insert(HOST, authority.as_header().clone());
    }
    Ok(authority)
}

fn strip_dot(authority: Authority, settings: &HeaderSettings) -> Result<Authority, Rejected> {
    if settings.strip_trailing_host_dot {
        authority.without_trailing_dot().map_err(bad_authority)
    } else {
        Ok(authority)
    }
}

/// The host of HTTP/1.0 requests that name none.
fn default_host(settings: &ListenerSettings) -> Result<HeaderValue, Rejected> {
    let http10 = settings.http1.http10.as_ref();
    http10
        .and_then(|http10| http10.default_host.as_deref())
        .and_then(|host| HeaderValue::from_str(host).ok())
        .ok_or_else(missing_host)
}

/// Puts the normal spelling of the path into the head.
fn settle_path(
    head: &mut request::Parts,
    sent: PathAndQuery,
    settings: &ListenerSettings,
) -> Result<(), Rejected> {
    let normal = path::normalize(sent.as_str(), &settings.path).map_err(|_| bad_path())?;
    let path = match normal {
        Normalized::Unchanged => sent,
        Normalized::Changed(path) => PathAndQuery::try_from(path).map_err(|_| bad_path())?,
        // gRPC clients do not follow redirects.
        Normalized::Redirect(_) if is_grpc(&head.headers) => return Err(bad_path()),
        Normalized::Redirect(to) => {
            let to = HeaderValue::try_from(to).map_err(|_| bad_path())?;
            return Err(Rejected::redirect(to));
        }
    };
    head.uri = Uri::from(path);
    Ok(())
}

fn is_grpc(headers: &HeaderMap) -> bool {
    headers
        .get(http::header::CONTENT_TYPE)
        .and_then(|kind| kind.as_bytes().strip_prefix(b"application/grpc"))
        .is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// Takes `Expect: 100-continue` out, and refuses any other expectation (RFC 9110, section 10.1.1).
fn take_expect(headers: &mut HeaderMap) -> Result<bool, Rejected> {
    if !headers.contains_key(EXPECT) {
        return Ok(false);
    }
    let known = |line: &HeaderValue| line.as_bytes().eq_ignore_ascii_case(b"100-continue");
    if !headers.get_all(EXPECT).iter().all(known) {
        let status = StatusCode::EXPECTATION_FAILED;
        return Err(Rejected::codec(
            status,
            "Expectation Failed",
            "unknown_expectation",
        ));
    }
    headers.remove(EXPECT);
    Ok(true)
}

/// Drops a `Referer` that is no URI reference, or has user information or a fragment (RFC 9110,
/// section 10.1.3).
fn drop_bad_referer(headers: &mut HeaderMap) {
    if !headers.contains_key(REFERER) {
        return;
    }
    join_lines(headers, &REFERER, b",");
    if !headers.get(REFERER).is_some_and(is_good_referer) {
        headers.remove(REFERER);
    }
}

fn is_good_referer(value: &HeaderValue) -> bool {
    let Ok(text) = value.to_str() else {
        return false;
    };
    if text.contains(['#', ' ', '\t']) {
        return false;
    }
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.starts_with('/');
    };
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let relative = text.starts_with('/');
    let named = !scheme.is_empty()
        && scheme
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'+');
    relative || (named && !authority.is_empty() && !authority.contains('@'))
}

/// Makes one line of all lines of a name.
fn join_lines(headers: &mut HeaderMap, name: &HeaderName, separator: &[u8]) {
    if headers.get_all(name).iter().nth(1).is_none() {
        return;
    }
    let lines: Vec<&[u8]> = headers
        .get_all(name)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    let joined = HeaderValue::from_bytes(&lines.join(separator))
        .expect("values joined by visible ASCII are a value");
    headers.insert(name, joined);
}

#[cfg(test)]
mod tests;
