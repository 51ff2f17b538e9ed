//! The schemas of the policies, for API servers that do not know them.
//!
//! They are made from the same declarations as the types and their [checks](crate::check): each field
//! with its type, its description, and the limits of the field by itself. Rules that concern several
//! fields are not in them; whoever breaks one reads of it in the policy's status.
//!
//! ```
//! use towergate_policy::schema::custom_resource_definitions;
//!
//! let crd = &custom_resource_definitions()[0];
//! assert_eq!(crd["metadata"]["name"], "clienttrafficpolicies.gateway.envoyproxy.io");
//! ```

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::check::FieldLimit;
use crate::common::{DURATION, DurationText, QUANTITY, Quantity};
use crate::{BackendTrafficPolicySpec, ClientTrafficPolicySpec, SecurityPolicySpec};

/// A type with a schema (OpenAPI v3, as CustomResourceDefinitions have it).
pub trait Schema {
    /// The schema.
    fn schema() -> Value;
}

/// The CustomResourceDefinitions of the three policies. They are a part of those of Envoy Gateway, which
/// they must not replace.
pub fn custom_resource_definitions() -> [Value; 3] {
    [
        definition(
            [
                "ClientTrafficPolicy",
                "clienttrafficpolicy",
                "clienttrafficpolicies",
                "ctp",
            ],
            "Settings of the connections between clients and Gateways.",
            ClientTrafficPolicySpec::schema(),
        ),
        definition(
            [
                "BackendTrafficPolicy",
                "backendtrafficpolicy",
                "backendtrafficpolicies",
                "btp",
            ],
            "Settings of the requests between Gateways and backends.",
            BackendTrafficPolicySpec::schema(),
        ),
        definition(
            ["SecurityPolicy", "securitypolicy", "securitypolicies", "sp"],
            "Who may send requests.",
            SecurityPolicySpec::schema(),
        ),
    ]
}

/// A definition; `names` are kind, singular, plural and short name.
fn definition(names: [&str; 4], description: &str, spec: Value) -> Value {
    let [kind, singular, plural, short] = names;
    let schema = json!({
        "description": description,
        "type": "object",
        "properties": {
            "apiVersion": { "type": "string" },
            "kind": { "type": "string" },
            "metadata": { "type": "object" },
            "spec": spec,
            "status": status(),
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

/// The status of a policy (GEP-713).
fn status() -> Value {
    let text = |most: usize| json!({ "type": "string", "maxLength": most });
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
    let condition = json!({
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
    });
    let ancestor = json!({
        "type": "object",
        "properties": {
            "ancestorRef": reference,
            "controllerName": text(253),
            "conditions": {
                "type": "array",
                "items": condition,
                "maxItems": 8,
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["type"],
            },
        },
        "required": ["ancestorRef", "controllerName"],
    });
    json!({
        "description": "What controllers say of the policy.",
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

/// The schema of an object, field by field.
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
    ) -> Self {
        for limit in limits {
            match limit {
                FieldLimit::Required => self.required.push(key),
                limit => restrict(&mut schema, limit),
            }
        }
        if let Some(schema) = schema.as_object_mut() {
            schema.insert("description".to_owned(), description(lines).into());
        }
        self.properties.insert(key.to_owned(), schema);
        self
    }

    /// The schema.
    pub(crate) fn finish(self) -> Value {
        let mut schema = json!({ "type": "object", "properties": self.properties });
        if !self.required.is_empty() {
            schema["required"] = self.required.into();
        }
        schema
    }
}

/// Writes a limit into a schema. On a list, all but `Items` hold for each item.
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
        FieldLimit::Required | FieldLimit::Items(..) => {}
    }
}

/// Writes two bounds, each unless it says nothing.
fn bounds<T: Copy + PartialEq + Into<Value>>(
    schema: &mut Value,
    low: (&str, T, T),
    high: (&str, T, T),
) {
    for (key, bound, nothing) in [low, high] {
        if bound != nothing {
            schema[key] = bound.into();
        }
    }
}

/// The text of a documentation comment, given line by line.
fn description(lines: &[&str]) -> String {
    let lines: Vec<&str> = lines.iter().map(|line| line.trim()).collect();
    lines.join(" ").trim().to_owned()
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

/// Whatever it is.
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
    fn limits_of_a_list_hold_for_its_items() {
        let limits = [
            FieldLimit::Required,
            FieldLimit::Items(1, 64),
            FieldLimit::Length(1, 253),
        ];

        let schema = Fields::default()
            .field(
                "names",
                &[" Their", " names."],
                Vec::<String>::schema(),
                &limits,
            )
            .finish();

        let expected = json!({
            "type": "object",
            "properties": { "names": {
                "type": "array",
                "description": "Their names.",
                "minItems": 1,
                "maxItems": 64,
                "items": { "type": "string", "minLength": 1, "maxLength": 253 },
            } },
            "required": ["names"],
        });
        assert_eq!(schema, expected);
    }

    #[test]
    fn bounds_that_say_nothing_are_left_out() {
        let mut schema = i64::schema();

        restrict(&mut schema, &FieldLimit::Range(0, i64::MAX));

        assert_eq!(
            schema,
            json!({ "type": "integer", "format": "int64", "minimum": 0 })
        );
    }
}
