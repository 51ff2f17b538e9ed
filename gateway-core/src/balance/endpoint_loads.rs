//! Weights of endpoints by their load reports (`LoadBalancer::Utilization`).
//!
//! ```text
//! response ──LoadReport──> EndpointLoads::learn ──weights, once per period──> EndpointLoads::pick
//! ```
//!
//! An endpoint receives its own weight once it has sent reports for the time `blackout`. It loses this weight
//! if no report arrives for the time `expiration`. Endpoints without a weight of their own have the median of
//! the other weights. The first request after the update period calculates the weights again; all other
//! requests only read them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use http::HeaderMap;
use tokio::time::Instant;

use super::load_report::LoadReport;
use super::{EndpointSet, Weights};
use crate::Body;
use crate::plan::{EndpointAddress, UtilizationBalancing};
use crate::trailers_body::TrailersBody;

/// Largest weight after scaling.
const LARGEST: f64 = 65_536.0;

/// Load reports of a backend's endpoints, and the weights that follow from the reports.
#[derive(Debug)]
pub struct EndpointLoads {
    settings: UtilizationBalancing,
    /// Instant from which all times in this struct are measured, in milliseconds.
    start: Instant,
    /// One entry for each endpoint that has sent a report. The map is copied when an endpoint sends its first
    /// report.
    loads: ArcSwap<HashMap<EndpointAddress, Arc<EndpointLoad>>>,
    table: ArcSwapOption<WeightTable>,
}

/// The load reports of one endpoint.
#[derive(Debug, Default)]
struct EndpointLoad {
    /// The weight, as the bits of an `f64`.
    weight: AtomicU64,
    /// Time of the first report after the latest pause that was longer than `expiration`.
    since: AtomicU64,
    /// Time of the latest report.
    latest: AtomicU64,
}

/// The weights of a set of endpoints, and the time until which they are used.
#[derive(Debug)]
struct WeightTable {
    endpoint_set: Arc<EndpointSet>,
    weights: Weights,
    until: Instant,
}

impl EndpointLoads {
    /// Creates an instance without reports.
    pub fn new(settings: UtilizationBalancing) -> Self {
        Self {
            settings,
            start: Instant::now(),
            loads: ArcSwap::default(),
            table: ArcSwapOption::empty(),
        }
    }

    /// Records the report in header fields or trailers of a response of `endpoint`. Removes the report from
    /// `fields`, unless the settings keep reports.
    pub(crate) fn learn(&self, endpoint: &EndpointAddress, fields: &mut HeaderMap) {
        if let Some(report) = LoadReport::of_fields(fields)
            && let Some(weight) = report.weight(&self.settings)
        {
            self.record(endpoint, weight);
        }
        if !self.settings.keep_reports {
            LoadReport::remove_from(fields);
        }
    }

    /// Wraps the body of a response of `endpoint`, in order to record the report that its trailers may
    /// contain.
    pub(crate) fn learn_from_trailers(
        self: &Arc<Self>,
        body: Body,
        endpoint: EndpointAddress,
    ) -> Body {
        let this = self.clone();
        let learn = move |trailers: &mut HeaderMap| this.learn(&endpoint, trailers);
        Body::boxed(TrailersBody::new(body, learn))
    }

    /// Picks an endpoint of the set by weight. Returns `None` if the set is empty.
    pub(super) fn pick(&self, endpoint_set: &Arc<EndpointSet>) -> Option<usize> {
        let now = Instant::now();
        if let Some(table) = &*self.table.load()
            && Arc::ptr_eq(&table.endpoint_set, endpoint_set)
            && now < table.until
        {
            return table.weights.pick_random();
        }
        let table = WeightTable {
            endpoint_set: endpoint_set.clone(),
            weights: self.weigh(endpoint_set),
            until: now.checked_add(self.settings.update_period).unwrap_or(now),
        };
        let index = table.weights.pick_random();
        self.table.store(Some(Arc::new(table)));
        index
    }

