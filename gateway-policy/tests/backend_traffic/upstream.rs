//! Settings of requests to backends: timeouts, limits, health, load balancing, connections.

use std::time::Duration;

use serde_json::{Value, json};
use towergate_core::plan::{
    ActiveCheck, Breaker, HashKey, HttpProbe, Keepalive, LoadBalancer, OutlierDetection, Probe,
    ProxyHeaderVersion, StreamIdle,
};

use super::{seconds, traffic};

#[test]
fn timeouts_are_converted_and_0_disables_one() {
    let traffic = traffic(json!({"timeout": {
        "http": {
            "requestTimeout": "0s",
            "connectionIdleTimeout": "1s",
            "maxConnectionDuration": "2s",
            "maxStreamDuration": "3s",
        },
        "tcp": {"connectTimeout": "4s"},
    }}));

    assert_eq!(traffic.request_timeout, None);
    assert_eq!(traffic.idle_timeout, seconds(1));
    assert_eq!(traffic.max_connection_duration, seconds(2));
    assert_eq!(traffic.max_stream_duration, seconds(3));
    assert_eq!(Some(traffic.connect_timeout), seconds(4));
}

#[test]
fn limits_of_the_circuit_breaker_are_converted_and_may_be_0() {
    let traffic = traffic(json!({"circuitBreaker": {
        "maxConnections": 0,
        "maxPendingRequests": 2,
        "maxParallelRequests": 3,
        "maxParallelRetries": 4,
        "maxRequestsPerConnection": 5,
        "perEndpoint": {},
    }}));

    assert_eq!(
        traffic.breaker,
        Breaker {
            connections: 0,
            pending: 2,
            requests: 3,
            fair_requests: false,
            retries: 4,
            retry_budget: None,
            connections_per_endpoint: Some(1024),
        }
    );
    assert_eq!(traffic.max_requests_per_connection, Some(5));
}

#[test]
fn requests_are_shared_among_connections_at_the_default_limit_only() {
    for (limits, expected) in [
        (json!({}), true),
        (json!({"maxParallelRequests": 1024}), true),
        (json!({"maxParallelRequests": 1023}), false),
    ] {
        let breaker = traffic(json!({"circuitBreaker": limits})).breaker;
        assert_eq!(breaker.fair_requests, expected, "{limits}");
    }
}

#[test]
fn the_stream_idle_timeout_depends_on_the_request_timeout() {
    let idle = |fields: Value| traffic(json!({"timeout": {"http": fields}})).stream_idle;
    let second = Duration::from_secs(1);

    assert_eq!(idle(json!({})), StreamIdle::Listener);
    assert_eq!(idle(json!({"requestTimeout": "1s"})), StreamIdle::Request);
    assert_eq!(
        idle(json!({"requestTimeout": "9s", "streamIdleTimeout": "1s"})),
        StreamIdle::After(second)
    );
    assert_eq!(idle(json!({"streamIdleTimeout": "0s"})), StreamIdle::Never);
}

#[test]
fn settings_of_backend_connections_are_converted() {
    let connection = traffic(json!({
        "tcpKeepalive": {"probes": 3, "idleTime": "20m"},
        "connection": {
            "bufferLimit": "64Ki",
            "socketBufferLimit": 4096,
            "preconnect": {"perEndpointPercent": 100},
        },
        "http2": {
            "initialStreamWindowSize": "128Ki",
            "initialConnectionWindowSize": "2Mi",
            "maxConcurrentStreams": 7,
            "onInvalidMessage": "TerminateConnection",
            "connectionKeepalive": {"interval": "9s", "timeout": "2s", "intervalJitter": 5},
        },
    }))
    .connection;

    assert_eq!(
        connection.keepalive,
        Some(Keepalive {
            idle: seconds(1200),
            interval: None,
            probes: Some(3),
        })
    );
    assert_eq!(
        (connection.buffer, connection.socket_buffer),
        (Some(65536), Some(4096))
    );
    let http2 = connection.http2;
    assert_eq!(
        (http2.stream_window, http2.connection_window),
        (131_072, 2_097_152)
    );
    assert_eq!(http2.max_concurrent_streams, 7);
    assert!(http2.end_on_invalid);
    assert_eq!(http2.keepalive_interval, seconds(9));
    assert_eq!(http2.keepalive_timeout, seconds(2));
    assert_eq!((http2.keepalive_jitter, http2.keepalive_idle), (5, None));
}

