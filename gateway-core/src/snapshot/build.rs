//! Builds a snapshot from a plan.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use http::StatusCode;
use towergate_tls::rustls::crypto::CryptoProvider;
use towergate_tls::server::ResumptionState;
use towergate_tls::{NameMap, NamePattern, TlsError};

use super::policy_faults::GuardedRule;
use super::{
    BuildCache, ListenerSnapshot, Live, PortSnapshot, RuleSnapshot, RuleTarget, Snapshot, Steps,
};
use crate::access_log::RuleName;
use crate::datagram::DatagramConfig;
use crate::filter::Rewrite;
use crate::listen::PortConfig;
use crate::plan::Filter;
use crate::plan::{
    Listener, ListenerId, Plan, Port, Route, RouteId, RouteKind, Rule, WeightedBackend,
};
use crate::policy::chain::PolicyChain;
use crate::policy::{BuildContext, BuiltPolicy, PolicyError, RoutePolicy, Stage};
use crate::route::{HostTable, RouteTable};
use crate::traffic::Forwarder;
use crate::traffic::mirror::Mirrors;

/// Reason why a plan cannot be served. The previous snapshot stays in service.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The TLS settings of a listener cannot be served.
    #[error("listener {} of Gateway {}/{}: {source}", listener.listener, listener.namespace, listener.gateway)]
    Tls {
        /// Listener.
        listener: Box<ListenerId>,
        /// Cause.
        source: TlsError,
    },
    /// The listeners of a port cannot share it: some use TLS and some do not, or there are several TCP
    /// listeners.
    #[error("port {0} has listeners that cannot share it")]
    MixedPort(u16),
    /// A port has no listener.
    #[error("port {0} has no listener")]
    EmptyPort(u16),
}

/// Result of a build.
pub(crate) struct Built<P> {
    pub(crate) snapshot: Snapshot,
    /// Settings of connections, in the order of the ports in the plan.
    pub(crate) ports: Vec<PortConfig>,
    /// Settings of UDP sockets, in the order of the plan.
    pub(crate) datagrams: Vec<DatagramConfig>,
    /// Parts that the build of the next plan may reuse.
    pub(crate) parts: BuildCache<P>,
}

/// State of a build.
pub(crate) struct Builder<'a, P> {
    pub(super) live: &'a Live,
    pub(super) provider: &'a Arc<CryptoProvider>,
    /// Parts that were built for the previous plan.
    pub(super) before: &'a BuildCache<P>,
    /// Parts that were built for this plan.
    pub(super) now: BuildCache<P>,
}

impl<'a, P: RoutePolicy> Builder<'a, P> {
    pub(crate) fn new(
        live: &'a Live,
        provider: &'a Arc<CryptoProvider>,
        before: &'a BuildCache<P>,
    ) -> Self {
        Self {
            live,
            provider,
            before,
            now: BuildCache::default(),
        }
    }

    /// Builds `plan`. `slots` contains the slot of each port of the plan.
    pub(crate) fn build(mut self, plan: &Plan<P>, slots: &[usize]) -> Result<Built<P>, BuildError> {
        let size = slots.iter().max().map_or(0, |max| max + 1);
        let mut snapshot = Snapshot {
            ports: (0..size).map(|_| None).collect(),
            ..Snapshot::default()
        };
        let mut ports = Vec::with_capacity(plan.ports.len());
        for (port, slot) in plan.ports.iter().zip(slots) {
            let mut sessions = Vec::new();
            ports.push(self.port_config(port, *slot, &mut sessions)?);
            snapshot.ports[*slot] = Some(self.port(port, sessions));
        }
        snapshot.guarded = self.guarded();
        let datagrams = plan.datagrams.iter();
        let datagrams = datagrams.map(|port| self.datagram_config(port)).collect();
        Ok(Built {
            snapshot,
            ports,
            datagrams,
            parts: self.now,
        })
    }

    /// The built rules of this plan that have policies, for [`PolicyFaults`](super::PolicyFaults).
    fn guarded(&self) -> Box<[GuardedRule]> {
        let rules = self.now.rules();
        let guarded = rules.filter(|(rule, _)| !rule.policies.is_empty());
        let guarded = guarded.map(|(rule, built)| GuardedRule {
            route: rule.route.clone(),
            rule: rule.index,
            built: built.clone(),
        });
        guarded.collect()
    }

