//! Checks of single fields: types, required fields, enums, patterns, bounds, duplicates.
//!
//! Messages are those of the API server, without the path.

use std::net::{Ipv4Addr, Ipv6Addr};

use serde_json::{Map, Number, Value};
use towergate_policy::SchemaViolation;

use super::Path;
use super::catalog::{Catalog, Format, ListType, Schema, SchemaIndex, ValueType};

/// The violations of a value.
#[derive(Debug, Default)]
pub(super) struct Structure {
    pub(super) violations: Vec<SchemaViolation>,
    /// Whether rules between fields cannot be evaluated: a value is missing, has the wrong type, or is
    /// too large. The API server also skips them in this case.
    pub(super) hides_values: bool,
}

/// Checks `value` against the schema at `root`.
pub(super) fn check(catalog: &Catalog, root: SchemaIndex, value: &Value) -> Structure {
    let mut checker = Checker {
        catalog,
        path: Path::default(),
        found: Structure::default(),
    };
    checker.value(catalog.schema(root), value);
    checker.found
}

struct Checker<'c> {
    catalog: &'c Catalog,
    path: Path,
    found: Structure,
}

impl Checker<'_> {
    fn violation(&mut self, message: impl Into<String>) {
        self.found.violations.push(self.path.violation(message));
    }

    fn hiding(&mut self, message: impl Into<String>) {
        self.found.hides_values = true;
        self.violation(message);
    }

    fn value(&mut self, schema: &Schema, value: &Value) {
        if !has_type(schema, value) {
            let expected = match schema.value_type {
                Some(expected) => expected.name(),
                None => "integer or string",
            };
            return self.hiding(format!(
                "must be of type {expected}: \"{}\"",
                type_name(value)
            ));
        }
        self.enumeration(schema, value);
        match value {
            Value::String(text) => self.string(schema, text),
            Value::Number(number) => self.number(schema, number),
            Value::Array(items) => self.array(schema, items),
            Value::Object(object) => self.object(schema, object),
            Value::Null | Value::Bool(_) => {}
        }
        self.combined(schema, value);
    }

    fn enumeration(&mut self, schema: &Schema, value: &Value) {
        if schema.values.is_empty() || schema.values.contains(value) {
            return;
        }
        let known: Vec<String> = schema.values.iter().map(Value::to_string).collect();
        self.violation(format!(
            "Unsupported value: {value}: supported values: {}",
            known.join(", ")
        ));
    }

    fn string(&mut self, schema: &Schema, text: &str) {
        let length = text.chars().count();
        if let Some(low) = schema.min_length
            && length < low
        {
            self.violation(format!("should be at least {low} chars long"));
        }
        if let Some(high) = schema.max_length
            && length > high
        {
            self.hiding(format!("Too long: may not be more than {high} bytes"));
        }
        if let Some(pattern) = &schema.pattern
            && !pattern.is_match(text)
        {
            self.violation(format!("should match '{}'", pattern.text()));
        }
        let format = match schema.format {
            Some(Format::Byte) if !is_base64(text) => "byte",
            Some(Format::Ipv4) if text.parse::<Ipv4Addr>().is_err() => "ipv4",
            Some(Format::Ipv6) if text.parse::<Ipv6Addr>().is_err() => "ipv6",
            _ => return,
        };
        self.violation(format!("must be of type {format}: {text:?}"));
    }

    fn number(&mut self, schema: &Schema, number: &Number) {
        let value = number.as_f64().unwrap_or(f64::NAN);
        if let Some(low) = schema.minimum
            && value < low
        {
            self.violation(format!("should be greater than or equal to {low}"));
        }
        if let Some(high) = schema.maximum
            && value > high
        {
            self.violation(format!("should be less than or equal to {high}"));
        }
        let fits = match schema.format {
            Some(Format::Int32) => number.as_i64().is_some_and(|n| i32::try_from(n).is_ok()),
            Some(Format::Int64) => number.is_i64(),
            Some(Format::Byte | Format::Ipv4 | Format::Ipv6) | None => true,
        };
        if !fits {
            self.violation("is out of the range of its format");
        }
    }

    fn array(&mut self, schema: &Schema, items: &[Value]) {
        if let Some(low) = schema.min_items
            && items.len() < low
        {
            self.violation(format!("should have at least {low} items"));
        }
        if let Some(high) = schema.max_items
            && items.len() > high
        {
            self.hiding(format!("must have at most {high} items"));
        }
        self.duplicates(schema, items);
        if let Some(below) = schema.items.map(|index| self.catalog.schema(index)) {
            for (index, item) in items.iter().enumerate() {
                let mark = self.path.enter_item(index);
                self.value(below, item);
                self.path.leave(mark);
            }
        }
    }

    fn duplicates(&mut self, schema: &Schema, items: &[Value]) {
        let key_of = |item: &Value| -> Option<String> {
            match schema.list_type {
                ListType::Atomic => None,
                ListType::Set => Some(item.to_string()),
                ListType::Map => {
                    let keys = schema.list_map_keys.iter();
                    let keys: Map<String, Value> = keys
                        .filter_map(|key| Some((key.clone(), item.get(key)?.clone())))
                        .collect();
                    Some(Value::Object(keys).to_string())
                }
            }
        };
        let mut seen = std::collections::HashSet::new();
        for (index, item) in items.iter().enumerate() {
            if let Some(key) = key_of(item)
                && !seen.insert(key.clone())
            {
                let mark = self.path.enter_item(index);
                self.hiding(format!("Duplicate value: {key}"));
                self.path.leave(mark);
            }
        }
    }

    fn object(&mut self, schema: &Schema, object: &Map<String, Value>) {
        for name in &schema.required {
            if !object.contains_key(name) {
                let mark = self.path.enter_property(name);
                self.hiding(towergate_policy::check::REQUIRED);
                self.path.leave(mark);
            }
        }
        if let Some(low) = schema.min_properties
            && object.len() < low
        {
            self.violation(format!("should have at least {low} properties"));
        }
        if let Some(high) = schema.max_properties
            && object.len() > high
        {
            self.hiding(format!("must have at most {high} properties"));
        }
        for (key, value) in object {
            let (below, mark) = match (schema.properties.get(key), schema.additional_properties) {
                (Some(index), _) => (*index, self.path.enter_property(key)),
                (None, Some(index)) => (index, self.path.enter_entry(key)),
                (None, None) => continue,
            };
            self.value(self.catalog.schema(below), value);
            self.path.leave(mark);
        }
    }

    /// Checks `allOf`, `anyOf`, `oneOf` and `not`.
    fn combined(&mut self, schema: &Schema, value: &Value) {
        for index in &schema.all_of {
            self.value(self.catalog.schema(*index), value);
        }
        let catalog = self.catalog;
        let holds = |index: &&SchemaIndex| check(catalog, **index, value).violations.is_empty();
        if !schema.any_of.is_empty() && !schema.any_of.iter().any(|index| holds(&index)) {
            self.violation("must validate at least one schema (anyOf)");
        }
        if !schema.one_of.is_empty() && schema.one_of.iter().filter(holds).count() != 1 {
            self.violation("must validate one and only one schema (oneOf)");
        }
        if schema.not.as_ref().is_some_and(|index| holds(&index)) {
            self.violation("must not validate the schema (not)");
        }
    }
}

/// Whether `value` has the type that `schema` requires.
fn has_type(schema: &Schema, value: &Value) -> bool {
    if schema.int_or_string {
        return value.is_string() || is_integer(value);
    }
    match schema.value_type {
        None => true,
        Some(ValueType::Array) => value.is_array(),
        Some(ValueType::Boolean) => value.is_boolean(),
        Some(ValueType::Integer) => is_integer(value),
        Some(ValueType::Number) => value.is_number(),
        Some(ValueType::Object) => value.is_object(),
        Some(ValueType::String) => value.is_string(),
    }
}

/// Whether `text` is standard base64 with padding, and not empty.
fn is_base64(text: &str) -> bool {
    let digits = text.trim_end_matches('=');
    let in_alphabet = |b: u8| b.is_ascii_alphanumeric() || b == b'+' || b == b'/';
    !text.is_empty()
        && text.len().is_multiple_of(4)
        && text.len() - digits.len() <= 2
        && digits.bytes().all(in_alphabet)
}

/// Whether `value` is a number without a fraction.
fn is_integer(value: &Value) -> bool {
    value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|n| n.fract() == 0.0)
}

/// The type of `value` as the API server names it.
fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) if is_integer(value) => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
