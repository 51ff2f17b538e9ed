//! Metadata of objects.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The fields of `metadata` that are read.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectMeta {
    /// Name, unique in its namespace and kind.
    pub name: String,
    /// Namespace; empty for kinds of the cluster.
    pub namespace: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// Version of `spec`.
    pub generation: i64,
    /// RFC 3339; empty in manifests.
    pub creation_timestamp: Option<String>,
    /// Set by the API server.
    pub uid: Option<String>,
    /// Set by the API server.
    pub resource_version: Option<String>,
    /// The object is being deleted.
    pub deletion_timestamp: Option<String>,
}
