//! The endpoints of a backend at one moment.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::{Maglev, Weights};
use crate::plan::Endpoint;

/// One address and what is under way to it. Lives as long as the address stays in the cluster.
#[derive(Debug)]
pub struct Node {
    address: SocketAddr,
    active: AtomicU32,
    gone: AtomicBool,
}

impl Node {
    /// A node with nothing under way.
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            active: AtomicU32::new(0),
            gone: AtomicBool::new(false),
        }
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Requests under way, of all workers.
    pub fn active(&self) -> u32 {
        self.active.load(Ordering::Relaxed)
    }

    /// Whether the address has left its cluster, so that idle connections to it are of no use.
    pub fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    fn set_gone(&self, gone: bool) {
        self.gone.store(gone, Ordering::Relaxed);
    }
}

/// One request under way to a node, counted until dropped.
#[derive(Debug)]
pub struct Active(Arc<Node>);

impl Active {
    /// Counts a request.
    pub fn new(node: Arc<Node>) -> Self {
        node.active.fetch_add(1, Ordering::Relaxed);
        Self(node)
    }

    /// Whose request it is.
    pub fn node(&self) -> &Arc<Node> {
        &self.0
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The endpoints of a cluster at one moment, with what is computed of them once.
#[derive(Debug, Default)]
pub struct Members {
    nodes: Vec<Arc<Node>>,
    shares: Vec<u32>,
    weights: Weights,
    /// All weights are equal.
    even: bool,
    schedule: OnceLock<Vec<u32>>,
    tables: Mutex<Vec<Arc<Maglev>>>,
}

/// The longest schedule of a weighted round robin.
const MAX_SCHEDULE: u64 = 4096;

impl Members {
    /// What `endpoints` are, keeping the nodes of `before` whose address stays. An endpoint of weight 0
    /// gets no requests. Of an address that is named twice the first counts.
    pub fn build(endpoints: &[Endpoint], before: &Self) -> Self {
        let mut known: HashMap<SocketAddr, &Arc<Node>> = before
            .nodes
            .iter()
            .map(|node| (node.address, node))
            .collect();
        let mut seen = std::collections::HashSet::new();
        let mut nodes = Vec::with_capacity(endpoints.len());
        let mut shares = Vec::with_capacity(endpoints.len());
        for endpoint in endpoints {
            if endpoint.weight == 0 || !seen.insert(endpoint.address) {
                continue;
            }
            let node = match known.remove(&endpoint.address) {
                Some(node) => node.clone(),
                None => Arc::new(Node::new(endpoint.address)),
            };
            node.set_gone(false);
            nodes.push(node);
            shares.push(endpoint.weight);
        }
        for node in known.into_values() {
            node.set_gone(true);
        }
        Self {
            weights: Weights::new(shares.iter().copied()),
            even: shares.windows(2).all(|pair| pair[0] == pair[1]),
            nodes,
            shares,
            schedule: OnceLock::new(),
            tables: Mutex::default(),
        }
    }

    /// The nodes that get requests.
    pub fn nodes(&self) -> &[Arc<Node>] {
        &self.nodes
    }

    /// The same without the nodes that `keep` leaves out.
    pub(crate) fn only(&self, keep: impl Fn(SocketAddr) -> bool) -> Self {
        let pairs = self.nodes.iter().zip(&self.shares);
        let (nodes, shares): (Vec<_>, Vec<_>) = pairs
            .filter(|(node, _)| keep(node.address))
            .map(|(node, share)| (node.clone(), *share))
            .unzip();
        Self {
            weights: Weights::new(shares.iter().copied()),
            even: shares.windows(2).all(|pair| pair[0] == pair[1]),
            nodes,
            shares,
            ..Self::default()
        }
    }

    /// The weight of the node at this place.
    pub fn share(&self, place: usize) -> u32 {
        self.shares[place]
    }

    /// A place at random, by weight.
    pub fn draw(&self) -> Option<usize> {
        match self.nodes.len() {
            0 => None,
            1 => Some(0),
            n if self.even => Some(fastrand::usize(..n)),
            _ => self.weights.draw(),
        }
    }

    /// The place of the `turn`-th request of a round robin: smooth, by weight.
    pub fn turn(&self, turn: usize) -> Option<usize> {
        if self.nodes.is_empty() {
            return None;
        }
        if self.even {
            return Some(turn % self.nodes.len());
        }
        let schedule = self.schedule.get_or_init(|| smooth_schedule(&self.shares));
        Some(schedule[turn % schedule.len()] as usize)
    }

    /// The Maglev table of this size, made at the first call.
    pub fn maglev(&self, size: usize) -> Arc<Maglev> {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(table) = tables.iter().find(|table| table.size() == size) {
            return table.clone();
        }
        let names = self.nodes.iter().map(|node| node.address.to_string());
        let table = Arc::new(Maglev::build(names.zip(self.shares.iter().copied()), size));
        tables.push(table.clone());
        table
    }
}

/// One round of a smooth weighted round robin: each place as often as its weight says, spread evenly.
fn smooth_schedule(weights: &[u32]) -> Vec<u32> {
    let divisor = weights.iter().copied().fold(0, gcd).max(1);
    let total: u64 = weights.iter().map(|w| u64::from(w / divisor)).sum();
    // Very long rounds are scaled down; no place loses its last turn.
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
            for place in 0..parts.len() {
                current[place] += parts[place];
                if current[place] > current[best] {
                    best = place;
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
    fn a_smooth_round_spreads_the_heavy_place() {
        assert_eq!(smooth_schedule(&[5, 1, 1]), [0, 0, 1, 0, 2, 0, 0]);
    }

    proptest! {
        #[test]
        fn a_round_holds_each_place_as_often_as_its_weight(
            weights in proptest::collection::vec(1u32..30, 1..6),
        ) {
            let divisor = weights.iter().copied().fold(0, gcd);

            let schedule = smooth_schedule(&weights);

            for (place, weight) in weights.iter().enumerate() {
                let turns = schedule.iter().filter(|p| **p as usize == place).count();
                prop_assert_eq!(turns, (weight / divisor) as usize);
            }
        }
    }

    #[test]
    fn a_huge_round_is_scaled_and_starves_nobody() {
        let schedule = smooth_schedule(&[1_000_000, 1, 999_999]);

        assert!(schedule.len() as u64 <= MAX_SCHEDULE + 3);
        assert!(schedule.contains(&1));
    }
}
