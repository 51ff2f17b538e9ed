//! One listener: whether it can serve, and what it takes.

use std::collections::BTreeMap;
use std::sync::Arc;

use towergate_tls::{Certificate, ClientAuth, NamePattern};

use super::super::selector::Selector;
use super::super::world::World;
use super::certificate::{self, Certificates};
use crate::api::GATEWAY_GROUP;
use crate::api::gateway::Listener;
use crate::api::meta::ObjectMeta;
use crate::status::{Conditions, RouteKindRef};

/// A listener and what is known of it.
#[derive(Debug)]
pub(crate) struct ListenerState<'a> {
    pub(crate) spec: &'a Listener,
    /// The ListenerSet that it is written in, among those of the Gateway; `None`: in the Gateway itself.
    pub(crate) set: Option<usize>,
    /// Its place in the object that it is written in.
    pub(crate) at: usize,
    pub(crate) conditions: Conditions,
    /// Kinds of routes that may attach.
    pub(crate) kinds: Vec<RouteKindRef>,
    /// Namespaces of routes that may attach.
    pub(crate) allowed: Allowed,
    /// The host names that it takes.
    pub(crate) hostname: NamePattern,
    /// The certificates that can be used.
    pub(crate) certificates: Vec<Arc<Certificate>>,
    /// What its clients must show, as the Gateway says.
    pub(crate) clients: Option<ClientAuth>,
    /// Host names of other listeners of the port.
    pub(crate) neighbours: Vec<NamePattern>,
    /// How many routes are attached.
    pub(crate) attached: usize,
    /// It takes part in the search for conflicts.
    pub(super) valid: bool,
    /// Nothing of its own is wrong; what it refers to may be.
    sound: bool,
    /// What is wrong was reported when it was read.
    pub(super) told: bool,
}

/// The object that a listener is written in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owner<'a> {
    /// `Gateway` or `ListenerSet`.
    pub(super) kind: &'static str,
    pub(super) namespace: &'a str,
}

impl<'a> Owner<'a> {
    pub(super) fn new(kind: &'static str, meta: &'a ObjectMeta) -> Self {
        Self {
            kind,
            namespace: &meta.namespace,
        }
    }
}

/// Namespaces of routes that may attach.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Allowed {
    /// The Gateway's.
    Same(String),
    /// Every namespace.
    All,
    /// Those with these labels.
    Selector(Selector),
    /// None: what is written cannot be understood.
    None,
}

impl Allowed {
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
    /// Checks a listener by itself.
    pub(super) fn check(
        world: &World<'_>,
        owner: Owner<'_>,
        set: Option<usize>,
        at: usize,
        spec: &'a Listener,
    ) -> Self {
        let mut state = Self {
            spec,
            set,
            at,
            conditions: Conditions::default(),
            kinds: Vec::new(),
            allowed: Allowed::None,
            hostname: NamePattern::Any,
            certificates: Vec::new(),
            clients: None,
            neighbours: Vec::new(),
            attached: 0,
            valid: true,
            sound: true,
            told: false,
        };
        state.check_namespaces(owner.namespace);
        state.check_kinds();
        state.check_tls(world, owner);
        state.check_hostname();
        state.check_port();
        state
    }

    /// Whether it can be served.
    pub(crate) fn ready(&self) -> bool {
        self.conditions.says("Programmed", true)
    }

    /// Whether it is right by itself and among the others, whatever becomes of what it refers to.
    pub(super) fn is_valid(&self) -> bool {
        let conditions = &self.conditions;
        let refused = conditions.says("Accepted", false) || conditions.says("Conflicted", true);
        self.sound && !refused
    }

    /// Whether it leaves TLS to the backend.
    pub(crate) fn passes_through(&self) -> bool {
        self.spec.protocol == "TLS" && self.mode() == Some("Passthrough")
    }

    /// Whether a kind of route may attach.
    pub(crate) fn takes_kind(&self, kind: &str) -> bool {
        let mut kinds = self.kinds.iter();
        kinds.any(|taken| taken.group == GATEWAY_GROUP && taken.kind == kind)
    }

    /// Whether nothing is wrong but that it is not programmed.
    pub(super) fn only_programmed(&self) -> bool {
        let mut bad = self.conditions.iter().filter(|condition| !condition.status);
        !self.conditions.says("Conflicted", true)
            && bad.all(|condition| condition.kind == "Programmed")
    }

    /// It cannot be served.
    pub(super) fn refuse(&mut self, message: impl Into<String>) {
        let reason = self.invalid();
        self.conditions.set("Programmed", false, reason, message);
        (self.valid, self.sound) = (false, false);
    }

