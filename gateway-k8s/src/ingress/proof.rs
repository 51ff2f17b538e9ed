//! Proof of a translation: generated requests, and the comparison of the responses of ingress-nginx and of
//! the gateway.
//!
//! ```text
//! Manifests ─┬─ requests ──> IngressNginx::answer ──┐
//!            └─ prepare ───> the data plane ────────┴─ compare ──> differences, the smallest first
//! ```
//!
//! The caller runs the data plane, with backends that report what they received.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde_json::{Value, json};
use towergate_policy::backend_traffic::LOCAL_RATE_LIMIT;

use super::model::{
    AuthCall, IngressNginx, ModelAnswer, ModelEffects, ModelRequest, auth_service, normalise,
};
use super::output::OutputObjects;
use super::proof_report::{Difference, aspects};
pub(crate) use super::proof_requests::host_samples;
pub use super::proof_requests::{requests, with_decisions};
use super::servers::BackendPort;
use super::value::url;
use super::verdict::Aspect;
use crate::objects::ObjectKey;
use crate::yaml;

/// A client address that is unlikely to be in a list of networks.
pub const STRANGER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 99));

/// The response of the data plane, and what the servers behind it received.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Observed {
    /// Status.
    pub status: u16,
    /// `Location` of the response.
    pub location: Option<String>,
    /// Service that received the request, as `namespace/name`.
    pub backend: Option<String>,
    /// Request target that the Service received.
    pub target: Option<String>,
    /// Header fields of the response, with names in lower case.
    pub headers: Vec<(String, String)>,
    /// Header fields that the backend received, with names in lower case.
    pub received: Vec<(String, String)>,
    /// Calls of an authentication server.
    pub auth_calls: Vec<AuthCall>,
}

/// The request on one line.
pub fn describe(request: &ModelRequest) -> String {
    let scheme = if request.https { "https" } else { "http" };
    let host = request.header("host").unwrap_or_default();
    let mut text = format!("{} {scheme}://{host}{}", request.method, request.target);
    for (name, value) in request.headers.iter().filter(|(name, _)| name != "Host") {
        text.push_str(&format!(" {name}: {value}"));
    }
    if request.client != STRANGER {
        text.push_str(&format!(" from {}", request.client));
    }
    if let Some(status) = request.auth_status {
        text.push_str(&format!(" {}", decision(status)));
    }
    text
}

/// The decision of the authentication server, as part of a request.
pub(super) fn decision(status: u16) -> String {
    format!("(the authentication server returns {status})")
}

/// Compares the two responses and the `effects` of settings. `None`: the responses and effects are equal.
pub fn compare(
    request: &ModelRequest,
    expected: &ModelAnswer,
    effects: &ModelEffects,
    found: &Observed,
) -> Option<Difference> {
    let same = match expected {
        ModelAnswer::Proxy {
            backends, target, ..
        } => {
            let backend = found.backend.as_deref();
            let one = backends
                .iter()
                .any(|port| Some(port.service.to_string().as_str()) == backend);
            one && found.target.as_deref().map(decoded) == Some(decoded(target))
        }
        ModelAnswer::Reply { status, location } => {
            found.backend.is_none()
                && found.status == *status
                && location_of(location.as_deref()) == location_of(found.location.as_deref())
        }
    };
    let mut difference = Difference {
        request: describe(request),
        expected: expectation(expected),
        found: observation(found),
        ..Difference::default()
    };
    if !same {
        difference.aspects = aspects(expected, found);
    } else {
        add_effects(effects, found, &mut difference);
    }
    (!difference.aspects.is_empty()).then_some(difference)
}

/// The address of a redirect in the form in which both sides are compared: without the default port of the
/// scheme and without a final slash, which ingress-nginx removes, and with a decoded path.
fn location_of(location: Option<&str>) -> Option<String> {
    let location = location?;
    let Some(parts) = url(location) else {
        return Some(decoded(location).trim_end_matches('/').to_owned());
    };
    let port = parts.port.filter(|port| !matches!(port, 80 | 443));
    let target = decoded(&parts.target());
    let target = target.trim_end_matches('/');
    Some(format!("{}://{}{port:?}{target}", parts.scheme, parts.host))
}

