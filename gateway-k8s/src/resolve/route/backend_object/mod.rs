//! Kind Backend of Envoy Gateway: endpoints by address or host name, with their own TLS settings.

mod target;
mod tls;
mod unix_socket;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use towergate_core::plan::{BackendProtocol, DnsHost, DynamicTargets, Endpoint};
use towergate_policy::backend::{BackendAppProtocol, BackendEndpoint, BackendSpec, BackendType};
use towergate_policy::check;
use towergate_tls::client::ClientTls;

use self::target::{EndpointTarget, destination, name_of};
use self::tls::{BackendObjectTls, CA_REFERENCES, client_tls};
use super::backend_error::{BackendError, fault, invalid};
use super::service_host::service_endpoints;
use crate::api::ENVOY_GROUP;
use crate::api::reference::BackendObjectReference;
use crate::finding::FindingCode;
use crate::objects::{Object, ObjectKey};
use crate::resolve::grant::{From, To};
use crate::resolve::object_index::ObjectIndex;
use crate::resolve::policy::backend_tls::Settings;
use crate::resolve::report::{Report, Subject};
use crate::status::{BackendReason, ConditionType, Conditions, RouteReason, StatusKey, Statuses};

/// The Backends that have been resolved.
#[derive(Debug, Default)]
pub(super) struct BackendObjects(HashMap<ObjectKey, Result<Arc<BackendObject>, BackendError>>);

/// A resolved Backend.
#[derive(Debug)]
pub(super) struct BackendObject {
    pub(super) endpoints: Vec<Endpoint>,
    /// Names that the data plane resolves; empty if the endpoints are addresses.
    pub(super) hosts: Vec<DnsHost>,
    /// Whether the endpoints use HTTP/2 with prior knowledge.
    pub(super) h2c: bool,
    /// Whether the Backend is used only while other backends are unhealthy.
    pub(super) fallback: bool,
    /// Host names of the endpoints, without duplicates. `None`: an endpoint without a host name.
    pub(super) host_names: Vec<Option<String>>,
    tls: Option<BackendObjectTls>,
    /// Addresses that the gateway may reach if the endpoint is the host of each request.
    pub(super) dynamic: Option<Arc<DynamicTargets>>,
}

/// Whether a reference names a Backend.
pub(super) fn is_named_by(written: &BackendObjectReference) -> bool {
    let group = written.group.as_deref().unwrap_or_default();
    (group, written.kind.as_deref()) == (ENVOY_GROUP, Some("Backend"))
}

impl BackendObjects {
    /// The Backend that an object references.
    pub(super) fn find(
        &mut self,
        index: &ObjectIndex<'_>,
        from: From<'_>,
        written: &BackendObjectReference,
    ) -> Result<(ObjectKey, Arc<BackendObject>), BackendError> {
        let namespace = written.namespace.as_deref().filter(|name| !name.is_empty());
        let namespace = namespace.unwrap_or(from.namespace);
        let key = ObjectKey::new(namespace, &*written.name);
        if !index.options.backends.enabled {
            let message = format!("Backend {key}: the kind is turned off (--no-backends)");
            return fault(RouteReason::UnsupportedValue, message);
        }
        let to = To {
            group: ENVOY_GROUP,
            kind: "Backend",
            namespace,
            name: &written.name,
        };
        if !index.grants.permit(from, to) {
            let message = format!("no ReferenceGrant permits the reference to Backend {key}");
            return fault(RouteReason::RefNotPermitted, message);
        }
        let Some(object) = index.objects.backends.get(&key) else {
            return fault(
                RouteReason::BackendNotFound,
                format!("Backend {key} not found"),
            );
        };
        match self.resolve(index, &key, object) {
            Ok(found) => Ok((key, found.clone())),
            Err(error) => fault(error.reason, format!("Backend {key}: {}", error.message)),
        }
    }

    fn resolve(
        &mut self,
        index: &ObjectIndex<'_>,
        key: &ObjectKey,
        object: &Object<BackendSpec>,
    ) -> &Result<Arc<BackendObject>, BackendError> {
        let found = self.0.entry(key.clone());
        found.or_insert_with(|| BackendObject::resolve(index, object).map(Arc::new))
    }

