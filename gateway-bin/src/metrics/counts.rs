//! Counters by port, listener, rule and backend.

use std::collections::BTreeMap;
use std::hash::Hash;
use std::time::Duration;

use foldhash::HashMap;
use towergate_core::access_log::Entry;
use towergate_core::observer::Event;
use towergate_core::plan::{BackendId, ListenerId, RouteId, RouteKind};

use super::rules::Rules;

/// The counts of one worker, or the totals.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) ports: HashMap<u16, PortCounts>,
    pub(super) listeners: HashMap<ListenerId, ListenerCounts>,
    pub(super) rules: Rules,
    pub(super) backends: HashMap<BackendId, BackendCounts>,
    /// Proxied TCP and TLS passthrough connections.
    pub(super) streams: HashMap<ListenerId, StreamCounts>,
    /// UDP sessions.
    pub(super) sessions: HashMap<ListenerId, StreamCounts>,
    /// Connections and sessions by route.
    pub(super) stream_routes: HashMap<RouteId, StreamCounts>,
}

/// Counts by reason.
pub(super) type Reasons = BTreeMap<&'static str, u64>;

#[derive(Debug, Default)]
pub(super) struct PortCounts {
    pub(super) opened: u64,
    pub(super) closed: u64,
    pub(super) refused: u64,
    pub(super) unexpected_proxy: u64,
    pub(super) proxy_rejected: Reasons,
    pub(super) tls_failed: Reasons,
    /// Handshakes by TLS version.
    pub(super) handshakes: Reasons,
    pub(super) resumed: u64,
    pub(super) codec_errors: Reasons,
    pub(super) abuse: Reasons,
    /// UDP sessions.
    pub(super) sessions_opened: u64,
    pub(super) sessions_closed: u64,
    pub(super) datagrams_dropped: Reasons,
}

#[derive(Debug, Default)]
pub(super) struct ListenerCounts {
    pub(super) requests: u64,
    /// Requests by status class. 0: no response was sent.
    pub(super) classes: [u64; 10],
    pub(super) time: Histogram,
    pub(super) received: u64,
    pub(super) sent: u64,
}

/// Counts of closed connections or sessions.
#[derive(Debug, Default)]
pub(super) struct StreamCounts {
    pub(super) ended: u64,
    /// Connections or sessions that were not forwarded to a backend.
    pub(super) failed: u64,
    pub(super) received: u64,
    pub(super) sent: u64,
}

#[derive(Debug, Default)]
pub(super) struct BackendCounts {
    pub(super) connected: u64,
    pub(super) failed: u64,
    pub(super) closed: u64,
    pub(super) retried: u64,
    pub(super) overflowed: u64,
    pub(super) mirrored: u64,
    pub(super) mirrors_failed: u64,
    pub(super) connect_time: Histogram,
}

/// Upper bounds of histogram buckets in milliseconds, as in Envoy.
pub(super) const BOUNDS: [f64; 19] = [
    0.5,
    1.0,
    5.0,
    10.0,
    25.0,
    50.0,
    100.0,
    250.0,
    500.0,
    1000.0,
    2500.0,
    5000.0,
    10_000.0,
    30_000.0,
    60_000.0,
    300_000.0,
    600_000.0,
    1_800_000.0,
    3_600_000.0,
];

/// A histogram of durations.
#[derive(Clone, Debug, Default)]
#[repr(C)]
pub(super) struct Histogram {
    /// The sum in milliseconds. It shares a cache line with the buckets of short durations, which are counted most
    /// often.
    pub(super) sum: f64,
    /// Counts per bucket, not cumulative. The last bucket has no bound.
    pub(super) buckets: [u64; BOUNDS.len() + 1],
}

