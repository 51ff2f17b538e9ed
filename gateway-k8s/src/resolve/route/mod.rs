//! Routes: where they attach, and what their rules mean.
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
//! Rules are worked out once per route and shared by all listeners.

mod attach;
mod backend;
mod cors;
mod filters;
mod headers;
mod matches;
mod overlap;
mod rules;
mod stream;
mod traffic;

pub(super) use attach::Attachment;
pub(super) use backend::Backends;
pub(super) use rules::RuleDraft;
pub(super) use stream::StreamDraft;
pub(super) use traffic::RuleTraffic;

use std::sync::Arc;

use towergate_core::plan::{RouteId, RouteKind};
use towergate_policy::SchemaViolation;

use super::gateway::Gateways;
use super::report::{Report, Subject};
use super::world::{World, age};
use crate::api::grpc_route::GrpcRouteSpec;
use crate::api::http_route::HttpRouteSpec;
use crate::api::meta::ObjectMeta;
use crate::api::reference::ParentReference;
use crate::api::stream_route::{PortRouteSpec, StreamRouteRule, TlsRouteSpec};
use crate::decode::is_of_every_rule;
use crate::objects::{Object, ObjectKey, Objects};
use crate::status::{Conditions, RouteStatus};

/// A route of any kind.
#[derive(Clone, Copy, Debug)]
pub(super) enum RouteRef<'a> {
    Http(&'a Object<HttpRouteSpec>),
    Grpc(&'a Object<GrpcRouteSpec>),
    Tls(&'a Object<TlsRouteSpec>),
    Tcp(&'a Object<PortRouteSpec>),
    Udp(&'a Object<PortRouteSpec>),
}

/// The same of the object of each kind.
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

    pub(super) fn kind(self) -> &'static str {
        match self {
            Self::Http(_) => "HTTPRoute",
            Self::Grpc(_) => "GRPCRoute",
            Self::Tls(_) => "TLSRoute",
            Self::Tcp(_) => "TCPRoute",
            Self::Udp(_) => "UDPRoute",
        }
    }

    pub(super) fn meta(self) -> &'a ObjectMeta {
        of_any!(self, route => &route.meta)
    }

    /// Fields that could not be read, so that what has them fails closed.
    pub(super) fn misread(self) -> &'a [SchemaViolation] {
        of_any!(self, route => &route.misread)
    }

    /// Those of the rule at this place, and those that concern every rule.
    fn misread_of_rule(self, rule: usize) -> impl Iterator<Item = &'a SchemaViolation> {
        let within = format!("spec.rules[{rule}]");
        self.misread()
            .iter()
            .filter(move |fault| fault.field.starts_with(&within) || is_of_every_rule(&fault.field))
    }

    pub(super) fn key(self) -> ObjectKey {
        ObjectKey::new(&*self.meta().namespace, &*self.meta().name)
    }

    pub(super) fn id(self) -> Arc<RouteId> {
        Arc::new(RouteId {
            kind: match self {
                Self::Http(_) => RouteKind::Http,
                Self::Grpc(_) => RouteKind::Grpc,
                Self::Tls(_) => RouteKind::Tls,
                Self::Tcp(_) => RouteKind::Tcp,
                Self::Udp(_) => RouteKind::Udp,
            },
            namespace: self.meta().namespace.clone(),
            name: self.meta().name.clone(),
        })
    }

    pub(super) fn parent_refs(self) -> &'a [ParentReference] {
        of_any!(self, route => &route.spec.parent_refs)
    }

    /// Whether it attaches to default Gateways, as it says.
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

    /// The names of its rules.
    pub(super) fn rule_names(self) -> Vec<Option<&'a str>> {
        of_any!(self, route => route.spec.rules.iter().map(|rule| rule.name.as_deref()).collect())
    }

    pub(super) fn subject(self) -> Subject<'a> {
        of_any!(self, route => Subject::new(self.kind(), route))
    }

    /// What its Services' ports are of: `TCP` or `UDP`.
    fn transport(self) -> &'static str {
        match self {
            Self::Udp(_) => "UDP",
            _ => "TCP",
        }
    }

    /// Whether it is a route of connections or datagrams, not of requests.
    pub(super) fn carries_streams(self) -> bool {
        self.stream_rules().is_some()
    }

    /// The rules of a route of connections or datagrams; `None`: it is one of requests.
    fn stream_rules(self) -> Option<&'a [StreamRouteRule]> {
        match self {
            Self::Http(_) | Self::Grpc(_) => None,
            Self::Tls(route) => Some(&route.spec.rules),
            Self::Tcp(route) | Self::Udp(route) => Some(&route.spec.rules),
        }
    }
}

