//! Forwards a request: weighted backend first, then attempts.

use std::hash::Hash;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Request, Response, request};
use towergate_tls::connector::CryptoProvider;

use super::backends::{BackendRef, BackendRoute, Backends};
use super::endpoint_header;
use super::mirror::Mirrors;
use super::tunnel::Tunnel;
use crate::Body;
use crate::balance::{HashResult, PreferredEndpoint, hash_key};
use crate::breaker::CircuitBreaker;
use crate::conn::ConnInfo;
use crate::error::Error;
use crate::http::upgrade::Upgrade;
use crate::live::Live;
use crate::observer::Observer;
use crate::plan::Filter;
use crate::plan::{Backend, Destination, EndpointAddress, Traffic, WeightedBackend};
use crate::proxy_protocol::Addresses;

/// Forwards the requests of one rule. A forwarder is immutable. Its breaker, clusters and pools are shared
/// with the forwarders of earlier snapshots.
#[derive(Debug)]
pub struct Forwarder {
    pub(super) breaker: Arc<CircuitBreaker>,
    pub(super) backends: Arc<Backends>,
}

/// Properties of a request that is forwarded.
#[derive(Clone, Copy)]
pub struct ForwardContext<'a> {
    /// Client address as detected. `None`: the gateway itself sends the request, or the address is unknown.
    pub client: Option<IpAddr>,
    /// Receives the events of the request.
    pub observer: &'a Arc<dyn Observer>,
    /// Whether `x-envoy-*` headers are added.
    pub envoy_headers: bool,
    /// Whether the case of header names is preserved (HTTP/1).
    pub preserve_header_case: bool,
    /// Upgrade that the client requests. The fields of the upgrade have been removed from the request head.
    pub upgrade: Option<&'a Upgrade>,
    /// Connection of the client, for the PROXY header to the backend. `None`: the gateway itself sends the
    /// request.
    pub connection: Option<&'a ConnInfo>,
}

impl ForwardContext<'_> {
    /// Addresses of the client's connection. `None`: there is no client, or the local address is unknown.
    pub(super) fn addresses(&self) -> Option<Addresses> {
        let connection = self.connection?;
        let known = !connection.local.ip().is_unspecified();
        known.then_some(Addresses {
            source: connection.peer,
            destination: connection.local,
        })
    }
}

/// The backendRef picked for a request.
#[derive(Clone, Debug)]
pub struct SelectedBackend<'a> {
    pub(super) forwarder: &'a Forwarder,
    pub(super) route: &'a BackendRoute,
    pub(super) backend_ref: &'a BackendRef,
    /// Hash of the request. `None` unless consistent hashing picked the backendRef.
    pub(super) hashed: Option<Box<HashResult>>,
    /// The endpoint that a policy prefers. `None`: no policy needs the endpoint.
    pub(super) preferred: Option<PreferredEndpoint>,
    /// Endpoints that a policy or a header prefers, in order of preference.
    pub(super) wanted: Vec<EndpointAddress>,
}

/// A response, and details of how it was obtained.
#[derive(Debug)]
pub struct Forwarded {
    /// The response. The connection returns to the pool at the end of the body.
    pub response: Response<Body>,
    /// Endpoint that returned the response.
    pub endpoint: EndpointAddress,
    /// Local address of the connection to the endpoint.
    pub local: Option<SocketAddr>,
    /// Time from the start of the last attempt to the response head.
    pub upstream_time: Duration,
    /// Number of attempts, at least 1.
    pub attempts: u32,
    /// Envoy response flags: `URX` if the retries are used up, `UO` if the retry limit of the breaker is reached.
    pub flags: &'static str,
    /// Cookie generated for consistent hashing, to be added to the response.
    pub set_cookie: Option<HeaderValue>,
    /// Backend side of the tunnel, if the backend accepted an upgrade with status 101.
    pub upgrade: Option<Tunnel>,
}

