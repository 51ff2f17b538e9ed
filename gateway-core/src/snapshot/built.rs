//! What was built for one plan and serves the next one, too.
//!
//! Plans share what did not change between them ([`Plan::share`](crate::Plan::share)), so a rule at the
//! same address is the same rule. What is kept here keeps its part of the plan alive, so that nothing
//! else can come to have that address. Listeners of one plan share in the same way: what two of them
//! have in common is built once.

use std::collections::HashMap;
use std::sync::Arc;

use towergate_tls::NamePattern;

use super::{RuleSnapshot, Target};
use crate::plan::{Route, RouteId, Rule, StreamRoute};
use crate::route::HostTable;
use crate::stream::StreamRule;

/// Built rules and tables of hosts, with the parts of the plan that they were built from.
#[derive(Debug)]
pub(crate) struct Parts<P> {
    /// By the address of the plan's rule.
    rules: HashMap<usize, (Arc<Rule<P>>, Arc<RuleSnapshot>)>,
    /// One for each list of routes that a hostname has on some listener.
    hosts: HashMap<NamePattern, Vec<BuiltHost<P>>>,
    /// Routes of connections, by their names and by whether TLS is passed on. They are few, so that they
    /// are compared.
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
    table: Arc<HostTable<Target>>,
}

impl<P> Default for Parts<P> {
    fn default() -> Self {
        Self {
            rules: HashMap::new(),
            hosts: HashMap::new(),
            streams: HashMap::new(),
        }
    }
}

impl<P> Parts<P> {
    /// What was built from this very rule.
    pub(super) fn rule(&self, rule: &Arc<Rule<P>>) -> Option<&Arc<RuleSnapshot>> {
        self.rules.get(&address(rule)).map(|(_, built)| built)
    }

    pub(super) fn keep_rule(&mut self, rule: &Arc<Rule<P>>, built: Arc<RuleSnapshot>) {
        self.rules.insert(address(rule), (rule.clone(), built));
    }

    /// The table of `hostname` that was built from these very routes, in this order.
    pub(super) fn host(
        &self,
        hostname: &NamePattern,
        routes: &[&Arc<Route<P>>],
    ) -> Option<&Arc<HostTable<Target>>> {
        let same = |built: &&BuiltHost<P>| {
            let pairs = || built.routes.iter().zip(routes);
            built.routes.len() == routes.len() && pairs().all(|(a, b)| Arc::ptr_eq(a, b))
        };
        let built = self.hosts.get(hostname)?.iter().find(same);
        built.map(|built| &built.table)
    }

    pub(super) fn keep_host(&mut self, routes: &[&Arc<Route<P>>], table: Arc<HostTable<Target>>) {
        let routes = routes.iter().map(|route| Arc::clone(route)).collect();
        let built = self.hosts.entry(table.hostname().clone()).or_default();
        built.push(BuiltHost { routes, table });
    }
}

impl<P> Parts<P> {
    /// What was built from a route that says the same of its backends.
    pub(super) fn stream(&self, route: &StreamRoute, passes: bool) -> Option<&Arc<StreamRule>> {
        let built = self.streams.get(&(route.id.clone(), passes))?.iter();
        let same = |known: &StreamRoute| {
            known.traffic == route.traffic && known.backends == route.backends
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
