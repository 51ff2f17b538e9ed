//! ReferenceGrant: permits references from one namespace to another.

objects! {
    /// `spec` of a ReferenceGrant, which covers targets in its own namespace.
    pub struct ReferenceGrantSpec {
        /// Objects that may refer. One entry must match.
        pub from: Vec<ReferenceGrantFrom>,
        /// Objects that may be referred to. One entry must match.
        pub to: Vec<ReferenceGrantTo>,
    }

    /// Objects that may refer.
    pub struct ReferenceGrantFrom {
        /// API group; empty: the core group.
        pub group: String,
        /// The kind.
        pub kind: String,
        /// The namespace.
        pub namespace: String,
    }

    /// Objects that may be referred to.
    pub struct ReferenceGrantTo {
        /// API group; empty: the core group.
        pub group: String,
        /// The kind.
        pub kind: String,
        /// Name; absent or empty: every object of the kind.
        pub name: Option<String>,
    }
}
