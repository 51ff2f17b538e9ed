//! Endpoints that fail get no requests for a while (Envoy: outlier detection).
//!
//! ```text
//! attempt ──report──> Detector ── enough in a row, or too large a share ──> out
//! pick    ──view────>     └─────── its time is over ──> back
//! ```
//!
//! A [`Detector`] belongs to one backend of one rule and outlives changes of the configuration, as long
//! as its parameters stay. There is no task, but those of a [`Prober`]: whoever picks an endpoint after an interval is over looks
//! after those that are out. Requests only read a [`View`], which is replaced whole when the endpoints
//! change or one of them goes out or comes back.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use http::response;
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::prober::{Prober, watch};
use crate::balance::{Cluster, Members, Node};
use crate::error::Error;
use crate::plan::OutlierDetection;

/// The longest time out, unless the first is longer (Envoy `max_ejection_time`).
const MAX_TIME: Duration = Duration::from_secs(300);
/// Requests of an interval without which a share says nothing.
const MIN_REQUESTS: u32 = 50;
/// Endpoints with so many requests without which shares are not compared.
const MIN_ENDPOINTS: usize = 5;

/// What came of an attempt.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Outcome {
    /// The endpoint answered with this status.
    Answer(u16),
    /// No connection, or it ended before the response's head.
    Reset,
    /// The response's head did not come in time.
    Timeout,
}

/// Decides which endpoints of a backend get requests.
#[derive(Debug)]
pub(super) struct Detector {
    rule: OutlierDetection,
    /// Below this share of healthy endpoints, health does not count.
    panic: u32,
    /// Asks endpoints how they are.
    prober: Option<Prober>,
    me: Weak<Self>,
    started: Instant,
    /// When to look next at who comes back, in microseconds since the start.
    next_look: AtomicU64,
    view: ArcSwap<View>,
    /// Who is out. Held while the view is replaced.
    records: Mutex<HashMap<SocketAddr, Record>>,
}

/// Endpoints at one moment.
#[derive(Debug, Default)]
pub(super) struct View {
    /// All.
    base: Arc<Members>,
    /// Those that get requests.
    pub(super) usable: Arc<Members>,
    counts: HashMap<SocketAddr, Arc<Counts>>,
}

/// What is counted of an endpoint.
#[derive(Debug, Default)]
struct Counts {
    in_a_row_5xx: AtomicU32,
    in_a_row_gateway: AtomicU32,
    in_a_row_local: AtomicU32,
    answers: Share,
    connections: Share,
}

/// Failures and successes of an interval.
#[derive(Debug, Default)]
struct Share {
    all: AtomicU32,
    failed: AtomicU32,
}

/// The past of an endpoint that failed.
#[derive(Clone, Copy, Debug, Default)]
struct Record {
    /// Since when it is out.
    out: Option<Instant>,
    /// How often it was; falls by one with each interval in which it is not.
    times: u32,
    /// It says itself that it is not well, or says nothing.
    ill: bool,
}

impl Detector {
    /// Nobody is out.
    pub(super) fn new(rule: OutlierDetection, panic: u32, prober: Option<Prober>) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            prober,
            me: me.clone(),
            next_look: AtomicU64::new(micros(rule.interval)),
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

    /// Notes what an endpoint says of itself.
    pub(super) fn set_ill(&self, address: SocketAddr, ill: bool) {
        let mut records = self.lock();
        if records.get(&address).is_some_and(|record| record.ill) == ill {
            return;
        }
        records.entry(address).or_default().ill = ill;
        tracing::info!(%address, ill, "endpoint was asked how it is");
        let base = self.view.load().base.clone();
        self.renew(&records, base);
    }

    /// The endpoints of this moment.
    pub(super) fn view(&self, cluster: &Cluster) -> Guard<Arc<View>> {
        let now = Instant::now();
        if micros(now.duration_since(self.started)) >= self.next_look.load(Relaxed) {
            self.look(now);
        }
        let view = self.view.load();
        let base = cluster.members();
        if Arc::ptr_eq(&view.base, &base) {
            return view;
        }
        self.renew(&self.lock(), base.clone());
        self.view.load()
    }

