//! A document as a tree of nodes with positions.
//!
//! Decoding and locating walk the same tree: the position in a diagnostic is that of the decoded value.
//! YAML and JSON produce the same tree. Aliases are shared, merge keys (`<<`) are applied, and a
//! duplicate key is an error.
//!
//! The size of the tree with aliases expanded is limited ([`MAX_NODES`], [`MAX_DEPTH`]), which rejects
//! alias bombs and deep nesting early.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use serde_saphyr::granit_parser::{Event, Options, Parser, ScalarStyle, Span, StrInput, Tag};

use super::plain_scalar::{self, Plain};

/// Maximum length of a document, in bytes. The limit of the API server is 3 MiB.
pub(crate) const MAX_BYTES: usize = 10 * 1024 * 1024;
/// Maximum number of nodes of a document. An alias counts at each use; a long string counts as several nodes.
pub(crate) const MAX_NODES: usize = 500_000;
/// Maximum depth of a document, with aliases expanded.
pub(crate) const MAX_DEPTH: usize = 100;

/// A position in a document.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Place {
    /// Line, from 1.
    pub(crate) line: usize,
    /// Column, from 1, in characters.
    pub(crate) column: usize,
}

/// Position of a value that is not from a text.
const NOWHERE: Place = Place { line: 0, column: 0 };

/// A value and its position.
#[derive(Debug)]
pub(crate) struct Node {
    /// Position of the start of the value.
    pub(crate) place: Place,
    /// Value.
    pub(crate) value: Value,
    /// Number of nodes, including this one.
    size: usize,
    /// Number of levels, including that of this node.
    height: usize,
}

/// The value of a node.
#[derive(Debug)]
pub(crate) enum Value {
    /// A string, and whether it is unquoted. An unquoted string may be a number, a boolean or null.
    Scalar(String, bool),
    /// A list.
    List(Vec<Rc<Node>>),
    /// A map, in document order.
    Map(Vec<(Key, Rc<Node>)>),
}

/// A key of a map.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    /// Text.
    pub(crate) text: String,
    /// Position.
    pub(crate) place: Place,
}

/// A syntax error.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct SyntaxError {
    /// Position.
    pub(crate) place: Place,
    /// Message.
    pub(crate) message: String,
}

impl SyntaxError {
    fn new(place: Place, message: impl Into<String>) -> Self {
        Self {
            place,
            message: message.into(),
        }
    }
}

impl Node {
    /// Returns an empty map at `place`.
    pub(crate) fn empty_map(place: Place) -> Self {
        Self {
            place,
            value: Value::Map(Vec::new()),
            size: 1,
            height: 1,
        }
    }

    /// Returns a node with another value at the same position.
    pub(crate) fn with_value(&self, value: Value) -> Self {
        Self {
            place: self.place,
            value,
            size: self.size,
            height: self.height,
        }
    }

    /// Returns the value of `key`; `None` if the key is absent or its value is null.
    pub(crate) fn field(&self, key: &str) -> Option<&Rc<Node>> {
        let Value::Map(entries) = &self.value else {
            return None;
        };
        let (_, node) = entries.iter().find(|(k, _)| k.text == key)?;
        (!node.is_null()).then_some(node)
    }

    /// Returns the text of a scalar.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar(text, _) => Some(text),
            Value::List(_) | Value::Map(_) => None,
        }
    }

    /// Returns the value of an unquoted boolean.
    pub(crate) fn boolean(&self) -> Option<bool> {
        match &self.value {
            Value::Scalar(text, true) => plain_scalar::boolean(text),
            Value::Scalar(_, false) | Value::List(_) | Value::Map(_) => None,
        }
    }

    /// Whether the value is null.
    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar(text, true) if plain_scalar::is_null(text))
    }
}

/// Parses a document.
///
/// # Errors
/// If the document is malformed or exceeds a limit of this module.
pub(crate) fn parse(text: &str) -> Result<Rc<Node>, SyntaxError> {
    if text.len() > MAX_BYTES {
        let message = format!(
            "the document has {} bytes; the maximum is {MAX_BYTES}",
            text.len()
        );
        return Err(SyntaxError::new(Place { line: 1, column: 1 }, message));
    }
    let mut options = Options::default();
    options.flow_nesting_limit = MAX_DEPTH;
    options.block_nesting_limit = MAX_DEPTH;
    // Another crate in the build may enable the feature of the parser that reports comments by default.
    options.emit_comments = false;
    let mut builder = Builder {
        parser: Parser::new_from_str_with_options(text, options),
        anchors: HashMap::new(),
        read: 0,
    };
    builder.document()
}