    fn record(&self, endpoint: &EndpointAddress, weight: f64) {
        let known = self.loads.load().get(endpoint).cloned();
        let load = known.unwrap_or_else(|| self.add(endpoint));
        let now = self.now();
        let latest = load.latest.swap(now, Ordering::Relaxed);
        let is_first = load.weight.load(Ordering::Relaxed) == 0;
        if is_first || now - latest.min(now) > milliseconds(self.settings.expiration) {
            load.since.store(now, Ordering::Relaxed);
        }
        load.weight.store(weight.to_bits(), Ordering::Relaxed);
    }

    /// Adds an endpoint to the map, and removes endpoints whose reports have expired.
    fn add(&self, endpoint: &EndpointAddress) -> Arc<EndpointLoad> {
        let added = Arc::new(EndpointLoad {
            latest: AtomicU64::new(self.now()),
            ..EndpointLoad::default()
        });
        self.loads.rcu(|loads| {
            let kept = loads.iter().filter(|(_, load)| !self.is_expired(load));
            let mut kept: HashMap<_, _> = kept
                .map(|(key, load)| (key.clone(), load.clone()))
                .collect();
            kept.insert(endpoint.clone(), added.clone());
            kept
        });
        added
    }

    /// Calculates the weights of the endpoints, in the order of the set.
    fn weigh(&self, endpoint_set: &EndpointSet) -> Weights {
        let loads = self.loads.load();
        let endpoints = endpoint_set.endpoints().iter();
        let reported: Vec<Option<f64>> = endpoints
            .map(|endpoint| self.weight(loads.get(endpoint.address())?))
            .collect();
        let mut known: Vec<f64> = reported.iter().copied().flatten().collect();
        known.sort_by(f64::total_cmp);
        let median = known.get(known.len() / 2).copied().unwrap_or(1.0);
        let weights = reported.into_iter().map(|weight| weight.unwrap_or(median));
        let weights = within_zones(endpoint_set, weights.collect());
        let largest = weights.iter().copied().fold(0.0, f64::max);
        let scaled = weights.iter().map(|weight| {
            // The cast is lossless, because the value is between 1 and `LARGEST`.
            (weight / largest * LARGEST).round().max(1.0) as u32
        });
        Weights::new(scaled)
    }

    /// The weight of an endpoint. `None` if it has not sent reports for the time `blackout` yet, or its
    /// latest report has expired.
    fn weight(&self, load: &EndpointLoad) -> Option<f64> {
        let reported = self
            .now()
            .saturating_sub(load.since.load(Ordering::Relaxed));
        let weight = f64::from_bits(load.weight.load(Ordering::Relaxed));
        let counts = reported >= milliseconds(self.settings.blackout) && !self.is_expired(load);
        (counts && weight > 0.0).then_some(weight)
    }

    fn is_expired(&self, load: &EndpointLoad) -> bool {
        let pause = self
            .now()
            .saturating_sub(load.latest.load(Ordering::Relaxed));
        pause > milliseconds(self.settings.expiration)
    }

    fn now(&self) -> u64 {
        milliseconds(self.start.elapsed())
    }
}

