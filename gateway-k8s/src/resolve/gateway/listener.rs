//! Validity of one listener, and the routes that it accepts.

use std::collections::BTreeMap;
use std::sync::Arc;

use towergate_core::plan::RouteKind;
use towergate_tls::{Certificate, ClientAuth, NamePattern};

use super::super::indexed::{Indexed, ListenerIndex, ListenerSetIndex};
use super::super::object_index::ObjectIndex;
use super::super::selector::Selector;
use super::certificate::{self, Certificates};
use super::owner::Owner;
use super::protocol::{ListenerProtocol, TlsMode};
use super::unsupported;
use crate::api::GATEWAY_GROUP;
use crate::api::gateway::Listener;
use crate::status::{ConditionType, Conditions, ListenerReason};

/// The listeners of a Gateway and its ListenerSets.
pub(super) type ListenerList<'a> = Indexed<ListenerIndex, ListenerState<'a>>;

/// A listener and its resolved settings.
#[derive(Debug)]
pub(crate) struct ListenerState<'a> {
    pub(crate) spec: &'a Listener,
    /// ListenerSet that contains the listener; `None`: the Gateway itself.
    pub(crate) set: Option<ListenerSetIndex>,
    /// Index in the object that contains the listener.
    pub(crate) at: usize,
    /// `None`: the protocol is not supported.
    pub(crate) protocol: Option<ListenerProtocol>,
    pub(crate) conditions: Conditions<ListenerReason>,
    /// Kinds of routes that may attach.
    pub(crate) kinds: Vec<RouteKind>,
    /// Namespaces whose routes may attach.
    pub(crate) allowed: AllowedNamespaces,
    /// Hostnames that the listener serves.
    pub(crate) hostname: NamePattern,
    /// Usable certificates.
    pub(crate) certificates: Vec<Arc<Certificate>>,
    /// Validation of client certificates, from `spec.tls.frontend` of the Gateway.
    pub(crate) clients: Option<ClientAuth>,
    /// Other listeners of the port with a hostname that the hostname of this listener includes, the most
    /// specific first.
    pub(crate) nested: Vec<ListenerIndex>,
    /// Number of attached routes.
    pub(crate) attached: usize,
    /// Whether the listener is checked for conflicts.
    pub(super) valid: bool,
    /// Whether the listener itself is valid. Objects that it references may be invalid.
    sound: bool,
    /// Whether the decoder reported the error already.
    pub(super) reported: bool,
}

/// Namespaces whose routes may attach.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum AllowedNamespaces {
    /// This namespace.
    Same(String),
    /// Every namespace.
    All,
    /// Namespaces with matching labels.
    Selector(Selector),
    /// No namespace. Also applies if the setting is invalid.
    None,
}

impl AllowedNamespaces {
    /// Whether routes of a namespace with these labels may attach.
    pub(crate) fn takes(&self, namespace: &str, labels: &BTreeMap<String, String>) -> bool {
        match self {
            Self::Same(own) => own == namespace,
            Self::All => true,
            Self::Selector(selector) => selector.takes(labels),
            Self::None => false,
        }
    }
}

impl<'a> ListenerState<'a> {
    /// Checks a listener independently of other listeners.
    pub(super) fn check(
        index: &ObjectIndex<'_>,
        owner: Owner<'_>,
        set: Option<ListenerSetIndex>,
        at: usize,
        spec: &'a Listener,
    ) -> Self {
        let mut state = Self {
            spec,
            set,
            at,
            protocol: ListenerProtocol::parse(&spec.protocol),
            conditions: Conditions::default(),
            kinds: Vec::new(),
            allowed: AllowedNamespaces::None,
            hostname: NamePattern::Any,
            certificates: Vec::new(),
            clients: None,
            nested: Vec::new(),
            attached: 0,
            valid: true,
            sound: true,
            reported: false,
        };
        state.check_namespaces(owner.namespace);
        state.check_kinds();
        state.check_tls(index, owner);
        state.check_hostname();
        state.check_port();
        unsupported::check_filters(&mut state);
        state
    }

