//! Connections for streams that are proxied as bytes: weighted backend, endpoint, connect.
//!
//! ```text
//! Forwarder::select_endpoint ──> SelectedEndpoint ──> Forwarder::connect ──> Connected
//!   by weight, then                       the client's TLS          another endpoint if the
//!   by the balancer                       handshake may follow      first does not connect
//! ```
//!
//! The selection precedes the first byte: a client connection without a usable backend is closed before a
//! byte is written to it. The selection is synchronous, unless the backend is of type `DynamicResolver`: the
//! endpoint is then the TLS server name, which is looked up.

use std::net::IpAddr;
use std::sync::Arc;

use tokio::time::timeout;

use super::Forwarder;
use super::backends::BackendRoute;
use super::dynamic::DynamicHost;
use super::outlier::{self, Outcome};
use crate::balance::{Cluster, InFlightGuard, LiveEndpoint, Pick, hash_address};
use crate::breaker::Slot;
use crate::error::Error;
use crate::observer::{Event, Observer};
use crate::plan::{BackendId, EndpointAddress, HashKey, LoadBalancer};
use crate::proxy_protocol::Addresses;
use crate::upstream::{ConnectTarget, EndpointStream, UpstreamConnectionGuard};

/// Maximum number of endpoints that are tried for a connection.
const ATTEMPTS: usize = 2;
/// Port of endpoints that are server names, as in Envoy Gateway: a ClientHello names no port.
const TLS_PORT: u16 = 443;

/// Backend and endpoint selected for one connection or session.
#[derive(Debug)]
pub(crate) struct SelectedEndpoint {
    /// Index of the backendRef.
    index: usize,
    hash: Option<u64>,
    endpoint: Arc<LiveEndpoint>,
    /// Host with the TLS server name of the connection. `None` unless the backend is of type
    /// `DynamicResolver`.
    host: Option<Arc<DynamicHost>>,
}

impl SelectedEndpoint {
    /// Address of the endpoint.
    pub(crate) fn address(&self) -> &EndpointAddress {
        self.endpoint.address()
    }

    /// Whether the client chose the endpoint by the TLS server name.
    pub(crate) fn is_chosen_by_client(&self) -> bool {
        self.host.is_some()
    }
}

/// A connection to an endpoint with the guards that count it.
pub(crate) struct Connected {
    pub(crate) stream: EndpointStream,
    pub(crate) endpoint: EndpointAddress,
    pub(crate) guards: (InFlightGuard, UpstreamConnectionGuard),
}

/// Counts a datagram session with an endpoint until dropped.
#[derive(Debug)]
pub(crate) struct SessionPermit {
    in_flight: InFlightGuard,
    _slot: Slot,
    /// Held because a cluster is updated only while it is referenced, and the session must end when its endpoint is
    /// removed.
    _cluster: Arc<Cluster>,
}

impl SessionPermit {
    /// The endpoint of the session.
    pub(crate) fn endpoint(&self) -> &Arc<LiveEndpoint> {
        self.in_flight.endpoint()
    }
}

/// Error of [`Forwarder::connect`].
#[derive(Debug)]
pub(crate) struct ConnectError {
    pub(crate) error: Error,
    /// Endpoint of the last attempt.
    pub(crate) endpoint: EndpointAddress,
}

impl Forwarder {
    /// Picks a backend by weight, then one of its endpoints, preferably one that is not in `tried`.
    ///
    /// # Errors
    /// Fails if there is no endpoint, or the backendRef cannot be resolved.
    pub(crate) fn select_endpoint(
        &self,
        client: IpAddr,
        tried: &[EndpointAddress],
    ) -> Result<SelectedEndpoint, Error> {
        let hash = self.hash_of(client);
        let (index, route) = self.backends.pick(hash)?;
        self.selected(index, route, hash, tried)
    }

    /// Like [`Self::select_endpoint`], for a TLS connection. If the backend is of type `DynamicResolver`, the
    /// endpoint is the server name of the connection, which is looked up within the connect timeout.
    ///
    /// # Errors
    /// As [`Self::select_endpoint`]. For a `DynamicResolver` backend also if the server name is absent or has
    /// no permitted address.
    pub(crate) async fn select_by_name(
        &self,
        client: IpAddr,
        server_name: Option<&str>,
    ) -> Result<SelectedEndpoint, Error> {
        let hash = self.hash_of(client);
        let (index, route) = self.backends.pick(hash)?;
        let Some(hosts) = &route.dynamic else {
            return self.selected(index, route, hash, &[]);
        };
        let failed = |cause: &str| Error::HostNotResolved(cause.to_owned());
        let name = server_name.ok_or_else(|| failed("the connection has no server name"))?;
        // This future is boxed, so that connections without a lookup reserve no memory for it.
        let find = Box::pin(hosts.find_host(name, TLS_PORT));
        let found = timeout(self.backends.traffic.connect_timeout, find).await;
        let host = found.map_err(|_| failed("the lookup timed out"))??;
        let selected = self.selected(index, &host.route, hash, &[])?;
        Ok(SelectedEndpoint {
            host: Some(host),
            ..selected
        })
    }

