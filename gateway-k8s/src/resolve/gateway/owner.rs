//! The object that refers to a certificate.

use crate::api::GATEWAY_GROUP;
use crate::api::meta::ObjectMeta;

/// The object that contains a listener, or a Backend.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owner<'a> {
    /// API group of the object.
    pub(super) group: &'static str,
    /// `Gateway`, `ListenerSet` or `Backend`.
    pub(super) kind: &'static str,
    pub(super) namespace: &'a str,
}

impl<'a> Owner<'a> {
    pub(super) fn new(kind: &'static str, meta: &'a ObjectMeta) -> Self {
        Self {
            group: GATEWAY_GROUP,
            kind,
            namespace: &meta.namespace,
        }
    }
}
