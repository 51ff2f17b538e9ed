//! All objects of a Gateway: pure.

use super::desired::GatewayToRun;
use super::metadata::Manifest;
use super::options::PlaneOptions;
use super::{credentials, deployment, name, service, shared};
use crate::serve::Credentials;

/// The name of a Gateway's Secret.
pub(super) fn secret_name(gateway: &GatewayToRun) -> String {
    format!(
        "{}-credentials",
        name::of_objects(&gateway.key.name, &gateway.class)
    )
}

/// The objects of a Gateway whose data plane runs elsewhere.
pub(super) fn shared(gateway: &GatewayToRun) -> Vec<Manifest> {
    let name = name::of_objects(&gateway.key.name, &gateway.class);
    shared::render(gateway, &name)
}

/// The objects of a Gateway that has data planes of its own, in the order in which they are made.
pub(super) fn provisioned(
    gateway: &GatewayToRun,
    options: &PlaneOptions,
    credentials: &Credentials,
) -> Vec<Manifest> {
    let name = name::of_objects(&gateway.key.name, &gateway.class);
    let secret = secret_name(gateway);
    vec![
        deployment::account(gateway, &name),
        credentials::render(gateway, secret.clone(), credentials),
        service::render(gateway, &name, &options.service),
        deployment::render(gateway, &name, &secret, options),
        deployment::budget(gateway, &name),
    ]
}
