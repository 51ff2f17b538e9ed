//! Renders all objects of a Gateway. Pure functions.

use super::desired::GatewayToRun;
use super::metadata::Manifest;
use super::options::PlaneOptions;
use super::{credentials, deployment, name, service, shared};
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

/// Renders the objects of a Gateway with its own data planes, in the order of creation.
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