    fn port(&mut self, port: &Port<P>, sessions: Vec<Arc<ResumptionState>>) -> PortSnapshot {
        let mut by_host = NameMap::default();
        for (index, listener) in port.listeners.iter().enumerate() {
            by_host.insert(listener.hostname.clone(), index);
        }
        let listeners = port
            .listeners
            .iter()
            .map(|listener| self.listener(listener))
            .collect();
        PortSnapshot {
            port: port.port,
            listeners,
            by_host,
            _sessions: sessions,
        }
    }

    fn listener(&mut self, listener: &Listener<P>) -> ListenerSnapshot {
        ListenerSnapshot {
            id: Arc::new(listener.id.clone()),
            port: listener.port,
            settings: listener.settings.clone(),
            failed: listener.failed,
            grpc_web: listener
                .settings
                .translate_grpc_web
                .unwrap_or_else(|| has_grpc_route(listener)),
            table: self.table(&listener.routes),
        }
    }

    /// Builds the route table of a listener.
    fn table(&mut self, routes: &[Arc<Route<P>>]) -> RouteTable<RuleTarget> {
        let mut hosts: HashMap<&NamePattern, Vec<&Arc<Route<P>>>> = HashMap::new();
        for route in routes {
            for hostname in &route.hostnames {
                hosts.entry(hostname).or_default().push(route);
            }
        }
        let mut table = RouteTable::default();
        for (hostname, mut routes) in hosts {
            let mut written = routes.iter().map(|route| &route.written_hostnames);
            if written.all(Vec::is_empty) {
                table.push(self.host(hostname, &routes));
                continue;
            }
            // Each table contains the routes whose hostnames, as written, are equally specific.
            let specificity = |route: &&Arc<Route<P>>| route.written_as(hostname).specificity();
            routes.sort_by_key(|route| Reverse(specificity(route)));
            for equal in routes.chunk_by(|a, b| specificity(a) == specificity(b)) {
                table.push(self.host(hostname, equal));
            }
        }
        table
    }

    /// Returns the table of a hostname. A table that has been built from the same routes is reused.
    fn host(
        &mut self,
        hostname: &NamePattern,
        routes: &[&Arc<Route<P>>],
    ) -> Arc<HostTable<RuleTarget>> {
        if let Some(table) = self.now.host(hostname, routes) {
            return table.clone();
        }
        let rules = routes.iter().flat_map(|route| &route.rules);
        let built: Vec<_> = rules.map(|rule| (rule, self.rule(rule))).collect();
        let table = match self.before.host(hostname, routes) {
            Some(table) => table.clone(),
            None => Arc::new(host_table(hostname, &built)),
        };
        self.now.keep_host(routes, table.clone());
        table
    }

    /// Builds a rule. If the rule is unchanged, the built rule of the previous plan is reused.
    fn rule(&mut self, rule: &Arc<Rule<P>>) -> Arc<RuleSnapshot> {
        if let Some(built) = self.now.rule(rule) {
            return built.clone();
        }
        let built = match self.before.rule(rule) {
            Some(built) => built.clone(),
            None => Arc::new(self.build_rule(rule)),
        };
        self.now.keep_rule(rule, built.clone());
        built
    }

    fn build_rule(&self, rule: &Rule<P>) -> RuleSnapshot {
        let (key, steps) = ((rule.route.clone(), rule.index), self.steps(rule));
        let backends = with_rewrite(&rule.backends, steps.rewrite.as_deref());
        RuleSnapshot {
            traffic: rule.traffic.clone(),
            forwarder: Forwarder::new(
                key,
                rule.traffic.clone(),
                &backends,
                self.live,
                self.provider,
            ),
            steps,
        }
    }

    fn steps(&self, rule: &Rule<P>) -> Arc<Steps> {
        if rule.filters.is_empty() && rule.policies.is_empty() && rule.respond.is_none() {
            return self.live.share((), |()| Arc::default());
        }
        let mut steps = Steps::default();
        let (mut request_edits, mut response_edits) = (Vec::new(), Vec::new());
        let mut unsupported = false;
        for filter in &rule.filters {
            match filter {
                Filter::RequestHeaders(edits) => request_edits.push(edits.clone()),
                Filter::ResponseHeaders(edits) => response_edits.push(edits.clone()),
                Filter::Redirect(found) => steps.redirect = Some(Box::new(found.clone())),
                Filter::Rewrite(found) => steps.rewrite = Some(Box::new(found.clone())),
                Filter::RegexRewrite(found) => {
                    steps.regex_rewrite = Some(Box::new(found.clone()));
                }
                Filter::DirectResponse(found) => steps.direct = Some(Box::new(found.clone())),
                // `policies` builds the CORS filter, and `Mirrors` builds the mirrors.
                Filter::Cors(_) | Filter::Mirror(_) => {}
                // This filter is supported only for backendRefs: a rule adds credentials by a policy.
                Filter::Credential(_) => unsupported = true,
            }
        }
        let key = (rule.route.clone(), rule.index);
        let respond = rule.respond.or(unsupported.then_some(500));
        let mut respond = respond.and_then(|status| StatusCode::from_u16(status).ok());
        let policies = self.policies(rule).unwrap_or_else(|unbuilt| {
            // The rule fails closed, because without the policy it would forward requests that the policy
            // must reject.
            respond = Some(StatusCode::INTERNAL_SERVER_ERROR);
            steps.unbuilt = Some(Box::new(unbuilt));
            PolicyChain::default()
        });
        Arc::new(Steps {
            respond,
            policies,
            request_edits: request_edits.into(),
            mirrors: Mirrors::new(&key, &rule.filters, &rule.traffic, self.live, self.provider),
            response_edits: response_edits.into(),
            ..steps
        })
    }

