//! Effects of unknown and invalid fields.
//!
//! The part of an object that contains an unknown or invalid field fails closed, as [`Closed`] defines. If an
//! unknown match were ignored, its rule would match more requests than intended. If an unknown filter,
//! hostname, or field of a policy or grant were ignored, requests that should be rejected would be admitted.

use super::field_scope::FieldScope;
use super::kind::KindId;
use super::typed::UnknownField;

/// Effect of an invalid policy, as a clause of a message.
pub(crate) const POLICY: &str = "requests that the policy covers receive 500";

/// The part of an object that fails closed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Closed {
    /// The targets of a policy.
    Policy,
    /// A rule of a route.
    Rule,
    /// A rule of a TLSRoute, TCPRoute or UDPRoute.
    Stream,
    /// Every rule of a route.
    Rules,
    /// A route.
    Route,
    /// The attachment of a route to one parent.
    Parent,
    /// A listener.
    Listener,
    /// All listeners of a Gateway or ListenerSet that the field may affect.
    Gateway,
    /// A ReferenceGrant.
    Grant,
    /// A Backend.
    Backend,
    /// The rules that reference an HTTPRouteFilter.
    Filter,
    /// The Gateways to which an EnvoyProxy applies.
    Gateways,
}

impl Closed {
    /// Effect, as a clause of a message.
    pub(crate) fn effect(self) -> &'static str {
        match self {
            Self::Policy => POLICY,
            Self::Rule => "the rule returns 500",
            Self::Stream => "connections and datagrams of the route are closed or dropped",
            Self::Rules => "every rule of the route returns 500",
            Self::Route => "the route is not attached",
            Self::Parent => "the route is not attached to this parent",
            Self::Listener => "the listener is not served",
            Self::Gateway => "listeners that the field may affect are not served",
            Self::Grant => "the grant permits nothing",
            Self::Backend => "requests to the Backend receive 500",
            Self::Filter => "the rules that reference the filter return 500",
            Self::Gateways => "Gateways with these settings are not served",
        }
    }
}

/// Returns the part that fails closed because of the field at `path`; `None` if the field has no effect.
pub(crate) fn closed(kind: KindId, path: &str) -> Option<Closed> {
    use KindId as K;
    if path == "spec" {
        return whole(kind);
    }
    if !path.starts_with("spec.") {
        return None;
    }
    let scope = FieldScope::of(path);
    match kind {
        K::ClientTrafficPolicy
        | K::BackendTrafficPolicy
        | K::SecurityPolicy
        | K::BackendTlsPolicy => Some(Closed::Policy),
        K::HttpRoute | K::GrpcRoute => Some(match scope {
            FieldScope::EveryRule => Closed::Rules,
            FieldScope::Rule(..) => Closed::Rule,
            FieldScope::Parent(_) => Closed::Parent,
            _ => Closed::Route,
        }),
        K::TlsRoute | K::TcpRoute | K::UdpRoute => Some(match scope {
            FieldScope::EveryRule | FieldScope::Rule(..) => Closed::Stream,
            FieldScope::Parent(_) => Closed::Parent,
            _ => Closed::Route,
        }),
        K::Gateway if scope == FieldScope::Infrastructure => None,
        K::Gateway | K::ListenerSet => Some(match scope {
            FieldScope::Listener(_) => Closed::Listener,
            _ => Closed::Gateway,
        }),
        K::ReferenceGrant => Some(Closed::Grant),
        // These policies are unsupported, so their targets fail closed in any case.
        K::ExtensionPolicy | K::PatchPolicy => None,
        K::Backend => Some(Closed::Backend),
        K::RouteFilter => Some(Closed::Filter),
        // The API server prunes unknown fields; the known fields are applied.
        K::EnvoyProxy => None,
        K::GatewayClass
        | K::Service
        | K::EndpointSlice
        | K::Secret
        | K::ConfigMap
        | K::Namespace => None,
    }
}

