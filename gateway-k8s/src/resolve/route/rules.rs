//! Rules: their matches, filters, traffic settings and backends.

use std::collections::HashMap;

use towergate_core::filter::{HostRewrite, RegexRewrite};
use towergate_core::plan::{Destination, Filter, Match, Mirror, PathMatch, WeightedBackend};
use towergate_policy::{Policy, SchemaViolation, session_persistence};

use super::super::object_index::ObjectIndex;
use super::super::report::Report;
use super::backend::Backends;
use super::backend_error::BackendError;
use super::cors;
use super::extension::{ExtensionError, Extensions};
use super::external_auth;
use super::filters::{self, Filters};
use super::finding::{self, RulePart};
use super::matches::RuleMatches;
use super::session;
use super::traffic::RuleTraffic;
use super::{RouteRef, RuleError, RuleErrors};
use crate::api::grpc_route::GrpcRouteRule;
use crate::api::http_route::{HttpRouteRule, SessionPersistence};
use crate::api::reference::BackendObjectReference;
use crate::finding::FindingCode;
use crate::status::{ConditionType, RouteReason};

/// Field of the mirror in a filter.
const MIRROR: &str = ".requestMirror";

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

/// The parts of a rule that both kinds of routes have.
struct RuleParts {
    name: Option<String>,
    matches: RuleMatches,
    filters: Filters,
    traffic: Result<RuleTraffic, String>,
    backends: Vec<BackendParts>,
    session: Option<SessionPersistence>,
}

/// A backendRef.
struct BackendParts {
    object: BackendObjectReference,
    weight: Option<i32>,
    filters: Result<Filters, (RouteReason, String)>,
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
            vec![http_parts((0, &HttpRouteRule::default()), &http.misread)]
        }
        RouteRef::Http(http) => {
            let rules = http.spec.rules.iter().enumerate();
            rules.map(|rule| http_parts(rule, &http.misread)).collect()
        }
        RouteRef::Grpc(grpc) => {
            let rules = grpc.spec.rules.iter().enumerate();
            rules.map(|rule| grpc_parts(rule, &grpc.misread)).collect()
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
    let unbounded = parts.iter().any(|parts| parts.matches.unbounded);
    let mut rules = Vec::with_capacity(total);
    for (at, parts) in parts.into_iter().enumerate() {
        resolver.rule_index = at;
        rules.push(resolver.rule(parts));
    }
    if unbounded {
        // Any request may belong to the rule whose match is lost.
        rules.iter_mut().for_each(|rule| rule.respond = Some(500));
        resolver.faults.close();
    }
    ResolvedRules {
        rules,
        faults: resolver.faults,
        total,
    }
}

fn http_parts((at, rule): (usize, &HttpRouteRule), unread: &[SchemaViolation]) -> RuleParts {
    RuleParts {
        name: rule.name.clone(),
        matches: RuleMatches::http(&rule.matches, at, unread),
        filters: Filters::http(&rule.filters),
        traffic: RuleTraffic::resolve(rule.timeouts.as_deref(), rule.retry.as_deref()),
        backends: rule
            .backend_refs
            .iter()
            .map(|backend| BackendParts {
                object: backend.object(),
                weight: backend.weight,
                filters: filters::of_backend(&backend.filters),
            })
            .collect(),
        session: rule.session_persistence.as_deref().cloned(),
    }
}

