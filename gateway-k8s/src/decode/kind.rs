//! Kinds and versions that are decoded, and the classification of all others.

use super::suggest::nearest;

/// API group of Gateway API.
const GATEWAY: &str = "gateway.networking.k8s.io";
/// API group of Envoy Gateway.
const ENVOY: &str = "gateway.envoyproxy.io";

/// A kind that is decoded, with its group and versions.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Kind {
    /// Identifier of the kind.
    pub(crate) id: KindId,
    /// Name of the kind, as in `kind`.
    pub(crate) name: &'static str,
    group: &'static str,
    versions: &'static [&'static str],
    /// Whether objects of the kind have a namespace.
    pub(crate) namespaced: bool,
    /// Whether the content of an object is in `spec`; otherwise it is at the top level.
    pub(crate) spec: bool,
}

/// Identifiers of the kinds that are decoded.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum KindId {
    GatewayClass,
    Gateway,
    ListenerSet,
    HttpRoute,
    GrpcRoute,
    TlsRoute,
    TcpRoute,
    UdpRoute,
    ReferenceGrant,
    BackendTlsPolicy,
    ClientTrafficPolicy,
    BackendTrafficPolicy,
    SecurityPolicy,
    ExtensionPolicy,
    PatchPolicy,
    Backend,
    RouteFilter,
    EnvoyProxy,
    Service,
    EndpointSlice,
    Secret,
    ConfigMap,
    Namespace,
}

impl Kind {
    /// Whether the Rust types define every field of the kind. If so, an unknown field is an error.
    pub(crate) fn strict_fields(&self) -> bool {
        (self.group == GATEWAY || self.group == ENVOY) && !self.is_unsupported_policy()
    }

    /// Whether an invalid object of the kind is decoded partly: its invalid parts fail closed, and the rest
    /// is in service. If `false`, an invalid object is not in service at all.
    pub(crate) fn may_be_read_partly(&self) -> bool {
        self.is_policy() || self.strict_fields() && self.id != KindId::GatewayClass
    }

    /// Whether the kind is a policy. Its targets fail closed if the object cannot be read.
    pub(crate) fn is_policy(&self) -> bool {
        is_policy(self.name)
    }

    /// Whether the kind is an unsupported policy. Only its targets are decoded, because these fail closed.
    pub(crate) fn is_unsupported_policy(&self) -> bool {
        matches!(self.id, KindId::ExtensionPolicy | KindId::PatchPolicy)
    }

    /// Whether the kind belongs to the API group of Envoy Gateway.
    pub(crate) fn is_envoy(&self) -> bool {
        self.group == ENVOY
    }

    /// Supported values of `apiVersion`, for messages.
    pub(crate) fn api_versions(&self) -> String {
        let prefix = if self.group.is_empty() {
            String::new()
        } else {
            format!("{}/", self.group)
        };
        let all: Vec<String> = self
            .versions
            .iter()
            .map(|v| format!("`{prefix}{v}`"))
            .collect();
        all.join(" or ")
    }
}

const fn kind(
    id: KindId,
    name: &'static str,
    group: &'static str,
    versions: &'static [&'static str],
) -> Kind {
    let namespaced = !matches!(id, KindId::GatewayClass | KindId::Namespace);
    let spec = !matches!(
        id,
        KindId::EndpointSlice | KindId::Secret | KindId::ConfigMap | KindId::Namespace
    );
    Kind {
        id,
        name,
        group,
        versions,
        namespaced,
        spec,
    }
}

const KINDS: [Kind; 21] = [
    kind(
        KindId::GatewayClass,
        "GatewayClass",
        GATEWAY,
        &["v1", "v1beta1"],
    ),
    kind(KindId::Gateway, "Gateway", GATEWAY, &["v1", "v1beta1"]),
    kind(KindId::ListenerSet, "ListenerSet", GATEWAY, &["v1"]),
    kind(KindId::HttpRoute, "HTTPRoute", GATEWAY, &["v1", "v1beta1"]),
    kind(KindId::GrpcRoute, "GRPCRoute", GATEWAY, &["v1", "v1alpha2"]),
    kind(
        KindId::TlsRoute,
        "TLSRoute",
        GATEWAY,
        &["v1", "v1alpha3", "v1alpha2"],
    ),
    kind(KindId::TcpRoute, "TCPRoute", GATEWAY, &["v1", "v1alpha2"]),
    kind(KindId::UdpRoute, "UDPRoute", GATEWAY, &["v1", "v1alpha2"]),
    kind(
        KindId::ReferenceGrant,
        "ReferenceGrant",
        GATEWAY,
        &["v1", "v1beta1", "v1alpha2"],
    ),
    kind(
        KindId::BackendTlsPolicy,
        "BackendTLSPolicy",
        GATEWAY,
        &["v1", "v1alpha3", "v1alpha2"],
    ),
    kind(
        KindId::ClientTrafficPolicy,
        "ClientTrafficPolicy",
        ENVOY,
        &["v1alpha1"],
    ),
    kind(
        KindId::BackendTrafficPolicy,
        "BackendTrafficPolicy",
        ENVOY,
        &["v1alpha1"],
    ),
    kind(
        KindId::SecurityPolicy,
        "SecurityPolicy",
        ENVOY,
        &["v1alpha1"],
    ),
    kind(KindId::Backend, "Backend", ENVOY, &["v1alpha1"]),
    kind(KindId::RouteFilter, "HTTPRouteFilter", ENVOY, &["v1alpha1"]),
    kind(KindId::EnvoyProxy, "EnvoyProxy", ENVOY, &["v1alpha1"]),
    kind(KindId::Service, "Service", "", &["v1"]),
    kind(
        KindId::EndpointSlice,
        "EndpointSlice",
        "discovery.k8s.io",
        &["v1"],
    ),
    kind(KindId::Secret, "Secret", "", &["v1"]),
    kind(KindId::ConfigMap, "ConfigMap", "", &["v1"]),
    kind(KindId::Namespace, "Namespace", "", &["v1"]),
];