    /// Whether the listener is served.
    pub(crate) fn ready(&self) -> bool {
        self.conditions.is_true(ConditionType::Programmed)
    }

    /// Whether the listener itself is valid and has no conflict; objects that it references may be
    /// missing.
    pub(crate) fn is_valid(&self) -> bool {
        let conditions = &self.conditions;
        let refused = conditions.is_false(ConditionType::Accepted)
            || conditions.is_true(ConditionType::Conflicted);
        self.sound && !refused
    }

    /// Whether TLS is passed through to the backend.
    pub(crate) fn passes_through(&self) -> bool {
        self.protocol == Some(ListenerProtocol::Tls) && self.mode() == Some(TlsMode::Passthrough)
    }

    /// Whether routes of a kind may attach.
    pub(crate) fn takes_kind(&self, kind: RouteKind) -> bool {
        self.kinds.contains(&kind)
    }

    /// Whether `Programmed` is the only negative condition.
    pub(super) fn only_programmed(&self) -> bool {
        let mut bad = self.conditions.iter().filter(|condition| !condition.status);
        !self.conditions.is_true(ConditionType::Conflicted)
            && bad.all(|condition| condition.kind == ConditionType::Programmed)
    }

    /// Marks the listener as invalid.
    pub(super) fn refuse(&mut self, message: impl Into<String>) {
        let reason = self.invalid();
        self.conditions
            .set(ConditionType::Programmed, false, reason, message);
        (self.valid, self.sound) = (false, false);
    }

    /// Marks a conflict with another listener. In a ListenerSet, all conditions report it.
    pub(super) fn conflict(&mut self, reason: ListenerReason, message: &str) {
        self.conditions
            .set(ConditionType::Conflicted, true, reason, message);
        if self.set.is_some() {
            self.conditions
                .set(ConditionType::Accepted, false, reason, message);
            self.conditions
                .set(ConditionType::Programmed, false, reason, message);
        }
    }

    /// Reason of `Programmed` if the listener is not served.
    fn invalid(&self) -> ListenerReason {
        match self.set {
            Some(_) => ListenerReason::ListenersNotValid,
            None => ListenerReason::Invalid,
        }
    }

    fn check_namespaces(&mut self, own: &str) {
        let routes = self.spec.allowed_routes.as_ref();
        let namespaces = routes.and_then(|routes| routes.namespaces.as_ref());
        let from = namespaces.and_then(|namespaces| namespaces.from.as_deref());
        let selector = namespaces.and_then(|namespaces| namespaces.selector.as_ref());
        self.allowed = match (from.unwrap_or("Same"), selector.map(Selector::parse)) {
            ("Same", _) => AllowedNamespaces::Same(own.to_owned()),
            ("All", _) => AllowedNamespaces::All,
            ("Selector", Some(Ok(selector))) => AllowedNamespaces::Selector(selector),
            ("None", _) => AllowedNamespaces::None,
            ("Selector", None) => {
                self.refuse("allowedRoutes.namespaces: from is Selector, but selector is missing");
                AllowedNamespaces::None
            }
            ("Selector", Some(Err(fault))) => {
                self.refuse(format!(
                    "allowedRoutes.namespaces.selector is invalid: {fault}"
                ));
                AllowedNamespaces::None
            }
            (other, _) => {
                self.refuse(format!(
                    "allowedRoutes.namespaces.from: unknown value {other:?}; use Same, All or Selector"
                ));
                AllowedNamespaces::None
            }
        };
    }

