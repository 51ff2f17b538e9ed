//! Outlier detection: endpoints that fail receive no requests for a while, as in Envoy.
//!
//! ```text
//! attempt ──report──> OutlierDetector ── consecutive failures or failure rate ──> ejected
//! pick    ──view────>     └───────────── ejection time has passed ──────────────> returned
//! ```
//!
//! An [`OutlierDetector`] belongs to one backend of one rule. It is kept across configuration changes as long
//! as its parameters do not change. Only a [`Prober`] uses tasks: ejections are reviewed by the first pick
//! after each interval. Requests only read an [`EndpointView`], which is replaced as a whole when the
//! endpoints or their health change.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use http::response;
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::prober::{Prober, watch};
use crate::balance::{Cluster, EndpointSet, LiveEndpoint};
use crate::error::Error;
use crate::plan::{EndpointAddress, OutlierDetection};

/// Maximum ejection time, unless the base time is longer (Envoy `max_ejection_time`).
const MAX_TIME: Duration = Duration::from_secs(300);
/// Minimum number of requests in an interval for a failure rate to count.
const MIN_REQUESTS: u32 = 50;
/// Minimum number of endpoints that must have a failure rate before endpoints are ejected by rate.
const MIN_ENDPOINTS: usize = 5;

/// Outcome of an attempt.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Outcome {
    /// The endpoint returned a response with this status.
    Response(u16),
    /// The connection failed or ended before the response head.
    Reset,
    /// The response head was not received in time.
    Timeout,
}

/// Decides which endpoints of a backend receive requests.
#[derive(Debug)]
pub(super) struct OutlierDetector {
    rule: OutlierDetection,
    /// If the percentage of healthy endpoints is below this value, health is ignored.
    panic: u32,
    /// Active health checks, if enabled.
    prober: Option<Prober>,
    me: Weak<Self>,
    started: Instant,
    /// Time of the next review, in microseconds since `started`.
    next_review: AtomicU64,
    view: ArcSwap<EndpointView>,
    /// Endpoints with a history of failures. The lock is held while the view is replaced.
    records: Mutex<HashMap<EndpointAddress, EjectionRecord>>,
}

/// The endpoints of a cluster and their health at one point in time.
#[derive(Debug, Default)]
pub(super) struct EndpointView {
    /// All endpoints.
    base: Arc<EndpointSet>,
    /// Endpoints that receive requests.
    pub(super) usable: Arc<EndpointSet>,
    /// Number of endpoints by health.
    pub(super) count: EndpointCount,
    counts: HashMap<EndpointAddress, Arc<Counts>>,
}

/// Number of endpoints by health.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct EndpointCount {
    pub(super) all: usize,
    pub(super) healthy: usize,
}

impl EndpointCount {
    /// `all` endpoints whose health is not tracked.
    pub(super) fn all_healthy(all: usize) -> Self {
        Self { all, healthy: all }
    }

    pub(super) fn add(&mut self, other: Self) {
        self.all += other.all;
        self.healthy += other.healthy;
    }
}

/// Failure counters of an endpoint.
#[derive(Debug, Default)]
struct Counts {
    consecutive_5xx: AtomicU32,
    consecutive_gateway: AtomicU32,
    consecutive_local: AtomicU32,
    responses: FailureRate,
    connections: FailureRate,
}

/// Numbers of failures and of requests in an interval.
#[derive(Debug, Default)]
struct FailureRate {
    all: AtomicU32,
    failed: AtomicU32,
}

/// Ejection history of an endpoint.
#[derive(Clone, Copy, Debug, Default)]
struct EjectionRecord {
    /// Start of the current ejection.
    ejected: Option<Instant>,
    /// Number of ejections, minus the number of intervals without an ejection; at least 0.
    times: u32,
    /// Whether the latest active health checks failed.
    unhealthy: bool,
}

