//! Prometheus' text format (version 0.0.4), with Envoy's names where Envoy has one.

use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use towergate_core::plan::{ListenerId, RouteId, RouteKind};

use super::ConfigCounts;
use super::counts::{BOUNDS, Counts, Histogram, PortCounts, Reasons};

/// Writes everything, each family's samples in the order of their labels.
pub(super) fn render(counts: &Counts, config: &ConfigCounts, dropped_log_lines: u64) -> String {
    let mut page = Page::default();
    ports(&mut page, counts, config);
    listeners(&mut page, counts);
    rules(&mut page, counts);
    backends(&mut page, counts);
    process(&mut page, config, dropped_log_lines);
    page.0
}

fn ports(page: &mut Page, counts: &Counts, config: &ConfigCounts) {
    let ports = sorted(
        counts
            .ports
            .iter()
            .map(|(port, counts)| (port_label(*port, config), counts)),
    );
    type Pick = fn(&PortCounts) -> u64;
    let plain: [(&str, &str, &str, Pick); 5] = [
        (
            "envoy_listener_downstream_cx_total",
            "counter",
            "Connections accepted.",
            |p| p.opened,
        ),
        (
            "envoy_listener_downstream_cx_destroy",
            "counter",
            "Connections ended.",
            |p| p.closed,
        ),
        (
            "envoy_listener_downstream_cx_active",
            "gauge",
            "Connections now.",
            |p| p.opened.saturating_sub(p.closed),
        ),
        (
            "envoy_listener_downstream_cx_overflow",
            "counter",
            "Connections over the limit.",
            |p| p.refused,
        ),
        (
            "towergate_listener_unexpected_proxy_header",
            "counter",
            "PROXY protocol headers where none is expected.",
            |p| p.unexpected_proxy,
        ),
    ];
    for (name, kind, help, pick) in plain {
        page.family(name, kind, help);
        for (labels, counts) in &ports {
            page.sample(name, labels, pick(counts));
        }
    }
    port_failures(page, &ports);
    handshakes(page, &ports);
}

fn port_failures(page: &mut Page, ports: &[(String, &PortCounts)]) {
    type Why = fn(&PortCounts) -> &Reasons;
    let reasoned: [(&str, &str, Why); 4] = [
        (
            "envoy_listener_downstream_cx_proxy_proto_error",
            "Connections without a valid PROXY protocol header.",
            |p| &p.proxy_rejected,
        ),
        (
            "envoy_listener_ssl_connection_error",
            "TLS handshakes that failed.",
            |p| &p.tls_failed,
        ),
        (
            "envoy_http_downstream_cx_protocol_error",
            "Connections that spoke no HTTP.",
            |p| &p.codec_errors,
        ),
        (
            "towergate_http_downstream_abuse",
            "HTTP/2 connections cut off for abuse.",
            |p| &p.abuse,
        ),
    ];
    for (name, help, pick) in reasoned {
        page.family(name, "counter", help);
        for (labels, counts) in ports {
            for (why, count) in pick(counts) {
                page.sample(
                    name,
                    &format!("{labels},reason=\"{}\"", escape(why)),
                    *count,
                );
            }
        }
    }
}

fn listeners(page: &mut Page, counts: &Counts) {
    let listeners = sorted(
        counts
            .listeners
            .iter()
            .map(|(id, counts)| (listener_label(id), counts)),
    );
    page.family(
        "envoy_http_downstream_rq_total",
        "counter",
        "Requests answered.",
    );
    for (labels, counts) in &listeners {
        page.sample("envoy_http_downstream_rq_total", labels, counts.requests);
    }
    page.family(
        "envoy_http_downstream_rq_xx",
        "counter",
        "Requests by class of the status.",
    );
    for (labels, counts) in &listeners {
        page.classes("envoy_http_downstream_rq_xx", labels, &counts.classes);
    }
    page.family(
        "envoy_http_downstream_rq_time",
        "histogram",
        "Time of a request, in milliseconds.",
    );
    for (labels, counts) in &listeners {
        page.histogram("envoy_http_downstream_rq_time", labels, &counts.time);
    }
    for (name, help, received) in [
        (
            "towergate_http_downstream_rq_body_bytes",
            "Bytes of requests' bodies.",
            true,
        ),
        (
            "towergate_http_downstream_rs_body_bytes",
            "Bytes of responses' bodies.",
            false,
        ),
    ] {
        page.family(name, "counter", help);
        for (labels, counts) in &listeners {
            page.sample(
                name,
                labels,
                if received {
                    counts.received
                } else {
                    counts.sent
                },
            );
        }
    }
}

