//! Rules: what one matches, what happens then, where requests go.

use std::collections::HashMap;

use towergate_core::plan::{Destination, Filter, Match, Mirror, PathMatch, WeightedBackend};
use towergate_policy::SchemaViolation;

use super::super::report::Report;
use super::super::world::World;
use super::backend::{Backends, advice};
use super::cors;
use super::filters::{self, Filters};
use super::matches::RuleMatches;
use super::traffic::RuleTraffic;
use super::{Fault, Faults, RouteRef};
use crate::api::grpc_route::GrpcRouteRule;
use crate::api::http_route::HttpRouteRule;
use crate::api::reference::BackendObjectReference;

/// Where a filter names the backend of a mirror.
const MIRROR: &str = ".requestMirror";

/// A rule before policies.
#[derive(Clone, Debug)]
pub(crate) struct RuleDraft {
    /// Its place in the route.
    pub(crate) index: usize,
    /// Its name.
    pub(crate) name: Option<String>,
    pub(crate) matches: Vec<Match>,
    pub(crate) filters: Vec<Filter>,
    pub(crate) traffic: RuleTraffic,
    pub(crate) backends: Vec<WeightedBackend>,
    /// Something is wrong: answer this status.
    pub(crate) respond: Option<u16>,
}

/// What the rules of a route mean.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) rules: Vec<RuleDraft>,
    pub(super) faults: Faults,
    /// How many rules there are, those included that are left out.
    pub(super) total: usize,
}

/// The parts of a rule that both kinds of routes have.
struct Parts {
    name: Option<String>,
    matches: RuleMatches,
    filters: Filters,
    traffic: Result<RuleTraffic, String>,
    backends: Vec<Part>,
    persistent: bool,
}

/// A backendRef.
struct Part {
    object: BackendObjectReference,
    weight: Option<i32>,
    filters: Result<Filters, (&'static str, String)>,
}

/// Works out all rules of a route.
pub(super) fn resolve(
    world: &World<'_>,
    backends: &mut Backends<'_>,
    route: RouteRef<'_>,
    report: &mut Report,
) -> Outcome {
    let parts: Vec<Parts> = match route {
        // Admission gives a route without rules one that takes everything.
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
    let mut resolver = Resolver {
        world,
        backends,
        route,
        report,
        faults: Faults::default(),
        index: 0,
    };
    resolver.check_names(&parts);
    let total = parts.len();
    let unbounded = parts.iter().any(|parts| parts.matches.unbounded);
    let mut rules = Vec::with_capacity(total);
    for (index, parts) in parts.into_iter().enumerate() {
        resolver.index = index;
        rules.push(resolver.rule(parts));
    }
    if unbounded {
        // A request of any rule could be one of the rule whose match is lost.
        rules.iter_mut().for_each(|rule| rule.respond = Some(500));
        resolver.faults.close();
    }
    Outcome {
        rules,
        faults: resolver.faults,
        total,
    }
}

fn http_parts((index, rule): (usize, &HttpRouteRule), unread: &[SchemaViolation]) -> Parts {
    Parts {
        name: rule.name.clone(),
        matches: RuleMatches::http(&rule.matches, index, unread),
        filters: Filters::http(&rule.filters),
        traffic: RuleTraffic::resolve(rule.timeouts.as_deref(), rule.retry.as_deref()),
        backends: rule
            .backend_refs
            .iter()
            .map(|backend| Part {
                object: backend.object(),
                weight: backend.weight,
                filters: filters::of_backend(&backend.filters),
            })
            .collect(),
        persistent: rule.session_persistence.is_some(),
    }
}

fn grpc_parts((index, rule): (usize, &GrpcRouteRule), unread: &[SchemaViolation]) -> Parts {
    Parts {
        name: rule.name.clone(),
        matches: RuleMatches::grpc(&rule.matches, index, unread),
        filters: Filters::grpc(&rule.filters),
        traffic: Ok(RuleTraffic::default()),
        backends: rule
            .backend_refs
            .iter()
            .map(|backend| Part {
                object: backend.object(),
                weight: backend.weight,
                filters: filters::of_grpc_backend(&backend.filters),
            })
            .collect(),
        persistent: rule.session_persistence.is_some(),
    }
}

struct Resolver<'r, 'a, 'w> {
    world: &'r World<'w>,
    backends: &'r mut Backends<'a>,
    route: RouteRef<'r>,
    report: &'r mut Report,
    faults: Faults,
    index: usize,
}

impl Resolver<'_, '_, '_> {
    /// Names of rules are what policies and people find them by.
    fn check_names(&mut self, parts: &[Parts]) {
        let mut seen = HashMap::new();
        for (index, part) in parts.iter().enumerate() {
            let Some(name) = &part.name else { continue };
            if let Some(first) = seen.insert(name, index) {
                self.report.warn(
                    "rule-name-twice",
                    &self.route.subject(),
                    format!("spec.rules[{index}].name"),
                    format!("Rules {first} and {index} have the same name {name:?}."),
                    "Give each rule a name of its own.",
                );
            }
        }
    }

