//! References between objects.

objects! {
    /// A parent of a route (`ParentReference`).
    pub struct ParentReference {
        /// API group. Default: that of Gateway API.
        pub group: Option<String>,
        /// Kind. Default: `Gateway`.
        pub kind: Option<String>,
        /// Namespace. Default: that of the route.
        pub namespace: Option<String>,
        /// Name.
        pub name: String,
        /// Name of a listener; absent: all listeners.
        pub section_name: Option<String>,
        /// Port of the listeners; absent: all ports.
        pub port: Option<i32>,
    }

    /// A backend (`BackendObjectReference`).
    pub struct BackendObjectReference {
        /// API group. Default: the core group.
        pub group: Option<String>,
        /// Kind. Default: `Service`.
        pub kind: Option<String>,
        /// Name.
        pub name: String,
        /// Namespace. Default: that of the route.
        pub namespace: Option<String>,
        /// Port of the Service, not of its pods.
        pub port: Option<i32>,
    }

    /// A Secret, or another kind with certificates (`SecretObjectReference`).
    pub struct SecretObjectReference {
        /// API group. Default: the core group.
        pub group: Option<String>,
        /// Kind. Default: `Secret`.
        pub kind: Option<String>,
        /// Name.
        pub name: String,
        /// Namespace. Default: that of the referring object.
        pub namespace: Option<String>,
    }

    /// An object of any namespace (`ObjectReference`, `ParametersReference`).
    pub struct ObjectReference {
        /// API group; empty: the core group.
        pub group: String,
        /// Kind.
        pub kind: String,
        /// Name.
        pub name: String,
        /// Namespace. Default: that of the referring object.
        pub namespace: Option<String>,
    }

    /// An object of the same namespace (`LocalObjectReference`, `LocalParametersReference`).
    pub struct LocalObjectReference {
        /// API group; empty: the core group.
        pub group: String,
        /// Kind.
        pub kind: String,
        /// Name.
        pub name: String,
    }

    /// The target of a policy (`LocalPolicyTargetReferenceWithSectionName`).
    pub struct PolicyTargetReference {
        /// API group.
        pub group: String,
        /// Kind.
        pub kind: String,
        /// Name.
        pub name: String,
        /// Name of a listener, rule or port of the target.
        pub section_name: Option<String>,
    }
}