    fn check_kinds(&mut self) {
        let Some(protocol) = self.protocol else {
            self.conditions.set(
                ConditionType::Accepted,
                false,
                ListenerReason::UnsupportedProtocol,
                format!(
                    "protocol {:?} is not supported; use HTTP, HTTPS, TLS, TCP or UDP",
                    self.spec.protocol
                ),
            );
            self.valid = false;
            return;
        };
        let possible = protocol.route_kinds(self.mode());
        let wanted = match &self.spec.allowed_routes {
            Some(routes) if !routes.kinds.is_empty() => &routes.kinds,
            _ => {
                self.kinds = possible.to_vec();
                return;
            }
        };
        for written in wanted {
            let group = written.group.as_deref().unwrap_or(GATEWAY_GROUP);
            let kind = RouteKind::from_name(&written.kind).filter(|kind| possible.contains(kind));
            if let Some(kind) = kind
                && group == GATEWAY_GROUP
            {
                self.kinds.push(kind);
                continue;
            }
            let names: Vec<_> = possible.iter().map(|kind| kind.name()).collect();
            let message = format!(
                "routes of kind {group}/{} cannot attach; protocol {protocol} supports {}",
                written.kind,
                names.join(", ")
            );
            self.conditions.set(
                ConditionType::ResolvedRefs,
                false,
                ListenerReason::InvalidRouteKinds,
                message,
            );
            self.valid = false;
        }
        self.sound &= !self.kinds.is_empty();
    }

    /// TLS mode of the listener; `None`: not supported.
    fn mode(&self) -> Option<TlsMode> {
        let tls = self.spec.tls.as_ref();
        TlsMode::parse(tls.and_then(|tls| tls.mode.as_deref()))
    }

    fn check_tls(&mut self, index: &ObjectIndex<'_>, owner: Owner<'_>) {
        use ListenerProtocol as P;
        let Some(protocol) = self.protocol else {
            return;
        };
        let spec: &'a Listener = self.spec;
        match (protocol, &spec.tls) {
            (P::Http | P::Tcp | P::Udp, None) => {}
            (P::Http | P::Tcp | P::Udp, Some(_)) => {
                self.refuse(format!("tls must not be set with protocol {protocol}"));
            }
            (P::Https | P::Tls, None) => {
                self.refuse(format!("tls must be set with protocol {protocol}"));
            }
            (P::Https | P::Tls, Some(tls)) => match (protocol, self.mode()) {
                (_, Some(TlsMode::Terminate)) => {
                    let refs = &tls.certificate_refs;
                    let certificates = certificate::resolve(index, owner, refs);
                    self.take_certificates(certificates);
                }
                (P::Tls, Some(TlsMode::Passthrough)) => {
                    if !tls.certificate_refs.is_empty() {
                        self.refuse("tls.certificateRefs must be empty with tls.mode Passthrough");
                    }
                }
                (_, Some(TlsMode::Passthrough) | None) => {
                    self.refuse_mode(tls.mode.as_deref().unwrap_or_default());
                }
            },
        }
    }

    fn refuse_mode(&mut self, mode: &str) {
        let message = match self.protocol {
            Some(ListenerProtocol::Https) => {
                format!("tls.mode {mode:?} is not supported with protocol HTTPS; use Terminate")
            }
            _ => format!("tls.mode {mode:?} is not supported; use Terminate or Passthrough"),
        };
        self.conditions.set(
            ConditionType::Programmed,
            false,
            ListenerReason::UnsupportedTlsMode,
            message,
        );
        (self.valid, self.sound) = (false, false);
    }

    fn take_certificates(&mut self, found: Certificates) {
        match found {
            Certificates::None => {
                self.refuse("tls.certificateRefs is empty; add at least one certificate")
            }
            Certificates::Unusable { reason, message } => {
                self.conditions
                    .set(ConditionType::ResolvedRefs, false, reason, message);
                self.valid = false;
            }
            Certificates::Some { usable, faults } => {
                self.certificates = usable;
                if !faults.is_empty() {
                    self.conditions.set(
                        ConditionType::ResolvedRefs,
                        false,
                        ListenerReason::PartiallyInvalidCertificateRef,
                        format!("some certificates are not usable: {faults}"),
                    );
                }
            }
        }
    }

