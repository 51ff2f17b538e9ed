//! ReferenceGrant: lets objects of one namespace refer to objects of another.

objects! {
    /// `spec` of a ReferenceGrant. It is for targets in its own namespace.
    pub struct ReferenceGrantSpec {
        /// Who may refer; any of these.
        pub from: Vec<ReferenceGrantFrom>,
        /// What may be referred to; any of these.
        pub to: Vec<ReferenceGrantTo>,
    }

    /// Who may refer.
    pub struct ReferenceGrantFrom {
        /// Empty: the core group.
        pub group: String,
        /// The kind.
        pub kind: String,
        /// The namespace.
        pub namespace: String,
    }

    /// What may be referred to.
    pub struct ReferenceGrantTo {
        /// Empty: the core group.
        pub group: String,
        /// The kind.
        pub kind: String,
        /// Missing or empty: every object of the kind.
        pub name: Option<String>,
    }
}
