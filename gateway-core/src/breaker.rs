//! Circuit breaker: limits on the connections and requests of a rule.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::conn::requests::ConnectionRequests;
use crate::plan::{self, EndpointAddress};

/// Counters and limits of one rule, shared by all workers and kept over configuration changes.
///
/// The fields that every request reads are first, next to the reference counts of the `Arc`, so that they use
/// few cache lines. This matters because each of thousands of rules has a breaker.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct CircuitBreaker {
    counts: [AtomicU32; 4],
    waiting: AtomicU32,
    requests: u32,
    connections: u32,
    connections_per_endpoint: Option<u32>,
    pending: u32,
    retries: u32,
    retry_budget: Option<plan::RetryBudget>,
    fair_requests: bool,
    /// Notifies waiting requests when a connection ends or becomes idle.
    freed: Notify,
    /// Number of connections to each endpoint. `None` if the rule does not limit the connections per
    /// endpoint.
    endpoints: Option<Box<Endpoints>>,
}

/// Divisor of the number of free requests. The quotient is the number of requests that one client connection
/// may use.
const SHARE_OF_CONNECTION: u32 = 4;

type Endpoints = Mutex<HashMap<EndpointAddress, Arc<AtomicU32>>>;

/// A resource with a limit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Resource {
    /// Connections to endpoints.
    Connection,
    /// Requests that wait for a connection.
    Pending,
    /// Requests in flight.
    Request,
    /// Retries in flight.
    Retry,
}

/// One unit of a [`Resource`]. Dropping it releases the unit.
#[derive(Debug)]
pub(crate) struct Permit {
    breaker: Arc<CircuitBreaker>,
    resource: Resource,
    /// The client connection of the request. `None` if the share of each connection is not limited.
    connection: Option<Arc<ConnectionRequests>>,
}

/// One connection to an endpoint. Dropping the slot decrements the counts of connections.
#[derive(Debug)]
pub(crate) struct Slot {
    // This field is first, so that it is dropped first: both counts must be decremented before the permit
    // wakes a waiting request.
    _endpoint: Option<EndpointCount>,
    permit: Permit,
}

#[derive(Debug)]
struct EndpointCount(Arc<AtomicU32>);

impl CircuitBreaker {
    /// Creates a breaker.
    pub(crate) fn new(limits: &plan::Breaker) -> Arc<Self> {
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
            fair_requests: limits.fair_requests,
            freed: Notify::new(),
            endpoints: per_endpoint.map(|_| Box::default()),
        })
    }

    /// Takes one unit of `resource`. Returns `None` if the limit of the resource is reached.
    pub(crate) fn acquire(self: &Arc<Self>, resource: Resource) -> Option<Permit> {
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
        Some(Permit {
            breaker: self.clone(),
            resource,
            connection: None,
        })
    }

    /// Takes one unit for a request on a client connection that carries concurrent requests. Returns `None`
    /// if a limit is reached.
    ///
    /// With `fair_requests`, a connection may use at most a quarter of the free requests, but always one
    /// request. The request that acquires the unit counts as free. With a limit of 1024, a single connection
    /// can have 205 requests in flight. If 12 connections each reach their maximum, 113 requests remain free,
    /// so new connections are still served.
    pub(crate) fn acquire_shared(
        self: &Arc<Self>,
        connection: &Arc<ConnectionRequests>,
    ) -> Option<Permit> {
        let mut permit = self.acquire(Resource::Request)?;
        if self.fair_requests {
            let own = connection.begin(self.key());
            permit.connection = Some(connection.clone());
            let others = self.in_use(Resource::Request).saturating_sub(1);
            let free = self.requests.saturating_sub(others);
            if own > 1 && own > free / SHARE_OF_CONNECTION {
                return None;
            }
        }
        Some(permit)
    }

    /// A key that identifies this breaker as long as the breaker exists.
    fn key(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// Maximum number of retries in flight. A retry budget is relative to the requests in flight, which
    /// include the request that is retried.
    fn retry_limit(&self) -> u32 {
        match &self.retry_budget {
            Some(budget) => {
                let pending = self.in_use(Resource::Pending);
                budget.limit(self.in_use(Resource::Request).saturating_add(pending))
            }
            None => self.retries,
        }
    }

    /// Takes a connection to `address`. Returns `None` if a limit is reached.
    pub(crate) fn connect(self: &Arc<Self>, address: &EndpointAddress) -> Option<Slot> {
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

    /// Returns whether the limit of connections is 0. If so, waiting for a connection is useless.
    pub(crate) fn forbids_connections(&self) -> bool {
        self.connections == 0 || self.connections_per_endpoint == Some(0)
    }

    /// Number of units in use.
    pub(crate) fn in_use(&self, resource: Resource) -> u32 {
        self.counts[resource as usize].load(Ordering::Relaxed)
    }

    /// Waits until `attempt` returns a value. `attempt` is called at once, and again whenever a connection
    /// ends or becomes idle.
    pub(crate) async fn wait_for<T>(&self, mut attempt: impl FnMut() -> Option<T>) -> T {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let _waiting = Waiting(self);
        loop {
            let mut freed = std::pin::pin!(self.freed.notified());
            // The notification is enabled before the attempt, so that a notification during the attempt is
            // not missed.
            freed.as_mut().enable();
            if let Some(found) = attempt() {
                return found;
            }
            freed.await;
        }
    }

    /// Wakes one waiting request. Must be called when a connection has ended or become idle.
    pub(crate) fn wake(&self) {
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.freed.notify_one();
        }
    }
}