/// Scales the weights of endpoints so that the weights of each zone add up to the share of the zone. Without
/// shares, the weights are unchanged.
fn within_zones(endpoint_set: &EndpointSet, weights: Vec<f64>) -> Vec<f64> {
    if endpoint_set.zone_share(0).is_none() {
        return weights;
    }
    let mut sums: HashMap<&str, f64> = HashMap::new();
    for (index, weight) in weights.iter().enumerate() {
        *sums.entry(endpoint_set.zone(index)).or_default() += weight;
    }
    let scaled = weights.iter().enumerate().map(|(index, weight)| {
        let share = endpoint_set.zone_share(index).unwrap_or_default();
        weight * share / sums[endpoint_set.zone(index)]
    });
    scaled.collect()
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use http_body::Frame;
    use http_body_util::BodyExt;

    use super::*;
    use crate::BoxError;
    use crate::plan::Endpoint;

    const SECOND: Duration = Duration::from_secs(1);

    fn endpoint_set(count: u16) -> Arc<EndpointSet> {
        let endpoints: Vec<_> = (1..=count)
            .map(|port| Endpoint {
                address: ([127, 0, 0, 1], port).into(),
                weight: 1,
                zone: None,
            })
            .collect();
        Arc::new(EndpointSet::build(&endpoints, &EndpointSet::default()))
    }

    fn loads() -> EndpointLoads {
        EndpointLoads::new(UtilizationBalancing {
            blackout: 10 * SECOND,
            expiration: 60 * SECOND,
            update_period: SECOND,
            ..UtilizationBalancing::default()
        })
    }

    fn report(loads: &EndpointLoads, port: u16, utilization: f64) -> HeaderMap {
        let value = format!("TEXT rps_fractional=100,cpu_utilization={utilization}");
        let mut fields = HeaderMap::new();
        fields.insert("endpoint-load-metrics", value.parse().unwrap());
        loads.learn(&([127, 0, 0, 1], port).into(), &mut fields);
        fields
    }

    /// Number of times that each endpoint is picked in 4000 picks.
    fn shares(loads: &EndpointLoads, endpoint_set: &Arc<EndpointSet>) -> Vec<u32> {
        fastrand::seed(3);
        let mut shares = vec![0; endpoint_set.endpoints().len()];
        for _ in 0..4000 {
            shares[loads.pick(endpoint_set).unwrap()] += 1;
        }
        shares
    }

    #[tokio::test(start_paused = true)]
    async fn requests_follow_the_reports_after_the_blackout_and_until_they_expire() {
        let (loads, set) = (loads(), endpoint_set(2));
        let even = |shares: &[u32]| (1800..2200).contains(&shares[0]);

        report(&loads, 1, 0.2);
        report(&loads, 2, 0.6);
        assert!(even(&shares(&loads, &set)));
        tokio::time::advance(11 * SECOND).await;
        let weighted = shares(&loads, &set);
        assert!((2800..3200).contains(&weighted[0]), "{weighted:?}");
        tokio::time::advance(61 * SECOND).await;
        assert!(even(&shares(&loads, &set)));
    }

    #[tokio::test(start_paused = true)]
    async fn an_endpoint_without_reports_has_the_median_weight() {
        let (loads, set) = (loads(), endpoint_set(4));
        for (port, utilization) in [(1, 0.1), (2, 0.2), (3, 0.4)] {
            report(&loads, port, utilization);
        }
        tokio::time::advance(11 * SECOND).await;

        let shares = shares(&loads, &set);

        assert!(shares[3].abs_diff(shares[1]) < 250, "{shares:?}");
        assert!(shares[0] > shares[1] && shares[1] > shares[2], "{shares:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn weights_change_once_per_period() {
        let (loads, set) = (loads(), endpoint_set(2));
        report(&loads, 1, 0.5);
        report(&loads, 2, 0.5);
        tokio::time::advance(11 * SECOND).await;
        shares(&loads, &set);
        report(&loads, 1, 0.1);

        let before = shares(&loads, &set);
        tokio::time::advance(2 * SECOND).await;
        let after = shares(&loads, &set);

        assert!(before[0] < 2200 && after[0] > 3000, "{before:?} {after:?}");
    }

    #[tokio::test]
    async fn reports_are_removed_from_the_response_unless_they_are_kept() {
        let removed = report(&loads(), 1, 0.5);
        let keeping = EndpointLoads::new(UtilizationBalancing {
            keep_reports: true,
            ..UtilizationBalancing::default()
        });
        let kept = report(&keeping, 1, 0.5);

        assert!(removed.is_empty());
        assert_eq!(kept.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn trailers_are_read_and_edited() {
        let loads = Arc::new(loads());
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().unwrap());
        let value = "TEXT rps_fractional=9,cpu_utilization=0.9";
        trailers.insert("endpoint-load-metrics", value.parse().unwrap());
        let frames = [Ok::<_, BoxError>(Frame::trailers(trailers))];
        let body = http_body_util::StreamBody::new(futures_util::stream::iter(frames));

        let address = EndpointAddress::from(([127, 0, 0, 1], 1));
        let body = loads.learn_from_trailers(Body::boxed(body), address.clone());
        let trailers = body.collect().await.unwrap().trailers().cloned().unwrap();

        assert_eq!(trailers.len(), 1);
        assert!(loads.loads.load().contains_key(&address));
    }
}