/// Error of a request for which no response was received.
#[derive(Debug)]
pub struct ForwardError {
    /// The error.
    pub error: Error,
    /// Endpoint of the last attempt, if one was picked.
    pub endpoint: Option<EndpointAddress>,
    /// Number of attempts.
    pub attempts: u32,
}

impl From<ForwardError> for Error {
    fn from(failure: ForwardError) -> Self {
        failure.error
    }
}

impl Forwarder {
    /// Builds the forwarder of the rule `key`. Breaker, clusters and pools are shared through `live`.
    pub fn new<K>(
        key: K,
        traffic: Arc<Traffic>,
        backends: &[WeightedBackend],
        live: &Live,
        provider: &Arc<CryptoProvider>,
    ) -> Self
    where
        K: Clone + Eq + Hash + Send + Sync + 'static,
    {
        let limits = traffic.breaker.clone();
        let breaker = live.share((key.clone(), limits), |(_, limits)| {
            CircuitBreaker::new(limits)
        });
        Self {
            breaker,
            backends: Backends::shared(&key, &traffic, backends, live, provider),
        }
    }

    /// Builds a forwarder to one backend, for mirrors.
    pub(super) fn to_one(
        backend: &Arc<Backend>,
        traffic: Arc<Traffic>,
        breaker: Arc<CircuitBreaker>,
        live: &Live,
        provider: &Arc<CryptoProvider>,
    ) -> Self {
        let all = WeightedBackend {
            weight: 1,
            filters: Vec::new(),
            destination: Destination::Backend(backend.clone()),
        };
        Self {
            breaker,
            backends: Backends::shared(&(), &traffic, &[all], live, provider),
        }
    }

    /// Picks a backendRef for a request with this head from `client`. If an endpoint that a policy or a
    /// header prefers is healthy, its backendRef is picked; otherwise the weights decide. With consistent
    /// hashing, equal keys pick the same backendRef.
    ///
    /// # Errors
    /// [`Error::InvalidBackend`] or [`Error::InvalidShare`] if there is no backendRef, or the picked
    /// backendRef cannot be resolved.
    pub fn pick(
        &self,
        client: Option<IpAddr>,
        head: &request::Parts,
        preferred: Option<PreferredEndpoint>,
    ) -> Result<SelectedBackend<'_>, Error> {
        let key = self.backends.shared_hash_key();
        let hashed = key.map(|key| Box::new(hash_key(key, client, head)));
        let hash = hashed.as_ref().and_then(|hashed| hashed.hash);
        let preferred_address = preferred.as_ref().and_then(|preferred| preferred.0.clone());
        let named = endpoint_header::named(&self.backends.traffic.endpoint_headers, head);
        let wanted: Vec<_> = preferred_address.into_iter().chain(named).collect();
        let found = wanted
            .iter()
            .find_map(|address| self.backends.find(address));
        let (index, route) = match found {
            Some(found) => found,
            None => self.backends.pick(hash)?,
        };
        Ok(SelectedBackend {
            forwarder: self,
            route,
            backend_ref: self.backends.backend_ref(index),
            hashed,
            preferred,
            wanted,
        })
    }

    /// Forwards a request to a backend picked by weight. Filters of the backendRef are not applied.
    ///
    /// # Errors
    /// The cause, if no response is received.
    pub async fn forward(
        &self,
        context: &ForwardContext<'_>,
        request: Request<Body>,
    ) -> Result<Forwarded, ForwardError> {
        let (head, body) = request.into_parts();
        let picked = self.pick(context.client, &head, None);
        let picked = picked.map_err(|error| ForwardError {
            error,
            endpoint: None,
            attempts: 0,
        })?;
        picked
            .forward(context, Request::from_parts(head, body))
            .await
    }
}

impl<'a> SelectedBackend<'a> {
    /// Filters of the backendRef. The caller applies them to the request and the response.
    pub fn filters(&self) -> &'a [Filter] {
        self.backend_ref.filters()
    }

    /// Mirrors among the filters of the backendRef.
    pub fn mirrors(&self) -> &'a Mirrors {
        self.backend_ref.mirrors()
    }
}
