//! One process for all Gateways: a folder of manifests. Its settings are those of one EnvoyProxy.

use towergate_policy::envoy_proxy::ProcessSettings;

use super::super::options::ResolveOptions;
use super::parameters::gateway_parameters;
use crate::api::gateway::GatewaySpec;
use crate::objects::{Object, ObjectKey, Objects};

/// The first Gateway of this controller by name that has an EnvoyProxy, and the settings of the
/// process in it. `None`: no Gateway has one.
pub fn process_parameters(
    objects: &Objects,
    options: &ResolveOptions,
) -> Option<(ObjectKey, ProcessSettings)> {
    if objects.envoy_proxies.is_empty() {
        return None;
    }
    let ours = objects.gateways.values().filter(|gateway| {
        let class = ObjectKey::new("", &*gateway.spec.gateway_class_name);
        let class = objects.gateway_classes.get(&class);
        class.is_none_or(|class| class.spec.controller_name == options.controller_name)
    });
    let mut found = ours.filter_map(|gateway| {
        let spec = gateway_parameters(objects, gateway).ok().flatten()?;
        Some((gateway.key(), ProcessSettings::of(&spec)))
    });
    found.next()
}

/// The settings of a Gateway that its process does not have, because another Gateway sets them.
pub(super) fn overridden(
    objects: &Objects,
    options: &ResolveOptions,
    gateway: &Object<GatewaySpec>,
) -> Option<String> {
    let (first, settings) = process_parameters(objects, options)?;
    let own = gateway_parameters(objects, gateway).ok()?;
    let own = own.map_or_else(ProcessSettings::default, |spec| ProcessSettings::of(&spec));
    let fields = own.differing(&settings);
    (!fields.is_empty()).then(|| {
        format!(
            "one process serves all Gateways: {} are those of Gateway {first}",
            fields.join(", ")
        )
    })
}
