//! Services without endpoints that SecurityPolicies and ExternalAuth filters call. A Service that does not
//! exist makes its policy or rule invalid.

use towergate_core::plan::{BackendId, Destination, Endpoints};
use towergate_policy::common::BackendRef;
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
            let namespace = reference.namespace.as_ref();
            let id = BackendId {
                kind: "Service".to_owned(),
                namespace: namespace.unwrap_or(&policy.meta.namespace).clone(),
                name: reference.name.clone().unwrap_or_default(),
                port: reference
                    .port
                    .and_then(|port| port.try_into().ok())
                    .unwrap_or_default(),
            };
            // Other kinds, and backends that cannot be resolved, have no entry.
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

/// The services of the filters of a rule, in order. An invalid filter has none, and makes the rule return 500.
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

/// The backends of a policy: field, effect of their absence, reference.
fn references(
    spec: &SecurityPolicySpec,
) -> impl Iterator<Item = (String, &'static str, &BackendRef)> {
    const DENIED: &str = "requests are denied unless failOpen is set";
    const NO_LOGIN: &str = "no login can complete";
    const NO_TOKEN: &str = "no token can be verified";
    let mut lists: Vec<(String, &'static str, Option<&Vec<BackendRef>>)> = Vec::new();
    if let Some(service) = &spec.ext_auth {
        let grpc = service
            .grpc
            .as_ref()
            .and_then(|grpc| grpc.backend_refs.as_ref());
        let http = service
            .http
            .as_ref()
            .and_then(|http| http.backend_refs.as_ref());
        lists.push(("spec.extAuth.grpc".to_owned(), DENIED, grpc));
        lists.push(("spec.extAuth.http".to_owned(), DENIED, http));
    }
    let provider = spec.oidc.as_ref().and_then(|oidc| oidc.provider.as_ref());
    let provider = provider.and_then(|provider| provider.backend_refs.as_ref());
    lists.push(("spec.oidc.provider".to_owned(), NO_LOGIN, provider));
    let providers = spec.jwt.as_ref().and_then(|jwt| jwt.providers.as_ref());
    for (at, provider) in providers.into_iter().flatten().enumerate() {
        let remote = provider.remote_jwks.as_ref();
        let field = format!("spec.jwt.providers[{at}].remoteJWKS");
        lists.push((
            field,
            NO_TOKEN,
            remote.and_then(|jwks| jwks.backend_refs.as_ref()),
        ));
    }
    lists.into_iter().flat_map(|(field, what, list)| {
        let list = list.into_iter().flatten().enumerate();
        list.map(move |(at, reference)| (format!("{field}.backendRefs[{at}]"), what, reference))
    })
}
