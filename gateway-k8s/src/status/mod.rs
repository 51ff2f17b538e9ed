//! What users are told about their objects: values only.

use std::collections::BTreeMap;

use crate::objects::ObjectKey;

/// Statuses by object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Statuses(pub BTreeMap<StatusKey, serde_json::Value>);

/// Which object a status is for.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct StatusKey {
    /// The kind.
    pub kind: &'static str,
    /// The object.
    pub object: ObjectKey,
}