    /// The policies of a rule, in order. The CORS filter of a route takes precedence over a policy for CORS.
    ///
    /// # Errors
    /// The stage of the first policy that cannot be built, and the error.
    fn policies(&self, rule: &Rule<P>) -> Result<PolicyChain, (Stage, PolicyError)> {
        let mut chain: Vec<(Stage, BuiltPolicy)> = Vec::new();
        for filter in &rule.filters {
            if let Filter::Cors(cors) = filter {
                chain.push((Stage::Cors, BuiltPolicy::head(cors.clone())));
            }
        }
        let has_cors = !chain.is_empty();
        let context = BuildContext::new(self.live, self.provider, &rule.route, rule.index);
        for policy in &rule.policies {
            let stage = policy.stage();
            if stage == Stage::Cors && has_cors {
                continue;
            }
            let built = policy.build(rule, &context).map_err(|error| {
                let RouteId {
                    namespace, name, ..
                } = &*rule.route;
                let rule = rule.index;
                tracing::error!(
                    "rule {rule} of {namespace}/{name} returns 500: {stage:?}: {error}"
                );
                (stage, error)
            })?;
            chain.push((stage, built));
        }
        Ok(PolicyChain::new(chain))
    }
}

/// The backends of a rule. If the rewrite of a backend does not set a field, the field is copied from the
/// rewrite of the rule.
fn with_rewrite<'a>(
    backends: &'a [WeightedBackend],
    rule: Option<&Rewrite>,
) -> Cow<'a, [WeightedBackend]> {
    let mut backends = Cow::Borrowed(backends);
    let Some(rule) = rule else { return backends };
    let rewrites = |backend: &WeightedBackend| {
        let mut filters = backend.filters.iter();
        filters.any(|filter| matches!(filter, Filter::Rewrite(_)))
    };
    if backends.iter().any(rewrites) {
        let filters = backends.to_mut().iter_mut();
        for filter in filters.flat_map(|backend| &mut backend.filters) {
            if let Filter::Rewrite(own) = filter {
                own.fill(rule);
            }
        }
    }
    backends
}

/// Builds the table of a hostname from all rules of `routes`, in the order of the routes and rules.
fn host_table<P>(
    hostname: &NamePattern,
    rules: &[(&Arc<Rule<P>>, Arc<RuleSnapshot>)],
) -> HostTable<RuleTarget> {
    let text: Arc<str> = hostname.to_string().into();
    let entries = rules.iter().flat_map(|(rule, built)| {
        let text = &text;
        rule.matches
            .iter()
            .enumerate()
            .map(move |(matched, condition)| {
                let name = RuleName {
                    route: rule.route.clone(),
                    rule: rule.index,
                    matched,
                    hostname: text.clone(),
                };
                let (rule, name) = (built.clone(), name.into());
                (condition, RuleTarget { rule, name })
            })
    });
    HostTable::build(hostname.clone(), entries)
}

