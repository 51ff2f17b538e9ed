//! Routes: where they attach, and what their rules mean.
//!
//! ```text
//! HTTPRoute ─┐            ┌─ attach: parentRefs ─> listeners, hostnames ─┐
//!            ├─> RouteRef ┤                                              ├─> status of each parent
//! GRPCRoute ─┘            └─ rules: matches, filters, backends, traffic ─┘   routes of each listener
//! ```
//!
//! Rules are worked out once per route and shared by all listeners.

mod attach;
mod backend;
mod filters;
mod headers;
mod matches;
mod overlap;
mod rules;
mod traffic;

pub(super) use attach::Attachment;
pub(super) use backend::Backends;
pub(super) use rules::RuleDraft;
pub(super) use traffic::RuleTraffic;

use std::sync::Arc;

use towergate_core::plan::{RouteId, RouteKind};
use towergate_policy::Invalid;

use super::gateway::Gateways;
use super::report::{Report, Subject};
use super::world::{World, age};
use crate::api::grpc_route::GrpcRouteSpec;
use crate::api::http_route::HttpRouteSpec;
use crate::api::meta::ObjectMeta;
use crate::api::reference::ParentReference;
use crate::objects::{Object, ObjectKey};
use crate::status::{Conditions, RouteStatus};

/// A route of either kind.
#[derive(Clone, Copy, Debug)]
pub(super) enum RouteRef<'a> {
    Http(&'a Object<HttpRouteSpec>),
    Grpc(&'a Object<GrpcRouteSpec>),
}

impl<'a> RouteRef<'a> {
    pub(super) fn kind(self) -> &'static str {
        match self {
            Self::Http(_) => "HTTPRoute",
            Self::Grpc(_) => "GRPCRoute",
        }
    }

    pub(super) fn meta(self) -> &'a ObjectMeta {
        match self {
            Self::Http(route) => &route.meta,
            Self::Grpc(route) => &route.meta,
        }
    }

    /// Fields that could not be read, so that what has them fails closed.
    pub(super) fn misread(self) -> &'a [Invalid] {
        match self {
            Self::Http(route) => &route.misread,
            Self::Grpc(route) => &route.misread,
        }
    }

    pub(super) fn key(self) -> ObjectKey {
        ObjectKey::new(&*self.meta().namespace, &*self.meta().name)
    }

    pub(super) fn id(self) -> Arc<RouteId> {
        Arc::new(RouteId {
            kind: match self {
                Self::Http(_) => RouteKind::Http,
                Self::Grpc(_) => RouteKind::Grpc,
            },
            namespace: self.meta().namespace.clone(),
            name: self.meta().name.clone(),
        })
    }

    pub(super) fn parent_refs(self) -> &'a [ParentReference] {
        match self {
            Self::Http(route) => &route.spec.parent_refs,
            Self::Grpc(route) => &route.spec.parent_refs,
        }
    }

    pub(super) fn hostnames(self) -> &'a [String] {
        match self {
            Self::Http(route) => &route.spec.hostnames,
            Self::Grpc(route) => &route.spec.hostnames,
        }
    }

    /// The names of its rules.
    pub(super) fn rule_names(self) -> Vec<Option<&'a str>> {
        match self {
            Self::Http(route) => route
                .spec
                .rules
                .iter()
                .map(|rule| rule.name.as_deref())
                .collect(),
            Self::Grpc(route) => route
                .spec
                .rules
                .iter()
                .map(|rule| rule.name.as_deref())
                .collect(),
        }
    }

    pub(super) fn subject(self) -> Subject<'a> {
        match self {
            Self::Http(route) => Subject::new("HTTPRoute", route),
            Self::Grpc(route) => Subject::new("GRPCRoute", route),
        }
    }
}

/// A route with a parent of ours, and what became of it.
#[derive(Debug)]
pub(super) struct RouteState<'a> {
    pub(super) route: RouteRef<'a>,
    /// One for each parentRef that names a Gateway of ours.
    pub(super) attachments: Vec<Attachment>,
    pub(super) rules: Vec<RuleDraft>,
}

/// Every route that has a parent of ours, in the order in which equal matches get their way: the
/// oldest first, then by namespace and name.
pub(super) fn resolve<'a>(
    world: &World<'a>,
    gateways: &mut Gateways<'a>,
    backends: &mut Backends<'a>,
    report: &mut Report,
) -> Vec<RouteState<'a>> {
    let objects = world.objects;
    let http = objects.http_routes.values().map(RouteRef::Http);
    let grpc = objects.grpc_routes.values().map(RouteRef::Grpc);
    let mut routes: Vec<_> = http.chain(grpc).collect();
    routes.sort_by(|a, b| {
        age(a.meta())
            .cmp(&age(b.meta()))
            .then(a.kind().cmp(b.kind()).reverse())
    });
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
        let outcome = rules::resolve(world, backends, route, report);
        for attachment in &mut attachments {
            attachment.state(&outcome.faults, outcome.total);
            attach::join(gateways, attachment, route);
        }
        Some(Self {
            route,
            attachments,
            rules: outcome.rules,
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
pub(super) struct Faults(Vec<Fault>);

/// Something wrong with a rule.
#[derive(Debug)]
pub(super) struct Fault {
    /// `Accepted`, `ResolvedRefs` or `BackendsAvailable`.
    pub(super) condition: &'static str,
    /// The word of the API.
    pub(super) reason: &'static str,
    /// A sentence.
    pub(super) message: String,
    /// The rule's place in the route.
    pub(super) rule: usize,
}

impl Faults {
    pub(super) fn add(&mut self, fault: Fault) {
        self.0.push(fault);
    }

    /// How many faults there are that keep a rule from doing what it should.
    fn refusals(&self) -> usize {
        self.0.len()
    }

    /// Rules with a fault that keeps them from being accepted.
    fn refused(&self) -> Vec<usize> {
        let mut rules: Vec<_> = self.of("Accepted").map(|fault| fault.rule).collect();
        rules.sort_unstable();
        rules.dedup();
        rules
    }

    fn of(&self, condition: &str) -> impl Iterator<Item = &Fault> {
        self.0
            .iter()
            .filter(move |fault| fault.condition == condition)
    }

    /// States what is wrong. A route of which some rules are right is accepted (GEP-1364).
    fn state(&self, conditions: &mut Conditions, total: usize) {
        for kind in ["ResolvedRefs", "BackendsAvailable"] {
            if let Some((reason, message)) = self.summary(kind) {
                conditions.set(kind, false, reason, message);
            }
        }
        let Some((reason, message)) = self.summary("Accepted") else {
            return;
        };
        if self.refused().len() >= total {
            conditions.set("Accepted", false, reason, message);
        } else {
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
            .map(|fault| format!("Rule {}: {}", fault.rule, fault.message))
            .collect();
        (!reasons.is_empty()).then(|| (reasons.join(","), messages.join(" ")))
    }
}
