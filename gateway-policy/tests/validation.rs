//! Tests that violations are reported with the messages of the API server.

// Tests and their helpers fail by panicking.
#![allow(clippy::unwrap_used)]

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use towergate_policy::{
    BackendTrafficPolicySpec, ClientTrafficPolicySpec, SchemaViolation, SecurityPolicySpec,
};

/// A spec with `fields` and a target of `kind`.
fn with_target<T: DeserializeOwned>(kind: &str, mut fields: Value) -> T {
    let target = json!([{"group": "gateway.networking.k8s.io", "kind": kind, "name": "x"}]);
    let object = fields.as_object_mut().unwrap();
    object.entry("targetRefs").or_insert(target);
    serde_json::from_value(fields).unwrap()
}

fn client(fields: Value) -> Vec<SchemaViolation> {
    with_target::<ClientTrafficPolicySpec>("Gateway", fields).validate()
}

fn backend(fields: Value) -> Vec<SchemaViolation> {
    with_target::<BackendTrafficPolicySpec>("HTTPRoute", fields).validate()
}

fn security(fields: Value) -> Vec<SchemaViolation> {
    with_target::<SecurityPolicySpec>("HTTPRoute", fields).validate()
}

/// Checks rows of fields, path of the violation, and message.
fn check(validate: fn(Value) -> Vec<SchemaViolation>, rows: Vec<(Value, &str, &str)>) {
    for (fields, field, message) in rows {
        let found = validate(fields.clone());

        let expected = SchemaViolation {
            field: field.to_owned(),
            message: message.to_owned(),
        };
        assert!(found.contains(&expected), "{fields} gives {found:?}");
    }
}

