//! The metrics page of the data plane. A metric that Envoy also has uses Envoy's name.

use std::net::SocketAddr;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use towergate_core::gateway::PolicyFault;
use towergate_core::plan::{ListenerId, RouteId};
use towergate_core::prometheus::{Labels, MetricType};

use super::ConfigCounts;
use super::counts::{Counts, PortCounts};
use super::families::{Families, Rows, rows, sorted};

/// Writes all families. The samples of each are sorted by their labels.
pub(super) fn render(
    counts: &Counts,
    config: &ConfigCounts,
    dropped_log_lines: u64,
    policy_faults: &[PolicyFault],
) -> String {
    let mut page = Families::default();
    ports(&mut page, counts, config);
    listeners(&mut page, counts);
    rules(&mut page, counts);
    backends(&mut page, counts);
    streams(&mut page, counts);
    sessions(&mut page, counts, config);
    unenforced(&mut page, policy_faults);
    stat_names(&mut page, config);
    ingresses(&mut page, config);
    process(&mut page, config, dropped_log_lines);
    page.0.finish()
}

fn ports(page: &mut Families, counts: &Counts, config: &ConfigCounts) {
    let ports = &rows(&counts.ports, |port| port_label(*port, config));
    page.counters(
        "envoy_listener_downstream_cx_total",
        "Connections accepted.",
        ports,
        |p| p.opened,
    );
    page.counters(
        "envoy_listener_downstream_cx_destroy",
        "Connections closed.",
        ports,
        |p| p.closed,
    );
    page.gauges(
        "envoy_listener_downstream_cx_active",
        "Open connections.",
        ports,
        |p| p.opened.saturating_sub(p.closed),
    );
    page.counters(
        "envoy_listener_downstream_cx_overflow",
        "Connections rejected because of the connection limit.",
        ports,
        |p| p.refused,
    );
    page.counters(
        "towergate_listener_unexpected_proxy_header",
        "PROXY protocol headers on ports that do not expect one.",
        ports,
        |p| p.unexpected_proxy,
    );
    port_failures(page, ports);
    handshakes(page, ports);
}

fn port_failures(page: &mut Families, ports: &Rows<'_, PortCounts>) {
    page.reasons(
        "envoy_listener_downstream_cx_proxy_proto_error",
        "Connections without a valid PROXY protocol header, by reason.",
        "reason",
        ports,
        |p| &p.proxy_rejected,
    );
    page.reasons(
        "envoy_listener_ssl_connection_error",
        "Failed TLS handshakes, by reason.",
        "reason",
        ports,
        |p| &p.tls_failed,
    );
    page.reasons(
        "envoy_http_downstream_cx_protocol_error",
        "HTTP protocol errors of clients, by reason.",
        "reason",
        ports,
        |p| &p.codec_errors,
    );
    page.reasons(
        "towergate_http_downstream_abuse",
        "HTTP/2 connections closed for abuse, by reason.",
        "reason",
        ports,
        |p| &p.abuse,
    );
}

fn listeners(page: &mut Families, counts: &Counts) {
    let listeners = &rows(&counts.listeners, listener_label);
    page.counters(
        "envoy_http_downstream_rq_total",
        "Completed requests.",
        listeners,
        |l| l.requests,
    );
    page.classes(
        "envoy_http_downstream_rq_xx",
        "Completed requests by status class; 0: no response was sent.",
        listeners,
        |l| &l.classes,
    );
    page.histograms(
        "envoy_http_downstream_rq_time",
        "Request duration in milliseconds.",
        listeners,
        |l| &l.time,
    );
    page.counters(
        "towergate_http_downstream_rq_body_bytes",
        "Bytes of request bodies.",
        listeners,
        |l| l.received,
    );
    page.counters(
        "towergate_http_downstream_rs_body_bytes",
        "Bytes of response bodies.",
        listeners,
        |l| l.sent,
    );
}

fn handshakes(page: &mut Families, ports: &Rows<'_, PortCounts>) {
    page.counters(
        "envoy_listener_ssl_handshake",
        "Successful TLS handshakes.",
        ports,
        |p| p.handshakes.values().sum(),
    );
    page.counters(
        "envoy_listener_ssl_session_reused",
        "Resumed TLS sessions.",
        ports,
        |p| p.resumed,
    );
    page.reasons(
        "envoy_listener_ssl_versions",
        "TLS handshakes by version.",
        "envoy_ssl_version",
        ports,
        |p| &p.handshakes,
    );
}