/// A route with a parent of ours, and what became of it.
#[derive(Debug)]
pub(super) struct RouteState<'a> {
    pub(super) route: RouteRef<'a>,
    /// One for each parentRef that names a Gateway of ours.
    pub(super) attachments: Vec<Attachment>,
    /// Of a route of requests.
    pub(super) rules: Vec<RuleDraft>,
    /// Of a route of connections or datagrams, unless nobody can say where they should go.
    pub(super) stream: Option<StreamDraft>,
}

/// Every route that has a parent of ours, in the order in which equal matches get their way: the
/// oldest first, then by namespace and name.
pub(super) fn resolve<'a>(
    world: &World<'a>,
    gateways: &mut Gateways<'a>,
    backends: &mut Backends<'a>,
    report: &mut Report,
) -> Vec<RouteState<'a>> {
    // Of routes of the same age and name those of a kind that comes first do so.
    let mut routes: Vec<_> = RouteRef::all(world.objects).collect();
    routes.sort_by(|a, b| age(a.meta()).cmp(&age(b.meta())));
    let states = routes
        .into_iter()
        .filter_map(|route| RouteState::resolve(world, gateways, backends, report, route));
    let mut states: Vec<_> = states.collect();
    overlap::check(&mut states);
    states
}

impl<'a> RouteState<'a> {
    fn resolve(
        world: &World<'a>,
        gateways: &mut Gateways<'a>,
        backends: &mut Backends<'a>,
        report: &mut Report,
        route: RouteRef<'a>,
    ) -> Option<Self> {
        let mut attachments = attach::find(world, gateways, route, report);
        if attachments.is_empty() {
            return None;
        }
        let through = attachments
            .iter()
            .filter(|attachment| !attachment.listeners.is_empty())
            .map(|attachment| gateways.list[attachment.gateway].object);
        backends.reached_through(through);
        let (outcome, stream) = match route.stream_rules() {
            None => (rules::resolve(world, backends, route, report), None),
            Some(rules) => {
                let ends = stream::Ends::of(gateways, &attachments);
                stream::resolve(world, backends, (route, rules), ends, report)
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

    /// Its status.
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

/// What is wrong with rules, by the condition that it makes false.
#[derive(Debug, Default)]
pub(super) struct Faults {
    all: Vec<Fault>,
    /// A fault of one rule keeps all rules from being served.
    closed: bool,
}

/// Something wrong with a rule.
#[derive(Debug)]
pub(super) struct Fault {
    /// `Accepted`, `ResolvedRefs` or `BackendsAvailable`.
    pub(super) condition: &'static str,
    /// The word of the API.
    pub(super) reason: &'static str,
    /// The path of the invalid field, from `spec` on.
    pub(super) field: String,
    /// What is wrong with it.
    pub(super) message: String,
    /// Place of the rule in the route.
    pub(super) rule: usize,
}

impl Faults {
    pub(super) fn add(&mut self, fault: Fault) {
        self.all.push(fault);
    }

    /// Notes that no rule is served.
    fn close(&mut self) {
        self.closed = true;
    }

    /// How many faults there are that keep a rule from doing what it should.
    fn refusals(&self) -> usize {
        self.all.len()
    }

    /// Rules with a fault that keeps them from being accepted.
    fn refused(&self) -> Vec<usize> {
        let mut rules: Vec<_> = self.of("Accepted").map(|fault| fault.rule).collect();
        rules.sort_unstable();
        rules.dedup();
        rules
    }

    fn of(&self, condition: &str) -> impl Iterator<Item = &Fault> {
        self.all
            .iter()
            .filter(move |fault| fault.condition == condition)
    }

    /// States the faults. A route some of whose rules are valid is accepted (GEP-1364), and its message
    /// begins as Gateway API prescribes for `PartiallyInvalid`.
    fn state(&self, conditions: &mut Conditions, total: usize) {
        for kind in ["ResolvedRefs", "BackendsAvailable"] {
            if let Some((reason, message)) = self.summary(kind) {
                conditions.set(kind, false, reason, message);
            }
        }
        let Some((reason, message)) = self.summary("Accepted") else {
            return;
        };
        let refused = self.refused();
        if self.closed || refused.len() >= total {
            conditions.set("Accepted", false, reason, message);
        } else {
            let rules: Vec<_> = refused.iter().map(ToString::to_string).collect();
            let message = format!("Dropped Rule(s) {}: {message}", rules.join(", "));
            conditions.set("PartiallyInvalid", true, reason, message);
        }
    }

    /// All reasons and messages of a condition.
    fn summary(&self, condition: &str) -> Option<(String, String)> {
        let mut reasons: Vec<_> = self.of(condition).map(|fault| fault.reason).collect();
        reasons.sort_unstable();
        reasons.dedup();
        let messages: Vec<_> = self
            .of(condition)
            .map(|fault| format!("{}: {}", fault.field, fault.message))
            .collect();
        (!reasons.is_empty()).then(|| (reasons.join(","), messages.join("; ")))
    }
}
