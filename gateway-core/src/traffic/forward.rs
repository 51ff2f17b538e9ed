//! From a request that is ready to be forwarded to a response.

use std::fmt;
use std::hash::Hash;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Request, Response};
use hyper::upgrade::OnUpgrade;
use tokio::time::Instant;
use towergate_tls::connector::CryptoProvider;

use super::attempt::Run;
use super::backends::{Backends, Share, Way};
use super::breaker::Breaker;
use super::mirror::Mirrors;
use crate::Body;
use crate::error::Error;
use crate::http::upgrade::Upgrade;
use crate::observer::Observer;
use crate::plan::Filter;
use crate::plan::{Backend, Destination, Traffic, WeightedBackend};
use crate::snapshot::Live;
use crate::upstream::{Counted, Open};

/// Forwards the requests of one rule. Unchanging; what changes is shared with its predecessors.
///
/// It reads as its [`Backends`], which many rules may share, with counters of its own.
#[derive(Debug)]
pub struct Forwarder {
    pub(super) breaker: Arc<Breaker>,
    pub(super) backends: Arc<Backends>,
}

/// What is known of a request that is forwarded.
#[derive(Clone, Copy)]
pub struct ForwardContext<'a> {
    /// The client's address as detected.
    pub client: IpAddr,
    /// Who is told what happens.
    pub observer: &'a Arc<dyn Observer>,
    /// Whether `x-envoy-*` headers are added.
    pub envoy_headers: bool,
    /// Whether the case of header names is kept (HTTP/1).
    pub preserve_header_case: bool,
    /// The upgrade that the client asks for, as taken from the head.
    pub upgrade: Option<&'a Upgrade>,
}

/// The backendRef that was drawn for a request.
#[derive(Clone, Copy, Debug)]
pub struct Picked<'a> {
    pub(super) forwarder: &'a Forwarder,
    pub(super) way: &'a Way,
    share: &'a Share,
}

/// A response, and how it came.
#[derive(Debug)]
pub struct Forwarded {
    /// The response. Its body gives the connection back.
    pub response: Response<Body>,
    /// The endpoint.
    pub endpoint: SocketAddr,
    /// This side of the connection.
    pub local: Option<SocketAddr>,
    /// From the start of the last attempt until the response's head.
    pub upstream_time: Duration,
    /// Attempts, at least 1.
    pub attempts: u32,
    /// Envoy's response flags: `URX` if no retry was left, `UO` if retries are at their limit.
    pub flags: &'static str,
    /// A cookie made for consistent hashing, for the response.
    pub set_cookie: Option<HeaderValue>,
    /// The backend's side of an upgrade; the status is 101.
    pub upgrade: Option<Tunnel>,
}

/// The backend's side of an upgraded connection. What counts it is kept until this is dropped.
#[derive(Debug)]
pub struct Tunnel {
    /// Resolves to the bytes, after what was read already.
    pub io: OnUpgrade,
    /// When the tunnel is to be closed, whatever it does.
    pub expires: Option<Instant>,
    /// To be kept as long as the tunnel is open.
    pub counted: TunnelGuard,
}

/// Counts an open tunnel.
pub struct TunnelGuard(
    #[allow(dead_code, reason = "kept for its drop")] pub(super) Counted,
    #[allow(dead_code, reason = "kept for its drop")] pub(super) Option<Open>,
);

impl fmt::Debug for TunnelGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TunnelGuard").finish_non_exhaustive()
    }
}

/// Why there is no response, and how far the request came.
#[derive(Debug)]
pub struct Failure {
    /// Why.
    pub error: Error,
    /// The endpoint of the last attempt, if one was picked.
    pub endpoint: Option<SocketAddr>,
    /// Attempts.
    pub attempts: u32,
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        failure.error
    }
}

impl Forwarder {
    /// Builds what forwards the requests of the rule `key`. Counters, endpoints and connections are those
    /// of `live`.
    pub fn new<K>(
        key: K,
        traffic: Arc<Traffic>,
        backends: &[WeightedBackend],
        live: &Live,
        provider: &Arc<CryptoProvider>,
    ) -> Self
    where
        K: Clone + Eq + Hash + Send + 'static,
    {
        let limits = traffic.breaker.clone();
        let breaker = live.share((key.clone(), limits), |(_, limits)| Breaker::new(limits));
        Self {
            breaker,
            backends: Backends::of(&key, &traffic, backends, live, provider),
        }
    }

    /// What forwards to one backend, without retries and without regard to who is well.
    pub(super) fn to_one(
        backend: &Arc<Backend>,
        traffic: Arc<Traffic>,
        breaker: Arc<Breaker>,
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
            backends: Backends::of(&(), &traffic, &[all], live, provider),
        }
    }

    /// Draws a backendRef by weight.
    ///
    /// # Errors
    /// [`Error::InvalidBackend`] or [`Error::InvalidShare`]: there is none, or it cannot be resolved.
    pub fn pick(&self) -> Result<Picked<'_>, Error> {
        let (place, way) = self.backends.draw()?;
        Ok(Picked {
            forwarder: self,
            way,
            share: self.backends.share(place),
        })
    }

    /// Forwards a request to a backend drawn by weight, for rules whose backendRefs have no filters.
    ///
    /// # Errors
    /// Why there is no response.
    pub async fn forward(
        &self,
        context: &ForwardContext<'_>,
        request: Request<Body>,
    ) -> Result<Forwarded, Failure> {
        let picked = self.pick().map_err(|error| Failure {
            error,
            endpoint: None,
            attempts: 0,
        })?;
        picked.forward(context, request).await
    }
}

impl<'a> Picked<'a> {
    /// The filters of the backendRef, which the caller applies to the request and to the response.
    pub fn filters(&self) -> &'a [Filter] {
        self.share.filters()
    }

    /// The mirrors among them.
    pub fn mirrors(&self) -> &'a Mirrors {
        self.share.mirrors()
    }

    /// Forwards a request.
    ///
    /// # Errors
    /// Why there is no response.
    pub async fn forward(
        self,
        context: &ForwardContext<'a>,
        request: Request<Body>,
    ) -> Result<Forwarded, Failure> {
        let mut run = self.start(*context, request);
        let result = run.forward().await;
        result.map_err(|error| run.into_failure(error))
    }

    /// Begins to forward a request.
    pub(crate) fn start(self, context: ForwardContext<'a>, request: Request<Body>) -> Run<'a> {
        Run::new(self, context, request)
    }
}
