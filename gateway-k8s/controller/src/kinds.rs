//! The watched kinds: names, versions in order of preference, and the part of the status that this controller
//! owns.

/// The API group of Gateway API.
const GATEWAY: &str = "gateway.networking.k8s.io";
/// The API group of Envoy Gateway.
const ENVOY: &str = "gateway.envoyproxy.io";
/// The API group of Ingresses.
const NETWORKING: &str = "networking.k8s.io";

/// API groups whose kinds are installed as CRDs. The API server may lack these kinds or some of their
/// versions.
pub(crate) const OPTIONAL_GROUPS: [&str; 2] = [GATEWAY, ENVOY];

/// A watched kind.
#[derive(Debug)]
pub(crate) struct Kind {
    /// Name, unique among all kinds.
    pub(crate) name: &'static str,
    /// API group.
    pub(crate) group: &'static str,
    /// Plural name, as in URLs of the API.
    pub(crate) plural: &'static str,
    /// Supported versions in order of preference.
    pub(crate) versions: &'static [&'static str],
    /// Whether the objects have a namespace.
    pub(crate) namespaced: bool,
    /// Part of the status that this controller owns.
    pub(crate) status: StatusShape,
}

/// The part of the status of an object that this controller owns.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum StatusShape {
    /// Nothing.
    None,
    /// The whole status, if the object belongs to this controller.
    Whole,
    /// The entries of `parents` with the name of this controller.
    Parents,
    /// The entries of `ancestors` with the name of this controller.
    Ancestors,
    /// The field `loadBalancer`.
    LoadBalancer,
}

impl Kind {
    /// Whether the API server may lack the kind.
    pub(crate) fn optional(&self) -> bool {
        OPTIONAL_GROUPS.contains(&self.group)
    }

    /// Whether the kind is watched only if Ingresses are served.
    pub(crate) fn is_of_ingresses(&self) -> bool {
        self.group == NETWORKING
    }

    /// Whether objects of the kind only add routes or listeners. If so, resolving without these objects is
    /// safe. Resolving without the objects of another kind would take everything out of service, or serve
    /// routes without their policies.
    pub(crate) fn adds(&self) -> bool {
        self.name.ends_with("Route") || self.name == "ListenerSet"
    }
}

/// The kind with this name.
#[cfg(test)]
pub(crate) fn find(name: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.name == name)
}

/// The preferred version of `kind` among those that the API server serves.
pub(crate) fn choose(kind: &Kind, served: &[String]) -> Option<&'static str> {
    let mut versions = kind.versions.iter().copied();
    versions.find(|version| served.iter().any(|served| served == version))
}

const fn kind(
    name: &'static str,
    group: &'static str,
    plural: &'static str,
    versions: &'static [&'static str],
    status: StatusShape,
) -> Kind {
    Kind {
        name,
        group,
        plural,
        versions,
        namespaced: true,
        status,
    }
}

const fn of_cluster(kind: Kind) -> Kind {
    Kind {
        namespaced: false,
        ..kind
    }
}

use StatusShape as S;