#[test]
fn violations_of_a_client_traffic_policy_are_reported() {
    check(
        client,
        vec![
            (
                json!({"clientIPDetection": {}}),
                "spec.clientIPDetection",
                "exactly one of xForwardedFor, customHeader, or directSourceIP must be set",
            ),
            (
                json!({"clientIPDetection": {"xForwardedFor": {"numTrustedHops": 1}, "directSourceIP": {}}}),
                "spec.clientIPDetection",
                "exactly one of xForwardedFor, customHeader, or directSourceIP must be set",
            ),
            (
                json!({"clientIPDetection": {"xForwardedFor": {"numTrustedHops": 1, "trustedCIDRs": ["10.0.0.0/8"]}}}),
                "spec.clientIPDetection.xForwardedFor",
                "only one of numTrustedHops or trustedCIDRs must be set",
            ),
            (
                json!({"clientIPDetection": {"xForwardedFor": {"trustedCIDRs": []}}}),
                "spec.clientIPDetection.xForwardedFor.trustedCIDRs",
                "should have at least 1 items",
            ),
            (
                json!({"clientIPDetection": {"customHeader": {}}}),
                "spec.clientIPDetection.customHeader.name",
                "Required value",
            ),
            (
                json!({"clientIPDetection": {"customHeader": {"name": "x y"}}}),
                "spec.clientIPDetection.customHeader.name",
                "should match '^[A-Za-z0-9-]+$'",
            ),
            (
                json!({"headers": {"preserveXRequestID": true, "requestID": "Generate"}}),
                "spec.headers",
                "preserveXRequestID and requestID cannot both be set.",
            ),
            (
                json!({"headers": {"requestID": "Maybe"}}),
                "spec.headers.requestID",
                r#"Unsupported value: "Maybe": supported values: "PreserveOrGenerate", "Preserve", "Generate", "Disable""#,
            ),
            (
                json!({"headers": {"xForwardedClientCert": {"mode": "Sanitize", "certDetailsToAdd": ["Subject"]}}}),
                "spec.headers.xForwardedClientCert",
                "certDetailsToAdd can only be set when mode is AppendForward or SanitizeSet",
            ),
            (
                json!({"headers": {"earlyRequestHeaders": {"set": []}}}),
                "spec.headers.earlyRequestHeaders.set",
                "should have at least 1 items",
            ),
            (
                json!({"headers": {"earlyRequestHeaders": {"set": [{"name": "a/b", "value": "1"}]}}}),
                "spec.headers.earlyRequestHeaders.set[0].name",
                r"should match '^[A-Za-z0-9!#$%&'*+\-.^_\x60|~]+$'",
            ),
            (
                json!({"connection": {"connectionLimit": {"closeDelay": "1s"}}}),
                "spec.connection.connectionLimit",
                "closeDelay can only be configured when value is set",
            ),
            (
                json!({"connection": {"connectionLimit": {"value": 0}}}),
                "spec.connection.connectionLimit.value",
                "should be greater than or equal to 1",
            ),
            (
                json!({"connection": {"bufferLimit": "1.5Mi"}}),
                "spec.connection.bufferLimit",
                "should match '^[1-9]+[0-9]*([EPTGMK]i|[EPTGMk])?$'",
            ),
            (
                json!({"http2": {"connectionKeepalive": {"interval": "1s", "timeout": "1s"}}}),
                "spec.http2.connectionKeepalive",
                "timeout must be less than interval",
            ),
            (
                json!({"http2": {"connectionKeepalive": {"intervalJitter": 101}}}),
                "spec.http2.connectionKeepalive.intervalJitter",
                "should be less than or equal to 100",
            ),
            (
                json!({"timeout": {"http": {"requestReceivedTimeout": "5sec"}}}),
                "spec.timeout.http.requestReceivedTimeout",
                "should match '^([0-9]{1,5}(h|m|s|ms)){1,4}$'",
            ),
            (
                json!({"tls": {"minVersion": "1.3", "ciphers": ["x"]}}),
                "spec.tls",
                "setting ciphers has no effect if the minimum possible TLS version is 1.3",
            ),
            (
                json!({"tls": {"minVersion": "1.3", "maxVersion": "1.2"}}),
                "spec.tls",
                "minVersion must be smaller or equal to maxVersion",
            ),
            (
                json!({"tls": {"maxVersion": "1.1"}}),
                "spec.tls",
                "minVersion must be smaller or equal to maxVersion",
            ),
            (
                json!({"tls": {"clientValidation": {"mode": "Request", "allowExpiredCertificate": true}}}),
                "spec.tls.clientValidation",
                "allowExpiredCertificate can only be set when mode is VerifyIfGiven or RequireAndVerify",
            ),
            (
                json!({"healthCheck": {}}),
                "spec.healthCheck.path",
                "Required value",
            ),
            (
                json!({"targetRefs": [], "targetRef": null}),
                "spec",
                "either targetRef or targetRefs must be used",
            ),
            (
                json!({"targetRef": {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "x"}}),
                "spec",
                "either targetRef or targetRefs must be used",
            ),
            (
                json!({"targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "x"}]}),
                "spec",
                "this policy can only have a targetRefs[*].kind of Gateway/ListenerSet",
            ),
            (
                json!({"targetRefs": [{"group": "", "kind": "Gateway", "name": "x"}]}),
                "spec",
                "this policy can only have a targetRefs[*].group of gateway.networking.k8s.io",
            ),
        ],
    );
}

#[test]
fn violations_of_a_backend_traffic_policy_are_reported() {
    let rule = |rule: Value| json!({"rateLimit": {"local": {"rules": [rule]}}});
    let check_with = |active: Value| json!({"healthCheck": {"active": active}});
    let balancer = |balancer: Value| json!({"loadBalancer": balancer});
    let instead = |rule: Value| json!({"responseOverride": [rule]});
    check(
        backend,
        vec![
            (
                json!({"circuitBreaker": {"maxConnections": -1}}),
                "spec.circuitBreaker.maxConnections",
                "should be greater than or equal to 0",
            ),
            (
                json!({"circuitBreaker": {"retryBudget": {"percent": {"numerator": 101}}}}),
                "spec.circuitBreaker.retryBudget.percent",
                "numerator must be less than or equal to denominator",
            ),
            (
                json!({"mergeType": "Replace"}),
                "spec",
                "Replace is not a valid MergeType for BackendTrafficPolicySpec",
            ),
            (
                json!({"compression": [], "compressor": []}),
                "spec",
                "either compression or compressor can be set, not both",
            ),
            (
                json!({"requestBuffer": {"limit": 1}, "httpUpgrade": []}),
                "spec",
                "requestBuffer cannot be used together with httpUpgrade",
            ),
            (
                json!({"connection": {"preconnect": {"predictivePercent": 200}}}),
                "spec",
                "predictivePercent in preconnect policy only works with RoundRobin or Random load balancers",
            ),
            (
                json!({"httpUpgrade": [{"type": "websocket", "connect": {}}]}),
                "spec.httpUpgrade[0]",
                "The connect configuration is only allowed when the type is CONNECT.",
            ),
            (
                json!({"retry": {"retryOn": {"httpStatusCodes": [503, 600]}}}),
                "spec.retry.retryOn.httpStatusCodes[1]",
                "should be less than or equal to 599",
            ),
            (
                json!({"faultInjection": {}}),
                "spec.faultInjection",
                "Delay and abort faults are set at least one.",
            ),
            (
                json!({"faultInjection": {"abort": {"httpStatus": 500, "grpcStatus": 1}}}),
                "spec.faultInjection.abort",
                "httpStatus and grpcStatus cannot be simultaneously defined.",
            ),
            (
                json!({"faultInjection": {"abort": {}}}),
                "spec.faultInjection.abort",
                "httpStatus and grpcStatus are set at least one.",
            ),
            (
                json!({"admissionControl": {"samplingWindow": "999ms"}}),
                "spec.admissionControl",
                "samplingWindow must be at least 1s",
            ),
            (
                json!({"admissionControl": {"minSuccessRate": 0}}),
                "spec.admissionControl",
                "minSuccessRate must be between 1 and 100",
            ),
            (
                json!({"admissionControl": {"maxRejectionPercent": 101}}),
                "spec.admissionControl",
                "maxRejectionPercent must be between 0 and 100",
            ),
            (
                json!({"bandwidthLimit": {}}),
                "spec.bandwidthLimit",
                "at least one of request or response must be specified",
            ),
            (
                check_with(json!({"type": "HTTP"})),
                "spec.healthCheck.active",
                "If Health Checker type is HTTP, http field needs to be set.",
            ),
            (
                check_with(json!({"type": "TCP"})),
                "spec.healthCheck.active",
                "If Health Checker type is TCP, tcp field needs to be set.",
            ),
            (
                check_with(json!({"type": "TCP", "tcp": {}, "grpc": {}})),
                "spec.healthCheck.active",
                "The grpc field can only be set if the Health Checker type is GRPC.",
            ),
            (
                check_with(
                    json!({"type": "HTTP", "http": {"path": "/", "requestBody": {"type": "Text"}}}),
                ),
                "spec.healthCheck.active.http",
                "The requestBody field can only be set when method is POST or PUT.",
            ),
            (
                check_with(json!({"type": "TCP", "tcp": {"send": {"type": "Text"}}})),
                "spec.healthCheck.active.tcp.send",
                "If payload type is Text, text field needs to be set.",
            ),
            (
                check_with(json!({"type": "GRPC", "healthCheckLog": {"matches": ["Failure"]}})),
                "spec.healthCheck.active.healthCheckLog",
                "a failure type and a success type must both be specified together",
            ),
            (
                balancer(json!({"type": "ConsistentHash"})),
                "spec.loadBalancer",
                "If LoadBalancer type is consistentHash, consistentHash field needs to be set.",
            ),
            (
                balancer(json!({"type": "Random", "slowStart": {"window": "1s"}})),
                "spec.loadBalancer",
                "Currently SlowStart is only supported for RoundRobin, LeastRequest, and BackendUtilization load balancers.",
            ),
            (
                balancer(
                    json!({"type": "Random", "zoneAware": {"preferLocal": {}, "weightedZones": []}}),
                ),
                "spec.loadBalancer",
                "ZoneAware PreferLocal and WeightedZones cannot be specified together.",
            ),
            (
                balancer(json!({"type": "ConsistentHash", "consistentHash": {"type": "Cookie"}})),
                "spec.loadBalancer.consistentHash",
                "If consistent hash type is cookie, the cookie field must be set.",
            ),
            (
                balancer(
                    json!({"type": "ConsistentHash", "consistentHash": {"type": "SourceIP", "tableSize": 1}}),
                ),
                "spec.loadBalancer.consistentHash.tableSize",
                "should be greater than or equal to 2",
            ),
            (
                rule(json!({"limit": {"requests": 1, "unit": "Hour"}, "clientSelectors": [{}]})),
                "spec.rateLimit.local.rules[0].clientSelectors[0]",
                "at least one of headers, methods, path, sourceCIDR or queryParams must be specified",
            ),
            (
                rule(
                    json!({"limit": {"requests": 1, "unit": "Hour"}, "cost": {"response": {"from": "Number"}}}),
                ),
                "spec.rateLimit.local",
                "response cost is not supported for Local Rate Limits",
            ),
            (
                rule(
                    json!({"limit": {"requests": 1, "unit": "Hour", "fromMetadata": {"namespace": "a", "key": "b"}}}),
                ),
                "spec.rateLimit.local",
                "limit fromMetadata is not supported for Local Rate Limits",
            ),
            (
                rule(json!({"limit": {"requests": 4294967296_i64, "unit": "Hour"}})),
                "spec.rateLimit.local.rules[0].limit.requests",
                "should be less than or equal to 4294967295",
            ),
            (
                instead(json!({"match": {"statusCodes": [{"value": 500}]}})),
                "spec.responseOverride[0]",
                "exactly one of response or redirect must be specified",
            ),
            (
                instead(json!({"match": {}, "response": {}})),
                "spec.responseOverride[0].match",
                "at least one of statusCodes or responseHeaders must be specified",
            ),
            (
                instead(
                    json!({"match": {"statusCodes": [{"type": "Range", "range": {"start": 2, "end": 2}}]}, "response": {}}),
                ),
                "spec.responseOverride[0].match.statusCodes[0].range",
                "end must be greater than start",
            ),
            (
                instead(json!({"match": {}, "redirect": {"statusCode": 303}})),
                "spec.responseOverride[0].redirect.statusCode",
                "Unsupported value: 303",
            ),
        ],
    );
}

#[test]
fn violations_of_a_security_policy_are_reported() {
    let provider = |provider: Value| json!({"jwt": {"providers": [provider]}});
    let rule = |rule: Value| json!({"authorization": {"rules": [rule]}});
    check(
        security,
        vec![
            (
                json!({"mergeType": "Replace"}),
                "spec",
                "Replace is not a valid MergeType for SecurityPolicy",
            ),
            (
                json!({"apiKeyAuth": {"credentialRefs": [], "extractFrom": [{"headers": ["a"], "cookies": ["b"]}]}}),
                "spec.apiKeyAuth.extractFrom[0]",
                "exactly one of headers, params, or cookies must be specified",
            ),
            (
                json!({"extAuth": {}}),
                "spec.extAuth",
                "one of grpc or http must be specified",
            ),
            (
                json!({"extAuth": {"grpc": {}, "http": {}}}),
                "spec.extAuth",
                "only one of grpc or http can be specified",
            ),
            (
                json!({"extAuth": {"grpc": {}}}),
                "spec.extAuth.grpc",
                "backendRef or backendRefs needs to be set",
            ),
            (
                json!({"extAuth": {"http": {"path": "/a", "pathOverride": "/b"}}}),
                "spec.extAuth.http",
                "only one of path or pathOverride can be specified",
            ),
            (
                json!({"extAuth": {"http": {"backendRefs": [{"kind": "Secret", "name": "x"}]}}}),
                "spec.extAuth.http",
                "BackendRefs only supports Service, ServiceImport, and Backend kind.",
            ),
            (
                json!({"jwt": {"optional": true, "failOpen": true, "providers": []}}),
                "spec.jwt",
                "optional and failOpen cannot both be set; failOpen already tolerates a missing JWT",
            ),
            (
                provider(json!({"name": "a"})),
                "spec.jwt.providers[0]",
                "either remoteJWKS or localJWKS must be specified.",
            ),
            (
                provider(json!({"name": "a", "recomputeRoute": true})),
                "spec.jwt.providers[0]",
                "claimToHeaders must be specified if recomputeRoute is enabled.",
            ),
            (
                provider(
                    json!({"name": "a", "remoteJWKS": {"uri": "x", "backendRef": {"name": "x"}}}),
                ),
                "spec.jwt.providers[0].remoteJWKS",
                "BackendRefs must be used, backendRef is not supported.",
            ),
            (
                provider(
                    json!({"name": "a", "remoteJWKS": {"uri": "x", "backendSettings": {"retry": {"perRetry": {"timeout": "1s"}}}}}),
                ),
                "spec.jwt.providers[0].remoteJWKS",
                "Retry timeout is not supported.",
            ),
            (
                json!({"oidc": {"clientID": "a", "clientIDRef": {"name": "b"}}}),
                "spec.oidc",
                "only one of clientID or clientIDRef must be set",
            ),
            (
                json!({"oidc": {"forwardAccessToken": true, "forwardIDToken": {"header": "authorization"}}}),
                "spec.oidc",
                "forwardAccessToken cannot be true when forwardIDToken.header is Authorization",
            ),
            (
                rule(json!({"action": "Allow"})),
                "spec.authorization.rules[0]",
                "at least one of principal or cel must be specified",
            ),
            (
                rule(json!({"action": "Allow", "principal": {}})),
                "spec.authorization.rules[0].principal",
                "at least one of clientCIDRs, jwt, headers, or clientIPGeoLocations must be specified",
            ),
            (
                rule(json!({"action": "Allow", "principal": {"clientCIDRs": ["nowhere"]}})),
                "spec.authorization.rules[0].principal.clientCIDRs[0]",
                &cidr_message(),
            ),
            (
                rule(json!({"action": "Perhaps"})),
                "spec.authorization.rules[0].action",
                r#"Unsupported value: "Perhaps": supported values: "Allow", "Deny""#,
            ),
            (
                json!({"csrf": {"shadowFraction": {"numerator": 2, "denominator": 1}}}),
                "spec.csrf.shadowFraction",
                "numerator must be less than or equal to denominator",
            ),
            (
                json!({"extAuth": {"grpc": {}, "statusOnError": 200}}),
                "spec.extAuth.statusOnError",
                "should be greater than or equal to 400",
            ),
        ],
    );
}

/// The message for a string without a network in CIDR notation.
fn cidr_message() -> String {
    let mut found = networks(&["nowhere"]);
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0).message
}

fn networks(texts: &[&str]) -> Vec<SchemaViolation> {
    client(json!({"clientIPDetection": {"xForwardedFor": {"trustedCIDRs": texts}}}))
}

/// The API server's pattern is not anchored. It therefore accepts strings that only contain a network.
#[test]
fn a_text_that_contains_a_network_matches_the_pattern() {
    let valid = [
        "10.0.0.0/8",
        "0.0.0.0/0",
        "2001:db8::/32",
        "::/0",
        "1.2.3.4/999",
    ];
    assert_eq!(networks(&valid), []);

    assert_eq!(
        networks(&["10.0.0.0", "10.0.0/8", "::", "example.com/8"]).len(),
        4
    );
}

#[test]
fn policies_with_many_fields_are_valid() {
    let found = client(json!({
        "clientIPDetection": {"xForwardedFor": {"trustedCIDRs": ["10.0.0.0/8", "2001:db8::/32"]}},
        "headers": {"earlyRequestHeaders": {"add": [{"name": "x-a", "value": "1"}]}},
        "tls": {"minVersion": "1.2", "ciphers": ["ECDHE-RSA-AES128-GCM-SHA256"]},
        "connection": {"connectionLimit": {"value": 5, "closeDelay": "1s"}, "bufferLimit": "32Ki"},
        "timeout": {"http": {"idleTimeout": "1h30m"}},
    }));
    assert_eq!(found, []);

    let found = backend(json!({
        "mergeType": "StrategicMerge",
        "retry": {"retryOn": {"triggers": ["5xx"], "httpStatusCodes": [503]}},
        "loadBalancer": {"type": "ConsistentHash", "consistentHash": {"type": "SourceIP"}},
        "rateLimit": {"local": {"rules": [{"limit": {"requests": 0, "unit": "Hour"}}]}},
    }));
    assert_eq!(found, []);

    let found = security(json!({
        "cors": {"allowOrigins": ["*", "https://*.example.com", "http://a.test:8080"]},
        "authorization": {"rules": [{"action": "Deny", "principal": {"clientCIDRs": ["::/0"]}}]},
    }));
    assert_eq!(found, []);
}
