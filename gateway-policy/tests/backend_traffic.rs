//! Conversion of a BackendTrafficPolicy to values of the plan.

// Tests and their helpers fail by panicking.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use serde_json::{Value, json};
use towergate_core::plan::{
    ActiveCheck, Breaker, HashKey, HttpProbe, Keepalive, LoadBalancer, OutlierDetection, Probe,
    ProxyHeaderVersion, RetryBudget, RetryOn, StreamIdle, Traffic, WeightedBackend,
};
use towergate_policy::backend_traffic::{RouteContext, TrafficConfig};
use towergate_policy::bandwidth::Throughput;
use towergate_policy::common::{BackendRef, ConfigMapRef, ObjectRef};
use towergate_policy::compression::{Compressor, ContentCoding, ResponseCompression};
use towergate_policy::global_rate_limit::{GlobalLimitRule, LimitUnit, RateLimitService};
use towergate_policy::rate_limit::{LocalRateLimit, PathTest, ValueTest};
use towergate_policy::references::{NoReferences, ObjectData, References};
use towergate_policy::request_body_limit::{RequestBodyLimit, RequestBuffering};
use towergate_policy::response_override::Replacement;
use towergate_policy::{BackendTrafficPolicySpec, FieldError, Policy};

const CONTEXT: RouteContext<'_> = RouteContext {
    policy: "default/policy",
    rate_limit_headers: true,
    listener: "default/gateway/http",
    references: &towergate_policy::references::NoReferences,
    annotations: &BTreeMap::new(),
};

fn spec(fields: Value) -> BackendTrafficPolicySpec {
    serde_json::from_value(fields).unwrap()
}

fn convert(fields: Value) -> Result<TrafficConfig, FieldError> {
    spec(fields).traffic(CONTEXT)
}

fn traffic(fields: Value) -> Traffic {
    convert(fields).unwrap().traffic
}

fn limit(rules: Value) -> Result<LocalRateLimit, FieldError> {
    let mut policies = convert(json!({"rateLimit": {"local": {"rules": rules}}}))?.policies;
    assert_eq!(policies.len(), 1);
    let Some(Policy::LocalRateLimit(limit)) = policies.pop() else {
        panic!("a local rate limit converts to Policy::LocalRateLimit");
    };
    Ok(limit)
}

const fn seconds(seconds: u64) -> Option<Duration> {
    Some(Duration::from_secs(seconds))
}

#[test]
fn an_empty_policy_gives_the_defaults() {
    let converted = convert(json!({})).unwrap();

    assert_eq!(converted.traffic, Traffic::default());
    assert_eq!(converted.policies, []);
}

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
fn an_empty_retry_has_the_defaults_of_envoy_gateway() {
    let retry = traffic(json!({"retry": {}})).retry.unwrap();

    assert_eq!(retry.retries, 2);
    assert_eq!(retry.base_interval, Duration::from_millis(25));
    assert_eq!(retry.max_interval, None);
    assert_eq!(retry.attempts_per_priority, None);
    assert_eq!(retry.attempt_timeout, None);
    assert_eq!(
        retry.on,
        RetryOn {
            connect_failure: true,
            refused_stream: true,
            statuses: vec![503],
            grpc_statuses: vec![1, 14],
            ..RetryOn::default()
        }
    );
}

#[test]
fn each_trigger_is_converted() {
    let events = |trigger: &str| {
        let fields = json!({"retry": {"retryOn": {
            "triggers": [trigger],
            "httpStatusCodes": [500, 502],
        }}});
        traffic(fields).retry.unwrap().on
    };
    let none = RetryOn::default;
    let grpc = |status| RetryOn {
        grpc_statuses: vec![status],
        ..none()
    };

    for (trigger, expected) in [
        (
            "5xx",
            RetryOn {
                server_error: true,
                ..none()
            },
        ),
        (
            "gateway-error",
            RetryOn {
                gateway_error: true,
                ..none()
            },
        ),
        (
            "reset",
            RetryOn {
                reset: true,
                ..none()
            },
        ),
        (
            "reset-before-request",
            RetryOn {
                connect_failure: true,
                ..none()
            },
        ),
        (
            "connect-failure",
            RetryOn {
                connect_failure: true,
                ..none()
            },
        ),
        (
            "retriable-4xx",
            RetryOn {
                conflict: true,
                ..none()
            },
        ),
        (
            "refused-stream",
            RetryOn {
                refused_stream: true,
                ..none()
            },
        ),
        (
            "retriable-status-codes",
            RetryOn {
                statuses: vec![500, 502],
                ..none()
            },
        ),
        ("cancelled", grpc(1)),
        ("deadline-exceeded", grpc(4)),
        ("resource-exhausted", grpc(8)),
        ("internal", grpc(13)),
        ("unavailable", grpc(14)),
    ] {
        assert_eq!(events(trigger), expected, "{trigger}");
    }
}

