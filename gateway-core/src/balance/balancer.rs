//! Picks an endpoint.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwapOption;

use super::{Cluster, Maglev, Members, Node, shard};
use crate::plan::LoadBalancer;

/// Counters of the round robin: one per group of workers, each on a cache line of its own.
const SHARDS: usize = 16;

/// How often a retry looks for an endpoint that was not tried (Envoy `host_selection_retry_max_attempts`).
const OTHER_ATTEMPTS: usize = 5;

/// The rule by which a rule's requests are spread over a cluster, and what it remembers.
#[derive(Debug)]
pub struct Balancer {
    rule: LoadBalancer,
    /// Empty for other rules: the padding would cost each of many rules a kilobyte.
    turns: Box<[Turn]>,
    table: ArcSwapOption<(Arc<Members>, Arc<Maglev>)>,
}

#[derive(Debug, Default)]
#[repr(align(64))]
struct Turn(AtomicUsize);

/// What a pick is to look at.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pick<'a> {
    /// The hash of the request's key.
    pub hash: Option<u64>,
    /// Endpoints that failed this request; others are preferred.
    pub tried: &'a [SocketAddr],
}

impl Balancer {
    /// A balancer that has picked nothing yet.
    pub fn new(rule: LoadBalancer) -> Self {
        let turns = match rule {
            LoadBalancer::RoundRobin => SHARDS,
            _ => 0,
        };
        Self {
            rule,
            turns: (0..turns).map(|_| Turn::default()).collect(),
            table: ArcSwapOption::empty(),
        }
    }

    /// An endpoint of the cluster; `None` if it has none.
    pub fn pick(&self, cluster: &Cluster, pick: Pick<'_>) -> Option<Arc<Node>> {
        self.pick_of(&cluster.members(), pick)
    }

    /// One of these endpoints.
    pub(crate) fn pick_of(&self, members: &Arc<Members>, pick: Pick<'_>) -> Option<Arc<Node>> {
        let first = self.place(members, pick.hash)?;
        let tried = |place: usize| pick.tried.contains(&members.nodes()[place].address());
        if !tried(first) {
            return Some(members.nodes()[first].clone());
        }
        // A hash leads to the same place each time, so that a retry goes on at random.
        let another = (0..OTHER_ATTEMPTS)
            .filter_map(|_| match self.rule {
                LoadBalancer::ConsistentHash { .. } => members.draw(),
                _ => self.place(members, None),
            })
            .find(|place| !tried(*place));
        // Chance may fail to find one that there is.
        let all = members.nodes().len();
        let next = || {
            (1..all)
                .map(|n| (first + n) % all)
                .find(|place| !tried(*place))
        };
        let place = another.or_else(next).unwrap_or(first);
        Some(members.nodes()[place].clone())
    }

    fn place(&self, members: &Arc<Members>, hash: Option<u64>) -> Option<usize> {
        if members.nodes().len() < 2 {
            return (!members.nodes().is_empty()).then_some(0);
        }
        match (&self.rule, hash) {
            (LoadBalancer::LeastRequest, _) => less_busy(members),
            (LoadBalancer::RoundRobin, _) => {
                let turn = &self.turns[shard(SHARDS)].0;
                members.turn(turn.fetch_add(1, Ordering::Relaxed))
            }
            (LoadBalancer::ConsistentHash { table_size, .. }, Some(hash)) => {
                self.table(members, *table_size).find(hash)
            }
            (LoadBalancer::Random | LoadBalancer::ConsistentHash { .. }, _) => members.draw(),
        }
    }

    /// The table of these members; made when they have changed.
    fn table(&self, members: &Arc<Members>, size: usize) -> Arc<Maglev> {
        if let Some(known) = &*self.table.load()
            && Arc::ptr_eq(&known.0, members)
        {
            return known.1.clone();
        }
        let table = members.maglev(size);
        self.table
            .store(Some(Arc::new((members.clone(), table.clone()))));
        table
    }
}

