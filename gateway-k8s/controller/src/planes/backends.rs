//! Selects the endpoints of the backends in a plan, because a data plane receives only these.

use std::collections::HashSet;

use towergate_core::plan::Filter;
use towergate_core::plan::{BackendId, Destination, Endpoints, Plan, WeightedBackend};
use towergate_policy::Policy;

/// The endpoints of the backends that `plan` references.
pub(super) fn needed(plan: &Plan<Policy>, all: &Endpoints) -> Endpoints {
    let backends = backends(plan);
    let needed = all.iter().filter(|(id, _)| backends.contains(id));
    needed
        .map(|(id, endpoints)| (id.clone(), endpoints.clone()))
        .collect()
}

fn backends(plan: &Plan<Policy>) -> HashSet<&BackendId> {
    let mut found = HashSet::new();
    let listeners = plan.ports.iter().flat_map(|port| &port.listeners);
    for listener in listeners {
        for rule in listener.routes.iter().flat_map(|route| &route.rules) {
            of_filters(&rule.filters, &mut found);
            of_shares(&rule.backends, &mut found);
        }
        for route in &listener.streams {
            of_shares(&route.backends, &mut found);
        }
    }
    for route in plan.datagrams.iter().flat_map(|port| &port.routes) {
        of_shares(&route.backends, &mut found);
    }
    found
}

fn of_shares<'a>(shares: &'a [WeightedBackend], found: &mut HashSet<&'a BackendId>) {
    for share in shares {
        of_filters(&share.filters, found);
        if let Destination::Backend(backend) = &share.destination {
            found.insert(&backend.id);
        }
    }
}

fn of_filters<'a>(filters: &'a [Filter], found: &mut HashSet<&'a BackendId>) {
    for filter in filters {
        match filter {
            Filter::Mirror(mirror) => {
                found.insert(&mirror.backend.id);
            }
            Filter::RequestHeaders(_)
            | Filter::ResponseHeaders(_)
            | Filter::Redirect(_)
            | Filter::Rewrite(_)
            | Filter::RegexRewrite(_)
            | Filter::DirectResponse(_)
            | Filter::Credential(_)
            | Filter::Cors(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use towergate_k8s::decode::decode;
    use towergate_k8s::{ResolveOptions, resolve};

    use super::*;

    const MANIFEST: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: any
  listeners:
  - {name: http, port: 80, protocol: HTTP}
  - {name: tcp, port: 81, protocol: TCP}
  - {name: udp, port: 82, protocol: UDP}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web}
spec:
  parentRefs: [{name: edge, sectionName: http}]
  rules:
  - filters: [{type: RequestMirror, requestMirror: {backendRef: {name: mirror, port: 80}}}]
    backendRefs: [{name: web, port: 80}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: TCPRoute
metadata: {name: tcp}
spec:
  parentRefs: [{name: edge, sectionName: tcp}]
  rules: [{backendRefs: [{name: tcp, port: 80}]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: UDPRoute
metadata: {name: udp}
spec:
  parentRefs: [{name: edge, sectionName: udp}]
  rules: [{backendRefs: [{name: udp, port: 80}]}]
---
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Service, metadata: {name: web}, spec: {ports: [{port: 80}]}}
- {apiVersion: v1, kind: Service, metadata: {name: mirror}, spec: {ports: [{port: 80}]}}
- {apiVersion: v1, kind: Service, metadata: {name: tcp}, spec: {ports: [{port: 80}]}}
- {apiVersion: v1, kind: Service, metadata: {name: udp}, spec: {ports: [{port: 80, protocol: UDP}]}}
";

    #[test]
    fn every_backend_of_a_plan_is_found_and_no_other() {
        let plan = resolve(
            &decode("a.yaml", MANIFEST).objects,
            &ResolveOptions::default(),
        )
        .plan;

        let mut names: Vec<_> = backends(&plan).into_iter().map(|id| &*id.name).collect();

        names.sort_unstable();
        assert_eq!(names, ["mirror", "tcp", "udp", "web"]);
        let endpoint = |name: &str| (BackendId::service("default", name, 80), Vec::new());
        let all: Endpoints = [endpoint("web"), endpoint("other")].into();
        assert_eq!(needed(&plan, &all), [endpoint("web")].into());
    }
}