fn handshakes(page: &mut Page, ports: &[(String, &PortCounts)]) {
    page.family(
        "envoy_listener_ssl_handshake",
        "counter",
        "TLS handshakes that succeeded.",
    );
    for (labels, counts) in ports {
        page.sample(
            "envoy_listener_ssl_handshake",
            labels,
            counts.handshakes.values().sum(),
        );
    }
    page.family(
        "envoy_listener_ssl_session_reused",
        "counter",
        "TLS sessions resumed.",
    );
    for (labels, counts) in ports {
        page.sample("envoy_listener_ssl_session_reused", labels, counts.resumed);
    }
    page.family(
        "envoy_listener_ssl_versions",
        "counter",
        "TLS handshakes by version.",
    );
    for (labels, counts) in ports {
        for (version, count) in &counts.handshakes {
            let labels = format!("{labels},envoy_ssl_version=\"{}\"", escape(version));
            page.sample("envoy_listener_ssl_versions", &labels, *count);
        }
    }
}

fn rules(page: &mut Page, counts: &Counts) {
    let rules = counts.routes.iter().flat_map(|(route, rules)| {
        let rules = rules
            .iter()
            .enumerate()
            .filter(|(_, counts)| counts.requests > 0);
        rules.map(|(index, counts)| (rule_label(route, index), counts))
    });
    let rules = sorted(rules);
    page.family(
        "envoy_cluster_upstream_rq_total",
        "counter",
        "Requests sent to backends.",
    );
    for (labels, counts) in &rules {
        page.sample("envoy_cluster_upstream_rq_total", labels, counts.requests);
    }
    page.family(
        "envoy_cluster_upstream_rq_xx",
        "counter",
        "Answers of backends by class of the status.",
    );
    for (labels, counts) in &rules {
        page.classes("envoy_cluster_upstream_rq_xx", labels, &counts.classes);
    }
    page.family(
        "envoy_cluster_upstream_rq_time",
        "histogram",
        "Time of a backend, in milliseconds.",
    );
    for (labels, counts) in &rules {
        page.histogram("envoy_cluster_upstream_rq_time", labels, &counts.time);
    }
}

fn backends(page: &mut Page, counts: &Counts) {
    let label = |name: String| format!("envoy_cluster_name=\"{}\"", escape(&name));
    let backends = sorted(
        counts
            .backends
            .iter()
            .map(|(id, counts)| (label(id.to_string()), counts)),
    );
    type Pick = fn(&super::counts::BackendCounts) -> u64;
    let plain: [(&str, &str, &str, Pick); 5] = [
        (
            "envoy_cluster_upstream_cx_total",
            "counter",
            "Connections to endpoints.",
            |b| b.connected,
        ),
        (
            "envoy_cluster_upstream_cx_active",
            "gauge",
            "Connections to endpoints now.",
            |b| b.connected.saturating_sub(b.closed),
        ),
        (
            "envoy_cluster_upstream_cx_connect_fail",
            "counter",
            "Connections that failed.",
            |b| b.failed,
        ),
        (
            "envoy_cluster_upstream_rq_retry",
            "counter",
            "Requests sent once more.",
            |b| b.retried,
        ),
        (
            "envoy_cluster_upstream_rq_pending_overflow",
            "counter",
            "Requests over a limit of the circuit breaker.",
            |b| b.overflowed,
        ),
    ];
    for (name, kind, help, pick) in plain {
        page.family(name, kind, help);
        for (labels, counts) in &backends {
            page.sample(name, labels, pick(counts));
        }
    }
    page.family(
        "envoy_cluster_upstream_cx_connect_ms",
        "histogram",
        "Time to connect, in milliseconds.",
    );
    for (labels, counts) in &backends {
        page.histogram(
            "envoy_cluster_upstream_cx_connect_ms",
            labels,
            &counts.connect_time,
        );
    }
}

