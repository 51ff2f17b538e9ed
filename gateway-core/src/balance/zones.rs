//! Distribution of the requests to a backend over zones.
//!
//! The shares are converted to weights of endpoints, so that they apply to every load balancing algorithm.
//!
//! As in Envoy, a preferred zone receives as many requests as possible while its endpoints receive no more
//! requests than the endpoints of other zones. For this calculation, Envoy uses the zones of all gateways.
//! This module assumes that each zone with endpoints has the same number of gateways.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::EndpointSet;
use crate::live::Live;
use crate::plan::{LocalZone, ZoneBalancing};

/// Weight of the endpoint with the largest share.
const LARGEST: f64 = 10_000.0;

/// The zone of this gateway. `None` if it is unknown.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct OwnZone(pub(crate) Option<Arc<str>>);

/// Key of the process-wide instance in [`Live`].
#[derive(Eq, Hash, PartialEq)]
struct OwnZoneKey;

impl OwnZone {
    /// The zone that was [installed](Self::install) in `live`; otherwise an unknown zone.
    pub(crate) fn of(live: &Live) -> Arc<Self> {
        live.share(OwnZoneKey, |_| Arc::default())
    }

    /// Installs this zone in `live` until the caller drops the returned reference.
    pub(crate) fn install(self, live: &Live) -> Arc<Self> {
        live.share(OwnZoneKey, |_| Arc::new(self))
    }
}

/// Number of endpoints of each zone. Endpoints without a zone belong to the zone with an empty name.
type ZoneCounts<'a> = BTreeMap<&'a str, usize>;

/// The share of each zone in the requests of a gateway in zone `own`. The shares add up to 1. `None` if zones
/// have no effect.
fn shares<'a>(
    rule: &ZoneBalancing,
    own: Option<&str>,
    counts: &ZoneCounts<'a>,
) -> Option<BTreeMap<&'a str, f64>> {
    match rule {
        ZoneBalancing::Weighted(weights) => {
            let weight = |zone: &str| f64::from(weights.get(zone).copied().unwrap_or(1));
            let total: f64 = counts.keys().map(|zone| weight(zone)).sum();
            let share = |zone: &&'a str| (*zone, weight(zone) / total.max(1.0));
            Some(counts.keys().map(share).collect())
        }
        ZoneBalancing::PreferLocal(rule) => local_shares(rule, own?, counts),
    }
}

/// As [`shares`], for the rule that prefers the zone `own`.
fn local_shares<'a>(
    rule: &LocalZone,
    own: &str,
    counts: &ZoneCounts<'a>,
) -> Option<BTreeMap<&'a str, f64>> {
    let all: usize = counts.values().sum();
    let local = *counts.get(own)?;
    if counts.len() < 2 || all < rule.min_endpoints as usize {
        return None;
    }
    let even = 1.0 / counts.len() as f64;
    let capacity = |count: usize| count as f64 / all as f64;
    let forced = rule.force.is_some_and(|least| local >= least as usize);
    let kept = match forced {
        true => 1.0,
        false => (capacity(local) / even).min(1.0),
    };
    // Requests beyond the capacity of the own zone are sent to other zones, in which the gateways do not use
    // the whole capacity.
    let spare = |count: usize| (capacity(count) - even).max(0.0);
    let spare_sum: f64 = counts.values().map(|count| spare(*count)).sum();
    let applied = f64::from(rule.percent.min(100)) / 100.0;
    let share = |(zone, count): (&&'a str, &usize)| {
        let preferred = match *zone == own {
            true => kept,
            false if kept < 1.0 => (1.0 - kept) * spare(*count) / spare_sum,
            false => 0.0,
        };
        let even = capacity(*count);
        (*zone, applied * preferred + (1.0 - applied) * even)
    };
    Some(counts.iter().map(share).collect())
}

