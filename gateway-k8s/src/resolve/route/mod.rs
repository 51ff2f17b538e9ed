//! Routes: their attachment, and the resolution of their rules.
//!
//! ```text
//! HTTPRoute ─┐            ┌─ attach: parentRefs ─> listeners, hostnames ─┐
//! GRPCRoute ─┤            │                                              │
//!            ├─> RouteRef ┼─ rules: matches, filters, backends, traffic ─┼─> status of each parent
//! TLSRoute ──┤            │                                              │   routes of each listener
//! TCPRoute ──┤            └─ stream: backends ───────────────────────────┘
//! UDPRoute ──┘
//! ```
//!
//! Rules are resolved once per route and shared by all listeners.

mod attach;
mod backend;
mod backend_error;
mod backend_object;
mod cors;
mod endpoint_slices;
mod extension;
mod external_auth;
mod filter_type;
mod filters;
mod finding;
mod headers;
mod matches;
pub(super) mod overlap;
mod rules;
mod service_host;
mod service_port;
mod session;
mod stream;
mod traffic;
mod unattached;

pub(super) use attach::{Attachment, written_hostnames};
pub(super) use backend::Backends;
pub(super) use cors::preflights;
pub(super) use rules::RuleDraft;
pub(super) use stream::StreamDraft;
pub(super) use traffic::RuleTraffic;

use std::sync::Arc;

use towergate_core::plan::{RouteId, RouteKind};
use towergate_policy::SchemaViolation;

use self::finding::RulePart;
use self::service_port::Transport;
use super::gateway::Gateways;
use super::indexed::{Indexed, RouteIndex};
use super::object_index::{ObjectIndex, age};
use super::report::{Report, Subject};
use crate::api::grpc_route::GrpcRouteSpec;
use crate::api::http_route::HttpRouteSpec;
use crate::api::meta::ObjectMeta;
use crate::api::reference::ParentReference;
use crate::api::stream_route::{PortRouteSpec, StreamRouteRule, TlsRouteSpec};
use crate::decode::FieldScope;
use crate::objects::{Object, ObjectKey, Objects};
use crate::status::{Condition, ConditionType, Conditions, Reason, RouteReason, RouteStatus};

/// A route of any kind.
#[derive(Clone, Copy, Debug)]
pub(super) enum RouteRef<'a> {
    Http(&'a Object<HttpRouteSpec>),
    Grpc(&'a Object<GrpcRouteSpec>),
    Tls(&'a Object<TlsRouteSpec>),
    Tcp(&'a Object<PortRouteSpec>),
    Udp(&'a Object<PortRouteSpec>),
}

/// Evaluates an expression for an object of any kind.
macro_rules! of_any {
    ($route:expr, $object:ident => $what:expr) => {
        match $route {
            RouteRef::Http($object) => $what,
            RouteRef::Grpc($object) => $what,
            RouteRef::Tls($object) => $what,
            RouteRef::Tcp($object) | RouteRef::Udp($object) => $what,
        }
    };
}

impl<'a> RouteRef<'a> {
    /// Every route, in order of kind and name.
    pub(super) fn all(objects: &'a Objects) -> impl Iterator<Item = Self> {
        let http = objects.http_routes.values().map(RouteRef::Http);
        let grpc = objects.grpc_routes.values().map(RouteRef::Grpc);
        let tls = objects.tls_routes.values().map(RouteRef::Tls);
        let tcp = objects.tcp_routes.values().map(RouteRef::Tcp);
        let udp = objects.udp_routes.values().map(RouteRef::Udp);
        http.chain(grpc).chain(tls).chain(tcp).chain(udp)
    }

    /// Kind of the route, as in Kubernetes.
    pub(super) fn kind(self) -> &'static str {
        self.route_kind().name()
    }

    /// Kind of the route.
    pub(super) fn route_kind(self) -> RouteKind {
        match self {
            Self::Http(_) => RouteKind::Http,
            Self::Grpc(_) => RouteKind::Grpc,
            Self::Tls(_) => RouteKind::Tls,
            Self::Tcp(_) => RouteKind::Tcp,
            Self::Udp(_) => RouteKind::Udp,
        }
    }

    pub(super) fn meta(self) -> &'a ObjectMeta {
        of_any!(self, route => &route.meta)
    }

    /// The fields that cannot be read. The parts of the route that contain them fail closed.
    pub(super) fn unreadable_fields(self) -> &'a [SchemaViolation] {
        of_any!(self, route => &route.unreadable_fields)
    }

    /// The unreadable fields of the rule at this index, and those that affect every rule.
    fn unreadable_fields_of_rule(self, rule: usize) -> impl Iterator<Item = &'a SchemaViolation> {
        let faults = self.unreadable_fields().iter();
        faults.filter(move |fault| FieldScope::of(&fault.field).affects_rule(rule))
    }

    pub(super) fn key(self) -> ObjectKey {
        ObjectKey::new(&*self.meta().namespace, &*self.meta().name)
    }

    pub(super) fn id(self) -> Arc<RouteId> {
        Arc::new(RouteId {
            kind: self.route_kind(),
            namespace: self.meta().namespace.clone(),
            name: self.meta().name.clone(),
        })
    }

    pub(super) fn parent_refs(self) -> &'a [ParentReference] {
        of_any!(self, route => &route.spec.parent_refs)
    }

    /// Value of `useDefaultGateways`.
    pub(super) fn default_gateways(self) -> Option<&'a str> {
        of_any!(self, route => route.spec.use_default_gateways.as_deref())
    }

    pub(super) fn hostnames(self) -> &'a [String] {
        match self {
            Self::Http(route) => &route.spec.hostnames,
            Self::Grpc(route) => &route.spec.hostnames,
            Self::Tls(route) => &route.spec.hostnames,
            Self::Tcp(_) | Self::Udp(_) => &[],
        }
    }

    /// Names of the rules.
    pub(super) fn rule_names(self) -> Vec<Option<&'a str>> {
        of_any!(self, route => route.spec.rules.iter().map(|rule| rule.name.as_deref()).collect())
    }

    pub(super) fn subject(self) -> Subject<'a> {
        of_any!(self, route => Subject::new(self.kind(), route))
    }

    /// Transport protocol of the Service ports to which the route refers.
    fn transport(self) -> Transport {
        match self {
            Self::Udp(_) => Transport::Udp,
            Self::Http(_) | Self::Grpc(_) | Self::Tls(_) | Self::Tcp(_) => Transport::Tcp,
        }
    }

    /// Whether the route is for connections or datagrams.
    pub(super) fn carries_streams(self) -> bool {
        self.stream_rules().is_some()
    }

    /// The rules of a route of connections or datagrams; `None` for HTTPRoutes and GRPCRoutes.
    fn stream_rules(self) -> Option<&'a [StreamRouteRule]> {
        match self {
            Self::Http(_) | Self::Grpc(_) => None,
            Self::Tls(route) => Some(&route.spec.rules),
            Self::Tcp(route) | Self::Udp(route) => Some(&route.spec.rules),
        }
    }
}