    /// The hash of a client's address that selects backend and endpoint. `None` without consistent hashing by
    /// source address.
    fn hash_of(&self, client: IpAddr) -> Option<u64> {
        match &self.backends.traffic.load_balancer {
            LoadBalancer::ConsistentHash {
                key: HashKey::SourceIp,
                ..
            } => Some(hash_address(client)),
            _ => None,
        }
    }

    fn selected(
        &self,
        index: usize,
        route: &BackendRoute,
        hash: Option<u64>,
        tried: &[EndpointAddress],
    ) -> Result<SelectedEndpoint, Error> {
        let pick = Pick {
            hash,
            tried,
            ..Pick::default()
        };
        Ok(SelectedEndpoint {
            index,
            hash,
            endpoint: self.backends.endpoint(route, pick)?,
            host: None,
        })
    }

    /// Connects to the selected endpoint on behalf of a client connection. If that fails, connects to another
    /// endpoint of the backend.
    ///
    /// # Errors
    /// The error of the last attempt.
    pub(crate) async fn connect(
        &self,
        selected: SelectedEndpoint,
        client: Addresses,
        observer: &Arc<dyn Observer>,
    ) -> Result<Connected, ConnectError> {
        let SelectedEndpoint {
            index,
            hash,
            endpoint,
            host,
        } = selected;
        let mut in_flight = InFlightGuard::new(endpoint);
        let mut tried = Vec::new();
        loop {
            let endpoint = in_flight.endpoint().address().clone();
            let failed = |error| ConnectError {
                error,
                endpoint: endpoint.clone(),
            };
            // The route is present, because only endpoints of backendRefs with a route are selected.
            let route = match &host {
                Some(host) => Ok(&host.route),
                None => self.backends.route(index).ok_or(Error::InvalidBackend),
            };
            let route = route.map_err(failed)?;
            let error = match self
                .attempt(route, in_flight.endpoint(), client, observer)
                .await
            {
                Ok((stream, guard)) => {
                    return Ok(Connected {
                        stream,
                        endpoint,
                        guards: (in_flight, guard),
                    });
                }
                Err(error) => error,
            };
            tried.push(endpoint.clone());
            let other = self.backends.endpoint(
                route,
                Pick {
                    hash,
                    tried: &tried,
                    ..Pick::default()
                },
            );
            match other {
                Ok(other)
                    if tried.len() < ATTEMPTS
                        && outlier::outcome_of_error(&error).is_some()
                        && *other.address() != endpoint =>
                {
                    in_flight = InFlightGuard::new(other);
                    observer.observe(&Event::Retried(route.cluster.id()));
                }
                _ => return Err(failed(error)),
            }
        }
    }

    async fn attempt(
        &self,
        route: &BackendRoute,
        endpoint: &Arc<LiveEndpoint>,
        client: Addresses,
        observer: &Arc<dyn Observer>,
    ) -> Result<(EndpointStream, UpstreamConnectionGuard), Error> {
        let target = ConnectTarget {
            cluster: &route.cluster,
            endpoint,
            breaker: &self.breaker,
            observer,
            pools: &[],
            requires_hyper: false,
        };
        let own_pool = route.pool.of_client(|| Some(client));
        let pool = own_pool.as_ref().unwrap_or(&route.pool);
        let result = pool.open(&target).await;
        if let Some(detector) = &route.outlier {
            let outcome = match &result {
                Ok(_) => Some(Outcome::Response(200)),
                Err(error) => outlier::outcome_of_error(error),
            };
            if let Some(outcome) = outcome {
                detector.report(endpoint.address(), outcome);
            }
        }
        result
    }

    /// The backend to which a selected endpoint belongs.
    pub(crate) fn backend(&self, selected: &SelectedEndpoint) -> Option<&BackendId> {
        self.backends
            .route(selected.index)
            .map(|route| route.cluster.id())
    }

    /// Counts a datagram session with the selected endpoint; `None` if the connection limit is reached.
    pub(crate) fn reserve_session(&self, selected: &SelectedEndpoint) -> Option<SessionPermit> {
        let route = self.backends.route(selected.index)?;
        Some(SessionPermit {
            _slot: self.breaker.connect(selected.address())?,
            in_flight: InFlightGuard::new(selected.endpoint.clone()),
            _cluster: route.cluster.clone(),
        })
    }
}
