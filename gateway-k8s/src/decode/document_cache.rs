//! Cache of decoded documents.
//!
//! The result of a document depends only on its text, so it is reused while the text is unchanged. After one
//! change in a large file, only one document is decoded.

use std::collections::HashMap;
use std::sync::Arc;

use towergate_policy::SchemaViolation;
use towergate_policy::backend::BackendSpec;
use towergate_policy::backend_traffic::BackendTrafficPolicySpec;
use towergate_policy::client_traffic::ClientTrafficPolicySpec;
use towergate_policy::envoy_proxy::EnvoyProxySpec;
use towergate_policy::route_filter::HttpRouteFilterSpec;
use towergate_policy::security::SecurityPolicySpec;

use super::Diagnostic;
use super::kind::is_policy;
use super::split::Document;
use super::tree::Place;
use super::unknown::POLICY;
use crate::api::core::{ConfigMap, EndpointSlice, Namespace, Secret, ServiceSpec};
use crate::api::gateway::{GatewayClassSpec, GatewaySpec};
use crate::api::grpc_route::GrpcRouteSpec;
use crate::api::http_route::HttpRouteSpec;
use crate::api::listener_set::ListenerSetSpec;
use crate::api::policy::{BackendTlsPolicySpec, EnvoyExtensionPolicySpec, EnvoyPatchPolicySpec};
use crate::api::reference_grant::ReferenceGrantSpec;
use crate::api::stream_route::{PortRouteSpec, TlsRouteSpec};
use crate::finding::FindingCode;
use crate::objects::{Object, ObjectKey, Objects, Origin, Store};

/// The result of decoding a document.
#[derive(Clone, Debug)]
pub(super) struct DecodedDocument {
    document: Origin,
    /// Items in document order.
    pub(super) items: Box<[Item]>,
}

/// One object or diagnostic of a document.
#[derive(Clone, Debug)]
pub(super) enum Item {
    /// An object and the position of its start.
    Object(DecodedObject, Place),
    /// A diagnostic.
    Diagnostic(Box<Diagnostic>),
    /// The kind of an ignored object, with the note that is reported once per kind.
    PassedOver(String, Box<Diagnostic>),
    /// A Secret that an ignored object would create, and the name of that object.
    Issued(ObjectKey, ObjectKey),
}

macro_rules! found {
    ($($kind:ident: $spec:ty, $field:ident, $name:literal;)*) => {
        /// An object of any decoded kind.
        #[derive(Clone, Debug)]
        pub(super) enum DecodedObject {
            $($kind(Arc<Object<$spec>>),)*
        }

        /// Removes an object by kind and name. Returns whether the object was present.
        pub(super) fn take_from(all: &mut Objects, kind: &str, key: &ObjectKey) -> bool {
            match kind {
                $($name => all.$field.remove(key).is_some(),)*
                _ => false,
            }
        }

        impl DecodedObject {
            /// Adds the object to the store of its kind.
            ///
            /// # Errors
            /// If the store already contains an object of this name.
            pub(super) fn add_to(&self, all: &mut Objects, place: Place) -> Result<(), Box<Diagnostic>> {
                match self {
                    $(Self::$kind(object) => add(&mut all.$field, object, $name, place),)*
                }
            }

            /// Adds the object, or replaces the object of the same name if the two differ. Returns whether
            /// the store changed.
            pub(super) fn put_into(self, all: &mut Objects) -> bool {
                match self {
                    $(Self::$kind(object) => put(&mut all.$field, object),)*
                }
            }

            fn moved(&self, line: usize) -> Self {
                match self {
                    $(Self::$kind(object) => Self::$kind(moved(object, line)),)*
                }
            }
        }
    };
}

found! {
    GatewayClass: GatewayClassSpec, gateway_classes, "GatewayClass";
    Gateway: GatewaySpec, gateways, "Gateway";
    ListenerSet: ListenerSetSpec, listener_sets, "ListenerSet";
    HttpRoute: HttpRouteSpec, http_routes, "HTTPRoute";
    GrpcRoute: GrpcRouteSpec, grpc_routes, "GRPCRoute";
    TlsRoute: TlsRouteSpec, tls_routes, "TLSRoute";
    TcpRoute: PortRouteSpec, tcp_routes, "TCPRoute";
    UdpRoute: PortRouteSpec, udp_routes, "UDPRoute";
    ReferenceGrant: ReferenceGrantSpec, reference_grants, "ReferenceGrant";
    BackendTlsPolicy: BackendTlsPolicySpec, backend_tls_policies, "BackendTLSPolicy";
    ClientTrafficPolicy: ClientTrafficPolicySpec, client_traffic_policies, "ClientTrafficPolicy";
    BackendTrafficPolicy: BackendTrafficPolicySpec, backend_traffic_policies, "BackendTrafficPolicy";
    SecurityPolicy: SecurityPolicySpec, security_policies, "SecurityPolicy";
    ExtensionPolicy: EnvoyExtensionPolicySpec, extension_policies, "EnvoyExtensionPolicy";
    PatchPolicy: EnvoyPatchPolicySpec, patch_policies, "EnvoyPatchPolicy";
    Backend: BackendSpec, backends, "Backend";
    RouteFilter: HttpRouteFilterSpec, route_filters, "HTTPRouteFilter";
    EnvoyProxy: EnvoyProxySpec, envoy_proxies, "EnvoyProxy";
    Service: ServiceSpec, services, "Service";
    EndpointSlice: EndpointSlice, endpoint_slices, "EndpointSlice";
    Secret: Secret, secrets, "Secret";
    ConfigMap: ConfigMap, config_maps, "ConfigMap";
    Namespace: Namespace, namespaces, "Namespace";
}