impl EndpointSet {
    /// A copy of the set with weights that give each zone its share of the requests of a gateway in zone
    /// `own`. Endpoints of a zone whose share is zero are removed. `None` if zones have no effect.
    pub(super) fn by_zone(&self, rule: &ZoneBalancing, own: Option<&str>) -> Option<Self> {
        let mut counts = ZoneCounts::new();
        let mut sums: BTreeMap<&str, f64> = BTreeMap::new();
        for index in 0..self.endpoints().len() {
            let zone = self.zone(index);
            *counts.entry(zone).or_default() += 1;
            *sums.entry(zone).or_default() += f64::from(self.weight(index));
        }
        let shares = shares(rule, own, &counts)?;
        let share = |index: usize| {
            let zone = self.zone(index);
            shares[zone] * f64::from(self.weight(index)) / sums[zone]
        };
        let endpoint_shares: Vec<f64> = (0..self.endpoints().len()).map(share).collect();
        let largest = endpoint_shares.iter().copied().fold(0.0, f64::max);
        let weights = endpoint_shares.iter().map(|share| match *share > 0.0 {
            // The cast is lossless, because the value is between 1 and `LARGEST`.
            true => (share / largest * LARGEST).round().max(1.0) as u32,
            false => 0,
        });
        let zone_shares = (0..self.endpoints().len()).map(|index| shares[self.zone(index)]);
        Some(self.reweighted(&weights.collect::<Vec<_>>(), zone_shares.collect()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::balance::{Balancer, Cluster, Pick};
    use crate::plan::{BackendId, Endpoint, HashKey, LoadBalancer, UtilizationBalancing};

    const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

    fn counts(list: &[usize]) -> ZoneCounts<'static> {
        let counts = NAMES.into_iter().zip(list.iter().copied());
        counts.filter(|(_, count)| *count > 0).collect()
    }

    fn local(min_endpoints: u32, percent: u32, force: Option<u32>) -> ZoneBalancing {
        ZoneBalancing::PreferLocal(LocalZone {
            min_endpoints,
            percent,
            force,
        })
    }

    proptest! {
        /// Each zone has one gateway, which sends one unit of requests. Then all endpoints receive the same
        /// number of requests, and each zone receives as many requests from its own gateway as its capacity
        /// allows.
        #[test]
        fn every_endpoint_receives_the_same_and_as_much_as_possible_stays_in_the_zone(
            list in proptest::collection::vec(1usize..9, 2..6),
            percent in 0u32..=100,
        ) {
            let counts = counts(&list);
            let (all, zones) = (list.iter().sum::<usize>() as f64, list.len() as f64);
            let rule = local(0, percent, None);

            let sent: Vec<_> = counts.keys().map(|own| shares(&rule, Some(own), &counts).unwrap()).collect();

            for (zone, count) in &counts {
                let received: f64 = sent.iter().map(|shares| shares[zone]).sum();
                prop_assert!((received - zones * *count as f64 / all).abs() < 1e-9);
            }
            for (own, shares) in counts.keys().zip(&sent) {
                prop_assert!((shares.values().sum::<f64>() - 1.0).abs() < 1e-9);
                let even = counts[own] as f64 / all;
                let most = (zones * even).min(1.0);
                let expected = most * f64::from(percent) / 100.0 + even * f64::from(100 - percent) / 100.0;
                prop_assert!((shares[own] - expected).abs() < 1e-9);
            }
        }

        #[test]
        fn the_weights_of_endpoints_add_up_to_the_shares_of_their_zones(
            zones in proptest::collection::vec((0usize..4, 1u32..5), 1..12),
            weights in proptest::collection::vec(0u32..10, 4),
        ) {
            let list: Vec<_> = (1..).zip(&zones).map(|(port, (zone, weight))| Endpoint {
                address: ([127, 0, 0, 1], port).into(),
                weight: *weight,
                zone: Some(NAMES[*zone].into()),
            }).collect();
            let set = EndpointSet::build(&list, &EndpointSet::default());
            let named = NAMES.iter().map(|name| (*name).to_owned()).zip(weights.iter().copied());
            let rule = ZoneBalancing::Weighted(named.collect());

            let weighted = set.by_zone(&rule, None).unwrap();

            let used: Vec<usize> = (0..4).filter(|at| zones.iter().any(|(zone, _)| zone == at)).collect();
            let sum: u32 = used.iter().map(|at| weights[*at]).sum();
            let total: u64 = (0..weighted.endpoints().len()).map(|at| u64::from(weighted.weight(at))).sum();
            for at in used {
                let own = (0..weighted.endpoints().len()).filter(|index| weighted.zone(*index) == NAMES[at]);
                let own: u64 = own.map(|index| u64::from(weighted.weight(index))).sum();
                let expected = f64::from(weights[at]) / f64::from(sum.max(1));
                prop_assert!((own as f64 / total.max(1) as f64 - expected).abs() < 0.02);
            }
        }
    }

    #[test]
    fn a_preference_needs_a_zone_of_the_gateway_and_enough_endpoints() {
        let three = counts(&[2, 2, 2]);
        for (rule, own, counts, expected) in [
            (local(6, 100, None), Some("a"), &three, Some(1.0)),
            (local(7, 100, None), Some("a"), &three, None),
            (local(0, 100, None), None, &three, None),
            (local(0, 100, None), Some("z"), &three, None),
            (local(0, 100, None), Some("a"), &counts(&[3]), None),
            (local(0, 100, None), Some("a"), &counts(&[1, 3]), Some(0.5)),
            (
                local(0, 100, Some(1)),
                Some("a"),
                &counts(&[1, 3]),
                Some(1.0),
            ),
            (
                local(0, 100, Some(2)),
                Some("a"),
                &counts(&[1, 3]),
                Some(0.5),
            ),
            (
                local(0, 50, Some(1)),
                Some("a"),
                &counts(&[1, 3]),
                Some(0.625),
            ),
        ] {
            let found = shares(&rule, own, counts).map(|shares| shares["a"]);
            assert_eq!(found, expected, "{rule:?} {own:?} {counts:?}");
        }
    }

    /// Of `n` requests, the number that zone `a` receives. Zone `a` has one endpoint, zone `b` has three.
    fn picks_of_a(rule: LoadBalancer, zones: ZoneBalancing, n: u64) -> u64 {
        fastrand::seed(7);
        let cluster = Cluster::new(BackendId::service("n", "b", 80));
        let list: Vec<_> = (1..=4)
            .map(|port| Endpoint {
                address: ([127, 0, 0, 1], port).into(),
                weight: 1,
                zone: Some(if port == 1 { "a" } else { "b" }.into()),
            })
            .collect();
        cluster.set(&list);
        let balancer = Balancer::new(rule).zones(Some((zones, Some("a".into()))));
        let is_first = |hash: &u64| {
            let pick = Pick {
                hash: Some(hash.wrapping_mul(0x9E37_79B9_7F4A_7C15)),
                ..Pick::default()
            };
            balancer.pick(&cluster, pick).unwrap().address().port() == Some(1)
        };
        (0..n).filter(is_first).count() as u64
    }

    #[test]
    fn every_algorithm_respects_the_shares_of_zones() {
        let weighted = ZoneBalancing::Weighted([("a".to_owned(), 4), ("b".to_owned(), 1)].into());
        for rule in [
            LoadBalancer::LeastRequest,
            LoadBalancer::RoundRobin,
            LoadBalancer::Random,
            LoadBalancer::Utilization(UtilizationBalancing::default()),
            LoadBalancer::ConsistentHash {
                key: HashKey::SourceIp,
                table_size: 65537,
            },
        ] {
            let of_weighted = picks_of_a(rule.clone(), weighted.clone(), 10_000);
            let of_local = picks_of_a(rule.clone(), local(0, 100, Some(1)), 100);

            assert!(of_weighted.abs_diff(8000) < 250, "{rule:?} {of_weighted}");
            assert_eq!(of_local, 100, "{rule:?}");
        }
    }

    #[test]
    fn zones_of_weight_0_receive_nothing() {
        let none = ZoneBalancing::Weighted([("a".to_owned(), 0)].into());

        assert_eq!(picks_of_a(LoadBalancer::Random, none, 100), 0);
    }
}
