//! Sections that become policies on requests.

use std::time::Duration;

use serde_json::{Value, json};
use towergate_policy::Policy;
use towergate_policy::backend_traffic::RouteContext;
use towergate_policy::bandwidth::Throughput;
use towergate_policy::compression::{Compressor, ContentCoding, ResponseCompression};
use towergate_policy::request_body_limit::{RequestBodyLimit, RequestBuffering};
use towergate_policy::response_override::{Replacement, ReplacementBody};

use super::{CONTEXT, convert, spec};

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
fn a_replaced_body_may_contain_operators_and_percent_signs() {
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

    let plain = |text: &str| ReplacementBody::Plain(text.to_owned());
    assert_eq!(
        of("width: 100%; height: 50%"),
        plain("width: 100%; height: 50%")
    );
    assert_eq!(of("100%%"), plain("100%"));
    assert_eq!(of("/a%2FB%20%C"), plain("/a%2FB%20%C"));
    let format = "100%% of 50%%: %REQ(x-a?:path):9%".parse().unwrap();
    assert_eq!(
        of("100%% of 50%: %REQ(x-a?:path):9%"),
        ReplacementBody::Format(format)
    );
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
