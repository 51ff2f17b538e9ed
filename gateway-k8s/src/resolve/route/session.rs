//! `sessionPersistence` of a rule (GEP-1619), with the fields of Gateway API 1.7 or of 1.6, which Envoy
//! Gateway 1.9 uses. In 1.6 the path of a cookie depends on the match; in 1.7 it is a field.

use std::time::Duration;

use http::HeaderName;
use http::header::{
    CONTENT_ENCODING, CONTENT_TYPE, COOKIE, LOCATION, SET_COOKIE, WWW_AUTHENTICATE,
};
use towergate_core::http::reserved::is_reserved;
use towergate_core::plan::Text;
use towergate_policy::common::DurationText;
use towergate_policy::session_persistence::{SessionCarrier, SessionPersistence};

use super::super::object_index::ObjectIndex;
use super::super::policy::session_keys::session_keys;
use super::RouteRef;
use crate::api::http_route;

/// The longest name of a session (schema of `cookie.name`), in characters.
const LONGEST_NAME: usize = 256;

/// Header fields with a fixed meaning in requests or responses, in addition to the reserved fields.
const WITH_MEANING: [HeaderName; 6] = [
    CONTENT_ENCODING,
    CONTENT_TYPE,
    COOKIE,
    LOCATION,
    SET_COOKIE,
    WWW_AUTHENTICATE,
];

/// The settings of rule `rule` of `route` as a policy, with the session keys of the operator.
///
/// # Errors
/// A clause without full stop that names the field.
pub(super) fn resolve(
    written: &http_route::SessionPersistence,
    index: &ObjectIndex<'_>,
    route: RouteRef<'_>,
    rule: usize,
) -> Result<SessionPersistence, String> {
    let absolute_timeout = duration("absoluteTimeout", written.absolute_timeout.as_ref())?;
    let idle_timeout = duration("idleTimeout", written.idle_timeout.as_ref())?;
    let CarrierFields {
        name_field,
        name,
        lifetime,
        path,
        header_type,
    } = CarrierFields::read(written)?;
    if let Some(name) = &name
        && (name.is_empty() || name.len() > LONGEST_NAME)
    {
        return Err(format!(
            "{name_field} must have 1 to {LONGEST_NAME} characters"
        ));
    }
    let name = name.unwrap_or_else(|| default_name(route, rule));
    let carrier = match header_type {
        true => header(name_field, &name)?,
        false => {
            check_cookie_name(name_field, &name)?;
            SessionCarrier::Cookie {
                name,
                permanent: is_permanent(lifetime, absolute_timeout)?,
                path: path.map(cookie_path).transpose()?,
            }
        }
    };
    let secret = index.options.session_keys.as_ref();
    let owner = format!("{} rule {rule}", route_name(route));
    let keys = session_keys(index, secret, &owner, "sessionPersistence");
    Ok(SessionPersistence {
        carrier,
        absolute_timeout,
        idle_timeout,
        keys: keys.map_err(|fault| fault.message)?,
    })
}

/// The settings for the cookie or header of a session, from the fields of Gateway API 1.6 or 1.7.
struct CarrierFields<'w> {
    /// The field of the name.
    name_field: &'static str,
    name: Option<String>,
    lifetime: Option<&'w str>,
    /// `None`: the path depends on the match, as in 1.6.
    path: Option<&'w str>,
    header_type: bool,
}

impl<'w> CarrierFields<'w> {
    fn read(written: &'w http_route::SessionPersistence) -> Result<Self, String> {
        let header_type = match written.kind.as_deref().unwrap_or("Cookie") {
            "Cookie" => false,
            "Header" => true,
            other => return Err(format!("type {other:?} is not supported")),
        };
        let newer = written.cookie.is_some() || written.header.is_some();
        let older = written.session_name.is_some() || written.cookie_config.is_some();
        match (newer, older) {
            (true, true) => Err(
                "sessionName and cookieConfig are the fields of Gateway API 1.6: use cookie or header in \
                 their place"
                    .to_owned(),
            ),
            (true, false) => Self::of_1_7(written, header_type),
            (false, _) => Self::of_1_6(written, header_type),
        }
    }

