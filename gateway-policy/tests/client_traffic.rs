//! Conversion of a ClientTrafficPolicy to settings of a listener.

// Tests and their helpers fail by panicking.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use serde_json::{Value, json};
use towergate_core::http::client_ip::ClientIpRule;
use towergate_core::plan::{
    EscapedSlashes, Http10, Keepalive, ListenerSettings, ProxyProtocol, RequestIdMode, TcpSettings,
    Underscores, XfccDetails, XfccMode,
};
use towergate_policy::client_traffic::{ListenerConfig, ListenerContext, TlsParameters};
use towergate_policy::{ClientTrafficPolicySpec, FieldError};

fn spec(fields: Value) -> ClientTrafficPolicySpec {
    serde_json::from_value(fields).unwrap()
}

fn convert(fields: Value) -> Result<ListenerConfig, FieldError> {
    spec(fields).listener_settings(ListenerContext::default())
}

fn settings(fields: Value) -> ListenerSettings {
    convert(fields).unwrap().settings
}

fn tcp(fields: Value) -> TcpSettings {
    convert(fields).unwrap().tcp
}

const fn seconds(seconds: u64) -> Option<Duration> {
    Some(Duration::from_secs(seconds))
}

#[test]
fn an_empty_policy_gives_the_defaults() {
    let converted = convert(json!({})).unwrap();

    assert_eq!(converted.settings, ListenerSettings::default());
    assert_eq!(converted.tcp, TcpSettings::default());
    assert_eq!(converted.tls, TlsParameters::default());
}

#[test]
fn proxy_protocol_takes_precedence_over_its_deprecated_form() {
    let expected = |optional| {
        Some(ProxyProtocol {
            optional,
            trusted: None,
        })
    };
    for (fields, proxy) in [
        (json!({}), None),
        (json!({"enableProxyProtocol": true}), expected(false)),
        (json!({"enableProxyProtocol": false}), None),
        (json!({"proxyProtocol": {}}), expected(false)),
        (
            json!({"enableProxyProtocol": false, "proxyProtocol": {"optional": true}}),
            expected(true),
        ),
    ] {
        assert_eq!(tcp(fields.clone()).proxy_protocol, proxy, "{fields}");
    }
}

#[test]
fn deprecated_fields_are_reported_even_if_the_policy_is_rejected() {
    let spec = spec(json!({
        "targetRef": {"name": "x"},
        "enableProxyProtocol": true,
        "headers": {"preserveXRequestID": true},
        "tls": {"clientValidation": {"optional": true}},
    }));

    let fields: Vec<_> = spec
        .remarks()
        .deprecated
        .into_iter()
        .map(|d| d.field)
        .collect();

    assert!(spec.listener_settings(ListenerContext::default()).is_err());
    assert_eq!(
        fields,
        [
            "spec.targetRef",
            "spec.enableProxyProtocol",
            "spec.tls.clientValidation.optional",
            "spec.headers.preserveXRequestID",
        ]
    );
}

#[test]
fn each_source_of_the_client_address_is_converted() {
    let rule = |detection: Value| settings(json!({"clientIPDetection": detection})).client_ip;

    assert_eq!(
        rule(json!({"xForwardedFor": {"numTrustedHops": 2}})),
        ClientIpRule::TrustedHops {
            hops: 2,
            append: true
        }
    );
    assert_eq!(
        rule(json!({"xForwardedFor": {
            "trustedCIDRs": ["10.1.2.3/8", "2001:db8::/32"],
            "disableXForwardedForAppend": true,
        }})),
        ClientIpRule::TrustedNetworks {
            networks: vec![
                "10.0.0.0/8".parse().unwrap(),
                "2001:db8::/32".parse().unwrap()
            ],
            append: false,
        }
    );
    assert_eq!(
        rule(json!({"customHeader": {"name": "X-Real-IP", "failClosed": true}})),
        ClientIpRule::Header {
            name: "x-real-ip".parse().unwrap(),
            fail_closed: true,
        }
    );
    assert_eq!(rule(json!({"directSourceIP": {}})), ClientIpRule::Peer);
}

#[test]
fn header_settings_are_converted() {
    let headers = settings(json!({"headers": {
        "enableEnvoyHeaders": true,
        "disableRateLimitHeaders": true,
        "xForwardedClientCert": {"mode": "SanitizeSet", "certDetailsToAdd": ["DNS", "Cert"]},
        "withUnderscoresAction": "DropHeader",
        "requestID": "Preserve",
        "maxRequestHeaderLimit": "1025",
        "host": {"stripTrailingHostDot": true},
    }}))
    .headers;

    assert!(headers.envoy_headers);
    assert!(!headers.rate_limit_headers);
    assert_eq!(headers.xfcc, XfccMode::SanitizeSet);
    assert_eq!(
        headers.xfcc_details,
        XfccDetails {
            dns: true,
            cert: true,
            ..XfccDetails::default()
        }
    );
    assert_eq!(headers.underscores, Underscores::Drop);
    assert_eq!(headers.request_id, RequestIdMode::Preserve);
    assert_eq!(headers.max_request_head, 2048);
    assert!(headers.strip_trailing_host_dot);
}

