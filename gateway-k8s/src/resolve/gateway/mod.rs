//! Gateways: which are ours, and which of their listeners can serve.
//!
//! ```text
//! GatewayClasses ─> is it ours?
//! listener: spec ─> certificates ─> conflicts with its neighbours ─> ready or not
//! ```
//!
//! Listeners of ListenerSets (`set`) stand behind the Gateway's own and are treated as these are.
//! One bad listener leaves the others alone. A listener that waits for its certificate still counts its
//! routes, so that everything is in place when the Secret arrives.

mod address;
mod certificate;
mod class;
mod conflict;
mod frontend;
mod identity;
mod listener;
mod overlap;
mod set;
mod unsupported;

pub(super) use class::{class_statuses, is_ours};
pub(super) use listener::{Allowed, ListenerState};
pub(super) use set::SetState;

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use towergate_policy::SchemaViolation;
use towergate_tls::NamePattern;

use self::address::Addresses;
use self::frontend::Frontend;
use self::identity::Identity;
use self::listener::Owner;
use super::report::{Report, Subject};
use super::world::{World, by_age};
use crate::api::gateway::GatewaySpec;
use crate::api::listener_set::ListenerSetSpec;
use crate::objects::{Object, ObjectKey};
use crate::status::{Conditions, GatewayStatus, ListenerStatus};

/// A Gateway of ours.
#[derive(Debug)]
pub(super) struct GatewayState<'a> {
    pub(super) object: &'a Object<GatewaySpec>,
    /// Its own, then those of its ListenerSets.
    pub(super) listeners: Vec<ListenerState<'a>>,
    /// ListenerSets that name it, the oldest first.
    pub(super) sets: Vec<SetState<'a>>,
    /// The addresses to bind.
    pub(super) bind: Vec<IpAddr>,
    addresses: Addresses,
    /// The certificate that backends are shown.
    pub(super) identity: Identity,
    conditions: Conditions,
}

/// The Gateways of ours, the oldest first, and where each is.
#[derive(Debug)]
pub(super) struct Gateways<'a> {
    pub(super) list: Vec<GatewayState<'a>>,
    places: HashMap<ObjectKey, usize>,
    set_places: HashMap<ObjectKey, (usize, usize)>,
}

impl<'a> Gateways<'a> {
    /// Decides about every Gateway and its listeners.
    pub(super) fn resolve(world: &World<'a>, report: &mut Report) -> Self {
        let ours = by_age(world.objects.gateways.values())
            .into_iter()
            .filter(|gateway| is_ours(world, &gateway.spec.gateway_class_name));
        let mut sets = set::by_gateway(world);
        let list: Vec<_> = ours
            .map(|gateway| {
                let sets = sets.remove(&gateway.key()).unwrap_or_default();
                GatewayState::resolve(world, gateway, sets, report)
            })
            .collect();
        set::orphans(world, report);
        let places = list.iter().enumerate();
        let places = places.map(|(at, state)| (state.object.key(), at)).collect();
        let set_places = list.iter().enumerate().flat_map(|(gateway, state)| {
            let sets = state.sets.iter().enumerate();
            sets.map(move |(at, set)| (set.object.key(), (gateway, at)))
        });
        let set_places = set_places.collect();
        Self {
            list,
            places,
            set_places,
        }
    }

    /// The Gateway of a ListenerSet, and where the ListenerSet is among those of the Gateway.
    pub(super) fn find_set(&self, key: &ObjectKey) -> Option<(usize, usize)> {
        self.set_places.get(key).copied()
    }

    /// Where a Gateway is in the list.
    pub(super) fn find(&self, key: &ObjectKey) -> Option<usize> {
        self.places.get(key).copied()
    }
}

