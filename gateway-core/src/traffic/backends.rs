//! The backends of a rule: weighted backendRefs with cluster, balancer and pool.

use std::hash::Hash;
use std::sync::Arc;

use http::Version;
use towergate_tls::connector::CryptoProvider;

use super::dynamic::{DynamicHosts, RouteBuilder};
use super::mirror::Mirrors;
use super::outlier::{EndpointCount, OutlierDetector};
use super::prober::Prober;
use crate::balance::{
    Balancer, Cluster, Clusters, EndpointLoads, LiveEndpoint, OwnZone, Pick, Weights,
};
use crate::dns::Resolver;
use crate::error::Error;
use crate::live::Live;
use crate::plan::Filter;
use crate::plan::{
    Backend, BackendProtocol, Destination, EndpointAddress, HashKey, LoadBalancer,
    OutlierDetection, Traffic, WeightedBackend,
};
use crate::upstream::{Pool, Transport};

/// The backends of a rule.
///
/// Rules with equal backends and traffic settings share an instance, so that the data of many rules
/// for a few backends stays in the processor cache. A rule has its own instance if its balancer is
/// round robin, if the health of its endpoints is tracked, or if its backendRefs have filters.
#[derive(Debug)]
pub struct Backends {
    pub(super) traffic: Arc<Traffic>,
    backend_refs: Box<[BackendRef]>,
    weights: Weights,
    /// Weights of the backends of last resort; `None`: the rule has no backend of last resort.
    fallback: Option<Box<Weights>>,
    /// Pools of all backendRefs.
    pub(super) pools: Box<[Arc<Pool>]>,
    /// Reference that keeps endpoints that were received before the rule was built.
    _clusters: Arc<Clusters>,
}

/// A backendRef.
#[derive(Debug)]
pub(super) struct BackendRef {
    weight: u32,
    filters: Box<[Filter]>,
    mirrors: Mirrors,
    /// Route to the backend. `None` if the reference cannot be resolved.
    route: Option<BackendRoute>,
}

/// Everything that is needed to send a request to a backend: cluster, balancer, pools and outlier detector.
#[derive(Debug)]
pub(super) struct BackendRoute {
    pub(super) cluster: Arc<Cluster>,
    pub(super) balancer: Balancer,
    /// Pool for the HTTP version that the backend is configured to use.
    pub(super) pool: Arc<Pool>,
    /// Pool for the other HTTP version. `None` unless the rule uses the client's HTTP version for its
    /// backends.
    other_pool: Option<Arc<Pool>>,
    /// Ejects endpoints that fail.
    pub(super) outlier: Option<Arc<OutlierDetector>>,
    /// Whether this is a backend of last resort: it is used only while too few endpoints of the other
    /// backends are healthy.
    fallback: bool,
    /// Hosts that requests name, for a backend of type `DynamicResolver`. Each host has its own route, which
    /// is used instead of this route.
    pub(super) dynamic: Option<Arc<DynamicHosts>>,
}

/// Factor, in percent, for the number of healthy endpoints before it is compared with the number of all
/// endpoints (Envoy `overprovisioning_factor`).
const OVERPROVISIONING: usize = 140;

impl BackendRoute {
    /// Builds the route to `backend` for the rule `key`.
    fn new<K>(
        key: &K,
        backend: &Backend,
        traffic: &Arc<Traffic>,
        live: &Live,
        provider: &Arc<CryptoProvider>,
    ) -> Self
    where
        K: Clone + Eq + Hash + Send + Sync + 'static,
    {
        let pool_of = |transport| Pool::shared(live, transport, provider);
        let cluster = Clusters::of(live).of_backend(backend, traffic.dns, live);
        let route = Self::with(key, backend, cluster, pool_of, traffic, live);
        let dynamic = backend.dynamic.as_ref().map(|targets| {
            live.share((key.clone(), backend.clone(), traffic.clone()), |_| {
                let build = route_builder(key.clone(), backend, traffic, live, provider);
                let default_port = match backend.tls {
                    None => 80,
                    Some(_) => 443,
                };
                let resolution = (Resolver::of(live), traffic.dns);
                let targets = targets.clone();
                Arc::new(DynamicHosts::new(targets, resolution, default_port, build))
            })
        });
        Self { dynamic, ..route }
    }

