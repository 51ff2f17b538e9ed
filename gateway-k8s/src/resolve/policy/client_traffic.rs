//! ClientTrafficPolicy: how listeners treat their clients.
//!
//! A policy of a listener replaces that of its ListenerSet whole, and this that of the Gateway. Plain
//! listeners that share a port differ
//! by `Host` only, so they share a connection: none of them can have a policy for itself.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use towergate_core::plan::TcpSettings;
use towergate_policy::ClientTrafficPolicySpec;
use towergate_policy::client_traffic::{ListenerConfig, ListenerContext, ValidationRefs};
use towergate_tls::{ClientAuth, NamePattern};

use super::super::authority::{self, Bundle};
use super::super::gateway::ListenerState;
use super::super::grant::{From, To};
use super::super::port::bound;
use super::super::report::{Report, Subject};
use super::super::world::by_age;
use super::ancestors::{accept, ancestor, refuse, warn};
use super::target::{Places, Target, section_field};
use super::{Unusable, admitted, note, tell};
use crate::api::ENVOY_GROUP;
use crate::api::reference::ParentReference;
use crate::objects::Object;
use crate::status::{PolicyStatus, StatusKey, Statuses};

const KIND: &str = "ClientTrafficPolicy";

/// The field that needs to know the one host name of a listener.
const DEFAULT_HOST: &str = "spec.http1.http10.useDefaultHost";

/// What is in force on a listener: settings, or nothing that can be, so that it fails closed.
pub(crate) type ClientEffect = Result<ListenerConfig, Unusable>;

/// ClientTrafficPolicies by listener (Gateway, listener).
#[derive(Debug, Default)]
pub(crate) struct ClientTraffic<'a> {
    listeners: HashMap<(usize, usize), Held<'a>>,
}

/// The policy of a listener.
#[derive(Debug)]
struct Held<'a> {
    policy: &'a Object<ClientTrafficPolicySpec>,
    effect: ClientEffect,
    /// Of the port. Also of a policy that cannot be in force: whether a PROXY header comes first is
    /// known all the same, and clients should get the answer that says what is wrong.
    tcp: TcpSettings,
}

impl ClientTraffic<'_> {
    /// What is in force on a listener; `None`: no policy.
    pub(crate) fn find(&self, gateway: usize, listener: usize) -> Option<&ClientEffect> {
        let held = self.listeners.get(&(gateway, listener));
        held.map(|held| &held.effect)
    }

    /// What is in force on the port of a listener.
    pub(crate) fn tcp(&self, gateway: usize, listener: usize) -> TcpSettings {
        let held = self.listeners.get(&(gateway, listener));
        held.map(|held| held.tcp.clone()).unwrap_or_default()
    }
}

/// Attaches all policies and states how they stand.
pub(super) fn attach<'a>(
    places: &Places<'_, 'a>,
    report: &mut Report,
    statuses: &mut Statuses,
) -> ClientTraffic<'a> {
    let policies = by_age(places.world.objects.client_traffic_policies.values());
    let mut sections = Vec::new();
    let mut sets = Vec::new();
    let mut gateways = Vec::new();
    for (at, policy) in policies.iter().enumerate() {
        for target in places.find(KIND, &policy.meta, policy.spec.targets()) {
            match target {
                Target::Listener(gateway, set, name) => sections.push((at, gateway, set, name)),
                Target::Set(gateway, set) => sets.push((at, gateway, Some(set))),
                Target::Gateway(gateway) => gateways.push((at, gateway, None)),
                Target::Route(_) | Target::Rule(..) => {}
            }
        }
    }
    let mut run = Run {
        hosts: hosts(places),
        places,
        policies,
        claims: ClientTraffic::default(),
        whole: HashMap::new(),
        statuses: BTreeMap::new(),
        report,
    };
    for (at, gateway, set, name) in sections {
        run.section(at, gateway, set, &name);
    }
    for (at, gateway, set) in sets.into_iter().chain(gateways) {
        run.whole(at, gateway, set);
    }
    for (at, status) in run.statuses {
        let policy = run.policies[at];
        let key = StatusKey::new(KIND, policy.key());
        note(places.world, statuses, key, policy.meta.generation, status);
    }
    run.claims
}

