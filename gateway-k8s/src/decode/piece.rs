//! What one document gives, whatever others say. It is remembered, and used again as long as the
//! document's text is the same: of a large file with one change, one document is decoded.

use std::collections::HashMap;
use std::sync::Arc;

use towergate_policy::backend_traffic::BackendTrafficPolicySpec;
use towergate_policy::client_traffic::ClientTrafficPolicySpec;
use towergate_policy::security::SecurityPolicySpec;

use super::Diagnostic;
use super::split::Document;
use super::tree::Place;
use crate::api::core::{ConfigMap, EndpointSlice, Namespace, Secret, ServiceSpec};
use crate::api::gateway::{GatewayClassSpec, GatewaySpec};
use crate::api::grpc_route::GrpcRouteSpec;
use crate::api::http_route::HttpRouteSpec;
use crate::api::listener_set::ListenerSetSpec;
use crate::api::policy::BackendTlsPolicySpec;
use crate::api::reference_grant::ReferenceGrantSpec;
use crate::api::stream_route::{PortRouteSpec, TlsRouteSpec};
use crate::finding::FindingCode;
use crate::objects::{Object, ObjectKey, Objects, Origin, Store};

/// What a document gives.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    document: Origin,
    /// In the order of the document.
    pub(super) items: Box<[Item]>,
}

/// Something that a document gives.
#[derive(Clone, Debug)]
pub(super) enum Item {
    /// An object, with the place where it begins.
    Object(Found, Place),
    /// Something is wrong or suspicious.
    Diagnostic(Box<Diagnostic>),
    /// An object of this kind is not for us; the note is for the first of them.
    PassedOver(String, Box<Diagnostic>),
    /// A Secret that something which is not for us would make, and what this is.
    Issued(ObjectKey, ObjectKey),
}