    fn with<K>(
        key: &K,
        backend: &Backend,
        cluster: Arc<Cluster>,
        pool_of: impl Fn(Transport) -> Arc<Pool>,
        traffic: &Traffic,
        live: &Live,
    ) -> Self
    where
        K: Clone + Eq + Hash + Send + Sync + 'static,
    {
        let pool = pool_of(Transport::new(backend, traffic));
        let other_pool = traffic.use_client_protocol.then(|| {
            let protocol = match backend.protocol {
                BackendProtocol::Http1 => BackendProtocol::Http2,
                BackendProtocol::Http2 => BackendProtocol::Http1,
            };
            pool_of(Transport::speaking(protocol, backend, traffic))
        });
        Self {
            other_pool,
            outlier: detector(key, backend, &pool, traffic, live),
            cluster,
            fallback: backend.fallback,
            balancer: balancer(backend, traffic, live),
            pool,
            dynamic: None,
        }
    }

    /// All pools of this route.
    pub(super) fn pools(&self) -> impl Iterator<Item = &Arc<Pool>> {
        [Some(&self.pool), self.other_pool.as_ref()]
            .into_iter()
            .flatten()
    }

    /// Number of endpoints by health, from which the rule decides whether it uses backends of last resort. A
    /// `DynamicResolver` backend counts as one healthy endpoint.
    fn endpoint_count(&self) -> EndpointCount {
        match &self.outlier {
            _ if self.dynamic.is_some() => EndpointCount::all_healthy(1),
            Some(outlier) => outlier.view(&self.cluster).count,
            None => EndpointCount::all_healthy(self.cluster.endpoint_set().endpoints().len()),
        }
    }

    fn has_endpoints(&self) -> bool {
        self.dynamic.is_some() || !self.cluster.endpoint_set().endpoints().is_empty()
    }

    /// The pool for a request that the client sent with HTTP `version`.
    pub(super) fn pool(&self, version: Version) -> &Arc<Pool> {
        match &self.other_pool {
            Some(other) if other.transport().protocol == protocol_of(version) => other,
            _ => &self.pool,
        }
    }
}

/// The balancer of a backend. Rules with the same settings share the load reports.
fn balancer(backend: &Backend, traffic: &Traffic, live: &Live) -> Balancer {
    let zones = traffic.zones.clone();
    let balancer = Balancer::new(traffic.load_balancer.clone())
        .slow_start(traffic.slow_start)
        .zones(zones.map(|zones| (zones, OwnZone::of(live).0.clone())));
    match &traffic.load_balancer {
        LoadBalancer::Utilization(settings) => balancer.share_loads(|| {
            live.share((backend.id.clone(), settings.clone()), |(_, settings)| {
                Arc::new(EndpointLoads::new(settings.clone()))
            })
        }),
        _ => balancer,
    }
}

/// The protocol that corresponds to the version of a request.
fn protocol_of(version: Version) -> BackendProtocol {
    if version >= Version::HTTP_2 {
        BackendProtocol::Http2
    } else {
        BackendProtocol::Http1
    }
}

/// Parameters that must be equal for rules to share [`Backends`].
#[derive(Debug, Eq, Hash, PartialEq)]
struct SharedKey {
    traffic: Arc<Traffic>,
    backends: Box<[(u32, Option<Arc<Backend>>)]>,
}