impl<'a> GatewayState<'a> {
    fn resolve(
        world: &World<'a>,
        object: &'a Object<GatewaySpec>,
        sets: Vec<&'a Object<ListenerSetSpec>>,
        report: &mut Report,
    ) -> Self {
        let subject = Subject::new("Gateway", object);
        let bind = address::bind(world, object);
        let mut state = Self {
            object,
            listeners: Vec::new(),
            sets: Vec::new(),
            addresses: Addresses::resolve(world, object, &bind),
            bind,
            identity: Identity::None,
            conditions: Conditions::default(),
        };
        if !unsupported::check_gateway(&mut state.conditions, object, report, &subject) {
            let sets = sets.into_iter();
            state.sets = sets.map(|set| SetState::of_refused(object, set)).collect();
            state.report(report, &subject);
            return state;
        }
        let conditions = &mut state.conditions;
        state.identity = Identity::find(world, object, conditions, report, &subject);
        let frontend = Frontend::read(world, object, report, &subject);
        frontend.warn(conditions, report, &subject);
        let sets = sets.into_iter();
        state.sets = sets.map(|set| SetState::new(world, object, set)).collect();
        state.check_listeners(world);
        state.check_names();
        conflict::check(&mut state.listeners);
        state.check_misread();
        for listener in &mut state.listeners {
            frontend.check(listener);
            listener.finish();
        }
        overlap::check(&mut state.listeners);
        state.meet_neighbours();
        state.report(report, &subject);
        state
    }

    /// Checks each listener by itself.
    fn check_listeners(&mut self, world: &World<'_>) {
        let object = self.object;
        let owner = Owner::new("Gateway", &object.meta);
        for (at, spec) in object.spec.listeners.iter().enumerate() {
            let state = ListenerState::check(world, owner, None, at, spec);
            self.listeners.push(state);
        }
        for (set, state) in self.sets.iter().enumerate() {
            let object = state.object;
            let owner = Owner::new("ListenerSet", &object.meta);
            let specs = object.spec.listeners.iter().enumerate();
            for (at, spec) in specs.filter(|_| state.attached()) {
                let state = ListenerState::check(world, owner, Some(set), at, spec);
                self.listeners.push(state);
            }
        }
    }

    /// Rejects the listeners that an invalid field concerns, unless they are rejected for another reason.
    fn check_misread(&mut self) {
        let own = &self.object.misread;
        let shared = own.iter();
        let shared: Vec<SchemaViolation> = shared
            .filter(|fault| !fault.field.starts_with("spec.listeners"))
            .cloned()
            .collect();
        let valid = self.listeners.iter_mut();
        for listener in valid.filter(|listener| listener.is_valid()) {
            match listener.set {
                None => unsupported::check_misread(own, listener),
                Some(set) => {
                    unsupported::check_misread(&self.sets[set].object.misread, listener);
                    unsupported::check_misread(&shared, listener);
                }
            }
        }
    }