struct Run<'r, 'p, 'a> {
    places: &'r Places<'p, 'a>,
    policies: Vec<&'a Object<ClientTrafficPolicySpec>>,
    claims: ClientTraffic<'a>,
    /// Which policy has a whole Gateway, or a whole ListenerSet of it.
    whole: HashMap<(usize, Option<usize>), usize>,
    /// By listener: its host name, or else those of its routes, in order.
    hosts: HashMap<(usize, usize), BTreeSet<String>>,
    statuses: BTreeMap<usize, PolicyStatus>,
    report: &'r mut Report,
}

impl<'a> Run<'_, '_, 'a> {
    fn section(&mut self, at: usize, gateway: usize, set: Option<usize>, name: &str) {
        let state = &self.places.gateways.list[gateway];
        let ancestors = [ancestor(state, set, Some(name))];
        if !state.has_listener(set, name) {
            let field = section_field(self.policies[at].spec.targets(), state.target_of(set), name);
            let fault = state.no_listener(set, name);
            let fault = Unusable::section(field, fault);
            return self.refuse(at, &ancestors, "TargetNotFound", &fault);
        }
        let mut listeners = state.listeners.iter();
        let named =
            |listener: &ListenerState<'_>| listener.set == set && listener.spec.name == name;
        let Some(listener) = listeners.position(named) else {
            // The Gateway does not take the ListenerSet, whose own status says so.
            return self.conclude(at, &ancestors);
        };
        if let Some(held) = self.claims.listeners.get(&(gateway, listener)) {
            let holder = held.policy;
            if holder.key() != self.policies[at].key() {
                let message = format!("{KIND} {} is older and has the listener.", holder.key());
                self.refuse(at, &ancestors, "Conflicted", &Unusable::target(message));
            }
            return;
        }
        let shared = self.sharing(gateway, listener);
        // What ListenerSets add must not undo a policy of the Gateway's own listener.
        let shared = shared
            .iter()
            .filter(|other| set.is_some() || other.set.is_none());
        let shared = shared.map(|other| &*other.spec.name).collect();
        let effect = self.effect_unless_shared(at, (gateway, listener), set, shared);
        self.take(at, (gateway, listener), set, effect, &ancestors);
        self.conclude(at, &ancestors);
    }

    /// A policy of a whole Gateway, ListenerSets included, or of a whole ListenerSet.
    fn whole(&mut self, at: usize, gateway: usize, set: Option<usize>) {
        let state = &self.places.gateways.list[gateway];
        let ancestors = [ancestor(state, set, None)];
        if let Some(holder) = self.whole.get(&(gateway, set)) {
            let holder = self.policies[*holder].key();
            if holder != self.policies[at].key() {
                let what = set.map_or("Gateway", |_| "ListenerSet");
                let message = format!("{KIND} {holder} is older and has the {what}.");
                self.refuse(at, &ancestors, "Conflicted", &Unusable::target(message));
            }
            return;
        }
        self.whole.insert((gateway, set), at);
        let mut own = Vec::new();
        let listeners = state.listeners.iter().enumerate();
        let listeners = listeners.filter(|(_, listener)| set.is_none() || listener.set == set);
        for (listener, listener_state) in listeners {
            if self.claims.listeners.contains_key(&(gateway, listener)) {
                own.push(listener_state.spec.name.as_str());
                continue;
            }
            let others = self.sharing(gateway, listener).into_iter();
            let others = others.filter(|other| set.is_some() && other.set != set);
            let others = others.map(|other| &*other.spec.name).collect();
            let effect = self.effect_unless_shared(at, (gateway, listener), set, others);
            self.take(at, (gateway, listener), set, effect, &ancestors);
        }
        if !own.is_empty() {
            own.sort_unstable();
            let message = format!(
                "These listeners have a policy of their own: {}.",
                own.join(", ")
            );
            let status = self.statuses.entry(at).or_default();
            status
                .conditions(&ancestors[0])
                .set("Overridden", true, "Overridden", message);
        }
        self.conclude(at, &ancestors);
    }

