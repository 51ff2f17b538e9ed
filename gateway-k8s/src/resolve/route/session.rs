//! `sessionPersistence` of a rule (GEP-1619).

use std::time::Duration;

use http::HeaderName;
use towergate_core::plan::Text;
use towergate_policy::common::DurationText;
use towergate_policy::session_persistence::{SessionCarrier, SessionPersistence};

use super::super::object_index::ObjectIndex;
use super::super::policy::session_keys::session_keys;
use super::RouteRef;
use crate::api::http_route;

/// The longest name of a session (schema of `sessionName`), in characters.
const LONGEST_NAME: usize = 128;

/// Fields that frame or route a message, or that have a fixed meaning in responses.
const RESERVED: [&str; 15] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "host",
    "keep-alive",
    "location",
    "proxy-connection",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "www-authenticate",
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
    let name = match &written.session_name {
        Some(name) if name.is_empty() || name.len() > LONGEST_NAME => {
            let message = format!("sessionName must have 1 to {LONGEST_NAME} characters");
            return Err(message);
        }
        Some(name) => name.clone(),
        None => default_name(route, rule),
    };
    let lifetime = written.cookie_config.as_ref();
    let lifetime = lifetime.map(|config| config.lifetime_type.as_deref());
    let carrier = match (written.kind.as_deref().unwrap_or("Cookie"), lifetime) {
        ("Cookie", lifetime) => cookie(name, lifetime.flatten(), absolute_timeout)?,
        ("Header", None) => header(&name)?,
        ("Header", Some(_)) => return Err("cookieConfig requires type Cookie".to_owned()),
        (other, _) => return Err(format!("type {other:?} is not supported")),
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

/// Kind, namespace and name.
fn route_name(route: RouteRef<'_>) -> String {
    let (kind, meta) = (route.route_kind().word(), route.meta());
    format!("{kind} {}/{}", meta.namespace, meta.name)
}

/// Envoy Gateway's name: unique in the cluster, so that sessions of different rules do not collide
/// in a browser.
fn default_name(route: RouteRef<'_>, rule: usize) -> String {
    let (kind, meta) = (route.route_kind().word(), route.meta());
    format!("{kind}-{}-{}-rule-{rule}", meta.namespace, meta.name)
}

fn cookie(
    name: String,
    lifetime: Option<&str>,
    absolute_timeout: Option<Duration>,
) -> Result<SessionCarrier, String> {
    // RFC 6265, section 4.1.1: the name of a cookie is a token, like the name of a field.
    if HeaderName::from_bytes(name.as_bytes()).is_err() {
        return Err(format!("sessionName {name:?} is not a valid cookie name"));
    }
    let permanent = match lifetime {
        None | Some("Session") => false,
        Some("Permanent") if absolute_timeout.is_some() => true,
        Some("Permanent") => {
            return Err("lifetimeType Permanent requires absoluteTimeout".to_owned());
        }
        Some(other) => return Err(format!("lifetimeType {other:?} is not supported")),
    };
    Ok(SessionCarrier::Cookie { name, permanent })
}

fn header(name: &str) -> Result<SessionCarrier, String> {
    let parsed = HeaderName::from_bytes(name.as_bytes());
    let parsed = parsed.map_err(|_| format!("sessionName {name:?} is not a valid header name"))?;
    if RESERVED.contains(&parsed.as_str()) {
        return Err(format!("sessionName {name:?} is a reserved header name"));
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
