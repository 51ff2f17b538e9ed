//! Fields of Gateways that are not supported: each is reported in a condition or a finding.

use towergate_policy::SchemaViolation;

use super::super::report::{Report, Subject};
use super::listener::ListenerState;
use super::protocol::ListenerProtocol;
use crate::api::ENVOY_GROUP;
use crate::api::gateway::GatewaySpec;
use crate::finding::FindingCode;
use crate::objects::Object;
use crate::status::{ConditionType, Conditions, GatewayReason, ListenerReason};

/// Checks a Gateway apart from its listeners. Returns `false` if it cannot be served.
pub(super) fn check_gateway(
    conditions: &mut Conditions<GatewayReason>,
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
        let message = format!("address type {kind:?} is not supported");
        conditions.set(
            ConditionType::Accepted,
            false,
            GatewayReason::UnsupportedAddress,
            &*message,
        );
        report.error(
            FindingCode::Unsupported,
            subject,
            "spec.addresses",
            message,
            "use type IPAddress or Hostname",
        );
        return false;
    }
    parameters
}

/// Whether the parameters of a Gateway permit to serve it. Parameters of kind EnvoyProxy are ignored with a
/// warning, as they configure Envoy; the effect of any other kind is unknown.
fn parameters(
    conditions: &mut Conditions<GatewayReason>,
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
            FindingCode::ParametersIgnored,
            subject,
            field,
            format!("parameters of {kind} {name} are not supported; their settings are ignored"),
            "configure the equivalent policy or Towergate option, and remove the reference",
        );
        return true;
    }
    let message =
        format!("parameters of kind {kind} in group {group:?} are not supported ({name})");
    conditions.set(
        ConditionType::Accepted,
        false,
        GatewayReason::InvalidParameters,
        &*message,
    );
    let help = "remove the reference; until then the Gateway is not served";
    report.error(
        FindingCode::ParametersInvalid,
        subject,
        field,
        message,
        help,
    );
    false
}

fn options(gateway: &Object<GatewaySpec>, report: &mut Report, subject: &Subject<'_>) {
    if gateway.spec.default_scope.is_some() {
        let message =
            "default Gateways are not supported; routes without parentRefs are not attached";
        report.warn(
            FindingCode::Unsupported,
            subject,
            "spec.defaultScope",
            message,
            "name the Gateway in parentRefs of the routes",
        );
    }
    for (at, listener) in gateway.spec.listeners.iter().enumerate() {
        let options = listener.tls.iter().flat_map(|tls| tls.options.keys());
        for option in options {
            let field = format!("spec.listeners[{at}].tls.options");
            let message = format!("TLS option {option} is not supported and is ignored");
            report.warn(
                FindingCode::Unsupported,
                subject,
                field,
                message,
                "use a ClientTrafficPolicy",
            );
        }
    }
}

/// Rejects a listener that has an unknown field, or to which an unknown field of its object may apply: the
/// field may restrict the accepted routes or require client certificates. `misread` are the unreadable
/// fields of the object.
pub(super) fn check_misread(misread: &[SchemaViolation], listener: &mut ListenerState<'_>) {
    let own = format!("spec.listeners[{}]", listener.at);
    let fault = misread.iter().find(|fault| {
        let field = fault.field.as_str();
        match field.starts_with("spec.listeners[") {
            true => field.starts_with(&own),
            false if field.starts_with("spec.tls.") => {
                listener.protocol == Some(ListenerProtocol::Https)
            }
            false => true,
        }
    });
    if let Some(fault) = fault {
        let message = fault.to_string();
        listener.conditions.set(
            ConditionType::Accepted,
            false,
            ListenerReason::UnsupportedValue,
            message,
        );
        listener.reported = true;
        listener.valid = false;
    }
}
