//! Rules between fields: the CEL expressions of the schemas, evaluated where they are declared.

use serde_json::Value;
use towergate_policy::SchemaViolation;
use towergate_policy::cel::Value as CelValue;

use super::Path;
use super::catalog::{Catalog, Schema, SchemaIndex};

/// The rules that `value` violates, given the schema at `root`. As in the API server, a rule that
/// cannot be evaluated counts as violated.
pub(super) fn check(catalog: &Catalog, root: SchemaIndex, value: &Value) -> Vec<SchemaViolation> {
    let mut checker = Checker {
        catalog,
        path: Path::default(),
        violations: Vec::new(),
    };
    checker.value(catalog.schema(root), value);
    checker.violations
}

struct Checker<'c> {
    catalog: &'c Catalog,
    path: Path,
    violations: Vec<SchemaViolation>,
}

impl Checker<'_> {
    fn value(&mut self, schema: &Schema, value: &Value) {
        for rule in &schema.rules {
            let holds = match rule.expression() {
                Ok(expression) => expression
                    .holds(&[CelValue::from(value)])
                    .map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            let message = match holds {
                Ok(true) => continue,
                Ok(false) => rule.message.clone(),
                Err(error) => format!("{} (the rule cannot be evaluated: {error})", rule.message),
            };
            self.violations.push(self.path.violation(message));
        }
        match value {
            Value::Array(items) => {
                let Some(below) = schema.items else { return };
                for (index, item) in items.iter().enumerate() {
                    let mark = self.path.enter_item(index);
                    self.value(self.catalog.schema(below), item);
                    self.path.leave(mark);
                }
            }
            Value::Object(object) => {
                for (key, value) in object {
                    let (below, mark) =
                        match (schema.properties.get(key), schema.additional_properties) {
                            (Some(index), _) => (*index, self.path.enter_property(key)),
                            (None, Some(index)) => (index, self.path.enter_entry(key)),
                            (None, None) => continue,
                        };
                    self.value(self.catalog.schema(below), value);
                    self.path.leave(mark);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
}