    /// The listeners of one of its ListenerSets, or its own.
    pub(super) fn listeners_of(&self, set: Option<usize>) -> Vec<&ListenerState<'a>> {
        let listeners = self.listeners.iter();
        listeners.filter(|listener| listener.set == set).collect()
    }

    /// The object that a listener is written in.
    pub(super) fn subject(&self, set: Option<usize>) -> Subject<'a> {
        match set {
            Some(set) => Subject::new("ListenerSet", self.sets[set].object),
            None => Subject::new("Gateway", self.object),
        }
    }

    /// Its name, or that of one of its ListenerSets, for people.
    pub(super) fn name_of(&self, set: Option<usize>) -> String {
        match set {
            Some(set) => format!("ListenerSet {}", self.sets[set].object.key()),
            None => format!("Gateway {}", self.object.key()),
        }
    }

    /// Its kind and name, or those of one of its ListenerSets.
    pub(super) fn target_of(&self, set: Option<usize>) -> (&'static str, &'a str) {
        match set {
            Some(set) => ("ListenerSet", &self.sets[set].object.meta.name),
            None => ("Gateway", &self.object.meta.name),
        }
    }

    /// That it, or one of its ListenerSets, has no listener of this name, and which ones there are.
    pub(super) fn no_listener(&self, set: Option<usize>, name: &str) -> (String, String) {
        let message = format!("{} has no listener {name}.", self.name_of(set));
        let listeners = match set {
            Some(set) => &self.sets[set].object.spec.listeners,
            None => &self.object.spec.listeners,
        };
        let names: Vec<_> = listeners.iter().map(|one| &*one.name).collect();
        let help = format!("Name one of its listeners: {}.", names.join(", "));
        (message, help)
    }

    /// Whether it, or one of its ListenerSets, has a listener of this name.
    pub(super) fn has_listener(&self, set: Option<usize>, name: &str) -> bool {
        let listeners = match set {
            Some(set) => &self.sets[set].object.spec.listeners,
            None => &self.object.spec.listeners,
        };
        listeners.iter().any(|listener| listener.name == name)
    }

    /// Diagnostics for each listener that does not serve, or not with all certificates.
    fn report(&self, report: &mut Report, subject: &Subject<'_>) {
        for listener in self.listeners_of(None) {
            report_listener(listener, report, subject);
        }
        for (at, set) in self.sets.iter().enumerate() {
            set.report(&self.listeners_of(Some(at)), report);
        }
    }

    /// Routes and policies find listeners by name, so of two with the same name the first counts.
    fn check_names(&mut self) {
        let mut names = HashSet::new();
        for listener in &mut self.listeners {
            if !names.insert((listener.set, listener.spec.name.as_str())) {
                let owner = listener.set.map_or("Gateway", |_| "ListenerSet");
                listener.refuse(format!(
                    "Another listener of the {owner} has the same name."
                ));
            }
        }
    }

    /// Tells each listener which host names of its port are another's own.
    fn meet_neighbours(&mut self) {
        let named = self.listeners.iter().enumerate();
        let named = named.filter(|(_, listener)| listener.hostname != NamePattern::Any);
        let names: Vec<(usize, i32, NamePattern)> = named
            .map(|(at, listener)| (at, listener.spec.port, listener.hostname.clone()))
            .collect();
        for (at, listener) in self.listeners.iter_mut().enumerate() {
            let port = listener.spec.port;
            let others = names
                .iter()
                .filter(|(other, of, _)| *other != at && *of == port);
            listener.neighbours = others.map(|(.., name)| name.clone()).collect();
        }
    }

    /// Its status, once its routes are attached.
    pub(super) fn status(&self) -> GatewayStatus {
        let mut conditions = self.conditions.clone();
        if !conditions.says("Accepted", false) {
            accept(&mut conditions, &self.listeners_of(None));
        }
        program(&mut conditions, &self.listeners, &self.addresses);
        let own = self.listeners_of(None);
        let sets = self.sets.iter().enumerate();
        let sets = sets.filter(|(at, set)| set.counts(&self.listeners_of(Some(*at))));
        GatewayStatus {
            conditions,
            addresses: self.addresses.reported.clone(),
            listeners: own.into_iter().map(listener_status).collect(),
            attached_listener_sets: sets.count(),
        }
    }
}

