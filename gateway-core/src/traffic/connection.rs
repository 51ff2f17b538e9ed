//! Connections that are passed on as they are: weighted backend, endpoint, connect.
//!
//! ```text
//! Forwarder::choose ──> Chosen ──> Forwarder::connect ──> Joined
//!   by weight, then       may wait for TLS     one other endpoint if the first takes none
//!   by the balancer       with the client
//! ```
//!
//! Choosing waits for nothing, so that a connection that can go nowhere is refused before a byte is
//! written to it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::Forwarder;
use super::backends::Way;
use super::breaker::Slot;
use super::outlier::{self, Outcome};
use crate::balance::{Active, Cluster, Node, Pick, hash_address};
use crate::error::Error;
use crate::observer::{Event, Observer};
use crate::plan::{BackendId, HashKey, LoadBalancer};
use crate::upstream::{Connected, Open, Target};

/// How many endpoints are tried for a connection.
const ATTEMPTS: usize = 2;

/// The backend and the endpoint for one connection or session.
#[derive(Debug)]
pub(crate) struct Chosen {
    /// Among the backendRefs.
    place: usize,
    hash: Option<u64>,
    node: Arc<Node>,
}

impl Chosen {
    /// The endpoint.
    pub(crate) fn address(&self) -> SocketAddr {
        self.node.address()
    }
}

/// A connection to an endpoint, and what counts it.
pub(crate) struct Joined {
    pub(crate) connected: Connected,
    pub(crate) endpoint: SocketAddr,
    pub(crate) counted: (Active, Open),
}

/// A session of datagrams with an endpoint, which it counts for until dropped.
#[derive(Debug)]
pub(crate) struct Reserved {
    active: Active,
    _slot: Slot,
    /// Kept known, so that the end of its endpoints is seen.
    _cluster: Arc<Cluster>,
}

impl Reserved {
    /// The endpoint.
    pub(crate) fn node(&self) -> &Arc<Node> {
        self.active.node()
    }
}

/// Why there is no connection.
#[derive(Debug)]
pub(crate) struct NotJoined {
    pub(crate) error: Error,
    /// The endpoint that was tried last.
    pub(crate) endpoint: SocketAddr,
}

impl Forwarder {
    /// Draws a backend by weight and picks one of its endpoints; not one of `tried`, if there is another.
    ///
    /// # Errors
    /// There is none, or the reference cannot be resolved.
    pub(crate) fn choose(&self, client: IpAddr, tried: &[SocketAddr]) -> Result<Chosen, Error> {
        let (place, way) = self.backends.draw()?;
        let hash = match &self.backends.traffic.load_balancer {
            LoadBalancer::ConsistentHash {
                key: HashKey::SourceIp,
                ..
            } => Some(hash_address(client)),
            _ => None,
        };
        let node = self.backends.endpoint(way, Pick { hash, tried })?;
        Ok(Chosen { place, hash, node })
    }

    /// Connects to the chosen endpoint; if that takes no connection, to another one of its backend.
    ///
    /// # Errors
    /// Why the last one took none.
    pub(crate) async fn connect(
        &self,
        chosen: Chosen,
        observer: &Arc<dyn Observer>,
    ) -> Result<Joined, NotJoined> {
        let Chosen { place, hash, node } = chosen;
        let mut active = Active::new(node);
        let mut tried = Vec::new();
        loop {
            let endpoint = active.node().address();
            let failed = |error| NotJoined { error, endpoint };
            // What was chosen of this very forwarder has a way.
            let way = self.backends.way(place).ok_or(Error::InvalidBackend);
            let way = way.map_err(failed)?;
            let error = match self.attempt(way, active.node(), observer).await {
                Ok((connected, open)) => {
                    let counted = (active, open);
                    return Ok(Joined {
                        connected,
                        endpoint,
                        counted,
                    });
                }
                Err(error) => error,
            };
            tried.push(endpoint);
            let other = self.backends.endpoint(
                way,
                Pick {
                    hash,
                    tried: &tried,
                },
            );
            match other {
                Ok(other)
                    if tried.len() < ATTEMPTS
                        && outlier::of_error(&error).is_some()
                        && other.address() != endpoint =>
                {
                    active = Active::new(other);
                    observer.observe(&Event::Retried(way.cluster.id()));
                }
                _ => return Err(failed(error)),
            }
        }
    }

    async fn attempt(
        &self,
        way: &Way,
        node: &Arc<Node>,
        observer: &Arc<dyn Observer>,
    ) -> Result<(Connected, Open), Error> {
        let target = Target {
            cluster: &way.cluster,
            node,
            breaker: &self.breaker,
            observer,
            pools: &[],
            by_hyper: false,
        };
        let result = way.pool.open(&target).await;
        if let Some(detector) = &way.outlier {
            let outcome = match &result {
                Ok(_) => Some(Outcome::Answer(200)),
                Err(error) => outlier::of_error(error),
            };
            if let Some(outcome) = outcome {
                detector.report(node.address(), outcome);
            }
        }
        result
    }

    /// The backend that was chosen.
    pub(crate) fn backend(&self, chosen: &Chosen) -> Option<&BackendId> {
        self.backends.way(chosen.place).map(|way| way.cluster.id())
    }

    /// Counts a session of datagrams with the chosen endpoint; `None` if the limit of connections is
    /// reached.
    pub(crate) fn reserve(&self, chosen: &Chosen) -> Option<Reserved> {
        let way = self.backends.way(chosen.place)?;
        Some(Reserved {
            _slot: self.breaker.connect(chosen.address())?,
            active: Active::new(chosen.node.clone()),
            _cluster: way.cluster.clone(),
        })
    }
}