/// A route with at least one parent of this controller.
#[derive(Debug)]
pub(super) struct RouteState<'a> {
    pub(super) route: RouteRef<'a>,
    /// Attachments: one for each parentRef to a Gateway of this controller.
    pub(super) attachments: Vec<Attachment>,
    /// Rules of an HTTPRoute or GRPCRoute.
    pub(super) rules: Vec<RuleDraft>,
    /// The rule of a route of connections or datagrams, if there is exactly one.
    pub(super) stream: Option<StreamDraft>,
}

/// Routes in order of precedence.
pub(super) type Routes<'a> = Indexed<RouteIndex, RouteState<'a>>;

/// Every route with a parent of this controller, in order of precedence: the oldest first, then by
/// namespace and name.
pub(super) fn resolve<'a>(
    index: &ObjectIndex<'a>,
    gateways: &mut Gateways<'a>,
    backends: &mut Backends<'a>,
    report: &mut Report,
) -> Routes<'a> {
    // The sort is stable: routes of equal age and name stay in order of kind.
    let mut routes: Vec<_> = RouteRef::all(index.objects).collect();
    routes.sort_by(|a, b| age(a.meta()).cmp(&age(b.meta())));
    let states = routes
        .into_iter()
        .filter_map(|route| RouteState::resolve(index, gateways, backends, report, route));
    states.collect()
}

impl<'a> RouteState<'a> {
    fn resolve(
        index: &ObjectIndex<'a>,
        gateways: &mut Gateways<'a>,
        backends: &mut Backends<'a>,
        report: &mut Report,
        route: RouteRef<'a>,
    ) -> Option<Self> {
        let mut attachments = attach::find(index, gateways, route, report);
        if attachments.is_empty() {
            return None;
        }
        let through = attachments
            .iter()
            .filter(|attachment| !attachment.listeners.is_empty())
            .map(|attachment| ParentReference {
                namespace: attachment
                    .parent
                    .namespace
                    .clone()
                    .or_else(|| Some(route.meta().namespace.clone())),
                ..attachment.parent.clone()
            });
        backends.reached_through(through.collect());
        let (outcome, stream) = match route.stream_rules() {
            None => (rules::resolve(index, backends, route, report), None),
            Some(rules) => {
                let tls = stream::TlsHandling::of(gateways, &attachments);
                stream::resolve(index, backends, (route, rules), tls, report)
            }
        };
        for attachment in &mut attachments {
            attachment.state(&outcome.faults, outcome.total);
            attach::join(gateways, attachment, route);
        }
        Some(Self {
            route,
            attachments,
            rules: outcome.rules,
            stream,
        })
    }

