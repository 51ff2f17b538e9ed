//! Picks an endpoint of a cluster by the load balancing rule of the backend.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;

use super::{Cluster, EndpointLoads, EndpointSet, LiveEndpoint, Maglev, shard};
use crate::plan::{EndpointAddress, LoadBalancer, ZoneBalancing};

/// Number of round-robin counters. Each group of workers has its own counter, on its own cache line.
const SHARDS: usize = 16;

/// Maximum number of random picks by which a retry searches for an endpoint that has not been tried (Envoy
/// `host_selection_retry_max_attempts`).
const OTHER_ATTEMPTS: usize = 5;

/// Load balancing rule of a backend, and the state that the rule needs, such as counters and tables.
#[derive(Debug)]
pub struct Balancer {
    rule: LoadBalancer,
    /// Time after which a new endpoint receives its full share of the requests. `None`: at once.
    slow_start: Option<Duration>,
    /// Round-robin counters. Empty for other rules, because the padded counters take a kilobyte.
    counters: Box<[RoundRobinCounter]>,
    /// Load reports of the endpoints. `None` unless the rule is [`LoadBalancer::Utilization`].
    loads: Option<Arc<EndpointLoads>>,
    /// Distribution of requests over zones. `None`: the zone of an endpoint has no effect.
    zones: Option<Box<ZoneRule>>,
    /// The latest Maglev table, and the endpoint set from which the table was built.
    table: ArcSwapOption<(Arc<EndpointSet>, Arc<Maglev>)>,
}

/// Configured distribution over zones, and the zone of the gateway.
#[derive(Debug)]
struct ZoneRule {
    balancing: ZoneBalancing,
    own: Option<Arc<str>>,
    /// The latest endpoint set, and a copy of this set with the weights that follow from the shares of the
    /// zones.
    weighted: ArcSwapOption<(Arc<EndpointSet>, Arc<EndpointSet>)>,
}

#[derive(Debug, Default)]
#[repr(align(64))]
struct RoundRobinCounter(AtomicUsize);

/// Maximum number of additional picks during slow start. If a new endpoint has been picked, another pick may
/// replace it. If all endpoints are new, the limit ends the picks, so the new endpoints share the requests.
const SLOW_START_ATTEMPTS: usize = 8;

/// Properties of a request that influence the pick.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pick<'a> {
    /// Hash of the request's key.
    pub hash: Option<u64>,
    /// Preferred endpoints, the most preferred first. The first of these endpoints that is in the cluster and
    /// on which the request has not failed is picked.
    pub preferred: &'a [EndpointAddress],
    /// Endpoints on which this request has failed. They are picked only if no other endpoint is found.
    pub tried: &'a [EndpointAddress],
}

impl Balancer {
    /// Creates a balancer.
    pub fn new(rule: LoadBalancer) -> Self {
        let shards = match rule {
            LoadBalancer::RoundRobin => SHARDS,
            _ => 0,
        };
        let loads = match &rule {
            LoadBalancer::Utilization(settings) => {
                Some(Arc::new(EndpointLoads::new(settings.clone())))
            }
            _ => None,
        };
        Self {
            rule,
            loads,
            slow_start: None,
            zones: None,
            counters: (0..shards).map(|_| RoundRobinCounter::default()).collect(),
            table: ArcSwapOption::empty(),
        }
    }

    /// Sets the time after which a new endpoint receives its full share of the requests. It has no effect on
    /// consistent hashing. Default: none.
    #[must_use]
    pub fn slow_start(mut self, window: Option<Duration>) -> Self {
        let hashes = matches!(self.rule, LoadBalancer::ConsistentHash { .. });
        self.slow_start = window.filter(|window| !window.is_zero() && !hashes);
        self
    }

    /// Shares the load reports with other balancers of the same backend. Has no effect unless the rule is
    /// [`LoadBalancer::Utilization`].
    #[must_use]
    pub fn share_loads(mut self, shared: impl FnOnce() -> Arc<EndpointLoads>) -> Self {
        self.loads = self.loads.map(|_| shared());
        self
    }

    /// Sets how requests are distributed over zones, and the zone of this gateway. Default: zones have no
    /// effect.
    #[must_use]
    pub fn zones(mut self, zones: Option<(ZoneBalancing, Option<Arc<str>>)>) -> Self {
        self.zones = zones.map(|(balancing, own)| {
            Box::new(ZoneRule {
                balancing,
                own,
                weighted: ArcSwapOption::empty(),
            })
        });
        self
    }

    /// Load reports of the endpoints. `None` unless the rule is [`LoadBalancer::Utilization`].
    pub(crate) fn loads(&self) -> Option<&Arc<EndpointLoads>> {
        self.loads.as_ref()
    }

