//! Gateways of this controller, and the validity of their listeners.
//!
//! ```text
//! GatewayClass ──> is_ours
//! listener ──> spec ──> certificates ──> conflicts with other listeners ──> conditions
//! ```
//!
//! Listeners of ListenerSets (`set`) follow those of the Gateway and are checked in the same way.
//! An invalid listener does not affect others. Routes also attach to a listener whose certificate
//! is missing, so that they are served as soon as the Secret exists.

mod address;
mod backend_client_cert;
mod certificate;
mod class;
mod client_tls;
mod conflict;
mod finding;
mod frontend;
mod listener;
mod overlap;
mod owner;
mod parameters;
mod process;
mod protocol;
mod set;
mod unsupported;

pub use address::every_address;
pub(super) use class::{class_statuses, is_ours};
pub(super) use listener::{AllowedNamespaces, ListenerState};
pub use parameters::gateway_parameters;
pub(super) use parameters::merges_gateways;
pub use process::process_parameters;
pub(super) use protocol::{ListenerProtocol, ProtocolFamily};
pub(super) use set::ListenerSetState;

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use towergate_policy::SchemaViolation;
use towergate_policy::common::TargetKind;
use towergate_policy::envoy_proxy::AuthenticationOrder;
use towergate_tls::{Certificate, NamePattern};

use self::address::Addresses;
use self::client_tls::GatewayClientTls;
use self::finding::report_listener;
use self::frontend::Frontend;
use self::listener::ListenerList;
use self::owner::Owner;
use super::indexed::{GatewayIndex, Indexed, ListenerIndex, ListenerSetIndex};
use super::object_index::{ObjectIndex, by_age};
use super::report::{Report, Subject};
use crate::api::ENVOY_GROUP;
use crate::api::gateway::GatewaySpec;
use crate::api::listener_set::ListenerSetSpec;
use crate::api::meta::ObjectMeta;
use crate::api::reference::SecretObjectReference;
use crate::decode::FieldScope;
use crate::objects::{Object, ObjectKey};
use crate::status::{ConditionType, Conditions, GatewayReason, GatewayStatus, ListenerStatus};

/// A Gateway of this controller.
#[derive(Debug)]
pub(super) struct GatewayState<'a> {
    pub(super) object: &'a Object<GatewaySpec>,
    /// Listeners of the Gateway itself, then the listeners of its ListenerSets.
    pub(super) listeners: ListenerList<'a>,
    /// ListenerSets with this Gateway as parent, the oldest first.
    pub(super) sets: Indexed<ListenerSetIndex, ListenerSetState<'a>>,
    /// Addresses to bind.
    pub(super) bind: Vec<IpAddr>,
    addresses: Addresses,
    /// TLS of connections to backends.
    pub(super) client_tls: GatewayClientTls,
    /// Default routing type (`routingType` of the EnvoyProxy): whether requests are sent to the cluster
    /// address of a Service instead of its endpoints. A policy takes precedence.
    pub(super) service_address: bool,
    /// Order of authentication (`filterOrder` of the EnvoyProxy).
    pub(super) authentication: AuthenticationOrder,
    conditions: Conditions<GatewayReason>,
}

/// The Gateways of this controller, the oldest first, with an index by name.
#[derive(Debug)]
pub(super) struct Gateways<'a> {
    pub(super) list: Indexed<GatewayIndex, GatewayState<'a>>,
    places: HashMap<ObjectKey, GatewayIndex>,
    set_places: HashMap<ObjectKey, (GatewayIndex, ListenerSetIndex)>,
}

impl<'a> Gateways<'a> {
    /// Resolves every Gateway and its listeners.
    pub(super) fn resolve(index: &ObjectIndex<'a>, report: &mut Report) -> Self {
        let ours = by_age(index.objects.gateways.values())
            .into_iter()
            .filter(|gateway| is_ours(index, &gateway.spec.gateway_class_name));
        let mut sets = set::by_gateway(index);
        let list: Indexed<GatewayIndex, _> = ours
            .map(|gateway| {
                let sets = sets.remove(&gateway.key()).unwrap_or_default();
                GatewayState::resolve(index, gateway, sets, report)
            })
            .collect();
        set::orphans(index, report);
        let places = list.indexed();
        let places = places.map(|(at, state)| (state.object.key(), at)).collect();
        let set_places = list.indexed().flat_map(|(gateway, state)| {
            let sets = state.sets.indexed();
            sets.map(move |(at, set)| (set.object.key(), (gateway, at)))
        });
        let set_places = set_places.collect();
        Self {
            list,
            places,
            set_places,
        }
    }