impl SharedKey {
    /// The key of a rule; `None` if the rule needs its own instance of [`Backends`].
    fn of(traffic: &Arc<Traffic>, backends: &[WeightedBackend]) -> Option<Self> {
        let own = traffic.load_balancer == LoadBalancer::RoundRobin
            || traffic.outlier.is_some()
            || traffic.probe.is_some()
            || backends.iter().any(|backend| !backend.filters.is_empty());
        let parts = |backend: &WeightedBackend| match &backend.destination {
            Destination::Invalid => (backend.weight, None),
            Destination::Backend(to) => (backend.weight, Some(to.clone())),
        };
        (!own).then(|| Self {
            traffic: traffic.clone(),
            backends: backends.iter().map(parts).collect(),
        })
    }
}

impl Backends {
    /// Returns the backends of the rule `key`. Clusters, pools and detectors are shared through `live`.
    pub(super) fn shared<K>(
        key: &K,
        traffic: &Arc<Traffic>,
        backends: &[WeightedBackend],
        live: &Live,
        provider: &Arc<CryptoProvider>,
    ) -> Arc<Self>
    where
        K: Clone + Eq + Hash + Send + Sync + 'static,
    {
        let build = || Arc::new(Self::build(key, traffic, backends, live, provider));
        match SharedKey::of(traffic, backends) {
            Some(key) => live.share(key, |_| build()),
            None => build(),
        }
    }

    fn build<K>(
        key: &K,
        traffic: &Arc<Traffic>,
        backends: &[WeightedBackend],
        live: &Live,
        provider: &Arc<CryptoProvider>,
    ) -> Self
    where
        K: Clone + Eq + Hash + Send + Sync + 'static,
    {
        let clusters = Clusters::of(live);
        let route = |backend: &Backend| BackendRoute::new(key, backend, traffic, live, provider);
        let backend_ref = |(index, backend): (usize, &WeightedBackend)| {
            let (filters, key) = (&backend.filters, (key.clone(), index));
            BackendRef {
                weight: backend.weight,
                filters: filters.as_slice().into(),
                mirrors: Mirrors::new(&key, filters, traffic, live, provider),
                route: match &backend.destination {
                    Destination::Invalid => None,
                    Destination::Backend(backend) => Some(route(backend)),
                },
            }
        };
        let backend_refs: Box<[_]> = backends.iter().enumerate().map(backend_ref).collect();
        let routes = backend_refs
            .iter()
            .filter_map(|backend_ref| backend_ref.route.as_ref());
        let is_fallback = |backend: &WeightedBackend| match &backend.destination {
            Destination::Invalid => false,
            Destination::Backend(to) => to.fallback,
        };
        let weights = |of: bool| {
            let weight = |backend: &WeightedBackend| match is_fallback(backend) == of {
                true => backend.weight,
                false => 0,
            };
            Weights::new(backends.iter().map(weight))
        };
        let fallback = weights(true);
        let mut pools: Vec<_> = routes.flat_map(BackendRoute::pools).cloned().collect();
        pools.sort_by_key(Arc::as_ptr);
        pools.dedup_by(|a, b| Arc::ptr_eq(a, b));
        Self {
            traffic: traffic.clone(),
            backend_refs,
            weights: weights(false),
            fallback: (fallback.total() > 0).then(|| Box::new(fallback)),
            pools: pools.into(),
            _clusters: clusters,
        }
    }

    /// The backendRef at a picked index.
    pub(super) fn backend_ref(&self, index: usize) -> &BackendRef {
        &self.backend_refs[index]
    }

    /// The key of consistent hashing, if it also selects one of several backendRefs.
    pub(super) fn shared_hash_key(&self) -> Option<&HashKey> {
        match &self.traffic.load_balancer {
            LoadBalancer::ConsistentHash { key, .. } if self.backend_refs.len() > 1 => Some(key),
            _ => None,
        }
    }