    /// What is in force on a listener. `set` is the ListenerSet that the policy is for; `others` share
    /// connections with the listener, and are not the policy's.
    fn effect_unless_shared(
        &self,
        at: usize,
        place: (usize, usize),
        set: Option<usize>,
        others: Vec<&str>,
    ) -> ClientEffect {
        if self.imposes(at, place, set) {
            return Err(Unusable {
                field: "spec.proxyProtocol".to_owned(),
                message: "A PROXY header is expected on a whole port, and others had this one before the ListenerSet.".to_owned(),
                inadmissible: false,
                help: None,
            });
        }
        if others.is_empty() {
            return self.effect(at, place);
        }
        // Envoy Gateway's own words, since people search for them.
        Err(Unusable::target(format!(
            "ClientTrafficPolicy is being applied to multiple http (non https) listeners ({}) on the same port, which is not allowed",
            others.join(", ")
        )))
    }

    /// Whether the policy of a ListenerSet expects a PROXY header on a port that others had first. Who may
    /// add listeners to a Gateway must not decide that for everybody.
    fn imposes(&self, at: usize, (gateway, listener): (usize, usize), set: Option<usize>) -> bool {
        let listeners = &self.places.gateways.list[gateway].listeners;
        let socket = |listener: &ListenerState<'_>| bound(self.places.world, listener.spec.port);
        let port = socket(&listeners[listener]);
        let mut ready = listeners.iter().filter(|other| other.ready());
        let first = ready.find(|other| socket(other) == port);
        let expected = expected_header(&self.policies[at].spec);
        set.is_some()
            && expected.proxy_protocol.is_some()
            && first.is_some_and(|first| first.set != set)
    }

    fn effect(&self, at: usize, place: (usize, usize)) -> ClientEffect {
        let policy = self.policies[at];
        admitted(&policy.misread)?;
        let spec = &policy.spec;
        let hostname = only(self.hosts.get(&place));
        let mut refused = match spec.listener_settings(ListenerContext { hostname }) {
            Ok(mut converted) => {
                if let Some(refs) = &converted.tls.client_validation {
                    converted.tls.clients = Some(self.clients(at, place, refs)?);
                }
                return Ok(converted);
            }
            Err(refused) => refused,
        };
        if refused.field == DEFAULT_HOST {
            let found = self.hosts.get(&place).into_iter().flatten();
            let found: Vec<_> = found.map(String::as_str).collect();
            refused.message += &match found.as_slice() {
                [] => "; there is none".to_owned(),
                found => format!("; found: {}", found.join(", ")),
            };
        }
        Err(refused.into())
    }

    /// What clients of a listener must show. All authorities must be found: a policy has no condition
    /// for some of them.
    fn clients(
        &self,
        at: usize,
        (gateway, listener): (usize, usize),
        refs: &ValidationRefs,
    ) -> Result<ClientAuth, Unusable> {
        const FIELD: &str = "spec.tls.clientValidation";
        let unusable = |field: String, message: String| Unusable {
            field,
            message,
            inadmissible: false,
            help: None,
        };
        let state = &self.places.gateways.list[gateway].listeners[listener];
        if state.clients.is_some() {
            let message =
                "clientValidation and spec.tls.frontend of the Gateway exclude each other";
            return Err(unusable(FIELD.to_owned(), message.to_owned()));
        }
        let own = self.policies[at].meta.namespace.as_str();
        let from = From {
            group: ENVOY_GROUP,
            kind: KIND,
            namespace: own,
        };
        let mut bundle = Bundle::default();
        for (at, reference) in refs.authorities.iter().enumerate() {
            let namespace = reference.namespace.as_deref();
            let to = To {
                group: reference.group.as_deref().unwrap_or_default(),
                kind: reference.kind.as_deref().unwrap_or("Secret"),
                namespace: namespace.filter(|name| !name.is_empty()).unwrap_or(own),
                name: reference.name.as_deref().unwrap_or_default(),
            };
            bundle.add(at, authority::find(self.places.world, from, to));
        }
        match bundle.faults.first() {
            None => Ok(ClientAuth {
                roots_pem: bundle.pem,
                mode: refs.mode,
            }),
            Some((at, fault)) => Err(unusable(
                format!("{FIELD}.caCertificateRefs[{at}]"),
                fault.message.clone(),
            )),
        }
    }