#[test]
fn passive_health_has_the_defaults_of_envoy_gateway() {
    let health = |fields: Value| traffic(json!({"healthCheck": fields}));
    let all = json!({
        "splitExternalLocalOriginErrors": true,
        "interval": "1s",
        "consecutiveLocalOriginFailures": 1,
        "consecutiveGatewayErrors": 2,
        "consecutive5XxErrors": 3,
        "baseEjectionTime": "4s",
        "maxEjectionPercent": 50,
        "failurePercentageThreshold": 60,
        "alwaysEjectOneEndpoint": true,
    });

    assert_eq!(health(json!({})).outlier, None);
    assert_eq!(health(json!({})).panic_threshold, 50);
    assert_eq!(health(json!({"panicThreshold": 0})).panic_threshold, 0);
    assert_eq!(
        health(json!({"passive": {"maxEjectionPercent": 0}})).outlier,
        Some(OutlierDetection::default())
    );
    assert_eq!(
        health(json!({"passive": all})).outlier,
        Some(OutlierDetection {
            split_local: true,
            interval: Duration::from_secs(1),
            consecutive_local: 1,
            consecutive_gateway: 2,
            consecutive_5xx: 3,
            base_time: Duration::from_secs(4),
            max_percent: 50,
            failure_percent: Some(60),
            always_one: true,
        })
    );
}

#[test]
fn probes_have_the_defaults_of_envoy_gateway() {
    let probe = |fields: Value| {
        traffic(json!({"healthCheck": {"active": fields}}))
            .probe
            .unwrap()
    };
    let http = probe(json!({"type": "HTTP", "http": {"path": "/up"}}));
    let tcp = probe(json!({
        "type": "TCP",
        "timeout": "2s",
        "interval": "9s",
        "initialJitter": "1s",
        "unhealthyThreshold": 4,
        "healthyThreshold": 5,
        "overrides": {"port": 81},
        "tcp": {
            "send": {"type": "Binary", "binary": "AQI="},
            "receive": {"type": "Text", "text": "ok"},
        },
    }));

    assert_eq!(
        (Some(http.timeout), Some(http.interval)),
        (seconds(1), seconds(3))
    );
    assert_eq!((http.unhealthy, http.healthy, http.port), (3, 1, None));
    assert_eq!(
        http.probe,
        Probe::Http(HttpProbe {
            host: None,
            path: "/up".to_owned(),
            method: http::Method::GET.into(),
            expected: vec![200],
            retriable: vec![],
            wanted: vec![],
            body: vec![],
        })
    );
    assert_eq!(
        tcp,
        ActiveCheck {
            timeout: Duration::from_secs(2),
            interval: Duration::from_secs(9),
            initial_jitter: Duration::from_secs(1),
            unhealthy: 4,
            healthy: 5,
            port: Some(81),
            probe: Probe::Tcp {
                send: vec![1, 2],
                receive: b"ok".to_vec(),
            },
        }
    );
}

#[test]
fn a_list_of_upgrades_that_is_not_empty_replaces_the_default() {
    let upgrades = |list: Value| traffic(json!({"httpUpgrade": list})).upgrades;

    assert_eq!(upgrades(json!([{"type": "SPDY/3.1"}])), ["spdy/3.1"]);
    assert_eq!(upgrades(json!([])), ["websocket"]);
    assert_eq!(traffic(json!({})).upgrades, ["websocket"]);
}

#[test]
fn connect_is_a_mode_of_the_rule_and_no_protocol() {
    use towergate_core::plan::ConnectMode;

    for (list, mode, upgrades) in [
        (json!([{"type": "websocket"}]), None, &["websocket"][..]),
        (
            json!([{"type": "CONNECT"}]),
            Some(ConnectMode::Forward),
            &[],
        ),
        (
            json!([{"type": "websocket"}, {"type": "CONNECT", "connect": {"terminate": true}}]),
            Some(ConnectMode::Terminate),
            &["websocket"],
        ),
    ] {
        let traffic = traffic(json!({"httpUpgrade": list}));

        assert_eq!(traffic.connect, mode, "{list}");
        assert_eq!(traffic.upgrades, upgrades, "{list}");
    }
}

#[test]
fn zones_have_weights_or_a_preference_with_the_defaults_of_envoy() {
    use towergate_core::plan::{LocalZone, ZoneBalancing};

    let zones = |zones: Value| {
        traffic(json!({"loadBalancer": {"type": "RoundRobin", "zoneAware": zones}})).zones
    };
    let local = |min_endpoints, percent, force| {
        Some(ZoneBalancing::PreferLocal(LocalZone {
            min_endpoints,
            percent,
            force,
        }))
    };

    assert_eq!(zones(json!({})), None);
    assert_eq!(zones(json!({"preferLocal": {}})), local(6, 100, None));
    assert_eq!(
        zones(
            json!({"preferLocal": {"force": {}, "minEndpointsThreshold": 1, "percentageEnabled": 50}})
        ),
        local(1, 50, Some(1))
    );
    assert_eq!(
        zones(json!({"weightedZones": [{"zone": "a", "weight": 80}, {"zone": "b", "weight": 20}]})),
        Some(ZoneBalancing::Weighted(
            [("a".to_owned(), 80), ("b".to_owned(), 20)].into()
        ))
    );
}

