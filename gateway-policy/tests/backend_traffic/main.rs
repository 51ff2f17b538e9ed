//! Conversion of a BackendTrafficPolicy to values of the plan.

// Tests and their helpers fail by panicking.
#![allow(clippy::unwrap_used)]

mod rate_limits;
mod request_policies;
mod retries;
mod upstream;

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use towergate_core::plan::Traffic;
use towergate_policy::backend_traffic::{RouteContext, TrafficConfig};
use towergate_policy::{BackendTrafficPolicySpec, FieldError};

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
            overridden(json!({"response": {"body": {"inline": "%UPSTREAM_WISDOM%"}}})),
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
        (
            json!({"telemetry": {"tracing": {}}}),
            "spec.telemetry.tracing",
        ),
    ] {
        convert(fields.clone()).unwrap();

        assert_eq!(spec(fields).remarks().ignored, [remark]);
    }
}

#[test]
fn an_unknown_operator_in_a_route_stat_name_costs_the_name_only() {
    let named = |name: &str| json!({"telemetry": {"metrics": {"routeStatName": name}}});

    let unknown = named("100%-%ROUTE_NAMESPACE%/%ROUTE_NAME%");
    let traffic = convert(named("%ROUTE_KIND%/%ROUTE_NAME%")).unwrap().traffic;

    assert_eq!(convert(unknown.clone()).unwrap().traffic.stat_name, None);
    assert_eq!(
        spec(unknown).remarks().ignored,
        ["spec.telemetry.metrics.routeStatName: %-%"]
    );
    assert_eq!(
        traffic.stat_name.as_deref(),
        Some("%ROUTE_KIND%/%ROUTE_NAME%")
    );
    assert_eq!(convert(named("")).unwrap().traffic.stat_name, None);
}
