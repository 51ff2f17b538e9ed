//! Local and global rate limits.

use serde_json::{Value, json};
use towergate_core::plan::WeightedBackend;
use towergate_policy::backend_traffic::RouteContext;
use towergate_policy::common::{BackendRef, ConfigMapRef, ObjectRef};
use towergate_policy::global_rate_limit::{
    GlobalLimitRule, LimitCost, LimitUnit, RateLimitService,
};
use towergate_policy::rate_limit::{LocalRateLimit, PathTest, ValueTest};
use towergate_policy::references::{NoReferences, ObjectData, References};
use towergate_policy::request_metadata::MetadataKey;
use towergate_policy::{FieldError, Policy};

use super::{CONTEXT, convert, seconds, spec};

fn limit(rules: Value) -> Result<LocalRateLimit, FieldError> {
    let mut policies = convert(json!({"rateLimit": {"local": {"rules": rules}}}))?.policies;
    assert_eq!(policies.len(), 1);
    let Some(Policy::LocalRateLimit(limit)) = policies.pop() else {
        panic!("a local rate limit converts to Policy::LocalRateLimit");
    };
    Ok(limit)
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
            "cost.request.metadata: Required value",
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
        request_cost: Some(LimitCost::Fixed(2)),
        response_cost: Some(LimitCost::Fixed(5)),
        ..GlobalLimitRule::new(3, LimitUnit::Week)
    };
    assert_eq!(limit.rules, [expected]);
}

#[test]
fn limits_and_costs_of_a_global_limit_may_be_in_metadata() {
    let metadata = json!({"namespace": "a", "key": "b"});
    let policies = global(json!({
        "limit": {"requests": 3, "unit": "Hour", "fromMetadata": metadata},
        "cost": {
            "request": {"from": "Metadata", "metadata": metadata},
            "response": {"from": "Metadata", "metadata": metadata},
        },
    }));

    let Ok([Policy::GlobalRateLimit(limit)]) = policies.as_deref() else {
        panic!("{policies:?}");
    };
    let key = MetadataKey {
        namespace: "a".to_owned(),
        key: "b".to_owned(),
    };
    let expected = GlobalLimitRule {
        limit_from: Some(key.clone()),
        request_cost: Some(LimitCost::Metadata(key)),
        // No policy sets values in this namespace, so the cost is 1.
        response_cost: Some(LimitCost::Fixed(1)),
        ..GlobalLimitRule::new(3, LimitUnit::Hour)
    };
    assert_eq!(limit.rules, [expected]);
}

#[test]
fn a_cost_of_a_local_limit_in_metadata_is_rejected_by_name() {
    let metadata = json!({"namespace": "a", "key": "b"});
    let error = limit(json!([{
        "limit": {"requests": 1, "unit": "Hour"},
        "clientSelectors": [{"headers": [{"name": "a", "value": "b"}]}],
        "cost": {"request": {"from": "Metadata", "metadata": metadata}},
    }]));

    let field = error.expect_err("it is rejected").field;
    assert!(field.ends_with("cost.request.metadata"), "{field}");
}

#[test]
fn limits_and_costs_in_claims_are_rejected_by_name() {
    let metadata = json!({"namespace": "envoy.filters.http.jwt_authn", "key": "b"});
    let hour = json!({"requests": 1, "unit": "Hour"});
    for (rule, field) in [
        (
            json!({"limit": {"requests": 1, "unit": "Hour", "fromMetadata": metadata}}),
            "spec.rateLimit.global.rules[0].limit.fromMetadata.namespace",
        ),
        (
            json!({"limit": hour, "cost": {"request": {"from": "Metadata", "metadata": metadata}}}),
            "spec.rateLimit.global.rules[0].cost.request.metadata.namespace",
        ),
        (
            json!({"limit": hour, "cost": {"response": {"from": "Metadata", "metadata": metadata}}}),
            "spec.rateLimit.global.rules[0].cost.response.metadata.namespace",
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
