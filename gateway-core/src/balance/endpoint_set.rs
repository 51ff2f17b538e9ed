//! The endpoints of a backend at one point in time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::{LiveEndpoint, Maglev, Weights};
use crate::plan::{Endpoint, EndpointAddress};

/// The endpoints of a cluster at one point in time, with lookup tables that are computed once.
#[derive(Debug, Default)]
pub struct EndpointSet {
    endpoints: Vec<Arc<LiveEndpoint>>,
    /// Weight of each endpoint.
    weights: Vec<u32>,
    /// Zone of each endpoint. The list is empty if no endpoint has a zone.
    zones: Vec<Option<Arc<str>>>,
    /// For each endpoint, the share of its zone in the requests. Empty if the weights do not follow from
    /// shares of zones.
    zone_shares: Vec<f64>,
    sums: Weights,
    /// Whether all weights are equal.
    even: bool,
    schedule: OnceLock<Vec<u32>>,
    tables: Mutex<Vec<Arc<Maglev>>>,
    /// Index of each address. The map is built when a request prefers an endpoint for the first time.
    by_address: OnceLock<HashMap<EndpointAddress, usize>>,
}

/// Maximum length of a weighted round-robin schedule.
const MAX_SCHEDULE: u64 = 4096;

impl EndpointSet {
    /// Builds the set from `endpoints`. If an address is also in `before`, its [`LiveEndpoint`] is kept. An
    /// endpoint of weight 0 is omitted. If an address is listed twice, the first entry is used.
    pub fn build(endpoints: &[Endpoint], before: &Self) -> Self {
        let mut known: HashMap<&EndpointAddress, &Arc<LiveEndpoint>> = before
            .endpoints
            .iter()
            .map(|endpoint| (endpoint.address(), endpoint))
            .collect();
        let mut seen = std::collections::HashSet::new();
        let mut live = Vec::with_capacity(endpoints.len());
        let mut weights = Vec::with_capacity(endpoints.len());
        let mut zones = Vec::new();
        let zoned = endpoints.iter().any(|endpoint| endpoint.zone.is_some());
        for endpoint in endpoints {
            if endpoint.weight == 0 || !seen.insert(&endpoint.address) {
                continue;
            }
            let kept = match known.remove(&endpoint.address) {
                Some(kept) => kept.clone(),
                None => Arc::new(LiveEndpoint::new(endpoint.address.clone())),
            };
            kept.set_removed(false);
            live.push(kept);
            weights.push(endpoint.weight);
            if zoned {
                zones.push(endpoint.zone.clone());
            }
        }
        for removed in known.into_values() {
            removed.set_removed(true);
        }
        Self::from_parts(live, weights, zones)
    }

    fn from_parts(
        endpoints: Vec<Arc<LiveEndpoint>>,
        weights: Vec<u32>,
        zones: Vec<Option<Arc<str>>>,
    ) -> Self {
        Self {
            sums: Weights::new(weights.iter().copied()),
            even: weights.windows(2).all(|pair| pair[0] == pair[1]),
            endpoints,
            weights,
            zones,
            zone_shares: Vec::new(),
            schedule: OnceLock::new(),
            tables: Mutex::default(),
            by_address: OnceLock::new(),
        }
    }

    /// The endpoints that may be picked.
    pub fn endpoints(&self) -> &[Arc<LiveEndpoint>] {
        &self.endpoints
    }

    /// The subset of endpoints for which `keep` returns true.
    pub(crate) fn filter(&self, keep: impl Fn(&EndpointAddress) -> bool) -> Self {
        self.select(&self.weights, |index| keep(self.endpoints[index].address()))
    }

    /// A copy of the set with the new weights in `weights`. Endpoints whose new weight is zero are omitted.
    /// `zone_shares` contains, for each endpoint, the share of its zone, from which the new weight follows.
    pub(super) fn reweighted(&self, weights: &[u32], zone_shares: Vec<f64>) -> Self {
        let used = |index: usize| weights[index] > 0;
        let shares = zone_shares.into_iter().zip(0..);
        let shares = shares.filter(|(_, index)| used(*index));
        Self {
            zone_shares: shares.map(|(share, _)| share).collect(),
            ..self.select(weights, used)
        }
    }