/// Whether a GRPCRoute is attached to the listener.
fn has_grpc_route<P>(listener: &Listener<P>) -> bool {
    let mut routes = listener.routes.iter();
    routes.any(|route| {
        let rule = route.rules.first();
        rule.is_some_and(|rule| rule.route.kind == RouteKind::Grpc)
    })
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, Method};

    use super::*;
    use crate::route::Query;
    use crate::route::matches::PathMatch;

    /// Creates a plan with two listeners that have the same routes. There is one route for each of two hosts.
    fn plan(paths: [&str; 2]) -> Plan {
        let routes = paths.iter().zip(["a.test", "b.test"]).map(|(path, host)| {
            let rule = Rule::new(PathMatch::Prefix((*path).to_owned()));
            let mut route = Route::new("n", host, vec![rule]);
            route.hostnames = vec![NamePattern::Exact(host.to_owned())];
            Arc::new(route)
        });
        let routes: Vec<_> = routes.collect();
        let listeners = ["x", "y"].map(|name| {
            let mut listener = Listener::http("n", name, 80, Vec::new());
            listener.routes.clone_from(&routes);
            listener
        });
        Plan {
            ports: vec![Port::new(80, listeners.into())],
            ..Plan::default()
        }
    }

    fn rules<'a>(
        built: &'a Built<crate::policy::NoPolicy>,
        host: &str,
    ) -> Vec<&'a Arc<RuleSnapshot>> {
        let query = Query {
            host,
            path: "/same/path",
            compared: None,
            query: None,
            method: &Method::GET,
            headers: &HeaderMap::new(),
        };
        let port = built.snapshot.ports[0].as_ref().expect("the port exists");
        let tables = port.listeners.iter().map(|listener| &listener.table);
        let found = tables.map(|table| table.find(&query, false).expect("a rule matches"));
        found.map(|found| &found.payload.rule).collect()
    }

    #[test]
    fn unchanged_rules_are_reused() {
        let (live, provider) = (Live::default(), towergate_tls::default_provider());
        let build = |plan: &Plan, before: &BuildCache<_>| {
            Builder::new(&live, &provider, before)
                .build(plan, &[0])
                .expect("a valid plan")
        };
        let old = plan(["/same", "/"]);
        let mut new = plan(["/same", "/same"]);
        new.share(&old);

        let before = build(&old, &BuildCache::default());
        let after = build(&new, &before.parts);

        let [a, b] = ["a.test", "b.test"].map(|host| (rules(&before, host), rules(&after, host)));
        assert!(Arc::ptr_eq(a.0[0], a.0[1]), "listeners share");
        assert!(Arc::ptr_eq(a.0[0], a.1[0]), "plans share");
        assert!(!Arc::ptr_eq(b.0[0], b.1[0]), "what changed is new");
    }

    /// A policy that cannot be built.
    #[derive(Clone, Copy, Debug, PartialEq)]
    struct Broken;

    impl RoutePolicy for Broken {
        fn stage(&self) -> Stage {
            Stage::Jwt
        }

        fn build(&self, _: &Rule<Self>, _: &BuildContext<'_>) -> Result<BuiltPolicy, PolicyError> {
            Err(PolicyError::new("the key set is empty"))
        }
    }

    #[test]
    fn a_policy_that_cannot_be_built_is_listed_until_its_rule_is_gone() {
        let (live, provider) = (Live::default(), towergate_tls::default_provider());
        let handle = Arc::new(super::super::SnapshotHandle::default());
        let faults = super::super::PolicyFaults::new(handle.clone());
        let mut rule = Rule::new(PathMatch::Prefix("/".to_owned()));
        rule.policies = vec![Broken];
        let route = Arc::new(Route::new("n", "r", vec![rule]));
        let listeners = ["x", "y"].map(|name| Listener::http("n", name, 80, vec![]));
        let mut plan = Plan::<Broken> {
            ports: vec![Port::new(80, listeners.into())],
            ..Plan::default()
        };
        let mut cache = BuildCache::default();
        let mut listed = Vec::new();

        // The second plan reuses the rule of the first plan.
        for routes in [vec![route.clone()], vec![route], Vec::new()] {
            for listener in &mut plan.ports[0].listeners {
                listener.routes.clone_from(&routes);
            }
            let built = Builder::new(&live, &provider, &cache).build(&plan, &[0]);
            let built = built.expect("a valid plan");
            handle.publish(Arc::new(built.snapshot));
            cache = built.parts;
            listed.push(faults.list());
        }

        let reasons = |faults: &Vec<super::super::PolicyFault>| {
            let reasons = faults
                .iter()
                .map(|fault| (fault.stage, fault.reason.clone()));
            reasons.collect::<Vec<_>>()
        };
        let expected = vec![(Stage::Jwt, "the key set is empty".to_owned())];
        let listed: Vec<_> = listed.iter().map(reasons).collect();
        assert_eq!(listed, [expected.clone(), expected, Vec::new()]);
    }

    #[test]
    fn the_memory_of_each_rule_is_small() {
        let counts = 2 * size_of::<usize>();

        assert_eq!(
            size_of::<RuleSnapshot>() + counts,
            48,
            "less than a cache line"
        );
        assert!(
            size_of::<crate::breaker::CircuitBreaker>() + counts <= 128,
            "two"
        );
    }
}
