//! Services without endpoints that SecurityPolicies call. A Service that does not exist makes its
//! policy invalid.

use towergate_core::plan::{BackendId, Endpoints};
use towergate_policy::SecurityPolicySpec;
use towergate_policy::common::BackendRef;

use super::super::object_index::ObjectIndex;
use super::super::report::{Report, Subject};
use crate::finding::FindingCode;

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
                    "add an EndpointSlice with ready endpoints, or set `--endpoint`",
                );
            }
        }
    }
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
