//! One endpoint of a backend, with the number of its requests in flight.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::plan::EndpointAddress;

/// An endpoint address of a cluster and the number of its requests in flight. The instance is kept as long
/// as the address is in the cluster.
#[derive(Debug)]
pub struct LiveEndpoint {
    address: EndpointAddress,
    in_flight: AtomicU32,
    removed: AtomicBool,
    /// Time at which the endpoint was added.
    added: Instant,
    /// Time at which the endpoint last became healthy again, in milliseconds after `added`.
    recovered: AtomicU64,
}

impl LiveEndpoint {
    /// Creates an endpoint without requests in flight.
    pub fn new(address: EndpointAddress) -> Self {
        Self {
            address,
            in_flight: AtomicU32::new(0),
            removed: AtomicBool::new(false),
            added: Instant::now(),
            recovered: AtomicU64::new(0),
        }
    }

    /// Address to connect to.
    pub fn address(&self) -> &EndpointAddress {
        &self.address
    }

    /// Number of requests in flight, over all workers.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Time since the endpoint was added to its cluster. If the endpoint became healthy again later, the time
    /// since then.
    pub(super) fn age(&self) -> Duration {
        let recovered = Duration::from_millis(self.recovered.load(Ordering::Relaxed));
        self.added.elapsed().saturating_sub(recovered)
    }

    /// Restarts the slow start of the endpoint. Must be called when its health checks succeed again.
    pub(crate) fn set_recovered(&self) {
        let time = u64::try_from(self.added.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.recovered.store(time, Ordering::Relaxed);
    }

    /// Whether the address has been removed from its cluster. If so, idle connections to the address are
    /// closed.
    pub fn is_removed(&self) -> bool {
        self.removed.load(Ordering::Relaxed)
    }

    pub(super) fn set_removed(&self, removed: bool) {
        self.removed.store(removed, Ordering::Relaxed);
    }
}

/// Counts one request in flight to an endpoint, until dropped.
#[derive(Debug)]
pub struct InFlightGuard(Arc<LiveEndpoint>);

impl InFlightGuard {
    /// Adds a request to the count of `endpoint`.
    pub fn new(endpoint: Arc<LiveEndpoint>) -> Self {
        endpoint.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(endpoint)
    }

    /// The endpoint to which the request is sent.
    pub fn endpoint(&self) -> &Arc<LiveEndpoint> {
        &self.0
    }
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
