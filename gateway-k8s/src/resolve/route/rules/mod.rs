//! Rules: their matches, filters, traffic settings and backends.

mod backends;
mod parts;

use std::collections::HashMap;

use towergate_core::plan::{Filter, Match, PathMatch, WeightedBackend};
use towergate_policy::{Policy, SchemaViolation, session_persistence};

use self::parts::{BackendParts, RuleParts};
use super::super::object_index::ObjectIndex;
use super::super::report::Report;
use super::backend::Backends;
use super::cors;
use super::extension::{ExtensionError, Extensions};
use super::external_auth;
use super::filters::Filters;
use super::finding::RulePart;
use super::matches::LostPath;
use super::session;
use super::traffic::RuleTraffic;
use super::{RouteRef, RuleError, RuleErrors};
use crate::api::http_route::{HttpRouteRule, SessionPersistence};
use crate::finding::FindingCode;
use crate::status::{ConditionType, RouteReason};

/// Message of the API server for a reference to a Service without port.
const PORT_REQUIRED: &str = "Must have port for Service reference";

/// A rule without policies.
#[derive(Clone, Debug)]
pub(crate) struct RuleDraft {
    /// Index in the route.
    pub(crate) index: usize,
    /// Name of the rule.
    pub(crate) name: Option<String>,
    pub(crate) matches: Vec<Match>,
    pub(crate) filters: Vec<Filter>,
    /// Filters that are enforced as policies.
    pub(crate) policies: Vec<Policy>,
    pub(crate) traffic: RuleTraffic,
    pub(crate) backends: Vec<WeightedBackend>,
    /// Status to return because the rule is invalid.
    pub(crate) respond: Option<u16>,
}

/// The resolved rules of a route.
#[derive(Debug, Default)]
pub(super) struct ResolvedRules {
    pub(super) rules: Vec<RuleDraft>,
    pub(super) faults: RuleErrors,
    /// Number of rules.
    pub(super) total: usize,
}

/// Resolves all rules of a route.
pub(super) fn resolve(
    index: &ObjectIndex<'_>,
    backends: &mut Backends<'_>,
    route: RouteRef<'_>,
    report: &mut Report,
) -> ResolvedRules {
    let parts: Vec<RuleParts> = match route {
        // The CRD default of a route without rules is one rule that matches every request.
        RouteRef::Http(http) if http.spec.rules.is_empty() => {
            vec![RuleParts::http(
                (0, &HttpRouteRule::default()),
                &http.unreadable_fields,
            )]
        }
        RouteRef::Http(http) => {
            let rules = http.spec.rules.iter().enumerate();
            rules
                .map(|rule| RuleParts::http(rule, &http.unreadable_fields))
                .collect()
        }
        RouteRef::Grpc(grpc) => {
            let rules = grpc.spec.rules.iter().enumerate();
            rules
                .map(|rule| RuleParts::grpc(rule, &grpc.unreadable_fields))
                .collect()
        }
        RouteRef::Tls(_) | RouteRef::Tcp(_) | RouteRef::Udp(_) => Vec::new(),
    };
    let mut resolver = RuleResolver {
        index,
        backends,
        route,
        report,
        faults: RuleErrors::default(),
        rule_index: 0,
    };
    resolver.check_names(&parts);
    let total = parts.len();
    let lost = parts.iter().filter_map(|parts| parts.matches.lost).max();
    let mut rules = Vec::with_capacity(total);
    for (at, parts) in parts.into_iter().enumerate() {
        resolver.rule_index = at;
        rules.push(resolver.rule(parts));
    }
    if let Some(lost) = lost {
        resolver.close(&mut rules, lost);
    }
    ResolvedRules {
        rules,
        faults: resolver.faults,
        total,
    }
}

struct RuleResolver<'r, 'a, 'w> {
    index: &'r ObjectIndex<'w>,
    backends: &'r mut Backends<'a>,
    route: RouteRef<'r>,
    report: &'r mut Report,
    faults: RuleErrors,
    rule_index: usize,
}