    /// The Gateway of a ListenerSet, and the index of the ListenerSet in that Gateway.
    pub(super) fn find_set(&self, key: &ObjectKey) -> Option<(GatewayIndex, ListenerSetIndex)> {
        self.set_places.get(key).copied()
    }

    /// Index of a Gateway.
    pub(super) fn find(&self, key: &ObjectKey) -> Option<GatewayIndex> {
        self.places.get(key).copied()
    }
}

impl<'a> GatewayState<'a> {
    fn resolve(
        index: &ObjectIndex<'a>,
        object: &'a Object<GatewaySpec>,
        sets: Vec<&'a Object<ListenerSetSpec>>,
        report: &mut Report,
    ) -> Self {
        let subject = Subject::new("Gateway", object);
        let bind = address::bind(index, object);
        let mut state = Self {
            object,
            listeners: Indexed::default(),
            sets: Indexed::default(),
            addresses: Addresses::resolve(index, object, &bind),
            bind,
            client_tls: GatewayClientTls::default(),
            service_address: false,
            authentication: AuthenticationOrder::default(),
            conditions: Conditions::default(),
        };
        if !unsupported::check_gateway(index, &mut state.conditions, object, report, &subject) {
            let sets = sets.into_iter();
            state.sets = sets
                .map(|set| ListenerSetState::of_refused(object, set))
                .collect();
            state.report(report, &subject);
            return state;
        }
        let conditions = &mut state.conditions;
        state.client_tls = GatewayClientTls::find(index, object, conditions, report, &subject);
        let parameters = gateway_parameters(index.objects, object).ok().flatten();
        if let Some(spec) = &parameters {
            state.service_address = spec.routes_to_services();
            state.authentication = spec.authentication_order();
        }
        let frontend = Frontend::read(index, object, report, &subject);
        frontend.warn(conditions, report, &subject);
        let sets = sets.into_iter();
        state.sets = sets
            .map(|set| ListenerSetState::new(index, object, set))
            .collect();
        state.check_listeners(index);
        state.check_names();
        conflict::check(&mut state.listeners);
        state.check_unreadable_fields();
        for listener in &mut state.listeners {
            frontend.check(listener);
            listener.finish();
        }
        overlap::check(&mut state.listeners);
        state.find_nested();
        state.report(report, &subject);
        state
    }

    /// Checks each listener separately.
    fn check_listeners(&mut self, index: &ObjectIndex<'_>) {
        let object = self.object;
        let owner = Owner::new("Gateway", &object.meta);
        for (at, spec) in object.spec.listeners.iter().enumerate() {
            let state = ListenerState::check(index, owner, None, at, spec);
            self.listeners.push(state);
        }
        for (set, state) in self.sets.indexed() {
            let object = state.object;
            let owner = Owner::new("ListenerSet", &object.meta);
            let specs = object.spec.listeners.iter().enumerate();
            for (at, spec) in specs.filter(|_| state.attached()) {
                let state = ListenerState::check(index, owner, Some(set), at, spec);
                self.listeners.push(state);
            }
        }
    }

    /// Rejects the listeners that an invalid field affects. A listener that is already rejected keeps its
    /// reason.
    fn check_unreadable_fields(&mut self) {
        let own = &self.object.unreadable_fields;
        let shared = own.iter();
        let shared: Vec<SchemaViolation> = shared
            .filter(|fault| {
                let scope = FieldScope::of(&fault.field);
                !matches!(scope, FieldScope::Listener(_) | FieldScope::Listeners)
            })
            .cloned()
            .collect();
        let valid = self.listeners.iter_mut();
        for listener in valid.filter(|listener| listener.is_valid()) {
            match listener.set {
                None => unsupported::check_unreadable_fields(own, listener),
                Some(set) => {
                    unsupported::check_unreadable_fields(
                        &self.sets[set].object.unreadable_fields,
                        listener,
                    );
                    unsupported::check_unreadable_fields(&shared, listener);
                }
            }
        }
    }

