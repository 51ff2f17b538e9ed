//! Routes of connections and datagrams, as part of the plan.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use towergate_core::plan::{DatagramPort, ListenerId, RouteId, StreamRoute, Traffic};
use towergate_tls::NamePattern;

use super::super::policy::On;
use super::super::route::{RouteState, StreamDraft};
use super::{Builder, find};

/// After so long without a datagram a client's session ends (Envoy's default, which Envoy Gateway keeps).
const SESSION_IDLE: Duration = Duration::from_secs(60);

/// Routes by listener (Gateway, listener), in the order in which they get their way.
pub(super) type Streams = BTreeMap<(usize, usize), Vec<Arc<StreamRoute>>>;

impl Builder<'_, '_> {
    /// The routes of connections and datagrams of each listener, in their order.
    pub(super) fn streams(&mut self, routes: &[RouteState<'_>]) -> Streams {
        let mut streams = Streams::new();
        for (at, state) in routes.iter().enumerate() {
            let Some(draft) = &state.stream else { continue };
            let id = state.route.id();
            for attachment in &state.attachments {
                for (listener, hostnames) in &attachment.listeners {
                    let place = (attachment.gateway, *listener);
                    let held = streams.entry(place).or_default();
                    // Two parentRefs may name the same listener.
                    if held.last().is_none_or(|last| last.id != id) {
                        let route = self.stream(&id, at, draft, place, hostnames);
                        held.push(Arc::new(route));
                    }
                }
            }
        }
        streams
    }

    fn stream(
        &mut self,
        id: &Arc<RouteId>,
        route: usize,
        draft: &StreamDraft,
        place: (usize, usize),
        hostnames: &[NamePattern],
    ) -> StreamRoute {
        let state = &self.gateways.list[place.0].listeners[place.1];
        let mut backends = match state.passes_through() {
            true => draft.passed.clone(),
            false => draft.ended.clone(),
        };
        let identity = &self.gateways.list[place.0].identity;
        identity.show(&mut Vec::new(), &mut backends);
        let traffic = self.stream_traffic(route, draft, place);
        StreamRoute {
            id: id.clone(),
            rule: draft.name.clone(),
            hostnames: hostnames.to_vec(),
            // Without what guards it a route must not be open to anybody.
            backends: match traffic {
                Some(_) => backends,
                None => Vec::new(),
            },
            traffic: traffic.unwrap_or_else(|| self.plain.clone()),
        }
    }

    /// How connections of a route travel; `None`: a policy for it cannot be in force.
    fn stream_traffic(
        &mut self,
        route: usize,
        draft: &StreamDraft,
        (gateway, listener): (usize, usize),
    ) -> Option<Arc<Traffic>> {
        let state = &self.gateways.list[gateway].listeners[listener];
        let on = On {
            gateway,
            set: state.set,
            listener: &state.spec.name,
        };
        let rule = draft.name.as_deref();
        if let Some(guards) = find(&self.policies.security, route, rule, on) {
            // What a SecurityPolicy asks of requests cannot be asked of connections.
            let unguarded = guards.effect(false).is_ok_and(|guards| guards.is_empty());
            unguarded.then_some(())?;
        }
        let Some(in_force) = find(&self.policies.traffic, route, rule, on) else {
            return Some(self.plain.clone());
        };
        let make = || in_force.effect(false).ok().map(Arc::new);
        let effect = self.effects.entry((in_force.key(), false));
        let effect = effect.or_insert_with(make).clone()?;
        let traffic = &effect.traffic;
        let make = || Arc::new(traffic.clone());
        let shared = self.traffic.entry(traffic.clone());
        Some(shared.or_insert_with(make).clone())
    }
}

/// The socket of a listener of UDP.
pub(super) fn datagrams(
    id: ListenerId,
    addresses: Vec<IpAddr>,
    port: u16,
    routes: Vec<Arc<StreamRoute>>,
) -> DatagramPort {
    DatagramPort {
        addresses,
        port,
        id,
        idle_timeout: SESSION_IDLE,
        routes,
    }
}
