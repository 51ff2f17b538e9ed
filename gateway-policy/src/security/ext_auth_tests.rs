//! Conversion of `extAuth`.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use towergate_core::plan::{Backend, BackendId, BackendProtocol, Destination, WeightedBackend};

use super::SecurityPolicySpec;
use crate::common::{BackendRef, ConfigMapRef, ObjectRef};
use crate::ext_auth::{
    AnswerFields, AuthService, ExternalAuth, LongerBody, SentBody, ServiceFailure, ServicePath,
};
use crate::references::ObjectData;
use crate::{FieldError, Policy, References};

/// Test data: one Secret and one ConfigMap. Every Service exists.
#[derive(Debug)]
struct Objects;

impl References for Objects {
    fn secret(&self, field: &str, reference: &ObjectRef) -> Result<ObjectData, FieldError> {
        match reference.name.as_deref() {
            Some("secret") => Ok([("token".to_owned(), b"hidden".to_vec())].into()),
            _ => Err(FieldError::invalid(field, "Secret not found")),
        }
    }

    fn config_map(&self, _: &str, _: &ConfigMapRef) -> Result<ObjectData, FieldError> {
        Ok([("region".to_owned(), b"north".to_vec())].into())
    }

    fn backends(
        &self,
        field: &str,
        references: &[BackendRef],
    ) -> Result<Vec<WeightedBackend>, FieldError> {
        let found = references.iter().enumerate().map(|(index, reference)| {
            let name = reference.name.as_deref().unwrap_or_default();
            if name == "missing" {
                return Err(FieldError::invalid(
                    format!("{field}[{index}]"),
                    "Service not found",
                ));
            }
            Ok(WeightedBackend {
                weight: 1,
                filters: Vec::new(),
                destination: Destination::Backend(Arc::new(Backend {
                    id: BackendId::service("apps", name, 80),
                    protocol: BackendProtocol::Http1,
                    tls: None,
                    hosts: Vec::new(),
                    fallback: false,
                    dynamic: None,
                })),
            })
        });
        found.collect()
    }
}

fn convert(ext_auth: Value) -> Result<ExternalAuth, FieldError> {
    let target = json!([{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "a"}]);
    let spec = json!({"targetRefs": target, "extAuth": ext_auth});
    let spec: SecurityPolicySpec = serde_json::from_value(spec).unwrap();
    let mut policies = spec.policies(&Objects)?;
    match (policies.pop(), policies.pop()) {
        (Some(Policy::ExternalAuth(found)), None) => Ok(found),
        other => panic!("{other:?}"),
    }
}

fn http(extra: Value) -> Value {
    let mut http = json!({"backendRefs": [{"name": "auth", "port": 80}]});
    http.as_object_mut()
        .unwrap()
        .extend(extra.as_object().unwrap().clone());
    http
}

#[test]
fn defaults_are_those_of_envoy_gateway() {
    let found = convert(json!({"http": http(json!({}))})).unwrap();

    assert_eq!((found.sent_headers, found.body), (None, None));
    assert_eq!(found.on_failure, ServiceFailure::Deny(403));
    assert_eq!(found.timeout, Duration::from_secs(10));
    assert_eq!(
        found.traffic.request_timeout, None,
        "the timeout of the section applies"
    );
    let AuthService::Http(service) = found.service else {
        panic!("HTTP")
    };
    assert_eq!(service.path, ServicePath::Prefix(String::new()));
}

#[test]
fn every_setting_over_http_is_applied() {
    let found = convert(json!({
        "headersToExtAuth": ["Cookie"],
        "bodyToExtAuth": {"maxRequestBytes": 5},
        "statusOnError": 503,
        "timeout": "300ms",
        "recomputeRoute": true,
        "http": http(json!({"pathOverride": "/fixed", "headersToBackend": ["X-User"]})),
    }));

    let found = found.unwrap();
    assert_eq!(found.sent_headers.unwrap()[0].as_str(), "cookie");
    assert_eq!(
        found.body,
        Some(SentBody {
            max_bytes: 5,
            longer: LongerBody::Reject
        })
    );
    assert_eq!(found.on_failure, ServiceFailure::Deny(503));
    assert_eq!(
        (found.timeout, found.recompute_route),
        (Duration::from_millis(300), true)
    );
    let AuthService::Http(service) = found.service else {
        panic!("HTTP")
    };
    assert_eq!(service.path, ServicePath::Fixed("/fixed".to_owned()));
    let AnswerFields::Listed(names) = service.headers_to_backend else {
        panic!("listed")
    };
    assert_eq!(names[0].as_str(), "x-user");
}

#[test]
fn fail_open_takes_precedence_over_a_status() {
    let found = convert(json!({"failOpen": true, "statusOnError": 503, "http": http(json!({}))}));

    assert_eq!(found.unwrap().on_failure, ServiceFailure::Allow);
}

#[test]
fn grpc_receives_values_of_objects_over_http2() {
    let reference = |kind, name, key| {
        json!({"name": key, "type": "ValueRef",
            "valueRef": {"group": "", "kind": kind, "name": name, "key": key}})
    };
    let found = convert(json!({
        "includeRouteMetadata": true,
        "contextExtensions": [
            {"name": "plain", "type": "Value", "value": "b"},
            reference("ConfigMap", "map", "region"),
            reference("Secret", "secret", "token"),
        ],
        "grpc": {"backendRef": {"name": "checker", "port": 80}},
    }));

    let found = found.unwrap();
    let Destination::Backend(backend) = &found.backends[0].destination else {
        panic!("found")
    };
    assert_eq!(backend.protocol, BackendProtocol::Http2);
    let AuthService::Grpc(service) = found.service else {
        panic!("gRPC")
    };
    assert_eq!(
        (&*service.authority, service.route_metadata),
        ("checker.apps:80", true)
    );
    let context = service
        .context
        .iter()
        .map(|(name, value)| (&**name, value.expose()));
    let expected = [("plain", "b"), ("region", "north"), ("token", "hidden")];
    assert_eq!(context.collect::<Vec<_>>(), expected);
    assert!(!format!("{:?}", service.context).contains("hidden"));
}

#[test]
fn an_error_names_the_field() {
    let context = |key: &str, name: &str| {
        let value = json!({"group": "", "kind": "Secret", "name": name, "key": key});
        json!([{"name": "a", "type": "ValueRef", "valueRef": value}])
    };
    let missing = json!({"backendRef": {"name": "missing", "port": 80}});
    for (ext_auth, field) in [
        (json!({}), ""),
        (
            json!({"http": http(json!({"path": "check"}))}),
            ".http.path",
        ),
        (
            json!({"http": http(json!({"pathOverride": ""}))}),
            ".http.pathOverride",
        ),
        (
            json!({"http": http(json!({"headersToBackend": ["host"]}))}),
            ".http.headersToBackend[0]",
        ),
        (
            json!({"headersToExtAuth": ["a b"], "http": http(json!({}))}),
            ".headersToExtAuth[0]",
        ),
        (
            json!({"timeout": "0s", "http": http(json!({}))}),
            ".timeout",
        ),
        (json!({"grpc": missing}), ".grpc.backendRef"),
        (
            json!({"contextExtensions": context("other", "secret"), "http": http(json!({}))}),
            ".contextExtensions[0].valueRef",
        ),
        (
            json!({"contextExtensions": context("token", "none"), "http": http(json!({}))}),
            ".contextExtensions[0].valueRef",
        ),
    ] {
        let error = convert(ext_auth).unwrap_err();
        assert_eq!(error.field, format!("spec.extAuth{field}"), "{error}");
    }
}
