//! The circuit breaker: bounds on what a rule may have under way.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::plan;

/// The counters of one rule, shared by all workers and kept over changes of the configuration.
///
/// What each request looks at comes first, beside the counts of an `Arc`: of thousands of rules, each has
/// its own.
#[derive(Debug)]
#[repr(C)]
pub struct Breaker {
    counts: [AtomicU32; 4],
    waiting: AtomicU32,
    requests: u32,
    connections: u32,
    connections_per_endpoint: Option<u32>,
    pending: u32,
    retries: u32,
    retry_budget: Option<plan::RetryBudget>,
    /// Woken when a connection ends or becomes idle.
    freed: Notify,
    /// Connections by endpoint, where these have a limit.
    endpoints: Option<Box<Endpoints>>,
}

type Endpoints = Mutex<HashMap<SocketAddr, Arc<AtomicU32>>>;

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

/// One connection to an endpoint, given back when dropped.
#[derive(Debug)]
pub struct Slot {
    // The count of the endpoint goes first: whoever is woken by the permit must find both free.
    _endpoint: Option<EndpointCount>,
    permit: Permit,
}

#[derive(Debug)]
struct EndpointCount(Arc<AtomicU32>);

impl Breaker {
    /// A breaker with nothing under way.
    pub fn new(limits: &plan::Breaker) -> Arc<Self> {
        let per_endpoint = limits.connections_per_endpoint;
        Arc::new(Self {
            counts: Default::default(),
            waiting: AtomicU32::new(0),
            requests: limits.requests,
            connections: limits.connections,
            connections_per_endpoint: per_endpoint,
            pending: limits.pending,
            retries: limits.retries,
            retry_budget: limits.retry_budget,
            freed: Notify::new(),
            endpoints: per_endpoint.map(|_| Box::default()),
        })
    }

    /// Takes one unit, or `None` if the limit is reached.
    pub fn acquire(self: &Arc<Self>, resource: Resource) -> Option<Permit> {
        let limit = match resource {
            Resource::Connection => self.connections,
            Resource::Pending => self.pending,
            Resource::Request => self.requests,
            Resource::Retry => self.retry_limit(),
        };
        let count = &self.counts[resource as usize];
        if count.fetch_add(1, Ordering::SeqCst) >= limit {
            count.fetch_sub(1, Ordering::SeqCst);
            return None;
        }
        let breaker = self.clone();
        Some(Permit { breaker, resource })
    }

    /// A budget counts what is under way now, the retried request among it.
    fn retry_limit(&self) -> u32 {
        match &self.retry_budget {
            Some(budget) => {
                let waiting = self.in_use(Resource::Pending);
                budget.limit(self.in_use(Resource::Request).saturating_add(waiting))
            }
            None => self.retries,
        }
    }

    /// Takes a connection to `address`, or `None` if a limit is reached.
    pub fn connect(self: &Arc<Self>, address: SocketAddr) -> Option<Slot> {
        let endpoint = match (&self.endpoints, self.connections_per_endpoint) {
            (Some(endpoints), Some(limit)) => Some(count_endpoint(endpoints, address, limit)?),
            _ => None,
        };
        let permit = self.acquire(Resource::Connection)?;
        Some(Slot {
            _endpoint: endpoint,
            permit,
        })
    }

    /// Whether no connection is allowed at all, so that waiting for one is of no use.
    pub(crate) fn is_shut(&self) -> bool {
        self.connections == 0 || self.connections_per_endpoint == Some(0)
    }

    /// Units in use.
    pub fn in_use(&self, resource: Resource) -> u32 {
        self.counts[resource as usize].load(Ordering::Relaxed)
    }

    /// Waits until `attempt` gives something, trying again whenever a connection ends or becomes idle.
    pub(crate) async fn wait_for<T>(&self, mut attempt: impl FnMut() -> Option<T>) -> T {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let _waiting = Waiting(self);
        loop {
            let mut freed = std::pin::pin!(self.freed.notified());
            // Enabled before the attempt: what is freed in between is not missed.
            freed.as_mut().enable();
            if let Some(found) = attempt() {
                return found;
            }
            freed.await;
        }
    }