#[test]
fn preserve_x_request_id_means_preserve_or_generate() {
    let mode = |on| {
        settings(json!({"headers": {"preserveXRequestID": on}}))
            .headers
            .request_id
    };

    assert_eq!(mode(true), RequestIdMode::PreserveOrGenerate);
    assert_eq!(mode(false), RequestIdMode::Generate);
}

#[test]
fn timeouts_are_converted_and_0_disables_one() {
    let timeouts = settings(json!({"timeout": {
        "http": {
            "requestReceivedTimeout": "1s",
            "requestHeadersReceivedTimeout": "2s",
            "idleTimeout": "0s",
            "streamIdleTimeout": "4s",
        },
        "tcp": {"tlsHandshakeTimeout": "5s"},
    }}))
    .timeouts;
    let inspection = tcp(json!({"timeout": {"tcp": {"connectionInspectionTimeout": "6s"}}}));

    assert_eq!(timeouts.request, seconds(1));
    assert_eq!(timeouts.request_headers, seconds(2));
    assert_eq!(timeouts.idle, None);
    assert_eq!(timeouts.stream_idle, seconds(4));
    assert_eq!(timeouts.tls_handshake, seconds(5));
    assert_eq!(Some(inspection.inspection_timeout), seconds(6));
}

#[test]
fn limits_and_buffers_of_connections_are_converted() {
    let fields = json!({
        "connection": {
            "connectionLimit": {
                "value": 5,
                "closeDelay": "1s",
                "maxConnectionDuration": "2s",
                "maxRequestsPerConnection": 1,
                "maxStreamDuration": "3s",
            },
            "bufferLimit": "64Ki",
            "socketBufferLimit": 4096,
            "maxAcceptPerSocketEvent": 0,
        },
        "tcpKeepalive": {"probes": 3, "idleTime": "20m", "interval": "60s"},
    });
    let limits = settings(fields.clone()).limits;
    let tcp = tcp(fields);

    assert_eq!(limits.connections, Some(5));
    assert_eq!(limits.close_delay, seconds(1));
    assert_eq!(limits.max_duration, seconds(2));
    assert_eq!(limits.max_requests, Some(1));
    assert_eq!(limits.max_stream_duration, seconds(3));
    assert_eq!(limits.buffer, Some(65536));
    assert_eq!(tcp.socket_buffer, Some(4096));
    assert_eq!(tcp.accepts_per_event, 0);
    assert_eq!(
        tcp.keepalive,
        Some(Keepalive {
            idle: seconds(1200),
            interval: seconds(60),
            probes: Some(3),
        })
    );
}

#[test]
fn settings_of_http1_and_http2_are_converted() {
    let settings = settings(json!({
        "path": {"escapedSlashesAction": "RejectRequest", "disableMergeSlashes": true},
        "http1": {
            "enableTrailers": true,
            "preserveHeaderCase": true,
            "http10": {},
            "ignoredUpgradeTypes": [{"value": "h2c"}],
            "disableSafeMaxConnectionDuration": true,
        },
        "http2": {
            "initialStreamWindowSize": "128Ki",
            "initialConnectionWindowSize": "2Mi",
            "maxConcurrentStreams": 7,
            "onInvalidMessage": "TerminateConnection",
            "connectionKeepalive": {
                "interval": "30s",
                "timeout": "5s",
                "intervalJitter": 0,
                "idleInterval": "9s",
            },
        },
        "healthCheck": {"path": "/healthz"},
        "scheme": "Preserve",
        "grpc": {"enableWeb": false},
    }));

    assert_eq!(settings.path.escaped_slashes, EscapedSlashes::RejectRequest);
    assert!(!settings.path.merge_slashes);
    assert!(settings.http1.trailers);
    assert!(settings.http1.preserve_header_case);
    assert!(settings.http1.close_at_max_duration);
    assert_eq!(settings.http1.http10, Some(Http10::default()));
    assert!(settings.http1.ignored_upgrades[0].matches("h2c"));
    assert_eq!(settings.translate_grpc_web, Some(false));
    assert_eq!(settings.http2.stream_window, 131_072);
    assert_eq!(settings.http2.connection_window, 2_097_152);
    assert_eq!(settings.http2.max_concurrent_streams, 7);
    assert_eq!(settings.http2.keepalive_interval, seconds(30));
    assert_eq!(settings.http2.keepalive_timeout, seconds(5));
    assert_eq!(settings.http2.keepalive_jitter, 0);
    assert_eq!(settings.http2.keepalive_idle, seconds(9));
    assert!(settings.http2.end_on_invalid);
    assert_eq!(settings.health_check_path.as_deref(), Some("/healthz"));
}

