//! Replaces routes and rules of a new plan by equal routes and rules of the previous plan.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Plan, Route, RouteId, Rule};

/// Processed routes. The key is the address of the route; the value is the route and its replacement.
type Done<P> = HashMap<usize, (Arc<Route<P>>, Arc<Route<P>>)>;

impl<P: PartialEq> Plan<P> {
    /// Replaces routes and rules by equal routes and rules of `before`. This does not change the value of the
    /// plan. Sharing saves memory. In addition, a new snapshot reuses the parts that were built from shared
    /// routes and rules.
    pub fn share(&mut self, before: &Self) {
        let mut known: HashMap<&RouteId, Vec<&Arc<Route<P>>>> = HashMap::new();
        for route in before.routes() {
            let same = known.entry(&*route.id).or_default();
            if !same.iter().any(|known| Arc::ptr_eq(known, route)) {
                same.push(route);
            }
        }
        // If several listeners share a route, they also share its replacement. `done` holds a reference to
        // the original route, so that its address is not reused.
        let mut done: Done<P> = HashMap::new();
        let listeners = self.ports.iter_mut().flat_map(|port| &mut port.listeners);
        for route in listeners.flat_map(|listener| &mut listener.routes) {
            let known = known.get(&*route.id).map_or(&[][..], Vec::as_slice);
            let (_, shared) = done
                .entry(Arc::as_ptr(route).addr())
                .or_insert_with(|| (route.clone(), shared(route, known)));
            *route = shared.clone();
        }
    }

    fn routes(&self) -> impl Iterator<Item = &Arc<Route<P>>> {
        let listeners = self.ports.iter().flat_map(|port| &port.listeners);
        listeners.flat_map(|listener| &listener.routes)
    }
}

/// The route in `known` that equals `route`. If there is none, a copy of `route` that reuses the equal rules
/// of `known`.
fn shared<P: PartialEq>(route: &Arc<Route<P>>, known: &[&Arc<Route<P>>]) -> Arc<Route<P>> {
    let equal = |known: &&&Arc<Route<P>>| Arc::ptr_eq(known, route) || ***known == *route;
    if let Some(same) = known.iter().find(equal) {
        return Arc::clone(same);
    }
    let of_index = |rule: &Arc<Rule<P>>| {
        let mut rules = known.iter().flat_map(|known| &known.rules);
        rules.find(|known| known.index == rule.index && **known == *rule)
    };
    let rules = route.rules.iter();
    Arc::new(Route {
        id: known.first().map_or(&route.id, |known| &known.id).clone(),
        hostnames: route.hostnames.clone(),
        written_hostnames: route.written_hostnames.clone(),
        rules: rules
            .map(|rule| of_index(rule).unwrap_or(rule).clone())
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Listener, PathMatch, Port};

    fn plan(paths: [&str; 2], listeners: u16) -> Plan {
        let rules = paths.map(|path| Rule::new(PathMatch::Prefix(path.to_owned())));
        let route = Arc::new(Route::new("n", "r", rules.into()));
        let ports = (1..=listeners).map(|port| {
            let mut listener = Listener::http("n", "g", port, Vec::new());
            listener.routes.push(route.clone());
            Port::new(port, vec![listener])
        });
        Plan {
            ports: ports.collect(),
            ..Plan::default()
        }
    }

    fn listeners(plan: &Plan) -> Vec<&Listener> {
        plan.ports.iter().flat_map(|port| &port.listeners).collect()
    }

    #[test]
    fn equal_routes_are_those_of_the_plan_before() {
        let (before, mut now) = (plan(["/a", "/b"], 1), plan(["/a", "/b"], 2));

        now.share(&before);

        let (old, new) = (listeners(&before), listeners(&now));
        assert_eq!(new.len(), 2);
        for listener in new {
            assert!(Arc::ptr_eq(&listener.routes[0], &old[0].routes[0]));
        }
    }

    #[test]
    fn of_a_route_that_changed_equal_rules_are_those_of_the_plan_before() {
        let (before, mut now) = (plan(["/a", "/b"], 1), plan(["/a", "/c"], 2));

        now.share(&before);

        let (old, new) = (listeners(&before), listeners(&now));
        assert_eq!(now, plan(["/a", "/c"], 2));
        let rules = &new[0].routes[0].rules;
        assert!(Arc::ptr_eq(&rules[0], &old[0].routes[0].rules[0]));
        assert!(!Arc::ptr_eq(&rules[1], &old[0].routes[0].rules[1]));
        assert!(Arc::ptr_eq(&new[0].routes[0], &new[1].routes[0]));
    }
}