fn rules(page: &mut Families, counts: &Counts) {
    let rules = counts.rules.added().flat_map(|(route, rules)| {
        let rules = rules
            .iter()
            .enumerate()
            .filter(|(_, counts)| counts.requests > 0);
        rules.map(|(index, counts)| (rule_label(route, index), counts))
    });
    let rules = &sorted(rules);
    page.counters(
        "envoy_cluster_upstream_rq_total",
        "Requests sent to backends.",
        rules,
        |r| r.requests,
    );
    page.classes(
        "envoy_cluster_upstream_rq_xx",
        "Responses of backends by status class.",
        rules,
        |r| &r.classes,
    );
    page.histograms(
        "envoy_cluster_upstream_rq_time",
        "Time to the response head of the backend in milliseconds.",
        rules,
        |r| &r.time,
    );
}

fn backends(page: &mut Families, counts: &Counts) {
    let backends = &rows(&counts.backends, |id| {
        Labels::new("envoy_cluster_name", &id.to_string())
    });
    page.counters(
        "envoy_cluster_upstream_cx_total",
        "Connections to endpoints.",
        backends,
        |b| b.connected,
    );
    page.gauges(
        "envoy_cluster_upstream_cx_active",
        "Open connections to endpoints.",
        backends,
        |b| b.connected.saturating_sub(b.closed),
    );
    page.counters(
        "envoy_cluster_upstream_cx_connect_fail",
        "Failed connection attempts to endpoints.",
        backends,
        |b| b.failed,
    );
    page.counters(
        "envoy_cluster_upstream_rq_retry",
        "Retried requests.",
        backends,
        |b| b.retried,
    );
    page.counters(
        "envoy_cluster_upstream_rq_pending_overflow",
        "Requests rejected by the circuit breaker.",
        backends,
        |b| b.overflowed,
    );
    page.counters(
        "towergate_mirrored_requests",
        "Mirrored requests with a response.",
        backends,
        |b| b.mirrored,
    );
    page.counters(
        "towergate_mirrored_requests_failed",
        "Mirrored requests without a response.",
        backends,
        |b| b.mirrors_failed,
    );
    page.histograms(
        "envoy_cluster_upstream_cx_connect_ms",
        "Connect time in milliseconds.",
        backends,
        |b| &b.connect_time,
    );
}

fn streams(page: &mut Families, counts: &Counts) {
    let streams = &rows(&counts.streams, |id| prefix_label("envoy_tcp_prefix", id));
    page.counters(
        "envoy_tcp_downstream_cx_total",
        "Closed TCP and TLS passthrough connections.",
        streams,
        |s| s.ended,
    );
    page.counters(
        "towergate_tcp_downstream_cx_failed",
        "Closed connections that reached no backend.",
        streams,
        |s| s.failed,
    );
    page.counters(
        "envoy_tcp_downstream_cx_rx_bytes_total",
        "Bytes from clients.",
        streams,
        |s| s.received,
    );
    page.counters(
        "envoy_tcp_downstream_cx_tx_bytes_total",
        "Bytes to clients.",
        streams,
        |s| s.sent,
    );
    let routes = &rows(&counts.stream_routes, stream_label);
    page.counters(
        "towergate_stream_total",
        "Closed connections and sessions by route.",
        routes,
        |s| s.ended,
    );
    page.counters(
        "towergate_stream_rx_bytes",
        "Bytes from clients by route.",
        routes,
        |s| s.received,
    );
    page.counters(
        "towergate_stream_tx_bytes",
        "Bytes to clients by route.",
        routes,
        |s| s.sent,
    );
}

fn sessions(page: &mut Families, counts: &Counts, config: &ConfigCounts) {
    let is_used =
        |port: &PortCounts| port.sessions_opened > 0 || !port.datagrams_dropped.is_empty();
    let ports = counts.ports.iter().filter(|(_, port)| is_used(port));
    let ports = &sorted(ports.map(|(port, counts)| (port_label(*port, config), counts)));
    page.gauges(
        "envoy_udp_downstream_sess_active",
        "Open UDP sessions.",
        ports,
        |p| p.sessions_opened.saturating_sub(p.sessions_closed),
    );
    page.reasons(
        "towergate_udp_downstream_dropped",
        "Dropped datagrams of clients, by reason.",
        "reason",
        ports,
        |p| &p.datagrams_dropped,
    );
    let sessions = &rows(&counts.sessions, |id| prefix_label("envoy_udp_prefix", id));
    page.counters(
        "envoy_udp_downstream_sess_total",
        "Closed UDP sessions.",
        sessions,
        |s| s.ended,
    );
    page.counters(
        "envoy_udp_downstream_sess_rx_bytes",
        "Bytes from clients.",
        sessions,
        |s| s.received,
    );
    page.counters(
        "envoy_udp_downstream_sess_tx_bytes",
        "Bytes to clients.",
        sessions,
        |s| s.sent,
    );
}