    fn fault(
        &mut self,
        condition: &'static str,
        reason: &'static str,
        field: &str,
        message: String,
    ) {
        let place = format!("spec.rules[{}]{field}", self.index);
        let (code, mend) = advice(reason).unwrap_or_else(|| match reason {
            _ if field.ends_with(MIRROR) => (
                "rule-invalid",
                "Correct the reference: until then nothing is mirrored to it.",
            ),
            _ if condition == "ResolvedRefs" && field.starts_with(".backendRefs") => (
                "rule-invalid",
                "Correct the reference: until then its share of the requests is answered 500.",
            ),
            _ if field.starts_with(".matches") => (
                "rule-invalid",
                "correct the match; until then the rule returns 500 for every request that it may be for",
            ),
            _ => (
                "rule-invalid",
                "Correct or remove the field: until then the rule answers 500.",
            ),
        });
        let subject = self.route.subject();
        if condition == "BackendsAvailable" {
            self.report.warn(code, &subject, &*place, &*message, mend);
        } else {
            self.report.error(code, &subject, &*place, &*message, mend);
        }
        self.faults.add(Fault {
            condition,
            reason,
            field: place,
            message,
            rule: self.index,
        });
    }

    /// A backendRef's rewrite of a prefix needs one too.
    fn check_prefixes(parts: &mut [Part], all_prefixes: bool) {
        for part in parts {
            if !all_prefixes && part.filters.as_ref().is_ok_and(Filters::replaces_prefix) {
                let message = "ReplacePrefixMatch needs matches of type PathPrefix".to_owned();
                part.filters = Err(("InvalidBackendFilters", message));
            }
        }
    }

    /// One rule.
    fn rule(&mut self, mut parts: Parts) -> RuleDraft {
        let before = self.faults.refusals();
        self.misread();
        self.check_filters(&parts.filters);
        let readable = parts.matches.faults.is_empty() && !parts.matches.unbounded;
        for fault in parts.matches.faults {
            self.fault("Accepted", "UnsupportedValue", &fault.field, fault.message);
        }
        let mut matches = parts.matches.matches;
        let prefixes = |found: &Match| matches!(found.path, PathMatch::Prefix(_));
        let all_prefixes = !readable || matches.iter().all(prefixes);
        Self::check_prefixes(&mut parts.backends, all_prefixes);
        if parts.filters.replaces_prefix() && !all_prefixes {
            let message = "ReplacePrefixMatch needs matches of type PathPrefix".to_owned();
            self.fault("Accepted", "UnsupportedValue", ".filters", message);
        }
        if parts.persistent {
            let message = "sessionPersistence is not supported".to_owned();
            self.fault(
                "Accepted",
                "UnsupportedValue",
                ".sessionPersistence",
                message,
            );
        }
        let traffic = parts.traffic.unwrap_or_else(|fault| {
            self.fault("Accepted", "UnsupportedValue", "", fault);
            RuleTraffic::default()
        });
        // Up to here a fault means that the rule cannot do what it should: it answers 500. A fault of
        // a backend costs that backend's share only.
        let respond = (self.faults.refusals() > before).then_some(500);
        let redirects = parts.filters.redirects();
        if parts.filters.answers_preflights() {
            matches.extend(cors::preflights(&matches));
        }
        let mirrors = self.mirrors(&parts.filters, "");
        let backends = self.weighted(parts.backends, redirects);
        RuleDraft {
            index: self.index,
            name: parts.name,
            matches,
            filters: parts.filters.finish(mirrors),
            traffic,
            backends,
            respond,
        }
    }