#[test]
fn a_default_host_needs_a_host_name() {
    let spec = spec(json!({"http1": {"http10": {"useDefaultHost": true}}}));
    let with = |hostname| spec.listener_settings(ListenerContext { hostname });

    let http10 = with(Some("a.test")).unwrap().settings.http1.http10;
    assert_eq!(http10.unwrap().default_host.as_deref(), Some("a.test"));
    assert_eq!(
        with(None).unwrap_err().field,
        "spec.http1.http10.useDefaultHost"
    );
}

#[test]
fn unsupported_fields_are_rejected_by_name() {
    for (fields, field) in [
        (
            json!({"tls": {"clientValidation": {}}}),
            "spec.tls.clientValidation.caCertificateRefs",
        ),
        (
            json!({"tls": {"signatureAlgorithms": ["ed25519", "rsa_pkcs1_sha1"]}}),
            "spec.tls.signatureAlgorithms[1]",
        ),
        (
            json!({"http2": {"onInvalidMessage": "Ignore"}}),
            "spec.http2.onInvalidMessage",
        ),
        (
            json!({"http2": {"connectionKeepalive": {"timeout": "1s"}}}),
            "spec.http2.connectionKeepalive.timeout",
        ),
    ] {
        let error = convert(fields.clone()).unwrap_err();

        assert_eq!(error.field, field, "{fields}");
        assert!(error.message.contains(field), "{error}");
    }
}

#[test]
fn fields_that_protect_nothing_are_ignored_with_a_remark() {
    let fields = json!({"http3": {}});
    assert_eq!(convert(fields.clone()), convert(json!({})));
    assert_eq!(spec(fields).remarks().ignored, ["spec.http3"]);
}

#[test]
fn fingerprints_are_settings_of_the_listener() {
    let of = |list: serde_json::Value| {
        let converted = convert(json!({"tls": {"fingerprints": list}})).unwrap();
        let found = converted.settings.fingerprints;
        (found.ja3, found.ja4)
    };

    assert_eq!(of(json!(["JA4"])), (false, true));
    assert_eq!(of(json!(["JA4", "JA3"])), (true, true));
    assert_eq!(of(json!([])), (false, false));
    assert!(convert(json!({"tls": {"fingerprints": ["JA5"]}})).is_err());
}

#[test]
fn invalid_values_are_rejected_by_name() {
    for (fields, field) in [
        (json!({"clientIPDetection": {}}), "spec.clientIPDetection"),
        (
            json!({"clientIPDetection": {"xForwardedFor": {"trustedCIDRs": ["1.2.3.4/999"]}}}),
            "spec.clientIPDetection.xForwardedFor.trustedCIDRs[0]",
        ),
        (
            json!({"headers": {"maxRequestHeaderLimit": "512"}}),
            "spec.headers.maxRequestHeaderLimit",
        ),
        (
            json!({"headers": {"maxRequestHeaderLimit": "9Mi"}}),
            "spec.headers.maxRequestHeaderLimit",
        ),
        (
            json!({"http2": {"initialStreamWindowSize": "1Ki"}}),
            "spec.http2.initialStreamWindowSize",
        ),
        (
            json!({"http2": {"initialConnectionWindowSize": "1Ti"}}),
            "spec.http2.initialConnectionWindowSize",
        ),
        (
            json!({"timeout": {"http": {"requestReceivedTimeout": "5sec"}}}),
            "spec.timeout.http.requestReceivedTimeout",
        ),
        (
            json!({"timeout": {"tcp": {"idleTimeout": "soon"}}}),
            "spec.timeout.tcp.idleTimeout",
        ),
        (
            json!({"connection": {"bufferLimit": "1000G"}}),
            "spec.connection.bufferLimit",
        ),
        (
            json!({"http1": {"ignoredUpgradeTypes": [{"type": "RegularExpression", "value": "("}]}}),
            "spec.http1.ignoredUpgradeTypes[0]",
        ),
        (json!({"scheme": "preserve"}), "spec.scheme"),
    ] {
        let error = convert(fields.clone()).unwrap_err();

        assert_eq!(error.field, field, "{fields}");
    }
}