/// A Gateway is accepted if one of its listeners is valid.
fn accept(conditions: &mut Conditions, listeners: &[&ListenerState<'_>]) {
    let refused: Vec<_> = listeners
        .iter()
        .filter(|listener| !listener.is_valid())
        .map(|listener| listener.spec.name.as_str())
        .collect();
    let names = refused.join(", ");
    match refused.len() {
        0 => conditions.set(
            "Accepted",
            true,
            "Accepted",
            "The Gateway is served by Towergate.",
        ),
        n if n < listeners.len() => conditions.set(
            "Accepted",
            true,
            "ListenersNotValid",
            format!("These listeners are not valid: {names}."),
        ),
        _ => conditions.set(
            "Accepted",
            false,
            "ListenersNotValid",
            format!("No listener is valid: {names}."),
        ),
    }
}

/// A Gateway is programmed if it is accepted and has the addresses that it asks for. Its listeners may still
/// wait for what they refer to, each of which says so itself.
fn program(conditions: &mut Conditions, listeners: &[ListenerState<'_>], addresses: &Addresses) {
    let ready = listeners.iter().filter(|listener| listener.ready()).count();
    let (state, reason, message) = match &addresses.fault {
        _ if conditions.says("Accepted", false) => {
            (false, "Invalid", "The Gateway is not accepted.".to_owned())
        }
        Some(fault) => (false, fault.reason, fault.message.clone()),
        None => {
            let message = format!("{ready} of {} listeners are programmed.", listeners.len());
            (true, "Programmed", message)
        }
    };
    conditions.set("Programmed", state, reason, message);
}

/// The order of a listener's conditions, whatever was found first: that in which Envoy Gateway lists those of
/// a listener that serves, then what is stated only where it is so.
const ORDER: [&str; 5] = [
    "Programmed",
    "Accepted",
    "ResolvedRefs",
    "Conflicted",
    "OverlappingTLSConfig",
];

fn listener_status(listener: &ListenerState<'_>) -> ListenerStatus {
    ListenerStatus {
        name: listener.spec.name.clone(),
        supported_kinds: listener.kinds.clone(),
        attached_routes: listener.attached,
        conditions: listener.conditions.clone().in_order(&ORDER),
    }
}

/// Diagnostics for a listener that does not serve, or not with all certificates.
fn report_listener(listener: &ListenerState<'_>, report: &mut Report, subject: &Subject<'_>) {
    if listener.told {
        return;
    }
    let bad = listener.conditions.iter().filter(|condition| {
        let good = condition.kind != "Conflicted";
        condition.status != good
            && condition.kind != "OverlappingTLSConfig"
            && !frontend::is_told(listener, &condition.reason)
    });
    // That it is not programmed follows from the others, if there are any.
    let own = listener.only_programmed();
    for condition in bad.filter(|condition| condition.kind != "Programmed" || own) {
        let field = format!(
            "spec.listeners[{}]{}",
            listener.at,
            field_of(&condition.reason)
        );
        let message = format!("Listener {}: {}", listener.spec.name, condition.message);
        let code = code_of(&condition.reason);
        report.error(code, subject, field, message, mend_of(code));
    }
}

fn field_of(reason: &str) -> &'static str {
    match reason {
        "InvalidCertificateRef" | "PartiallyInvalidCertificateRef" | "RefNotPermitted" => {
            ".tls.certificateRefs"
        }
        "InvalidRouteKinds" => ".allowedRoutes.kinds",
        "UnsupportedProtocol" => ".protocol",
        "HostnameConflict" => ".hostname",
        "ProtocolConflict" => ".port",
        _ => "",
    }
}

fn code_of(reason: &str) -> &'static str {
    match reason {
        "InvalidCertificateRef" | "PartiallyInvalidCertificateRef" => "certificate-not-usable",
        "RefNotPermitted" => "reference-not-granted",
        "HostnameConflict" | "ProtocolConflict" => "listener-conflict",
        "UnsupportedProtocol" | "UnsupportedTLSMode" => "unsupported",
        _ => "listener-invalid",
    }
}

fn mend_of(code: &str) -> &'static str {
    match code {
        "certificate-not-usable" => {
            "Name a Secret of type kubernetes.io/tls whose tls.crt and tls.key belong together."
        }
        "reference-not-granted" => {
            "Add a ReferenceGrant for it in the namespace of the object that is named."
        }
        "listener-conflict" => "Give one of the two listeners another port or hostname.",
        "unsupported" => {
            "Use protocol HTTP, HTTPS, TLS, TCP or UDP, and with HTTPS the TLS mode Terminate."
        }
        _ => "Correct the field, or remove the listener.",
    }
}