#[test]
fn each_load_balancer_is_converted() {
    let balancer = |kind: &str| traffic(json!({"loadBalancer": {"type": kind}})).load_balancer;
    let hash = |hash: Value| {
        let fields = json!({"loadBalancer": {"type": "ConsistentHash", "consistentHash": hash}});
        traffic(fields).load_balancer
    };
    let keyed = |key, table_size| LoadBalancer::ConsistentHash { key, table_size };
    let header = |name: &str| name.parse().unwrap();

    assert_eq!(balancer("LeastRequest"), LoadBalancer::LeastRequest);
    assert_eq!(balancer("RoundRobin"), LoadBalancer::RoundRobin);
    assert_eq!(balancer("Random"), LoadBalancer::Random);
    assert_eq!(
        hash(json!({"type": "SourceIP", "tableSize": 1021})),
        keyed(HashKey::SourceIp, 1021)
    );
    assert_eq!(
        hash(json!({"type": "Header", "header": {"name": "X-A"}})),
        keyed(HashKey::Headers(vec![header("x-a")]), 65537)
    );
    assert_eq!(
        hash(json!({"type": "Headers", "headers": [{"name": "X-A"}, {"name": "x-b"}]})),
        keyed(HashKey::Headers(vec![header("x-a"), header("x-b")]), 65537)
    );
    assert_eq!(
        hash(json!({"type": "QueryParams", "queryParams": [{"name": "q"}]})),
        keyed(HashKey::Query(vec!["q".to_owned()]), 65537)
    );
}

#[test]
fn load_reports_of_endpoints_have_the_periods_and_metrics_of_the_policy() {
    use towergate_core::plan::{LoadBalancer, UtilizationBalancing};

    let converted = |settings: Value| {
        let fields =
            json!({"loadBalancer": {"type": "BackendUtilization", "backendUtilization": settings}});
        traffic(fields).load_balancer
    };
    let written = json!({
        "blackoutPeriod": "5s", "weightExpirationPeriod": "1m", "weightUpdatePeriod": "1ms",
        "errorUtilizationPenaltyPercent": 50, "metricNamesForComputingUtilization": ["named_metrics.queue"],
        "keepResponseHeaders": true,
    });

    let expected = UtilizationBalancing {
        blackout: Duration::from_secs(5),
        expiration: Duration::from_secs(60),
        update_period: Duration::from_millis(100),
        error_penalty_percent: 50,
        metrics: vec!["named_metrics.queue".to_owned()],
        keep_reports: true,
    };
    assert_eq!(converted(written), LoadBalancer::Utilization(expected));
    let default = LoadBalancer::Utilization(UtilizationBalancing::default());
    assert_eq!(converted(json!({})), default);
}

#[test]
fn connections_can_start_with_a_proxy_header() {
    let version = |version| {
        traffic(json!({"proxyProtocol": {"version": version}}))
            .connection
            .proxy_header
    };

    assert_eq!(version("V1"), Some(ProxyHeaderVersion::V1));
    assert_eq!(version("V2"), Some(ProxyHeaderVersion::V2));
    assert_eq!(traffic(json!({})).connection.proxy_header, None);
}

#[test]
fn the_protocol_of_the_client_can_be_used() {
    assert!(traffic(json!({"useClientProtocol": true})).use_client_protocol);
    assert!(!traffic(json!({"useClientProtocol": false})).use_client_protocol);
}

#[test]
fn slow_start_and_the_headers_that_name_an_endpoint_are_converted() {
    let set = traffic(json!({"loadBalancer": {
        "type": "RoundRobin",
        "slowStart": {"window": "90s"},
        "endpointOverride": {"extractFrom": [{"header": "X-Endpoint"}, {"header": "x-other"}]},
    }}));

    assert_eq!(set.slow_start, Some(Duration::from_secs(90)));
    let headers: Vec<_> = set
        .endpoint_headers
        .iter()
        .map(|name| name.as_str())
        .collect();
    assert_eq!(headers, ["x-endpoint", "x-other"]);
}

#[test]
fn dns_settings_are_converted() {
    let set = traffic(json!({"dns": {
        "dnsRefreshRate": "5s", "respectDnsTtl": false, "lookupFamily": "IPv4AndIPv6",
    }}));

    assert_eq!(set.dns.refresh, Duration::from_secs(5));
    assert!(!set.dns.respect_ttl);
    assert_eq!(set.dns.family, towergate_core::plan::DnsFamily::Ipv4AndIpv6);
    assert_eq!(traffic(json!({"dns": {}})).dns, Default::default());
}
