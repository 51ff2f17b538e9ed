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
use super::breaker::Breaker;
use super::mirror::Mirrors;
use super::outlier::Detector;
use super::prober::Prober;
use crate::Body;
use crate::balance::{Balancer, Cluster, Directory, Node, Pick, Weights};
use crate::error::Error;
use crate::filter::Filter;
use crate::http::upgrade::Upgrade;
use crate::observer::Observer;
use crate::plan::{
    Backend, BackendId, BackendProtocol, Destination, OutlierDetection, Traffic, WeightedBackend,
};
use crate::snapshot::Live;
use crate::upstream::{Counted, Open, Pool, Transport};

/// Forwards the requests of one rule. Unchanging; what changes is shared with its predecessors.
#[derive(Debug)]
pub struct Forwarder {
    pub(super) traffic: Arc<Traffic>,
    pub(super) breaker: Arc<Breaker>,
    shares: Vec<Share>,
    weights: Weights,
    /// Those of all shares.
    pub(super) pools: Vec<Arc<Pool>>,
    /// Keeps endpoints that arrived early.
    _directory: Arc<Directory>,
}

/// A backendRef.
#[derive(Debug)]
struct Share {
    weight: u32,
    filters: Vec<Filter>,
    mirrors: Mirrors,
    /// `None`: the reference cannot be resolved.
    route: Option<Way>,
}

/// The way to a backend.
#[derive(Debug)]
pub(super) struct Way {
    pub(super) protocol: BackendProtocol,
    pub(super) cluster: Arc<Cluster>,
    pub(super) balancer: Balancer,
    pub(super) pool: Arc<Pool>,
    /// Leaves out endpoints that fail.
    pub(super) outlier: Option<Arc<Detector>>,
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
        let breaker = live.share((key.clone(), limits), |(_, limits)| {
            Breaker::new(limits.clone())
        });
        let directory = Directory::of(live);
        let panic = traffic.panic_threshold;
        let detector = |id: &BackendId, pool: &Arc<Pool>| {
            let (outlier, check) = (traffic.outlier.clone(), traffic.probe.clone());
            if outlier.is_none() && check.is_none() {
                return None;
            }
            let transport = pool.transport().clone();
            let key = (key.clone(), id.clone(), outlier, check, transport, panic);
            Some(live.share(key, |(_, _, outlier, check, ..)| {
                let rule = outlier.clone().unwrap_or(OutlierDetection::NONE);
                let check = check.clone();
                let pool = pool.clone();
                Detector::new(rule, panic, check.map(|check| Prober { check, pool }))
            }))
        };
        let way = |backend: &Backend| {
            let pool = Pool::shared(live, Transport::new(backend, &traffic), provider);
            Way {
                protocol: backend.protocol,
                outlier: detector(&backend.id, &pool),
                cluster: directory.cluster(&backend.id),
                balancer: Balancer::new(traffic.load_balancer.clone()),
                pool,
            }
        };
        let share = |(place, backend): (usize, &WeightedBackend)| Share {
            weight: backend.weight,
            filters: backend.filters.clone(),
            mirrors: Mirrors::new(
                &(key.clone(), place),
                &backend.filters,
                &traffic,
                live,
                provider,
            ),
            route: match &backend.destination {
                Destination::Invalid => None,
                Destination::Backend(backend) => Some(way(backend)),
            },
        };
        let shares: Vec<_> = backends.iter().enumerate().map(share).collect();
        let ways = shares.iter().filter_map(|share| share.route.as_ref());
        let mut pools: Vec<_> = ways.map(|way| way.pool.clone()).collect();
        pools.sort_by_key(Arc::as_ptr);
        pools.dedup_by(|a, b| Arc::ptr_eq(a, b));
        Self {
            shares,
            pools,
            weights: Weights::new(backends.iter().map(|backend| backend.weight)),
            traffic,
            breaker,
            _directory: directory,
        }
    }

    /// What forwards to one backend, without retries and without regard to who is well.
    pub(super) fn to_one(
        backend: &Backend,
        traffic: Arc<Traffic>,
        breaker: Arc<Breaker>,
        live: &Live,
        provider: &Arc<CryptoProvider>,
    ) -> Self {
        let directory = Directory::of(live);
        let pool = Pool::shared(live, Transport::new(backend, &traffic), provider);
        let way = Way {
            protocol: backend.protocol,
            outlier: None,
            cluster: directory.cluster(&backend.id),
            balancer: Balancer::new(traffic.load_balancer.clone()),
            pool: pool.clone(),
        };
        Self {
            shares: vec![Share {
                weight: 1,
                filters: Vec::new(),
                mirrors: Mirrors::default(),
                route: Some(way),
            }],
            pools: vec![pool],
            weights: Weights::new([1]),
            traffic,
            breaker,
            _directory: directory,
        }
    }

    /// Draws a backendRef by weight.
    ///
    /// # Errors
    /// [`Error::InvalidBackend`] or [`Error::InvalidShare`]: there is none, or it cannot be resolved.
    pub fn pick(&self) -> Result<Picked<'_>, Error> {
        let (place, way) = self.draw()?;
        Ok(Picked {
            forwarder: self,
            way,
            share: &self.shares[place],
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

    /// Draws a place among the backendRefs by weight, and the way to the backend there.
    ///
    /// # Errors
    /// As [`Self::pick`].
    pub(super) fn draw(&self) -> Result<(usize, &Way), Error> {
        let place = self.weights.draw().ok_or(Error::InvalidBackend)?;
        match &self.shares[place].route {
            Some(way) => Ok((place, way)),
            None if self.serves() => Err(Error::InvalidShare),
            None => Err(Error::InvalidBackend),
        }
    }

    /// The way to the backend at a place that was drawn.
    pub(super) fn way(&self, place: usize) -> Option<&Way> {
        self.shares.get(place)?.route.as_ref()
    }

    /// An endpoint of a backend; one that was not tried, if there is any.
    pub(super) fn endpoint(&self, way: &Way, pick: Pick<'_>) -> Result<Arc<Node>, Error> {
        let Some(outlier) = &way.outlier else {
            let node = way.balancer.pick(&way.cluster, pick);
            return node.ok_or_else(|| self.no_endpoint());
        };
        let usable = &outlier.view(&way.cluster).usable;
        let node = way.balancer.pick_of(usable, pick);
        node.ok_or_else(|| match way.cluster.members().nodes().is_empty() {
            true => self.no_endpoint(),
            false => Error::NoHealthyEndpoint,
        })
    }

    /// Whether any backend with a share has endpoints.
    fn serves(&self) -> bool {
        self.shares.iter().any(|share| {
            let members = share.route.as_ref().map(|way| way.cluster.members());
            share.weight > 0 && members.is_some_and(|members| !members.nodes().is_empty())
        })
    }

    /// Why a backend without endpoints has no answer.
    pub(super) fn no_endpoint(&self) -> Error {
        if self.serves() {
            Error::EmptyShare
        } else {
            Error::NoEndpoint
        }
    }
}

impl<'a> Picked<'a> {
    /// The filters of the backendRef, which the caller applies to the request and to the response.
    pub fn filters(&self) -> &'a [Filter] {
        &self.share.filters
    }

    /// The mirrors among them.
    pub fn mirrors(&self) -> &'a Mirrors {
        &self.share.mirrors
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
