//! The kinds that are watched: names, versions by preference, and whose their status is.

/// The API group of Gateway API.
const GATEWAY: &str = "gateway.networking.k8s.io";
/// The API group of Envoy Gateway.
const ENVOY: &str = "gateway.envoyproxy.io";

/// The groups of which an API server may lack kinds or versions.
pub(crate) const OPTIONAL_GROUPS: [&str; 2] = [GATEWAY, ENVOY];

/// A kind that is watched.
#[derive(Debug)]
pub(crate) struct Kind {
    /// Its name; no two kinds have the same.
    pub(crate) name: &'static str,
    /// Its API group.
    pub(crate) group: &'static str,
    /// Its name in addresses of the API.
    pub(crate) plural: &'static str,
    /// The versions that are read, the preferred one first.
    pub(crate) versions: &'static [&'static str],
    /// Whether its objects live in namespaces.
    pub(crate) namespaced: bool,
    /// What of its status is ours.
    pub(crate) status: StatusShape,
}

/// What of an object's status is ours.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum StatusShape {
    /// Nothing.
    None,
    /// All of it, if the object is ours.
    Whole,
    /// The entries of `parents` with our controller's name.
    Parents,
    /// The entries of `ancestors` with our controller's name.
    Ancestors,
}

impl Kind {
    /// Whether an API server may lack it.
    pub(crate) fn optional(&self) -> bool {
        OPTIONAL_GROUPS.contains(&self.group)
    }

    /// Whether it only adds to what is served. Without the objects of another kind everything would go, or
    /// what they protect would be open.
    pub(crate) fn adds(&self) -> bool {
        self.name.ends_with("Route") || self.name == "ListenerSet"
    }
}

/// The kind of this name.
#[cfg(test)]
pub(crate) fn find(name: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.name == name)
}

/// The preferred one among the versions of `kind` that are `served`.
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

/// All of them.
pub(crate) static KINDS: [Kind; 18] = [
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
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_tell_kinds_apart() {
        let names: HashSet<_> = KINDS.iter().map(|kind| kind.name).collect();

        assert_eq!(names.len(), KINDS.len());
    }

    #[test]
    fn a_kind_that_protects_adds_nothing() {
        let adds = KINDS.iter().filter(|kind| kind.adds());
        let adds: Vec<_> = adds.map(|kind| kind.name).collect();

        let routes = ["HTTPRoute", "GRPCRoute", "TLSRoute", "TCPRoute", "UDPRoute"];
        assert_eq!(adds, [&["ListenerSet"][..], &routes].concat());
    }

    #[test]
    fn the_newest_version_that_is_served_is_watched() {
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