impl Counts {
    /// Counts an event.
    pub(super) fn count(&mut self, event: &Event<'_>) {
        match *event {
            Event::ConnectionOpened(port) => self.port(port).opened += 1,
            Event::ConnectionClosed(port) => self.port(port).closed += 1,
            Event::ConnectionRefused(port) => self.port(port).refused += 1,
            Event::ProxyRejected(port, why) => one(&mut self.port(port).proxy_rejected, why),
            Event::UnexpectedProxyHeader(port, _) => self.port(port).unexpected_proxy += 1,
            Event::TlsFailed(port, why) => one(&mut self.port(port).tls_failed, why),
            Event::CodecError(port, why) => one(&mut self.port(port).codec_errors, why),
            Event::Abuse(port, which) => one(&mut self.port(port).abuse, which),
            Event::TlsHandshake(port, _, version, resumed) => {
                let counts = self.port(port);
                one(&mut counts.handshakes, version);
                counts.resumed += u64::from(resumed);
            }
            Event::Request(listener, entry) => self.request(listener, entry),
            Event::Stream(listener, entry) => self.stream(listener, entry),
            Event::SessionOpened(port) => self.port(port).sessions_opened += 1,
            Event::SessionClosed(port) => self.port(port).sessions_closed += 1,
            Event::DatagramDropped(port, why) => one(&mut self.port(port).datagrams_dropped, why),
            Event::UpstreamConnected(backend, time) => {
                at(&mut self.backends, backend, |counts| {
                    counts.connected += 1;
                    counts.connect_time.record(time);
                });
            }
            Event::UpstreamConnectFailed(backend) => {
                at(&mut self.backends, backend, |counts| counts.failed += 1);
            }
            Event::UpstreamClosed(backend) => {
                at(&mut self.backends, backend, |counts| counts.closed += 1);
            }
            Event::Retried(backend) => {
                at(&mut self.backends, backend, |counts| counts.retried += 1);
            }
            Event::Overflowed(backend) => {
                at(&mut self.backends, backend, |counts| counts.overflowed += 1);
            }
            Event::Mirrored(backend) => {
                at(&mut self.backends, backend, |counts| counts.mirrored += 1);
            }
            Event::MirrorFailed(backend) => {
                at(&mut self.backends, backend, |counts| {
                    counts.mirrors_failed += 1;
                });
            }
            // `Event` is non-exhaustive. Events without a metric are ignored.
            _ => {}
        }
    }

    fn request(&mut self, listener: &ListenerId, entry: &Entry) {
        let class = entry
            .status
            .map_or(0, |status| usize::from(status.as_u16() / 100).min(9));
        at(&mut self.listeners, listener, |counts| {
            counts.requests += 1;
            counts.classes[class] += 1;
            counts.time.record(entry.duration);
            counts.received += entry.bytes_received;
            counts.sent += entry.bytes_sent;
        });
        let (Some(rule), Some(_)) = (&entry.rule, &entry.upstream_host) else {
            return;
        };
        let counts = self.rules.at(rule);
        counts.requests += 1;
        counts.classes[class] += 1;
        if let Some(time) = entry.upstream_time {
            counts.time.record(time);
        }
    }

    fn stream(&mut self, listener: &ListenerId, entry: &Entry) {
        let route = entry.rule.as_ref().map(|rule| &*rule.route);
        let of_listeners = match route {
            Some(route) if route.kind == RouteKind::Udp => &mut self.sessions,
            _ => &mut self.streams,
        };
        at(of_listeners, listener, |counts| counts.count(entry));
        if let Some(route) = route {
            at(&mut self.stream_routes, route, |counts| counts.count(entry));
        }
    }

    fn port(&mut self, port: u16) -> &mut PortCounts {
        self.ports.entry(port).or_default()
    }

