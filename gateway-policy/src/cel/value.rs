//! Values of an evaluation.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::rc::Rc;

use serde_json::Value as Json;

/// A value. It borrows from its source and the expression where possible.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Value<'a> {
    /// `null`.
    Null,
    /// A boolean.
    Bool(bool),
    /// A signed integer.
    Int(i64),
    /// A floating-point number.
    Double(f64),
    /// A string.
    Text(Cow<'a, str>),
    /// A duration in nanoseconds.
    Duration(i64),
    /// Attributes that are computed when they are used.
    Attributes(&'a dyn AttributeSet),
    /// A list of a JSON document.
    Items(&'a [Json]),
    /// A map of a JSON document.
    Object(&'a serde_json::Map<String, Json>),
    /// A list that the expression creates.
    List(Rc<[Value<'a>]>),
    /// A map that the expression creates.
    Map(Rc<[(Value<'a>, Value<'a>)]>),
}

/// A map whose values are computed when an expression uses them, such as the header fields of a request.
pub trait AttributeSet: fmt::Debug {
    /// The value of an attribute. `None`: the attribute is absent, or has no single value, such as a header
    /// field with several lines.
    fn attribute(&self, name: &str) -> Option<Value<'_>>;

    /// Whether an attribute is present. A present attribute may have no value.
    fn contains(&self, name: &str) -> bool {
        self.attribute(name).is_some()
    }
}

impl<'a> From<&'a Json> for Value<'a> {
    fn from(json: &'a Json) -> Self {
        match json {
            Json::Null => Self::Null,
            Json::Bool(value) => Self::Bool(*value),
            Json::Number(number) => match number.as_i64() {
                Some(value) => Self::Int(value),
                None => Self::Double(number.as_f64().unwrap_or(f64::NAN)),
            },
            Json::String(text) => Self::Text(Cow::Borrowed(text)),
            Json::Array(items) => Self::Items(items),
            Json::Object(object) => Self::Object(object),
        }
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

impl<'a> Value<'a> {
    /// The number of items, entries or characters; `None`: the value has no size.
    pub(super) fn size(&self) -> Option<usize> {
        match self {
            Self::Text(text) => Some(text.chars().count()),
            Self::Items(items) => Some(items.len()),
            Self::Object(object) => Some(object.len()),
            Self::List(items) => Some(items.len()),
            Self::Map(entries) => Some(entries.len()),
            Self::Null
            | Self::Bool(_)
            | Self::Int(_)
            | Self::Double(_)
            | Self::Duration(_)
            | Self::Attributes(_) => None,
        }
    }

    /// The range of a macro: the items of a list, or the keys of a map.
    pub(super) fn range(&self) -> Option<Vec<Value<'a>>> {
        match self {
            Self::Items(items) => Some(items.iter().map(Value::from).collect()),
            Self::List(items) => Some(items.to_vec()),
            Self::Object(object) => {
                let keys = object.keys();
                Some(keys.map(|key| Self::Text(Cow::Borrowed(key))).collect())
            }
            Self::Map(entries) => Some(entries.iter().map(|(key, _)| key.clone()).collect()),
            _ => None,
        }
    }

    /// Whether the list contains `item`, or the map has the key `item`; `None`: the value is neither a
    /// list nor a map.
    pub(super) fn contains(&self, item: &Value<'_>) -> Option<bool> {
        match (self, item) {
            (Self::Object(object), Value::Text(key)) => Some(object.contains_key(&**key)),
            (Self::Object(_), _) => Some(false),
            (Self::Attributes(set), Value::Text(key)) => Some(set.contains(key)),
            (Self::Items(items), _) => Some(items.iter().any(|own| Value::from(own).equals(item))),
            (Self::List(items), _) => Some(items.iter().any(|own| own.equals(item))),
            (Self::Map(entries), _) => Some(entries.iter().any(|(key, _)| key.equals(item))),
            _ => None,
        }
    }

    /// Equality. Values of different types are unequal, except for numbers.
    pub(super) fn equals(&self, other: &Value<'_>) -> bool {
        match (self, other) {
            (Self::Null, Value::Null) => true,
            (Self::Bool(a), Value::Bool(b)) => a == b,
            (Self::Object(a), Value::Object(b)) => a == b,
            (Self::Items(a), Value::Items(b)) => a == b,
            (Self::Items(_) | Self::List(_), Value::Items(_) | Value::List(_)) => {
                let (a, b) = (
                    self.range().unwrap_or_default(),
                    other.range().unwrap_or_default(),
                );
                a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| a.equals(b))
            }
            _ => self.compare(other) == Some(Ordering::Equal),
        }
    }

    /// The order of numbers, strings and durations; `None`: the values have no order.
    #[allow(
        clippy::cast_precision_loss,
        reason = "CEL compares int and double as doubles"
    )]
    pub(super) fn compare(&self, other: &Value<'_>) -> Option<Ordering> {
        match (self, other) {
            (Self::Int(a), Value::Int(b)) => Some(a.cmp(b)),
            (Self::Double(a), Value::Double(b)) => a.partial_cmp(b),
            (Self::Int(a), Value::Double(b)) => (*a as f64).partial_cmp(b),
            (Self::Double(a), Value::Int(b)) => a.partial_cmp(&(*b as f64)),
            (Self::Text(a), Value::Text(b)) => Some(a.cmp(b)),
            (Self::Duration(a), Value::Duration(b)) => Some(a.cmp(b)),
            _ => None,
        }
    }
}
