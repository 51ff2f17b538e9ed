//! Decodes manifests into typed objects, one document at a time: an invalid document affects no other.
//!
//! ```text
//! text ──split──> documents ──tree──> nodes with places ──kind, metadata──> typed ──> Objects
//!                                           └───────────── errors ─────────────────> Diagnostics
//! ```
//!
//! YAML, JSON and objects of an API server are decoded in the same way. Objects from files are validated
//! against the schema of their kind. An invalid object is decoded as far as possible and lists its
//! invalid fields; the parts with invalid fields fail closed.
//!
//! ```
//! use towergate_k8s::decode::Decoder;
//!
//! let mut decoder = Decoder::new(false);
//! decoder.file("ns.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: team-a}\n");
//! let decoded = decoder.finish();
//!
//! assert_eq!(decoded.objects.namespaces.len(), 1);
//! assert!(decoded.diagnostics.is_empty());
//! ```

mod diagnostic;
mod document_cache;
mod field_scope;
mod kind;
mod locate;
mod metadata;
mod not_read;
mod object_store;
mod plain_scalar;
mod ports;
mod readable;
mod remains;
mod split;
mod store;
mod suggest;
mod tree;
mod typed;
mod unknown;

use std::collections::BTreeMap;
use std::sync::Arc;

use towergate_policy::SchemaViolation;

pub use diagnostic::{Diagnostic, Severity};
pub(crate) use field_scope::FieldScope;
pub(crate) use locate::locate;
pub(crate) use plain_scalar::scalar;
pub(crate) use split::split as split_documents;
pub(crate) use suggest::nearest;
pub(crate) use tree::parse as parse_tree;
pub(crate) use tree::{Node, Value as NodeValue};

pub use self::document_cache::DocumentCache;
pub use self::object_store::ObjectStore;

use self::document_cache::{DecodedDocument, Item};
use self::kind::{Kind, Verdict};
use self::split::Document;
use self::tree::{Place, Value};
use self::typed::{TypeError, UnknownField};
use self::unknown::Closed;
use crate::api::meta::ObjectMeta;
use crate::finding::FindingCode;
use crate::objects::{ObjectKey, Objects, Origin};

/// Objects and diagnostics of the decoded files.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decoded {
    /// Decoded objects.
    pub objects: Objects,
    /// Diagnostics, in the order of the files.
    pub diagnostics: Vec<Diagnostic>,
}

/// Decodes any number of files into one set of objects.
#[derive(Clone, Debug, Default)]
pub struct Decoder {
    strict: bool,
    memory: Option<DocumentCache>,
    decoded: Decoded,
    /// Whether the caller serves Ingresses.
    ingresses_are_served: bool,
    passed_over: BTreeMap<String, (usize, Diagnostic)>,
}

/// Whether objects of `kind`, such as `Ingress (networking.k8s.io/v1)`, are served if the caller serves
/// Ingresses.
fn is_served_ingress(kind: &str) -> bool {
    ["Ingress", "IngressClass"].iter().any(|name| {
        kind.strip_prefix(name)
            .is_some_and(|rest| rest.starts_with(" (networking.k8s.io/"))
    })
}

/// Decoder of one document.
struct Reader {
    strict: bool,
    admission: Admission,
    items: Vec<Item>,
}

/// Validation of objects before they are decoded.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Admission {
    /// Not validated: the objects come from files.
    None,
    /// Validated by an API server against its installed CustomResourceDefinitions, which may be newer than
    /// this version. Only kinds of Envoy Gateway are validated again, because the CustomResourceDefinitions
    /// that Towergate installs for them have no CEL rules.
    ApiServer,
}

impl Admission {
    /// Whether the decoder validates objects of `kind` itself.
    fn leaves_validation_of(self, kind: &Kind) -> bool {
        match self {
            Self::None => kind.strict_fields() || kind.is_unsupported_policy(),
            Self::ApiServer => kind.is_envoy(),
        }
    }
}

/// Decodes one file without `strict`. Diagnostics show `file` as its name.
pub fn decode(file: &str, text: &str) -> Decoded {
    let mut decoder = Decoder::new(false);
    decoder.file(file, text);
    decoder.finish()
}

/// The document that contains an object.
struct Source<'a> {
    document: Origin,
    /// `apiVersion` and `kind` for items without these fields, derived from the kind of their list.
    inherited: Option<(&'a str, &'a str)>,
}

/// Kind and metadata of an object.
struct Head<'a> {
    kind: Kind,
    api_version: &'a str,
    meta: ObjectMeta,
    origin: Origin,
    /// Position of the object in the text of `origin`.
    place: Place,
    /// Violations outside of `spec`. A policy with any of them fails closed.
    faults: Vec<SchemaViolation>,
}

