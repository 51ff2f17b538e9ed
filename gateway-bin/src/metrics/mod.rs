//! Metrics are counted per worker and summed up when they are scraped.
//!
//! Each worker has its own counts behind a lock. Only a scrape contends for this lock: it replaces the counts
//! with empty ones, then adds the removed counts to the totals.

mod counts;
mod families;
mod rules;
mod text;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use towergate_core::gateway::{PolicyFault, PolicyFaults};
use towergate_core::observer::{Event, Observer};
use towergate_core::plan::{Port, RouteId};
use towergate_k8s::ingress::MigrationOutcome;

use counts::Counts;

/// An observer that counts events and writes them in the text format of Prometheus.
pub(crate) struct Metrics {
    /// Identifies this instance in thread-local state.
    id: u64,
    shards: Mutex<Vec<Arc<Mutex<Counts>>>>,
    totals: Mutex<Counts>,
    /// Counts of the control loop.
    pub(crate) config: ConfigCounts,
    dropped_log_lines: OnceLock<Arc<AtomicU64>>,
    policy_faults: OnceLock<PolicyFaults>,
}

/// Counts of the control loop.
#[derive(Debug, Default)]
pub(crate) struct ConfigCounts {
    /// Number of configurations that came into service, which is also the version of the current
    /// configuration.
    pub(crate) applied: AtomicU64,
    /// Rejected configurations.
    pub(crate) rejected: AtomicU64,
    /// Errors in the manifests at the last read.
    pub(crate) errors: AtomicU64,
    /// Addresses that could not be bound.
    pub(crate) unbound: AtomicU64,
    /// Unix time at which the current configuration came into service, in seconds.
    pub(crate) applied_at: AtomicU64,
    /// The addresses of each port. Kept after the port is closed.
    pub(crate) bound: Mutex<BTreeMap<u16, Vec<IpAddr>>>,
    /// Names of rules in metrics (`routeStatName`), by rule.
    stat_names: Mutex<BTreeSet<(Arc<RouteId>, usize, String)>>,
    /// Number of settings of Ingresses by outcome of the translation.
    ingress_settings: Mutex<Vec<(MigrationOutcome, usize)>>,
}

impl ConfigCounts {
    /// Records the addresses of the ports of a plan.
    pub(crate) fn note_ports<P>(&self, ports: &[Port<P>]) {
        let mut now: BTreeMap<u16, Vec<IpAddr>> = BTreeMap::new();
        for port in ports {
            now.entry(port.port).or_default().extend(&port.addresses);
        }
        lock(&self.bound).extend(now);
    }

    /// Records the names of the rules of a plan.
    pub(crate) fn note_stat_names<P>(&self, ports: &[Port<P>]) {
        let listeners = ports.iter().flat_map(|port| &port.listeners);
        let routes = listeners.flat_map(|listener| &listener.routes);
        let rules = routes.flat_map(|route| &route.rules);
        let names = rules.filter_map(|rule| {
            let name = rule.stat_name()?;
            Some((rule.route.clone(), rule.index, name))
        });
        *lock(&self.stat_names) = names.collect();
    }

    /// Records the outcomes of the translation of Ingresses. Empty: no Ingresses are served.
    pub(crate) fn note_ingress_settings(&self, settings: Vec<(MigrationOutcome, usize)>) {
        *lock(&self.ingress_settings) = settings;
    }
}

/// The counts of a worker thread.
struct LocalCounts {
    owner: u64,
    counts: Arc<Mutex<Counts>>,
}

thread_local! {
    /// The counts of this thread for each [`Metrics`] that it has used. The program has only one `Metrics`.
    static LOCALS: RefCell<Vec<LocalCounts>> = const { RefCell::new(Vec::new()) };
}

impl Default for Metrics {
    fn default() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            shards: Mutex::default(),
            totals: Mutex::default(),
            config: ConfigCounts::default(),
            dropped_log_lines: OnceLock::new(),
            policy_faults: OnceLock::new(),
        }
    }
}

impl Metrics {
    /// Sets the counter of dropped access log lines.
    pub(crate) fn set_dropped_log_lines(&self, counter: Arc<AtomicU64>) {
        // There is one access log, so the counter is set once.
        let _ = self.dropped_log_lines.set(counter);
    }

    /// Sets the source of [`Self::policy_faults`].
    pub(crate) fn set_policy_faults(&self, faults: PolicyFaults) {
        // There is one data plane, so the source is set once.
        let _ = self.policy_faults.set(faults);
    }