fn process(page: &mut Families, config: &ConfigCounts, dropped_log_lines: u64) {
    for (name, kind, help, value) in [
        (
            "towergate_config_version",
            MetricType::Gauge,
            "Version of the configuration in service, from 1. 0: none.",
            config.applied.load(Ordering::Relaxed),
        ),
        (
            "towergate_config_rejections",
            MetricType::Counter,
            "Rejected configurations.",
            config.rejected.load(Ordering::Relaxed),
        ),
        (
            "towergate_config_errors",
            MetricType::Gauge,
            "Errors in the manifests at the last read.",
            config.errors.load(Ordering::Relaxed),
        ),
        (
            "towergate_config_unbound_addresses",
            MetricType::Gauge,
            "Listener addresses of the configuration in service that cannot be bound.",
            config.unbound.load(Ordering::Relaxed),
        ),
        (
            "towergate_config_applied_timestamp_seconds",
            MetricType::Gauge,
            "Unix time at which the configuration came into service.",
            config.applied_at.load(Ordering::Relaxed),
        ),
        (
            "towergate_access_log_dropped",
            MetricType::Counter,
            "Access log lines dropped because the queue was full.",
            dropped_log_lines,
        ),
        (
            "envoy_server_live",
            MetricType::Gauge,
            "1 while the process runs.",
            1,
        ),
    ] {
        page.single(name, kind, help, value);
    }
    let version = Labels::new("version", env!("CARGO_PKG_VERSION"));
    page.0.family(
        "towergate_build_info",
        MetricType::Gauge,
        "Always 1; the label is the version.",
    );
    page.0.sample("towergate_build_info", &version, 1);
}

/// Writes the outcomes of the translation of Ingresses. Writes nothing if no Ingresses are served.
fn ingresses(page: &mut Families, config: &ConfigCounts) {
    let settings = config.ingress_settings.lock();
    let settings = settings.unwrap_or_else(PoisonError::into_inner);
    if settings.is_empty() {
        return;
    }
    let name = "towergate_ingress_settings";
    let help = "Settings of Ingresses by outcome of the translation.";
    page.0.family(name, MetricType::Gauge, help);
    for (outcome, count) in &*settings {
        let labels = Labels::new("outcome", outcome.as_str());
        page.0.sample(name, &labels, count);
    }
}

/// One sample for each policy that cannot be enforced.
fn unenforced(page: &mut Families, faults: &[PolicyFault]) {
    let name = "towergate_policy_unenforceable";
    let help = "Always 1; the labels name a policy that cannot be enforced, so that requests to the rule are answered with an error.";
    page.0.family(name, MetricType::Gauge, help);
    let labels = |fault: &PolicyFault| {
        rule_label(&fault.route, fault.rule).with("policy", &format!("{:?}", fault.stage))
    };
    let mut samples: Vec<_> = faults.iter().map(labels).collect();
    // Two policies of one kind have the same labels, so duplicates are removed.
    samples.sort();
    samples.dedup();
    for labels in samples {
        page.0.sample(name, &labels, 1);
    }
}

/// Writes one sample for each rule that has a name for metrics (`routeStatName`).
fn stat_names(page: &mut Families, config: &ConfigCounts) {
    let name = "towergate_rule_stat_name";
    let help =
        "Always 1; envoy_route is the name that telemetry.metrics.routeStatName gives to the rule.";
    page.0.family(name, MetricType::Gauge, help);
    let names = config.stat_names.lock();
    let names = names.unwrap_or_else(PoisonError::into_inner);
    for (route, rule, stat_name) in &*names {
        let labels = rule_label(route, *rule).with("envoy_route", stat_name);
        page.0.sample(name, &labels, 1);
    }
}

/// Envoy's label of a socket: address and port, with `_` for each colon. Several addresses of one port are counted
/// together.
fn port_label(port: u16, config: &ConfigCounts) -> Labels {
    let bound = config.bound.lock().unwrap_or_else(PoisonError::into_inner);
    let socket = match bound.get(&port).map(Vec::as_slice) {
        Some([address]) => SocketAddr::new(*address, port).to_string(),
        _ => format!("*:{port}"),
    };
    Labels::new("envoy_listener_address", &socket.replace(':', "_"))
}

fn listener_label(id: &ListenerId) -> Labels {
    prefix_label("envoy_http_conn_manager_prefix", id)
}

fn prefix_label(label: &str, id: &ListenerId) -> Labels {
    let name = format!("{}/{}/{}", id.namespace, id.gateway, id.listener);
    Labels::new(label, &name)
}

/// Envoy Gateway's cluster name of a route that has a single rule.
fn stream_label(route: &RouteId) -> Labels {
    let kind = route.kind.word();
    let name = format!("{kind}/{}/{}/rule/-1", route.namespace, route.name);
    Labels::new("envoy_cluster_name", &name)
}

fn rule_label(route: &RouteId, index: usize) -> Labels {
    let kind = route.kind.word();
    let name = format!("{kind}/{}/{}/rule/{index}", route.namespace, route.name);
    Labels::new("envoy_cluster_name", &name)
}

#[cfg(test)]
mod tests;
