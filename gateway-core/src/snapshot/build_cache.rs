//! Built parts of a plan. The build of the next plan reuses them.
//!
//! Plans share unchanged parts ([`Plan::share`](crate::Plan::share)), so a rule at the same address is
//! unchanged. Each entry holds a reference to its part of the plan, so that the address is not reused for
//! another part. A part that several listeners of one plan share is built once.

use std::collections::HashMap;
use std::sync::Arc;

use towergate_tls::NamePattern;

use super::{RuleSnapshot, RuleTarget};
use crate::plan::{Route, RouteId, Rule, StreamRoute};
use crate::route::HostTable;
use crate::stream::StreamRule;

/// Built rules and tables of hostnames, with the parts of the plan from which they were built.
#[derive(Debug)]
pub(crate) struct BuildCache<P> {
    /// Built rules. The key is the address of the rule in the plan.
    rules: HashMap<usize, (Arc<Rule<P>>, Arc<RuleSnapshot>)>,
    /// Tables of hostnames. A hostname has one table for each different list of routes.
    hosts: HashMap<NamePattern, Vec<BuiltHost<P>>>,
    /// Built TCP, TLS and UDP routes. The key consists of the name of the route, and of the value that states
    /// whether TLS is passed through. The routes are compared by value, because there are few.
    streams: HashMap<(Arc<RouteId>, bool), Vec<BuiltStream>>,
}

#[derive(Debug)]
struct BuiltStream {
    route: Arc<StreamRoute>,
    rule: Arc<StreamRule>,
}

#[derive(Debug)]
struct BuiltHost<P> {
    routes: Box<[Arc<Route<P>>]>,
    table: Arc<HostTable<RuleTarget>>,
}

impl<P> Default for BuildCache<P> {
    fn default() -> Self {
        Self {
            rules: HashMap::new(),
            hosts: HashMap::new(),
            streams: HashMap::new(),
        }
    }
}

impl<P> BuildCache<P> {
    /// The built form of `rule`, if this instance of the rule has been built before.
    pub(super) fn rule(&self, rule: &Arc<Rule<P>>) -> Option<&Arc<RuleSnapshot>> {
        self.rules.get(&address(rule)).map(|(_, built)| built)
    }

    /// All rules, in arbitrary order.
    pub(super) fn rules(&self) -> impl Iterator<Item = (&Arc<Rule<P>>, &Arc<RuleSnapshot>)> {
        self.rules.values().map(|(rule, built)| (rule, built))
    }

    pub(super) fn keep_rule(&mut self, rule: &Arc<Rule<P>>, built: Arc<RuleSnapshot>) {
        self.rules.insert(address(rule), (rule.clone(), built));
    }

    /// The table of `hostname` that was built from these instances of routes, in this order.
    pub(super) fn host(
        &self,
        hostname: &NamePattern,
        routes: &[&Arc<Route<P>>],
    ) -> Option<&Arc<HostTable<RuleTarget>>> {
        let same = |built: &&BuiltHost<P>| {
            let pairs = || built.routes.iter().zip(routes);
            built.routes.len() == routes.len() && pairs().all(|(a, b)| Arc::ptr_eq(a, b))
        };
        let built = self.hosts.get(hostname)?.iter().find(same);
        built.map(|built| &built.table)
    }

    pub(super) fn keep_host(
        &mut self,
        routes: &[&Arc<Route<P>>],
        table: Arc<HostTable<RuleTarget>>,
    ) {
        let routes = routes.iter().map(|route| Arc::clone(route)).collect();
        let built = self.hosts.entry(table.hostname().clone()).or_default();
        built.push(BuiltHost { routes, table });
    }
}

impl<P> BuildCache<P> {
    /// The built form of a route that equals `route`.
    pub(super) fn stream(&self, route: &StreamRoute, passes: bool) -> Option<&Arc<StreamRule>> {
        let built = self.streams.get(&(route.id.clone(), passes))?.iter();
        let same = |known: &StreamRoute| {
            known.traffic == route.traffic
                && known.backends == route.backends
                && known.access == route.access
        };
        let mut built = built.filter(|built| same(&built.route));
        built.next().map(|built| &built.rule)
    }

    pub(super) fn keep_stream(
        &mut self,
        route: &Arc<StreamRoute>,
        passes: bool,
        rule: Arc<StreamRule>,
    ) {
        let route = route.clone();
        let built = self.streams.entry((route.id.clone(), passes)).or_default();
        built.push(BuiltStream { route, rule });
    }
}

fn address<P>(rule: &Arc<Rule<P>>) -> usize {
    Arc::as_ptr(rule).addr()
}
