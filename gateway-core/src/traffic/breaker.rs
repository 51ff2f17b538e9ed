//! The circuit breaker: bounds on what a rule may have under way.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::plan;

/// The counters of one rule, shared by all workers and kept over changes of the configuration.
#[derive(Debug)]
pub struct Breaker {
    limits: plan::Breaker,
    counts: [AtomicU32; 4],
}

/// What is counted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Resource {
    /// Connections to endpoints.
    Connection,
    /// Requests that wait for a connection.
    Pending,
    /// Requests under way.
    Request,
    /// Retries under way.
    Retry,
}

/// One unit of a [`Resource`], given back when dropped.
#[derive(Debug)]
pub struct Permit {
    breaker: Arc<Breaker>,
    resource: Resource,
}

impl Breaker {
    /// A breaker with nothing under way.
    pub fn new(limits: plan::Breaker) -> Arc<Self> {
        Arc::new(Self {
            limits,
            counts: Default::default(),
        })
    }

    /// Takes one unit, or `None` if the limit is reached.
    pub fn acquire(self: &Arc<Self>, resource: Resource) -> Option<Permit> {
        let limit = match resource {
            Resource::Connection => self.limits.connections,
            Resource::Pending => self.limits.pending,
            Resource::Request => self.limits.requests,
            Resource::Retry => self.limits.retries,
        };
        let before = self.counts[resource as usize].fetch_add(1, Ordering::Relaxed);
        let permit = Permit {
            breaker: self.clone(),
            resource,
        };
        (before < limit).then_some(permit)
    }

    /// Units in use.
    pub fn in_use(&self, resource: Resource) -> u32 {
        self.counts[resource as usize].load(Ordering::Relaxed)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.breaker.counts[self.resource as usize].fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_free_again_when_its_permit_is_dropped() {
        let breaker = Breaker::new(plan::Breaker {
            requests: 1,
            ..Default::default()
        });

        let first = breaker.acquire(Resource::Request);
        assert!(first.is_some());
        assert!(breaker.acquire(Resource::Request).is_none());
        drop(first);

        assert!(breaker.acquire(Resource::Request).is_some());
        assert_eq!(breaker.in_use(Resource::Request), 0);
    }
}
