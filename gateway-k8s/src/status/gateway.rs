//! The status of GatewayClasses and Gateways.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::Conditions;

/// The status of a GatewayClass.
#[derive(Clone, Debug, Default)]
pub struct GatewayClassStatus {
    /// What is true of it.
    pub conditions: Conditions,
    /// Features of Gateway API that are served, in order of name, at most 64.
    pub supported_features: &'static [&'static str],
}

impl GatewayClassStatus {
    /// The stanza.
    pub fn to_value(&self, generation: i64) -> Value {
        let features = self.supported_features.iter();
        json!({
            "conditions": self.conditions.to_value(generation),
            "supportedFeatures": features.map(|name| json!({ "name": name })).collect::<Vec<_>>(),
        })
    }
}

/// The status of a Gateway.
#[derive(Clone, Debug, Default)]
pub struct GatewayStatus {
    /// What is true of it.
    pub conditions: Conditions,
    /// Where it can be reached: IP addresses or host names.
    pub addresses: Vec<String>,
    /// Its listeners, in its order.
    pub listeners: Vec<ListenerStatus>,
    /// How many ListenerSets add listeners to it.
    pub attached_listener_sets: usize,
}

/// The status of a listener.
#[derive(Clone, Debug, Default)]
pub struct ListenerStatus {
    /// Its name.
    pub name: String,
    /// Kinds of routes that may attach.
    pub supported_kinds: Vec<RouteKindRef>,
    /// How many routes are attached.
    pub attached_routes: usize,
    /// What is true of it.
    pub conditions: Conditions,
}

/// A kind of route.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RouteKindRef {
    /// Its group.
    pub group: String,
    /// Its name.
    pub kind: String,
}

impl GatewayStatus {
    /// The stanza.
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

/// The API's word for what an address is.
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
                .map(|kind| json!({ "group": kind.group, "kind": kind.kind }))
                .collect::<Vec<_>>(),
            "attachedRoutes": self.attached_routes,
            "conditions": self.conditions.to_value(generation),
        })
    }
}