/// A target with a decoded path. Undecoded paths differ, because ingress-nginx forwards the path unchanged
/// and the gateway normalises it.
fn decoded(target: &str) -> String {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    let path = normalise(path).unwrap_or_else(|| path.to_owned());
    match query {
        Some(query) => format!("{path}?{query}"),
        None => path,
    }
}

/// Adds the settings whose effects differ to `difference`. The responses themselves must be equal.
fn add_effects(effects: &ModelEffects, found: &Observed, difference: &mut Difference) {
    let mut add = |aspect, (expected, found): (String, String)| {
        difference.aspects.push(aspect);
        difference.expected.push_str(&format!("; {expected}"));
        difference.found.push_str(&format!("; {found}"));
    };
    if let Some(text) = auth_difference(effects.auth_call.as_ref(), &found.auth_calls) {
        add(Aspect::Calls, text);
    }
    let edits = |fields: &[(String, String)], set: &[(String, String)], absent: &[String]| {
        let values = |name: &str| {
            let own = fields
                .iter()
                .filter(|(known, _)| known.eq_ignore_ascii_case(name));
            own.map(|(_, value)| value.clone()).collect::<Vec<_>>()
        };
        let set = set.iter().filter_map(|(name, value)| {
            let found = values(name);
            let text = format!("{name}: {value}");
            let other = format!(
                "{name}: {}",
                if found.is_empty() {
                    "absent".to_owned()
                } else {
                    found.join(", ")
                }
            );
            (!found.contains(value)).then_some((text, other))
        });
        let absent = absent.iter().filter_map(|name| {
            let found = values(name);
            let text = (
                format!("{name}: absent"),
                format!("{name}: {}", found.join(", ")),
            );
            (!found.is_empty()).then_some(text)
        });
        set.chain(absent).collect::<Vec<_>>()
    };
    let (response, hidden) = (&effects.response_headers, &effects.hidden_headers);
    for text in edits(&found.headers, response, hidden) {
        add(Aspect::ResponseHeaders, text);
    }
    let (request_headers, removed) = (&effects.request_headers, &effects.removed_request_headers);
    for (expected, found) in edits(&found.received, request_headers, removed) {
        let text = |text| format!("backend receives {text}");
        add(Aspect::RequestHeaders, (text(expected), text(found)));
    }
}

/// The expected and the actual calls of an authentication server, as text. `None`: the calls are equal.
fn auth_difference(expected: Option<&AuthCall>, found: &[AuthCall]) -> Option<(String, String)> {
    let same = match (expected, found) {
        (None, []) => true,
        (Some(expected), [found]) => {
            found.host == expected.host
                && found.target == expected.target
                && (expected.service.is_none() || found.service == expected.service)
        }
        _ => false,
    };
    let text = |call: &AuthCall| {
        let service = call
            .service
            .as_ref()
            .map(|service| format!(" at {service}"));
        let service = service.unwrap_or_default();
        format!("authentication by {}{}{service}", call.host, call.target)
    };
    let texts = |calls: &[AuthCall]| match calls {
        [] => "no authentication server is called".to_owned(),
        calls => calls.iter().map(text).collect::<Vec<_>>().join(", "),
    };
    let expected = expected.map(std::slice::from_ref).unwrap_or_default();
    (!same).then(|| (texts(expected), texts(found)))
}

fn expectation(answer: &ModelAnswer) -> String {
    match answer {
        ModelAnswer::Reply { status, location } => match location {
            Some(location) => format!("{status} to {location}"),
            None => status.to_string(),
        },
        ModelAnswer::Proxy {
            backends, target, ..
        } => {
            let names: Vec<String> = backends
                .iter()
                .map(|port| port.service.to_string())
                .collect();
            format!("{} receives {target}", names.join(" or "))
        }
    }
}

fn observation(found: &Observed) -> String {
    match (&found.backend, &found.location) {
        (Some(backend), _) => {
            format!(
                "{backend} receives {}",
                found.target.as_deref().unwrap_or_default()
            )
        }
        (None, Some(location)) => format!("{} to {location}", found.status),
        (None, None) => found.status.to_string(),
    }
}