    /// The listeners of the ListenerSet `set`; `None`: those of the Gateway itself.
    pub(super) fn listeners_of(&self, set: Option<ListenerSetIndex>) -> Vec<&ListenerState<'a>> {
        let listeners = self.listeners.iter();
        listeners.filter(|listener| listener.set == set).collect()
    }

    /// The object that contains a listener.
    pub(super) fn subject(&self, set: Option<ListenerSetIndex>) -> Subject<'a> {
        match set {
            Some(set) => Subject::new("ListenerSet", self.sets[set].object),
            None => Subject::new("Gateway", self.object),
        }
    }

    /// Kind and name of the Gateway, or of one of its ListenerSets, for messages.
    pub(super) fn name_of(&self, set: Option<ListenerSetIndex>) -> String {
        match set {
            Some(set) => format!("ListenerSet {}", self.sets[set].object.key()),
            None => format!("Gateway {}", self.object.key()),
        }
    }

    /// Kind and name of the Gateway, or of one of its ListenerSets.
    pub(super) fn target_of(&self, set: Option<ListenerSetIndex>) -> (TargetKind, &'a str) {
        match set {
            Some(set) => (TargetKind::ListenerSet, &self.sets[set].object.meta.name),
            None => (TargetKind::Gateway, &self.object.meta.name),
        }
    }

    /// Message and advice for a listener that does not exist.
    pub(super) fn no_listener(
        &self,
        set: Option<ListenerSetIndex>,
        name: &str,
    ) -> (String, String) {
        let message = format!("{} has no listener {name:?}", self.name_of(set));
        let listeners = match set {
            Some(set) => &self.sets[set].object.spec.listeners,
            None => &self.object.spec.listeners,
        };
        let names: Vec<_> = listeners.iter().map(|one| &*one.name).collect();
        let help = format!("use one of its listeners: {}", names.join(", "));
        (message, help)
    }

    /// Whether the Gateway is not served, so that none of its listeners exists.
    pub(super) fn is_refused(&self) -> bool {
        self.listeners.is_empty() && !self.object.spec.listeners.is_empty()
    }

    /// Whether the Gateway, or one of its ListenerSets, has a listener of this name.
    pub(super) fn has_listener(&self, set: Option<ListenerSetIndex>, name: &str) -> bool {
        let listeners = match set {
            Some(set) => &self.sets[set].object.spec.listeners,
            None => &self.object.spec.listeners,
        };
        listeners.iter().any(|listener| listener.name == name)
    }

    /// Reports every listener with an error.
    fn report(&self, report: &mut Report, subject: &Subject<'_>) {
        for listener in self.listeners_of(None) {
            report_listener(listener, report, subject);
        }
        for (at, set) in self.sets.indexed() {
            set.report(&self.listeners_of(Some(at)), report);
        }
    }

    /// Rejects listeners with the name of an earlier listener: routes and policies refer to listeners by
    /// name.
    fn check_names(&mut self) {
        let mut names = HashSet::new();
        for listener in &mut self.listeners {
            if !names.insert((listener.set, listener.spec.name.as_str())) {
                let owner = listener.set.map_or("Gateway", |_| "ListenerSet");
                listener.refuse(format!("another listener of the {owner} has the same name"));
            }
        }
    }

    /// Sets `nested` of each listener.
    fn find_nested(&mut self) {
        let nested: Vec<_> = self
            .listeners
            .indices()
            .map(|at| self.nested_in(at))
            .collect();
        for (listener, nested) in self.listeners.iter_mut().zip(nested) {
            listener.nested = nested;
        }
    }

    fn nested_in(&self, at: ListenerIndex) -> Vec<ListenerIndex> {
        let own = &self.listeners[at];
        let is_nested = |index: &ListenerIndex| {
            let other = &self.listeners[*index];
            *index != at
                && other.spec.port == own.spec.port
                && other.hostname != NamePattern::Any
                && own.hostname.covers(&other.hostname)
        };
        let mut nested: Vec<_> = self.listeners.indices().filter(is_nested).collect();
        nested.sort_by_key(|index| Reverse(self.listeners[*index].hostname.specificity()));
        nested
    }

    /// The listener that receives all requests for `host` instead of the listener `at`, because its hostname
    /// is more specific. As in Envoy Gateway, a listener whose hostname equals `host` counts even if it is
    /// invalid.
    pub(crate) fn server_instead_of(
        &self,
        at: ListenerIndex,
        host: &NamePattern,
    ) -> Option<ListenerIndex> {
        let own = &self.listeners[at];
        own.nested.iter().copied().find(|index| {
            let other = &self.listeners[*index];
            other.hostname == *host || (other.is_valid() && other.hostname.covers(host))
        })
    }

    /// The status, after routes are attached.
    pub(super) fn status(&self) -> GatewayStatus {
        let mut conditions = self.conditions.clone();
        if !conditions.is_false(ConditionType::Accepted) {
            accept(&mut conditions, &self.listeners_of(None));
        }
        program(&mut conditions, &self.listeners, &self.addresses);
        let own = self.listeners_of(None);
        let sets = self.sets.indexed();
        let sets = sets.filter(|(at, set)| set.counts(&self.listeners_of(Some(*at))));
        GatewayStatus {
            conditions,
            addresses: self.addresses.reported.clone(),
            listeners: own.into_iter().map(listener_status).collect(),
            attached_listener_sets: sets.count(),
        }
    }
}

