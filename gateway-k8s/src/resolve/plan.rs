//! The plan: sockets, their listeners, and the routes of each.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use towergate_core::plan::{
    Listener, ListenerId, ListenerSettings, Plan, Port, Protocol, Route, Rule, TcpSettings, Traffic,
};
use towergate_policy::Policy;
use towergate_tls::ServerTls;

use super::gateway::{Gateways, ListenerState};
use super::port::bound;
use super::route::{RouteState, RuleDraft};
use super::world::World;

/// What is served.
pub(super) fn build(
    world: &World<'_>,
    gateways: &Gateways<'_>,
    routes: &[RouteState<'_>],
) -> Plan<Policy> {
    let mut routes = by_listener(routes);
    let mut ports: BTreeMap<(Vec<IpAddr>, u16), Port<Policy>> = BTreeMap::new();
    for (g, gateway) in gateways.list.iter().enumerate() {
        for (l, state) in gateway.listeners.iter().enumerate() {
            if !state.ready() {
                continue;
            }
            let number = bound(world, state.spec.port);
            let port = ports
                .entry((gateway.bind.clone(), number))
                .or_insert_with(|| Port {
                    addresses: gateway.bind.clone(),
                    port: number,
                    tcp: TcpSettings::default(),
                    listeners: Vec::new(),
                });
            let id = ListenerId {
                namespace: gateway.object.meta.namespace.clone(),
                gateway: gateway.object.meta.name.clone(),
                listener: state.spec.name.clone(),
            };
            let routes = routes.remove(&(g, l)).unwrap_or_default();
            port.listeners.push(listener(world, id, state, routes));
        }
    }
    Plan {
        ports: ports.into_values().collect(),
    }
}

fn listener(
    world: &World<'_>,
    id: ListenerId,
    state: &ListenerState<'_>,
    routes: Vec<Arc<Route<Policy>>>,
) -> Listener<Policy> {
    let protocol = match state.spec.protocol.as_str() {
        "HTTPS" => Protocol::Https(Arc::new(ServerTls {
            certificates: state.certificates.clone(),
            ..ServerTls::default()
        })),
        _ => Protocol::Http,
    };
    let settings = ListenerSettings {
        strict_host: world.scope.parity.strict_host,
        keep_external_address: world.scope.parity.keep_external_address,
        ..ListenerSettings::default()
    };
    Listener {
        id,
        port: u16::try_from(state.spec.port).unwrap_or_default(),
        hostname: state.hostname.clone(),
        protocol,
        settings: Arc::new(settings),
        routes,
        failed: false,
    }
}

/// The routes of each listener (Gateway, listener), in their order.
fn by_listener(routes: &[RouteState<'_>]) -> BTreeMap<(usize, usize), Vec<Arc<Route<Policy>>>> {
    let mut by_listener: BTreeMap<_, Vec<Arc<Route<Policy>>>> = BTreeMap::new();
    for state in routes {
        let id = state.route.id();
        let rules: Vec<_> = state
            .rules
            .iter()
            .map(|draft| Arc::new(rule(&id, draft)))
            .collect();
        for attachment in &state.attachments {
            for (listener, hostnames) in &attachment.listeners {
                let routes = by_listener
                    .entry((attachment.gateway, *listener))
                    .or_default();
                // Two parentRefs may name the same listener.
                if routes.last().is_some_and(|last| last.id == id) {
                    continue;
                }
                routes.push(Arc::new(Route {
                    id: id.clone(),
                    hostnames: hostnames.clone(),
                    rules: rules.clone(),
                }));
            }
        }
    }
    by_listener
}

fn rule(id: &towergate_core::plan::RouteId, draft: &RuleDraft) -> Rule<Policy> {
    let mut traffic = Traffic::default();
    draft.traffic.apply(&mut traffic);
    Rule {
        route: id.clone(),
        index: draft.index,
        name: draft.name.clone(),
        matches: draft.matches.clone(),
        policies: Vec::new(),
        filters: draft.filters.clone(),
        traffic: Arc::new(traffic),
        backends: draft.backends.clone(),
        respond: draft.respond,
    }
}