/// Converts a JSON value from an API server into a tree without positions.
///
/// # Errors
/// If the value exceeds a limit of this module.
pub(crate) fn of_json(value: &serde_json::Value) -> Result<Rc<Node>, SyntaxError> {
    let node = json_node(value, 1).filter(|node| node.size <= MAX_NODES);
    node.map(Rc::new).ok_or_else(|| too_large(NOWHERE))
}

/// Converts a JSON value. Returns `None` if it is nested too deeply.
fn json_node(value: &serde_json::Value, depth: usize) -> Option<Node> {
    use serde_json::Value as Json;
    if depth > MAX_DEPTH {
        return None;
    }
    let (mut size, mut height) = (1_usize, 0);
    let mut below = |value| {
        let node = json_node(value, depth + 1)?;
        size = size.saturating_add(node.size);
        height = height.max(node.height);
        Some(Rc::new(node))
    };
    let value = match value {
        Json::Null => Value::Scalar("null".to_owned(), true),
        Json::Bool(value) => Value::Scalar(value.to_string(), true),
        Json::Number(value) => Value::Scalar(value.to_string(), true),
        Json::String(text) => {
            size += text.len() / 32;
            Value::Scalar(text.clone(), false)
        }
        Json::Array(items) => Value::List(items.iter().map(&mut below).collect::<Option<_>>()?),
        Json::Object(entries) => {
            let entries = entries.iter().map(|(key, value)| {
                let (text, place) = (key.clone(), NOWHERE);
                Some((Key { text, place }, below(value)?))
            });
            Value::Map(entries.collect::<Option<_>>()?)
        }
    };
    Some(Node {
        place: NOWHERE,
        value,
        size,
        height: height + 1,
    })
}

struct Builder<'a> {
    parser: Parser<'a, StrInput<'a>>,
    anchors: HashMap<usize, Rc<Node>>,
    read: usize,
}

impl<'a> Builder<'a> {
    fn document(&mut self) -> Result<Rc<Node>, SyntaxError> {
        let mut root = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd => {}
                Event::StreamEnd => {
                    return root
                        .ok_or_else(|| SyntaxError::new(place(&span), "the document is empty"));
                }
                _ if root.is_some() => {
                    return Err(SyntaxError::new(
                        place(&span),
                        "a second document starts here without a `---` line",
                    ));
                }
                event => root = Some(self.node(event, &span, 1)?),
            }
        }
    }

    fn next(&mut self) -> Result<(Event<'a>, Span), SyntaxError> {
        match self.parser.next_event() {
            Some(Ok(next)) => Ok(next),
            Some(Err(error)) => {
                let at = Place {
                    line: error.marker().line().max(1),
                    column: error.marker().col() + 1,
                };
                Err(SyntaxError::new(at, error.info()))
            }
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn node(
        &mut self,
        event: Event<'a>,
        span: &Span,
        depth: usize,
    ) -> Result<Rc<Node>, SyntaxError> {
        let at = place(span);
        self.read += 1;
        if depth > MAX_DEPTH || self.read > MAX_NODES {
            return Err(too_large(at));
        }
        let (node, anchor) = match event {
            Event::Alias(id) => {
                let node = self.anchors.get(&id).cloned();
                return node.ok_or_else(|| SyntaxError::new(at, "alias within its own anchor"));
            }
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain;
                let plain = is_unquoted(tag.as_deref(), &text, plain, at)?;
                if plain && plain_scalar::is_not_finite(&text) {
                    let message =
                        format!("the number `{text}` has no value in JSON; put it in quotes");
                    return Err(SyntaxError::new(at, message));
                }
                // A long string counts as several nodes, which limits the size that aliases can multiply.
                let size = 1 + text.len() / 32;
                let value = Value::Scalar(text.into_owned(), plain);
                let node = Node {
                    place: at,
                    value,
                    size,
                    height: 1,
                };
                (node, anchor)
            }
            // A tag of a list or a map has no effect.
            Event::SequenceStart(_, anchor, _) => (self.list(at, depth)?, anchor),
            Event::MappingStart(_, anchor, _) => (self.map(at, depth)?, anchor),
            _ => return Err(SyntaxError::new(at, "expected a value")),
        };
        if node.size > MAX_NODES || node.height > MAX_DEPTH {
            return Err(too_large(at));
        }
        let node = Rc::new(node);
        if anchor != 0 {
            self.anchors.insert(anchor, Rc::clone(&node));
        }
        Ok(node)
    }

    fn list(&mut self, place: Place, depth: usize) -> Result<Node, SyntaxError> {
        let mut items: Vec<Rc<Node>> = Vec::new();
        let (mut size, mut height) = (1_usize, 0);
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::SequenceEnd) {
                break;
            }
            let item = self.node(event, &span, depth + 1)?;
            size = size.saturating_add(item.size);
            height = height.max(item.height);
            items.push(item);
        }
        let value = Value::List(items);
        Ok(Node {
            place,
            value,
            size,
            height: height + 1,
        })
    }

    fn map(&mut self, place: Place, depth: usize) -> Result<Node, SyntaxError> {
        let mut entries: Vec<(Key, Rc<Node>)> = Vec::new();
        let mut merged: Vec<Rc<Node>> = Vec::new();
        let mut seen = HashSet::new();
        let mut begin = None;
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::MappingEnd) {
                break;
            }
            let (key, merge) = self.key(event, &span, depth)?;
            begin.get_or_insert(key.place);
            let (event, span) = self.next()?;
            let value = self.node(event, &span, depth + 1)?;
            if merge {
                merged.push(value);
                continue;
            }
            if !seen.insert(key.text.clone()) {
                let message = format!("duplicate key `{}`", key.text);
                return Err(SyntaxError::new(key.place, message));
            }
            entries.push((key, value));
        }
        for source in merged {
            merge(&source, &mut seen, &mut entries)?;
            self.read += entries.len();
            if self.read > MAX_NODES {
                return Err(too_large(place));
            }
        }
        let size = entries
            .iter()
            .fold(1_usize, |sum, (_, node)| sum.saturating_add(node.size));
        let height = 1 + entries
            .iter()
            .map(|(_, node)| node.height)
            .max()
            .unwrap_or(0);
        let value = Value::Map(entries);
        // An empty map has no key to take the position from.
        let place = begin.map_or(place, |key| key.min(place));
        Ok(Node {
            place,
            value,
            size,
            height,
        })
    }

    /// Parses a key. Returns whether it is the merge key.
    fn key(
        &mut self,
        event: Event<'a>,
        span: &Span,
        depth: usize,
    ) -> Result<(Key, bool), SyntaxError> {
        let node = self.node(event, span, depth + 1)?;
        match &node.value {
            Value::Scalar(text, plain) => {
                let converted = plain.then(|| plain_scalar::key(text)).flatten();
                let key = Key {
                    text: converted.unwrap_or_else(|| text.clone()),
                    place: place(span),
                };
                Ok((key, *plain && text == "<<"))
            }
            Value::List(_) | Value::Map(_) => Err(SyntaxError::new(
                place(span),
                "a key must be a string, not a list or map",
            )),
        }
    }
}

