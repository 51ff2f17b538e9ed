//! Settings of a process that serves all Gateways of a folder of manifests. They come from one EnvoyProxy.

use towergate_policy::envoy_proxy::ProcessSettings;

use super::super::options::ResolveOptions;
use super::parameters::gateway_parameters;
use crate::api::gateway::GatewaySpec;
use crate::objects::{Object, ObjectKey, Objects};

/// The first Gateway by name that belongs to this controller and has an EnvoyProxy, and the process settings
/// in that EnvoyProxy. `None`: no Gateway has an EnvoyProxy.
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

/// The process settings of a Gateway that are not in force, because another Gateway sets them.
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