/// Sets `Accepted`: true if at least one listener is valid.
fn accept(conditions: &mut Conditions<GatewayReason>, listeners: &[&ListenerState<'_>]) {
    let invalid: Vec<_> = listeners
        .iter()
        .filter(|listener| !listener.is_valid())
        .map(|listener| listener.spec.name.as_str())
        .collect();
    let (accepted, reason, message) = match invalid.len() {
        0 => (
            true,
            GatewayReason::Accepted,
            "the Gateway is served by Towergate".to_owned(),
        ),
        n if n < listeners.len() => (
            true,
            GatewayReason::ListenersNotValid,
            format!("invalid listeners: {}", invalid.join(", ")),
        ),
        _ => (
            false,
            GatewayReason::ListenersNotValid,
            format!("no listener is valid: {}", invalid.join(", ")),
        ),
    };
    conditions.set(ConditionType::Accepted, accepted, reason, message);
}

/// Sets `Programmed`: true if the Gateway is accepted and has the addresses that it requests. Missing objects
/// that a listener references have no effect here; the conditions of the listener report them.
fn program(
    conditions: &mut Conditions<GatewayReason>,
    listeners: &[ListenerState<'_>],
    addresses: &Addresses,
) {
    let ready = listeners.iter().filter(|listener| listener.ready()).count();
    let (programmed, reason, message) = match &addresses.error {
        _ if conditions.is_false(ConditionType::Accepted) => (
            false,
            GatewayReason::Invalid,
            "the Gateway is not accepted".to_owned(),
        ),
        Some(error) => (false, error.reason, error.message.clone()),
        None => (
            true,
            GatewayReason::Programmed,
            format!("{ready} of {} listeners are programmed", listeners.len()),
        ),
    };
    conditions.set(ConditionType::Programmed, programmed, reason, message);
}

/// Order of the conditions of a listener, as in Envoy Gateway.
const ORDER: [ConditionType; 5] = [
    ConditionType::Programmed,
    ConditionType::Accepted,
    ConditionType::ResolvedRefs,
    ConditionType::Conflicted,
    ConditionType::OverlappingTlsConfig,
];

fn listener_status(listener: &ListenerState<'_>) -> ListenerStatus {
    ListenerStatus {
        name: listener.spec.name.clone(),
        supported_kinds: listener.kinds.clone(),
        attached_routes: listener.attached,
        conditions: listener.conditions.clone().in_order(&ORDER),
    }
}

/// The client certificate that the Backend with `meta` references.
///
/// # Errors
/// A clause that names the object and the reason.
pub(super) fn certificate_of_backend(
    index: &ObjectIndex<'_>,
    meta: &ObjectMeta,
    reference: &SecretObjectReference,
) -> Result<Certificate, String> {
    let owner = Owner {
        group: ENVOY_GROUP,
        ..Owner::new("Backend", meta)
    };
    certificate::find(index, owner, reference).map_err(|error| error.message)
}