    /// The policies in service that cannot be enforced.
    pub(crate) fn policy_faults(&self) -> Vec<PolicyFault> {
        let faults = self.policy_faults.get();
        faults.map(PolicyFaults::list).unwrap_or_default()
    }

    /// All metrics in the text format of Prometheus.
    pub(crate) fn render(&self) -> String {
        let shards = lock(&self.shards).clone();
        let mut totals = lock(&self.totals);
        for shard in shards {
            let counts = std::mem::take(&mut *lock(&shard));
            totals.add(counts);
        }
        let dropped = self
            .dropped_log_lines
            .get()
            .map_or(0, |n| n.load(Ordering::Relaxed));
        text::render(&totals, &self.config, dropped, &self.policy_faults())
    }

    fn with_local<T>(&self, act: impl FnOnce(&mut LocalCounts) -> T) -> T {
        LOCALS.with_borrow_mut(|locals| {
            let index = locals.iter().position(|local| local.owner == self.id);
            let index = index.unwrap_or_else(|| {
                let counts = Arc::<Mutex<Counts>>::default();
                lock(&self.shards).push(Arc::clone(&counts));
                locals.push(LocalCounts {
                    owner: self.id,
                    counts,
                });
                locals.len() - 1
            });
            act(&mut locals[index])
        })
    }
}

impl Observer for Metrics {
    fn observe(&self, event: &Event<'_>) {
        self.with_local(|local| lock(&local.counts).count(event));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use towergate_core::plan::{
        BackendId, Listener, ListenerId, PathMatch, Route, Rule, TcpSettings,
    };

    use super::*;

    fn backend() -> BackendId {
        BackendId::service("a", "b\"", 80)
    }

    #[test]
    fn counts_of_all_workers_are_added_once() {
        let metrics = Arc::new(Metrics::default());
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let metrics = Arc::clone(&metrics);
                std::thread::spawn(move || {
                    metrics.observe(&Event::ConnectionOpened(80));
                    metrics.observe(&Event::ConnectionOpened(80));
                    metrics.observe(&Event::ConnectionClosed(80));
                })
            })
            .collect();
        for thread in threads {
            thread.join().expect("the thread succeeds");
        }