/// All watched kinds.
pub(crate) static KINDS: [Kind; 25] = [
    of_cluster(kind(
        "GatewayClass",
        GATEWAY,
        "gatewayclasses",
        &["v1", "v1beta1"],
        S::Whole,
    )),
    kind("Gateway", GATEWAY, "gateways", &["v1", "v1beta1"], S::Whole),
    kind("ListenerSet", GATEWAY, "listenersets", &["v1"], S::Whole),
    kind(
        "HTTPRoute",
        GATEWAY,
        "httproutes",
        &["v1", "v1beta1"],
        S::Parents,
    ),
    kind(
        "GRPCRoute",
        GATEWAY,
        "grpcroutes",
        &["v1", "v1alpha2"],
        S::Parents,
    ),
    kind(
        "TLSRoute",
        GATEWAY,
        "tlsroutes",
        &["v1", "v1alpha3", "v1alpha2"],
        S::Parents,
    ),
    kind(
        "TCPRoute",
        GATEWAY,
        "tcproutes",
        &["v1", "v1alpha2"],
        S::Parents,
    ),
    kind(
        "UDPRoute",
        GATEWAY,
        "udproutes",
        &["v1", "v1alpha2"],
        S::Parents,
    ),
    kind(
        "ReferenceGrant",
        GATEWAY,
        "referencegrants",
        &["v1", "v1beta1", "v1alpha2"],
        S::None,
    ),
    kind(
        "BackendTLSPolicy",
        GATEWAY,
        "backendtlspolicies",
        &["v1", "v1alpha3", "v1alpha2"],
        S::Ancestors,
    ),
    kind(
        "ClientTrafficPolicy",
        ENVOY,
        "clienttrafficpolicies",
        &["v1alpha1"],
        S::Ancestors,
    ),
    kind(
        "BackendTrafficPolicy",
        ENVOY,
        "backendtrafficpolicies",
        &["v1alpha1"],
        S::Ancestors,
    ),
    kind(
        "SecurityPolicy",
        ENVOY,
        "securitypolicies",
        &["v1alpha1"],
        S::Ancestors,
    ),
    kind(
        "EnvoyExtensionPolicy",
        ENVOY,
        "envoyextensionpolicies",
        &["v1alpha1"],
        S::Ancestors,
    ),
    kind(
        "EnvoyPatchPolicy",
        ENVOY,
        "envoypatchpolicies",
        &["v1alpha1"],
        S::Ancestors,
    ),
    kind("Backend", ENVOY, "backends", &["v1alpha1"], S::Whole),
    kind(
        "HTTPRouteFilter",
        ENVOY,
        "httproutefilters",
        &["v1alpha1"],
        S::None,
    ),
    kind("EnvoyProxy", ENVOY, "envoyproxies", &["v1alpha1"], S::None),
    kind("Service", "", "services", &["v1"], S::None),
    kind(
        "EndpointSlice",
        "discovery.k8s.io",
        "endpointslices",
        &["v1"],
        S::None,
    ),
    kind("Secret", "", "secrets", &["v1"], S::None),
    kind("ConfigMap", "", "configmaps", &["v1"], S::None),
    of_cluster(kind("Namespace", "", "namespaces", &["v1"], S::None)),
    kind("Ingress", NETWORKING, "ingresses", &["v1"], S::LoadBalancer),
    of_cluster(kind(
        "IngressClass",
        NETWORKING,
        "ingressclasses",
        &["v1"],
        S::None,
    )),
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_of_kinds_are_unique() {
        let names: HashSet<_> = KINDS.iter().map(|kind| kind.name).collect();

        assert_eq!(names.len(), KINDS.len());
    }

    #[test]
    fn only_routes_and_listener_sets_are_additive() {
        let adds = KINDS.iter().filter(|kind| kind.adds());
        let adds: Vec<_> = adds.map(|kind| kind.name).collect();

        let routes = ["HTTPRoute", "GRPCRoute", "TLSRoute", "TCPRoute", "UDPRoute"];
        assert_eq!(adds, [&["ListenerSet"][..], &routes].concat());
    }

    #[test]
    fn the_preferred_served_version_is_watched() {
        let route = find("TLSRoute").expect("it is a kind");
        let served = |versions: &[&str]| -> Vec<String> {
            versions.iter().map(|&version| version.into()).collect()
        };
        for (versions, chosen) in [
            (&["v1alpha2", "v1"][..], Some("v1")),
            (&["v1alpha2", "v1alpha3"], Some("v1alpha3")),
            (&["v1alpha2"], Some("v1alpha2")),
            (&["v2"], None),
            (&[], None),
        ] {
            assert_eq!(choose(route, &served(versions)), chosen, "{versions:?}");
        }
    }
}
