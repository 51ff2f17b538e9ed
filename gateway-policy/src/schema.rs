//! CustomResourceDefinitions of Envoy Gateway's kinds, for clusters in which those of Envoy Gateway are not
//! installed.
//!
//! They derive from the same declarations as the types and their [checks](crate::check). Each field has its
//! type, its description and its own limits. The schemas do not contain rules between fields; violations of
//! these rules appear in the status of the policy.
//!
//! ```
//! use towergate_policy::schema::custom_resource_definitions;
//!
//! let crd = &custom_resource_definitions()[0];
//! assert_eq!(crd["metadata"]["name"], "clienttrafficpolicies.gateway.envoyproxy.io");
//! ```

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::backend::BackendSpec;
use crate::check::{FieldClass, FieldLimit};
use crate::common::{DURATION, DurationText, QUANTITY, Quantity};
use crate::envoy_proxy::EnvoyProxySpec;
use crate::route_filter::HttpRouteFilterSpec;
use crate::{BackendTrafficPolicySpec, ClientTrafficPolicySpec, SecurityPolicySpec};

/// A type with a schema: OpenAPI v3 in the form of CustomResourceDefinitions.
pub trait Schema {
    /// The schema of the type.
    fn schema() -> Value;
}

/// The CustomResourceDefinitions of the policies, Backend, HTTPRouteFilter and EnvoyProxy. They contain fewer rules than
/// those of Envoy Gateway and must not replace them.
pub fn custom_resource_definitions() -> [Value; 6] {
    [
        definition(
            [
                "ClientTrafficPolicy",
                "clienttrafficpolicy",
                "clienttrafficpolicies",
                "ctp",
            ],
            "Settings of connections between clients and Gateways.",
            ClientTrafficPolicySpec::schema(),
            policy_status(),
        ),
        definition(
            [
                "BackendTrafficPolicy",
                "backendtrafficpolicy",
                "backendtrafficpolicies",
                "btp",
            ],
            "Settings of requests between Gateways and backends.",
            BackendTrafficPolicySpec::schema(),
            policy_status(),
        ),
        definition(
            ["SecurityPolicy", "securitypolicy", "securitypolicies", "sp"],
            "Authentication and authorization of requests.",
            SecurityPolicySpec::schema(),
            policy_status(),
        ),
        definition(
            ["Backend", "backend", "backends", "be"],
            "Endpoints outside the Services of the cluster.",
            BackendSpec::schema(),
            conditions_status(),
        ),
        definition(
            [
                "HTTPRouteFilter",
                "httproutefilter",
                "httproutefilters",
                "hrf",
            ],
            "A filter that rules of routes reference.",
            HttpRouteFilterSpec::schema(),
            conditions_status(),
        ),
        definition(
            ["EnvoyProxy", "envoyproxy", "envoyproxies", "eproxy"],
            "Settings of the data planes of a GatewayClass or a Gateway.",
            EnvoyProxySpec::schema(),
            conditions_status(),
        ),
    ]
}

/// Builds a definition. `names` are kind, singular, plural and short name.
fn definition(names: [&str; 4], description: &str, spec: Value, status: Value) -> Value {
    let [kind, singular, plural, short] = names;
    let schema = json!({
        "description": description,
        "type": "object",
        "properties": {
            "apiVersion": { "type": "string" },
            "kind": { "type": "string" },
            "metadata": { "type": "object" },
            "spec": spec,
            "status": status,
        },
        "required": ["spec"],
    });
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": format!("{plural}.gateway.envoyproxy.io"),
            "annotations": { "helm.sh/resource-policy": "keep" },
            "labels": { "app.kubernetes.io/part-of": "towergate" },
        },
        "spec": {
            "group": "gateway.envoyproxy.io",
            "names": {
                "kind": kind,
                "listKind": format!("{kind}List"),
                "plural": plural,
                "singular": singular,
                "shortNames": [short],
            },
            "scope": "Namespaced",
            "versions": [{
                "name": "v1alpha1",
                "served": true,
                "storage": true,
                "subresources": { "status": {} },
                "additionalPrinterColumns": [
                    { "name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp" },
                ],
                "schema": { "openAPIV3Schema": schema },
            }],
        },
    })
}

