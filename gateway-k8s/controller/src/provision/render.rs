//! Renders all objects of a Gateway. Pure functions.

use towergate_policy::envoy_proxy::EnvoyProxySpec;

use super::desired::GatewayToRun;
use super::metadata::Manifest;
use super::options::PlaneOptions;
use super::{autoscaler, credentials, deployment, name, parameters, service, shared};
use crate::serve::Credentials;

/// The name of the credentials Secret of a Gateway.
pub(super) fn secret_name(gateway: &GatewayToRun) -> String {
    format!(
        "{}-credentials",
        name::of_objects(&gateway.key.name, &gateway.class)
    )
}

/// Renders the objects of a Gateway that the shared data plane serves.
pub(super) fn shared(gateway: &GatewayToRun) -> Vec<Manifest> {
    let name = name::of_objects(&gateway.key.name, &gateway.class);
    shared::render(gateway, &name)
}

/// Renders the objects of a Gateway with its own data planes, in the order of creation. Its
/// EnvoyProxy takes precedence over `options`, which apply to all Gateways.
pub(super) fn provisioned(
    gateway: &GatewayToRun,
    options: &PlaneOptions,
    credentials: &Credentials,
) -> Vec<Manifest> {
    let name = name::of_objects(&gateway.key.name, &gateway.class);
    let secret = secret_name(gateway);
    let proxy = gateway.proxy.as_deref();
    let options = &parameters::effective(options, proxy);
    let workload = deployment::render(gateway, &name, &secret, options);
    let hpa = proxy
        .and_then(EnvoyProxySpec::kubernetes)
        .and_then(|kubernetes| kubernetes.hpa.as_ref());
    let autoscaler = hpa.map(|hpa| autoscaler::render(gateway, &name, &workload.name, hpa));
    let objects = [
        deployment::account(gateway, &name),
        credentials::render(gateway, secret, credentials),
        service::render(gateway, &name, &options.service),
        workload,
    ];
    let objects = objects.into_iter().chain(autoscaler);
    objects
        .chain([deployment::budget(gateway, &name)])
        .collect()
}
