//! An object as the API server validates it: pruned, without nulls, and with the defaults of its schema.

use serde_json::{Map, Value};

use super::catalog::{Catalog, Schema, SchemaIndex};
use crate::decode::{Node, NodeValue, scalar};

/// The JSON of `object`. Fields that the schema does not contain are omitted; the decoder reports them.
pub(super) fn object(catalog: &Catalog, root: SchemaIndex, object: &Node) -> Value {
    Preparer { catalog }.value(catalog.schema(root), object)
}

struct Preparer<'c> {
    catalog: &'c Catalog,
}

impl Preparer<'_> {
    fn value(&self, schema: &Schema, node: &Node) -> Value {
        match &node.value {
            NodeValue::Scalar(text, plain) => scalar(text, *plain),
            NodeValue::List(items) => {
                let below = schema.items.map(|index| self.catalog.schema(index));
                let unknown = Schema::default();
                let below = below.unwrap_or(&unknown);
                items.iter().map(|item| self.value(below, item)).collect()
            }
            NodeValue::Map(_) if schema.preserve_unknown_fields => whole(node),
            NodeValue::Map(entries) => {
                let mut object = Map::new();
                for (key, node) in entries {
                    let below = schema.properties.get(&key.text);
                    let below = below.or(schema.additional_properties.as_ref());
                    if let Some(index) = below
                        && !node.is_null()
                    {
                        let value = self.value(self.catalog.schema(*index), node);
                        object.insert(key.text.clone(), value);
                    }
                }
                self.add_defaults(schema, &mut object);
                Value::Object(object)
            }
        }
    }

    fn add_defaults(&self, schema: &Schema, object: &mut Map<String, Value>) {
        for (name, index) in &schema.properties {
            let below = self.catalog.schema(*index);
            if let Some(default) = &below.default
                && !object.contains_key(name)
            {
                object.insert(name.clone(), self.complete(below, default.clone()));
            }
        }
    }

    /// A default value, including the defaults of its fields.
    fn complete(&self, schema: &Schema, mut value: Value) -> Value {
        match &mut value {
            Value::Object(object) => {
                for (name, value) in &mut *object {
                    if let Some(index) = schema.properties.get(name) {
                        *value = self.complete(self.catalog.schema(*index), value.take());
                    }
                }
                self.add_defaults(schema, object);
            }
            Value::Array(items) => {
                for item in items {
                    if let Some(index) = schema.items {
                        *item = self.complete(self.catalog.schema(index), item.take());
                    }
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
        value
    }
}

/// The JSON of a node of any shape.
fn whole(node: &Node) -> Value {
    match &node.value {
        NodeValue::Scalar(text, plain) => scalar(text, *plain),
        NodeValue::List(items) => items.iter().map(|item| whole(item)).collect(),
        NodeValue::Map(entries) => entries
            .iter()
            .map(|(key, node)| (key.text.clone(), whole(node)))
            .collect(),
    }
}
