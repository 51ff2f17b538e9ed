//! Fields of Gateways that are not supported: each is reported in a condition or a finding.

use towergate_policy::SchemaViolation;

use super::super::object_index::ObjectIndex;
use super::super::report::{Report, Subject};
use super::listener::ListenerState;
use super::parameters;
use super::protocol::ListenerProtocol;
use crate::api::gateway::{GatewaySpec, GatewaySpecAddress};
use crate::decode::FieldScope;
use crate::finding::FindingCode;
use crate::objects::Object;
use crate::status::{ConditionType, Conditions, GatewayReason, ListenerReason};

/// Checks a Gateway without its listeners. Returns `false` if the Gateway cannot be served.
pub(super) fn check_gateway(
    index: &ObjectIndex<'_>,
    conditions: &mut Conditions<GatewayReason>,
    gateway: &Object<GatewaySpec>,
    report: &mut Report,
    subject: &Subject<'_>,
) -> bool {
    let parameters = parameters::check_gateway(index, gateway, conditions, report, subject);
    options(gateway, report, subject);
    let addresses = &gateway.spec.addresses;
    if let Some((message, advice)) = addresses.iter().find_map(unsupported_address) {
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
            advice,
        );
        return false;
    }
    parameters
}

/// Why an address cannot be assigned, and what to do.
fn unsupported_address(address: &GatewaySpecAddress) -> Option<(String, &'static str)> {
    let kind = address.kind.as_deref().unwrap_or("IPAddress");
    if !matches!(kind, "IPAddress" | "Hostname") {
        let message = format!("address type {kind:?} is not supported");
        return Some((message, "use type IPAddress or Hostname"));
    }
    let routability = address
        .routability
        .as_deref()
        .filter(|text| !text.is_empty())?;
    let message = format!("routability {routability:?} is not supported");
    Some((
        message,
        "remove routability; the type of the Service decides from where an address is reachable",
    ))
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

/// Rejects a listener with filters: without them, requests would pass unauthorized.
pub(super) fn check_filters(listener: &mut ListenerState<'_>) {
    let filters = listener.spec.filters.as_ref();
    if filters.is_some_and(|filters| !filters.requests.is_empty()) {
        let message = "filters of listeners are not supported; use a SecurityPolicy";
        listener.conditions.set(
            ConditionType::Accepted,
            false,
            ListenerReason::UnsupportedValue,
            message,
        );
        listener.refuse(message.to_owned());
    }
}

/// Rejects a listener to which one of `unreadable_fields` may apply: the field may restrict the accepted
/// routes or require client certificates. `unreadable_fields` belong to the object that contains the
/// listener.
pub(super) fn check_unreadable_fields(
    unreadable_fields: &[SchemaViolation],
    listener: &mut ListenerState<'_>,
) {
    let fault = unreadable_fields
        .iter()
        .find(|fault| match FieldScope::of(&fault.field) {
            FieldScope::Listener(at) => at == listener.at,
            FieldScope::GatewayTls => listener.protocol == Some(ListenerProtocol::Https),
            _ => true,
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
