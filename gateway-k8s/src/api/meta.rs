//! Metadata of objects.

use std::collections::BTreeMap;

objects! {
    /// The fields of `metadata` that the gateway uses.
    pub struct ObjectMeta {
        /// Name, unique in its namespace and kind.
        pub name: String,
        /// Namespace; empty for cluster-scoped kinds.
        pub namespace: String,
        /// Labels.
        pub labels: BTreeMap<String, String>,
        /// Annotations.
        pub annotations: BTreeMap<String, String>,
        /// Generation of `spec`, to which a status refers. Default: 1.
        pub generation: i64,
        /// Creation time (RFC 3339); empty in manifests.
        pub creation_timestamp: Option<String>,
        /// Unique identifier, set by the API server.
        pub uid: Option<String>,
        /// Version of the stored object, set by the API server.
        pub resource_version: Option<String>,
        /// Deletion time, if the object is being deleted.
        pub deletion_timestamp: Option<String>,
    }

    /// A label selector. All parts must match; an empty selector matches every object.
    pub struct LabelSelector {
        /// Labels that must be present with exactly these values.
        pub match_labels: BTreeMap<String, String>,
        /// Label expressions.
        pub match_expressions: Vec<LabelSelectorRequirement>,
    }

    /// A label expression.
    pub struct LabelSelectorRequirement {
        /// Label key.
        pub key: String,
        /// `In`, `NotIn`, `Exists` or `DoesNotExist`.
        pub operator: String,
        /// Values to compare with, for `In` and `NotIn`.
        pub values: Vec<String>,
    }
}