    /// Picks a backendRef by weight and returns its index and its route. Equal hashes pick the same
    /// backendRef.
    ///
    /// # Errors
    /// [`Error::InvalidBackend`] or [`Error::InvalidShare`] if there is no backendRef, or the picked
    /// backendRef cannot be resolved.
    pub(super) fn pick(&self, hash: Option<u64>) -> Result<(usize, &BackendRoute), Error> {
        let fallback = self.fallback.as_ref().filter(|_| self.falls_back());
        let weights = fallback.map_or(&self.weights, |weights| &**weights);
        let index = pick_index(weights, hash).ok_or(Error::InvalidBackend)?;
        match &self.backend_refs[index].route {
            Some(route) => Ok((index, route)),
            None if self.has_endpoints() => Err(Error::InvalidShare),
            None => Err(Error::InvalidBackend),
        }
    }

    /// Picks a backendRef for a retry with the other priority: a backendRef of last resort if `tried` is a
    /// normal one, otherwise a normal backendRef.
    ///
    /// Returns `None` if the rule has no backendRef of the other priority. Also returns `None` if the picked
    /// backendRef cannot receive a request that was prepared for `tried`: it has no healthy endpoints, it is
    /// a `DynamicResolver` backend, or one of the two backendRefs has filters.
    pub(super) fn pick_other_priority(
        &self,
        tried: &BackendRef,
        hash: Option<u64>,
    ) -> Option<(&BackendRef, &BackendRoute)> {
        let weights = match tried.route.as_ref()?.fallback {
            true => &self.weights,
            false => self.fallback.as_deref()?,
        };
        let other = self.backend_ref(pick_index(weights, hash)?);
        let route = other.route.as_ref()?;
        let usable = tried.filters.is_empty()
            && other.filters.is_empty()
            && route.dynamic.is_none()
            && route.endpoint_count().healthy > 0;
        usable.then_some((other, route))
    }

    /// The first backendRef of non-zero weight that has a healthy endpoint with this address, and its index.
    pub(super) fn find(&self, address: &EndpointAddress) -> Option<(usize, &BackendRoute)> {
        let weighted = self.backend_refs.iter().enumerate();
        let mut weighted = weighted.filter(|(_, backend_ref)| backend_ref.weight > 0);
        weighted.find_map(|(index, backend_ref)| {
            let route = backend_ref.route.as_ref()?;
            let has = match &route.outlier {
                Some(outlier) => outlier.view(&route.cluster).usable.find(address).is_some(),
                None => route.cluster.endpoint_set().find(address).is_some(),
            };
            has.then_some((index, route))
        })
    }

    /// Decides whether a request goes to the backends of last resort. While at least 100/140 of the endpoints
    /// of the other backends are healthy, the other backends receive all requests. If fewer endpoints are
    /// healthy, the other backends receive a proportional share (Envoy's overprovisioning factor).
    fn falls_back(&self) -> bool {
        let routes = self
            .backend_refs
            .iter()
            .filter(|backend_ref| backend_ref.weight > 0);
        let routes = routes.filter_map(|backend_ref| backend_ref.route.as_ref());
        let mut sum = EndpointCount::default();
        for route in routes.filter(|route| !route.fallback) {
            sum.add(route.endpoint_count());
        }
        let share = sum.healthy * OVERPROVISIONING;
        share < 100 * sum.all.max(1) && fastrand::usize(..100 * sum.all.max(1)) >= share
    }

    /// The route of the backendRef at a picked index.
    pub(super) fn route(&self, index: usize) -> Option<&BackendRoute> {
        self.backend_refs.get(index)?.route.as_ref()
    }

    /// Picks an endpoint of a backend, preferably an endpoint that has not been tried.
    pub(super) fn endpoint(
        &self,
        route: &BackendRoute,
        pick: Pick<'_>,
    ) -> Result<Arc<LiveEndpoint>, Error> {
        let Some(outlier) = &route.outlier else {
            let endpoint = route.balancer.pick(&route.cluster, pick);
            return endpoint.ok_or_else(|| self.no_endpoint_of(route));
        };
        let usable = &outlier.view(&route.cluster).usable;
        let endpoint = route.balancer.pick_from(usable, pick);
        endpoint.ok_or_else(
            || match route.cluster.endpoint_set().endpoints().is_empty() {
                true => self.no_endpoint_of(route),
                false => Error::NoHealthyEndpoint,
            },
        )
    }