    /// Tells one that waits that a connection ended or became idle.
    pub(crate) fn wake(&self) {
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.freed.notify_one();
        }
    }
}

fn count_endpoint(endpoints: &Endpoints, address: SocketAddr, limit: u32) -> Option<EndpointCount> {
    let mut endpoints = endpoints.lock().unwrap_or_else(PoisonError::into_inner);
    if endpoints.len() == endpoints.capacity() {
        endpoints.retain(|_, count| Arc::strong_count(count) > 1);
    }
    let count = endpoints.entry(address).or_default();
    if count.load(Ordering::Relaxed) >= limit {
        return None;
    }
    count.fetch_add(1, Ordering::Relaxed);
    Some(EndpointCount(count.clone()))
}

struct Waiting<'a>(&'a Breaker);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
        // A wake-up that came too late for this one may be for the next.
        self.0.wake();
    }
}

impl Slot {
    /// Whose connection it is.
    pub fn breaker(&self) -> &Arc<Breaker> {
        &self.permit.breaker
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        // In one order with the count of those that wait, or one of them could be missed.
        self.breaker.counts[self.resource as usize].fetch_sub(1, Ordering::SeqCst);
        if self.resource == Resource::Connection {
            self.breaker.wake();
        }
    }
}

impl Drop for EndpointCount {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> SocketAddr {
        ([127, 0, 0, 1], port).into()
    }

    #[test]
    fn a_unit_is_free_again_when_its_permit_is_dropped() {
        let breaker = Breaker::new(&plan::Breaker {
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

    #[test]
    fn a_retry_budget_grows_with_the_requests_under_way() {
        let breaker = Breaker::new(&plan::Breaker {
            retries: 0,
            retry_budget: Some(plan::RetryBudget {
                numerator: 1,
                denominator: 2,
                min_retries: 1,
            }),
            ..Default::default()
        });
        let retries = |breaker: &Arc<Breaker>| {
            let taken: Vec<_> = (0..9)
                .map_while(|_| breaker.acquire(Resource::Retry))
                .collect();
            taken.len()
        };

        assert_eq!(retries(&breaker), 1);
        let _requests: Vec<_> = (0..6).map(|_| breaker.acquire(Resource::Request)).collect();
        assert_eq!(retries(&breaker), 3);
        let _waiting = [
            breaker.acquire(Resource::Pending),
            breaker.acquire(Resource::Pending),
        ];
        assert_eq!(retries(&breaker), 4);
    }

    #[test]
    fn an_endpoint_has_a_limit_of_its_own() {
        let breaker = Breaker::new(&plan::Breaker {
            connections_per_endpoint: Some(1),
            ..Default::default()
        });

        let first = breaker.connect(address(1));
        assert!(first.is_some());
        assert!(breaker.connect(address(1)).is_none());
        assert!(breaker.connect(address(2)).is_some());
        drop(first);

        assert!(breaker.connect(address(1)).is_some());
    }

    #[tokio::test]
    async fn each_that_waits_is_woken_by_a_connection_that_ends() {
        let breaker = Breaker::new(&plan::Breaker {
            connections: 1,
            ..Default::default()
        });
        let first = breaker.connect(address(1)).unwrap();

        let waiters: Vec<_> = (0..10)
            .map(|_| {
                let breaker = breaker.clone();
                tokio::spawn(async move {
                    let slot = breaker.wait_for(|| breaker.connect(address(1))).await;
                    tokio::task::yield_now().await;
                    drop(slot);
                })
            })
            .collect();
        tokio::task::yield_now().await;
        drop(first);

        for waiter in waiters {
            waiter.await.unwrap();
        }
        assert_eq!(breaker.in_use(Resource::Connection), 0);
    }
}