    fn check_hostname(&mut self) {
        let Some(hostname) = self
            .spec
            .hostname
            .as_deref()
            .filter(|name| !name.is_empty())
        else {
            return;
        };
        if matches!(
            self.protocol,
            Some(ListenerProtocol::Tcp | ListenerProtocol::Udp)
        ) {
            self.refuse(format!(
                "hostname must not be set with protocol {}",
                self.spec.protocol
            ));
            return;
        }
        match hostname.parse() {
            Ok(pattern) => self.hostname = pattern,
            Err(fault) => {
                let message = fault.to_string();
                self.conditions.set(
                    ConditionType::Accepted,
                    false,
                    ListenerReason::UnsupportedValue,
                    &*message,
                );
                self.refuse(message);
            }
        }
    }

    fn check_port(&mut self) {
        if !(1..=65535).contains(&self.spec.port) {
            let message = format!("port {} is not between 1 and 65535", self.spec.port);
            self.conditions.set(
                ConditionType::Accepted,
                false,
                ListenerReason::UnsupportedValue,
                &*message,
            );
            self.refuse(message);
        }
    }

    /// Sets the remaining conditions.
    pub(super) fn finish(&mut self) {
        if self.conditions.is_empty() {
            self.programmed();
            self.conditions.set(
                ConditionType::Accepted,
                true,
                ListenerReason::Accepted,
                "the listener is valid",
            );
            self.conditions.set(
                ConditionType::ResolvedRefs,
                true,
                ListenerReason::ResolvedRefs,
                "every reference is resolved",
            );
            if self.set.is_some() {
                let message = "no other listener conflicts";
                self.conditions.set(
                    ConditionType::Conflicted,
                    false,
                    ListenerReason::NoConflicts,
                    message,
                );
            }
            return;
        }
        let only = self.conditions.iter().count() == 1;
        let refs = self
            .conditions
            .find(ConditionType::ResolvedRefs)
            .map(|held| held.reason);
        // If some CA certificates are valid, clients are validated with those.
        let some_valid_cas = self.clients.is_some();
        match (only, refs) {
            (
                true,
                Some(
                    ListenerReason::InvalidCaCertificateRef
                    | ListenerReason::InvalidCaCertificateKind,
                ),
            ) if some_valid_cas => {
                self.served();
            }
            (true, Some(ListenerReason::RefNotPermitted))
                if some_valid_cas && !self.certificates.is_empty() =>
            {
                self.served();
            }
            (true, Some(ListenerReason::PartiallyInvalidCertificateRef)) => {
                self.served();
            }
            (true, Some(ListenerReason::InvalidCertificateRef)) => {
                let message = "the listener is valid; its TLS certificate is not available yet";
                self.conditions.set(
                    ConditionType::Accepted,
                    true,
                    ListenerReason::Accepted,
                    message,
                );
                self.not_programmed();
            }
            _ => {
                self.not_programmed();
                if self.conditions.find(ConditionType::ResolvedRefs).is_none() {
                    let message = "every reference is resolved";
                    self.conditions.set(
                        ConditionType::ResolvedRefs,
                        true,
                        ListenerReason::ResolvedRefs,
                        message,
                    );
                }
            }
        }
    }

    /// Marks the listener as served despite an error.
    fn served(&mut self) {
        self.conditions.set(
            ConditionType::Accepted,
            true,
            ListenerReason::Accepted,
            "the listener is valid",
        );
        self.programmed();
    }

    fn programmed(&mut self) {
        self.conditions.set(
            ConditionType::Programmed,
            true,
            ListenerReason::Programmed,
            "the listener is in the configuration of the data plane",
        );
    }

    fn not_programmed(&mut self) {
        if self.conditions.find(ConditionType::Programmed).is_none() {
            let message = "the listener is not served; see its other conditions";
            let reason = self.invalid();
            self.conditions
                .set(ConditionType::Programmed, false, reason, message);
        }
    }
}
