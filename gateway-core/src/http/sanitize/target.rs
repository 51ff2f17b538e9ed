//! Sanitizing of the request target and `Host`.

use http::header::HOST;
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, Version, request};

use super::{is_multiplexed, malformed};
use crate::LocalReply;
use crate::http::grpc::is_grpc;
use crate::http::host::{Authority, BadAuthority};
use crate::http::path::{self, ComparedPath, Normalized};
use crate::http::settings::{HeaderSettings, ListenerSettings};

/// Components of a request target.
pub(super) struct RequestTarget {
    /// Authority of an absolute target, or `:authority`.
    pub(super) authority: Option<HeaderValue>,
    pub(super) path: PathAndQuery,
}

/// Splits the request target. Rejects targets that are valid only in requests to a forward proxy.
pub(super) fn split_target(head: &request::Parts, tls: bool) -> Result<RequestTarget, LocalReply> {
    let parts = head.uri.clone().into_parts();
    if !is_multiplexed(head.version) {
        match &parts.scheme {
            Some(scheme) if *scheme == Scheme::HTTPS && !tls => {
                let details = "http1.https_url_on_plaintext_connection";
                return Err(LocalReply::codec_error(
                    StatusCode::FORBIDDEN,
                    "Forbidden",
                    details,
                ));
            }
            Some(scheme) if *scheme != Scheme::HTTP && *scheme != Scheme::HTTPS => {
                return Err(LocalReply::malformed("http1.invalid_url"));
            }
            // The authority form, such as `GET a.test:80`, is valid only for CONNECT.
            None if parts.authority.is_some() => {
                return Err(LocalReply::malformed("http1.codec_error"));
            }
            _ => {}
        }
    }
    let path = match parts.path_and_query {
        Some(path) if path.as_str() == "*" => return Err(bad_asterisk(head)),
        Some(path) if path.as_str().starts_with('/') => path,
        // `:path` must begin with a slash (RFC 9113, section 8.3.1).
        Some(_) if is_multiplexed(head.version) => {
            return Err(malformed(head.version, "http1.invalid_url"));
        }
        // An absolute target without a path, such as `http://a.test` or `http://a.test?q`, has the path `/`.
        path if parts.authority.is_some() => {
            let query = path.as_ref().map_or("", PathAndQuery::as_str);
            PathAndQuery::try_from(format!("/{query}"))
                .map_err(|_| malformed(head.version, "http1.invalid_url"))?
        }
        _ => return Err(malformed(head.version, "http1.codec_error")),
    };
    let authority = parts
        .authority
        .map(|authority| HeaderValue::try_from(authority.as_str()))
        .transpose()
        .map_err(|_| bad_authority(BadAuthority))?;
    Ok(RequestTarget { authority, path })
}

/// Returns the target of a CONNECT request, which must consist of a host and a port (RFC 9110, section 9.3.6;
/// RFC 9113, section 8.5).
pub(super) fn connect_target(head: &request::Parts) -> Result<HeaderValue, LocalReply> {
    let uri = &head.uri;
    let alone = uri.scheme().is_none() && uri.path_and_query().is_none();
    let authority = uri
        .authority()
        .filter(|authority| alone && authority.port().is_some());
    let authority = authority.ok_or_else(|| malformed(head.version, "http1.codec_error"))?;
    HeaderValue::try_from(authority.as_str()).map_err(|_| bad_authority(BadAuthority))
}

/// The rejection of a target in asterisk form, which addresses the server as a whole and not a route.
fn bad_asterisk(head: &request::Parts) -> LocalReply {
    if head.method == Method::OPTIONS {
        LocalReply::new(StatusCode::NOT_FOUND, "absolute_path_rejected")
    } else {
        malformed(head.version, "http1.invalid_url")
    }
}

/// Reduces `Host` to exactly one valid field, and parses it. In HTTP/1 the authority of the target takes
/// precedence over `Host` (RFC 9112, section 3.2.2); in HTTP/2 the authority and `Host` must be equal.
pub(super) fn settle_authority(
    headers: &mut HeaderMap,
    target: Option<HeaderValue>,
    version: Version,
    settings: &ListenerSettings,
) -> Result<Authority, LocalReply> {
    let mut lines = headers.get_all(HOST).iter();
    let sent = lines.next();
    if lines.next().is_some() {
        return Err(bad_authority(BadAuthority));
    }
    let text = match (target, sent) {
        (Some(_), None) if version == Version::HTTP_11 => return Err(missing_host()),
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
    if sent != Some(authority.as_header()) {
        headers.insert(HOST, authority.as_header().clone());
    }
    Ok(authority)
}

fn strip_dot(authority: Authority, settings: &HeaderSettings) -> Result<Authority, LocalReply> {
    if settings.strip_trailing_host_dot {
        authority.without_trailing_dot().map_err(bad_authority)
    } else {
        Ok(authority)
    }
}

/// Host of an HTTP/1.0 request without `Host`.
fn default_host(settings: &ListenerSettings) -> Result<HeaderValue, LocalReply> {
    let http10 = settings.http1.http10.as_ref();
    http10
        .and_then(|http10| http10.default_host.as_deref())
        .and_then(|host| HeaderValue::from_str(host).ok())
        .ok_or_else(missing_host)
}

/// Replaces the target of the head by the normalised path and query. If rules are compared with other forms of the
/// path, the forms are added to the extensions.
pub(super) fn settle_path(
    head: &mut request::Parts,
    sent: PathAndQuery,
    settings: &ListenerSettings,
) -> Result<(), LocalReply> {
    let normal = path::normalize(sent.as_str(), &settings.path).map_err(|_| bad_path())?;
    let path = match normal {
        Normalized::Unchanged => sent,
        Normalized::Changed(path) => PathAndQuery::try_from(path).map_err(|_| bad_path())?,
        // gRPC clients do not follow redirects.
        Normalized::Redirect(_) if is_grpc(&head.headers) => return Err(bad_path()),
        Normalized::Redirect(to) => {
            let to = HeaderValue::try_from(to).map_err(|_| bad_path())?;
            return Err(LocalReply::redirect(
                StatusCode::TEMPORARY_REDIRECT,
                to,
                "path_normalization_failed",
            ));
        }
    };
    let compared = ComparedPath::of(path.path(), settings.decoded_paths).map_err(|_| bad_path())?;
    if let Some(compared) = compared {
        head.extensions.insert(compared);
    }
    head.uri = Uri::from(path);
    Ok(())
}

/// Local reply to a request without a host.
pub(super) fn missing_host() -> LocalReply {
    LocalReply::new(StatusCode::BAD_REQUEST, "missing_host_header").closing()
}

fn bad_authority(_: BadAuthority) -> LocalReply {
    LocalReply::malformed("http.invalid_authority")
}

fn bad_path() -> LocalReply {
    LocalReply::new(StatusCode::BAD_REQUEST, "path_normalization_failed").closing()
}