    /// Adds statuses and findings of the Backends. An unreferenced Backend may belong to another controller.
    /// It is reported only if Gateways without a class are also served.
    pub(super) fn report(
        &mut self,
        index: &ObjectIndex<'_>,
        report: &mut Report,
        statuses: &mut Statuses,
    ) {
        if !index.options.backends.enabled {
            return;
        }
        for (key, object) in index.objects.backends.iter() {
            if !index.options.serve_unclassed && !self.0.contains_key(key) {
                continue;
            }
            let subject = Subject::new("Backend", object);
            let mut conditions = Conditions::default();
            let resolved = self.resolve(index, key, object);
            match resolved {
                Ok(_) => conditions.set(
                    ConditionType::Accepted,
                    true,
                    BackendReason::Accepted,
                    "the Backend is accepted",
                ),
                // The object is valid; the references to it are not.
                Err(error) if error.reason == RouteReason::UnsupportedAddressType => {
                    conditions.set(
                        ConditionType::Accepted,
                        true,
                        BackendReason::Accepted,
                        format!("requests to the Backend receive 500: {}", error.message),
                    );
                }
                Err(error) => {
                    let message = &error.message;
                    conditions.set(
                        ConditionType::Accepted,
                        false,
                        BackendReason::Invalid,
                        format!("the Backend is not accepted: {message}"),
                    );
                    // The decoder has reported invalid fields.
                    if object.unreadable_fields.is_empty() {
                        let advice = FindingCode::BackendInvalid.advice();
                        report.error(
                            FindingCode::BackendInvalid,
                            &subject,
                            "spec",
                            &**message,
                            advice,
                        );
                    }
                }
            }
            let tls = resolved.as_ref().ok().and_then(|found| found.tls.as_ref());
            if let Some(message) = tls.and_then(|tls| tls.ca_faults.as_deref()) {
                report.warn(
                    FindingCode::CaNotUsable,
                    &subject,
                    CA_REFERENCES,
                    format!("{message}; only the other CA certificates are trusted"),
                    FindingCode::CaNotUsable.advice(),
                );
            }
            if tls.is_some_and(|tls| tls.accept_any_certificate) && !is_verified(index, key) {
                report.warn(
                    FindingCode::BackendNotVerified,
                    &subject,
                    "spec.tls.insecureSkipVerify",
                    "any certificate is accepted, so that the endpoints can be impersonated",
                    FindingCode::BackendNotVerified.advice(),
                );
            }
            let status = serde_json::json!({
                "conditions": conditions.to_value(object.meta.generation),
            });
            statuses
                .0
                .insert(StatusKey::new("Backend", key.clone()), status);
        }
    }
}

impl BackendObject {
    fn resolve(
        index: &ObjectIndex<'_>,
        object: &Object<BackendSpec>,
    ) -> Result<Self, BackendError> {
        let spec = &object.spec;
        if let Some(violation) = object.unreadable_fields.first() {
            return match mixes_names_and_addresses(spec) {
                true => fault(RouteReason::UnsupportedAddressType, violation.to_string()),
                false => invalid(violation.to_string()),
            };
        }
        let checked = check::Report::of(spec);
        if let Some(unsupported) = checked.unsupported.first() {
            return fault(RouteReason::UnsupportedValue, unsupported.to_string());
        }
        if let Some(violation) = checked.violations.first() {
            return invalid(violation.to_string());
        }
        if spec.kind == Some(BackendType::DynamicResolver) {
            return Self::resolve_dynamic(index, object);
        }
        let written = spec.endpoints.iter().flatten();
        if mixes_names_and_addresses(spec) {
            let message = "spec.endpoints mixes host names with addresses";
            return fault(RouteReason::UnsupportedAddressType, message.to_owned());
        }
        let mut endpoints = Vec::new();
        let mut hosts = Vec::new();
        for (at, endpoint) in written.clone().enumerate() {
            match destination(index, at, endpoint)? {
                EndpointTarget::Address(address) => endpoints.push(Endpoint {
                    zone: endpoint.zone.as_deref().map(Arc::from),
                    ..address
                }),
                EndpointTarget::Host(host) => hosts.push(host),
            }
        }
        endpoints.sort();
        endpoints.dedup();
        hosts.sort();
        hosts.dedup();
        let names: BTreeSet<Option<String>> = written.map(name_of).collect();
        let host_names: Vec<_> = names.into_iter().collect();
        let hostname = match host_names.as_slice() {
            [one] => one.clone(),
            _ => None,
        };
        let tls = spec.tls.as_ref();
        let tls = tls.map(|tls| client_tls(index, object, tls, hostname.as_deref(), &endpoints));
        if let Some(known) = service_endpoints(index, &object.meta.namespace, &hosts)
            && !hosts.is_empty()
        {
            endpoints = known;
            hosts.clear();
        }
        Ok(Self {
            endpoints,
            hosts,
            h2c: is_h2c(spec),
            fallback: spec.fallback == Some(true),
            tls: tls.transpose()?,
            host_names,
            dynamic: None,
        })
    }

