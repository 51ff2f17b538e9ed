//! GatewayClasses of this controller.

use super::super::object_index::ObjectIndex;
use super::super::report::Report;
use super::parameters;
use crate::objects::ObjectKey;
use crate::status::{ConditionType, GatewayClassReason, GatewayClassStatus, StatusKey, Statuses};

/// Supported features of Gateway API, by the names of its conformance suite, in alphabetical order.
const FEATURES: &[&str] = &[
    "BackendTLSPolicy",
    "BackendTLSPolicySANValidation",
    "GRPCRoute",
    "GRPCRouteNamedRouteRule",
    "GRPCRouteRequestHeaderModifier",
    "Gateway",
    "GatewayAddressEmpty",
    "GatewayBackendClientCertificate",
    "GatewayFrontendClientCertificateValidation",
    "GatewayFrontendClientCertificateValidationInsecureFallback",
    "GatewayHTTPListenerIsolation",
    "GatewayHTTPSListenerDetectMisdirectedRequests",
    "GatewayInfrastructure",
    "GatewayPort8080",
    "GatewayRouteHostnameIntersectionPrecedence",
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
    "HTTPRouteRetryCodes",
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

/// Whether Gateways of `class` are served: the GatewayClass names this controller, or it does not exist and
/// `ResolveOptions::serve_unclassed` is set.
pub(crate) fn is_ours(index: &ObjectIndex<'_>, class: &str) -> bool {
    let key = ObjectKey::new("", class);
    match index.objects.gateway_classes.get(&key) {
        Some(class) => class.spec.controller_name == index.options.controller_name,
        None => index.options.serve_unclassed,
    }
}

/// Adds the statuses of the GatewayClasses of this controller.
pub(crate) fn class_statuses(
    index: &ObjectIndex<'_>,
    statuses: &mut Statuses,
    report: &mut Report,
) {
    for class in index.objects.gateway_classes.values() {
        if class.spec.controller_name != index.options.controller_name {
            continue;
        }
        let mut status = GatewayClassStatus {
            supported_features: FEATURES,
            ..Default::default()
        };
        status.conditions.set(
            ConditionType::Accepted,
            true,
            GatewayClassReason::Accepted,
            "Gateways of this class are served",
        );
        parameters::check_class(index.objects, class, &mut status.conditions, report);
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
    fn the_features_are_sorted_and_fit_into_a_status() {
        assert!(FEATURES.is_sorted());
        assert!(FEATURES.len() <= 64);
    }
}