impl Decoder {
    /// Creates a decoder. `strict` makes unknown fields and kinds errors.
    pub fn new(strict: bool) -> Self {
        Self {
            strict,
            ..Self::default()
        }
    }

    /// Creates a decoder that reuses the results of unchanged documents.
    pub fn with_memory(strict: bool, memory: DocumentCache) -> Self {
        Self {
            memory: Some(memory),
            ..Self::new(strict)
        }
    }

    /// Sets whether the caller translates and serves Ingresses. If so, no finding `passed-over` is reported
    /// for them.
    #[must_use]
    pub fn with_ingresses_served(mut self, served: bool) -> Self {
        self.ingresses_are_served = served;
        self
    }

    /// Decodes `text`, the content of `file`.
    pub fn file(&mut self, file: &str, text: &str) {
        let (strict, file) = (self.strict, Arc::from(file));
        let read = |document: &Document<'_>| {
            let origin = Origin {
                file: Arc::clone(&file),
                line: document.line,
                text: document.text.into(),
                within: Arc::default(),
            };
            Reader::read_document(strict, origin)
        };
        let documents = split::split(text);
        match &mut self.memory {
            Some(memory) => {
                let pieces = memory.recall(&file, &documents, read);
                pieces.iter().for_each(|piece| self.take(piece));
            }
            None => documents
                .iter()
                .for_each(|document| self.take(&read(document))),
        }
    }

    /// Reuses the cached result of `file`, whose content is unchanged. Returns `false` if the cache has no
    /// result.
    pub fn unchanged(&mut self, file: &str) -> bool {
        let pieces = self.memory.as_mut().and_then(|memory| memory.again(file));
        let pieces = pieces.inspect(|pieces| pieces.iter().for_each(|piece| self.take(piece)));
        pieces.is_some()
    }

    /// Adds a diagnostic about a source, such as an unreadable file.
    pub fn note(&mut self, diagnostic: Diagnostic) {
        self.decoded.diagnostics.push(diagnostic);
    }

    /// Returns the objects and diagnostics.
    pub fn finish(self) -> Decoded {
        self.finish_with_memory().0
    }

    /// Returns the objects and diagnostics, and the cache for the next decoder.
    pub fn finish_with_memory(mut self) -> (Decoded, DocumentCache) {
        for (kind, (count, mut note)) in self.passed_over {
            let is_served = is_served_ingress(&kind) || kind == not_read::SETTINGS;
            if self.ingresses_are_served && is_served {
                continue;
            }
            let objects = if count == 1 {
                "1 object".to_owned()
            } else {
                format!("{count} objects")
            };
            note.message = if kind == not_read::SETTINGS {
                format!("{kind} not in force ({objects})")
            } else if note.code == FindingCode::NotTranslated {
                format!("{objects} of kind {kind} not served")
            } else {
                format!("{objects} of kind {kind} skipped: not for this gateway")
            };
            self.decoded.diagnostics.push(note);
        }
        let memory = self.memory.map(DocumentCache::forget).unwrap_or_default();
        (self.decoded, memory)
    }

    /// Adds the result of a document.
    fn take(&mut self, piece: &DecodedDocument) {
        for item in &piece.items {
            match item {
                Item::Object(found, place) => {
                    let added = found.add_to(&mut self.decoded.objects, *place);
                    self.decoded
                        .diagnostics
                        .extend(added.err().map(|error| *error));
                }
                Item::Diagnostic(diagnostic) => {
                    self.decoded.diagnostics.push(Diagnostic::clone(diagnostic));
                }
                Item::Issued(secret, by) => {
                    let issued = &mut self.decoded.objects.issued;
                    issued.entry(secret.clone()).or_insert_with(|| by.clone());
                }
                Item::PassedOver(kind, note) => match self.passed_over.get_mut(kind) {
                    Some((count, _)) => *count += 1,
                    None => {
                        let first = (1, Diagnostic::clone(note));
                        self.passed_over.insert(kind.clone(), first);
                    }
                },
            }
        }
    }
}

impl Reader {
    fn read_document(strict: bool, document: Origin) -> DecodedDocument {
        let mut reader = Self {
            strict,
            admission: Admission::None,
            items: Vec::new(),
        };
        match tree::parse(&document.text) {
            Ok(root) => {
                let source = Source {
                    document: document.clone(),
                    inherited: None,
                };
                reader.object(&source, &root, "");
            }
            Err(error) => {
                let correction = match document.text.contains("{{") {
                    true => {
                        "this looks like a template of Helm: render the chart with `helm template`, and pass the result"
                    }
                    false => "correct the syntax",
                };
                let help = format!(
                    "{correction}; until then this document is ignored, and other documents in the file are read"
                );
                reader.keep_policies_of_text(&document, &error.message);
                let diagnostic = Diagnostic::error(FindingCode::Syntax, error.message, help);
                reader.refuse(diagnostic.placed(&document, error.place));
            }
        }
        DecodedDocument::new(document, reader.items)
    }

