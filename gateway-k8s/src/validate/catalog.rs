//! The generated schemas, read once when the first object is validated.

use std::collections::BTreeMap;
use std::sync::{LazyLock, OnceLock};

use serde::Deserialize;
use serde_json::Value;
use towergate_policy::cel::{Environment, Expression, ExpressionError, Pattern};

/// The variables of rules. `self` is the value for which a rule is declared.
const OBJECT: Environment = Environment::new(&[("self", &[])]).max_steps(1_000_000);

/// All schemas. `README.md` in the same folder states their origin and licence.
const SCHEMAS: &str = include_str!("schemas.json");

static CATALOG: LazyLock<Catalog> =
    LazyLock::new(|| serde_json::from_str(SCHEMAS).expect("a test reads the generated file"));

/// The schemas of all kinds. Schemas refer to each other by index.
#[derive(Debug, Deserialize)]
pub(super) struct Catalog {
    /// The schema of each kind and version.
    kinds: BTreeMap<String, BTreeMap<String, SchemaIndex>>,
    schemas: Vec<Schema>,
}

/// The index of a schema in the [`Catalog`].
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct SchemaIndex(usize);

/// A structural schema (OpenAPI v3, as CustomResourceDefinitions restrict it).
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(super) struct Schema {
    #[serde(rename = "type")]
    pub(super) value_type: Option<ValueType>,
    pub(super) format: Option<Format>,
    pub(super) default: Option<Value>,
    pub(super) properties: BTreeMap<String, SchemaIndex>,
    pub(super) additional_properties: Option<SchemaIndex>,
    pub(super) items: Option<SchemaIndex>,
    pub(super) required: Vec<String>,
    #[serde(rename = "enum")]
    pub(super) values: Vec<Value>,
    pub(super) pattern: Option<Pattern>,
    pub(super) minimum: Option<f64>,
    pub(super) maximum: Option<f64>,
    pub(super) min_length: Option<usize>,
    pub(super) max_length: Option<usize>,
    pub(super) min_items: Option<usize>,
    pub(super) max_items: Option<usize>,
    pub(super) min_properties: Option<usize>,
    pub(super) max_properties: Option<usize>,
    pub(super) all_of: Vec<SchemaIndex>,
    pub(super) any_of: Vec<SchemaIndex>,
    pub(super) one_of: Vec<SchemaIndex>,
    pub(super) not: Option<SchemaIndex>,
    #[serde(rename = "x-kubernetes-int-or-string")]
    pub(super) int_or_string: bool,
    #[serde(rename = "x-kubernetes-preserve-unknown-fields")]
    pub(super) preserve_unknown_fields: bool,
    #[serde(rename = "x-kubernetes-list-type")]
    pub(super) list_type: ListType,
    #[serde(rename = "x-kubernetes-list-map-keys")]
    pub(super) list_map_keys: Vec<String>,
    #[serde(rename = "x-kubernetes-validations")]
    pub(super) rules: Vec<Rule>,
}

/// The type of a value.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "camelCase")]
pub(super) enum ValueType {
    Array,
    Boolean,
    Integer,
    Number,
    Object,
    String,
}

impl ValueType {
    /// The name in schemas and messages.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Array => "array",
            Self::Boolean => "boolean",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Object => "object",
            Self::String => "string",
        }
    }
}

/// The format of a string or number.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "camelCase")]
pub(super) enum Format {
    /// Standard base64 with padding.
    Byte,
    Int32,
    Int64,
    Ipv4,
    Ipv6,
}

/// How items of a list are identified.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "camelCase")]
pub(super) enum ListType {
    /// Items have no identity.
    #[default]
    Atomic,
    /// Items are identified by the properties in `x-kubernetes-list-map-keys`.
    Map,
    /// Items are identified by their values.
    Set,
}

/// A CEL rule with the message of its violation.
#[derive(Debug, Deserialize)]
pub(super) struct Rule {
    rule: String,
    pub(super) message: String,
    #[serde(skip)]
    compiled: OnceLock<Result<Expression, ExpressionError>>,
}

impl Rule {
    /// The rule as an expression over `self`, compiled when it is first needed.
    ///
    /// # Errors
    /// If the rule uses features that [`cel`](towergate_policy::cel) does not support. A test compiles every
    /// rule.
    pub(super) fn expression(&self) -> Result<&Expression, &ExpressionError> {
        let compiled = self
            .compiled
            .get_or_init(|| Expression::compile(&self.rule, &OBJECT));
        compiled.as_ref()
    }
}

impl Catalog {
    /// The schema at `index`.
    pub(super) fn schema(&self, index: SchemaIndex) -> &Schema {
        &self.schemas[index.0]
    }
}

/// The catalog, and the schema of an object; `None`: the kind has no schema.
pub(super) fn find(kind: &str, api_version: &str) -> Option<(&'static Catalog, SchemaIndex)> {
    let catalog = &*CATALOG;
    let versions = catalog.kinds.get(kind)?;
    let version = api_version
        .rsplit_once('/')
        .map_or(api_version, |(_, version)| version);
    // `v1` sorts before `v1alpha1` and `v1beta1`.
    let served = versions.get(version).or_else(|| versions.values().next());
    served.map(|index| (catalog, *index))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_index_refers_to_a_schema_before_its_own() {
        for (own, schema) in CATALOG.schemas.iter().enumerate() {
            let below = schema.properties.values();
            let below = below
                .chain(&schema.additional_properties)
                .chain(&schema.items);
            let below = below.chain(&schema.all_of).chain(&schema.any_of);
            for index in below.chain(&schema.one_of) {
                assert!(index.0 < own, "schema {own} refers to {}", index.0);
            }
        }
        let roots = CATALOG.kinds.values().flat_map(BTreeMap::values);
        assert!(roots.clone().count() > 15);
        assert!(roots.into_iter().all(|root| root.0 < CATALOG.schemas.len()));
    }

    #[test]
    fn every_rule_and_every_pattern_is_supported() {
        let mut rules = 0;
        for schema in &CATALOG.schemas {
            for rule in &schema.rules {
                rules += 1;
                assert_eq!(rule.expression().err(), None, "{}", rule.rule);
            }
            if let Some(pattern) = &schema.pattern {
                assert_eq!(pattern.error(), None);
            }
        }
        assert!(rules > 200, "{rules}");
    }

    #[test]
    fn a_version_that_is_no_longer_served_uses_the_newest() {
        let newest = find("GRPCRoute", "gateway.networking.k8s.io/v1").expect("the kind is known");
        let old =
            find("GRPCRoute", "gateway.networking.k8s.io/v1alpha2").expect("the kind is known");

        assert_eq!(old.1.0, newest.1.0);
        assert!(find("Service", "v1").is_none());
    }
}