    /// A Backend whose endpoint is the host of each request.
    fn resolve_dynamic(
        index: &ObjectIndex<'_>,
        object: &Object<BackendSpec>,
    ) -> Result<Self, BackendError> {
        let spec = &object.spec;
        let Some(dynamic) = &index.options.backends.dynamic else {
            let message = "spec.type DynamicResolver is turned off, because it lets clients choose where requests \
                           are sent; to allow it, start with --dynamic-resolver";
            return fault(RouteReason::UnsupportedValue, message.to_owned());
        };
        if spec.endpoints.is_some() {
            let message = "spec.type DynamicResolver excludes spec.endpoints";
            return invalid(message.to_owned());
        }
        let tls = spec.tls.as_ref();
        // Without `sni`, the server name is the host of the request.
        let tls = tls.map(|tls| client_tls(index, object, tls, Some(""), &[]));
        Ok(Self {
            endpoints: Vec::new(),
            hosts: Vec::new(),
            h2c: is_h2c(spec),
            fallback: spec.fallback == Some(true),
            tls: tls.transpose()?,
            host_names: Vec::new(),
            dynamic: Some(dynamic.clone()),
        })
    }

    /// TLS settings for `protocol`; `None`: plain text. A BackendTLSPolicy takes precedence for the server name and
    /// for the verification of the certificate.
    pub(super) fn client_tls(
        &self,
        policy: Option<&Settings>,
        protocol: BackendProtocol,
    ) -> Option<ClientTls> {
        let own = self.tls.as_ref();
        let mut tls = match (policy, own) {
            (None, None) => return None,
            (Some(policy), _) => policy.client(protocol),
            (None, Some(own)) => own.client(protocol),
        };
        if let Some(own) = own {
            tls.identity.clone_from(&own.identity);
            tls.limits.clone_from(&own.limits);
            if let Some(alpn) = &own.alpn {
                tls.alpn.clone_from(alpn);
            }
        }
        Some(tls)
    }

    /// Whether an endpoint is a Unix domain socket, which receives no datagrams.
    pub(super) fn has_unix_socket(&self) -> bool {
        let mut endpoints = self.endpoints.iter();
        endpoints.any(|endpoint| endpoint.address.ip_and_port().is_none())
    }
}

/// Whether a BackendTLSPolicy for all ports of the Backend `key` verifies certificates, even if the Backend itself
/// accepts any certificate.
fn is_verified(index: &ObjectIndex<'_>, key: &ObjectKey) -> bool {
    let policies = index.objects.backend_tls_policies.values();
    let mut targets = policies
        .filter(|policy| policy.meta.namespace == key.namespace)
        .flat_map(|policy| &policy.spec.target_refs);
    targets.any(|target| {
        let section = target.section_name.as_deref().unwrap_or_default();
        target.kind == "Backend" && target.name == key.name && section.is_empty()
    })
}

/// Whether some endpoints have a host name and others an address, which the schema excludes.
fn mixes_names_and_addresses(spec: &BackendSpec) -> bool {
    let named = |endpoint: &BackendEndpoint| endpoint.fqdn.is_some();
    let mut endpoints = spec.endpoints.iter().flatten().map(named);
    let first = endpoints.next();
    endpoints.any(|named| Some(named) != first)
}