    /// Decodes an object of an API server.
    fn read_json(value: &serde_json::Value) -> Vec<Item> {
        let mut reader = Self {
            strict: false,
            admission: Admission::ApiServer,
            items: Vec::new(),
        };
        let document = Origin::default();
        match tree::of_json(value) {
            Ok(root) => {
                let source = Source {
                    document,
                    inherited: None,
                };
                reader.object(&source, &root, "");
            }
            Err(error) => {
                let help = "reduce the size of the object; until then it is not in force";
                let diagnostic = Diagnostic::error(FindingCode::Syntax, error.message, help);
                reader.refuse(diagnostic.placed(&document, error.place));
            }
        }
        reader.items
    }

    fn object(&mut self, source: &Source<'_>, node: &Node, within: &str) {
        let origin = Origin {
            within: within.into(),
            ..source.document.clone()
        };
        if !matches!(node.value, Value::Map(_)) {
            let message = "found a list or scalar where an object is expected";
            let help =
                "write a map with `apiVersion`, `kind` and `metadata`, or remove the document";
            let diagnostic = Diagnostic::error(FindingCode::NotAnObject, message, help);
            return self.refuse(diagnostic.placed(&origin, node.place));
        }
        let inherited = source.inherited.unwrap_or_default();
        let text = |field, otherwise| {
            node.field(field)
                .and_then(|n| n.text())
                .unwrap_or(otherwise)
        };
        let api_version = text("apiVersion", inherited.0);
        let name = text("kind", inherited.1);
        if api_version.is_empty() || name.is_empty() {
            return self.no_object(node, &origin, api_version, name);
        }
        match kind::find(api_version, name) {
            Verdict::Read(kind) => self.read(kind, api_version, node, origin),
            Verdict::List => self.list(source, node, within, api_version, name),
            other => self.not_read(other, api_version, name, node, &origin),
        }
    }

    fn list(
        &mut self,
        source: &Source<'_>,
        node: &Node,
        within: &str,
        api_version: &str,
        name: &str,
    ) {
        let items = node.field("items").map(|items| &items.value);
        let Some(Value::List(items)) = items else {
            return;
        };
        let item_kind = name.strip_suffix("List").unwrap_or_default();
        let inherited = (!item_kind.is_empty()).then_some((api_version, item_kind));
        let source = Source {
            document: source.document.clone(),
            inherited,
        };
        let prefix = if within.is_empty() {
            "items".to_owned()
        } else {
            format!("{within}.items")
        };
        for (index, item) in items.iter().enumerate() {
            self.object(&source, item, &format!("{prefix}[{index}]"));
        }
    }

    fn read(&mut self, kind: Kind, api_version: &str, node: &Node, origin: Origin) {
        let empty = Node::empty_map(node.place);
        let meta_node = node.field("metadata").map_or(&empty, |n| &**n);
        let (meta, unknown) = typed::read::<ObjectMeta>(meta_node, "metadata");
        let mut meta = match meta {
            Ok(meta) => meta,
            Err(error) => {
                let fault = head_fault(&error.path, error.message.clone());
                self.keep_targets(kind, api_version, node, &origin, fault);
                let key = remains::readable_key(&kind, node);
                return self.refuse(misfit(&kind, key, &origin, error));
            }
        };
        if let Err(breach) = metadata::check(&kind, &mut meta) {
            let place = node
                .field("metadata")
                .and_then(|m| m.field("name"))
                .map_or(node.place, |n| n.place);
            let fault = head_fault(breach.field, breach.message.clone());
            self.keep_targets(kind, api_version, node, &origin, fault);
            let help = remains::advice(&kind, breach.help);
            let mut diagnostic =
                Diagnostic::error(breach.code, breach.message, help).placed(&origin, place);
            kind.name.clone_into(&mut diagnostic.kind);
            breach.field.clone_into(&mut diagnostic.field);
            return self.refuse(diagnostic);
        }
        let place = node.place;
        if kind.id == kind::KindId::ConfigMap && self.admission == Admission::None {
            self.settings_of_ingress_nginx(&meta, &origin, place);
        }
        let head = Head {
            kind,
            api_version,
            meta,
            origin,
            place,
            faults: Vec::new(),
        };
        let unknown = unknown
            .into_iter()
            .filter(|u| !metadata::UNREAD.contains(&u.last()));
        self.unknown_fields(&head, unknown);
        self.root_fields(&head, node);
        if let Some(port) = ports::check(&kind, node) {
            let (message, help) = (
                "a port is a number from 1 to 65535",
                "correct the number; until then the object is not in force",
            );
            let mut diagnostic = Diagnostic::error(FindingCode::PortOutOfRange, message, help);
            diagnostic.field = port.path;
            return self.refuse(head.name(diagnostic.placed(&head.origin, port.place)));
        }
        let body = if kind.spec {
            node.field("spec").map_or(&empty, |n| &**n)
        } else {
            node
        };
        store::insert(self, head, node, body);
    }