    fn take(
        &mut self,
        at: usize,
        place: (usize, usize),
        set: Option<usize>,
        effect: ClientEffect,
        ancestors: &[ParentReference],
    ) {
        if let Err(fault) = &effect {
            let fault = fault.clone();
            self.refuse(at, ancestors, "Invalid", &fault);
        }
        let policy = self.policies[at];
        let tcp = match &effect {
            Ok(converted) => converted.tcp.clone(),
            Err(_) if self.imposes(at, place, set) => TcpSettings::default(),
            Err(_) => expected_header(&policy.spec),
        };
        let held = Held {
            policy,
            effect,
            tcp,
        };
        self.claims.listeners.insert(place, held);
    }

    fn refuse(
        &mut self,
        at: usize,
        ancestors: &[ParentReference],
        reason: &'static str,
        fault: &Unusable,
    ) {
        let subject = Subject::new(KIND, self.policies[at]);
        tell(self.report, &subject, reason, fault);
        let status = self.statuses.entry(at).or_default();
        refuse(status, ancestors, reason, &fault.message);
    }

    fn conclude(&mut self, at: usize, ancestors: &[ParentReference]) {
        let status = self.statuses.entry(at).or_default();
        accept(status, ancestors);
        warn(status, ancestors, &self.policies[at].spec.deprecated());
    }

    /// Other plain listeners of the same port, if this one is plain.
    fn sharing(&self, gateway: usize, listener: usize) -> Vec<&ListenerState<'a>> {
        let listeners = &self.places.gateways.list[gateway].listeners;
        let this = &listeners[listener];
        if this.spec.protocol != "HTTP" || !this.ready() {
            return Vec::new();
        }
        let others = listeners.iter().enumerate().filter(|(at, other)| {
            *at != listener
                && other.ready()
                && other.spec.protocol == "HTTP"
                && other.spec.port == this.spec.port
        });
        others.map(|(_, other)| other).collect()
    }
}

/// Whether a policy expects a PROXY header, whatever else is in it.
fn expected_header(spec: &ClientTrafficPolicySpec) -> TcpSettings {
    let only = ClientTrafficPolicySpec {
        proxy_protocol: spec.proxy_protocol.clone(),
        enable_proxy_protocol: spec.enable_proxy_protocol,
        ..Default::default()
    };
    let converted = only.listener_settings(ListenerContext::default());
    converted.map(|converted| converted.tcp).unwrap_or_default()
}

/// By listener the host names that requests without one may be meant for: its own, or else those of its
/// routes.
fn hosts(places: &Places<'_, '_>) -> HashMap<(usize, usize), BTreeSet<String>> {
    let mut names: HashMap<(usize, usize), BTreeSet<String>> = HashMap::new();
    for state in places.routes {
        for attachment in &state.attachments {
            for (listener, hosts) in &attachment.listeners {
                names
                    .entry((attachment.gateway, *listener))
                    .or_default()
                    .extend(hosts.iter().map(ToString::to_string));
            }
        }
    }
    for (gateway, state) in places.gateways.list.iter().enumerate() {
        for (listener, listener_state) in state.listeners.iter().enumerate() {
            if let NamePattern::Exact(name) = &listener_state.hostname {
                names.insert((gateway, listener), [name.clone()].into());
            }
        }
    }
    names
}

/// The host name, if there is only one and it is no wildcard.
fn only(names: Option<&BTreeSet<String>>) -> Option<&str> {
    let names = names.filter(|names| names.len() == 1)?;
    names
        .first()
        .map(String::as_str)
        .filter(|name| !name.starts_with('*'))
}
