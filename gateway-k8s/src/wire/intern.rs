//! Sharing of equal values between routes.
//!
//! Many rules of a plan share a few settings. Decoding JSON gives each rule its own copy; interning
//! restores the sharing.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;

use towergate_core::plan::{Backend, Destination, Route, Traffic};
use towergate_policy::Policy;

/// The values that decoded routes share.
#[derive(Default)]
pub(super) struct Interner {
    traffic: HashSet<Arc<Traffic>>,
    backends: HashSet<Arc<Backend>>,
}

impl Interner {
    /// Replaces values of a decoded route with equal shared values.
    pub(super) fn route(&mut self, route: &mut Arc<Route<Policy>>) {
        let Some(route) = Arc::get_mut(route) else {
            return;
        };
        for rule in route.rules.iter_mut().filter_map(Arc::get_mut) {
            if rule.route == route.id {
                rule.route = Arc::clone(&route.id);
            }
            keep_once(&mut self.traffic, &mut rule.traffic);
            for backend in &mut rule.backends {
                if let Destination::Backend(backend) = &mut backend.destination {
                    keep_once(&mut self.backends, backend);
                }
            }
        }
    }

    /// Removes values that are in use in no plan.
    pub(super) fn forget_unused(&mut self) {
        self.traffic.retain(|value| Arc::strong_count(value) > 1);
        self.backends.retain(|value| Arc::strong_count(value) > 1);
    }
}

fn keep_once<T: Eq + Hash>(known: &mut HashSet<Arc<T>>, value: &mut Arc<T>) {
    match known.get(value) {
        Some(same) => *value = Arc::clone(same),
        None => {
            known.insert(Arc::clone(value));
        }
    }
}