/// A text of limited length.
fn text(max: usize) -> Value {
    json!({ "type": "string", "maxLength": max })
}

/// The schema of a condition.
fn condition() -> Value {
    json!({
        "type": "object",
        "properties": {
            "type": text(316),
            "status": { "type": "string", "enum": ["True", "False", "Unknown"] },
            "reason": { "type": "string", "minLength": 1, "maxLength": 1024 },
            "message": text(32768),
            "observedGeneration": { "type": "integer", "format": "int64", "minimum": 0 },
            "lastTransitionTime": { "type": "string", "format": "date-time" },
        },
        "required": ["lastTransitionTime", "message", "reason", "status", "type"],
    })
}

/// The schema of the conditions of an object.
fn conditions() -> Value {
    json!({
        "type": "array",
        "maxItems": 8,
        "items": condition(),
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
    })
}

/// The schema of a status of conditions.
fn conditions_status() -> Value {
    json!({ "type": "object", "properties": { "conditions": conditions() } })
}

/// The schema of a policy's status (GEP-713).
fn policy_status() -> Value {
    let reference = json!({
        "type": "object",
        "properties": {
            "group": text(253),
            "kind": text(63),
            "namespace": text(63),
            "name": text(253),
            "sectionName": text(253),
            "port": { "type": "integer", "format": "int32" },
        },
        "required": ["name"],
    });
    let ancestor = json!({
        "type": "object",
        "properties": {
            "ancestorRef": reference,
            "controllerName": text(253),
            "conditions": conditions(),
        },
        "required": ["ancestorRef", "controllerName"],
    });
    json!({
        "description": "State of the policy, by ancestor and controller.",
        "type": "object",
        "properties": {
            "ancestors": {
                "type": "array",
                "items": ancestor,
                "maxItems": 16,
                "x-kubernetes-list-type": "atomic",
            },
        },
    })
}

/// Builder of an object's schema.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    properties: Map<String, Value>,
    required: Vec<&'static str>,
}

impl Fields {
    /// Adds a field.
    pub(crate) fn field(
        mut self,
        key: &'static str,
        lines: &[&str],
        mut schema: Value,
        limits: &[FieldLimit],
        classes: &[FieldClass],
    ) -> Self {
        for limit in limits {
            match limit {
                FieldLimit::Required => self.required.push(key),
                limit => restrict(&mut schema, limit),
            }
        }
        if let Some(schema) = schema.as_object_mut() {
            schema.insert("description".to_owned(), description(lines, classes).into());
        }
        self.properties.insert(key.to_owned(), schema);
        self
    }

    /// Completes the schema.
    pub(crate) fn finish(self) -> Value {
        let mut schema = json!({ "type": "object", "properties": self.properties });
        if !self.required.is_empty() {
            schema["required"] = self.required.into();
        }
        schema
    }
}

/// Adds a limit to a schema. On a list, all limits except `Items` apply to each item.
fn restrict(schema: &mut Value, limit: &FieldLimit) {
    if let FieldLimit::Items(low, high) = limit {
        return bounds(
            schema,
            ("minItems", *low, 0),
            ("maxItems", *high, usize::MAX),
        );
    }
    if schema["type"] == "array" {
        return restrict(&mut schema["items"], limit);
    }
    match limit {
        FieldLimit::Range(low, high) => {
            bounds(
                schema,
                ("minimum", *low, i64::MIN),
                ("maximum", *high, i64::MAX),
            );
        }
        FieldLimit::Length(low, high) => {
            bounds(
                schema,
                ("minLength", *low, 0),
                ("maxLength", *high, usize::MAX),
            );
        }
        FieldLimit::Pattern(pattern) => schema["pattern"] = (*pattern).into(),
        FieldLimit::OneOf(known) => schema["enum"] = json!(known),
        FieldLimit::Token => schema["pattern"] = crate::check::TOKEN.into(),
        FieldLimit::DefaultText(text) => schema["default"] = (*text).into(),
        FieldLimit::DefaultNumber(number) => schema["default"] = (*number).into(),
        FieldLimit::DefaultFlag(flag) => schema["default"] = (*flag).into(),
        FieldLimit::Required | FieldLimit::Items(..) => {}
    }
}