    /// Reports unknown fields at the level of `metadata` and `spec`.
    fn root_fields(&mut self, head: &Head<'_>, node: &Node) {
        const KNOWN: [&str; 5] = ["apiVersion", "kind", "metadata", "spec", "status"];
        let Value::Map(entries) = &node.value else {
            return;
        };
        let unknown = entries
            .iter()
            .filter(|(key, _)| !KNOWN.contains(&key.text.as_str()));
        let unknown = unknown.map(|(key, _)| UnknownField {
            path: key.text.clone(),
            place: key.place,
            nearest: suggest::nearest(&key.text, KNOWN).map(str::to_owned),
            known: KNOWN.to_vec(),
        });
        if head.kind.strict_fields() {
            self.unknown_fields(head, unknown);
        }
    }

    fn unknown_fields(&mut self, head: &Head<'_>, unknown: impl Iterator<Item = UnknownField>) {
        for field in unknown {
            let closed = unknown::closed(head.kind.id, &field.path);
            let effect = closed.map_or("it has no effect", Closed::effect);
            let message = format!("the field `{}` is not known: {effect}", field.path);
            let mut diagnostic =
                Diagnostic::warning(FindingCode::UnknownField, message, unknown::advice(&field))
                    .placed(&head.origin, field.place);
            if self.strict || closed.is_some() {
                diagnostic.severity = Severity::Error;
            }
            diagnostic.field = field.path;
            self.refuse(head.name(diagnostic));
        }
    }

    /// Reports a field that an API server rejects.
    fn violation(&mut self, head: &Head<'_>, violation: &SchemaViolation) {
        let example = violation
            .example()
            .map(|example| format!(" (such as \"{example}\")"));
        let effect = effect(&head.kind, &violation.field);
        let correction = match () {
            () if violation.is_absence() => "add the field".to_owned(),
            () if violation.field == "spec" => "correct the object".to_owned(),
            () => format!("correct{} or remove the field", example.unwrap_or_default()),
        };
        let help = format!("{correction}; until then {effect}");
        let mut diagnostic =
            Diagnostic::error(FindingCode::SchemaViolation, violation.to_string(), help);
        violation.field.clone_into(&mut diagnostic.field);
        head.origin.file.as_ref().clone_into(&mut diagnostic.file);
        if let Some((line, column)) = head.origin.locate(&violation.field) {
            (diagnostic.line, diagnostic.column) = (line, column);
        }
        self.refuse(head.name(diagnostic));
    }

    fn refuse(&mut self, diagnostic: Diagnostic) {
        self.items.push(Item::Diagnostic(Box::new(diagnostic)));
    }
}

impl Head<'_> {
    fn key(&self) -> ObjectKey {
        ObjectKey::new(&*self.meta.namespace, &*self.meta.name)
    }

    /// Sets kind and object of a diagnostic.
    fn name(&self, mut diagnostic: Diagnostic) -> Diagnostic {
        self.kind.name.clone_into(&mut diagnostic.kind);
        diagnostic.object = Some(self.key());
        diagnostic
    }
}

/// Returns the violation of a field outside of `spec`.
fn head_fault(field: &str, message: String) -> Option<SchemaViolation> {
    Some(SchemaViolation {
        field: field.to_owned(),
        message,
    })
}

/// Returns the effect of an invalid field at `path` in an object of `kind`.
fn effect(kind: &Kind, path: &str) -> &'static str {
    if kind.is_policy() {
        return unknown::POLICY;
    }
    unknown::closed(kind.id, path).map_or("the object is not in force", Closed::effect)
}

/// Returns the diagnostic for a value that does not match its type.
fn misfit(kind: &Kind, object: Option<ObjectKey>, origin: &Origin, error: TypeError) -> Diagnostic {
    // A type error may quote the value; the value of a Secret must not appear in a message.
    let (message, help) = if kind.id == kind::KindId::Secret {
        (
            "a value has the wrong type".to_owned(),
            "write the values of a Secret as strings".to_owned(),
        )
    } else {
        let effect = effect(kind, &error.path);
        let correct = || format!("correct or remove the field; until then {effect}");
        let help = Some(error.help).filter(|help| !help.is_empty());
        (error.message, help.unwrap_or_else(correct))
    };
    let place = error.place.unwrap_or(Place { line: 1, column: 1 });
    let mut diagnostic =
        Diagnostic::error(FindingCode::InvalidObject, message, help).placed(origin, place);
    kind.name.clone_into(&mut diagnostic.kind);
    diagnostic.object = object;
    diagnostic.field = error.path;
    diagnostic
}

#[cfg(test)]
mod tests;