        for _ in 0..2 {
            let text = metrics.render();
            assert!(
                text.contains(
                    "envoy_listener_downstream_cx_total{envoy_listener_address=\"*_80\"} 6\n"
                ),
                "{text}"
            );
            assert!(
                text.contains(
                    "envoy_listener_downstream_cx_active{envoy_listener_address=\"*_80\"} 3\n"
                ),
                "{text}"
            );
        }
    }

    #[test]
    fn labels_are_escaped_and_reasons_kept() {
        let metrics = Metrics::default();

        metrics.observe(&Event::Overflowed(&backend()));
        metrics.observe(&Event::TlsFailed(443, "no_certificate"));
        metrics.observe(&Event::UpstreamConnected(
            &backend(),
            Duration::from_millis(7),
        ));

        let text = metrics.render();
        let cluster = r#"envoy_cluster_name="Service/a/b\":80""#;
        for line in [
            format!("envoy_cluster_upstream_rq_pending_overflow{{{cluster}}} 1\n"),
            format!("envoy_cluster_upstream_cx_connect_ms_bucket{{{cluster},le=\"5\"}} 0\n"),
            format!("envoy_cluster_upstream_cx_connect_ms_bucket{{{cluster},le=\"10\"}} 1\n"),
            format!("envoy_cluster_upstream_cx_connect_ms_bucket{{{cluster},le=\"+Inf\"}} 1\n"),
            format!("envoy_cluster_upstream_cx_connect_ms_sum{{{cluster}}} 7\n"),
            "envoy_listener_ssl_connection_error{envoy_listener_address=\"*_443\",reason=\"no_certificate\"} 1\n"
                .to_owned(),
        ] {
            assert!(text.contains(&line), "{line}{text}");
        }
    }

    #[test]
    fn connections_and_sessions_are_counted_by_listener_and_by_route() {
        use crate::access_log::names::tests::stream;
        use towergate_core::access_log::Entry;
        use towergate_core::plan::RouteKind;
        let metrics = Metrics::default();
        let id = ListenerId {
            namespace: "a".into(),
            gateway: "b".into(),
            listener: "c".into(),
        };
        let connection = stream();
        let mut session = connection.clone();
        if let Some(rule) = &mut session.rule {
            Arc::make_mut(&mut Arc::make_mut(rule).route).kind = RouteKind::Udp;
        }
        let refused = Entry {
            flags: "NR".into(),
            rule: None,
            ..connection.clone()
        };

        for entry in [&connection, &connection, &session, &refused] {
            metrics.observe(&Event::Stream(&id, entry));
        }
        metrics.observe(&Event::SessionOpened(53));
        metrics.observe(&Event::DatagramDropped(53, "no_endpoint"));

        let text = metrics.render();
        let cluster = |kind: &str| format!("envoy_cluster_name=\"{kind}/team-a/app/rule/-1\"");
        for line in [
            "envoy_tcp_downstream_cx_total{envoy_tcp_prefix=\"a/b/c\"} 3\n".to_owned(),
            "towergate_tcp_downstream_cx_failed{envoy_tcp_prefix=\"a/b/c\"} 1\n".to_owned(),
            "envoy_tcp_downstream_cx_rx_bytes_total{envoy_tcp_prefix=\"a/b/c\"} 9\n".to_owned(),
            "envoy_udp_downstream_sess_total{envoy_udp_prefix=\"a/b/c\"} 1\n".to_owned(),
            "envoy_udp_downstream_sess_tx_bytes{envoy_udp_prefix=\"a/b/c\"} 14\n".to_owned(),
            "envoy_udp_downstream_sess_active{envoy_listener_address=\"*_53\"} 1\n".to_owned(),
            "towergate_udp_downstream_dropped{envoy_listener_address=\"*_53\",reason=\"no_endpoint\"} 1\n"
                .to_owned(),
            format!("towergate_stream_total{{{}}} 2\n", cluster("tcproute")),
            format!("towergate_stream_rx_bytes{{{}}} 3\n", cluster("udproute")),
        ] {
            assert!(text.contains(&line), "{line}{text}");
        }
    }

    #[test]
    fn rules_have_the_names_of_the_plan_in_service() {
        let metrics = Metrics::default();
        let named = |name: &str| {
            let mut rule = Rule::<()>::new(PathMatch::Prefix("/".to_owned()));
            rule.name = Some("first".to_owned());
            Arc::make_mut(&mut rule.traffic).stat_name = Some(name.to_owned());
            let route = Route::new("a", "r", vec![rule]);
            [Port::new(
                80,
                vec![Listener::http("a", "g", 80, vec![route])],
            )]
        };

        metrics.config.note_stat_names(&named("earlier"));
        metrics.config.note_stat_names(&named(
            "%ROUTE_KIND%/%ROUTE_NAMESPACE%/%ROUTE_NAME%/%ROUTE_RULE_NAME%",
        ));

        let text = metrics.render();
        let line = r#"towergate_rule_stat_name{envoy_cluster_name="httproute/a/r/rule/0",envoy_route="HTTPRoute/a/r/first"} 1"#;
        assert!(text.lines().any(|found| found == line), "{text}");
        assert!(!text.contains("earlier"));
    }

    #[test]
    fn sockets_and_handshakes_have_envoys_names() {
        let metrics = Metrics::default();
        let id = ListenerId {
            namespace: "a".into(),
            gateway: "b".into(),
            listener: "c".into(),
        };
        let port = |port, addresses: &[&str]| Port::<()> {
            addresses: addresses
                .iter()
                .map(|a| a.parse().expect("an address"))
                .collect(),
            port,
            tcp: TcpSettings::default(),
            listeners: Vec::new(),
        };

        metrics.config.note_ports(&[
            port(443, &["0.0.0.0"]),
            port(444, &["::"]),
            port(445, &["10.0.0.1", "10.0.0.2"]),
        ]);
        for port in [443, 444, 445] {
            metrics.observe(&Event::TlsHandshake(port, &id, "TLSv1.3", true));
        }

        let text = metrics.render();
        for socket in ["0.0.0.0_443", "[__]_444", "*_445"] {
            let label = format!("envoy_listener_address=\"{socket}\"");
            for line in [
                format!("envoy_listener_ssl_handshake{{{label}}} 1\n"),
                format!("envoy_listener_ssl_session_reused{{{label}}} 1\n"),
                format!("envoy_listener_ssl_versions{{{label},envoy_ssl_version=\"TLSv1.3\"}} 1\n"),
            ] {
                assert!(text.contains(&line), "{line}{text}");
            }
        }
    }
}