    /// Picks an endpoint of `cluster`. Returns `None` if the cluster has no endpoint.
    pub fn pick(&self, cluster: &Cluster, pick: Pick<'_>) -> Option<Arc<LiveEndpoint>> {
        self.pick_from(&cluster.endpoint_set(), pick)
    }

    /// Picks an endpoint of a set. Returns `None` if the set is empty.
    pub(crate) fn pick_from(
        &self,
        endpoint_set: &Arc<EndpointSet>,
        pick: Pick<'_>,
    ) -> Option<Arc<LiveEndpoint>> {
        let mut preferred = pick.preferred.iter();
        let preferred = preferred.find_map(|address| {
            let endpoint = endpoint_set.find(address)?;
            (!pick.tried.contains(address)).then(|| endpoint.clone())
        });
        if preferred.is_some() {
            return preferred;
        }
        let weighted = self.zones.as_ref().map(|zones| zones.weigh(endpoint_set));
        let endpoint_set = weighted.as_ref().unwrap_or(endpoint_set);
        let first = match self.slow_start {
            None => self.index(endpoint_set, pick.hash)?,
            Some(window) => self.warm_index(endpoint_set, window)?,
        };
        let tried = |index: usize| {
            pick.tried
                .contains(endpoint_set.endpoints()[index].address())
        };
        if !tried(first) {
            return Some(endpoint_set.endpoints()[first].clone());
        }
        // With consistent hashing, a retry picks at random, because the hash would return the same endpoint
        // again.
        let another = (0..OTHER_ATTEMPTS)
            .filter_map(|_| match self.rule {
                LoadBalancer::ConsistentHash { .. } => endpoint_set.pick_random(),
                _ => self.index(endpoint_set, None),
            })
            .find(|index| !tried(*index));
        // The random picks above can miss the only untried endpoint, so all endpoints are searched.
        let all = endpoint_set.endpoints().len();
        let next = || {
            (1..all)
                .map(|n| (first + n) % all)
                .find(|index| !tried(*index))
        };
        let index = another.or_else(next).unwrap_or(first);
        Some(endpoint_set.endpoints()[index].clone())
    }

    /// As [`Self::index`], but the share of a new endpoint grows over `window`.
    fn warm_index(&self, endpoint_set: &Arc<EndpointSet>, window: Duration) -> Option<usize> {
        let mut index = self.index(endpoint_set, None)?;
        for _ in 0..SLOW_START_ATTEMPTS {
            let age = endpoint_set.endpoints()[index].age();
            if age >= window || fastrand::f64() < slow_start_share(age, window) {
                break;
            }
            index = self.index(endpoint_set, None)?;
        }
        Some(index)
    }

    fn index(&self, endpoint_set: &Arc<EndpointSet>, hash: Option<u64>) -> Option<usize> {
        if endpoint_set.endpoints().len() < 2 {
            return (!endpoint_set.endpoints().is_empty()).then_some(0);
        }
        if let Some(loads) = &self.loads {
            return loads.pick(endpoint_set);
        }
        match (&self.rule, hash) {
            (LoadBalancer::LeastRequest, _) => less_loaded(endpoint_set),
            (LoadBalancer::RoundRobin, _) => {
                let turn = &self.counters[shard(SHARDS)].0;
                endpoint_set.round_robin(turn.fetch_add(1, Ordering::Relaxed))
            }
            (LoadBalancer::ConsistentHash { table_size, .. }, Some(hash)) => {
                self.table(endpoint_set, *table_size).find(hash)
            }
            (
                LoadBalancer::Random
                | LoadBalancer::ConsistentHash { .. }
                | LoadBalancer::Utilization(_),
                _,
            ) => endpoint_set.pick_random(),
        }
    }

    /// The Maglev table of `endpoint_set`. The table is cached until the set changes.
    fn table(&self, endpoint_set: &Arc<EndpointSet>, size: usize) -> Arc<Maglev> {
        if let Some(known) = &*self.table.load()
            && Arc::ptr_eq(&known.0, endpoint_set)
        {
            return known.1.clone();
        }
        let table = endpoint_set.maglev(size);
        self.table
            .store(Some(Arc::new((endpoint_set.clone(), table.clone()))));
        table
    }
}

