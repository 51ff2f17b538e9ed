//! Statuses of objects, as plain values.
//!
//! `resolve` fills typed statuses ([`GatewayStatus`], [`RouteStatus`], [`PolicyStatus`]) and returns the
//! `status` field of each object as a JSON value. Every condition has `observedGeneration`.
//! `lastTransitionTime` is omitted: objects carry no history, so the writer of a status sets it.
//!
//! ```
//! use towergate_k8s::{ResolveOptions, decode::decode, resolve};
//!
//! let decoded = decode(
//!     "gateway.yaml",
//!     "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: edge}\n\
//!      spec: {gatewayClassName: eg, listeners: [{name: http, port: 80, protocol: HTTP}]}\n",
//! );
//! let statuses = resolve(&decoded.objects, &ResolveOptions::default()).statuses;
//!
//! let gateway = statuses.objects().next().expect("the Gateway has a status");
//! assert_eq!(gateway["metadata"]["name"], "edge");
//! assert_eq!(gateway["status"]["conditions"][0]["status"], "True");
//! ```

mod condition;
mod gateway;
mod listener_set;
mod policy;
mod reason;
mod route;

pub use condition::{Condition, ConditionType, Conditions};
pub use gateway::{GatewayClassStatus, GatewayStatus, ListenerStatus};
pub use listener_set::ListenerSetStatus;
pub use policy::{Ancestor, PolicyStatus};
pub use reason::{
    BackendReason, GatewayClassReason, GatewayReason, ListenerReason, ListenerSetReason,
    PolicyReason, Reason, RouteReason,
};
pub use route::{Parent, RouteStatus};

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::objects::ObjectKey;

/// Statuses by object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Statuses(pub BTreeMap<StatusKey, Value>);

/// The object of a status.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct StatusKey {
    /// `apiVersion` of the object.
    pub api_version: &'static str,
    /// Kind of the object.
    pub kind: &'static str,
    /// Name of the object.
    pub object: ObjectKey,
}

impl StatusKey {
    /// The key of an object of a kind that has a status.
    pub fn new(kind: &'static str, object: ObjectKey) -> Self {
        let api_version = match kind {
            "Backend"
            | "ClientTrafficPolicy"
            | "BackendTrafficPolicy"
            | "SecurityPolicy"
            | "EnvoyExtensionPolicy"
            | "EnvoyPatchPolicy" => "gateway.envoyproxy.io/v1alpha1",
            "Ingress" => "networking.k8s.io/v1",
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
    /// Every status as an object, as `kubectl get -o yaml` shows it.
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
