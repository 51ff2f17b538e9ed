//! Metadata of objects.

use std::collections::BTreeMap;

objects! {
    /// The fields of `metadata` that are read.
    pub struct ObjectMeta {
        /// Name, unique in its namespace and kind.
        pub name: String,
        /// Namespace; empty for kinds of the cluster.
        pub namespace: String,
        /// Labels.
        pub labels: BTreeMap<String, String>,
        /// Annotations.
        pub annotations: BTreeMap<String, String>,
        /// Version of `spec`, which a status names; 1 where a manifest has none.
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

    /// Picks objects by label; all parts must hold, and an empty selector takes everything.
    pub struct LabelSelector {
        /// Labels with exactly these values.
        pub match_labels: BTreeMap<String, String>,
        /// Further conditions.
        pub match_expressions: Vec<LabelSelectorRequirement>,
    }

    /// A condition on a label.
    pub struct LabelSelectorRequirement {
        /// The label.
        pub key: String,
        /// `In`, `NotIn`, `Exists` or `DoesNotExist`.
        pub operator: String,
        /// For `In` and `NotIn`.
        pub values: Vec<String>,
    }
}