    /// Returns whether any backendRef of non-zero weight has endpoints.
    fn has_endpoints(&self) -> bool {
        self.backend_refs.iter().any(|backend_ref| {
            let route = backend_ref.route.as_ref();
            backend_ref.weight > 0 && route.is_some_and(BackendRoute::has_endpoints)
        })
    }

    /// The error of a request to `route`, which has no endpoints. As in Envoy,
    /// a host name without addresses counts as a backend without healthy endpoints.
    fn no_endpoint_of(&self, route: &BackendRoute) -> Error {
        match route.cluster.is_followed() {
            true => Error::NoHealthyEndpoint,
            false => self.no_endpoint_error(),
        }
    }

    /// The error of a request to a backend without endpoints.
    pub(super) fn no_endpoint_error(&self) -> Error {
        if self.has_endpoints() {
            Error::EmptyShare
        } else {
            Error::NoEndpoint
        }
    }
}

/// Picks an index by weight. Equal hashes pick the same index.
fn pick_index(weights: &Weights, hash: Option<u64>) -> Option<usize> {
    match hash {
        Some(hash) => weights.pick_by(hash),
        None => weights.pick_random(),
    }
}

impl BackendRef {
    pub(super) fn filters(&self) -> &[Filter] {
        &self.filters
    }

    /// Mirrors among the filters of the backendRef.
    pub(super) fn mirrors(&self) -> &Mirrors {
        &self.mirrors
    }
}

/// Returns the function that builds the route to a host of a `DynamicResolver` backend. Each host has its own
/// pools. The TLS server name is the host, unless `backend` sets one.
fn route_builder<K>(
    key: K,
    backend: &Backend,
    traffic: &Arc<Traffic>,
    live: &Live,
    provider: &Arc<CryptoProvider>,
) -> RouteBuilder
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
{
    let (backend, traffic) = (backend.clone(), traffic.clone());
    let (live, provider) = (live.clone(), provider.clone());
    Box::new(move |host| {
        let mut backend = backend.clone();
        if let Some(tls) = backend.tls.as_mut().map(Arc::make_mut)
            && tls.server_name.is_empty()
        {
            tls.server_name.clone_from(&host.name);
        }
        let cluster = Arc::new(Cluster::new(backend.id.clone()));
        let pool_of = |transport| Pool::new(transport, &provider);
        let key = (key.clone(), host.clone());
        BackendRoute::with(&key, &backend, cluster, pool_of, &traffic, &live)
    })
}

/// The outlier detector of a backend for the rule `key`. `None` unless its traffic settings enable outlier
/// detection or active health checks.
fn detector<K>(
    key: &K,
    backend: &Backend,
    pool: &Arc<Pool>,
    traffic: &Traffic,
    live: &Live,
) -> Option<Arc<OutlierDetector>>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
{
    let (outlier, check) = (traffic.outlier.clone(), traffic.probe.clone());
    if outlier.is_none() && check.is_none() {
        return None;
    }
    let (id, transport) = (backend.id.clone(), pool.transport().clone());
    let panic = traffic.panic_threshold;
    let key = (key.clone(), id, outlier, check, transport, panic);
    Some(live.share(key, |(_, _, outlier, check, ..)| {
        let rule = outlier.clone().unwrap_or(OutlierDetection::NONE);
        let check = check.clone();
        let pool = pool.clone();
        OutlierDetector::new(rule, panic, check.map(|check| Prober { check, pool }))
    }))
}

#[cfg(test)]
mod tests;