    /// Counts what came of an attempt.
    pub(super) fn report(&self, address: SocketAddr, outcome: Outcome) {
        let view = self.view.load();
        let Some(counts) = view.counts.get(&address) else {
            return;
        };
        let rule = &self.rule;
        let enough = match outcome {
            Outcome::Reset | Outcome::Timeout if rule.split_local => {
                counts.connections.note(true);
                is_nth(&counts.in_a_row_local, rule.consecutive_local)
            }
            Outcome::Reset => self.count_status(counts, 503),
            Outcome::Timeout => self.count_status(counts, 504),
            Outcome::Answer(status) => {
                if rule.split_local {
                    counts.connections.note(false);
                    counts.in_a_row_local.store(0, Relaxed);
                }
                self.count_status(counts, status)
            }
        };
        if enough {
            let mut records = self.lock();
            if self.put_out(&mut records, &view, address, Instant::now()) {
                let base = self.view.load().base.clone();
                self.renew(&records, base);
            }
        }
    }

    /// Whether it is one too many.
    fn count_status(&self, counts: &Counts, status: u16) -> bool {
        let failed = status >= 500;
        counts.answers.note(failed);
        let gateway = match status {
            502..=504 => is_nth(&counts.in_a_row_gateway, self.rule.consecutive_gateway),
            _ => {
                clear(&counts.in_a_row_gateway);
                false
            }
        };
        if !failed {
            clear(&counts.in_a_row_5xx);
            return false;
        }
        is_nth(&counts.in_a_row_5xx, self.rule.consecutive_5xx) || gateway
    }

    /// Puts an endpoint out, unless too many are. Returns whether it is now.
    fn put_out(
        &self,
        records: &mut HashMap<SocketAddr, Record>,
        view: &View,
        address: SocketAddr,
        now: Instant,
    ) -> bool {
        let is_out = |address: &SocketAddr| records.get(address).is_some_and(Record::is_out);
        let out = view.counts.keys().filter(|address| is_out(address)).count();
        let share =
            100 * (out as u64 + 1) <= u64::from(self.rule.max_percent) * view.counts.len() as u64;
        if is_out(&address) || !(share || (self.rule.always_one && out == 0)) {
            return false;
        }
        let record = records.entry(address).or_default();
        record.out = Some(now);
        if self.rule.base_time.saturating_mul(record.times) < MAX_TIME.max(self.rule.base_time) {
            record.times += 1;
        }
        tracing::info!(%address, times = record.times, "endpoint fails and gets no requests");
        true
    }

    /// Takes back whose time is over, and puts out whose share of failures is too large.
    fn look(&self, now: Instant) {
        // Whoever is late finds that another does it.
        let Ok(mut records) = self.records.try_lock() else {
            return;
        };
        let interval = micros(self.rule.interval).max(1);
        let due = self.next_look.load(Relaxed);
        let Some(late) = micros(now.duration_since(self.started)).checked_sub(due) else {
            return;
        };
        let passed = late / interval + 1;
        self.next_look.store(due + passed * interval, Relaxed);
        let view = self.view.load_full();
        let mut changed = false;
        for (address, record) in records.iter_mut() {
            if record.pass(now, passed, self.rule.base_time) {
                changed = true;
                if let Some(counts) = view.counts.get(address) {
                    counts.forget_rows();
                }
            }
        }
        for address in self.worst(&view, &records) {
            changed |= self.put_out(&mut records, &view, address, now);
        }
        records.retain(|_, record| record.is_shunned() || record.times > 0);
        if changed {
            self.renew(&records, view.base.clone());
        }
    }

    /// Who failed for too large a share of the interval that is over. A new interval begins.
    fn worst(&self, view: &View, records: &HashMap<SocketAddr, Record>) -> Vec<SocketAddr> {
        let Some(limit) = self.rule.failure_percent else {
            return Vec::new();
        };
        let kinds: [fn(&Counts) -> &Share; 2] = [|c| &c.answers, |c| &c.connections];
        let mut worst = Vec::new();
        for share in kinds {
            let shares: Vec<(SocketAddr, u64)> = (view.counts.iter())
                .filter(|(address, _)| !records.get(address).is_some_and(Record::is_out))
                .filter_map(|(address, counts)| Some((*address, share(counts).take()?)))
                .collect();
            if shares.len() >= MIN_ENDPOINTS {
                let bad = shares
                    .iter()
                    .filter(|(_, failed)| *failed >= u64::from(limit));
                worst.extend(bad.map(|(address, _)| *address));
            }
        }
        worst
    }