    /// Adds the counts of another worker.
    pub(super) fn add(&mut self, other: Self) {
        for (port, counts) in other.ports {
            self.port(port).add(counts);
        }
        for (listener, counts) in other.listeners {
            self.listeners.entry(listener).or_default().add(counts);
        }
        self.rules.add(other.rules);
        for (backend, counts) in other.backends {
            self.backends.entry(backend).or_default().add(&counts);
        }
        for (mine, theirs) in [
            (&mut self.streams, other.streams),
            (&mut self.sessions, other.sessions),
        ] {
            for (listener, counts) in theirs {
                mine.entry(listener).or_default().add(&counts);
            }
        }
        for (route, counts) in other.stream_routes {
            self.stream_routes.entry(route).or_default().add(&counts);
        }
    }
}

impl PortCounts {
    fn add(&mut self, other: Self) {
        self.opened += other.opened;
        self.closed += other.closed;
        self.refused += other.refused;
        self.unexpected_proxy += other.unexpected_proxy;
        self.resumed += other.resumed;
        self.sessions_opened += other.sessions_opened;
        self.sessions_closed += other.sessions_closed;
        for (mine, theirs) in [
            (&mut self.proxy_rejected, other.proxy_rejected),
            (&mut self.tls_failed, other.tls_failed),
            (&mut self.handshakes, other.handshakes),
            (&mut self.codec_errors, other.codec_errors),
            (&mut self.abuse, other.abuse),
            (&mut self.datagrams_dropped, other.datagrams_dropped),
        ] {
            add_reasons(mine, theirs);
        }
    }
}

impl ListenerCounts {
    fn add(&mut self, other: Self) {
        self.requests += other.requests;
        add_each(&mut self.classes, &other.classes);
        self.time.add(&other.time);
        self.received += other.received;
        self.sent += other.sent;
    }
}

impl StreamCounts {
    fn count(&mut self, entry: &Entry) {
        self.ended += 1;
        // Response flags of connections that failed before a backend was reached.
        let failed = ["NR", "NC", "UH", "UO", "UF"];
        self.failed += u64::from(failed.iter().any(|flag| entry.flags.starts_with(flag)));
        self.received += entry.bytes_received;
        self.sent += entry.bytes_sent;
    }

    fn add(&mut self, other: &Self) {
        self.ended += other.ended;
        self.failed += other.failed;
        self.received += other.received;
        self.sent += other.sent;
    }
}

impl BackendCounts {
    fn add(&mut self, other: &Self) {
        self.connected += other.connected;
        self.failed += other.failed;
        self.closed += other.closed;
        self.retried += other.retried;
        self.overflowed += other.overflowed;
        self.mirrored += other.mirrored;
        self.mirrors_failed += other.mirrors_failed;
        self.connect_time.add(&other.connect_time);
    }
}

impl Histogram {
    pub(super) fn record(&mut self, time: Duration) {
        let millis = time.as_secs_f64() * 1000.0;
        let bucket = BOUNDS
            .iter()
            .position(|bound| millis <= *bound)
            .unwrap_or(BOUNDS.len());
        self.buckets[bucket] += 1;
        self.sum += millis;
    }

    pub(super) fn add(&mut self, other: &Self) {
        add_each(&mut self.buckets, &other.buckets);
        self.sum += other.sum;
    }
}

/// Applies `count` to the counts of `key`. The key is cloned only if it is new.
pub(super) fn at<K, V>(map: &mut HashMap<K, V>, key: &K, count: impl FnOnce(&mut V))
where
    K: Clone + Eq + Hash,
    V: Default,
{
    match map.get_mut(key) {
        Some(counts) => count(counts),
        None => count(map.entry(key.clone()).or_default()),
    }
}

fn one(reasons: &mut Reasons, why: &'static str) {
    *reasons.entry(why).or_default() += 1;
}

fn add_reasons(mine: &mut Reasons, theirs: Reasons) {
    for (why, count) in theirs {
        *mine.entry(why).or_default() += count;
    }
}

pub(super) fn add_each(mine: &mut [u64], theirs: &[u64]) {
    for (mine, theirs) in mine.iter_mut().zip(theirs) {
        *mine += theirs;
    }
}