impl ZoneRule {
    /// A copy of the set, weighted so that each zone receives its share of the requests. The copy is cached until
    /// the set changes.
    fn weigh(&self, endpoint_set: &Arc<EndpointSet>) -> Arc<EndpointSet> {
        if let Some(known) = &*self.weighted.load()
            && Arc::ptr_eq(&known.0, endpoint_set)
        {
            return known.1.clone();
        }
        let weighted = endpoint_set.by_zone(&self.balancing, self.own.as_deref());
        let weighted = weighted.map_or_else(|| endpoint_set.clone(), Arc::new);
        self.weighted
            .store(Some(Arc::new((endpoint_set.clone(), weighted.clone()))));
        weighted
    }
}

/// Fraction of its full share that an endpoint of this age receives. As in Envoy, the fraction grows linearly
/// with the age, and is at least 0.1.
fn slow_start_share(age: Duration, window: Duration) -> f64 {
    (age.as_secs_f64() / window.as_secs_f64()).clamp(0.1, 1.0)
}

/// Picks two random endpoints and returns the less loaded one (power of two choices). Both the random picks
/// and the comparison of the loads account for the weights.
fn less_loaded(endpoint_set: &EndpointSet) -> Option<usize> {
    let first = endpoint_set.pick_random()?;
    let mut second = endpoint_set.pick_random()?;
    if second == first {
        second = (first + 1 + fastrand::usize(..endpoint_set.endpoints().len() - 1))
            % endpoint_set.endpoints().len();
    }
    let load = |mine: usize, other: usize| {
        let active = u64::from(endpoint_set.endpoints()[mine].in_flight()) + 1;
        active * u64::from(endpoint_set.weight(other))
    };
    // The second endpoint is returned only if the first endpoint has requests in flight. The two endpoints
    // are always different, so without this condition an endpoint of lower weight would receive too many
    // requests.
    Some(
        if load(second, first) < load(first, second)
            && endpoint_set.endpoints()[first].in_flight() > 0
        {
            second
        } else {
            first
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::InFlightGuard;
    use crate::plan::{BackendId, Endpoint, HashKey};

    fn cluster(weights: &[u32]) -> Cluster {
        let cluster = Cluster::new(BackendId::service("n", "b", 80));
        let endpoints: Vec<_> = (1..)
            .zip(weights)
            .map(|(port, weight)| Endpoint {
                address: ([127, 0, 0, 1], port).into(),
                weight: *weight,
                zone: None,
            })
            .collect();
        cluster.set(&endpoints);
        cluster
    }

    fn picks(rule: LoadBalancer, weights: &[u32], n: usize) -> Vec<usize> {
        fastrand::seed(3);
        let (balancer, cluster) = (Balancer::new(rule), cluster(weights));
        let mut counts = vec![0; weights.len()];
        for _ in 0..n {
            let endpoint = balancer.pick(&cluster, Pick::default()).unwrap();
            counts[usize::from(endpoint.address().port().unwrap()) - 1] += 1;
        }
        counts
    }

    #[test]
    fn round_robin_follows_the_weights() {
        assert_eq!(
            picks(LoadBalancer::RoundRobin, &[1, 1, 1], 300),
            [100, 100, 100]
        );
        assert_eq!(
            picks(LoadBalancer::RoundRobin, &[5, 0, 1], 600),
            [500, 0, 100]
        );
    }

    #[test]
    fn random_picks_follow_the_weights() {
        let counts = picks(LoadBalancer::Random, &[1, 3, 0], 40_000);

        // Endpoint 0 is expected to receive a quarter of the 40 000 picks. The tolerance is three standard
        // deviations.
        assert!(counts[0].abs_diff(10_000) <= 260, "{counts:?}");
        assert_eq!(counts[2], 0);
    }

    #[test]
    fn idle_endpoints_receive_requests_by_weight() {
        let counts = picks(LoadBalancer::LeastRequest, &[1, 3], 40_000);

        assert!(counts[0].abs_diff(10_000) <= 260, "{counts:?}");
    }

    #[test]
    fn least_request_evens_out_requests_in_flight() {
        fastrand::seed(5);
        let (balancer, cluster) = (Balancer::new(LoadBalancer::LeastRequest), cluster(&[1; 10]));

        let active: Vec<_> = (0..1000)
            .map(|_| InFlightGuard::new(balancer.pick(&cluster, Pick::default()).unwrap()))
            .collect();

        let load: Vec<_> = cluster
            .endpoint_set()
            .endpoints()
            .iter()
            .map(|n| n.in_flight())
            .collect();
        assert!(load.iter().all(|n| n.abs_diff(100) <= 8), "{load:?}");
        drop(active);
        assert!(
            cluster
                .endpoint_set()
                .endpoints()
                .iter()
                .all(|n| n.in_flight() == 0)
        );
    }

    #[test]
    fn a_hash_maps_to_one_endpoint_until_the_endpoints_change() {
        let balancer = Balancer::new(LoadBalancer::ConsistentHash {
            key: HashKey::SourceIp,
            table_size: 1031,
        });
        let cluster = cluster(&[1, 1, 1]);
        let pick = |hash| {
            let pick = Pick {
                hash: Some(hash),
                ..Pick::default()
            };
            balancer.pick(&cluster, pick).unwrap().address().clone()
        };

        let before: Vec<_> = (0..50).map(pick).collect();
        assert_eq!(before, (0..50).map(pick).collect::<Vec<_>>());
        cluster.set(&[Endpoint {
            address: before[0].clone(),
            weight: 1,
            zone: None,
        }]);

        assert!((0..50).map(pick).all(|address| address == before[0]));
    }

    #[test]
    fn a_retry_prefers_an_untried_endpoint() {
        let (balancer, cluster) = (Balancer::new(LoadBalancer::RoundRobin), cluster(&[1, 1]));
        let tried = [cluster.endpoint_set().endpoints()[0].address().clone()];

        for _ in 0..20 {
            let endpoint = balancer
                .pick(
                    &cluster,
                    Pick {
                        tried: &tried,
                        ..Pick::default()
                    },
                )
                .unwrap();
            assert_ne!(*endpoint.address(), tried[0]);
        }
    }

    #[test]
    fn a_retry_uses_the_same_endpoint_if_there_is_no_other() {
        let (balancer, cluster) = (Balancer::new(LoadBalancer::LeastRequest), cluster(&[1]));
        let tried = [cluster.endpoint_set().endpoints()[0].address().clone()];

        assert!(
            balancer
                .pick(
                    &cluster,
                    Pick {
                        tried: &tried,
                        ..Pick::default()
                    }
                )
                .is_some()
        );
    }

    #[test]
    fn a_preferred_endpoint_is_picked_until_it_is_removed_or_the_request_has_failed_on_it() {
        let (balancer, cluster) = (Balancer::new(LoadBalancer::Random), cluster(&[1; 50]));
        let wanted = cluster.endpoint_set().endpoints()[17].address().clone();
        let pick = |tried: &[EndpointAddress]| {
            let pick = Pick {
                preferred: std::slice::from_ref(&wanted),
                tried,
                ..Pick::default()
            };
            balancer.pick(&cluster, pick).unwrap().address().clone()
        };

        assert!((0..20).all(|_| pick(&[]) == wanted));
        assert!((0..20).all(|_| pick(std::slice::from_ref(&wanted)) != wanted));
        cluster.set(&[Endpoint {
            address: ([10, 0, 0, 1], 80).into(),
            weight: 1,
            zone: None,
        }]);
        assert_eq!(pick(&[]), ([10, 0, 0, 1], 80).into());
    }

    #[tokio::test(start_paused = true)]
    async fn the_share_of_a_new_or_recovered_endpoint_grows_over_the_window() {
        fastrand::seed(3);
        let window = Duration::from_secs(100);
        for rule in [LoadBalancer::LeastRequest, LoadBalancer::RoundRobin] {
            let balancer = Balancer::new(rule).slow_start(Some(window));
            let cluster = cluster(&[1]);
            tokio::time::advance(window).await;
            let both = [1, 2].map(|port| Endpoint {
                address: ([127, 0, 0, 1], port).into(),
                weight: 1,
                zone: None,
            });
            cluster.set(&both);
            let share = || {
                let picks = (0..2000).map(|_| balancer.pick(&cluster, Pick::default()).unwrap());
                picks
                    .filter(|picked| picked.address().port() == Some(2))
                    .count()
            };

            let first = share();
            tokio::time::advance(window / 2).await;
            let half = share();
            tokio::time::advance(window).await;
            let full = share();
            cluster.endpoint_set().endpoints()[1].set_recovered();
            let recovered = share();

            assert!((50..350).contains(&first), "{first}");
            assert!((400..850).contains(&half), "{half}");
            assert!((900..1100).contains(&full), "{full}");
            assert!((50..350).contains(&recovered), "{recovered}");
        }
    }

    #[test]
    fn preferred_endpoints_are_used_in_their_order() {
        let (balancer, cluster) = (Balancer::new(LoadBalancer::Random), cluster(&[1; 9]));
        let address = |port| EndpointAddress::from(([127, 0, 0, 1], port));
        let preferred = [address(99), address(7), address(3)];

        for (tried, expected) in [(&preferred[..1], 7), (&preferred[..2], 3)] {
            let pick = Pick {
                preferred: &preferred,
                tried,
                ..Pick::default()
            };
            assert_eq!(
                *balancer.pick(&cluster, pick).unwrap().address(),
                address(expected)
            );
        }
    }
}
