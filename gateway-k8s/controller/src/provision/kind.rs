//! The kinds of provisioned objects.

use kube::core::GroupVersionKind;
use kube::discovery::ApiResource;

/// A kind of provisioned object.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Kind {
    /// The identity of the pods, without permissions.
    ServiceAccount,
    /// The credentials of the pods for the controller.
    Secret,
    /// The address for clients.
    Service,
    /// The endpoints of a Service without a selector.
    EndpointSlice,
    /// The pods.
    Deployment,
    /// The pods, one on each node.
    DaemonSet,
    /// Sets the number of pods by load.
    HorizontalPodAutoscaler,
    /// Limits the pods that a node drain evicts at a time.
    PodDisruptionBudget,
}

impl Kind {
    /// All kinds in the order of creation.
    pub(crate) const ALL: [Self; 8] = [
        Self::ServiceAccount,
        Self::Secret,
        Self::Service,
        Self::EndpointSlice,
        Self::Deployment,
        Self::DaemonSet,
        Self::HorizontalPodAutoscaler,
        Self::PodDisruptionBudget,
    ];

    /// The name of the kind.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ServiceAccount => "ServiceAccount",
            Self::Secret => "Secret",
            Self::Service => "Service",
            Self::EndpointSlice => "EndpointSlice",
            Self::Deployment => "Deployment",
            Self::DaemonSet => "DaemonSet",
            Self::HorizontalPodAutoscaler => "HorizontalPodAutoscaler",
            Self::PodDisruptionBudget => "PodDisruptionBudget",
        }
    }

    /// API group (empty: the core group) and version.
    fn group_version(self) -> (&'static str, &'static str) {
        match self {
            Self::ServiceAccount | Self::Secret | Self::Service => ("", "v1"),
            Self::EndpointSlice => ("discovery.k8s.io", "v1"),
            Self::Deployment | Self::DaemonSet => ("apps", "v1"),
            Self::HorizontalPodAutoscaler => ("autoscaling", "v2"),
            Self::PodDisruptionBudget => ("policy", "v1"),
        }
    }

    /// `apiVersion` of the objects.
    pub(crate) fn api_version(self) -> String {
        match self.group_version() {
            ("", version) => version.to_owned(),
            (group, version) => format!("{group}/{version}"),
        }
    }

    /// The API resource of the kind.
    pub(crate) fn resource(self) -> ApiResource {
        let (group, version) = self.group_version();
        let plural = format!("{}s", self.name().to_ascii_lowercase());
        ApiResource::from_gvk_with_plural(
            &GroupVersionKind::gvk(group, version, self.name()),
            &plural,
        )
    }
}