/// The manifests of a translation for the proof. Listeners have no TLS. Rate limits are removed, because they
/// would count the generated requests. Listeners of single hosts are removed, because listeners of one port
/// without TLS share their settings. Their routes are attached to the shared listener instead.
pub fn prepare(objects: &OutputObjects) -> String {
    let mut text = String::new();
    let gateway = objects.iter().find(|object| object.kind == "Gateway");
    let gateway = gateway.map(|object| object.key.clone()).unwrap_or_default();
    for object in objects.iter() {
        let mut value = object.value.clone();
        match object.kind.as_str() {
            "ListenerSet" => continue,
            "ClientTrafficPolicy" if is_of_host(&value["spec"]["targetRefs"][0]) => continue,
            "ClientTrafficPolicy" => {
                if let Some(spec) = value["spec"].as_object_mut() {
                    spec.remove("tls");
                }
            }
            "Gateway" => plain_listeners(&mut value),
            "HTTPRoute" | "GRPCRoute" => share_parents(&mut value, &gateway),
            // The backends of a proof have no TLS.
            "BackendTLSPolicy" => continue,
            "BackendTrafficPolicy" => {
                if let Some(spec) = value["spec"].as_object_mut() {
                    spec.remove("rateLimit");
                }
                if let Some(annotations) = value["metadata"]["annotations"].as_object_mut() {
                    annotations.remove(LOCAL_RATE_LIMIT);
                }
            }
            _ => {}
        }
        text.push_str("---\n");
        text.push_str(&yaml::write(&value));
    }
    text
}

/// Whether the translation has a listener for HTTPS.
pub fn has_https(objects: &OutputObjects) -> bool {
    let mut gateways = objects.iter().filter(|object| object.kind == "Gateway");
    gateways.any(|gateway| {
        let listeners = gateway.value["spec"]["listeners"].as_array();
        let mut listeners = listeners.into_iter().flatten();
        listeners.any(|listener| listener["protocol"] == "HTTPS")
    })
}

/// Whether a reference names a listener for HTTPS of a single host.
fn is_of_host(reference: &Value) -> bool {
    let section = reference["sectionName"].as_str().unwrap_or_default();
    reference["kind"] == "ListenerSet" || section.starts_with(HOST_LISTENER)
}

/// Start of the names of listeners for HTTPS of a single host.
const HOST_LISTENER: &str = "https-";

/// Replaces a route's references to listeners of single hosts by a reference to the shared listener.
fn share_parents(route: &mut Value, gateway: &ObjectKey) {
    let Some(parents) = route["spec"]["parentRefs"].as_array_mut() else {
        return;
    };
    for parent in parents.iter_mut().filter(|parent| is_of_host(parent)) {
        *parent = json!({
            "name": gateway.name, "namespace": gateway.namespace, "sectionName": "https",
        });
    }
    parents.dedup();
}

fn plain_listeners(gateway: &mut Value) {
    let Some(listeners) = gateway["spec"]["listeners"].as_array_mut() else {
        return;
    };
    listeners.retain(|listener| {
        let name = listener["name"].as_str().unwrap_or_default();
        !name.starts_with(HOST_LISTENER)
    });
    for listener in listeners {
        if listener["protocol"] == "HTTPS"
            && let Some(listener) = listener.as_object_mut()
        {
            listener.remove("tls");
            listener.insert("protocol".to_owned(), "HTTP".into());
        }
    }
}

/// Services that the routes use and the manifests do not contain, with their ports. Empty if the manifests
/// describe a whole cluster: a Service that they do not contain then does not exist.
fn missing(nginx: &IngressNginx<'_>) -> BTreeMap<ObjectKey, BTreeSet<u16>> {
    let mut missing: BTreeMap<ObjectKey, BTreeSet<u16>> = BTreeMap::new();
    if nginx.is_complete() {
        return missing;
    }
    for port in service_ports(nginx) {
        // The translation writes port 80 if the number is unknown.
        let number = port.port.parse::<u16>().unwrap_or(80);
        if !nginx.has_service(&port.service) {
            missing.entry(port.service).or_default().insert(number);
        }
    }
    missing
}

/// Services that the manifests do not contain and the proof assumes to exist.
pub fn assumed_services(nginx: &IngressNginx<'_>) -> Vec<String> {
    missing(nginx).keys().map(ObjectKey::to_string).collect()
}