/// The less busy, in proportion to its weight, of two drawn at random (power of two choices).
fn less_busy(members: &Members) -> Option<usize> {
    let first = members.draw()?;
    let mut second = members.draw()?;
    if second == first {
        second = (first + 1 + fastrand::usize(..members.nodes().len() - 1)) % members.nodes().len();
    }
    let load = |mine: usize, other: usize| {
        let active = u64::from(members.nodes()[mine].active()) + 1;
        active * u64::from(members.share(other))
    };
    // With nothing under way, a second draw that was forced must not favour the lighter one.
    Some(
        if load(second, first) < load(first, second) && members.nodes()[first].active() > 0 {
            second
        } else {
            first
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::Active;
    use crate::plan::{BackendId, Endpoint, HashKey};

    fn cluster(weights: &[u32]) -> Cluster {
        let cluster = Cluster::new(BackendId {
            kind: "Service".to_owned(),
            namespace: "n".to_owned(),
            name: "b".to_owned(),
            port: 80,
        });
        let endpoints: Vec<_> = (1..)
            .zip(weights)
            .map(|(port, weight)| Endpoint {
                address: ([127, 0, 0, 1], port).into(),
                weight: *weight,
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
            let node = balancer.pick(&cluster, Pick::default()).unwrap();
            counts[usize::from(node.address().port()) - 1] += 1;
        }
        counts
    }

    #[test]
    fn round_robin_takes_turns_by_weight() {
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

        // Three sigma of a share of a quarter in 40 000.
        assert!(counts[0].abs_diff(10_000) <= 260, "{counts:?}");
        assert_eq!(counts[2], 0);
    }

    #[test]
    fn idle_endpoints_get_requests_by_weight() {
        let counts = picks(LoadBalancer::LeastRequest, &[1, 3], 40_000);

        assert!(counts[0].abs_diff(10_000) <= 260, "{counts:?}");
    }

    #[test]
    fn least_request_evens_out_what_is_under_way() {
        fastrand::seed(5);
        let (balancer, cluster) = (Balancer::new(LoadBalancer::LeastRequest), cluster(&[1; 10]));

        let active: Vec<_> = (0..1000)
            .map(|_| Active::new(balancer.pick(&cluster, Pick::default()).unwrap()))
            .collect();

        let load: Vec<_> = cluster
            .members()
            .nodes()
            .iter()
            .map(|n| n.active())
            .collect();
        assert!(load.iter().all(|n| n.abs_diff(100) <= 8), "{load:?}");
        drop(active);
        assert!(cluster.members().nodes().iter().all(|n| n.active() == 0));
    }

    #[test]
    fn a_hash_leads_to_one_endpoint_until_the_members_change() {
        let balancer = Balancer::new(LoadBalancer::ConsistentHash {
            key: HashKey::SourceIp,
            table_size: 1031,
        });
        let cluster = cluster(&[1, 1, 1]);
        let pick = |hash| {
            let pick = Pick {
                hash: Some(hash),
                tried: &[],
            };
            balancer.pick(&cluster, pick).unwrap().address()
        };

        let before: Vec<_> = (0..50).map(pick).collect();
        assert_eq!(before, (0..50).map(pick).collect::<Vec<_>>());
        cluster.set(&[Endpoint {
            address: before[0],
            weight: 1,
        }]);

        assert!((0..50).map(pick).all(|address| address == before[0]));
    }

    #[test]
    fn a_retry_prefers_an_endpoint_that_was_not_tried() {
        let (balancer, cluster) = (Balancer::new(LoadBalancer::RoundRobin), cluster(&[1, 1]));
        let tried = [cluster.members().nodes()[0].address()];

        for _ in 0..20 {
            let node = balancer
                .pick(
                    &cluster,
                    Pick {
                        hash: None,
                        tried: &tried,
                    },
                )
                .unwrap();
            assert_ne!(node.address(), tried[0]);
        }
    }

    #[test]
    fn a_retry_without_a_choice_takes_the_same_again() {
        let (balancer, cluster) = (Balancer::new(LoadBalancer::LeastRequest), cluster(&[1]));
        let tried = [cluster.members().nodes()[0].address()];

        assert!(
            balancer
                .pick(
                    &cluster,
                    Pick {
                        hash: None,
                        tried: &tried
                    }
                )
                .is_some()
        );
    }
}
