//! The plan: sockets, their listeners, the routes of each, and their policies.
//!
//! Settings of a socket (PROXY protocol, keep-alive, buffers, inspection timeout) apply before the
//! listener of a connection is known. Therefore the port's first listener sets them. A PROXY header
//! is expected if any listener of the port expects one, with the settings of the first such
//! listener.

mod stream;

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use towergate_core::plan::{
    ActiveCheck, Destination, Filter, Listener, ListenerId, ListenerSettings, Match, PathMatch,
    Plan, Port, Probe, Protocol, Route, RouteId, Rule, TcpSettings, Timeouts, Traffic,
    WeightedBackend,
};
use towergate_policy::Policy;
use towergate_policy::client_traffic::ListenerConfig;
use towergate_policy::envoy_proxy::AuthenticationOrder;
use towergate_tls::ServerTls;

use super::gateway::{GatewayState, Gateways, ListenerProtocol, ListenerState};
use super::indexed::{ListenerPlace, RouteIndex};
use super::object_index::ObjectIndex;
use super::policy::context::PolicyObjects;
use super::policy::{
    Attached, ClientEffect, InForce, On, Policies, RoutePolicySpec, TrafficEffect,
};
use super::port::bound;
use super::route::{Routes, RuleDraft, RuleTraffic, preflights, written_hostnames};
use crate::objects::ObjectKey;

/// Builds the plan.
pub(super) fn build<'a>(
    objects: PolicyObjects<'_, 'a>,
    gateways: &Gateways<'a>,
    routes: &Routes<'a>,
    policies: &Policies<'a>,
) -> Plan<Policy> {
    let index = objects.index;
    let mut builder = Builder {
        objects,
        index,
        gateways,
        policies,
        plain: Arc::default(),
        traffic: HashMap::new(),
        effects: HashMap::new(),
        guards: HashMap::new(),
    };
    let mut streams = builder.streams(routes);
    let mut routes = builder.by_listener(routes);
    let mut datagrams = Vec::new();
    let mut ports: BTreeMap<(Vec<IpAddr>, u16), Port<Policy>> = BTreeMap::new();
    for (g, gateway) in gateways.list.indexed() {
        for (l, state) in gateway.listeners.indexed() {
            if !state.ready() {
                continue;
            }
            let number = bound(index, state.spec.port);
            let effect = policies.client.find(g, l);
            let id = builder.id(gateway, state);
            let mut streams = streams.remove(&(g, l)).unwrap_or_default();
            if effect.is_some_and(Result::is_err) {
                // The listener fails closed: its connections get no response.
                streams.clear();
            }
            if state.protocol == Some(ListenerProtocol::Udp) {
                let bind = gateway.bind.clone();
                datagrams.push(stream::datagrams(id, bind, number, streams));
                continue;
            }
            let tcp = policies.client.tcp(g, l);
            let port = ports
                .entry((gateway.bind.clone(), number))
                .or_insert_with(|| Port {
                    addresses: gateway.bind.clone(),
                    port: number,
                    tcp: tcp.clone(),
                    listeners: Vec::new(),
                });
            join(&mut port.tcp, tcp);
            let mut listener = builder.listener(id, state, effect);
            listener.routes = routes.remove(&(g, l)).unwrap_or_default();
            listener.streams = streams;
            port.listeners.push(listener);
        }
    }
    Plan {
        ports: ports.into_values().collect(),
        datagrams,
    }
}

/// Uses the PROXY protocol settings of the first listener that has any.
fn join(port: &mut TcpSettings, listener: TcpSettings) {
    if port.proxy_protocol.is_none() {
        port.proxy_protocol = listener.proxy_protocol;
    }
}

/// `namespace/name` of a Gateway and the name of a listener.
type ListenerName = String;

/// A policy, and the policy into which it is merged.
type InForceKey = (ObjectKey, Option<ObjectKey>, bool);

struct Builder<'b, 'a> {
    objects: PolicyObjects<'b, 'a>,
    index: &'b ObjectIndex<'a>,
    gateways: &'b Gateways<'a>,
    policies: &'b Policies<'a>,
    /// Default traffic settings, shared by all rules without their own settings.
    plain: Arc<Traffic>,
    traffic: HashMap<Traffic, Arc<Traffic>>,
    effects: HashMap<(InForceKey, bool, Option<ListenerName>), Option<Arc<TrafficEffect>>>,
    guards: HashMap<InForceKey, Option<Arc<Vec<Policy>>>>,
}