    fn of_1_7(
        written: &'w http_route::SessionPersistence,
        header_type: bool,
    ) -> Result<Self, String> {
        match (&written.cookie, &written.header, header_type) {
            (Some(cookie), None, false) => Ok(Self {
                name_field: "cookie.name",
                name: cookie.name.clone(),
                lifetime: cookie.lifetime_type.as_deref(),
                path: Some(cookie.path.as_deref().unwrap_or("/")),
                header_type,
            }),
            (None, Some(header), true) => Ok(Self {
                name_field: "header.name",
                name: Some(header.name.clone()),
                lifetime: None,
                path: None,
                header_type,
            }),
            (_, _, false) => Err("type Cookie requires cookie, without header".to_owned()),
            (_, _, true) => Err("type Header requires header, without cookie".to_owned()),
        }
    }

    fn of_1_6(
        written: &'w http_route::SessionPersistence,
        header_type: bool,
    ) -> Result<Self, String> {
        if header_type && written.cookie_config.is_some() {
            return Err("cookieConfig requires type Cookie".to_owned());
        }
        let config = written.cookie_config.as_ref();
        Ok(Self {
            name_field: "sessionName",
            name: written.session_name.clone(),
            lifetime: config.and_then(|config| config.lifetime_type.as_deref()),
            path: None,
            header_type,
        })
    }
}

/// Kind, namespace and name.
fn route_name(route: RouteRef<'_>) -> String {
    let (kind, meta) = (route.route_kind().word(), route.meta());
    format!("{kind} {}/{}", meta.namespace, meta.name)
}

/// The default name, as in Envoy Gateway. It is unique in the cluster, so that sessions of different rules do
/// not collide in a browser.
fn default_name(route: RouteRef<'_>, rule: usize) -> String {
    let (kind, meta) = (route.route_kind().word(), route.meta());
    format!("{kind}-{}-{}-rule-{rule}", meta.namespace, meta.name)
}

/// Checks the name of a cookie: a token, like the name of a field (RFC 6265, section 4.1.1).
fn check_cookie_name(field: &str, name: &str) -> Result<(), String> {
    match HeaderName::from_bytes(name.as_bytes()) {
        Ok(_) => Ok(()),
        Err(_) => Err(format!("{field} {name:?} is not a valid cookie name")),
    }
}

/// Whether a browser keeps the cookie after the browser is closed.
fn is_permanent(
    lifetime: Option<&str>,
    absolute_timeout: Option<Duration>,
) -> Result<bool, String> {
    match lifetime {
        None | Some("Session") => Ok(false),
        Some("Permanent") if absolute_timeout.is_some() => Ok(true),
        Some("Permanent") => Err("lifetimeType Permanent requires absoluteTimeout".to_owned()),
        Some(other) => Err(format!("lifetimeType {other:?} is not supported")),
    }
}

/// The `Path` attribute of a cookie (RFC 6265, sections 4.1.1 and 5.2.4: browsers ignore a path that
/// does not begin with a slash).
fn cookie_path(path: &str) -> Result<String, String> {
    let is_path_byte = |byte: u8| matches!(byte, b' '..=b'~') && byte != b';';
    match path.starts_with('/') && path.bytes().all(is_path_byte) {
        true => Ok(path.to_owned()),
        false => Err(format!("cookie.path {path:?} is not a path of a cookie")),
    }
}

fn header(field: &str, name: &str) -> Result<SessionCarrier, String> {
    let parsed = HeaderName::from_bytes(name.as_bytes());
    let parsed = parsed.map_err(|_| format!("{field} {name:?} is not a valid header name"))?;
    if is_reserved(&parsed) || WITH_MEANING.contains(&parsed) {
        return Err(format!("{field} {name:?} is a reserved header name"));
    }
    Ok(SessionCarrier::Header(Text::from(parsed)))
}

/// A duration of at least one second, the unit of cookies.
fn duration(field: &str, text: Option<&String>) -> Result<Option<Duration>, String> {
    let Some(text) = text else { return Ok(None) };
    let parsed = DurationText(text.clone()).parse();
    match parsed {
        None => Err(format!("{field} {text:?} is not a duration")),
        Some(time) if time < Duration::from_secs(1) => {
            Err(format!("{field} {text:?} is shorter than 1s"))
        }
        time => Ok(time),
    }
}