/// Adds the defaults of `schema` to an object, as the API server does. A nested object receives defaults only
/// if it is present.
pub(crate) fn add_defaults(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::Object(properties)) = schema.get("properties") {
                for (name, below) in properties {
                    if let Some(default) = below.get("default")
                        && !fields.contains_key(name)
                    {
                        fields.insert(name.clone(), default.clone());
                    }
                    if let Some(value) = fields.get_mut(name) {
                        add_defaults(below, value);
                    }
                }
            }
            if let Some(below) = schema.get("additionalProperties") {
                for value in fields.values_mut() {
                    add_defaults(below, value);
                }
            }
        }
        Value::Array(items) => {
            if let Some(below) = schema.get("items") {
                for item in items {
                    add_defaults(below, item);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Adds both bounds to a schema, except a bound that the type of the number implies.
fn bounds<T: Copy + PartialEq + Into<Value>>(
    schema: &mut Value,
    low: (&str, T, T),
    high: (&str, T, T),
) {
    for (key, bound, unlimited) in [low, high] {
        if bound != unlimited {
            schema[key] = bound.into();
        }
    }
}

/// The description of a field: its doc comment, then its classes.
fn description(lines: &[&str], classes: &[FieldClass]) -> String {
    let mut sentences: Vec<String> = lines.iter().map(|line| line.trim().to_owned()).collect();
    for class in classes {
        sentences.push(match class {
            FieldClass::Unsupported => {
                "Not supported: a policy that sets it is rejected.".to_owned()
            }
            FieldClass::Ignored => "Not supported: has no effect.".to_owned(),
            FieldClass::Deprecated(sibling) => format!("Deprecated: use `{sibling}`."),
        });
    }
    sentences.join(" ").trim().to_owned()
}

impl Schema for bool {
    fn schema() -> Value {
        json!({ "type": "boolean" })
    }
}

impl Schema for f64 {
    fn schema() -> Value {
        json!({ "type": "number" })
    }
}

impl Schema for i64 {
    fn schema() -> Value {
        json!({ "type": "integer", "format": "int64" })
    }
}

impl Schema for String {
    fn schema() -> Value {
        json!({ "type": "string" })
    }
}

/// Any JSON value.
impl Schema for Value {
    fn schema() -> Value {
        json!({ "x-kubernetes-preserve-unknown-fields": true })
    }
}

impl Schema for DurationText {
    fn schema() -> Value {
        json!({ "type": "string", "pattern": DURATION })
    }
}

impl Schema for Quantity {
    fn schema() -> Value {
        json!({
            "x-kubernetes-int-or-string": true,
            "anyOf": [{ "type": "integer" }, { "type": "string" }],
            "pattern": QUANTITY,
        })
    }
}

impl<T: Schema> Schema for Vec<T> {
    fn schema() -> Value {
        json!({ "type": "array", "items": T::schema() })
    }
}

impl<T: Schema> Schema for BTreeMap<String, T> {
    fn schema() -> Value {
        json!({ "type": "object", "additionalProperties": T::schema() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_a_list_apply_to_its_items() {
        let limits = [
            FieldLimit::Required,
            FieldLimit::Items(1, 64),
            FieldLimit::Length(1, 253),
        ];

        let schema = Fields::default()
            .field(
                "names",
                &[" Names of", " users."],
                Vec::<String>::schema(),
                &limits,
                &[FieldClass::Deprecated("users")],
            )
            .finish();

        let expected = json!({
            "type": "object",
            "properties": { "names": {
                "type": "array",
                "description": "Names of users. Deprecated: use `users`.",
                "minItems": 1,
                "maxItems": 64,
                "items": { "type": "string", "minLength": 1, "maxLength": 253 },
            } },
            "required": ["names"],
        });
        assert_eq!(schema, expected);
    }

    #[test]
    fn bounds_that_equal_the_range_of_the_type_are_omitted() {
        let mut schema = i64::schema();

        restrict(&mut schema, &FieldLimit::Range(0, i64::MAX));

        assert_eq!(
            schema,
            json!({ "type": "integer", "format": "int64", "minimum": 0 })
        );
    }
}