/// Manifests of the Services that the proof assumes to exist.
pub fn missing_services(nginx: &IngressNginx<'_>) -> String {
    let missing = missing(nginx);
    let mut text = String::new();
    for (service, numbers) in missing {
        let ports: Vec<Value> = numbers
            .iter()
            .map(|number| json!({"name": format!("p{number}"), "port": number}))
            .collect();
        let value = json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": service.name, "namespace": service.namespace},
            "spec": {"ports": ports},
        });
        text.push_str("---\n");
        text.push_str(&yaml::write(&value));
    }
    text
}

/// Ports of Services that receive requests, or calls of an authentication server.
pub fn service_ports(nginx: &IngressNginx<'_>) -> BTreeSet<BackendPort> {
    let servers = nginx.servers().iter();
    let locations = servers.flat_map(|server| {
        let locations = server.locations.iter();
        locations.map(move |location| (server, location))
    });
    locations
        .flat_map(|(server, location)| {
            let canary = location
                .canary
                .as_ref()
                .map(|canary| canary.backend.clone());
            let fallback = nginx.fallback_of(location);
            let settings = nginx.settings(location);
            let auth = settings.and_then(|settings| settings.external_auth.as_ref());
            let auth = auth.and_then(|auth| auth_service(auth, server));
            let own = location.backend.clone().into_iter();
            own.chain(canary).chain(fallback).chain(auth)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxied(status: u16) -> (ModelRequest, ModelAnswer) {
        let request = ModelRequest {
            https: false,
            method: "GET".to_owned(),
            target: "/".to_owned(),
            headers: vec![("Host".to_owned(), "app.test".to_owned())],
            client: STRANGER,
            body_len: 0,
            http10: false,
            certificate: None,
            auth_status: Some(status),
        };
        let answer = ModelAnswer::Proxy {
            backends: vec![BackendPort {
                service: ObjectKey::new("apps", "app"),
                port: "80".to_owned(),
            }],
            target: "/".to_owned(),
            asks: false,
        };
        (request, answer)
    }

    fn observed() -> Observed {
        Observed {
            status: 200,
            backend: Some("apps/app".to_owned()),
            target: Some("/".to_owned()),
            ..Observed::default()
        }
    }

    #[test]
    fn a_call_of_the_authentication_server_that_is_absent_is_a_difference() {
        let (request, answer) = proxied(200);
        let call = AuthCall {
            service: None,
            host: "auth.test".to_owned(),
            target: "/check".to_owned(),
        };
        let effects = ModelEffects {
            auth_call: Some(call.clone()),
            ..ModelEffects::default()
        };
        let called = Observed {
            auth_calls: vec![call],
            ..observed()
        };

        assert_eq!(compare(&request, &answer, &effects, &called), None);
        let difference = compare(&request, &answer, &effects, &observed()).expect("it differs");

        assert_eq!(difference.aspects, [Aspect::Calls]);
        assert!(
            difference
                .found
                .ends_with("no authentication server is called")
        );
        assert!(
            difference
                .request
                .ends_with("(the authentication server returns 200)")
        );
    }

    #[test]
    fn header_edits_of_both_directions_are_compared() {
        let (request, answer) = proxied(200);
        let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let effects = ModelEffects {
            response_headers: vec![field("X-A", "1")],
            hidden_headers: vec!["X-B".to_owned()],
            request_headers: vec![field("X-C", "3")],
            removed_request_headers: vec!["X-D".to_owned()],
            ..ModelEffects::default()
        };
        let same = Observed {
            headers: vec![field("x-a", "1")],
            received: vec![field("x-c", "3")],
            ..observed()
        };
        let other = Observed {
            headers: vec![field("x-b", "2")],
            received: vec![field("x-c", "4"), field("x-d", "5")],
            ..observed()
        };

        assert_eq!(compare(&request, &answer, &effects, &same), None);
        let difference = compare(&request, &answer, &effects, &other).expect("it differs");

        assert_eq!(
            difference.found,
            "apps/app receives /; X-A: absent; X-B: 2; backend receives X-C: 4; backend receives X-D: 5"
        );
    }
}
