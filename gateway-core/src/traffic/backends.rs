//! The backends of a rule, and the way to each.

use std::hash::Hash;
use std::sync::Arc;

use towergate_tls::connector::CryptoProvider;

use super::mirror::Mirrors;
use super::outlier::Detector;
use super::prober::Prober;
use crate::balance::{Balancer, Cluster, Directory, Node, Pick, Weights};
use crate::error::Error;
use crate::plan::Filter;
use crate::plan::{
    Backend, BackendProtocol, Destination, LoadBalancer, OutlierDetection, Traffic, WeightedBackend,
};
use crate::snapshot::Live;
use crate::upstream::{Pool, Transport};

/// Where the requests of a rule go.
///
/// Nothing is remembered here of what a rule did, unless it takes turns, watches endpoints, or has
/// filters at its backendRefs. Others that say the same share this: of many rules for a few backends,
/// what a request looks at is still in the cache.
#[derive(Debug)]
pub struct Backends {
    pub(super) traffic: Arc<Traffic>,
    shares: Box<[Share]>,
    weights: Weights,
    /// Those of all shares.
    pub(super) pools: Box<[Arc<Pool>]>,
    /// Keeps endpoints that arrived early.
    _directory: Arc<Directory>,
}

/// A backendRef.
#[derive(Debug)]
pub(super) struct Share {
    weight: u32,
    filters: Box<[Filter]>,
    mirrors: Mirrors,
    /// `None`: the reference cannot be resolved.
    way: Option<Way>,
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

/// What backends have in common that rules share.
#[derive(Debug, Eq, Hash, PartialEq)]
struct Common {
    traffic: Arc<Traffic>,
    backends: Box<[(u32, Option<Arc<Backend>>)]>,
}

impl Common {
    /// `None`: they are no other rule's.
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
    /// Those of the rule `key`. Endpoints and connections are those of `live`.
    pub(super) fn of<K>(
        key: &K,
        traffic: &Arc<Traffic>,
        backends: &[WeightedBackend],
        live: &Live,
        provider: &Arc<CryptoProvider>,
    ) -> Arc<Self>
    where
        K: Clone + Eq + Hash + Send + 'static,
    {
        let build = || Arc::new(Self::build(key, traffic, backends, live, provider));
        match Common::of(traffic, backends) {
            Some(common) => live.share(common, |_| build()),
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
        K: Clone + Eq + Hash + Send + 'static,
    {
        let directory = Directory::of(live);
        let way = |backend: &Backend| {
            let pool = Pool::shared(live, Transport::new(backend, traffic), provider);
            Way {
                protocol: backend.protocol,
                outlier: detector(key, backend, &pool, traffic, live),
                cluster: directory.cluster(&backend.id),
                balancer: Balancer::new(traffic.load_balancer.clone()),
                pool,
            }
        };
        let share = |(place, backend): (usize, &WeightedBackend)| {
            let (filters, key) = (&backend.filters, (key.clone(), place));
            Share {
                weight: backend.weight,
                filters: filters.as_slice().into(),
                mirrors: Mirrors::new(&key, filters, traffic, live, provider),
                way: match &backend.destination {
                    Destination::Invalid => None,
                    Destination::Backend(backend) => Some(way(backend)),
                },
            }
        };
        let shares: Box<[_]> = backends.iter().enumerate().map(share).collect();
        let ways = shares.iter().filter_map(|share| share.way.as_ref());
        let mut pools: Vec<_> = ways.map(|way| way.pool.clone()).collect();
        pools.sort_by_key(Arc::as_ptr);
        pools.dedup_by(|a, b| Arc::ptr_eq(a, b));
        Self {
            traffic: traffic.clone(),
            shares,
            weights: Weights::new(backends.iter().map(|backend| backend.weight)),
            pools: pools.into(),
            _directory: directory,
        }
    }

    /// The backendRef at a place that was drawn.
    pub(super) fn share(&self, place: usize) -> &Share {
        &self.shares[place]
    }

    /// Draws a place among the backendRefs by weight, and the way to the backend there.
    ///
    /// # Errors
    /// [`Error::InvalidBackend`] or [`Error::InvalidShare`]: there is none, or it cannot be resolved.
    pub(super) fn draw(&self) -> Result<(usize, &Way), Error> {
        let place = self.weights.draw().ok_or(Error::InvalidBackend)?;
        match &self.shares[place].way {
            Some(way) => Ok((place, way)),
            None if self.serves() => Err(Error::InvalidShare),
            None => Err(Error::InvalidBackend),
        }
    }

    /// The way to the backend at a place that was drawn.
    pub(super) fn way(&self, place: usize) -> Option<&Way> {
        self.shares.get(place)?.way.as_ref()
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
            let members = share.way.as_ref().map(|way| way.cluster.members());
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

impl Share {
    pub(super) fn filters(&self) -> &[Filter] {
        &self.filters
    }

    /// The mirrors among the filters.
    pub(super) fn mirrors(&self) -> &Mirrors {
        &self.mirrors
    }
}

/// What watches the endpoints of a backend for the rule `key`, if its traffic settings want that.
fn detector<K>(
    key: &K,
    backend: &Backend,
    pool: &Arc<Pool>,
    traffic: &Traffic,
    live: &Live,
) -> Option<Arc<Detector>>
where
    K: Clone + Eq + Hash + Send + 'static,
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
        Detector::new(rule, panic, check.map(|check| Prober { check, pool }))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::BackendId;

    fn of(rule: &str, balancer: LoadBalancer, live: &Live) -> Arc<Backends> {
        let backend = Backend {
            id: BackendId::service("n", "b", 80),
            protocol: BackendProtocol::Http1,
            tls: None,
        };
        let backend = WeightedBackend {
            weight: 1,
            filters: Vec::new(),
            destination: Destination::Backend(Arc::new(backend)),
        };
        let traffic = Arc::new(Traffic {
            load_balancer: balancer,
            ..Traffic::default()
        });
        let provider = towergate_tls::default_provider();
        Backends::of(&rule.to_owned(), &traffic, &[backend], live, &provider)
    }

    #[test]
    fn rules_share_what_is_equal_unless_each_takes_turns_of_its_own() {
        let live = Live::default();
        let both =
            |balancer: LoadBalancer| ["a", "b"].map(|rule| of(rule, balancer.clone(), &live));

        let [a, b] = both(LoadBalancer::LeastRequest);
        assert!(Arc::ptr_eq(&a, &b));
        let [c, d] = both(LoadBalancer::RoundRobin);
        assert!(!Arc::ptr_eq(&c, &d));
        assert!(
            Arc::ptr_eq(&c.pools[0], &d.pools[0]),
            "connections are all the same"
        );
        let [e, _] = both(LoadBalancer::Random);
        assert!(!Arc::ptr_eq(&a, &e));
    }
}
