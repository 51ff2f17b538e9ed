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

use ipnet::IpNet;
use serde_json::{Value, json};
use towergate_policy::backend_traffic::LOCAL_RATE_LIMIT;

use super::model::{IngressNginx, ModelAnswer, ModelRequest, normalise};
use super::output::OutputObjects;
use super::proof_report::Difference;
use super::servers::{BackendPort, Location, Server};
use super::settings::IngressSettings;
use super::value::url;
use crate::objects::ObjectKey;
use crate::yaml;

/// A client address that is unlikely to be in a list of networks.
pub const STRANGER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 99));

/// The response of the data plane.
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
}

/// Requests for every host and path: boundary paths, encodings, methods, canaries and clients.
pub fn requests(nginx: &IngressNginx<'_>) -> Vec<ModelRequest> {
    let mut all = Vec::new();
    for server in nginx.servers() {
        for host in host_samples(server) {
            for https in [false, true] {
                for location in &server.locations {
                    of_location(nginx, server, location, &host, https, &mut all);
                }
                all.push(get(https, &host, "/no-such-path/x", STRANGER));
            }
        }
    }
    let mut seen = BTreeSet::new();
    all.retain(|request| seen.insert(describe(request)));
    all
}

/// A name for each pattern of a server. The catch-all server gets a name that no other server has.
pub(super) fn host_samples(server: &Server) -> Vec<String> {
    if server.host.is_empty() {
        return vec!["unknown.invalid".to_owned()];
    }
    let names = std::iter::once(&server.host).chain(&server.aliases);
    let sample = |name: &String| match name.strip_prefix("*.") {
        Some(rest) => format!("sample.{rest}"),
        None => name.clone(),
    };
    names
        .map(sample)
        .chain(server.redirect_from.clone())
        .collect()
}

fn get(https: bool, host: &str, target: &str, client: IpAddr) -> ModelRequest {
    ModelRequest {
        https,
        method: "GET".to_owned(),
        target: target.to_owned(),
        headers: vec![("Host".to_owned(), host.to_owned())],
        client,
        body_len: 0,
        http10: false,
        certificate: None,
    }
}

fn of_location(
    nginx: &IngressNginx<'_>,
    server: &Server,
    location: &Location,
    host: &str,
    https: bool,
    all: &mut Vec<ModelRequest>,
) {
    let default = IngressSettings::default();
    let settings = nginx.settings(location).unwrap_or(&default);
    let path = match server.regex {
        true => sample_of_pattern(&location.path),
        false => location.path.clone(),
    };
    let client = inside(settings);
    let clients = clients(settings);
    let bare = path.trim_end_matches('/');
    let mut targets = vec![
        path.clone(),
        format!("{bare}/"),
        format!("{bare}x"),
        format!("{bare}/x/y"),
        format!("{path}?a=b%20c&d"),
        path.to_ascii_uppercase(),
    ];
    if !bare.is_empty() {
        targets.push(bare.to_owned());
        targets.push(format!("/{}{}", encode_first(bare), "/z"));
    }
    for target in targets {
        let target = if target.starts_with('/') {
            target
        } else {
            format!("/{target}")
        };
        for client in &clients {
            all.push(get(https, host, &target, *client));
        }
    }
    for method in ["POST", "OPTIONS", "HEAD"] {
        let mut request = get(https, host, &path, client);
        request.method = method.to_owned();
        all.push(request);
    }
    if let Some(canary) = &location.canary {
        let canary = &canary.canary;
        let mut fields = Vec::new();
        if let Some(name) = &canary.header {
            let own = canary.value.clone();
            for value in ["always", "never", "other"]
                .into_iter()
                .map(str::to_owned)
                .chain(own)
            {
                fields.push((name.clone(), value));
            }
        }
        if let Some(name) = &canary.cookie {
            for value in ["always", "never", "other"] {
                fields.push(("Cookie".to_owned(), format!("a=b; {name}={value}; c=d")));
            }
        }
        for field in fields {
            let mut request = get(https, host, &path, client);
            request.headers.push(field);
            all.push(request);
        }
    }
}

/// A client address that the lists of an Ingress allow.
fn inside(settings: &IngressSettings) -> IpAddr {
    let allowed = settings.allow.first().and_then(|n| n.parse::<IpNet>().ok());
    allowed.map_or(STRANGER, |network| network.addr())
}

/// Client addresses inside and outside of the lists of an Ingress. Each path is requested from all addresses,
/// because a wrongly translated path may also receive requests of a path with other lists.
fn clients(settings: &IngressSettings) -> BTreeSet<IpAddr> {
    let mut clients = BTreeSet::from([inside(settings)]);
    if !settings.allow.is_empty() || !settings.deny.is_empty() {
        clients.insert(STRANGER);
        let denied = settings.deny.first().and_then(|n| n.parse::<IpNet>().ok());
        clients.extend(denied.map(|network| network.addr()));
    }
    clients
}

