//! Decodes a tree into a typed value, with the rules of the API server.
//!
//! An error carries the position and the path of its value. An unknown field is recorded with a suggestion
//! from the field names that serde provides. A field whose value is null counts as absent. An unquoted number
//! or boolean in place of a string is an error, as in the API server.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use serde::de::value::{BorrowedStrDeserializer, MapAccessDeserializer};
use serde::de::{self, DeserializeSeed, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, forward_to_deserialize_any};

use super::plain_scalar::Plain;
use super::suggest::nearest;
use super::tree::{Key, Node, Place, Value};

/// A field that the type does not define.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct UnknownField {
    /// Path, such as `spec.hostnamez`.
    pub(crate) path: String,
    /// Position of the key.
    pub(crate) place: Place,
    /// Most similar known field. `None`: no known field is similar enough.
    pub(crate) nearest: Option<String>,
    /// Names of the fields that the type defines.
    pub(crate) known: Vec<&'static str>,
}

impl UnknownField {
    /// Returns the last element of the path.
    pub(crate) fn last(&self) -> &str {
        self.path.rsplit('.').next().unwrap_or_default()
    }
}

/// A value that does not match its type.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct TypeError {
    /// Path of the value.
    pub(crate) path: String,
    /// Position. `None` until the error reaches the node of its value.
    pub(crate) place: Option<Place>,
    /// Message.
    pub(crate) message: String,
    /// Advice. Empty if there is none.
    pub(crate) help: String,
}

impl fmt::Display for TypeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for TypeError {}

impl de::Error for TypeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self {
            message: without_rust_terms(&message.to_string()),
            ..Self::default()
        }
    }

    fn missing_field(field: &'static str) -> Self {
        Self {
            message: format!("the field `{field}` is missing"),
            ..Self::default()
        }
    }
}

/// Decodes `node`, which is at `path`, as a `T`. Also returns the unknown fields.
///
/// # Errors
/// If a value does not match its type.
pub(crate) fn read<'de, T: Deserialize<'de>>(
    node: &'de Node,
    path: &str,
) -> (Result<T, TypeError>, Vec<UnknownField>) {
    let report = Report::default();
    report.path.borrow_mut().push_str(path);
    let value = Typed {
        node,
        report: &report,
    };
    let result = T::deserialize(value).map_err(|error| report.placed(error, node.place));
    (result, report.unknown.into_inner())
}

/// State of one decoding.
#[derive(Default)]
struct Report {
    path: RefCell<String>,
    unknown: RefCell<Vec<UnknownField>>,
}

impl Report {
    /// Calls `read` with `step` appended to the path.
    fn below<T>(
        &self,
        step: fmt::Arguments<'_>,
        place: Place,
        read: impl FnOnce() -> Result<T, TypeError>,
    ) -> Result<T, TypeError> {
        let length = self.path.borrow().len();
        {
            let mut path = self.path.borrow_mut();
            let _ = fmt::Write::write_fmt(&mut *path, step);
            if length == 0 && path.starts_with('.') {
                path.remove(0);
            }
        }
        let result = read().map_err(|error| self.placed(error, place));
        self.path.borrow_mut().truncate(length);
        result
    }

    fn placed(&self, mut error: TypeError, place: Place) -> TypeError {
        if error.place.is_none() {
            error.place = Some(place);
            error.path = self.path.borrow().clone();
        }
        error
    }

    /// Whether the current field of Gateway API is a duration (GEP-2257).
    fn at_duration(&self) -> bool {
        let path = self.path.borrow();
        let (above, field) = path.rsplit_once('.').unwrap_or_default();
        above.ends_with(".timeouts") || field == "backoff" || field.ends_with("Timeout")
    }

    fn unknown(&self, key: &Key, known: &[&'static str]) {
        let mut path = self.path.borrow().clone();
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(&key.text);
        self.unknown.borrow_mut().push(UnknownField {
            path,
            place: key.place,
            nearest: nearest(&key.text, known.iter().copied()).map(str::to_owned),
            known: known.to_vec(),
        });
    }
}

/// Advice for a number instead of a duration.
const DURATION: &str = "write a time with its unit, such as \"5s\" or \"1m30s\"";
/// Advice for a number instead of a string.
const QUOTE: &str = "put it in quotes:";

#[derive(Clone, Copy)]
struct Typed<'de, 'r> {
    node: &'de Node,
    report: &'r Report,
}

impl<'de> Typed<'de, '_> {
    /// The string of an unquoted scalar.
    ///
    /// # Errors
    /// If the scalar is a number or a boolean.
    fn unquoted_string(self, text: &'de str) -> Result<&'de str, TypeError> {
        match Plain::of(text) {
            Plain::Text => Ok(text),
            Plain::Null => Ok(""),
            other => Err(TypeError {
                message: format!("expected a string, found {}", other.noun(text)),
                help: match self.report.at_duration() {
                    true => DURATION.to_owned(),
                    false => format!("{QUOTE} \"{text}\""),
                },
                ..TypeError::default()
            }),
        }
    }

    fn list<V: Visitor<'de>>(
        self,
        items: &'de [Rc<Node>],
        visitor: V,
    ) -> Result<V::Value, TypeError> {
        visitor.visit_seq(Items {
            items: items.iter().enumerate(),
            report: self.report,
        })
    }

    fn map<V: Visitor<'de>>(
        self,
        entries: &'de [(Key, Rc<Node>)],
        known: Option<&'static [&'static str]>,
        visitor: V,
    ) -> Result<V::Value, TypeError> {
        visitor.visit_map(self.entries(entries, known))
    }
}

