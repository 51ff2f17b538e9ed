use std::collections::BTreeMap;
use std::sync::Arc;

use towergate_core::access_log::RuleName;
use towergate_core::plan::{BackendId, RouteKind};
use towergate_core::policy::Stage;

use super::super::counts::{BackendCounts, Histogram};
use super::super::rules::Rules;
use super::*;

/// Counts in which every family has a sample.
fn counts() -> Counts {
    let mut time = Histogram::default();
    (time.buckets[2], time.sum) = (3, 7.5);
    let mut counts = Counts::default();
    for port in [443, 80] {
        counts.ports.insert(
            port,
            PortCounts {
                opened: 9,
                closed: 4,
                refused: 1,
                unexpected_proxy: 2,
                proxy_rejected: BTreeMap::from([("absent", 3)]),
                tls_failed: BTreeMap::from([("no_listener", 1), ("client_left", 2)]),
                codec_errors: BTreeMap::from([("parse", 1)]),
                abuse: BTreeMap::from([("reset", 1)]),
                handshakes: BTreeMap::from([("TLSv1.3", 3)]),
                resumed: 1,
                sessions_opened: 7,
                sessions_closed: 3,
                datagrams_dropped: BTreeMap::from([("no_route", 2)]),
            },
        );
    }
    let listener = ListenerId {
        namespace: "a".to_owned(),
        gateway: "edge".to_owned(),
        listener: "\"x\"".to_owned(),
    };
    let of_listener = counts.listeners.entry(listener).or_default();
    of_listener.requests = 5;
    of_listener.classes[2] = 4;
    of_listener.classes[5] = 1;
    (of_listener.time.buckets[0], of_listener.time.sum) = (5, 0.5);
    (of_listener.received, of_listener.sent) = (10, 20);
    let route = RouteId {
        kind: RouteKind::Grpc,
        namespace: "a".to_owned(),
        name: "r".to_owned(),
    };
    let mut rules = Rules::default();
    let rule = rules.at(&RuleName {
        route: route.into(),
        rule: 1,
        matched: 0,
        hostname: "*".into(),
    });
    (rule.requests, rule.classes[2]) = (2, 2);
    counts.rules.add(rules);
    let backend = BackendCounts {
        connected: 6,
        failed: 1,
        closed: 2,
        retried: 3,
        overflowed: 4,
        mirrored: 5,
        mirrors_failed: 7,
        connect_time: time,
    };
    counts
        .backends
        .insert(BackendId::service("a", "b", 80), backend);
    counts
}

/// Two faults of one kind in one rule.
fn faults() -> [PolicyFault; 2] {
    ["one", "two"].map(|reason| PolicyFault {
        route: Arc::new(RouteId {
            kind: RouteKind::Http,
            namespace: "a".to_owned(),
            name: "r".to_owned(),
        }),
        rule: 2,
        stage: Stage::Jwt,
        reason: reason.to_owned(),
    })
}

#[test]
fn each_family_has_one_head_followed_by_its_samples() {
    let text = render(&counts(), &ConfigCounts::default(), 3, &faults());

    let mut families = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with("# HELP")) {
        match line.strip_prefix("# TYPE ") {
            Some(family) => families.push(family.split(' ').next().unwrap_or_default()),
            None => assert!(line.starts_with(families[families.len() - 1]), "{line}"),
        }
    }
    let count = families.len();
    families.sort_unstable();
    families.dedup();
    assert_eq!(families.len(), count);
}

#[test]
fn every_sample_has_labels_and_value() {
    let text = render(&counts(), &ConfigCounts::default(), 3, &faults());

    let prefix = r#"envoy_http_conn_manager_prefix="a/edge/\"x\"""#;
    let rule = r#"envoy_cluster_name="grpcroute/a/r/rule/1""#;
    let backend = r#"envoy_cluster_name="Service/a/b:80""#;
    for line in [
            r#"envoy_listener_downstream_cx_active{envoy_listener_address="*_443"} 5"#.to_owned(),
            r#"envoy_listener_downstream_cx_destroy{envoy_listener_address="*_80"} 4"#.to_owned(),
            r#"envoy_listener_ssl_connection_error{envoy_listener_address="*_80",reason="client_left"} 2"#.to_owned(),
            r#"towergate_http_downstream_abuse{envoy_listener_address="*_80",reason="reset"} 1"#.to_owned(),
            format!(r#"envoy_http_downstream_rq_xx{{{prefix},envoy_response_code_class="5"}} 1"#),
            format!(r#"envoy_http_downstream_rq_time_bucket{{{prefix},le="0.5"}} 5"#),
            format!("towergate_http_downstream_rq_body_bytes{{{prefix}}} 10"),
            format!("towergate_http_downstream_rs_body_bytes{{{prefix}}} 20"),
            r#"towergate_policy_unenforceable{envoy_cluster_name="httproute/a/r/rule/2",policy="Jwt"} 1"#
                .to_owned(),
            r#"envoy_listener_ssl_handshake{envoy_listener_address="*_443"} 3"#.to_owned(),
            r#"envoy_listener_ssl_versions{envoy_listener_address="*_443",envoy_ssl_version="TLSv1.3"} 3"#
                .to_owned(),
            format!("envoy_cluster_upstream_rq_total{{{rule}}} 2"),
            format!("envoy_cluster_upstream_cx_connect_ms_count{{{backend}}} 3"),
            format!("envoy_cluster_upstream_rq_retry{{{backend}}} 3"),
            format!("towergate_mirrored_requests{{{backend}}} 5"),
            format!("towergate_mirrored_requests_failed{{{backend}}} 7"),
            "towergate_access_log_dropped 3".to_owned(),
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    let ports: Vec<_> = text
        .lines()
        .filter(|l| l.contains("cx_total{envoy_listener"))
        .collect();
    assert!(
        ports[0].contains("443") && ports[1].contains("80"),
        "{ports:?}"
    );
}