    /// It contradicts another one. In a ListenerSet every condition says so.
    pub(super) fn conflict(&mut self, reason: &'static str, message: &str) {
        self.conditions.set("Conflicted", true, reason, message);
        if self.set.is_some() {
            self.conditions.set("Accepted", false, reason, message);
            self.conditions.set("Programmed", false, reason, message);
        }
    }

    /// The API's word for a listener that cannot be served.
    fn invalid(&self) -> &'static str {
        match self.set {
            Some(_) => "ListenersNotValid",
            None => "Invalid",
        }
    }

    fn check_namespaces(&mut self, own: &str) {
        let routes = self.spec.allowed_routes.as_ref();
        let namespaces = routes.and_then(|routes| routes.namespaces.as_ref());
        let from = namespaces.and_then(|namespaces| namespaces.from.as_deref());
        let selector = namespaces.and_then(|namespaces| namespaces.selector.as_ref());
        self.allowed = match (from.unwrap_or("Same"), selector.map(Selector::parse)) {
            ("Same", _) => Allowed::Same(own.to_owned()),
            ("All", _) => Allowed::All,
            ("Selector", Some(Ok(selector))) => Allowed::Selector(selector),
            ("None", _) => Allowed::None,
            ("Selector", None) => {
                self.refuse("allowedRoutes.namespaces.from is Selector, and there is no selector.");
                Allowed::None
            }
            ("Selector", Some(Err(fault))) => {
                self.refuse(format!(
                    "allowedRoutes.namespaces.selector is not valid: {fault}."
                ));
                Allowed::None
            }
            (other, _) => {
                self.refuse(format!(
                    "allowedRoutes.namespaces.from is {other:?}: Same, All and Selector are known."
                ));
                Allowed::None
            }
        };
    }

    fn check_kinds(&mut self) {
        let Some(possible) = kinds_of(&self.spec.protocol, self.mode()) else {
            self.conditions.set(
                "Accepted",
                false,
                "UnsupportedProtocol",
                format!(
                    "Protocol {:?} is not supported: HTTP, HTTPS, TLS, TCP and UDP are.",
                    self.spec.protocol
                ),
            );
            self.valid = false;
            return;
        };
        let wanted = match &self.spec.allowed_routes {
            Some(routes) if !routes.kinds.is_empty() => &routes.kinds,
            _ => {
                self.kinds = possible.iter().copied().map(kind_ref).collect();
                return;
            }
        };
        for kind in wanted {
            let group = kind.group.as_deref().unwrap_or(GATEWAY_GROUP);
            if group == GATEWAY_GROUP && possible.contains(&kind.kind.as_str()) {
                self.kinds.push(kind_ref(&kind.kind));
                continue;
            }
            let message = format!(
                "Routes of kind {}/{} cannot attach: this protocol takes {}.",
                group,
                kind.kind,
                possible.join(", ")
            );
            self.conditions
                .set("ResolvedRefs", false, "InvalidRouteKinds", message);
            self.valid = false;
        }
        self.sound &= !self.kinds.is_empty();
    }

    fn mode(&self) -> Option<&'a str> {
        let spec: &'a Listener = self.spec;
        spec.tls.as_ref().and_then(|tls| tls.mode.as_deref())
    }

    fn check_tls(&mut self, world: &World<'_>, owner: Owner<'_>) {
        let protocol = self.spec.protocol.as_str();
        match (protocol, &self.spec.tls) {
            ("HTTP" | "TCP" | "UDP", Some(_)) => {
                self.refuse(format!("A listener of protocol {protocol} takes no tls."));
            }
            ("HTTPS" | "TLS", None) => {
                self.refuse(format!("A listener of protocol {protocol} needs tls."));
            }
            ("HTTPS" | "TLS", Some(tls)) => match (protocol, self.mode()) {
                (_, None | Some("Terminate")) => {
                    let refs = &tls.certificate_refs;
                    let certificates = certificate::resolve(world, owner, refs);
                    self.take_certificates(certificates);
                }
                ("TLS", Some("Passthrough")) => {
                    if !tls.certificate_refs.is_empty() {
                        self.refuse("tls.mode Passthrough takes no certificateRefs.");
                    }
                }
                (_, Some(mode)) => self.refuse_mode(mode),
            },
            _ => {}
        }
    }

    fn refuse_mode(&mut self, mode: &str) {
        let message = match self.spec.protocol.as_str() {
            "HTTPS" => format!("tls.mode {mode:?} does not fit HTTPS: Terminate does."),
            _ => format!("tls.mode {mode:?} is not known: Terminate and Passthrough are."),
        };
        self.conditions
            .set("Programmed", false, "UnsupportedTLSMode", message);
        (self.valid, self.sound) = (false, false);
    }

    fn take_certificates(&mut self, found: Certificates) {
        match found {
            Certificates::None => self.refuse("The listener needs at least one certificateRef."),
            Certificates::Unusable { reason, message } => {
                self.conditions.set("ResolvedRefs", false, reason, message);
                self.valid = false;
            }
            Certificates::Some { usable, faults } => {
                self.certificates = usable;
                if !faults.is_empty() {
                    self.conditions.set(
                        "ResolvedRefs",
                        false,
                        "PartiallyInvalidCertificateRef",
                        format!("Some certificates cannot be used: {faults}"),
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
        if matches!(&*self.spec.protocol, "TCP" | "UDP") {
            self.refuse(format!(
                "A listener of protocol {} takes no hostname.",
                self.spec.protocol
            ));
            return;
        }
        match hostname.parse() {
            Ok(pattern) => self.hostname = pattern,
            Err(fault) => {
                let message = format!("{fault}.");
                self.conditions
                    .set("Accepted", false, "UnsupportedValue", &*message);
                self.refuse(message);
            }
        }
    }

    fn check_port(&mut self) {
        if !(1..=65535).contains(&self.spec.port) {
            let message = format!("Port {} is not between 1 and 65535.", self.spec.port);
            self.conditions
                .set("Accepted", false, "UnsupportedValue", &*message);
            self.refuse(message);
        }
    }

    /// States what follows from what was found.
    pub(super) fn finish(&mut self) {
        let bad = |conditions: &Conditions| !conditions.is_empty();
        if !bad(&self.conditions) {
            self.programmed();
            self.conditions
                .set("Accepted", true, "Accepted", "The listener is served.");
            self.conditions.set(
                "ResolvedRefs",
                true,
                "ResolvedRefs",
                "Every reference is resolved.",
            );
            if self.set.is_some() {
                let message = "No other listener contradicts it.";
                self.conditions
                    .set("Conflicted", false, "NoConflicts", message);
            }
            return;
        }
        let only = self.conditions.iter().count() == 1;
        let refs = self
            .conditions
            .find("ResolvedRefs")
            .map(|held| held.reason.clone());
        // Where some authorities are good, clients are validated by those.
        let some_authorities = self.clients.is_some();
        match (only, refs.as_deref()) {
            (true, Some("InvalidCACertificateRef" | "InvalidCACertificateKind"))
                if some_authorities =>
            {
                self.served();
            }
            (true, Some("RefNotPermitted"))
                if some_authorities && !self.certificates.is_empty() =>
            {
                self.served();
            }
            (true, Some("PartiallyInvalidCertificateRef")) => {
                self.served();
            }
            (true, Some("InvalidCertificateRef")) => {
                let message = "The listener is right, and waits for a certificate.";
                self.conditions.set("Accepted", true, "Accepted", message);
                self.not_programmed();
            }
            _ => {
                self.not_programmed();
                if self.conditions.find("ResolvedRefs").is_none() {
                    let message = "Every reference is resolved.";
                    self.conditions
                        .set("ResolvedRefs", true, "ResolvedRefs", message);
                }
            }
        }
    }

    /// It is served, although something is wrong.
    fn served(&mut self) {
        self.conditions
            .set("Accepted", true, "Accepted", "The listener is served.");
        self.programmed();
    }

    fn programmed(&mut self) {
        self.conditions.set(
            "Programmed",
            true,
            "Programmed",
            "The listener is in the data plane.",
        );
    }

    fn not_programmed(&mut self) {
        if self.conditions.find("Programmed").is_none() {
            let message = "The listener cannot be served: see its other conditions.";
            let reason = self.invalid();
            self.conditions.set("Programmed", false, reason, message);
        }
    }
}

fn kind_ref(kind: &str) -> RouteKindRef {
    RouteKindRef {
        group: GATEWAY_GROUP.to_owned(),
        kind: kind.to_owned(),
    }
}

/// The kinds of routes that a protocol can take; `None`: nobody knows the protocol.
fn kinds_of(protocol: &str, mode: Option<&str>) -> Option<&'static [&'static str]> {
    match (protocol, mode) {
        ("HTTP" | "HTTPS", _) => Some(&["HTTPRoute", "GRPCRoute"]),
        ("TLS", Some("Passthrough")) => Some(&["TLSRoute"]),
        ("TLS", _) => Some(&["TCPRoute", "TLSRoute"]),
        ("TCP", _) => Some(&["TCPRoute"]),
        ("UDP", _) => Some(&["UDPRoute"]),
        _ => None,
    }
}