/// Returns the part that fails closed because `spec` is missing or invalid as a whole.
fn whole(kind: KindId) -> Option<Closed> {
    use KindId as K;
    match kind {
        K::ClientTrafficPolicy
        | K::BackendTrafficPolicy
        | K::SecurityPolicy
        | K::BackendTlsPolicy => Some(Closed::Policy),
        K::HttpRoute | K::GrpcRoute => Some(Closed::Rules),
        K::TlsRoute | K::TcpRoute | K::UdpRoute => Some(Closed::Stream),
        K::Gateway | K::ListenerSet => Some(Closed::Gateway),
        K::ReferenceGrant => Some(Closed::Grant),
        // These policies are unsupported, so their targets fail closed in any case.
        K::ExtensionPolicy | K::PatchPolicy => None,
        K::Backend => Some(Closed::Backend),
        K::RouteFilter => Some(Closed::Filter),
        K::EnvoyProxy => Some(Closed::Gateways),
        K::GatewayClass
        | K::Service
        | K::EndpointSlice
        | K::Secret
        | K::ConfigMap
        | K::Namespace => None,
    }
}

/// Maximum number of field names in the advice.
const LISTED: usize = 16;

/// Advice for an unknown field: a suggestion, or the known field names.
pub(crate) fn advice(field: &UnknownField) -> String {
    if let Some(meant) = &field.nearest {
        return format!("did you mean `{meant}`?");
    }
    match field.known.as_slice() {
        [] => "remove it".to_owned(),
        known if known.len() > LISTED => {
            "remove the field, or look up its name in the API reference".to_owned()
        }
        known => format!("remove the field, or use one of: `{}`", known.join("`, `")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_that_restrict_access_fail_closed() {
        use KindId as K;
        for (kind, path, expected) in [
            (
                K::HttpRoute,
                "spec.rules[0].matches[0].pth",
                Some(Closed::Rule),
            ),
            (K::HttpRoute, "spec.rules[0].filtres", Some(Closed::Rule)),
            (K::GrpcRoute, "spec.rules[3].mathces", Some(Closed::Rule)),
            (K::HttpRoute, "spec.hostnmaes", Some(Closed::Route)),
            (
                K::GrpcRoute,
                "spec.parentRefs[0].sectionNmae",
                Some(Closed::Parent),
            ),
            (K::TcpRoute, "spec.hostnames", Some(Closed::Stream)),
            (
                K::TlsRoute,
                "spec.rules[0].backendRefs[0].prot",
                Some(Closed::Stream),
            ),
            (K::HttpRoute, "metadata.lables", None),
            (K::HttpRoute, "specs", None),
            (
                K::ListenerSet,
                "spec.listeners[1].allowedRuotes",
                Some(Closed::Listener),
            ),
            (
                K::Gateway,
                "spec.listeners[0].hostnmae",
                Some(Closed::Listener),
            ),
            (
                K::Gateway,
                "spec.tls.frontend.defualt",
                Some(Closed::Gateway),
            ),
            (K::Gateway, "spec.infrastructure.lables", None),
            (K::Gateway, "spec.addresses[0].vlaue", None),
            (K::GatewayClass, "spec.describtion", None),
            (K::ReferenceGrant, "spec.to[0].nmae", Some(Closed::Grant)),
            (
                K::SecurityPolicy,
                "spec.authorisation",
                Some(Closed::Policy),
            ),
            (
                K::BackendTlsPolicy,
                "spec.validation.hostnmae",
                Some(Closed::Policy),
            ),
        ] {
            assert_eq!(closed(kind, path), expected, "{kind:?} {path}");
        }
    }

    #[test]
    fn the_advice_has_a_suggestion_or_the_known_names() {
        let field = |nearest: Option<&str>, known: &[&'static str]| UnknownField {
            path: "spec.x".to_owned(),
            place: crate::decode::tree::Place { line: 1, column: 1 },
            nearest: nearest.map(str::to_owned),
            known: known.to_vec(),
        };

        assert_eq!(
            advice(&field(Some("path"), &["path"])),
            "did you mean `path`?"
        );
        assert_eq!(
            advice(&field(None, &["path", "method"])),
            "remove the field, or use one of: `path`, `method`"
        );
        assert_eq!(advice(&field(None, &[])), "remove it");
        assert!(advice(&field(None, &["a"; 17])).contains("reference"));
    }
}