/// Unsupported kinds of Gateway API and Envoy Gateway.
const UNSUPPORTED: [&str; 1] = ["BackendLBPolicy"];

/// Unsupported policies of Envoy Gateway. Only their targets are decoded, because these fail closed.
const UNSUPPORTED_POLICIES: [Kind; 2] = [
    kind(
        KindId::ExtensionPolicy,
        "EnvoyExtensionPolicy",
        ENVOY,
        &["v1alpha1"],
    ),
    kind(
        KindId::PatchPolicy,
        "EnvoyPatchPolicy",
        ENVOY,
        &["v1alpha1"],
    ),
];

/// Whether a kind of this name is a policy.
pub(crate) fn is_policy(name: &str) -> bool {
    policy(name).is_some()
}

/// The policy of this name.
pub(crate) fn policy(name: &str) -> Option<Kind> {
    let mut policies = KINDS.iter().chain(&UNSUPPORTED_POLICIES);
    let found = policies.find(|kind| kind.name == name && name.ends_with("Policy"));
    found.copied()
}

/// Whether `api_version` has the API group of Envoy Gateway, or a similar API group.
pub(crate) fn is_like_envoy(api_version: &str) -> bool {
    is_like(api_version, ENVOY)
}

/// Whether the group of `api_version` is similar to `group`, or equals `group` without one of its labels.
fn is_like(api_version: &str, group: &str) -> bool {
    let written = api_version.split('/').next().unwrap_or_default();
    let written = written.to_ascii_lowercase();
    let known: Vec<&str> = group.split('.').collect();
    let is_part = written.split('.').all(|label| known.contains(&label));
    is_part && written.split('.').count() + 1 >= known.len() || nearest(&written, [group]).is_some()
}

/// The intended kind of an object with a misspelt group, or with a `kind` in the plural or in the
/// wrong case.
fn misspelled(api_version: &str, group: &str, name: &str) -> Option<&'static str> {
    let kinds = KINDS.iter().chain(&UNSUPPORTED_POLICIES);
    let is_same = |kind: &Kind, name: &str| kind.name.eq_ignore_ascii_case(name);
    let mut meant = kinds.filter(|kind| match kind.group {
        GATEWAY | ENVOY => is_same(kind, name) && is_like(api_version, kind.group),
        // Kubernetes has other kinds with similar names, so the group must match exactly.
        known => {
            let singular = name.strip_suffix('s').unwrap_or(name);
            let is_group = group == known || known.is_empty() && group == "core";
            is_group && (is_same(kind, name) || is_same(kind, singular))
        }
    });
    meant.next().map(|kind| kind.name)
}

/// Supported values of `apiVersion` of a kind, for messages.
pub(crate) fn api_versions_of(name: &str) -> String {
    let kind = KINDS.iter().find(|kind| kind.name == name);
    kind.map(Kind::api_versions).unwrap_or_default()
}

/// Classification of an object by `apiVersion` and `kind`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    /// A kind that is decoded.
    Read(Kind),
    /// A supported kind in an unsupported version.
    WrongVersion(Kind),
    /// An unsupported kind of Gateway API or Envoy Gateway.
    Unsupported,
    /// An unsupported policy, whose targets fail closed.
    UnsupportedPolicy(Kind),
    /// A kind that does not exist in its API group, with the most similar supported kind.
    Unknown(Option<&'static str>),
    /// A kind of another API, which is ignored.
    PassedOver,
    /// A list of objects, such as `List` of `v1`.
    List,
}

