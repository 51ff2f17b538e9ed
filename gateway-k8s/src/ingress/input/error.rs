//! Documents that cannot be used.

use crate::ingress::verdict::SourcePlace;

/// The kind of error in a document.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum InputErrorKind {
    /// The document is not YAML.
    Document,
    /// A field of an Ingress or IngressClass has an invalid value.
    InvalidIngress,
    /// A value in the data of a ConfigMap is not a string.
    InvalidConfigMap,
    /// An earlier document defines the same Ingress.
    DuplicateIngress,
}

/// A document that cannot be used.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct InputError {
    /// The kind of error.
    pub kind: InputErrorKind,
    /// Place of the document.
    pub place: SourcePlace,
    /// The error.
    pub message: String,
}

impl InputError {
    /// An error in an Ingress or IngressClass.
    pub(super) fn of_ingress(place: SourcePlace, message: String) -> Self {
        Self {
            kind: InputErrorKind::InvalidIngress,
            place,
            message,
        }
    }
}
