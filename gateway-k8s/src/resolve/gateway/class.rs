//! GatewayClasses: which are ours.

use super::super::report::{Report, Subject};
use super::super::world::World;
use crate::objects::ObjectKey;
use crate::status::{GatewayClassStatus, StatusKey, Statuses};

/// Features of Gateway API that are served, by the names of its conformance suite, in order.
const FEATURES: &[&str] = &[
    "BackendTLSPolicy",
    "BackendTLSPolicySANValidation",
    "GRPCRoute",
    "GRPCRouteNamedRouteRule",
    "Gateway",
    "GatewayAddressEmpty",
    "GatewayBackendClientCertificate",
    "GatewayFrontendClientCertificateValidation",
    "GatewayFrontendClientCertificateValidationInsecureFallback",
    "GatewayHTTPListenerIsolation",
    "GatewayHTTPSListenerDetectMisdirectedRequests",
    "GatewayInfrastructure",
    "GatewayPort8080",
    "GatewayStaticAddresses",
    "HTTPRoute",
    "HTTPRoute303RedirectStatusCode",
    "HTTPRoute307RedirectStatusCode",
    "HTTPRoute308RedirectStatusCode",
    "HTTPRouteBackendProtocolH2C",
    "HTTPRouteBackendProtocolWebSocket",
    "HTTPRouteBackendRequestHeaderModification",
    "HTTPRouteBackendTimeout",
    "HTTPRouteBackendURLRewrite",
    "HTTPRouteCORS",
    "HTTPRouteDestinationPortMatching",
    "HTTPRouteHostRewrite",
    "HTTPRouteMethodMatching",
    "HTTPRouteNamedRouteRule",
    "HTTPRouteParentRefPort",
    "HTTPRoutePathRedirect",
    "HTTPRoutePathRewrite",
    "HTTPRoutePortRedirect",
    "HTTPRouteQueryParamMatching",
    "HTTPRouteRequestMirror",
    "HTTPRouteRequestMultipleMirrors",
    "HTTPRouteRequestPercentageMirror",
    "HTTPRouteRequestTimeout",
    "HTTPRouteResponseHeaderModification",
    "HTTPRouteRetry",
    "HTTPRouteRetryBackendTimeout",
    "HTTPRouteRetryConnectionError",
    "HTTPRouteSchemeRedirect",
    "ListenerSet",
    "ReferenceGrant",
    "TCPRoute",
    "TLSRoute",
    "TLSRouteModeMixed",
    "TLSRouteModeTerminate",
    "UDPRoute",
];

/// Whether Gateways of this class are served: the class names our controller, or it is not among the
/// objects and the scope says that such Gateways are ours.
pub(crate) fn is_ours(world: &World<'_>, class: &str) -> bool {
    let key = ObjectKey::new("", class);
    match world.objects.gateway_classes.get(&key) {
        Some(class) => class.spec.controller_name == world.scope.controller_name,
        None => world.scope.serve_unclassed,
    }
}

/// The statuses of our GatewayClasses.
pub(crate) fn class_statuses(world: &World<'_>, statuses: &mut Statuses, report: &mut Report) {
    for class in world.objects.gateway_classes.values() {
        if class.spec.controller_name != world.scope.controller_name {
            continue;
        }
        let mut status = GatewayClassStatus {
            supported_features: FEATURES,
            ..Default::default()
        };
        status.conditions.set(
            "Accepted",
            true,
            "Accepted",
            "Gateways of this class are served.",
        );
        if class.spec.parameters_ref.is_some() {
            report.warn(
                "parameters-ignored",
                &Subject::new("GatewayClass", class),
                "spec.parametersRef",
                "Towergate takes no parameters from a GatewayClass: what they set is not in force.",
                "Remove the reference, or move what it sets to the policies and to Towergate's options.",
            );
        }
        let value = status.to_value(class.meta.generation);
        statuses
            .0
            .insert(StatusKey::new("GatewayClass", class.key()), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_features_are_in_order_and_fit_into_a_status() {
        assert!(FEATURES.is_sorted());
        assert!(FEATURES.len() <= 64);
    }
}
