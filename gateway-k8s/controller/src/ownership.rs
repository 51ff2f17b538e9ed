//! The Gateways of this controller and the addresses they request.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::Value;
use towergate_k8s::api::gateway::GatewaySpec;
use towergate_k8s::resolve::CreationTime;
use towergate_k8s::{Object, ObjectKey};

use crate::address_pool::Claim;
use crate::object_cache::ObjectCache;

/// The Gateways of the GatewayClasses of this controller, oldest first.
pub(crate) fn gateways<'a>(
    world: &'a ObjectCache,
    controller: &str,
) -> Vec<&'a Object<GatewaySpec>> {
    let objects = world.objects();
    let is_ours = |gateway: &&Object<GatewaySpec>| {
        let class = ObjectKey::new("", &*gateway.spec.gateway_class_name);
        let class = objects.gateway_classes.get(&class);
        class.is_some_and(|class| class.spec.controller_name == controller)
    };
    let mut ours: Vec<_> = objects.gateways.values().filter(is_ours).collect();
    // The sort is stable: Gateways with the same creation time stay sorted by name.
    ours.sort_by_cached_key(|gateway| CreationTime::of(&gateway.meta));
    ours
}

/// Gateways whose GatewayClass does not exist, as `namespace/name`. The objects of these Gateways are kept,
/// because the Gateways may belong to any controller.
pub(crate) fn classless(world: &ObjectCache) -> BTreeSet<String> {
    let objects = world.objects();
    let is_classless = |gateway: &&Object<GatewaySpec>| {
        let class = ObjectKey::new("", &*gateway.spec.gateway_class_name);
        !objects.gateway_classes.contains_key(&class)
    };
    let classless = objects.gateways.values().filter(is_classless);
    classless.map(|gateway| gateway.key().to_string()).collect()
}

/// The requested and the reported addresses of each Gateway of this controller.
pub(crate) fn claims(world: &ObjectCache, controller: &str) -> Vec<Claim> {
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
fn status(world: &ObjectCache, gateway: &ObjectKey) -> Value {
    let status = world.observed("Gateway", gateway);
    let status = status.and_then(|observed| observed.status.as_deref());
    status
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default()
}

/// Whether the status has a true `Programmed` condition for the current generation of the Gateway.
fn programmed(world: &ObjectCache, gateway: &ObjectKey, status: &Value) -> bool {
    let generation = world.observed("Gateway", gateway).map(|it| it.generation);
    let mut conditions = status["conditions"].as_array().into_iter().flatten();
    conditions.any(|one| {
        one["type"] == "Programmed"
            && one["status"] == "True"
            && one["observedGeneration"].as_i64() == generation
    })
}

/// The IP addresses in a status.
fn reported(status: &Value) -> Vec<IpAddr> {
    let addresses = status["addresses"].as_array().into_iter().flatten();
    let values = addresses.filter_map(|address| address["value"].as_str());
    values.filter_map(|value| value.parse().ok()).collect()
}
