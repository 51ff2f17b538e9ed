//! Decoding of a document of a known kind into a typed object.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use towergate_policy::SchemaViolation;

use super::document_cache::{DecodedObject, Item};
use super::kind::KindId;
use super::tree::{Node, Place, Value};
use super::typed::UnknownField;
use super::{Head, Reader, misfit, readable, unknown};
use crate::objects::Object;
use crate::validate;

/// Decodes `body`, the content of the object `node`, and adds the object. If the object cannot be
/// decoded, only diagnostics are added.
pub(super) fn insert(reader: &mut Reader, head: Head<'_>, node: &Node, body: &Node) {
    macro_rules! read {
        ($kind:ident) => {
            object(reader, head, node, body)
                .map(|(object, place)| (DecodedObject::$kind(object), place))
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
        KindId::ExtensionPolicy => read!(ExtensionPolicy),
        KindId::PatchPolicy => read!(PatchPolicy),
        KindId::Backend => read!(Backend),
        KindId::RouteFilter => read!(RouteFilter),
        KindId::EnvoyProxy => read!(EnvoyProxy),
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
    node: &Node,
    body: &Node,
) -> Option<Read<S>> {
    let path = if head.kind.spec { "spec" } else { "" };
    let readable = readable::read::<S>(body, path);
    let mut unreadable_fields: Vec<SchemaViolation> = head.faults.clone();
    let closing = readable.unknown.iter();
    let closing = closing.filter(|field| unknown::closed(head.kind.id, &field.path).is_some());
    unreadable_fields.extend(closing.map(unknown_field));
    if head.kind.strict_fields() {
        reader.unknown_fields(&head, readable.unknown.into_iter());
    }
    let partly = head.kind.may_be_read_partly() || readable.errors.is_empty();
    for error in readable.errors {
        unreadable_fields.push(SchemaViolation {
            field: error.path.clone(),
            message: error.message.clone(),
        });
        reader.refuse(misfit(&head.kind, Some(head.key()), &head.origin, error));
    }
    let mut spec = readable.spec.filter(|_| partly);
    // A document that is not valid YAML has no content that can be validated.
    let has_content = !matches!(&node.value, Value::Map(fields) if fields.is_empty());
    if has_content && reader.admission.leaves_validation_of(&head.kind) {
        let violations = validate::violations(head.kind.name, head.api_version, node);
        for violation in violations {
            // A type error for this field has already been reported, in more detail.
            if unreadable_fields
                .iter()
                .any(|known| known.field == violation.field)
            {
                continue;
            }
            reader.violation(&head, &violation);
            unreadable_fields.push(violation);
        }
        if !unreadable_fields.is_empty() && !head.kind.may_be_read_partly() {
            spec = None;
        }
    }
    if spec.is_none() && head.kind.is_policy() {
        // Without an object, the policy's targets would be unprotected.
        spec = readable::read::<S>(&Node::empty_map(node.place), path).spec;
    }
    let object = Object {
        api_version: head.api_version.to_owned(),
        meta: head.meta,
        spec: spec?,
        unreadable_fields,
        origin: head.origin,
    };
    Some((Arc::new(object), head.place))
}

/// Converts an unknown field into the violation that the status of its object reports.
fn unknown_field(field: &UnknownField) -> SchemaViolation {
    let meant = field.nearest.as_ref();
    let meant = meant.map(|meant| format!(" (did you mean {meant}?)"));
    SchemaViolation {
        field: field.path.clone(),
        message: format!("the field is not known{}", meant.unwrap_or_default()),
    }
}
