//! ListenerSet (GEP-1713).

use super::gateway::Listener;

objects! {
    /// `spec` of a ListenerSet.
    pub struct ListenerSetSpec {
        /// Gateway to which the listeners are added.
        pub parent_ref: ParentGatewayReference,
        /// Listeners.
        pub listeners: Vec<Listener>,
    }

    /// A Gateway (`ParentGatewayReference`).
    pub struct ParentGatewayReference {
        /// API group. Default: that of Gateway API.
        pub group: Option<String>,
        /// Kind. Default: `Gateway`.
        pub kind: Option<String>,
        /// Namespace. Default: that of the ListenerSet.
        pub namespace: Option<String>,
        /// Name.
        pub name: String,
    }
}
