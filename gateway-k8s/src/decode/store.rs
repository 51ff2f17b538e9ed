//! Puts a document into the store of its kind.

use serde::de::DeserializeOwned;
use towergate_policy::Invalid;

use super::kind::KindId;
use super::tree::{Node, Value};
use super::typed::UnknownField;
use super::{Decoder, Diagnostic, Head, misfit, typed, unknown};
use crate::objects::{Object, Store};

/// Reads `body` as its kind and keeps it, or says why not.
pub(super) fn insert(decoder: &mut Decoder, head: Head<'_>, body: &Node) {
    macro_rules! read {
        ($field:ident) => {{
            let mut store = std::mem::take(&mut decoder.decoded.objects.$field);
            insert_into(decoder, &mut store, head, body);
            decoder.decoded.objects.$field = store;
        }};
    }
    match head.kind.id {
        KindId::GatewayClass => read!(gateway_classes),
        KindId::Gateway => read!(gateways),
        KindId::ListenerSet => read!(listener_sets),
        KindId::HttpRoute => read!(http_routes),
        KindId::GrpcRoute => read!(grpc_routes),
        KindId::ReferenceGrant => read!(reference_grants),
        KindId::BackendTlsPolicy => read!(backend_tls_policies),
        KindId::ClientTrafficPolicy => read!(client_traffic_policies),
        KindId::BackendTrafficPolicy => read!(backend_traffic_policies),
        KindId::SecurityPolicy => read!(security_policies),
        KindId::Service => read!(services),
        KindId::EndpointSlice => read!(endpoint_slices),
        KindId::Secret => read!(secrets),
        KindId::ConfigMap => read!(config_maps),
        KindId::Namespace => read!(namespaces),
    }
}

fn insert_into<S: DeserializeOwned>(
    decoder: &mut Decoder,
    store: &mut Store<S>,
    head: Head<'_>,
    body: &Node,
) {
    let path = if head.kind.spec { "spec" } else { "" };
    let (spec, unknown) = typed::read::<S>(body, path);
    let closing = unknown
        .iter()
        .filter(|field| unknown::closed(head.kind.id, &field.path).is_some());
    let not_known: Vec<Invalid> = closing.map(misread).collect();
    if head.kind.strict_fields() {
        decoder.unknown_fields(&head, unknown.into_iter());
    }
    let key = head.key();
    let (spec, misread) = match spec {
        Ok(spec) => (spec, not_known),
        Err(error) => {
            let fault = Invalid {
                field: error.path.clone(),
                message: error.message.clone(),
            };
            decoder.refuse(misfit(&head.kind, Some(key.clone()), &head.origin, error));
            match targets_only(&head, body) {
                Some(spec) => (spec, vec![fault]),
                None => return,
            }
        }
    };
    if let Some(first) = store.get(&key) {
        let message = format!(
            "{} {key} is there already, in {}:{}; the first one counts",
            head.kind.name, first.origin.file, first.origin.line
        );
        let help = "Remove one of the two, or give it another name.";
        let diagnostic =
            Diagnostic::error("duplicate-object", message, help).placed(&head.origin, head.place);
        let diagnostic = head.name(diagnostic);
        return decoder.refuse(diagnostic);
    }
    let object = Object {
        api_version: head.api_version.to_owned(),
        meta: head.meta,
        spec,
        misread,
        origin: head.origin,
    };
    store.insert(key, object);
}

/// A field that is not known, as what is told of its object.
fn misread(field: &UnknownField) -> Invalid {
    let meant = field.nearest.as_ref();
    let meant = meant.map(|meant| format!(" (did you mean {meant}?)"));
    Invalid {
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