/// The path without its leading slash, and with its first letter percent-encoded.
fn encode_first(path: &str) -> String {
    let mut rest = path.trim_start_matches('/').chars();
    match rest.next() {
        Some(first) if first.is_ascii() => format!("%{:02x}{}", u32::from(first), rest.as_str()),
        Some(first) => format!("{first}{}", rest.as_str()),
        None => String::new(),
    }
}

/// A path that a pattern matches, for common patterns.
fn sample_of_pattern(pattern: &str) -> String {
    let mut sample = pattern
        .trim_start_matches('^')
        .trim_end_matches('$')
        .to_owned();
    for (part, text) in [
        ("(/|$)", "/"),
        ("(/.*)?", "/sample"),
        ("/?(.*)", "/sample"),
        ("(.*)", "sample"),
        ("(.+)", "sample"),
        (".*", "sample"),
        (".+", "sample"),
        ("[0-9]+", "42"),
        ("\\d+", "42"),
        ("[^/]+", "sample"),
        ("[a-z]+", "sample"),
        ("[a-zA-Z0-9_-]+", "sample"),
        ("\\.", "."),
        ("/?", "/"),
    ] {
        sample = sample.replace(part, text);
    }
    // Of several alternatives, the first is used.
    while let (Some(open), Some(close)) = (sample.find('('), sample.find(')')) {
        if open > close {
            break;
        }
        let first = sample[open + 1..close]
            .split('|')
            .next()
            .unwrap_or_default()
            .to_owned();
        sample.replace_range(open..=close, first.trim_start_matches("?:"));
    }
    sample.replace("//", "/")
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
    text
}

/// Compares the two responses. `None`: the responses are equal, or depend on an authentication server.
pub fn compare(
    request: &ModelRequest,
    expected: &ModelAnswer,
    found: &Observed,
) -> Option<Difference> {
    let same = match expected {
        // The response depends on the authentication server, which the model does not contain.
        ModelAnswer::Proxy { asks: true, .. } => true,
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
                && location_of(request, location.as_deref())
                    == location_of(request, found.location.as_deref())
        }
    };
    (!same).then(|| Difference {
        request: describe(request),
        expected: expectation(expected),
        found: observation(found),
        explained_by: Vec::new(),
    })
}

/// A redirect's address in the form that is compared: without the default port and the final slash, which
/// ingress-nginx removes, and with a decoded path. The listeners of the proof have no TLS, so the scheme of
/// redirects to the request's own host is omitted.
fn location_of(request: &ModelRequest, location: Option<&str>) -> Option<String> {
    let location = location?;
    let Some(parts) = url(location) else {
        return Some(decoded(location).trim_end_matches('/').to_owned());
    };
    let own = request
        .header("host")
        .is_some_and(|host| host == parts.host);
    let scheme = if own && request.https {
        ""
    } else {
        &parts.scheme
    };
    let port = parts.port.filter(|port| !matches!(port, 80 | 443));
    let target = decoded(&parts.target());
    let target = target.trim_end_matches('/');
    Some(format!("{scheme}://{}{port:?}{target}", parts.host))
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
/// would count the generated requests. Listeners of single hosts are left out, because plain listeners of a
/// port share their settings; their routes attach to the shared listener.
pub fn prepare(objects: &OutputObjects) -> String {
    let mut text = String::new();
    let gateway = objects.iter().find(|object| object.kind == "Gateway");
    let gateway = gateway.map(|object| object.key.clone()).unwrap_or_default();
    for object in objects.iter() {
        let mut value = object.value.clone();
        match object.kind.as_str() {
            "ListenerSet" => continue,
            "ClientTrafficPolicy" if is_of_host(&value["spec"]["targetRefs"][0]) => continue,
            "Gateway" => plain_listeners(&mut value),
            "HTTPRoute" | "GRPCRoute" => share_parents(&mut value, &gateway),
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

/// Attaches a route to the shared listener in place of those of single hosts.
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
/// describe a whole cluster, because then these Services do not exist in it.
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

/// Ports of Services that receive requests.
pub fn service_ports(nginx: &IngressNginx<'_>) -> BTreeSet<BackendPort> {
    let locations = nginx.servers().iter().flat_map(|server| &server.locations);
    locations
        .flat_map(|location| {
            let canary = location
                .canary
                .as_ref()
                .map(|canary| canary.backend.clone());
            let fallback = nginx.fallback_of(location);
            let own = location.backend.clone().into_iter();
            own.chain(canary).chain(fallback)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_patterns_have_a_sample() {
        for (pattern, sample) in [
            ("/app(/|$)(.*)", "/app/sample"),
            ("/v2/(users|orders)", "/v2/users"),
            ("/v[0-9]+", "/v42"),
            ("/plain", "/plain"),
        ] {
            assert_eq!(sample_of_pattern(pattern), sample);
        }
    }
}