fn add<S: Clone>(
    store: &mut Store<S>,
    object: &Arc<Object<S>>,
    kind: &str,
    place: Place,
) -> Result<(), Box<Diagnostic>> {
    let key = object.key();
    let Some(first) = store.get(&key).filter(|_| !key.name.is_empty()) else {
        match key.name.is_empty() {
            true => add_apart(store, object, "unnamed", None),
            false => drop(store.insert(key, object.clone())),
        }
        return Ok(());
    };
    if kind == "Namespace"
        && let Some(merged) = merged_labels(first, object)
    {
        store.insert(key, Arc::new(merged));
        return Ok(());
    }
    let fault = format!(
        "{kind} {key} is already defined in {}:{}",
        first.origin.file, first.origin.line
    );
    let help = "remove one of the two, or give it another name";
    let (effect, help) = match is_policy(kind) {
        true => (
            "requests that only the second object covers receive 500",
            format!("{help}; until then {POLICY}"),
        ),
        false => ("the first is used", help.to_owned()),
    };
    let message = format!("{fault}; {effect}");
    let mut diagnostic = Diagnostic::error(FindingCode::DuplicateObject, message, help)
        .placed(&object.origin, place);
    kind.clone_into(&mut diagnostic.kind);
    if is_policy(kind) {
        add_apart(store, object, &key.name, Some(fault));
    }
    diagnostic.object = Some(key);
    Err(Box::new(diagnostic))
}

/// Merges two documents of a Namespace into one document with the labels of both, as if both were applied.
/// `None`: a label has two different values.
fn merged_labels<S: Clone>(first: &Object<S>, second: &Object<S>) -> Option<Object<S>> {
    let mut merged = first.clone();
    for (name, value) in &second.meta.labels {
        let known = merged
            .meta
            .labels
            .entry(name.clone())
            .or_insert_with(|| value.clone());
        if known != value {
            return None;
        }
    }
    Some(merged)
}

/// Adds an unnamed policy under a name that no valid object can have. Its targets fail
/// closed.
fn add_apart<S: Clone>(
    store: &mut Store<S>,
    object: &Arc<Object<S>>,
    name: &str,
    fault: Option<String>,
) {
    let mut object = Object::clone(object);
    let Origin {
        file, line, within, ..
    } = &object.origin;
    let within = match within.is_empty() {
        true => String::new(),
        false => format!(" {within}"),
    };
    object.meta.name = format!("{name} ({file}:{line}{within})");
    object
        .unreadable_fields
        .extend(fault.map(|message| SchemaViolation {
            field: "metadata.name".to_owned(),
            message,
        }));
    store.insert(object.key(), object);
}

fn put<S: PartialEq>(store: &mut Store<S>, object: Arc<Object<S>>) -> bool {
    let key = object.key();
    let same = store.get(&key) == Some(&*object);
    if !same {
        store.insert(key, object);
    }
    !same
}

fn moved<S: Clone>(object: &Object<S>, line: usize) -> Arc<Object<S>> {
    let mut object = object.clone();
    object.origin.line = line;
    Arc::new(object)
}

impl DecodedDocument {
    pub(super) fn new(document: Origin, items: Vec<Item>) -> Self {
        let items = items.into();
        Self { document, items }
    }

    /// Returns the result of the same document at another line of its file.
    fn moved(&self, line: usize) -> Self {
        let before = self.document.line;
        let place = |diagnostic: &Diagnostic| {
            let mut diagnostic = diagnostic.clone();
            if diagnostic.line > 0 {
                diagnostic.line = diagnostic.line - before + line;
            }
            Box::new(diagnostic)
        };
        let item = |item: &Item| match item {
            Item::Object(found, at) => Item::Object(found.moved(line), *at),
            Item::Diagnostic(diagnostic) => Item::Diagnostic(place(diagnostic)),
            Item::PassedOver(kind, note) => Item::PassedOver(kind.clone(), place(note)),
            Item::Issued(secret, by) => Item::Issued(secret.clone(), by.clone()),
        };
        let mut document = self.document.clone();
        document.line = line;
        Self {
            document,
            items: self.items.iter().map(item).collect(),
        }
    }
}

