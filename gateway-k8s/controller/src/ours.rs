//! Which Gateways are ours, and what they ask for.

use std::collections::BTreeSet;
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

/// Gateways whose class is missing, by `namespace/name`. What there is of them stays, whosever they are.
pub(crate) fn classless(world: &World) -> BTreeSet<String> {
    let objects = world.objects();
    let is_classless = |gateway: &&Object<GatewaySpec>| {
        let class = ObjectKey::new("", &*gateway.spec.gateway_class_name);
        !objects.gateway_classes.contains_key(&class)
    };
    let classless = objects.gateways.values().filter(is_classless);
    classless.map(|gateway| gateway.key().to_string()).collect()
}

/// The addresses that our Gateways ask for and have.
pub(crate) fn claims(world: &World, controller: &str) -> Vec<Claim> {
    let ours = gateways(world, controller).into_iter();
    ours.map(|gateway| {
        let wanted = gateway.spec.addresses.iter();
        let wanted = wanted.filter_map(|address| address.value.as_deref());
        let wanted = wanted.filter(|value| !value.is_empty());
        let key = gateway.key();
        let status = status(world, &key);
        Claim {
            wanted: wanted.map(|value| value.parse().ok()).collect(),
            reported: reported(&status),
            programmed: programmed(world, &key, &status),
            uid: gateway.meta.uid.clone().unwrap_or_default(),
            gateway: key.to_string(),
            class: gateway.spec.gateway_class_name.clone(),
            key,
        }
    })
    .collect()
}

/// The status of a Gateway.
fn status(world: &World, gateway: &ObjectKey) -> Value {
    let status = world.observed("Gateway", gateway);
    let status = status.and_then(|observed| observed.status.as_deref());
    status
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default()
}

/// Whether a status says that the present spec of its Gateway is programmed.
fn programmed(world: &World, gateway: &ObjectKey, status: &Value) -> bool {
    let generation = world.observed("Gateway", gateway).map(|it| it.generation);
    let mut conditions = status["conditions"].as_array().into_iter().flatten();
    conditions.any(|one| {
        one["type"] == "Programmed"
            && one["status"] == "True"
            && one["observedGeneration"].as_i64() == generation
    })
}

/// The addresses in a status.
fn reported(status: &Value) -> Vec<IpAddr> {
    let addresses = status["addresses"].as_array().into_iter().flatten();
    let values = addresses.filter_map(|address| address["value"].as_str());
    values.filter_map(|value| value.parse().ok()).collect()
}