impl OutlierDetector {
    /// Creates a detector without ejections.
    pub(super) fn new(rule: OutlierDetection, panic: u32, prober: Option<Prober>) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            prober,
            me: me.clone(),
            next_review: AtomicU64::new(micros(rule.interval)),
            rule,
            panic,
            started: Instant::now(),
            view: ArcSwap::default(),
            records: Mutex::default(),
        })
    }

    pub(super) fn prober(&self) -> Option<&Prober> {
        self.prober.as_ref()
    }

    /// Records the result of active health checks.
    pub(super) fn set_unhealthy(&self, address: &EndpointAddress, unhealthy: bool) {
        let mut records = self.lock();
        if records.get(address).is_some_and(|record| record.unhealthy) == unhealthy {
            return;
        }
        records.entry(address.clone()).or_default().unhealthy = unhealthy;
        tracing::info!(%address, unhealthy, "endpoint health changed");
        let base = self.view.load().base.clone();
        if let Some(endpoint) = base.find(address).filter(|_| !unhealthy) {
            endpoint.set_recovered();
        }
        self.rebuild_view(&records, base);
    }

    /// The current endpoints.
    pub(super) fn view(&self, cluster: &Cluster) -> Guard<Arc<EndpointView>> {
        let now = Instant::now();
        if micros(now.duration_since(self.started)) >= self.next_review.load(Relaxed) {
            self.review(now);
        }
        let view = self.view.load();
        let base = cluster.endpoint_set();
        if Arc::ptr_eq(&view.base, &base) {
            return view;
        }
        self.rebuild_view(&self.lock(), base.clone());
        self.view.load()
    }

    /// Counts the outcome of an attempt, and ejects the endpoint if a limit is reached.
    pub(super) fn report(&self, address: &EndpointAddress, outcome: Outcome) {
        let view = self.view.load();
        let Some(counts) = view.counts.get(address) else {
            return;
        };
        let rule = &self.rule;
        let limit_reached = match outcome {
            Outcome::Reset | Outcome::Timeout if rule.split_local => {
                counts.connections.record(true);
                is_nth(&counts.consecutive_local, rule.consecutive_local)
            }
            Outcome::Reset => self.count_status(counts, 503),
            Outcome::Timeout => self.count_status(counts, 504),
            Outcome::Response(status) => {
                if rule.split_local {
                    counts.connections.record(false);
                    counts.consecutive_local.store(0, Relaxed);
                }
                self.count_status(counts, status)
            }
        };
        if limit_reached {
            let mut records = self.lock();
            if self.eject(&mut records, &view, address, Instant::now()) {
                let base = self.view.load().base.clone();
                self.rebuild_view(&records, base);
            }
        }
    }

    /// Counts a status; returns whether a limit of consecutive failures is reached.
    fn count_status(&self, counts: &Counts, status: u16) -> bool {
        let failed = status >= 500;
        counts.responses.record(failed);
        let gateway = match status {
            502..=504 => is_nth(&counts.consecutive_gateway, self.rule.consecutive_gateway),
            _ => {
                clear(&counts.consecutive_gateway);
                false
            }
        };
        if !failed {
            clear(&counts.consecutive_5xx);
            return false;
        }
        is_nth(&counts.consecutive_5xx, self.rule.consecutive_5xx) || gateway
    }

    /// Ejects an endpoint unless too many are ejected. Returns whether it was ejected.
    fn eject(
        &self,
        records: &mut HashMap<EndpointAddress, EjectionRecord>,
        view: &EndpointView,
        address: &EndpointAddress,
        now: Instant,
    ) -> bool {
        let is_ejected = |address: &EndpointAddress| {
            records.get(address).is_some_and(EjectionRecord::is_ejected)
        };
        let ejected = view
            .counts
            .keys()
            .filter(|address| is_ejected(address))
            .count();
        let allowed = 100 * (ejected as u64 + 1)
            <= u64::from(self.rule.max_percent) * view.counts.len() as u64;
        if is_ejected(address) || !(allowed || (self.rule.always_one && ejected == 0)) {
            return false;
        }
        let record = records.entry(address.clone()).or_default();
        record.ejected = Some(now);
        if self.rule.base_time.saturating_mul(record.times) < MAX_TIME.max(self.rule.base_time) {
            record.times += 1;
        }
        tracing::info!(%address, times = record.times, "endpoint ejected");
        true
    }

    /// Ends the ejection of endpoints whose ejection time has passed, and ejects endpoints whose failure rate
    /// is too high.
    fn review(&self, now: Instant) {
        // Another caller holds the lock, and may be reviewing.
        let Ok(mut records) = self.records.try_lock() else {
            return;
        };
        let interval = micros(self.rule.interval).max(1);
        let due = self.next_review.load(Relaxed);
        let Some(late) = micros(now.duration_since(self.started)).checked_sub(due) else {
            return;
        };
        let passed = late / interval + 1;
        self.next_review.store(due + passed * interval, Relaxed);
        let view = self.view.load_full();
        let mut changed = false;
        for (address, record) in records.iter_mut() {
            if record.advance(now, passed, self.rule.base_time) {
                changed = true;
                if let Some(counts) = view.counts.get(address) {
                    counts.reset_consecutive();
                }
            }
        }
        for address in self.failing(&view, &records) {
            changed |= self.eject(&mut records, &view, &address, now);
        }
        records.retain(|_, record| record.is_excluded() || record.times > 0);
        if changed {
            self.rebuild_view(&records, view.base.clone());
        }
    }

    /// Endpoints whose failure rate in the past interval is too high. Starts a new interval.
    fn failing(
        &self,
        view: &EndpointView,
        records: &HashMap<EndpointAddress, EjectionRecord>,
    ) -> Vec<EndpointAddress> {
        let Some(limit) = self.rule.failure_percent else {
            return Vec::new();
        };
        let rates: [fn(&Counts) -> &FailureRate; 2] = [|c| &c.responses, |c| &c.connections];
        let mut failing = Vec::new();
        for rate in rates {
            let percentages: Vec<(&EndpointAddress, u64)> = (view.counts.iter())
                .filter(|(address, _)| {
                    !records.get(address).is_some_and(EjectionRecord::is_ejected)
                })
                .filter_map(|(address, counts)| Some((address, rate(counts).take()?)))
                .collect();
            if percentages.len() >= MIN_ENDPOINTS {
                let exceeding = percentages
                    .iter()
                    .filter(|(_, failed)| *failed >= u64::from(limit));
                failing.extend(exceeding.map(|(address, _)| (*address).clone()));
            }
        }
        failing
    }

    /// Replaces the view.
    fn rebuild_view(
        &self,
        records: &HashMap<EndpointAddress, EjectionRecord>,
        base: Arc<EndpointSet>,
    ) {
        let before = self.view.load();
        let addresses = base.endpoints().iter().map(|endpoint| endpoint.address());
        let counts = addresses
            .map(|address| {
                (
                    address.clone(),
                    before.counts.get(address).cloned().unwrap_or_default(),
                )
            })
            .collect();
        let is_healthy = |address: &EndpointAddress| {
            !records
                .get(address)
                .is_some_and(EjectionRecord::is_excluded)
        };
        if let (Some(_), Ok(runtime)) = (&self.prober, Handle::try_current()) {
            let is_new =
                |endpoint: &&Arc<LiveEndpoint>| !before.counts.contains_key(endpoint.address());
            for endpoint in base.endpoints().iter().filter(is_new) {
                runtime.spawn(watch(self.me.clone(), endpoint.clone()));
            }
        }
        let all = base.endpoints().len();
        let healthy = base
            .endpoints()
            .iter()
            .filter(|endpoint| is_healthy(endpoint.address()))
            .count();
        // Health is ignored when too few endpoints are healthy (Envoy: panic).
        let panicking = 100 * healthy < all * self.panic as usize;
        let usable = match healthy < all && !panicking {
            true => Arc::new(base.filter(is_healthy)),
            false => base.clone(),
        };
        self.view.store(Arc::new(EndpointView {
            base,
            usable,
            count: EndpointCount { all, healthy },
            counts,
        }));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<EndpointAddress, EjectionRecord>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EjectionRecord {
    fn is_ejected(&self) -> bool {
        self.ejected.is_some()
    }

    fn is_excluded(&self) -> bool {
        self.unhealthy || self.is_ejected()
    }

    /// Advances the ejection by `intervals` review intervals. Returns whether the ejection ends.
    fn advance(&mut self, now: Instant, intervals: u64, base: Duration) -> bool {
        let Some(since) = self.ejected else {
            let intervals = u32::try_from(intervals).unwrap_or(u32::MAX);
            self.times = self.times.saturating_sub(intervals);
            return false;
        };
        let time = base.saturating_mul(self.times).min(MAX_TIME.max(base));
        let returns = now.duration_since(since) >= time;
        if returns {
            self.ejected = None;
        }
        returns
    }
}

impl Counts {
    /// Resets the consecutive failures when an ejection ends.
    fn reset_consecutive(&self) {
        for row in [
            &self.consecutive_5xx,
            &self.consecutive_gateway,
            &self.consecutive_local,
        ] {
            row.store(0, Relaxed);
        }
    }
}

impl FailureRate {
    fn record(&self, failed: bool) {
        self.all.fetch_add(1, Relaxed);
        self.failed.fetch_add(u32::from(failed), Relaxed);
    }

    /// Percentage of failed requests, or `None` if there were too few requests. Resets the counters.
    fn take(&self) -> Option<u64> {
        let (all, failed) = (self.all.swap(0, Relaxed), self.failed.swap(0, Relaxed));
        (all >= MIN_REQUESTS).then(|| u64::from(failed) * 100 / u64::from(all))
    }
}

/// Counts a failure. Returns whether this is the `limit`-th consecutive failure. If so, the count restarts at
/// 0.
fn is_nth(row: &AtomicU32, limit: u32) -> bool {
    let nth = limit > 0 && row.fetch_add(1, Relaxed) + 1 >= limit;
    if nth {
        row.store(0, Relaxed);
    }
    nth
}

/// Writes only if the value changes, so that successes on several workers do not contend for a cache line.
fn clear(row: &AtomicU32) {
    if row.load(Relaxed) != 0 {
        row.store(0, Relaxed);
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Outcome of a failed attempt; `None` if the client or the gateway caused the failure.
pub(super) fn outcome_of_error(error: &Error) -> Option<Outcome> {
    match error {
        Error::Connect(..)
        | Error::ConnectTimeout(_)
        | Error::BackendTls(..)
        | Error::Terminated(_)
        | Error::RemoteReset(_)
        | Error::Refused(_)
        | Error::Protocol(_) => Some(Outcome::Reset),
        Error::Timeout | Error::AttemptTimeout => Some(Outcome::Timeout),
        Error::NoRoute
        | Error::Misdirected
        | Error::Failed(_)
        | Error::InvalidRewrite
        | Error::InvalidBackend
        | Error::InvalidShare
        | Error::NoEndpoint
        | Error::EmptyShare
        | Error::NoHealthyEndpoint
        | Error::HostDenied
        | Error::ForwardingLoop
        | Error::HostNotResolved(_)
        | Error::Overflow
        | Error::RequestBody(_)
        | Error::RequestTimeout
        | Error::StreamIdle(_)
        | Error::StreamDuration(_)
        | Error::RequestDuration(_)
        | Error::Retried { .. }
        | Error::UpgradeRefused => None,
    }
}

/// Outcome of a response. The status of a gRPC response without a body is its `grpc-status`.
pub(super) fn outcome_of_response(head: &response::Parts) -> Outcome {
    let field = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    let grpc = field("content-type").is_some_and(|kind| kind.starts_with("application/grpc"));
    let code = field("grpc-status").filter(|_| grpc);
    let code = code.and_then(|code| code.trim().parse::<u32>().ok());
    Outcome::Response(match code {
        None => head.status.as_u16(),
        // UNKNOWN, INTERNAL, DATA_LOSS: failures of the server.
        Some(2 | 13 | 15) => 500,
        // UNIMPLEMENTED
        Some(12) => 501,
        // UNAVAILABLE
        Some(14) => 503,
        // DEADLINE_EXCEEDED
        Some(4) => 504,
        Some(_) => 200,
    })
}

#[cfg(test)]
mod tests;
