//! Statuses of GatewayClasses and Gateways.

use std::net::IpAddr;

use serde_json::{Value, json};
use towergate_core::plan::RouteKind;

use super::{Conditions, GatewayClassReason, GatewayReason, ListenerReason};
use crate::api::GATEWAY_GROUP;

/// Status of a GatewayClass.
#[derive(Clone, Debug, Default)]
pub struct GatewayClassStatus {
    /// Conditions.
    pub conditions: Conditions<GatewayClassReason>,
    /// Supported features of Gateway API, in alphabetical order, at most 64.
    pub supported_features: &'static [&'static str],
}

impl GatewayClassStatus {
    /// The `status` field.
    pub fn to_value(&self, generation: i64) -> Value {
        let features = self.supported_features.iter();
        json!({
            "conditions": self.conditions.to_value(generation),
            "supportedFeatures": features.map(|name| json!({ "name": name })).collect::<Vec<_>>(),
        })
    }
}

/// Status of a Gateway.
#[derive(Clone, Debug, Default)]
pub struct GatewayStatus {
    /// Conditions.
    pub conditions: Conditions<GatewayReason>,
    /// IP addresses or hostnames.
    pub addresses: Vec<String>,
    /// Statuses of the listeners, in order.
    pub listeners: Vec<ListenerStatus>,
    /// Number of attached ListenerSets.
    pub attached_listener_sets: usize,
}

/// Status of a listener.
#[derive(Clone, Debug, Default)]
pub struct ListenerStatus {
    /// Name of the listener.
    pub name: String,
    /// Kinds of routes that may attach.
    pub supported_kinds: Vec<RouteKind>,
    /// Number of attached routes.
    pub attached_routes: usize,
    /// Conditions.
    pub conditions: Conditions<ListenerReason>,
}

impl GatewayStatus {
    /// The `status` field.
    pub fn to_value(&self, generation: i64) -> Value {
        let addresses = self.addresses.iter();
        let listeners = self.listeners.iter();
        let mut value = json!({
            "addresses": addresses
                .map(|address| json!({ "type": address_type(address), "value": address }))
                .collect::<Vec<_>>(),
            "conditions": self.conditions.to_value(generation),
            "listeners": listeners
                .map(|listener| listener.to_value(generation))
                .collect::<Vec<_>>(),
        });
        if self.attached_listener_sets > 0 {
            value["attachedListenerSets"] = self.attached_listener_sets.into();
        }
        value
    }
}

/// The `type` of an address.
fn address_type(address: &str) -> &'static str {
    match address.parse::<IpAddr>() {
        Ok(_) => "IPAddress",
        Err(_) => "Hostname",
    }
}

impl ListenerStatus {
    pub(super) fn to_value(&self, generation: i64) -> Value {
        let kinds = self.supported_kinds.iter();
        json!({
            "name": self.name,
            "supportedKinds": kinds
                .map(|kind| json!({ "group": GATEWAY_GROUP, "kind": kind.name() }))
                .collect::<Vec<_>>(),
            "attachedRoutes": self.attached_routes,
            "conditions": self.conditions.to_value(generation),
        })
    }
}
