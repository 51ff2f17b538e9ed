//! Routes of connections and datagrams in the plan.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use towergate_core::plan::{DatagramPort, ListenerId, RouteId, StreamAccess, StreamRoute, Traffic};
use towergate_policy::security::stream_access;
use towergate_tls::NamePattern;

use super::super::indexed::{ListenerPlace, RouteIndex};
use super::super::policy::{On, TrafficEffect};
use super::super::route::{Routes, StreamDraft, written_hostnames};
use super::{Builder, find};

/// Idle timeout of a client's UDP session, as in Envoy Gateway.
const SESSION_IDLE: Duration = Duration::from_secs(60);

/// Routes by listener, in order of precedence.
pub(super) type Streams = BTreeMap<ListenerPlace, Vec<Arc<StreamRoute>>>;

impl Builder<'_, '_> {
    /// The routes of connections and datagrams of each listener, in order of precedence.
    pub(super) fn streams(&mut self, routes: &Routes<'_>) -> Streams {
        let mut streams = Streams::new();
        for (at, state) in routes.indexed() {
            let Some(draft) = &state.stream else { continue };
            let id = state.route.id();
            for attachment in &state.attachments {
                for (listener, hostnames) in &attachment.listeners {
                    let place = (attachment.gateway, *listener);
                    let held = streams.entry(place).or_default();
                    // Two parentRefs may name the same listener.
                    if held.last().is_none_or(|last| last.id != id) {
                        let mut route = self.stream(&id, at, draft, place, hostnames);
                        let served = &self.gateways.list[attachment.gateway].listeners[*listener];
                        route.written_hostnames =
                            written_hostnames(state.route, &served.hostname, hostnames);
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
        route: RouteIndex,
        draft: &StreamDraft,
        place: ListenerPlace,
        hostnames: &[NamePattern],
    ) -> StreamRoute {
        let state = &self.gateways.list[place.0].listeners[place.1];
        let mut backends = match state.passes_through() {
            true => draft.passed.clone(),
            false => draft.terminated.clone(),
        };
        let client_tls = &self.gateways.list[place.0].client_tls;
        client_tls.apply(&mut Vec::new(), &mut backends);
        let access = self.stream_access(route, draft, place);
        let effect = self.stream_effect(route, draft, place);
        let effect = effect.filter(|_| access.is_some());
        let mut stated = effect.iter().flatten();
        let stated = stated.find_map(|effect| effect.service_address);
        if stated.unwrap_or(self.gateways.list[place.0].service_address) {
            self.route_to_addresses(&mut backends);
        }
        let traffic = effect.map(|effect| self.stream_traffic(effect.as_deref()));
        StreamRoute {
            id: id.clone(),
            rule: draft.name.clone(),
            hostnames: hostnames.to_vec(),
            written_hostnames: Vec::new(),
            // A route whose policies cannot be enforced must not be served.
            backends: match traffic {
                Some(_) => backends,
                None => Vec::new(),
            },
            traffic: traffic.unwrap_or_else(|| self.plain.clone()),
            access: access.flatten(),
        }
    }

    /// Clients that may connect to a route; `None` if one of its policies cannot be enforced.
    fn stream_access(
        &self,
        route: RouteIndex,
        draft: &StreamDraft,
        (gateway, listener): ListenerPlace,
    ) -> Option<Option<StreamAccess>> {
        let state = &self.gateways.list[gateway].listeners[listener];
        let on = On {
            gateway,
            set: state.set,
            listener: &state.spec.name,
        };
        let rule = draft.name.as_deref();
        let objects = self.objects;
        if self.policies.close(objects, route, rule, on) {
            return None;
        }
        let Some(guards) = find(&self.policies.security, route, rule, on) else {
            return Some(None);
        };
        stream_access(&guards.effect(objects).ok()?).ok()
    }

    /// Effect of the BackendTrafficPolicy of a route. `Some(None)`: the route has no policy. `None`: the
    /// policy cannot be enforced.
    fn stream_effect(
        &mut self,
        route: RouteIndex,
        draft: &StreamDraft,
        (gateway, listener): ListenerPlace,
    ) -> Option<Option<Arc<TrafficEffect>>> {
        let state = &self.gateways.list[gateway].listeners[listener];
        let on = On {
            gateway,
            set: state.set,
            listener: &state.spec.name,
        };
        let rule = draft.name.as_deref();
        let objects = self.objects;
        let Some(in_force) = find(&self.policies.traffic, route, rule, on) else {
            return Some(None);
        };
        let make = || in_force.effect(objects).ok().map(Arc::new);
        let effect = self.effects.entry((in_force.key(), false, None));
        effect.or_insert_with(make).clone().map(Some)
    }

    /// Traffic settings of connections of a route.
    fn stream_traffic(&mut self, effect: Option<&TrafficEffect>) -> Arc<Traffic> {
        let Some(TrafficEffect { traffic, .. }) = effect else {
            return self.plain.clone();
        };
        let make = || Arc::new(traffic.clone());
        let shared = self.traffic.entry(traffic.clone());
        shared.or_insert_with(make).clone()
    }
}

/// The socket of a UDP listener.
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