    /// Fields that are not known. One of them may be a match or a filter, so nobody can say that a request
    /// of the rule, as far as it could be read, may pass. The decoder has reported them.
    fn misread(&mut self) {
        let rule = self.index;
        for fault in self.route.misread_of_rule(rule) {
            self.faults.add(Fault {
                condition: "Accepted",
                reason: "UnsupportedValue",
                field: fault.field.clone(),
                message: fault.message.clone(),
                rule,
            });
        }
    }

    fn check_filters(&mut self, filters: &Filters) {
        for fault in &filters.faults {
            let field = format!(".filters[{}]", fault.at);
            self.fault(fault.condition, fault.reason, &field, fault.message.clone());
        }
    }

    /// Those mirrors whose backend can be named; others are left out, and the rule serves without them
    /// (Gateway API, `HTTPRequestMirrorFilter.backendRef`).
    fn mirrors(&mut self, filters: &Filters, within: &str) -> Vec<Mirror> {
        let mut mirrors = Vec::new();
        for wanted in &filters.mirrors {
            let field = format!("{within}.filters[{}]{MIRROR}", wanted.at);
            match self
                .backends
                .resolve(self.world, self.route, &wanted.backend)
            {
                Ok(found) => {
                    if !found.available {
                        let message = format!("{} has no ready endpoints", found.backend.id);
                        self.fault("BackendsAvailable", "EndpointsNotFound", &field, message);
                    }
                    mirrors.push(Mirror {
                        backend: found.backend,
                        fraction: wanted.fraction,
                    });
                }
                Err(fault) => {
                    self.fault("ResolvedRefs", fault.reason, &field, fault.message);
                }
            }
        }
        mirrors
    }

    fn weighted(&mut self, parts: Vec<Part>, redirects: bool) -> Vec<WeightedBackend> {
        let mut weighted = Vec::with_capacity(parts.len());
        for (at, part) in parts.into_iter().enumerate() {
            let field = format!(".backendRefs[{at}]");
            let weight = part.weight.unwrap_or(1);
            let resolved = match part.filters {
                Ok(filters) => self
                    .backends
                    .resolve(self.world, self.route, &part.object)
                    .map(|found| (found, filters)),
                Err((reason, message)) => Err(super::backend::BackendFault { reason, message }),
            };
            let (destination, filters) = match resolved {
                Ok((found, filters)) => {
                    if !found.available && weight > 0 {
                        let message = format!("{} has no ready endpoints", found.backend.id);
                        self.fault("BackendsAvailable", "EndpointsNotFound", &field, message);
                    }
                    let mirrors = self.mirrors(&filters, &field);
                    (Destination::Backend(found.backend), filters.finish(mirrors))
                }
                Err(fault) => {
                    self.fault("ResolvedRefs", fault.reason, &field, fault.message);
                    (Destination::Invalid, Vec::new())
                }
            };
            let Ok(weight) = u32::try_from(weight) else {
                let message = format!("weight {weight} is negative");
                self.fault("ResolvedRefs", "UnsupportedRefValue", &field, message);
                continue;
            };
            weighted.push(WeightedBackend {
                weight,
                filters,
                destination,
            });
        }
        if redirects {
            weighted.clear();
        }
        weighted
    }
}