fn process(page: &mut Page, config: &ConfigCounts, dropped_log_lines: u64) {
    for (name, kind, help, value) in [
        (
            "towergate_config_version",
            "gauge",
            "Number of the configuration in service, from 1.",
            config.applied.load(Ordering::Relaxed),
        ),
        (
            "towergate_config_rejections",
            "counter",
            "Configurations that could not be taken into service.",
            config.rejected.load(Ordering::Relaxed),
        ),
        (
            "towergate_config_errors",
            "gauge",
            "Errors in the manifests as last read.",
            config.errors.load(Ordering::Relaxed),
        ),
        (
            "towergate_config_applied_timestamp_seconds",
            "gauge",
            "When the configuration was taken into service.",
            config.applied_at.load(Ordering::Relaxed),
        ),
        (
            "towergate_access_log_dropped",
            "counter",
            "Lines of the access log that found no room.",
            dropped_log_lines,
        ),
        ("envoy_server_live", "gauge", "1 while the process runs.", 1),
    ] {
        page.family(name, kind, help);
        page.sample(name, "", value);
    }
    page.family("towergate_build_info", "gauge", "The version, as a label.");
    page.sample(
        "towergate_build_info",
        concat!("version=\"", env!("CARGO_PKG_VERSION"), "\""),
        1,
    );
}

#[derive(Default)]
struct Page(String);

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn sample(&mut self, name: &str, labels: &str, value: u64) {
        let _ = match labels {
            "" => writeln!(self.0, "{name} {value}"),
            labels => writeln!(self.0, "{name}{{{labels}}} {value}"),
        };
    }

    fn classes(&mut self, name: &str, labels: &str, classes: &[u64]) {
        for (class, count) in classes.iter().enumerate().filter(|(_, count)| **count > 0) {
            self.sample(
                name,
                &format!("{labels},envoy_response_code_class=\"{class}\""),
                *count,
            );
        }
    }

    fn histogram(&mut self, name: &str, labels: &str, histogram: &Histogram) {
        let mut count = 0;
        for (bucket, more) in histogram.buckets.iter().enumerate() {
            count += more;
            let bound = BOUNDS
                .get(bucket)
                .map_or_else(|| "+Inf".to_owned(), f64::to_string);
            self.sample(
                &format!("{name}_bucket"),
                &format!("{labels},le=\"{bound}\""),
                count,
            );
        }
        let _ = writeln!(self.0, "{name}_sum{{{labels}}} {}", histogram.sum);
        self.sample(&format!("{name}_count"), labels, count);
    }
}

/// Envoy's name of a socket: address and port, with `_` for each colon. Where one port is bound on several
/// addresses, they count together.
fn port_label(port: u16, config: &ConfigCounts) -> String {
    let bound = config.bound.lock().unwrap_or_else(PoisonError::into_inner);
    let socket = match bound.get(&port).map(Vec::as_slice) {
        Some([address]) => SocketAddr::new(*address, port).to_string(),
        _ => format!("*:{port}"),
    };
    format!("envoy_listener_address=\"{}\"", socket.replace(':', "_"))
}

fn listener_label(id: &ListenerId) -> String {
    let name = format!("{}/{}/{}", id.namespace, id.gateway, id.listener);
    format!("envoy_http_conn_manager_prefix=\"{}\"", escape(&name))
}

fn rule_label(route: &RouteId, index: usize) -> String {
    let kind = match route.kind {
        RouteKind::Http => "httproute",
        RouteKind::Grpc => "grpcroute",
    };
    let name = format!("{kind}/{}/{}/rule/{index}", route.namespace, route.name);
    format!("envoy_cluster_name=\"{}\"", escape(&name))
}

fn escape(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

fn sorted<T>(samples: impl Iterator<Item = (String, T)>) -> Vec<(String, T)> {
    let mut samples: Vec<_> = samples.collect();
    samples.sort_by(|a, b| a.0.cmp(&b.0));
    samples
}