    /// The subset of endpoints for whose index `keep` returns true, with their new weights from `weights`.
    fn select(&self, weights: &[u32], keep: impl Fn(usize) -> bool) -> Self {
        let kept = (0..self.endpoints.len()).filter(|index| keep(*index));
        let (endpoints, weights) = kept
            .clone()
            .map(|index| (self.endpoints[index].clone(), weights[index]))
            .unzip();
        let zones = kept.filter_map(|index| self.zones.get(index).cloned());
        Self::from_parts(endpoints, weights, zones.collect())
    }

    /// Name of the zone of the endpoint at `index`. Empty if the zone is unknown.
    pub(super) fn zone(&self, index: usize) -> &str {
        self.zones
            .get(index)
            .and_then(Option::as_deref)
            .unwrap_or_default()
    }

    /// Share of the zone of the endpoint at `index`. `None` if the weights do not follow from shares of
    /// zones.
    pub(super) fn zone_share(&self, index: usize) -> Option<f64> {
        self.zone_shares.get(index).copied()
    }

    /// The endpoint with this address.
    pub fn find(&self, address: &EndpointAddress) -> Option<&Arc<LiveEndpoint>> {
        let index = self.by_address.get_or_init(|| {
            let addresses = self.endpoints.iter().map(|live| live.address().clone());
            addresses.zip(0..).collect()
        });
        index.get(address).map(|index| &self.endpoints[*index])
    }

    /// Weight of the endpoint at `index`.
    pub fn weight(&self, index: usize) -> u32 {
        self.weights[index]
    }

    /// Index of a random endpoint, in proportion to the weights.
    pub fn pick_random(&self) -> Option<usize> {
        match self.endpoints.len() {
            0 => None,
            1 => Some(0),
            n if self.even => Some(fastrand::usize(..n)),
            _ => self.sums.pick_random(),
        }
    }

    /// Index of the endpoint for request number `turn` of a smooth weighted round robin.
    pub fn round_robin(&self, turn: usize) -> Option<usize> {
        if self.endpoints.is_empty() {
            return None;
        }
        if self.even {
            return Some(turn % self.endpoints.len());
        }
        let schedule = self.schedule.get_or_init(|| smooth_schedule(&self.weights));
        Some(schedule[turn % schedule.len()] as usize)
    }

    /// Maglev table of `size` entries, built on the first call.
    pub fn maglev(&self, size: usize) -> Arc<Maglev> {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(table) = tables.iter().find(|table| table.size() == size) {
            return table.clone();
        }
        let names = self.endpoints.iter().map(|live| live.address().to_string());
        let table = Arc::new(Maglev::build(names.zip(self.weights.iter().copied()), size));
        tables.push(table.clone());
        table
    }
}

/// One round of a smooth weighted round robin. Each index occurs in proportion to its weight, and its
/// occurrences are evenly spread.
fn smooth_schedule(weights: &[u32]) -> Vec<u32> {
    let divisor = weights.iter().copied().fold(0, gcd).max(1);
    let total: u64 = weights.iter().map(|w| u64::from(w / divisor)).sum();
    // A long round is scaled down, but each index keeps at least one turn.
    let scale = total.div_ceil(MAX_SCHEDULE).max(1);
    let parts: Vec<i64> = weights
        .iter()
        .map(|w| (u64::from(w / divisor) / scale).max(1) as i64)
        .collect();
    let round: i64 = parts.iter().sum();
    let mut current = vec![0i64; parts.len()];
    (0..round)
        .map(|_| {
            let mut best = 0;
            for index in 0..parts.len() {
                current[index] += parts[index];
                if current[index] > current[best] {
                    best = index;
                }
            }
            current[best] -= round;
            best as u32
        })
        .collect()
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_smooth_round_spreads_the_turns_of_a_heavy_endpoint() {
        assert_eq!(smooth_schedule(&[5, 1, 1]), [0, 0, 1, 0, 2, 0, 0]);
    }

    proptest! {
        #[test]
        fn a_round_holds_each_index_in_proportion_to_its_weight(
            weights in proptest::collection::vec(1u32..30, 1..6),
        ) {
            let divisor = weights.iter().copied().fold(0, gcd);

            let schedule = smooth_schedule(&weights);

            for (index, weight) in weights.iter().enumerate() {
                let turns = schedule.iter().filter(|p| **p as usize == index).count();
                prop_assert_eq!(turns, (weight / divisor) as usize);
            }
        }
    }

    #[test]
    fn a_long_round_is_scaled_and_keeps_every_endpoint() {
        let schedule = smooth_schedule(&[1_000_000, 1, 999_999]);

        assert!(schedule.len() as u64 <= MAX_SCHEDULE + 3);
        assert!(schedule.contains(&1));
    }
}
