//! Rules of TLSRoutes, TCPRoutes and UDPRoutes: where connections and datagrams go.
//!
//! Such a route has one rule. What a listener passes through is TLS of the client already, so
//! BackendTLSPolicies are for what the other listeners take.

use towergate_core::plan::{Destination, WeightedBackend};

use super::super::gateway::Gateways;
use super::super::report::Report;
use super::super::world::World;
use super::backend::{BackendFault, Backends, Found, advice};
use super::rules::Outcome;
use super::{Attachment, Fault, Faults, RouteRef};
use crate::api::reference::BackendObjectReference;
use crate::api::stream_route::{StreamBackendRef, StreamRouteRule};

/// The rule of a route of connections or datagrams, before policies.
#[derive(Clone, Debug)]
pub(crate) struct StreamDraft {
    /// Its name.
    pub(crate) name: Option<String>,
    /// Where goes what comes in plain, or what the listener has decrypted.
    pub(crate) ended: Vec<WeightedBackend>,
    /// Where goes what the listener passes through.
    pub(crate) passed: Vec<WeightedBackend>,
}

/// What the listeners of a route do with TLS.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Ends {
    /// One takes plain connections, or ends TLS.
    ended: bool,
}

impl Ends {
    /// What the listeners do that take a route.
    pub(super) fn of(gateways: &Gateways<'_>, attachments: &[Attachment]) -> Self {
        let mut listeners = attachments.iter().flat_map(|attachment| {
            let gateway = &gateways.list[attachment.gateway];
            let listeners = attachment.listeners.iter();
            listeners.map(|(at, _)| &gateway.listeners[*at])
        });
        Self {
            ended: listeners.any(|listener| !listener.passes_through()),
        }
    }
}

/// Works out the rule of a route. `None`: there is not exactly one, so that nobody can say where the
/// route leads; it is in nobody's way then.
pub(super) fn resolve(
    world: &World<'_>,
    backends: &mut Backends<'_>,
    (route, rules): (RouteRef<'_>, &[StreamRouteRule]),
    ends: Ends,
    report: &mut Report,
) -> (Outcome, Option<StreamDraft>) {
    let mut resolver = Resolver {
        world,
        backends,
        route,
        ends,
        report,
        faults: Faults::default(),
        index: 0,
    };
    let mut drafts = Vec::new();
    for (index, rule) in rules.iter().enumerate() {
        resolver.index = index;
        drafts.push(resolver.rule(rule));
    }
    if drafts.len() != 1 {
        drafts.clear();
        resolver.index = 0;
        resolver.not_one(rules.len());
    }
    let outcome = Outcome {
        rules: Vec::new(),
        faults: resolver.faults,
        total: 1,
    };
    (outcome, drafts.pop())
}

struct Resolver<'r, 'a, 'w> {
    world: &'r World<'w>,
    backends: &'r mut Backends<'a>,
    route: RouteRef<'r>,
    ends: Ends,
    report: &'r mut Report,
    faults: Faults,
    index: usize,
}

impl Resolver<'_, '_, '_> {
    fn rule(&mut self, rule: &StreamRouteRule) -> StreamDraft {
        let readable = self.misread();
        let passed = self.weighted(&rule.backend_refs, true);
        let ended = match self.ends.ended {
            true => self.weighted(&rule.backend_refs, false),
            false => passed.clone(),
        };
        if rule.backend_refs.is_empty() {
            self.report.warn(
                "rule-without-backends",
                &self.route.subject(),
                format!("spec.rules[{}]", self.index),
                match self.route {
                    RouteRef::Udp(_) => "The rule has no backendRefs: its datagrams are dropped.",
                    _ => "The rule has no backendRefs: its connections are closed.",
                },
                "Name a backend, or remove the route.",
            );
        }
        let keep = |backends: Vec<_>| if readable { backends } else { Vec::new() };
        StreamDraft {
            name: rule.name.clone(),
            ended: keep(ended),
            passed: keep(passed),
        }
    }

    /// Whether the rule has no fields that are not known. The decoder has reported them.
    fn misread(&mut self) -> bool {
        let rule = self.index;
        let mut readable = true;
        for fault in self.route.misread_of_rule(rule) {
            readable = false;
            self.faults.add(Fault {
                condition: "Accepted",
                reason: "UnsupportedValue",
                field: fault.field.clone(),
                message: fault.message.clone(),
                rule,
            });
        }
        readable
    }

    /// The backends of a rule; `passed`: BackendTLSPolicies are not looked at.
    fn weighted(&mut self, refs: &[StreamBackendRef], passed: bool) -> Vec<WeightedBackend> {
        // A fault that has nothing to do with TLS is found both times, and told once.
        let quiet = passed && self.ends.ended;
        let mut weighted = Vec::new();
        for (at, written) in refs.iter().enumerate() {
            let field = format!(".backendRefs[{at}]");
            let weight = written.weight.unwrap_or(1);
            let destination = match self.find(&written.object(), passed) {
                Ok(found) => {
                    if !found.available && weight > 0 && !quiet {
                        let message = format!("{} has no ready endpoints", found.backend.id);
                        self.fault("BackendsAvailable", "EndpointsNotFound", &field, message);
                    }
                    Destination::Backend(found.backend)
                }
                Err(fault) => {
                    if !quiet {
                        self.fault("ResolvedRefs", fault.reason, &field, fault.message);
                    }
                    Destination::Invalid
                }
            };
            let Ok(weight) = u32::try_from(weight) else {
                if !quiet {
                    let message = format!("weight {weight} is negative");
                    self.fault("ResolvedRefs", "UnsupportedRefValue", &field, message);
                }
                continue;
            };
            weighted.push(WeightedBackend {
                weight,
                filters: Vec::new(),
                destination,
            });
        }
        weighted
    }

    fn find(
        &mut self,
        written: &BackendObjectReference,
        passed: bool,
    ) -> Result<Found, BackendFault> {
        match passed {
            true => self
                .backends
                .resolve_passed(self.world, self.route, written),
            false => self.backends.resolve(self.world, self.route, written),
        }
    }

    fn not_one(&mut self, count: usize) {
        let message = format!("the route has {count} rules, and needs exactly one");
        self.fault("Accepted", "InvalidRule", "", message);
    }

    fn fault(
        &mut self,
        condition: &'static str,
        reason: &'static str,
        field: &str,
        message: String,
    ) {
        let (code, mend) = advice(reason).unwrap_or(match reason {
            "InvalidRule" => (
                "rule-invalid",
                "Leave one rule, and move the others to routes of their own.",
            ),
            _ => match self.route {
                RouteRef::Udp(_) => (
                    "rule-invalid",
                    "Correct the reference: until then its share of the datagrams is dropped.",
                ),
                _ => (
                    "rule-invalid",
                    "Correct the reference: until then its share of the connections is closed.",
                ),
            },
        });
        let place = match reason {
            "InvalidRule" => "spec.rules".to_owned(),
            _ => format!("spec.rules[{}]{field}", self.index),
        };
        let subject = self.route.subject();
        match condition {
            "BackendsAvailable" => self.report.warn(code, &subject, &*place, &*message, mend),
            _ => self.report.error(code, &subject, &*place, &*message, mend),
        }
        self.faults.add(Fault {
            condition,
            reason,
            field: place,
            message,
            rule: self.index,
        });
    }
}
