//! From a document of which the kind is known to an object.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use towergate_policy::SchemaViolation;

use super::kind::KindId;
use super::piece::{Found, Item};
use super::tree::{Node, Place, Value};
use super::typed::UnknownField;
use super::{Head, Reader, misfit, typed, unknown};
use crate::objects::Object;

/// Reads `body` as its kind and notes the object, or says why there is none.
pub(super) fn insert(reader: &mut Reader, head: Head<'_>, body: &Node) {
    macro_rules! read {
        ($kind:ident) => {
            object(reader, head, body).map(|(object, place)| (Found::$kind(object), place))
        };
    }
    let found = match head.kind.id {
        KindId::GatewayClass => read!(GatewayClass),
        KindId::Gateway => read!(Gateway),
        KindId::ListenerSet => read!(ListenerSet),
        KindId::HttpRoute => read!(HttpRoute),
        KindId::GrpcRoute => read!(GrpcRoute),
        KindId::TlsRoute => read!(TlsRoute),
        KindId::TcpRoute => read!(TcpRoute),
        KindId::UdpRoute => read!(UdpRoute),
        KindId::ReferenceGrant => read!(ReferenceGrant),
        KindId::BackendTlsPolicy => read!(BackendTlsPolicy),
        KindId::ClientTrafficPolicy => read!(ClientTrafficPolicy),
        KindId::BackendTrafficPolicy => read!(BackendTrafficPolicy),
        KindId::SecurityPolicy => read!(SecurityPolicy),
        KindId::Service => read!(Service),
        KindId::EndpointSlice => read!(EndpointSlice),
        KindId::Secret => read!(Secret),
        KindId::ConfigMap => read!(ConfigMap),
        KindId::Namespace => read!(Namespace),
    };
    if let Some((found, place)) = found {
        reader.items.push(Item::Object(found, place));
    }
}

type Read<S> = (Arc<Object<S>>, Place);

fn object<S: DeserializeOwned>(
    reader: &mut Reader,
    head: Head<'_>,
    body: &Node,
) -> Option<Read<S>> {
    let path = if head.kind.spec { "spec" } else { "" };
    let (spec, unknown) = typed::read::<S>(body, path);
    let closing = unknown
        .iter()
        .filter(|field| unknown::closed(head.kind.id, &field.path).is_some());
    let not_known: Vec<SchemaViolation> = closing.map(misread).collect();
    if head.kind.strict_fields() {
        reader.unknown_fields(&head, unknown.into_iter());
    }
    let (spec, misread) = match spec {
        Ok(spec) => (spec, not_known),
        Err(error) => {
            let fault = SchemaViolation {
                field: error.path.clone(),
                message: error.message.clone(),
            };
            reader.refuse(misfit(&head.kind, Some(head.key()), &head.origin, error));
            (targets_only(&head, body)?, vec![fault])
        }
    };
    let object = Object {
        api_version: head.api_version.to_owned(),
        meta: head.meta,
        spec,
        misread,
        origin: head.origin,
    };
    Some((Arc::new(object), head.place))
}

/// A field that is not known, as what is told of its object.
fn misread(field: &UnknownField) -> SchemaViolation {
    let meant = field.nearest.as_ref();
    let meant = meant.map(|meant| format!(" (did you mean {meant}?)"));
    SchemaViolation {
        field: field.path.clone(),
        message: format!("the field is not known{}", meant.unwrap_or_default()),
    }
}

/// A policy that cannot be read, with no more than its targets: they must not be left unprotected.
fn targets_only<S: DeserializeOwned>(head: &Head<'_>, body: &Node) -> Option<S> {
    const TARGETS: [&str; 3] = ["targetRef", "targetRefs", "targetSelectors"];
    let Value::Map(fields) = &body.value else {
        return None;
    };
    if !head.kind.is_policy() {
        return None;
    }
    let targets = fields
        .iter()
        .filter(|(key, _)| TARGETS.contains(&key.text.as_str()));
    let mut node = Node::empty_map(body.place);
    node.value = Value::Map(targets.cloned().collect());
    typed::read::<S>(&node, "spec").0.ok()
}