/// Adds the entries of `source`, the value of a YAML merge key, whose keys are not in `seen`.
fn merge(
    source: &Node,
    seen: &mut HashSet<String>,
    entries: &mut Vec<(Key, Rc<Node>)>,
) -> Result<(), SyntaxError> {
    match &source.value {
        Value::Map(more) => {
            for (key, node) in more {
                if seen.insert(key.text.clone()) {
                    entries.push((key.clone(), Rc::clone(node)));
                }
            }
            Ok(())
        }
        Value::List(sources) if sources.iter().all(|s| matches!(s.value, Value::Map(_))) => sources
            .iter()
            .try_for_each(|source| merge(source, seen, entries)),
        Value::List(_) | Value::Scalar(..) => Err(SyntaxError::new(
            source.place,
            "`<<` requires a map or a list of maps",
        )),
    }
}

/// Whether a scalar counts as unquoted, given its tag. As in kubectl, a scalar with an unknown tag is a string.
///
/// # Errors
/// If the tag requires another value, and for binary data.
fn is_unquoted(tag: Option<&Tag>, text: &str, plain: bool, at: Place) -> Result<bool, SyntaxError> {
    let Some(tag) = tag else {
        return Ok(plain);
    };
    let value = Plain::of(text);
    let fits = match tag.core_suffix() {
        Some("int") => matches!(value, Plain::Unsigned(_) | Plain::Signed(_)),
        Some("float") => matches!(
            value,
            Plain::Unsigned(_) | Plain::Signed(_) | Plain::Float(_)
        ),
        Some("bool") => matches!(value, Plain::Bool(_)),
        Some("null") => value == Plain::Null,
        None if tag.original() == "!!binary" => {
            let message = "the tag `!!binary` is not supported; write the value as a string";
            return Err(SyntaxError::new(at, message));
        }
        _ => return Ok(false),
    };
    match fits {
        true => Ok(true),
        false => {
            let message = format!("`{text}` has the tag `{}`", tag.original());
            Err(SyntaxError::new(at, message))
        }
    }
}

fn too_large(at: Place) -> SyntaxError {
    let message = format!(
        "the document is too large; the maximum is {MAX_NODES} values and {MAX_DEPTH} levels, aliases included"
    );
    SyntaxError::new(at, message)
}

fn place(span: &Span) -> Place {
    Place {
        line: span.start.line().max(1),
        column: span.start.col() + 1,
    }
}

#[cfg(test)]
mod tests;