macro_rules! found {
    ($($kind:ident: $spec:ty, $field:ident, $name:literal;)*) => {
        /// An object of any kind.
        #[derive(Clone, Debug)]
        pub(super) enum Found {
            $($kind(Arc<Object<$spec>>),)*
        }

        /// Takes the object of a kind and name away, if there is one.
        pub(super) fn take_from(all: &mut Objects, kind: &str, key: &ObjectKey) -> bool {
            match kind {
                $($name => all.$field.remove(key).is_some(),)*
                _ => false,
            }
        }

        impl Found {
            /// Puts the object to those of its kind.
            ///
            /// # Errors
            /// If one of its name is there already.
            pub(super) fn add_to(&self, all: &mut Objects, place: Place) -> Result<(), Box<Diagnostic>> {
                match self {
                    $(Self::$kind(object) => add(&mut all.$field, object, $name, place),)*
                }
            }

            /// Puts the object in the place of the one of its name. One that is equal stays. Whether it
            /// is new or another.
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
    Service: ServiceSpec, services, "Service";
    EndpointSlice: EndpointSlice, endpoint_slices, "EndpointSlice";
    Secret: Secret, secrets, "Secret";
    ConfigMap: ConfigMap, config_maps, "ConfigMap";
    Namespace: Namespace, namespaces, "Namespace";
}

fn add<S>(
    store: &mut Store<S>,
    object: &Arc<Object<S>>,
    kind: &str,
    place: Place,
) -> Result<(), Box<Diagnostic>> {
    let key = object.key();
    let Some(first) = store.get(&key) else {
        store.insert(key, object.clone());
        return Ok(());
    };
    let message = format!(
        "{kind} {key} is there already, in {}:{}; the first one counts",
        first.origin.file, first.origin.line
    );
    let help = "Remove one of the two, or give it another name.";
    let mut diagnostic = Diagnostic::error(FindingCode::DuplicateObject, message, help)
        .placed(&object.origin, place);
    kind.clone_into(&mut diagnostic.kind);
    diagnostic.object = Some(key);
    Err(Box::new(diagnostic))
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

impl Piece {
    pub(super) fn new(document: Origin, items: Vec<Item>) -> Self {
        let items = items.into();
        Self { document, items }
    }

    /// The same document, beginning on another line of its file.
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

/// What files gave the last time that they were decoded.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    before: HashMap<Arc<str>, Pieces>,
    now: HashMap<Arc<str>, Pieces>,
}

/// What the documents of a file gave, in their order.
type Pieces = Arc<[Arc<Piece>]>;

impl Memory {
    /// What `file` gave the last time, and now gives again; `None`: it was not decoded then.
    pub(super) fn again(&mut self, file: &str) -> Option<Pieces> {
        let (name, pieces) = self.before.get_key_value(file)?;
        self.now.insert(name.clone(), pieces.clone());
        Some(pieces.clone())
    }

    /// What the `documents` of `file` give; `read` says it of one that is not known.
    pub(super) fn recall(
        &mut self,
        file: &Arc<str>,
        documents: &[Document<'_>],
        read: impl Fn(&Document<'_>) -> Piece,
    ) -> Pieces {
        let before = self.before.get(file).map_or(&[][..], |pieces| pieces);
        let mut known: HashMap<&str, Vec<&Arc<Piece>>> = HashMap::new();
        for piece in before {
            known.entry(&piece.document.text).or_default().push(piece);
        }
        let pieces = documents.iter().map(|document| {
            let same = known.get(document.text).map_or(&[][..], Vec::as_slice);
            let here = |piece: &&&Arc<Piece>| piece.document.line == document.line;
            match (same.iter().find(here), same.first()) {
                (Some(piece), _) => Arc::clone(piece),
                (None, Some(piece)) => Arc::new(piece.moved(document.line)),
                (None, None) => Arc::new(read(document)),
            }
        });
        let pieces: Pieces = pieces.collect();
        self.now.insert(file.clone(), pieces.clone());
        pieces
    }

    /// Only what was decoded this time is remembered.
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

    /// Documents that are right, wrong, equal, of the same object, and not for us.
    const DOCUMENTS: [&str; 7] = [
        "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 80}]}\n",
        "apiVersion: v1\nkind: Service\nmetadata: {name: a}\n\nspec: {ports: [{port: 81}]}\n",
        "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Namespace, metadata: {name: n}}\n",
        "apiVersion: v1\nkind: Service\nmetadata: {name: b}\nspec: {ports: [{port: x}]}\n",
        "kind: [\n",
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\n",
        "# nothing\n",
    ];

    fn read(memory: Memory, text: &str) -> (Decoded, Memory) {
        let mut decoder = Decoder::with_memory(false, memory);
        decoder.file("a.yaml", text);
        decoder.finish_with_memory()
    }

    fn file(documents: &[usize]) -> String {
        let documents = documents.iter().map(|at| DOCUMENTS[*at]);
        documents.collect::<Vec<_>>().join("---\n")
    }

    #[test]
    fn a_document_that_stays_gives_the_same_object() {
        let (before, memory) = read(Memory::default(), &file(&[0, 3, 2]));
        let (after, _) = read(memory, &file(&[0, 4, 2]));

        let (a, n) = (ObjectKey::new("default", "a"), ObjectKey::new("", "n"));
        let services = [&before, &after].map(|decoded| &decoded.objects.services[&a]);
        assert!(std::ptr::eq(services[0], services[1]));
        // It begins on another line now.
        let namespaces = [&before, &after].map(|decoded| &decoded.objects.namespaces[&n]);
        assert_eq!(namespaces.map(|n| n.origin.line), [11, 8]);
    }

    proptest! {
        /// Whoever remembers says what somebody would say who reads for the first time, also if it is
        /// not told the text again.
        #[test]
        fn memory_changes_nothing(files in vec(vec(0..DOCUMENTS.len(), 0..6), 1..4)) {
            let mut memory = Memory::default();
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