    /// Replaces the view.
    fn renew(&self, records: &HashMap<SocketAddr, Record>, base: Arc<Members>) {
        let before = self.view.load();
        let addresses = base.nodes().iter().map(|node| node.address());
        let counts = addresses
            .map(|address| {
                (
                    address,
                    before.counts.get(&address).cloned().unwrap_or_default(),
                )
            })
            .collect();
        let is_well = |address: SocketAddr| !records.get(&address).is_some_and(Record::is_shunned);
        if let (Some(_), Ok(runtime)) = (&self.prober, Handle::try_current()) {
            let new = |node: &&Arc<Node>| !before.counts.contains_key(&node.address());
            for node in base.nodes().iter().filter(new) {
                runtime.spawn(watch(self.me.clone(), node.clone()));
            }
        }
        let all = base.nodes().len();
        let well = base
            .nodes()
            .iter()
            .filter(|node| is_well(node.address()))
            .count();
        // Health does not count any more when too few are left (Envoy: panic).
        let panics = 100 * well < all * self.panic as usize;
        let usable = match well < all && !panics {
            true => Arc::new(base.only(is_well)),
            false => base.clone(),
        };
        self.view.store(Arc::new(View {
            base,
            usable,
            counts,
        }));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SocketAddr, Record>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Record {
    fn is_out(&self) -> bool {
        self.out.is_some()
    }

    fn is_shunned(&self) -> bool {
        self.ill || self.is_out()
    }

    /// `intervals` have passed. Returns whether the endpoint comes back.
    fn pass(&mut self, now: Instant, intervals: u64, base: Duration) -> bool {
        let Some(since) = self.out else {
            let intervals = u32::try_from(intervals).unwrap_or(u32::MAX);
            self.times = self.times.saturating_sub(intervals);
            return false;
        };
        let time = base.saturating_mul(self.times).min(MAX_TIME.max(base));
        let back = now.duration_since(since) >= time;
        if back {
            self.out = None;
        }
        back
    }
}

impl Counts {
    /// An endpoint that comes back starts anew.
    fn forget_rows(&self) {
        for row in [
            &self.in_a_row_5xx,
            &self.in_a_row_gateway,
            &self.in_a_row_local,
        ] {
            row.store(0, Relaxed);
        }
    }
}

impl Share {
    fn note(&self, failed: bool) {
        self.all.fetch_add(1, Relaxed);
        self.failed.fetch_add(u32::from(failed), Relaxed);
    }

    /// The failures in per cent, if there is enough to judge by; counts from 0 again.
    fn take(&self) -> Option<u64> {
        let (all, failed) = (self.all.swap(0, Relaxed), self.failed.swap(0, Relaxed));
        (all >= MIN_REQUESTS).then(|| u64::from(failed) * 100 / u64::from(all))
    }
}

/// Counts a failure; whether it is the `limit`-th in a row, after which the next is the first again.
fn is_nth(row: &AtomicU32, limit: u32) -> bool {
    let nth = limit > 0 && row.fetch_add(1, Relaxed) + 1 >= limit;
    if nth {
        row.store(0, Relaxed);
    }
    nth
}

/// Writes only what changes, so that successes of several workers do not fight for a cache line.
fn clear(row: &AtomicU32) {
    if row.load(Relaxed) != 0 {
        row.store(0, Relaxed);
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// What a failure says of the endpoint; `None`: nothing, as it is the client's or the gateway's.
pub(super) fn of_error(error: &Error) -> Option<Outcome> {
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
        | Error::InvalidBackend
        | Error::InvalidShare
        | Error::NoEndpoint
        | Error::EmptyShare
        | Error::NoHealthyEndpoint
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

/// What a response says. A gRPC call that fails at once says so by its `grpc-status`.
pub(super) fn of_response(head: &response::Parts) -> Outcome {
    let field = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    let grpc = field("content-type").is_some_and(|kind| kind.starts_with("application/grpc"));
    let code = field("grpc-status").filter(|_| grpc);
    let code = code.and_then(|code| code.trim().parse::<u32>().ok());
    Outcome::Answer(match code {
        None => head.status.as_u16(),
        // UNKNOWN, INTERNAL, DATA_LOSS
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