fn count_endpoint(
    endpoints: &Endpoints,
    address: &EndpointAddress,
    limit: u32,
) -> Option<EndpointCount> {
    let mut endpoints = endpoints.lock().unwrap_or_else(PoisonError::into_inner);
    if endpoints.len() == endpoints.capacity() {
        endpoints.retain(|_, count| Arc::strong_count(count) > 1);
    }
    let count = match endpoints.get(address) {
        Some(count) => count,
        None => endpoints.entry(address.clone()).or_default(),
    };
    if count.load(Ordering::Relaxed) >= limit {
        return None;
    }
    count.fetch_add(1, Ordering::Relaxed);
    Some(EndpointCount(count.clone()))
}

struct Waiting<'a>(&'a CircuitBreaker);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
        // If a notification arrived after the last attempt, another waiting request must receive it.
        self.0.wake();
    }
}

impl Slot {
    /// The breaker whose limits count this connection.
    pub(crate) fn breaker(&self) -> &Arc<CircuitBreaker> {
        &self.permit.breaker
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(connection) = &self.connection {
            connection.end(self.breaker.key());
        }
        // The ordering is sequentially consistent, like the ordering of the count of waiting requests.
        // Otherwise `wake` could miss a waiting request.
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

    fn address(port: u16) -> EndpointAddress {
        ([127, 0, 0, 1], port).into()
    }

    #[test]
    fn dropping_a_permit_releases_its_unit() {
        let breaker = CircuitBreaker::new(&plan::Breaker {
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

    /// Number of requests that each of `connections` connections can start. Each connection starts requests
    /// until one is rejected, then the next connection does so.
    fn taken(limits: &plan::Breaker, connections: usize) -> (Vec<usize>, u32) {
        let breaker = CircuitBreaker::new(limits);
        let take_all = |_| {
            let connection = Arc::<ConnectionRequests>::default();
            let permits = std::iter::from_fn(|| breaker.acquire_shared(&connection));
            permits.collect::<Vec<_>>()
        };
        let permits: Vec<_> = (0..connections).map(take_all).collect();
        let free = limits.requests - breaker.in_use(Resource::Request);
        let counts = permits.iter().map(Vec::len).collect();
        drop(permits);
        assert_eq!(breaker.in_use(Resource::Request), 0);
        (counts, free)
    }

    #[test]
    fn a_connection_gets_a_share_of_the_free_requests() {
        let fair = plan::Breaker::default();

        let (counts, free) = taken(&fair, 12);

        assert_eq!(&counts[..3], [205, 164, 131]);
        assert_eq!(free, 1024 - counts.iter().sum::<usize>() as u32);
        assert!(free >= 64, "{free}");
    }

    #[test]
    fn each_connection_gets_one_request_while_any_is_free() {
        for requests in 1..20 {
            let limits = plan::Breaker {
                requests,
                ..Default::default()
            };

            let (counts, free) = taken(&limits, requests as usize);

            assert_eq!(free, 0, "{counts:?}");
        }
    }

    #[test]
    fn a_configured_limit_holds_for_one_connection_as_for_many() {
        let configured = plan::Breaker {
            requests: 50,
            fair_requests: false,
            ..Default::default()
        };

        assert_eq!(taken(&configured, 2), (vec![50, 0], 0));
    }

    #[test]
    fn requests_of_one_connection_for_other_rules_are_not_counted() {
        let (one, other) = (
            CircuitBreaker::new(&plan::Breaker::default()),
            CircuitBreaker::new(&plan::Breaker::default()),
        );
        let connection = Arc::<ConnectionRequests>::default();
        let take_all = |breaker: &Arc<CircuitBreaker>| {
            std::iter::from_fn(|| breaker.acquire_shared(&connection)).collect::<Vec<_>>()
        };

        let (first, second) = (take_all(&one), take_all(&other));

        assert_eq!((first.len(), second.len()), (205, 205));
    }

    #[test]
    fn a_retry_budget_grows_with_the_requests_in_flight() {
        let breaker = CircuitBreaker::new(&plan::Breaker {
            retries: 0,
            retry_budget: Some(plan::RetryBudget {
                numerator: 1,
                denominator: 2,
                min_retries: 1,
            }),
            ..Default::default()
        });
        let retries = |breaker: &Arc<CircuitBreaker>| {
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
    fn the_connections_of_an_endpoint_are_limited() {
        let breaker = CircuitBreaker::new(&plan::Breaker {
            connections_per_endpoint: Some(1),
            ..Default::default()
        });

        let first = breaker.connect(&address(1));
        assert!(first.is_some());
        assert!(breaker.connect(&address(1)).is_none());
        assert!(breaker.connect(&address(2)).is_some());
        drop(first);

        assert!(breaker.connect(&address(1)).is_some());
    }

    #[tokio::test]
    async fn every_waiting_request_is_woken_by_an_ended_connection() {
        let breaker = CircuitBreaker::new(&plan::Breaker {
            connections: 1,
            ..Default::default()
        });
        let first = breaker.connect(&address(1)).unwrap();

        let waiters: Vec<_> = (0..10)
            .map(|_| {
                let breaker = breaker.clone();
                tokio::spawn(async move {
                    let slot = breaker.wait_for(|| breaker.connect(&address(1))).await;
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
