//! Reports services without endpoints if a SecurityPolicy or an ExternalAuth filter calls them. A missing
//! Service is not reported here: it makes its policy or rule invalid.

use towergate_core::plan::{BackendId, BackendKind, Destination, Endpoints};
use towergate_policy::common::{BackendRef, SingleBackendRef};
use towergate_policy::{Policy, SecurityPolicySpec};

use super::super::object_index::ObjectIndex;
use super::super::report::{Report, Subject};
use super::super::route::{RouteRef, RouteState, RuleDraft};
use crate::finding::FindingCode;

/// Advice about a service without endpoints.
const ADD_ENDPOINTS: &str = "add an EndpointSlice with ready endpoints, or set `--endpoint`";

/// Reports Services without endpoints on which a policy depends.
pub(super) fn check(index: &ObjectIndex<'_>, endpoints: &Endpoints, report: &mut Report) {
    for policy in index.objects.security_policies.values() {
        let subject = Subject::new("SecurityPolicy", policy);
        for (field, what, reference) in references(&policy.spec) {
            let id = reference.id(&policy.meta.namespace);
            // References to other kinds, and to backends that cannot be resolved, have no entry.
            if endpoints.get(&id).is_some_and(Vec::is_empty) {
                report.warn(
                    FindingCode::NoEndpoints,
                    &subject,
                    field,
                    format!("{id} has no ready endpoints; {what}"),
                    ADD_ENDPOINTS,
                );
            }
        }
    }
}

/// Reports services without endpoints that filters of type ExternalAuth call.
pub(super) fn check_filters(routes: &[RouteState<'_>], endpoints: &Endpoints, report: &mut Report) {
    for state in routes {
        let subject = state.route.subject();
        for rule in &state.rules {
            for (id, filter) in filter_services(rule).zip(external_auth_filters(state.route, rule))
            {
                if endpoints.get(id).is_some_and(Vec::is_empty) {
                    report.warn(
                        FindingCode::NoEndpoints,
                        &subject,
                        format!(
                            "spec.rules[{}].filters[{filter}].externalAuth.backendRef",
                            rule.index
                        ),
                        format!("{id} has no ready endpoints; requests are denied"),
                        ADD_ENDPOINTS,
                    );
                }
            }
        }
    }
}

/// The services of the filters of a rule, in order. An invalid filter has no service, and makes the rule
/// return 500.
fn filter_services(rule: &RuleDraft) -> impl Iterator<Item = &BackendId> {
    let valid = rule.respond.is_none();
    let policies = rule.policies.iter().filter(move |_| valid);
    let backends = policies.flat_map(|policy| match policy {
        Policy::ExternalAuth(service) => service.backends.as_slice(),
        _ => &[],
    });
    backends.filter_map(|weighted| match &weighted.destination {
        Destination::Backend(backend) => Some(&backend.id),
        _ => None,
    })
}

/// Indices of the filters of type ExternalAuth.
fn external_auth_filters(route: RouteRef<'_>, rule: &RuleDraft) -> Vec<usize> {
    let RouteRef::Http(route) = route else {
        return Vec::new();
    };
    let filters = route.spec.rules.get(rule.index);
    let filters = filters.into_iter().flat_map(|rule| rule.filters.iter());
    let external = filters
        .enumerate()
        .filter(|(_, filter)| filter.external_auth.is_some());
    external.map(|(at, _)| at).collect()
}

/// A reference to a Service, from `backendRefs` or from the deprecated `backendRef`.
struct ServiceReference<'p> {
    namespace: Option<&'p String>,
    name: Option<&'p String>,
    port: Option<i64>,
}

impl ServiceReference<'_> {
    /// The identity of the Service. A reference without a namespace refers to `namespace`, the namespace of
    /// the policy.
    fn id(&self, namespace: &str) -> BackendId {
        let port = self.port.and_then(|port| port.try_into().ok());
        BackendId {
            kind: BackendKind::Service,
            namespace: self.namespace.map_or(namespace, String::as_str).to_owned(),
            name: self.name.cloned().unwrap_or_default(),
            port: port.unwrap_or_default(),
        }
    }
}

impl<'p> From<&'p BackendRef> for ServiceReference<'p> {
    fn from(reference: &'p BackendRef) -> Self {
        Self {
            namespace: reference.namespace.as_ref(),
            name: reference.name.as_ref(),
            port: reference.port,
        }
    }
}

impl<'p> From<&'p SingleBackendRef> for ServiceReference<'p> {
    fn from(reference: &'p SingleBackendRef) -> Self {
        Self {
            namespace: reference.namespace.as_ref(),
            name: reference.name.as_ref(),
            port: reference.port,
        }
    }
}

/// The services of a policy: field, effect of their absence, reference.
fn references<'p>(
    spec: &'p SecurityPolicySpec,
) -> Vec<(String, &'static str, ServiceReference<'p>)> {
    const DENIED: &str = "requests are denied if failOpen is not set";
    const NO_LOGIN: &str = "no login can complete";
    const NO_TOKEN: &str = "no token can be verified";
    let mut found = Vec::new();
    let mut add = |field: &str,
                   what: &'static str,
                   one: Option<&'p SingleBackendRef>,
                   list: Option<&'p Vec<BackendRef>>| {
        // Without a list, the deprecated single reference applies.
        let list = list.filter(|list| !list.is_empty());
        if let (Some(reference), None) = (one, list) {
            found.push((format!("{field}.backendRef"), what, reference.into()));
        }
        for (at, reference) in list.into_iter().flatten().enumerate() {
            found.push((format!("{field}.backendRefs[{at}]"), what, reference.into()));
        }
    };
    if let Some(service) = &spec.ext_auth {
        if let Some(grpc) = &service.grpc {
            let (one, list) = (grpc.backend_ref.as_ref(), grpc.backend_refs.as_ref());
            add("spec.extAuth.grpc", DENIED, one, list);
        }
        if let Some(http) = &service.http {
            let (one, list) = (http.backend_ref.as_ref(), http.backend_refs.as_ref());
            add("spec.extAuth.http", DENIED, one, list);
        }
    }
    let provider = spec.oidc.as_ref().and_then(|oidc| oidc.provider.as_ref());
    if let Some(provider) = provider {
        let list = provider.backend_refs.as_ref();
        add("spec.oidc.provider", NO_LOGIN, None, list);
    }
    let providers = spec.jwt.as_ref().and_then(|jwt| jwt.providers.as_ref());
    for (at, provider) in providers.into_iter().flatten().enumerate() {
        if let Some(remote) = &provider.remote_jwks {
            let field = format!("spec.jwt.providers[{at}].remoteJWKS");
            add(&field, NO_TOKEN, None, remote.backend_refs.as_ref());
        }
    }
    found
}