impl<'de, 'r> Typed<'de, 'r> {
    fn entries(
        self,
        entries: &'de [(Key, Rc<Node>)],
        known: Option<&'static [&'static str]>,
    ) -> Entries<'de, 'r> {
        Entries {
            entries: entries.iter(),
            current: None,
            known,
            report: self.report,
        }
    }
}

impl<'de> de::Deserializer<'de> for Typed<'de, '_> {
    type Error = TypeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypeError> {
        match &self.node.value {
            Value::Scalar(text, false) => visitor.visit_borrowed_str(text),
            Value::Scalar(text, true) => match Plain::of(text) {
                Plain::Null => visitor.visit_unit(),
                Plain::Bool(value) => visitor.visit_bool(value),
                Plain::Unsigned(value) => visitor.visit_u64(value),
                Plain::Signed(value) => visitor.visit_i64(value),
                Plain::Float(value) => visitor.visit_f64(value),
                Plain::Text => visitor.visit_borrowed_str(text),
            },
            Value::List(items) => self.list(items, visitor),
            Value::Map(entries) => self.map(entries, None, visitor),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypeError> {
        match &self.node.value {
            Value::Scalar(text, false) => visitor.visit_borrowed_str(text),
            Value::Scalar(text, true) => visitor.visit_borrowed_str(self.unquoted_string(text)?),
            Value::List(_) | Value::Map(_) => self.deserialize_any(visitor),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypeError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypeError> {
        if self.node.is_null() {
            return visitor.visit_none();
        }
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, TypeError> {
        let read = visitor.visit_newtype_struct(self);
        read.map_err(|mut error: TypeError| {
            if name == "DurationText" && error.help.starts_with(QUOTE) {
                DURATION.clone_into(&mut error.help);
            }
            error
        })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, TypeError> {
        match &self.node.value {
            Value::Map(entries) => self.map(entries, Some(fields), visitor),
            // A derived `Deserialize` would decode the items of a list as fields.
            Value::List(_) => Err(de::Error::invalid_type(de::Unexpected::Seq, &visitor)),
            Value::Scalar(..) => self.deserialize_any(visitor),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, TypeError> {
        let text = match &self.node.value {
            Value::Scalar(text, true) => self.unquoted_string(text)?,
            Value::Scalar(text, false) => text,
            Value::Map(entries) => {
                let access = self.entries(entries, None);
                return visitor.visit_enum(MapAccessDeserializer::new(access));
            }
            Value::List(_) => return self.deserialize_any(visitor),
        };
        let chosen = visitor.visit_enum(BorrowedStrDeserializer::new(text));
        chosen.map_err(|mut error: TypeError| {
            if let Some(meant) = nearest(text, variants.iter().copied()) {
                error.help = format!("did you mean `{meant}`?");
            }
            error
        })
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypeError> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct
        seq tuple tuple_struct map identifier
    }
}

struct Items<'de, 'r> {
    items: std::iter::Enumerate<std::slice::Iter<'de, Rc<Node>>>,
    report: &'r Report,
}

impl<'de> SeqAccess<'de> for Items<'de, '_> {
    type Error = TypeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, TypeError> {
        let Some((index, node)) = self.items.next() else {
            return Ok(None);
        };
        let report = self.report;
        let read = || seed.deserialize(Typed { node, report });
        report
            .below(format_args!("[{index}]"), node.place, read)
            .map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len())
    }
}

struct Entries<'de, 'r> {
    entries: std::slice::Iter<'de, (Key, Rc<Node>)>,
    current: Option<&'de (Key, Rc<Node>)>,
    /// Field names of a struct; `None` for a map with arbitrary keys.
    known: Option<&'static [&'static str]>,
    report: &'r Report,
}

impl<'de> MapAccess<'de> for Entries<'de, '_> {
    type Error = TypeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, TypeError> {
        for entry in self.entries.by_ref() {
            let (key, node) = entry;
            if let Some(known) = self.known {
                if !known.contains(&key.text.as_str()) {
                    self.report.unknown(key, known);
                    continue;
                }
                if node.is_null() {
                    continue;
                }
            }
            self.current = Some(entry);
            return seed
                .deserialize(key.text.as_str().into_deserializer())
                .map(Some);
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, TypeError> {
        let (key, node) = self
            .current
            .take()
            .ok_or_else(|| de::Error::custom("value without key"))?;
        let report = self.report;
        let read = || seed.deserialize(Typed { node, report });
        report.below(format_args!(".{}", key.text), node.place, read)
    }
}

/// Rewrites serde's message without terms of Rust.
fn without_rust_terms(message: &str) -> String {
    let mut message = message.to_owned();
    for (rust, plain) in [
        ("invalid type: ", "found "),
        ("invalid value: ", "found "),
        ("unit value", "nothing"),
        ("string \"", "the string \""),
        ("integer `", "the number `"),
        ("floating point `", "the number `"),
        ("boolean `", "the boolean `"),
        ("sequence", "list"),
    ] {
        message = message.replace(rust, plain);
    }
    for (rust, plain) in [
        ("expected u8", "expected a number from 0 to 255"),
        ("expected u16", "expected a number from 0 to 65535"),
        ("expected u32", "expected a number from 0 to 4294967295"),
        ("expected u64", "expected a whole number, 0 or more"),
        ("expected usize", "expected a whole number, 0 or more"),
        ("expected i64", "expected a whole number"),
        ("expected i32", "expected a whole number"),
        ("expected a boolean", "expected `true` or `false`"),
    ] {
        if let Some(head) = message.strip_suffix(rust) {
            return format!("{head}{plain}");
        }
    }
    if let Some((head, _)) = message.split_once("expected struct ") {
        return format!("{head}expected a map");
    }
    message
}

#[cfg(test)]
mod tests;