/// Classifies an object by `apiVersion` and `kind`.
pub(crate) fn find(api_version: &str, name: &str) -> Verdict {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let item = name.strip_suffix("List");
    if item.is_some_and(|item| {
        item.is_empty() || KINDS.iter().any(|k| k.name == item && k.group == group)
    }) {
        return Verdict::List;
    }
    if let Some(kind) = KINDS.iter().find(|k| k.name == name && k.group == group) {
        return if kind.versions.contains(&version) {
            Verdict::Read(*kind)
        } else {
            Verdict::WrongVersion(*kind)
        };
    }
    let unsupported = UNSUPPORTED_POLICIES.iter().find(|k| k.name == name);
    if let Some(kind) = unsupported.filter(|k| k.group == group) {
        return Verdict::UnsupportedPolicy(*kind);
    }
    let ours = group == GATEWAY || group == ENVOY || group == "gateway.networking.x-k8s.io";
    let meant_for_us = is_policy(name) && is_like_envoy(api_version);
    if !(ours || meant_for_us) {
        return match misspelled(api_version, group, name) {
            Some(meant) => Verdict::Unknown(Some(meant)),
            None => Verdict::PassedOver,
        };
    }
    if UNSUPPORTED.contains(&name) || name.starts_with('X') {
        return Verdict::Unsupported;
    }
    // Users often combine a kind of Gateway API with the group of Envoy Gateway, or the reverse.
    let known = KINDS.iter().filter(|k| k.strict_fields());
    let known = known.chain(&UNSUPPORTED_POLICIES).map(|k| k.name);
    Verdict::Unknown(nearest(name, known))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(verdict: Verdict) -> &'static str {
        match verdict {
            Verdict::Read(kind) => kind.name,
            Verdict::WrongVersion(_) => "wrong version",
            Verdict::Unsupported => "unsupported",
            Verdict::UnsupportedPolicy(_) => "unsupported policy",
            Verdict::Unknown(_) => "unknown",
            Verdict::PassedOver => "passed over",
            Verdict::List => "list",
        }
    }

    #[test]
    fn kinds_are_found_by_group_version_and_name() {
        for (api, kind, expected) in [
            ("gateway.networking.k8s.io/v1", "Gateway", "Gateway"),
            (
                "gateway.networking.k8s.io/v1beta1",
                "HTTPRoute",
                "HTTPRoute",
            ),
            (
                "gateway.networking.k8s.io/v1alpha2",
                "GRPCRoute",
                "GRPCRoute",
            ),
            (
                "gateway.networking.k8s.io/v1alpha3",
                "BackendTLSPolicy",
                "BackendTLSPolicy",
            ),
            (
                "gateway.networking.k8s.io/v1alpha2",
                "HTTPRoute",
                "wrong version",
            ),
            ("gateway.networking.k8s.io/v1", "TLSRoute", "TLSRoute"),
            ("gateway.networking.k8s.io/v1alpha3", "TLSRoute", "TLSRoute"),
            ("gateway.networking.k8s.io/v1alpha2", "TCPRoute", "TCPRoute"),
            (
                "gateway.networking.k8s.io/v1alpha3",
                "UDPRoute",
                "wrong version",
            ),
            (
                "gateway.networking.x-k8s.io/v1alpha1",
                "XListenerSet",
                "unsupported",
            ),
            ("gateway.networking.k8s.io/v1", "HttpRoute", "unknown"),
            (
                "gateway.envoyproxy.io/v1alpha1",
                "SecurityPolicy",
                "SecurityPolicy",
            ),
            ("gateway.envoyproxy.io/v1alpha1", "EnvoyProxy", "EnvoyProxy"),
            (
                "gateway.envoyproxy.io/v1alpha1",
                "EnvoyExtensionPolicy",
                "unsupported policy",
            ),
            ("gateway.envoyprxy.io/v1alpha1", "SecurityPolicy", "unknown"),
            ("envoyproxy.io/v1alpha1", "SecurityPolicy", "unknown"),
            ("gateway.envoyproxy/v1alpha1", "Backend", "unknown"),
            ("gateway.network.k8s.io/v1", "HTTPRoute", "unknown"),
            ("gateway.networking.io/v1", "Gateway", "unknown"),
            ("networking.k8s.io/v1", "HTTPRoute", "unknown"),
            ("Gateway.networking.k8s.io/v1", "Gateway", "unknown"),
            ("gateway.networking.k8s.io", "HTTPRoute", "unknown"),
            ("v1", "Secrets", "unknown"),
            ("v1", "service", "unknown"),
            ("v1", "Configmap", "unknown"),
            ("core/v1", "Secret", "unknown"),
            ("discovery.k8s.io/v1", "EndpointSlices", "unknown"),
            ("networking.k8s.io/v1", "NetworkPolicy", "passed over"),
            ("networking.k8s.io/v1", "Ingress", "passed over"),
            ("gateway.solo.io/v1", "Gateway", "passed over"),
            ("gateway.kgateway.dev/v1alpha1", "Backend", "passed over"),
            ("v1", "Endpoints", "passed over"),
            ("serving.knative.dev/v1", "Service", "passed over"),
            ("nsx.vmware.com/v1", "SecurityPolicy", "passed over"),
            ("networking.istio.io/v1", "Gateway", "passed over"),
            ("apps/v1", "Deployment", "passed over"),
            ("v1", "Service", "Service"),
            ("v1", "Pod", "passed over"),
            ("v1", "List", "list"),
            ("discovery.k8s.io/v1", "EndpointSlice", "EndpointSlice"),
        ] {
            assert_eq!(name(find(api, kind)), expected, "{api} {kind}");
        }
    }

    #[test]
    fn a_misspelled_kind_has_a_suggestion() {
        let found = find("gateway.networking.k8s.io/v1", "HttpRoute");

        assert_eq!(found, Verdict::Unknown(Some("HTTPRoute")));
    }
}