fn is_h2c(spec: &BackendSpec) -> bool {
    let mut protocols = spec.app_protocols.iter().flatten();
    protocols.any(|protocol| *protocol == BackendAppProtocol::H2c)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::decode;
    use crate::resolve::{BackendUse, ResolveOptions, resolve};

    const BACKEND: &str = "
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: one, namespace: apps}
spec: {endpoints: [{ip: {address: 192.0.2.1, port: 80}}]}
";

    /// Whether a Backend with an endpoint of this address is accepted.
    fn is_accepted(address: &str, loopback: bool) -> bool {
        let mut objects = decode("test.yaml", BACKEND).objects;
        for backend in objects.backends.values_mut() {
            let endpoints = backend.spec.endpoints.iter_mut().flatten();
            for ip in endpoints.filter_map(|endpoint| endpoint.ip.as_mut()) {
                ip.address = Some(address.to_owned());
            }
        }
        let options = ResolveOptions {
            backends: BackendUse {
                enabled: true,
                loopback,
                ..BackendUse::default()
            },
            ..ResolveOptions::default()
        };
        let statuses = resolve(&objects, &options).statuses;
        let key = StatusKey::new("Backend", ObjectKey::new("apps", "one"));
        statuses.0[&key]["conditions"][0]["status"] == "True"
    }

    #[test]
    fn addresses_of_the_data_plane_and_its_node_are_refused_where_loopback_is() {
        for (address, local) in [
            ("127.0.0.1", true),
            ("0.0.0.0", true),
            ("0.1.2.3", true),
            ("169.254.169.254", true),
            ("::1", true),
            ("::ffff:169.254.169.254", true),
            ("fe80::1", true),
            ("10.0.0.1", false),
            ("2001:db8::1", false),
        ] {
            assert_eq!(is_accepted(address, false), !local, "{address}");
            assert!(is_accepted(address, true), "{address}");
        }
    }

    /// Status and reason of a DynamicResolver with `spec`, and the routes that refer to it.
    fn dynamic(spec: &str, route: &'static str, allowed: bool) -> (String, String) {
        let version = match route {
            "TCPRoute" => "v1alpha2",
            _ => "v1",
        };
        let hostnames = match route {
            "TLSRoute" => "hostnames: [a.test]",
            _ => "",
        };
        let manifests = format!(
            "{{apiVersion: gateway.envoyproxy.io/v1alpha1, kind: Backend, metadata: {{name: any, namespace: apps}},
               spec: {{{spec}}}}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: gateway, namespace: apps}}
spec:
  gatewayClassName: any
  listeners:
  - {{name: http, port: 80, protocol: HTTP}}
  - {{name: tcp, port: 81, protocol: TCP}}
  - {{name: tls, port: 82, protocol: TLS, tls: {{mode: Passthrough}}}}
---
apiVersion: gateway.networking.k8s.io/{version}
kind: {route}
metadata: {{name: route, namespace: apps}}
spec:
  parentRefs: [{{name: gateway}}]
  {hostnames}
  rules: [{{backendRefs: [{{group: gateway.envoyproxy.io, kind: Backend, name: any}}]}}]
"
        );
        let objects = decode("test.yaml", &manifests).objects;
        let options = ResolveOptions {
            backends: BackendUse {
                dynamic: allowed.then(Arc::default),
                ..BackendUse::default()
            },
            ..ResolveOptions::default()
        };
        let statuses = resolve(&objects, &options).statuses;
        let backend = &statuses.0[&StatusKey::new("Backend", ObjectKey::new("apps", "any"))];
        let route = &statuses.0[&StatusKey::new(route, ObjectKey::new("apps", "route"))];
        let conditions = route["parents"][0]["conditions"].as_array().unwrap();
        let references = conditions.iter().find(|one| one["type"] == "ResolvedRefs");
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        (
            text(&backend["conditions"][0]["reason"]),
            text(&references.unwrap()["reason"]),
        )
    }

    #[test]
    fn a_dynamic_resolver_needs_permission_and_a_route_with_names() {
        let wanted = "type: DynamicResolver";
        for (spec, route, allowed, expected) in [
            (wanted, "HTTPRoute", true, ("Accepted", "ResolvedRefs")),
            (wanted, "GRPCRoute", true, ("Accepted", "ResolvedRefs")),
            (wanted, "TLSRoute", true, ("Accepted", "ResolvedRefs")),
            (wanted, "TLSRoute", false, ("Invalid", "UnsupportedValue")),
            (wanted, "TCPRoute", true, ("Accepted", "UnsupportedValue")),
            (wanted, "HTTPRoute", false, ("Invalid", "UnsupportedValue")),
            (
                "type: DynamicResolver, tls: {wellKnownCACertificates: System}",
                "HTTPRoute",
                true,
                ("Accepted", "ResolvedRefs"),
            ),
            (
                "type: DynamicResolver, endpoints: [{ip: {address: 192.0.2.1, port: 80}}]",
                "HTTPRoute",
                true,
                ("Invalid", "InvalidBackendRef"),
            ),
        ] {
            let (backend, references) = dynamic(spec, route, allowed);
            assert_eq!((&*backend, &*references), expected, "{spec} {route}");
        }
    }
}