/// Cached results of the documents of each file.
#[derive(Clone, Debug, Default)]
pub struct DocumentCache {
    before: HashMap<Arc<str>, DecodedFile>,
    now: HashMap<Arc<str>, DecodedFile>,
}

/// Results of the documents of a file, in file order.
type DecodedFile = Arc<[Arc<DecodedDocument>]>;

impl DocumentCache {
    /// Returns the cached results of the unchanged `file`, or `None` if there are none.
    pub(super) fn again(&mut self, file: &str) -> Option<DecodedFile> {
        let (name, pieces) = self.before.get_key_value(file)?;
        self.now.insert(name.clone(), pieces.clone());
        Some(pieces.clone())
    }

    /// Returns the results of the `documents` of `file`; `read` decodes the documents that are not
    /// cached.
    pub(super) fn recall(
        &mut self,
        file: &Arc<str>,
        documents: &[Document<'_>],
        read: impl Fn(&Document<'_>) -> DecodedDocument,
    ) -> DecodedFile {
        let before = self.before.get(file).map_or(&[][..], |pieces| pieces);
        let mut known: HashMap<&str, Vec<&Arc<DecodedDocument>>> = HashMap::new();
        for piece in before {
            known.entry(&piece.document.text).or_default().push(piece);
        }
        let pieces = documents.iter().map(|document| {
            let same = known.get(document.text).map_or(&[][..], Vec::as_slice);
            let here = |piece: &&&Arc<DecodedDocument>| piece.document.line == document.line;
            match (same.iter().find(here), same.first()) {
                (Some(piece), _) => Arc::clone(piece),
                (None, Some(piece)) => Arc::new(piece.moved(document.line)),
                (None, None) => Arc::new(read(document)),
            }
        });
        let pieces: DecodedFile = pieces.collect();
        self.now.insert(file.clone(), pieces.clone());
        pieces
    }

    /// Removes results that have not been used since the last call.
    pub(super) fn forget(self) -> Self {
        Self {
            before: self.now,
            now: HashMap::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::decode::{Decoded, Decoder, decode};
    use crate::objects::ObjectKey;

    /// Valid and invalid documents, equal documents, documents of one object, and documents of ignored
    /// kinds.
    const DOCUMENTS: [&str; 7] = [
        "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 80}]}\n",
        "apiVersion: v1\nkind: Service\nmetadata: {name: a}\n\nspec: {ports: [{port: 81}]}\n",
        "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Namespace, metadata: {name: ns}}\n",
        "apiVersion: v1\nkind: Service\nmetadata: {name: b}\nspec: {ports: [{port: x}]}\n",
        "kind: [\n",
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\n",
        "# nothing\n",
    ];

    fn read(memory: DocumentCache, text: &str) -> (Decoded, DocumentCache) {
        let mut decoder = Decoder::with_memory(false, memory);
        decoder.file("a.yaml", text);
        decoder.finish_with_memory()
    }

    fn file(documents: &[usize]) -> String {
        let documents = documents.iter().map(|at| DOCUMENTS[*at]);
        documents.collect::<Vec<_>>().join("---\n")
    }

    #[test]
    fn an_unchanged_document_gives_the_same_object() {
        let (before, memory) = read(DocumentCache::default(), &file(&[0, 3, 2]));
        let (after, _) = read(memory, &file(&[0, 4, 2]));

        let (a, n) = (ObjectKey::new("default", "a"), ObjectKey::new("", "ns"));
        let services = [&before, &after].map(|decoded| &decoded.objects.services[&a]);
        assert!(std::ptr::eq(services[0], services[1]));
        // The Namespace begins at another line than before.
        let namespaces = [&before, &after].map(|decoded| &decoded.objects.namespaces[&n]);
        assert_eq!(namespaces.map(|n| n.origin.line), [11, 8]);
    }

    proptest! {
        /// A decoder with a cache returns the same result as a decoder without a cache.
        #[test]
        fn the_cache_changes_no_result(files in vec(vec(0..DOCUMENTS.len(), 0..6), 1..4)) {
            let mut memory = DocumentCache::default();
            for documents in files {
                let text = file(&documents);

                let (decoded, next) = read(memory, &text);

                prop_assert_eq!(&decoded, &decode("a.yaml", &text));
                let mut decoder = Decoder::with_memory(false, next);
                prop_assert!(decoder.unchanged("a.yaml") && !decoder.unchanged("b.yaml"));
                let (again, next) = decoder.finish_with_memory();
                prop_assert_eq!(again, decoded);
                memory = next;
            }
        }
    }
}