/// Policies in force for a rule on a listener. An inner `None` is a policy that cannot be enforced, so the rule
/// fails closed.
#[derive(Default)]
struct RuleEffect {
    key: (
        Option<InForceKey>,
        Option<InForceKey>,
        bool,
        bool,
        Option<ListenerName>,
        bool,
        AuthenticationOrder,
    ),
    /// Whether requests are sent to cluster addresses if the policy does not set the routing type.
    service_address: bool,
    /// Order of authentication on the Gateway.
    authentication: AuthenticationOrder,
    /// Whether the rule fails closed because of an unsupported policy.
    closed: bool,
    traffic: Option<Option<Arc<TrafficEffect>>>,
    guards: Option<Option<Arc<Vec<Policy>>>>,
}

impl<'a> Builder<'_, 'a> {
    fn listener(
        &self,
        id: ListenerId,
        state: &ListenerState<'_>,
        effect: Option<&ClientEffect>,
    ) -> Listener<Policy> {
        let converted = effect.and_then(|effect| effect.as_ref().ok());
        let protocol = match state.protocol {
            Some(ListenerProtocol::Https) => Protocol::Https(self.server_tls(state, converted)),
            Some(ListenerProtocol::Tls) if state.passes_through() => Protocol::Tls(None),
            Some(ListenerProtocol::Tls) => Protocol::Tls(Some(self.server_tls(state, converted))),
            Some(ListenerProtocol::Tcp) => Protocol::Tcp,
            // This function builds no UDP listeners and no listeners without a protocol.
            Some(ListenerProtocol::Http | ListenerProtocol::Udp) | None => Protocol::Http,
        };
        let parity = self.index.options.parity;
        let mut settings = ListenerSettings {
            keep_external_address: parity.keep_external_address,
            ..converted
                .map(|converted| converted.settings.clone())
                .unwrap_or_default()
        };
        settings.strict_host |= parity.strict_host;
        if matches!(protocol, Protocol::Tls(_) | Protocol::Tcp) {
            let idle = converted.map(|converted| converted.connection_idle);
            settings.timeouts.idle = idle.unwrap_or(Timeouts::default().idle);
        }
        Listener {
            id,
            port: u16::try_from(state.spec.port).unwrap_or_default(),
            hostname: state.hostname.clone(),
            protocol,
            settings: Arc::new(settings),
            routes: Vec::new(),
            streams: Vec::new(),
            failed: effect.is_some_and(Result::is_err),
        }
    }

    /// Settings for TLS termination on a listener.
    fn server_tls(
        &self,
        state: &ListenerState<'_>,
        policy: Option<&ListenerConfig>,
    ) -> Arc<ServerTls> {
        let mut tls = ServerTls {
            certificates: state.certificates.clone(),
            unknown_name: self.index.options.unknown_name,
            ..ServerTls::default()
        };
        if state.protocol == Some(ListenerProtocol::Tls) {
            // The protocol inside TLS is unknown, so no ALPN protocol is offered.
            tls.alpn.clear();
        }
        if let Some(wanted) = policy.map(|converted| &converted.tls) {
            tls.limits.clone_from(&wanted.limits);
            tls.alpn = wanted.alpn.clone().unwrap_or(tls.alpn);
            tls.stateful_resumption = wanted.stateful_resumption;
            tls.stateless_resumption = wanted.stateless_resumption;
            tls.clients.clone_from(&wanted.clients);
        }
        if state.clients.is_some() {
            tls.clients.clone_from(&state.clients);
        }
        Arc::new(tls)
    }

    /// The name of a listener.
    fn id(&self, gateway: &GatewayState<'_>, state: &ListenerState<'_>) -> ListenerId {
        ListenerId {
            namespace: gateway.object.meta.namespace.clone(),
            gateway: gateway.object.meta.name.clone(),
            listener: match state.set {
                // Names of listeners contain no slash, so `SET/LISTENER` is unique.
                Some(set) => format!("{}/{}", gateway.sets[set].object.key(), state.spec.name),
                None => state.spec.name.clone(),
            },
        }
    }

    /// The routes of each listener, in order of precedence. Listeners with the same policies share the
    /// rules of a route.
    fn by_listener(
        &mut self,
        routes: &Routes<'a>,
    ) -> BTreeMap<ListenerPlace, Vec<Arc<Route<Policy>>>> {
        let mut by_listener: BTreeMap<_, Vec<Arc<Route<Policy>>>> = BTreeMap::new();
        let routes = routes.indexed();
        for (at, state) in routes.filter(|(_, state)| !state.route.carries_streams()) {
            let id = state.route.id();
            let mut built = HashMap::new();
            let names = state.route.hostnames().iter().map(String::as_str);
            let host = names.clone().find(|name| !name.starts_with('*'));
            let mut whole: Vec<Arc<Route<Policy>>> = Vec::new();
            for attachment in &state.attachments {
                for (listener, hostnames) in &attachment.listeners {
                    let place = (attachment.gateway, *listener);
                    let routes = by_listener.entry(place).or_default();
                    // Two parentRefs may name the same listener.
                    if routes.last().is_some_and(|last| last.id == id) {
                        continue;
                    }
                    let rules = state.rules.iter().map(|draft| {
                        let effect = self.effect(at, draft, place);
                        let client_tls = &self.gateways.list[attachment.gateway].client_tls;
                        let own = (!client_tls.is_none()).then_some(attachment.gateway);
                        let key = (draft.index, effect.key.clone(), own);
                        let make = || {
                            let mut rule = self.rule(&id, draft, effect, host);
                            client_tls.apply(&mut rule.filters, &mut rule.backends);
                            Arc::new(rule)
                        };
                        built.entry(key).or_insert_with(make).clone()
                    });
                    let rules: Vec<_> = rules.collect();
                    let served = &self.gateways.list[attachment.gateway].listeners[*listener];
                    let written = written_hostnames(state.route, &served.hostname, hostnames);
                    // Listeners with equal hostnames and rules share the route.
                    let same = whole.iter().find(|route| {
                        let mut pairs = route.rules.iter().zip(&rules);
                        route.hostnames == *hostnames
                            && route.written_hostnames == written
                            && pairs.all(|(a, b)| Arc::ptr_eq(a, b))
                    });
                    let route = same.cloned().unwrap_or_else(|| {
                        whole.push(Arc::new(Route {
                            id: id.clone(),
                            hostnames: hostnames.clone(),
                            written_hostnames: written,
                            rules,
                        }));
                        whole[whole.len() - 1].clone()
                    });
                    routes.push(route);
                }
            }
        }
        by_listener
    }

    fn effect(&mut self, route: RouteIndex, draft: &RuleDraft, place: ListenerPlace) -> RuleEffect {
        let (gateway, listener) = place;
        let service_address = self.gateways.list[gateway].service_address;
        let authentication = self.gateways.list[gateway].authentication;
        if self.policies.are_none_of_routes() {
            let mut effect = RuleEffect::default();
            (effect.key.5, effect.service_address) = (service_address, service_address);
            (effect.key.6, effect.authentication) = (authentication, authentication);
            return effect;
        }
        let state = &self.gateways.list[gateway].listeners[listener];
        let on = On {
            gateway,
            set: state.set,
            listener: &state.spec.name,
        };
        let client = self.policies.client.find(gateway, listener);
        let settings = client
            .and_then(|effect| effect.as_ref().ok())
            .map(|effect| &effect.settings);
        let headers = settings.is_none_or(|settings| settings.headers.rate_limit_headers);
        let rule = draft.name.as_deref();
        let objects = self.objects;
        let traffic = find(&self.policies.traffic, route, rule, on);
        let guards = find(&self.policies.security, route, rule, on);
        let closed = self.policies.close(objects, route, rule, on);
        let by_listener = traffic.as_ref().is_some_and(InForce::counts_by_listener);
        let listener = by_listener.then(|| {
            let gateway = self.gateways.list[gateway].object.key();
            format!("{gateway}/{}", state.spec.name)
        });
        RuleEffect {
            closed,
            key: (
                traffic.as_ref().map(|in_force| in_force.key()),
                guards.as_ref().map(|in_force| in_force.key()),
                headers,
                closed,
                listener.clone(),
                service_address,
                authentication,
            ),
            service_address,
            authentication,
            traffic: traffic.map(|in_force| {
                let make = || {
                    let name = listener.as_deref().unwrap_or_default();
                    let effect = in_force.effect_on(objects, headers, name);
                    effect.ok().map(Arc::new)
                };
                self.effects
                    .entry((in_force.key(), headers, listener.clone()))
                    .or_insert_with(make)
                    .clone()
            }),
            guards: guards.map(|in_force| {
                let make = || in_force.effect(objects).ok().map(Arc::new);
                self.guards
                    .entry(in_force.key())
                    .or_insert_with(make)
                    .clone()
            }),
        }
    }

    fn rule(
        &mut self,
        id: &Arc<RouteId>,
        draft: &RuleDraft,
        effect: RuleEffect,
        host: Option<&str>,
    ) -> Rule<Policy> {
        let closed = effect.closed
            || matches!(effect.traffic, Some(None))
            || matches!(effect.guards, Some(None));
        let of_traffic = effect.traffic.flatten();
        let stated = of_traffic.as_ref().and_then(|own| own.service_address);
        let service_address = stated.unwrap_or(effect.service_address);
        let traffic = self.traffic(draft, of_traffic.as_deref(), host);
        // Access control runs before rate limits.
        let guards = effect.guards.flatten();
        let guards = guards.iter().flat_map(|guards| guards.iter().cloned());
        let own = draft.policies.iter().cloned();
        let limits = of_traffic
            .iter()
            .flat_map(|effect| effect.policies.iter().cloned());
        let mut rule = Rule {
            route: id.clone(),
            index: draft.index,
            name: draft.name.clone(),
            matches: match traffic.connect {
                None => draft.matches.clone(),
                Some(_) => connect_matches(&draft.matches),
            },
            policies: own.chain(guards).chain(limits).collect(),
            filters: draft.filters.clone(),
            traffic,
            backends: draft.backends.clone(),
            respond: if closed { Some(500) } else { draft.respond },
        };
        effect.authentication.apply(&mut rule.policies);
        self.add_cors(&mut rule);
        if service_address {
            self.route_to_addresses(&mut rule.backends);
        }
        rule
    }

    /// Replaces the endpoints of Services by their cluster addresses.
    fn route_to_addresses(&self, backends: &mut [WeightedBackend]) {
        let mut known = self.objects.backends.borrow_mut();
        for backend in backends {
            if let Destination::Backend(backend) = &mut backend.destination {
                known.route_to_address(self.index, backend);
            }
        }
    }

    /// Completes the CORS settings of a rule: the filter takes precedence over the policy, and the rule also
    /// matches preflight requests.
    fn add_cors(&self, rule: &mut Rule<Policy>) {
        let filter = |filter: &Filter| matches!(filter, Filter::Cors(_));
        let policy = |policy: &Policy| matches!(policy, Policy::Cors(_));
        if rule.filters.iter().any(filter) {
            rule.policies.retain(|own| !policy(own));
        } else if rule.policies.iter().any(policy) {
            rule.matches.extend(preflights(&rule.matches));
        }
        if self.index.options.parity.cors {
            for filter in &mut rule.filters {
                if let Filter::Cors(cors) = filter {
                    cors.as_envoy = true;
                }
            }
            for policy in &mut rule.policies {
                if let Policy::Cors(cors) = policy {
                    cors.as_envoy = true;
                }
            }
        }
    }

    /// Traffic settings of a rule. Most rules have the defaults.
    fn traffic(
        &mut self,
        draft: &RuleDraft,
        policy: Option<&TrafficEffect>,
        host: Option<&str>,
    ) -> Arc<Traffic> {
        if policy.is_none() && draft.traffic == RuleTraffic::default() {
            return self.plain.clone();
        }
        let mut traffic = policy
            .map(|effect| effect.traffic.clone())
            .unwrap_or_default();
        draft.traffic.apply(&mut traffic);
        if let Some(check) = &mut traffic.probe {
            name_host(check, host);
        }
        let make = || Arc::new(traffic.clone());
        self.traffic
            .entry(traffic.clone())
            .or_insert_with(make)
            .clone()
    }
}

/// Sets the hostname of the route as the host of health checks without a host.
fn name_host(check: &mut ActiveCheck, host: Option<&str>) {
    if let Probe::Http(probe) = &mut check.probe
        && probe.host.is_none()
    {
        probe.host = host.map(str::to_owned);
    }
}

fn find<'a, S: RoutePolicySpec>(
    attached: &Attached<'a, S>,
    route: RouteIndex,
    rule: Option<&str>,
    on: On<'_>,
) -> Option<super::policy::InForce<'a, S>> {
    if attached.is_empty() {
        return None;
    }
    attached.find(route, rule, on)
}

/// The matches of a rule for CONNECT requests. Their path is empty, so it replaces the path of each match, as
/// in Envoy Gateway.
fn connect_matches(matches: &[Match]) -> Vec<Match> {
    let mut connect: Vec<Match> = Vec::new();
    for matched in matches {
        let matched = Match {
            path: PathMatch::Exact(String::new()),
            ..matched.clone()
        };
        if !connect.contains(&matched) {
            connect.push(matched);
        }
    }
    connect
}