#[test]
fn status_codes_without_triggers_replace_503() {
    let fields = json!({"retry": {"retryOn": {"httpStatusCodes": [429]}}});

    let on = traffic(fields).retry.unwrap().on;

    assert_eq!(on.statuses, [429]);
    assert!(on.connect_failure);
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
fn retries_move_to_the_next_priority_only_after_a_positive_number_of_attempts() {
    for (number, expected) in [(0, None), (1, NonZeroU32::new(1)), (5, NonZeroU32::new(5))] {
        let traffic = traffic(json!({"retry": {"numAttemptsPerPriority": number}}));

        assert_eq!(traffic.retry.unwrap().attempts_per_priority, expected);
    }
}

#[test]
fn a_retry_budget_has_the_defaults_of_envoy() {
    let budget = |fields: Value| {
        let traffic = traffic(json!({"circuitBreaker": {"retryBudget": fields}}));
        traffic.breaker.retry_budget.unwrap()
    };

    assert_eq!(
        budget(json!({"percent": {"numerator": 25}})),
        RetryBudget {
            numerator: 25,
            denominator: 100,
            min_retries: 3,
        }
    );
    assert_eq!(
        budget(json!({"percent": {"numerator": 1, "denominator": 8}, "minRetryConcurrency": 0})),
        RetryBudget {
            numerator: 1,
            denominator: 8,
            min_retries: 0,
        }
    );
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
fn a_list_of_upgrades_replaces_the_default() {
    let upgrades = |list: Value| traffic(json!({"httpUpgrade": list})).upgrades;

    assert_eq!(upgrades(json!([{"type": "SPDY/3.1"}])), ["spdy/3.1"]);
    assert_eq!(upgrades(json!([])), [""; 0]);
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
fn a_local_rate_limit_is_converted_with_its_default_and_its_rules() {
    let limit = limit(json!([
        {"limit": {"requests": 5, "unit": "Minute"}, "xRateLimitHeaders": "Off"},
        {
            "limit": {"requests": 7, "unit": "Hour"},
            "shared": true,
            "cost": {"request": {"from": "Number", "number": 3}},
            "clientSelectors": [{
                "headers": [{"name": "X-User", "type": "Distinct"}],
                "methods": [{"value": "POST"}, {"value": "GET", "invert": true}],
                "path": {"value": "/a/"},
                "sourceCIDR": {"value": "10.1.0.0/8", "type": "Distinct"},
                "queryParams": [{"name": "q", "type": "RegularExpression", "value": "a+"}],
            }],
        },
    ]))
    .unwrap();

    assert_eq!(limit.policy, "default/policy");
    assert!(limit.headers);
    let default = limit.default.unwrap();
    assert_eq!((default.requests, default.headers), (5, Some(false)));
    assert_eq!(Some(default.period), seconds(60));
    let rule = &limit.rules[0];
    assert_eq!((rule.limit.requests, rule.limit.cost), (7, 3));
    assert!(rule.limit.shared);
    let selector = &rule.selectors[0];
    assert_eq!(selector.headers[0].test, ValueTest::Distinct);
    assert_eq!(selector.methods.len(), 2);
    let path = selector.path.as_ref().unwrap();
    assert_eq!(path.test, PathTest::Prefix("/a/".to_owned()));
    let source = selector.source.as_ref().unwrap();
    assert_eq!(source.network, "10.0.0.0/8".parse().unwrap());
    assert!(source.distinct);
    assert_eq!(selector.query[0].name, "q");
}

#[test]
fn units_have_the_length_of_envoy_gateway() {
    for (unit, length) in [
        ("Second", 1),
        ("Minute", 60),
        ("Hour", 3_600),
        ("Day", 86_400),
        ("Week", 604_800),
        ("Month", 2_592_000),
        ("Year", 31_536_000),
    ] {
        let limit = limit(json!([{"limit": {"requests": 1, "unit": unit}}])).unwrap();

        assert_eq!(limit.default.map(|l| l.period), seconds(length), "{unit}");
    }
}

#[test]
fn local_rate_limits_that_envoy_gateway_rejects_are_rejected() {
    let hourly = json!({"requests": 1, "unit": "Hour"});
    let selecting = |selector: Value| json!([{"limit": hourly, "clientSelectors": [selector]}]);
    for (rules, part) in [
        (
            json!([{"limit": hourly}, {"limit": hourly}]),
            "local rateLimit can not have more than one rule without clientSelectors",
        ),
        (
            json!([
                {"limit": hourly},
                {
                    "limit": {"requests": 1, "unit": "Minute"},
                    "clientSelectors": [{"methods": [{"value": "GET"}]}],
                },
            ]),
            "local rateLimit rule limit unit must be a multiple of the default limit unit",
        ),
        (selecting(json!({})), "at least one of headers"),
        (
            selecting(json!({"headers": [{"name": "x"}]})),
            "a value is required",
        ),
        (
            selecting(json!({"headers": [{"name": "x", "type": "Distinct", "invert": true}]})),
            "not applicable for the type Distinct",
        ),
        (
            selecting(json!({"sourceCIDR": {"value": "10.0.0.0"}})),
            "is not a network",
        ),
        (
            selecting(json!({"queryParams": [{"name": "", "value": "a"}]})),
            "name is required",
        ),
        (
            selecting(json!({"path": {"type": "RegularExpression", "value": "("}})),
            "path",
        ),
        (
            json!([{"limit": hourly, "cost": {"request": {"from": "Metadata"}}}]),
            "cost.request.metadata is not supported",
        ),
        (
            json!([{"limit": hourly, "cost": {"response": {"from": "Number"}}}]),
            "response cost is not supported",
        ),
        (
            json!([{"limit": {"unit": "Hour"}}]),
            "limit.requests is missing",
        ),
    ] {
        let error = limit(rules.clone()).unwrap_err();

        assert!(error.message.contains(part), "{rules}: {error}");
    }
}

#[test]
fn unsupported_fields_and_invalid_values_are_rejected_by_name() {
    let http = |fields: Value| json!({"timeout": {"http": fields}});
    let overridden = |mut fields: Value| {
        fields["match"] = json!({"statusCodes": [{"value": 404}]});
        json!({"responseOverride": [fields]})
    };
    let balancer = |fields: Value| {
        let mut balancer = json!({"type": "RoundRobin"});
        balancer
            .as_object_mut()
            .unwrap()
            .extend(fields.as_object().unwrap().clone());
        json!({"loadBalancer": balancer})
    };
    for (fields, field) in [
        (
            json!({"proxyProtocol": {"version": "V3"}}),
            "spec.proxyProtocol.version",
        ),
        (
            json!({"healthCheck": {"active": {}}}),
            "spec.healthCheck.active.type",
        ),
        (
            json!({"healthCheck": {"active": {"type": "HTTP", "http": {"path": "x"}}}}),
            "spec.healthCheck.active.http.path",
        ),
        (
            json!({"healthCheck": {"passive": {"baseEjectionTime": "0s"}}}),
            "spec.healthCheck.passive.baseEjectionTime",
        ),
        (
            json!({"healthCheck": {"panicThreshold": 101}}),
            "spec.healthCheck.panicThreshold",
        ),
        (
            json!({"connection": {"bufferLimit": "x"}}),
            "spec.connection.bufferLimit",
        ),
        (
            json!({"http2": {"initialStreamWindowSize": 65534}}),
            "spec.http2.initialStreamWindowSize",
        ),
        (json!({"bandwidthLimit": {}}), "spec.bandwidthLimit"),
        (
            json!({"bandwidthLimit": {"request": {"limit": {"value": "0", "unit": "Hour"}}}}),
            "spec.bandwidthLimit.request.limit.value",
        ),
        (json!({"faultInjection": {}}), "spec.faultInjection"),
        (
            json!({"faultInjection": {"abort": {"httpStatus": 600}}}),
            "spec.faultInjection.abort.httpStatus",
        ),
        (
            json!({"faultInjection": {"delay": {"fixedDelay": "1s", "percentage": -1}}}),
            "spec.faultInjection.delay.percentage",
        ),
        (
            json!({"admissionControl": {"samplingWindow": "10ms"}}),
            "spec.admissionControl.samplingWindow",
        ),
        (
            json!({"compressor": [{"type": "Gzip", "minContentLength": "x"}]}),
            "spec.compressor[0].minContentLength",
        ),
        (
            json!({"responseOverride": [{}]}),
            "spec.responseOverride[0]",
        ),
        (
            overridden(json!({"response": {"body": {"inline": "%REQ(:path)%"}}})),
            "spec.responseOverride[0].response.body.inline",
        ),
        (
            overridden(json!({"response": {"statusCode": 101}})),
            "spec.responseOverride[0].response.statusCode",
        ),
        (
            overridden(json!({"redirect": {"path": {"type": "ReplacePrefixMatch"}}})),
            "spec.responseOverride[0].redirect.path",
        ),
        (json!({"requestBuffer": {}}), "spec.requestBuffer.limit"),
        (json!({"routingType": "Pod"}), "spec.routingType"),
        (json!({"rateLimit": {"type": "Global"}}), "spec.rateLimit"),
        (
            json!({"rateLimit": {"global": {"rules": [{}]}}}),
            "spec.rateLimit.global",
        ),
        (json!({"rateLimit": {"type": "Local"}}), "spec.rateLimit"),
        (
            json!({"httpUpgrade": [{"type": ""}]}),
            "spec.httpUpgrade[0]",
        ),
        (
            json!({"circuitBreaker": {"retryBudget": {}}}),
            "spec.circuitBreaker.retryBudget.percent",
        ),
        (
            json!({"circuitBreaker": {"maxParallelRetries": -1}}),
            "spec.circuitBreaker.maxParallelRetries",
        ),
        (
            json!({"retry": {"retryOn": {"triggers": ["sometimes"]}}}),
            "spec.retry.retryOn.triggers[0]",
        ),
        (
            json!({"retry": {"perRetry": {"backOff": {"maxInterval": "1ms"}}}}),
            "spec.retry.perRetry.backOff.maxInterval",
        ),
        (
            http(json!({"streamIdleTimeout": "soon"})),
            "spec.timeout.http.streamIdleTimeout",
        ),
        (
            json!({"timeout": {"tcp": {"connectTimeout": "0s"}}}),
            "spec.timeout.tcp.connectTimeout",
        ),
        (
            balancer(json!({"endpointOverride": {}})),
            "spec.loadBalancer.endpointOverride.extractFrom",
        ),
        (
            balancer(json!({"type": "DynamicModule"})),
            "spec.loadBalancer.type",
        ),
        (
            balancer(json!({"endpointOverride": {"extractFrom": [{"header": "a b"}]}})),
            "spec.loadBalancer.endpointOverride.extractFrom[0].header",
        ),
        (
            balancer(json!({"slowStart": {"window": "soon"}})),
            "spec.loadBalancer.slowStart.window",
        ),
        (
            balancer(json!({"zoneAware": {"weightedZones": [{"zone": "a", "weight": -1}]}})),
            "spec.loadBalancer.zoneAware.weightedZones[0].weight",
        ),
        (
            balancer(json!({"zoneAware": {"preferLocal": {"minEndpointsThreshold": -1}}})),
            "spec.loadBalancer.zoneAware.preferLocal.minEndpointsThreshold",
        ),
    ] {
        let error = convert(fields.clone()).unwrap_err();

        assert_eq!(error.field, field, "{fields}");
        assert!(error.message.contains(field), "{error}");
    }
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
fn fields_that_protect_nothing_are_ignored_with_a_remark() {
    let preconnect = |percent: Value| json!({"connection": {"preconnect": percent}});
    for (fields, remark) in [
        (
            json!({"healthCheck": {"active": {"type": "TCP", "tcp": {}, "healthCheckLog": {}}}}),
            "spec.healthCheck.active.healthCheckLog",
        ),
        (
            preconnect(json!({"perEndpointPercent": 150})),
            "spec.connection.preconnect.perEndpointPercent",
        ),
        (
            preconnect(json!({"predictivePercent": 101})),
            "spec.connection.preconnect.predictivePercent",
        ),
        (json!({"telemetry": {}}), "spec.telemetry"),
    ] {
        convert(fields.clone()).unwrap();

        assert_eq!(spec(fields).remarks().ignored, [remark]);
    }
}

/// The only policy of a conversion.
fn policy(fields: Value) -> Policy {
    let mut policies = convert(fields).unwrap().policies;
    assert_eq!(policies.len(), 1);
    policies.remove(0)
}

#[test]
fn compressors_need_no_settings_and_each_coding_counts_once() {
    let compressor = |coding, min_length| Compressor { coding, min_length };
    let list = json!([
        {"type": "Brotli", "minContentLength": "1Ki"},
        {"type": "Gzip"},
        {"type": "Gzip", "gzip": {}, "minContentLength": 99},
    ]);
    let expected = Policy::Compression(ResponseCompression {
        compressors: vec![
            compressor(ContentCoding::Brotli, 1024),
            compressor(ContentCoding::Gzip, 30),
        ],
    });

    assert_eq!(policy(json!({"compressor": list})), expected);
    assert_eq!(policy(json!({"compression": list})), expected);
}

#[test]
fn a_request_that_is_buffered_cannot_be_upgraded() {
    let config = convert(json!({"requestBuffer": {"limit": "1Ki"}})).unwrap();

    assert_eq!(config.traffic.upgrades, [""; 0]);
    let buffering = RequestBuffering { bytes: 1024 };
    assert_eq!(config.policies, [Policy::RequestBuffer(buffering)]);
}

#[test]
fn an_annotation_limits_request_bodies() {
    let limit = |annotations: &[(&str, &str)]| {
        let annotations = annotations.iter();
        let annotations = annotations
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let context = RouteContext {
            annotations: &annotations,
            ..CONTEXT
        };
        spec(json!({}))
            .traffic(context)
            .map(|config| config.policies)
    };
    let name = "towergate.dev/max-request-body";

    let bytes = 8 << 20;
    let expected = vec![Policy::RequestBodyLimit(RequestBodyLimit { bytes })];
    assert_eq!(limit(&[("a/b", "c"), (name, "8Mi")]), Ok(expected));
    assert_eq!(limit(&[(name, "0")]), Ok(Vec::new()));
    for wrong in [(name, "8m"), (name, ""), ("towergate.dev/max-body", "8Mi")] {
        let error = limit(&[wrong]).unwrap_err();
        assert_eq!(error.field, "metadata.annotations");
        assert!(error.message.contains(name), "{error}");
    }
}

#[test]
fn a_replaced_body_may_contain_percent_signs() {
    let of = |body: &str| {
        let response = json!({"body": {"inline": body}});
        let Policy::ResponseOverride(replacement) = policy(json!({"responseOverride": [{
            "match": {"statusCodes": [{"type": "Range", "range": {"start": 500, "end": 599}}]},
            "response": response,
        }]})) else {
            panic!("another policy");
        };
        let rule = &replacement.rules[0];
        assert_eq!(rule.statuses, [(500, 599)]);
        match &rule.replacement {
            Replacement::Response(response) => response.body.clone(),
            Replacement::Redirect(_) => panic!("a redirect"),
        }
    };

    assert_eq!(of("width: 100%; height: 50%"), "width: 100%; height: 50%");
    assert_eq!(of("100%%"), "100%");
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
fn admission_control_and_throughput_have_the_defaults_of_envoy() {
    let Policy::AdmissionControl(rule) = policy(json!({"admissionControl": {}})) else {
        panic!("another policy");
    };
    assert_eq!(rule.window, Duration::from_secs(30));
    assert_eq!((rule.min_success_rate, rule.max_rejection), (95, 80));
    let limit = json!({"value": "1Mi", "unit": "Minute"});
    let Policy::BandwidthLimit(limit) =
        policy(json!({"bandwidthLimit": {"response": {"limit": limit}}}))
    else {
        panic!("another policy");
    };
    let per = Duration::from_secs(60);
    assert_eq!(
        limit.response,
        Some(Throughput {
            bytes: 1 << 20,
            per
        })
    );
    assert_eq!((limit.request, limit.trailers), (None, None));
}

/// References with a configured rate limit service.
#[derive(Debug)]
struct WithRateLimitService;

impl References for WithRateLimitService {
    fn secret(&self, field: &str, reference: &ObjectRef) -> Result<ObjectData, FieldError> {
        NoReferences.secret(field, reference)
    }

    fn config_map(&self, field: &str, reference: &ConfigMapRef) -> Result<ObjectData, FieldError> {
        NoReferences.config_map(field, reference)
    }

    fn backends(
        &self,
        field: &str,
        references: &[BackendRef],
    ) -> Result<Vec<WeightedBackend>, FieldError> {
        NoReferences.backends(field, references)
    }

    fn rate_limit_service(&self) -> Option<RateLimitService> {
        Some(RateLimitService::new("ratelimit", 8081))
    }
}

fn global(rule: Value) -> Result<Vec<Policy>, FieldError> {
    let limit = json!({"rateLimit": {"global": {"rules": [rule]}}});
    let context = RouteContext {
        references: &WithRateLimitService,
        ..CONTEXT
    };
    spec(limit).traffic(context).map(|config| config.policies)
}

#[test]
fn a_global_limit_names_the_service_of_the_operator_and_its_domains() {
    let policies = global(json!({
        "limit": {"requests": 3, "unit": "Week"}, "shared": true, "shadowMode": true, "xRateLimitHeaders": "Off",
        "cost": {"request": {"from": "Number", "number": 2}, "response": {"from": "Number", "number": 5}},
    }));

    let Ok([Policy::GlobalRateLimit(limit)]) = policies.as_deref() else {
        panic!("{policies:?}");
    };
    assert_eq!(limit.service, RateLimitService::new("ratelimit", 8081));
    let domains = (&*limit.listener, &*limit.policy);
    assert_eq!(domains, ("default/gateway/http", "default/policy"));
    let expected = GlobalLimitRule {
        shared: true,
        shadow: true,
        headers: Some(false),
        request_cost: Some(2),
        response_cost: Some(5),
        ..GlobalLimitRule::new(3, LimitUnit::Week)
    };
    assert_eq!(limit.rules, [expected]);
}

#[test]
fn limits_and_costs_in_metadata_are_rejected_by_name() {
    let metadata = json!({"namespace": "a", "key": "b"});
    let hour = json!({"requests": 1, "unit": "Hour"});
    for (rule, field) in [
        (
            json!({"limit": {"requests": 1, "unit": "Hour", "fromMetadata": metadata}}),
            "spec.rateLimit.global.rules[0].limit.fromMetadata",
        ),
        (
            json!({"limit": hour, "cost": {"request": {"from": "Metadata", "metadata": metadata}}}),
            "spec.rateLimit.global.rules[0].cost.request.metadata",
        ),
        (
            json!({"limit": hour, "cost": {"response": {"from": "Metadata", "metadata": metadata}}}),
            "spec.rateLimit.global.rules[0].cost.response.metadata",
        ),
        (
            json!({"limit": {"requests": 1, "unit": "Fortnight"}}),
            "spec.rateLimit.global.rules[0].limit.unit",
        ),
    ] {
        let error = global(rule.clone()).expect_err("it is rejected");
        assert_eq!(error.field, field, "{rule}");
    }
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