impl RuleResolver<'_, '_, '_> {
    /// Reports duplicate names of rules, which policies refer to.
    fn check_names(&mut self, parts: &[RuleParts]) {
        let mut seen = HashMap::new();
        for (at, part) in parts.iter().enumerate() {
            let Some(name) = &part.name else { continue };
            if let Some(first) = seen.insert(name, at) {
                self.report.warn(
                    FindingCode::RuleNameTwice,
                    &self.route.subject(),
                    format!("spec.rules[{at}].name"),
                    format!("rules {first} and {at} have the same name {name:?}"),
                    "give each rule a unique name",
                );
            }
        }
    }

    /// Makes a rule return 500 if the requests of the rule possibly belong to another rule, because the path
    /// of the other rule is uncertain.
    fn close(&mut self, rules: &mut [RuleDraft], lost: LostPath) {
        if lost == LostPath::Unknown {
            rules.iter_mut().for_each(|rule| rule.respond = Some(500));
            return self.faults.close();
        }
        let refused = self.faults.refused();
        let exact = |found: &Match| matches!(found.path, PathMatch::Exact(_));
        for rule in rules {
            if rule.matches.iter().all(exact) || refused.contains(&rule.index) {
                continue;
            }
            rule.respond = Some(500);
            let error = RuleError {
                condition: ConditionType::Accepted,
                reason: RouteReason::UnsupportedValue,
                field: format!("spec.rules[{}]", rule.index),
                message: "requests of the rule may belong to another rule, whose path is invalid"
                    .to_owned(),
                rule: rule.index,
            };
            self.report.error(
                FindingCode::RuleInvalid,
                &self.route.subject(),
                &*error.field,
                &*error.message,
                "correct the path of the other rule",
            );
            self.faults.add(error);
        }
    }

    fn fault(
        &mut self,
        part: RulePart,
        condition: ConditionType,
        reason: RouteReason,
        field: &str,
        message: String,
    ) {
        let error = RuleError {
            condition,
            reason,
            field: format!("spec.rules[{}]{field}", self.rule_index),
            message,
            rule: self.rule_index,
        };
        let subject = self.route.subject();
        self.faults.report(self.report, &subject, part, error);
    }

    /// Rejects a prefix rewrite in a backendRef if a match of the rule is not a path prefix.
    fn check_prefixes(parts: &mut [BackendParts], all_prefixes: bool) {
        for part in parts {
            if !all_prefixes && part.filters.as_ref().is_ok_and(Filters::replaces_prefix) {
                let message = "ReplacePrefixMatch requires matches of type PathPrefix".to_owned();
                part.filters = Err((RouteReason::InvalidBackendFilters, message));
            }
        }
    }

    /// Resolves one rule.
    fn rule(&mut self, mut parts: RuleParts) -> RuleDraft {
        let before = self.faults.refusals();
        self.report_unreadable_fields();
        self.check_filters(&parts.filters);
        let extensions = self.extensions(&parts.filters);
        let readable = parts.matches.faults.is_empty() && parts.matches.lost.is_none();
        for fault in parts.matches.faults {
            self.fault(
                RulePart::Match,
                ConditionType::Accepted,
                RouteReason::UnsupportedValue,
                &fault.field,
                fault.message,
            );
        }
        let mut matches = parts.matches.matches;
        let prefixes = |found: &Match| matches!(found.path, PathMatch::Prefix(_));
        let all_prefixes = !readable || matches.iter().all(prefixes);
        Self::check_prefixes(&mut parts.backends, all_prefixes);
        if parts.filters.replaces_prefix() && !all_prefixes {
            let message = "ReplacePrefixMatch requires matches of type PathPrefix".to_owned();
            self.fault(
                RulePart::Rule,
                ConditionType::Accepted,
                RouteReason::UnsupportedValue,
                ".filters",
                message,
            );
        }
        let session = self.session(parts.session.as_ref());
        let traffic = parts.traffic.unwrap_or_else(|fault| {
            self.fault(
                RulePart::Rule,
                ConditionType::Accepted,
                RouteReason::UnsupportedValue,
                "",
                fault,
            );
            RuleTraffic::default()
        });
        match extensions.restrict(&matches) {
            Ok(restricted) => matches = restricted.unwrap_or(matches),
            Err(error) => self.extension_fault(".filters", error),
        }
        // The errors above make the rule return 500. An error of a backend affects only its share
        // of the requests.
        let refused = self.faults.refusals() > before;
        let mut policies = self.external_auth(&parts.filters);
        // Without its authorization service, the rule would allow every request.
        let unguarded = policies.len() < parts.filters.external_auth.len();
        let respond = (refused || unguarded).then_some(500);
        policies.extend(
            extensions
                .credential
                .clone()
                .map(Policy::CredentialInjection),
        );
        policies.extend(session.map(Policy::SessionPersistence));
        let redirects = parts.filters.redirects();
        if parts.filters.answers_preflights() {
            matches.extend(cors::preflights(&matches));
        }
        let mirrors = self.mirrors(&parts.filters, "");
        let backends = self.weighted(parts.backends, redirects, &extensions);
        RuleDraft {
            index: self.rule_index,
            name: parts.name,
            matches,
            filters: parts.filters.finish(mirrors, extensions),
            policies,
            traffic,
            backends,
            respond,
        }
    }

    fn session(
        &mut self,
        written: Option<&SessionPersistence>,
    ) -> Option<session_persistence::SessionPersistence> {
        let resolved = session::resolve(written?, self.index, self.route, self.rule_index);
        let failed = |message| {
            self.fault(
                RulePart::Rule,
                ConditionType::Accepted,
                RouteReason::UnsupportedValue,
                ".sessionPersistence",
                message,
            );
        };
        resolved.map_err(failed).ok()
    }

    /// Adds unreadable fields of the rule, which may be matches or filters. The decoder has reported them.
    ///
    /// A backendRef to a Service without port is an invalid reference: it affects its own share of
    /// the requests, with reason `PortNotSpecified`.
    fn report_unreadable_fields(&mut self) {
        let rule = self.rule_index;
        let backend_refs = format!("spec.rules[{rule}].backendRefs[");
        let lacks_port = |fault: &SchemaViolation| {
            let place = fault.field.strip_prefix(&backend_refs);
            fault.message == PORT_REQUIRED && place.is_some_and(|place| !place.contains('.'))
        };
        for fault in self.route.unreadable_fields_of_rule(rule) {
            if lacks_port(fault) {
                continue;
            }
            self.faults.add(RuleError {
                condition: ConditionType::Accepted,
                reason: RouteReason::UnsupportedValue,
                field: fault.field.clone(),
                message: fault.message.clone(),
                rule,
            });
        }
    }

    fn check_filters(&mut self, filters: &Filters) {
        for fault in &filters.faults {
            let field = format!(".filters[{}]", fault.at);
            self.fault(
                RulePart::Rule,
                fault.condition,
                fault.reason,
                &field,
                fault.message.clone(),
            );
        }
    }

    /// The effects of the rule's HTTPRouteFilters.
    fn extensions(&mut self, filters: &Filters) -> Extensions {
        let mut extensions = Extensions::default();
        for (at, reference) in &filters.extensions {
            if let Err(error) = extensions.add(self.index, self.route, reference) {
                self.extension_fault(&format!(".filters[{at}].extensionRef"), error);
            }
        }
        let (host, path) = filters.rewrites();
        let regex = extensions.rewrite.as_ref();
        let twice = host
            && (regex.is_some_and(|own| own.host.is_some())
                || extensions.host_of_backend.is_some())
            || path && regex.is_some_and(|own| own.path.is_some());
        let direct = extensions.direct.is_some();
        // A direct response is not forwarded, so it excludes a redirect and mirrors.
        let unreached = direct && (filters.redirects() || filters.mirror_requests());
        let reasons = [
            (twice, RouteReason::UnsupportedValue),
            (unreached, RouteReason::IncompatibleFilters),
        ];
        for (_, reason) in reasons.into_iter().filter(|(excluded, _)| *excluded) {
            self.fault(
                RulePart::Rule,
                ConditionType::Accepted,
                reason,
                ".filters",
                "an HTTPRouteFilter and a filter of the rule exclude each other".to_owned(),
            );
        }
        extensions
    }

    fn extension_fault(&mut self, field: &str, error: ExtensionError) {
        self.fault(
            RulePart::Rule,
            error.condition,
            ExtensionError::REASON,
            field,
            error.message,
        );
    }

    /// The external authorizations whose services are valid.
    fn external_auth(&mut self, filters: &Filters) -> Vec<Policy> {
        let mut policies = Vec::new();
        for wanted in &filters.external_auth {
            let field = format!(".filters[{}].externalAuth.backendRef", wanted.at);
            let written = &wanted.settings.backend_ref;
            let resolved = self.backends.resolve_fixed(self.index, self.route, written);
            let (reason, message) = match resolved {
                Ok(found) => match external_auth::resolve(&wanted.settings, found.backend) {
                    Ok(policy) => {
                        policies.push(Policy::ExternalAuth(policy));
                        continue;
                    }
                    Err(message) => (RouteReason::UnsupportedValue, message),
                },
                Err(fault) => (fault.reason, fault.message),
            };
            self.fault(
                RulePart::Rule,
                ConditionType::ResolvedRefs,
                reason,
                &field,
                message,
            );
        }
        policies
    }
}
