//! How objects name each other.

objects! {
    /// Where a route wants to attach (`ParentReference`).
    pub struct ParentReference {
        /// Missing: Gateway API's group.
        pub group: Option<String>,
        /// Missing: `Gateway`.
        pub kind: Option<String>,
        /// Missing: the route's namespace.
        pub namespace: Option<String>,
        /// Its name.
        pub name: String,
        /// One listener; missing: all.
        pub section_name: Option<String>,
        /// Listeners of this port; missing: all.
        pub port: Option<i32>,
    }

    /// A backend (`BackendObjectReference`).
    pub struct BackendObjectReference {
        /// Missing: the core group.
        pub group: Option<String>,
        /// Missing: `Service`.
        pub kind: Option<String>,
        /// Its name.
        pub name: String,
        /// Missing: the route's namespace.
        pub namespace: Option<String>,
        /// The port of the Service, not of its pods.
        pub port: Option<i32>,
    }

    /// A Secret, or another kind with certificates (`SecretObjectReference`).
    pub struct SecretObjectReference {
        /// Missing: the core group.
        pub group: Option<String>,
        /// Missing: `Secret`.
        pub kind: Option<String>,
        /// Its name.
        pub name: String,
        /// Missing: the namespace of the object that refers.
        pub namespace: Option<String>,
    }

    /// An object of any namespace (`ObjectReference`, `ParametersReference`).
    pub struct ObjectReference {
        /// Empty: the core group.
        pub group: String,
        /// Its kind.
        pub kind: String,
        /// Its name.
        pub name: String,
        /// Missing: the namespace of the object that refers.
        pub namespace: Option<String>,
    }

    /// An object of the same namespace (`LocalObjectReference`, `LocalParametersReference`).
    pub struct LocalObjectReference {
        /// Empty: the core group.
        pub group: String,
        /// Its kind.
        pub kind: String,
        /// Its name.
        pub name: String,
    }

    /// The object that a policy is for (`LocalPolicyTargetReferenceWithSectionName`).
    pub struct PolicyTarget {
        /// Its group.
        pub group: String,
        /// Its kind.
        pub kind: String,
        /// Its name.
        pub name: String,
        /// A part of it: listener, rule or port.
        pub section_name: Option<String>,
    }
}
