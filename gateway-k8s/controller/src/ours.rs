//! Which Gateways are ours, and what they ask for.

use std::net::IpAddr;

use serde_json::Value;
use towergate_k8s::api::gateway::GatewaySpec;
use towergate_k8s::{Object, ObjectKey};

use crate::pool::Claim;
use crate::world::World;

/// The Gateways of our classes, the oldest first.
pub(crate) fn gateways<'a>(world: &'a World, controller: &str) -> Vec<&'a Object<GatewaySpec>> {
    let objects = world.objects();
    let is_ours = |gateway: &&Object<GatewaySpec>| {
        let class = ObjectKey::new("", &*gateway.spec.gateway_class_name);
        let class = objects.gateway_classes.get(&class);
        class.is_some_and(|class| class.spec.controller_name == controller)
    };
    let mut ours: Vec<_> = objects.gateways.values().filter(is_ours).collect();
    // They are in order of name: this keeps it among those of the same second.
    ours.sort_by(|a, b| a.meta.creation_timestamp.cmp(&b.meta.creation_timestamp));
    ours
}

/// The addresses that our Gateways ask for and have.
pub(crate) fn claims(world: &World, controller: &str) -> Vec<Claim> {
    let ours = gateways(world, controller).into_iter();
    ours.map(|gateway| {
        let wanted = gateway.spec.addresses.iter();
        let wanted = wanted.filter_map(|address| address.value.as_deref());
        let wanted = wanted.filter(|value| !value.is_empty());
        let key = gateway.key();
        Claim {
            wanted: wanted.map(|value| value.parse().ok()).collect(),
            reported: reported(world, &key),
            uid: gateway.meta.uid.clone().unwrap_or_default(),
            gateway: key.to_string(),
            class: gateway.spec.gateway_class_name.clone(),
            key,
        }
    })
    .collect()
}

/// The addresses in the status of a Gateway.
fn reported(world: &World, gateway: &ObjectKey) -> Vec<IpAddr> {
    let status = world.observed("Gateway", gateway);
    let status = status.and_then(|observed| observed.status.as_deref());
    let status: Value = status
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default();
    let addresses = status["addresses"].as_array().into_iter().flatten();
    let values = addresses.filter_map(|address| address["value"].as_str());
    values.filter_map(|value| value.parse().ok()).collect()
}
