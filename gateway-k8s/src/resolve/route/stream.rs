//! Rules of TLSRoutes, TCPRoutes and UDPRoutes.
//!
//! Each route has one rule. Passed-through connections carry the client's TLS, so BackendTLSPolicies do not
//! apply to them.

use towergate_core::plan::{Destination, WeightedBackend};

use super::super::gateway::Gateways;
use super::super::object_index::ObjectIndex;
use super::super::report::Report;
use super::backend::{Backends, ResolvedBackend};
use super::backend_error::BackendError;
use super::finding::RulePart;
use super::rules::ResolvedRules;
use super::{Attachment, RouteRef, RuleError, RuleErrors};
use crate::api::reference::BackendObjectReference;
use crate::api::stream_route::{StreamBackendRef, StreamRouteRule};
use crate::finding::FindingCode;
use crate::status::{ConditionType, RouteReason};

/// The rule of a route of connections or datagrams, without policies.
#[derive(Clone, Debug)]
pub(crate) struct StreamDraft {
    /// Name of the rule.
    pub(crate) name: Option<String>,
    /// Backends of plain and of decrypted connections.
    pub(crate) terminated: Vec<WeightedBackend>,
    /// Backends of passed-through connections.
    pub(crate) passed: Vec<WeightedBackend>,
}

/// TLS modes of the listeners of a route.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct TlsHandling {
    /// Whether a listener accepts plain connections or terminates TLS.
    terminated: bool,
}

impl TlsHandling {
    /// The TLS modes of the listeners of a route.
    pub(super) fn of(gateways: &Gateways<'_>, attachments: &[Attachment]) -> Self {
        let mut listeners = attachments.iter().flat_map(|attachment| {
            let gateway = &gateways.list[attachment.gateway];
            let listeners = attachment.listeners.iter();
            listeners.map(|(at, _)| &gateway.listeners[*at])
        });
        Self {
            terminated: listeners.any(|listener| !listener.passes_through()),
        }
    }
}

/// Resolves the rule of a route. `None`: the route does not have exactly one rule, so its connections go to
/// no backend.
pub(super) fn resolve(
    index: &ObjectIndex<'_>,
    backends: &mut Backends<'_>,
    (route, rules): (RouteRef<'_>, &[StreamRouteRule]),
    tls: TlsHandling,
    report: &mut Report,
) -> (ResolvedRules, Option<StreamDraft>) {
    let mut resolver = StreamResolver {
        index,
        backends,
        route,
        tls,
        report,
        faults: RuleErrors::default(),
        rule_index: 0,
    };
    let draft = match rules {
        [rule] => Some(resolver.rule(rule)),
        _ => {
            resolver.not_one(rules.len());
            None
        }
    };
    let outcome = ResolvedRules {
        rules: Vec::new(),
        faults: resolver.faults,
        total: 1,
    };
    (outcome, draft)
}

struct StreamResolver<'r, 'a, 'w> {
    index: &'r ObjectIndex<'w>,
    backends: &'r mut Backends<'a>,
    route: RouteRef<'r>,
    tls: TlsHandling,
    report: &'r mut Report,
    faults: RuleErrors,
    rule_index: usize,
}

impl StreamResolver<'_, '_, '_> {
    fn rule(&mut self, rule: &StreamRouteRule) -> StreamDraft {
        let readable = self.has_readable_fields();
        let passed = self.weighted(&rule.backend_refs, true);
        let terminated = match self.tls.terminated {
            true => self.weighted(&rule.backend_refs, false),
            false => passed.clone(),
        };
        if rule.backend_refs.is_empty() {
            self.report.warn(
                FindingCode::RuleWithoutBackends,
                &self.route.subject(),
                format!("spec.rules[{}]", self.rule_index),
                match self.route {
                    RouteRef::Udp(_) => "the rule has no backendRefs; its datagrams are dropped",
                    _ => "the rule has no backendRefs; its connections are closed",
                },
                "add a backendRef, or remove the route",
            );
        }
        let keep = |backends: Vec<_>| if readable { backends } else { Vec::new() };
        StreamDraft {
            name: rule.name.clone(),
            terminated: keep(terminated),
            passed: keep(passed),
        }
    }

    /// Whether all fields of the rule are readable. Adds unreadable fields to the errors of the route; the
    /// decoder has reported them.
    fn has_readable_fields(&mut self) -> bool {
        let rule = self.rule_index;
        let mut readable = true;
        for fault in self.route.unreadable_fields_of_rule(rule) {
            readable = false;
            self.faults.add(RuleError {
                condition: ConditionType::Accepted,
                reason: RouteReason::UnsupportedValue,
                field: fault.field.clone(),
                message: fault.message.clone(),
                rule,
            });
        }
        readable
    }

    /// The backends of a rule. `passed`: the connections are passed through, so BackendTLSPolicies do not
    /// apply.
    fn weighted(&mut self, refs: &[StreamBackendRef], passed: bool) -> Vec<WeightedBackend> {
        // Errors that do not concern TLS occur for both modes and are reported once.
        let quiet = passed && self.tls.terminated;
        let mut weighted = Vec::new();
        for (at, written) in refs.iter().enumerate() {
            let field = format!(".backendRefs[{at}]");
            let weight = written.weight.unwrap_or(1);
            let found = self.find(&written.object(), passed);
            let found = found.and_then(|found| found.check_alone(refs.len() == 1));
            let destination = match found {
                Ok(found) => {
                    if !found.available && weight > 0 && !quiet {
                        let message = format!("{} has no ready endpoints", found.backend.id);
                        self.fault(
                            ConditionType::BackendsAvailable,
                            RouteReason::EndpointsNotFound,
                            &field,
                            message,
                        );
                    }
                    Destination::Backend(found.backend)
                }
                Err(fault) => {
                    if !quiet {
                        self.fault(
                            ConditionType::ResolvedRefs,
                            fault.reason,
                            &field,
                            fault.message,
                        );
                    }
                    Destination::Invalid
                }
            };
            let Ok(weight) = u32::try_from(weight) else {
                if !quiet {
                    let message = format!("weight {weight} is negative");
                    self.fault(
                        ConditionType::ResolvedRefs,
                        RouteReason::UnsupportedRefValue,
                        &field,
                        message,
                    );
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
    ) -> Result<ResolvedBackend, BackendError> {
        match passed {
            true => self
                .backends
                .resolve_passed(self.index, self.route, written),
            false => self.backends.resolve(self.index, self.route, written),
        }
    }

    /// Rejects the route. It is unknown which of its references would be used, so none is resolved.
    fn not_one(&mut self, count: usize) {
        self.faults.leave_references();
        let message = format!("the route must have exactly one rule, not {count}");
        self.fault(
            ConditionType::Accepted,
            RouteReason::InvalidRule,
            "",
            message,
        );
    }

    fn fault(
        &mut self,
        condition: ConditionType,
        reason: RouteReason,
        field: &str,
        message: String,
    ) {
        let part = match (reason, self.route) {
            (RouteReason::InvalidRule, _) => RulePart::Rules,
            (_, RouteRef::Udp(_)) => RulePart::Datagrams,
            (_, _) => RulePart::Connections,
        };
        let error = RuleError {
            condition,
            reason,
            field: match part {
                RulePart::Rules => "spec.rules".to_owned(),
                _ => format!("spec.rules[{}]{field}", self.rule_index),
            },
            message,
            rule: self.rule_index,
        };
        let subject = self.route.subject();
        self.faults.report(self.report, &subject, part, error);
    }
}
