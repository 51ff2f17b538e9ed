//! ListenerSet (GEP-1713).

use super::gateway::Listener;

objects! {
    /// `spec` of a ListenerSet.
    pub struct ListenerSetSpec {
        /// The Gateway that it adds listeners to.
        pub parent_ref: ParentGatewayReference,
        /// What it adds.
        pub listeners: Vec<Listener>,
    }

    /// A Gateway (`ParentGatewayReference`).
    pub struct ParentGatewayReference {
        /// Missing: Gateway API's group.
        pub group: Option<String>,
        /// Missing: `Gateway`.
        pub kind: Option<String>,
        /// Missing: the namespace of the ListenerSet.
        pub namespace: Option<String>,
        /// Its name.
        pub name: String,
    }
}
