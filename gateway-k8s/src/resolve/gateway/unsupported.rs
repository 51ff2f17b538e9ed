//! Parts of Gateways that Towergate does not serve: said in a condition, never passed over in silence.

use towergate_policy::SchemaViolation;

use super::super::report::{Report, Subject};
use super::listener::ListenerState;
use crate::api::ENVOY_GROUP;
use crate::api::gateway::GatewaySpec;
use crate::objects::Object;
use crate::status::Conditions;

/// Checks a Gateway apart from its listeners. `false`: it cannot be served at all.
pub(super) fn check_gateway(
    conditions: &mut Conditions,
    gateway: &Object<GatewaySpec>,
    report: &mut Report,
    subject: &Subject<'_>,
) -> bool {
    let parameters = parameters(conditions, gateway, report, subject);
    options(gateway, report, subject);
    let known = |kind: &str| matches!(kind, "IPAddress" | "Hostname");
    let addresses = gateway
        .spec
        .addresses
        .iter()
        .filter_map(|address| address.kind.as_deref());
    if let Some(kind) = addresses.into_iter().find(|kind| !known(kind)) {
        let message =
            format!("Addresses of type {kind:?} are not supported: IPAddress and Hostname are.");
        conditions.set("Accepted", false, "UnsupportedAddress", &*message);
        report.error(
            "unsupported",
            subject,
            "spec.addresses",
            message,
            "Use type IPAddress or Hostname.",
        );
        return false;
    }
    parameters
}

/// Whether the Gateway can be served as far as its parameters go. What an EnvoyProxy sets is about Envoy,
/// and whoever comes from Envoy Gateway has one; of parameters of any other kind nobody knows what they ask
/// for.
fn parameters(
    conditions: &mut Conditions,
    gateway: &Object<GatewaySpec>,
    report: &mut Report,
    subject: &Subject<'_>,
) -> bool {
    let infrastructure = gateway.spec.infrastructure.as_ref();
    let Some(reference) = infrastructure.and_then(|found| found.parameters_ref.as_ref()) else {
        return true;
    };
    let field = "spec.infrastructure.parametersRef";
    let (group, kind, name) = (&*reference.group, &*reference.kind, &*reference.name);
    if (group, kind) == (ENVOY_GROUP, "EnvoyProxy") {
        report.warn(
            "parameters-ignored",
            subject,
            field,
            format!(
                "Towergate takes no parameters from {kind} {name}: what they set is not in force."
            ),
            "Remove the reference, or move what it sets to the policies and to Towergate's options.",
        );
        return true;
    }
    let message = format!("{kind} {name} of group {group:?} is no object with parameters.");
    conditions.set("Accepted", false, "InvalidParameters", &*message);
    let help = "Remove the reference: until then the Gateway is not served.";
    report.error("parameters-invalid", subject, field, message, help);
    false
}

fn options(gateway: &Object<GatewaySpec>, report: &mut Report, subject: &Subject<'_>) {
    if gateway.spec.default_scope.is_some() {
        let message = "Routes without a parentRef are not taken by default.";
        report.warn(
            "unsupported",
            subject,
            "spec.defaultScope",
            message,
            "Name the parent in the routes.",
        );
    }
    for (at, listener) in gateway.spec.listeners.iter().enumerate() {
        let options = listener.tls.iter().flat_map(|tls| tls.options.keys());
        for option in options {
            let field = format!("spec.listeners[{at}].tls.options");
            let message = format!("Option {option} is not known and not in force.");
            report.warn(
                "unsupported",
                subject,
                field,
                message,
                "Use a ClientTrafficPolicy.",
            );
        }
    }
}

/// Refuses a listener of which a field is not known, or to which such a field of its object may apply: it
/// may be the one that narrows whom the listener takes, or that asks for client certificates. `misread`
/// are the faults of the object that the listener is written in.
pub(super) fn check_misread(misread: &[SchemaViolation], listener: &mut ListenerState<'_>) {
    let own = format!("spec.listeners[{}]", listener.at);
    let fault = misread.iter().find(|fault| {
        let field = fault.field.as_str();
        match field.starts_with("spec.listeners[") {
            true => field.starts_with(&own),
            false if field.starts_with("spec.tls.") => listener.spec.protocol == "HTTPS",
            false => true,
        }
    });
    if let Some(fault) = fault {
        let message = format!("{fault}.");
        listener
            .conditions
            .set("Accepted", false, "UnsupportedValue", message);
        listener.told = true;
        listener.valid = false;
    }
}
