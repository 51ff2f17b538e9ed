//! SecurityPolicies for requests that cover routes of connections and datagrams.
//!
//! Such a policy cannot protect a connection, so the connections are closed and the datagrams are dropped. The
//! route has the condition `Warning`, and the policy has a finding.

use std::collections::{BTreeMap, BTreeSet};

use towergate_policy::SecurityPolicySpec;

use super::super::gateway::Gateways;
use super::super::report::{Report, Subject};
use super::super::route::Routes;
use super::{On, Policies};
use crate::finding::FindingCode;
use crate::objects::{Object, ObjectKey};
use crate::status::{ConditionType, RouteReason};

/// A policy, the sections of the policy that need requests, and the routes that fail closed because of these
/// sections.
struct Closing<'a> {
    policy: &'a Object<SecurityPolicySpec>,
    sections: Vec<&'static str>,
    routes: BTreeSet<String>,
}

/// Sets the condition of the routes and reports the policies.
pub(in super::super) fn check(
    gateways: &Gateways<'_>,
    routes: &mut Routes<'_>,
    policies: &Policies<'_>,
    report: &mut Report,
) {
    if policies.security.is_empty() {
        return;
    }
    let mut closing: BTreeMap<ObjectKey, Closing<'_>> = BTreeMap::new();
    for route in routes.indices() {
        let state = &mut routes[route];
        let Some(draft) = &state.stream else { continue };
        let name = format!("{} {}", state.route.kind(), state.route.key());
        for attachment in &mut state.attachments {
            let gateway = &gateways.list[attachment.gateway];
            for (listener, _) in &attachment.listeners {
                let served = &gateway.listeners[*listener];
                let on = On {
                    gateway: attachment.gateway,
                    set: served.set,
                    listener: &served.spec.name,
                };
                let found = policies.security.find(route, draft.name.as_deref(), on);
                let objects = found.map(|found| [Some(found.policy), found.parent]);
                for policy in objects.into_iter().flatten().flatten() {
                    let sections = policy.spec.sections_of_requests();
                    if sections.is_empty() {
                        continue;
                    }
                    let message = format!(
                        "the connections are closed: SecurityPolicy {} protects requests with {}",
                        policy.key(),
                        sections.join(", ")
                    );
                    let reason = RouteReason::UnsupportedValue;
                    let conditions = &mut attachment.conditions;
                    conditions.set(ConditionType::Warning, true, reason, message);
                    let entry = closing.entry(policy.key()).or_insert_with(|| Closing {
                        policy,
                        sections,
                        routes: BTreeSet::new(),
                    });
                    entry.routes.insert(name.clone());
                }
            }
        }
    }
    for closing in closing.values() {
        closing.report(report);
    }
}

impl Closing<'_> {
    fn report(&self, report: &mut Report) {
        let routes: Vec<_> = self.routes.iter().map(String::as_str).collect();
        report.error(
            FindingCode::PolicyClosesConnections,
            &Subject::new("SecurityPolicy", self.policy),
            format!("spec.{}", self.sections[0]),
            format!(
                "connections have no requests, so {} cannot protect them; the connections of these routes are closed: {}",
                self.sections.join(", "),
                routes.join(", ")
            ),
            "target the HTTPRoutes or the HTTP listeners, or set a SecurityPolicy with authorization rules by clientCIDRs for the route",
        );
    }
}

#[cfg(test)]
mod tests {
    use crate::decode::decode;
    use crate::objects::ObjectKey;
    use crate::resolve::{ResolveOptions, resolve};

    const OBJECTS: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: g, namespace: d}
spec:
  gatewayClassName: c
  listeners: [{name: tcp, port: 5432, protocol: TCP}]
---
apiVersion: gateway.networking.k8s.io/v1alpha2
kind: TCPRoute
metadata: {name: t, namespace: d}
spec:
  parentRefs: [{name: g}]
  rules: [{backendRefs: [{name: s, port: 5432}]}]
---
apiVersion: v1
kind: Service
metadata: {name: s, namespace: d}
spec: {ports: [{port: 5432}]}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {name: p, namespace: d}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: g}]
";

    /// Whether the route is served, the message of its condition, and the codes of errors.
    fn resolved(sections: &str) -> (bool, Option<String>, Vec<&'static str>) {
        let objects = decode("a.yaml", &format!("{OBJECTS}  {sections}\n")).objects;
        let options = ResolveOptions {
            serve_unclassed: true,
            ..ResolveOptions::default()
        };
        let resolution = resolve(&objects, &options);
        let streams = &resolution.plan.ports[0].listeners[0].streams;
        let served = !streams[0].backends.is_empty();
        let key = crate::status::StatusKey::new("TCPRoute", ObjectKey::new("d", "t"));
        let parents = resolution.statuses.0[&key]["parents"].clone();
        let conditions = parents[0]["conditions"].as_array().cloned();
        let warning = conditions.into_iter().flatten();
        let mut warning = warning.filter(|condition| condition["type"] == "Warning");
        let message = warning.next().map(|found| found["message"].to_string());
        let errors = resolution.diagnostics.iter();
        let codes = errors.map(|one| one.code.as_str());
        let codes = codes.filter(|code| code.starts_with("policy-closes"));
        (served, message, codes.collect())
    }

    #[test]
    fn a_policy_for_browsers_does_not_close_connections() {
        let (served, message, codes) = resolved("cors: {allowOrigins: ['https://a.test']}");

        assert!(served);
        assert_eq!((message, codes), (None, Vec::new()));
    }

    #[test]
    fn a_policy_that_authenticates_requests_closes_connections_and_is_named() {
        let keys = "jwt: {providers: [{name: a, localJWKS: {type: Inline, inline: '{\"keys\":[{\"kty\":\"oct\",\"k\":\"AAAA\"}]}'}}]}";

        let (served, message, codes) = resolved(keys);

        assert!(!served);
        assert!(message.is_some_and(|message| message.contains("SecurityPolicy d/p")));
        assert_eq!(codes, ["policy-closes-connections"]);
    }
}