    /// The status of the route.
    pub(super) fn status(&self) -> RouteStatus {
        let parents = self
            .attachments
            .iter()
            .map(|attachment| crate::status::Parent {
                parent_ref: attachment.parent.clone(),
                conditions: attachment.conditions.clone(),
            });
        RouteStatus {
            parents: parents.collect(),
        }
    }
}

/// Errors of the rules of a route.
#[derive(Debug, Default)]
pub(super) struct RuleErrors {
    all: Vec<RuleError>,
    /// Whether no rule is served because of the error of one rule.
    closed: bool,
    /// Whether the references of the route are not resolved.
    unresolved: bool,
}

/// An error of a rule.
#[derive(Debug)]
pub(super) struct RuleError {
    /// Condition that becomes false.
    pub(super) condition: ConditionType,
    pub(super) reason: RouteReason,
    /// Path of the invalid field, from `spec` on.
    pub(super) field: String,
    /// Error message: a clause without a full stop.
    pub(super) message: String,
    /// Index of the rule.
    pub(super) rule: usize,
}

impl RuleErrors {
    /// Adds an error that has been reported.
    fn add(&mut self, error: RuleError) {
        self.all.push(error);
    }

    /// Adds an error to the rule and to the report. In the report, an error that only concerns
    /// endpoints is a warning.
    fn report(
        &mut self,
        report: &mut Report,
        subject: &Subject<'_>,
        part: RulePart,
        error: RuleError,
    ) {
        let (code, advice) = finding::of_rule(error.reason, part);
        let (field, message) = (&*error.field, &*error.message);
        if error.condition == ConditionType::BackendsAvailable {
            report.warn(code, subject, field, message, advice);
        } else {
            report.error(code, subject, field, message, advice);
        }
        self.add(error);
    }

    /// Marks all rules as not served.
    fn close(&mut self) {
        self.closed = true;
    }

    /// Records that no reference of the route is resolved.
    fn leave_references(&mut self) {
        self.unresolved = true;
    }

    /// Number of errors.
    fn refusals(&self) -> usize {
        self.all.len()
    }

    /// Rules that are not accepted.
    fn refused(&self) -> Vec<usize> {
        let mut rules: Vec<_> = self
            .of(ConditionType::Accepted)
            .map(|fault| fault.rule)
            .collect();
        rules.sort_unstable();
        rules.dedup();
        rules
    }

    fn of(&self, condition: ConditionType) -> impl Iterator<Item = &RuleError> {
        self.all
            .iter()
            .filter(move |fault| fault.condition == condition)
    }

    /// Sets the conditions. A route with at least one valid rule is accepted (GEP-1364); the
    /// message of `PartiallyInvalid` begins as Gateway API prescribes.
    fn state(&self, conditions: &mut Conditions<RouteReason>, total: usize) {
        for kind in [
            ConditionType::ResolvedRefs,
            ConditionType::BackendsAvailable,
        ] {
            if let Some(condition) = self.summary(kind) {
                conditions.insert(condition);
            }
        }
        let Some(mut condition) = self.summary(ConditionType::Accepted) else {
            return;
        };
        let refused = self.refused();
        if !self.closed && refused.len() < total {
            let rules: Vec<_> = refused.iter().map(ToString::to_string).collect();
            condition.kind = ConditionType::PartiallyInvalid;
            condition.status = true;
            condition.message = format!(
                "Dropped Rule(s) {}: {}",
                rules.join(", "),
                condition.message
            );
        }
        conditions.insert(condition);
    }

    /// The condition of type `kind` with status false and the messages of all its errors; `None` if there are
    /// no errors.
    fn summary(&self, kind: ConditionType) -> Option<Condition<RouteReason>> {
        let mut reasons: Vec<_> = self.of(kind).map(|fault| fault.reason).collect();
        reasons.sort_unstable_by_key(|reason| reason.as_str());
        reasons.dedup();
        let messages: Vec<_> = self
            .of(kind)
            .map(|fault| format!("{}: {}", fault.field, fault.message))
            .collect();
        let reason = *reasons.first()?;
        Some(Condition {
            kind,
            status: false,
            reason,
            more_reasons: reasons.split_off(1),
            message: messages.join("; "),
        })
    }
}
