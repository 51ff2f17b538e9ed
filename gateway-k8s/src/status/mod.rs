//! What users are told about their objects: values only.
//!
//! `resolve` fills small typed statuses ([`GatewayStatus`], [`RouteStatus`], [`PolicyStatus`]); what leaves
//! it is the `status` stanza of each object as a value, without `lastTransitionTime`, which only whoever
//! writes it can know. Every condition carries `observedGeneration`.
//!
//! ```
//! use towergate_k8s::{Scope, decode::decode, resolve};
//!
//! let decoded = decode(
//!     "gateway.yaml",
//!     "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: edge}\n\
//!      spec: {gatewayClassName: eg, listeners: [{name: http, port: 80, protocol: HTTP}]}\n",
//! );
//! let statuses = resolve(&decoded.objects, &Scope::default()).statuses;
//!
//! let gateway = statuses.objects().next().expect("the Gateway has a status");
//! assert_eq!(gateway["metadata"]["name"], "edge");
//! assert_eq!(gateway["status"]["conditions"][0]["status"], "True");
//! ```

mod condition;
mod gateway;
mod listener_set;
mod policy;
mod route;

pub use condition::{Condition, Conditions};
pub use gateway::{GatewayClassStatus, GatewayStatus, ListenerStatus, RouteKindRef};
pub use listener_set::ListenerSetStatus;
pub use policy::{Ancestor, PolicyStatus};
pub use route::{Parent, RouteStatus};

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::objects::ObjectKey;

/// Statuses by object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Statuses(pub BTreeMap<StatusKey, Value>);

/// Which object a status is for.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct StatusKey {
    /// Its `apiVersion`.
    pub api_version: &'static str,
    /// The kind.
    pub kind: &'static str,
    /// The object.
    pub object: ObjectKey,
}

impl StatusKey {
    /// The key of an object of a kind that has statuses.
    pub fn new(kind: &'static str, object: ObjectKey) -> Self {
        let api_version = match kind {
            "ClientTrafficPolicy" | "BackendTrafficPolicy" | "SecurityPolicy" => {
                "gateway.envoyproxy.io/v1alpha1"
            }
            _ => "gateway.networking.k8s.io/v1",
        };
        Self {
            api_version,
            kind,
            object,
        }
    }
}

impl Statuses {
    /// Every status as an object of its own, as `kubectl get -o yaml` would show it.
    pub fn objects(&self) -> impl Iterator<Item = Value> {
        self.0.iter().map(|(key, status)| {
            let mut metadata = json!({ "name": key.object.name });
            if !key.object.namespace.is_empty() {
                metadata["namespace"] = key.object.namespace.clone().into();
            }
            json!({
                "apiVersion": key.api_version,
                "kind": key.kind,
                "metadata": metadata,
                "status": status,
            })
        })
    }
}