fn grpc_parts((at, rule): (usize, &GrpcRouteRule), unread: &[SchemaViolation]) -> RuleParts {
    RuleParts {
        name: rule.name.clone(),
        matches: RuleMatches::grpc(&rule.matches, at, unread),
        filters: Filters::grpc(&rule.filters),
        traffic: Ok(RuleTraffic::default()),
        backends: rule
            .backend_refs
            .iter()
            .map(|backend| BackendParts {
                object: backend.object(),
                weight: backend.weight,
                filters: filters::of_grpc_backend(&backend.filters),
            })
            .collect(),
        session: rule.session_persistence.as_deref().cloned(),
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

    fn fault(
        &mut self,
        part: RulePart,
        condition: ConditionType,
        reason: RouteReason,
        field: &str,
        message: String,
    ) {
        let place = format!("spec.rules[{}]{field}", self.rule_index);
        let (code, advice) = finding::of_rule(reason, part);
        let subject = self.route.subject();
        if condition == ConditionType::BackendsAvailable {
            self.report.warn(code, &subject, &*place, &*message, advice);
        } else {
            self.report
                .error(code, &subject, &*place, &*message, advice);
        }
        self.faults.add(RuleError {
            condition,
            reason,
            field: place,
            message,
            rule: self.rule_index,
        });
    }

    /// Rejects a prefix rewrite in a backendRef unless all matches are prefixes.
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
        self.misread();
        self.check_filters(&parts.filters);
        let extensions = self.extensions(&parts.filters);
        let readable = parts.matches.faults.is_empty() && !parts.matches.unbounded;
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
        // A service that cannot be called allows no request.
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
    fn misread(&mut self) {
        let rule = self.rule_index;
        for fault in self.route.misread_of_rule(rule) {
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
        // A request that the gateway answers reaches no backend, and neither would its copies.
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

    /// The mirrors whose backends are valid. The others are left out and the rule is served (Gateway API,
    /// `HTTPRequestMirrorFilter.backendRef`).
    fn mirrors(&mut self, filters: &Filters, within: &str) -> Vec<Mirror> {
        let mut mirrors = Vec::new();
        for wanted in &filters.mirrors {
            let field = format!("{within}.filters[{}]{MIRROR}", wanted.at);
            match self
                .backends
                .resolve_fixed(self.index, self.route, &wanted.backend)
            {
                Ok(found) => {
                    if !found.available {
                        let message = format!("{} has no ready endpoints", found.backend.id);
                        self.fault(
                            RulePart::Mirror,
                            ConditionType::BackendsAvailable,
                            RouteReason::EndpointsNotFound,
                            &field,
                            message,
                        );
                    }
                    mirrors.push(Mirror {
                        backend: found.backend,
                        fraction: wanted.fraction,
                    });
                }
                Err(fault) => {
                    self.fault(
                        RulePart::Mirror,
                        ConditionType::ResolvedRefs,
                        fault.reason,
                        &field,
                        fault.message,
                    );
                }
            }
        }
        mirrors
    }

    /// The backendRefs with their weights. An invalid one keeps its share of the requests, which receive 500.
    fn weighted(
        &mut self,
        parts: Vec<BackendParts>,
        redirects: bool,
        extensions: &Extensions,
    ) -> Vec<WeightedBackend> {
        let is_alone = parts.len() == 1;
        let mut weighted = Vec::with_capacity(parts.len());
        for (at, part) in parts.into_iter().enumerate() {
            let field = format!(".backendRefs[{at}]");
            let weight = part.weight.unwrap_or(1);
            let found = self.destination(part, &field, is_alone, extensions);
            let (destination, filters) = match found {
                Ok(found) => found,
                Err(error) => {
                    self.backend_fault(&field, error);
                    (Destination::Invalid, Vec::new())
                }
            };
            match u32::try_from(weight) {
                Ok(weight) => weighted.push(WeightedBackend {
                    weight,
                    filters,
                    destination,
                }),
                Err(_) => self.backend_fault(
                    &field,
                    BackendError {
                        reason: RouteReason::UnsupportedRefValue,
                        message: format!("weight {weight} is negative"),
                    },
                ),
            }
        }
        if redirects {
            weighted.clear();
        }
        weighted
    }

    /// The backend of a backendRef and its filters. `is_alone`: the rule has no other backendRef.
    fn destination(
        &mut self,
        part: BackendParts,
        field: &str,
        is_alone: bool,
        extensions: &Extensions,
    ) -> Result<(Destination, Vec<Filter>), BackendError> {
        let filters = part
            .filters
            .map_err(|(reason, message)| BackendError { reason, message })?;
        let found = self
            .backends
            .resolve(self.index, self.route, &part.object)?
            .check_dynamic(is_alone, extensions)?;
        if !found.available && part.weight.unwrap_or(1) > 0 {
            let message = format!("{} has no ready endpoints", found.backend.id);
            self.fault(
                RulePart::Requests,
                ConditionType::BackendsAvailable,
                RouteReason::EndpointsNotFound,
                field,
                message,
            );
        }
        let mirrors = self.mirrors(&filters, field);
        let mut filters = filters.finish(mirrors, Extensions::default());
        if let Some((append_forwarded_host, host)) =
            extensions.host_of_backend.zip(found.host_name())
        {
            let host = host.map_err(|message| BackendError {
                reason: RouteReason::InvalidBackendRef,
                message,
            })?;
            filters.push(Filter::RegexRewrite(RegexRewrite {
                path: None,
                host: Some(HostRewrite::Fixed(host)),
                append_forwarded_host,
            }));
        }
        Ok((Destination::Backend(found.backend), filters))
    }

    /// Reports an invalid backendRef.
    fn backend_fault(&mut self, field: &str, error: BackendError) {
        self.fault(
            RulePart::Requests,
            ConditionType::ResolvedRefs,
            error.reason,
            field,
            error.message,
        );
    }
}
