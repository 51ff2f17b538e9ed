//! References to other objects.

use crate::api_struct::api_struct;
use crate::backend_traffic::ClusterSettings;
use crate::check::Report;

api_struct! {
    /// A reference to a Secret, ConfigMap or ClusterTrustBundle.
    pub struct ObjectRef, rules {
        /// API group of the object. Default: the core group (empty).
        group: String = "group" [Length(0, 253), DefaultText("")],
        /// Kind of the object. Default: `Secret`.
        kind: String = "kind" [Length(1, 63), DefaultText("Secret")],
        /// Name of the object.
        name: String = "name" [Required, Length(1, 253)],
        /// Namespace of the object. Default: that of the policy.
        namespace: String = "namespace" [Length(1, 63)],
    }

    /// A reference to a ConfigMap in the policy's namespace.
    pub struct ConfigMapRef, rules {
        /// API group of the object.
        group: String = "group" [Length(0, 253)],
        /// Kind of the object.
        kind: String = "kind" [Required, Length(1, 63)],
        /// Name of the object.
        name: String = "name" [Required, Length(1, 253)],
    }

    /// A reference to a key of a ConfigMap or Secret in the policy's namespace.
    pub struct ConfigRef, rules {
        /// API group of the object.
        group: String = "group" [Length(0, 253)],
        /// Kind of the object.
        kind: String = "kind" [Required, Length(1, 63)],
        /// Name of the object.
        name: String = "name" [Required, Length(1, 253)],
        /// Key within the object.
        key: String = "key" [Required],
    }

    /// The backend that a policy itself connects to. Superseded by `backendRefs`.
    pub struct SingleBackendRef, rules {
        /// API group of the backend. Default: the core group (empty).
        group: String = "group" [Length(0, 253), DefaultText("")],
        /// Kind of the backend. Default: `Service`.
        kind: String = "kind" [Length(1, 63), DefaultText("Service")],
        /// Name of the backend.
        name: String = "name" [Required, Length(1, 253)],
        /// Namespace of the backend. Default: that of the policy.
        namespace: String = "namespace" [Length(1, 63)],
        /// Port of the backend. Required for a Service.
        port: i64 = "port" [Range(1, 65535)],
    }

    /// One of the backends that a policy itself connects to.
    pub struct BackendRef, rules {
        /// API group of the backend. Default: the core group (empty).
        group: String = "group" [Length(0, 253), DefaultText("")],
        /// Kind of the backend. Default: `Service`.
        kind: String = "kind" [Length(1, 63), DefaultText("Service")],
        /// Name of the backend.
        name: String = "name" [Required, Length(1, 253)],
        /// Namespace of the backend. Default: that of the policy.
        namespace: String = "namespace" [Length(1, 63)],
        /// Port of the backend. Required for a Service.
        port: i64 = "port" [Range(1, 65535)],
        /// Whether the backend receives requests only when the others are unhealthy. Default: `false`.
        fallback: bool = "fallback",
        /// Relative share of the requests. Default: 1.
        weight: i64 = "weight" [Range(0, 1000000), DefaultNumber(1)],
    }
}

/// Records each reference, so that a merge can determine which policy contains it.
macro_rules! impl_reference {
    ($($name:ident),*) => {$(
        impl $name {
            fn rules(&self, report: &mut Report) {
                report.reference();
            }
        }
    )*};
}

impl_reference!(
    ObjectRef,
    ConfigMapRef,
    ConfigRef,
    SingleBackendRef,
    BackendRef
);

/// The fields by which a section names the backends that the policy itself connects to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backends<'a> {
    /// `backendRef`.
    pub(crate) single: Option<&'a SingleBackendRef>,
    /// `backendRefs`.
    pub(crate) list: Option<&'a Vec<BackendRef>>,
    /// `backendSettings`.
    pub(crate) settings: Option<&'a ClusterSettings>,
}

/// Kinds and API groups that `backendRefs` may name.
const KINDS: [&str; 3] = ["Service", "ServiceImport", "Backend"];
const GROUPS: [&str; 3] = ["", "multicluster.x-k8s.io", "gateway.envoyproxy.io"];

impl Backends<'_> {
    /// Checks the rules of a section that requires a backend.
    pub(crate) fn check_required(&self, report: &mut Report) {
        report.rule(
            self.single.is_some() || self.list.is_some_and(|list| !list.is_empty()),
            "backendRef or backendRefs needs to be set",
        );
        self.check_kinds(report);
    }

    /// Checks the rules of a section that fetches a document from a URI.
    pub(crate) fn check_fetched(&self, report: &mut Report) {
        report.rule(
            self.single.is_none(),
            "BackendRefs must be used, backendRef is not supported.",
        );
        let retry = self.settings.and_then(|settings| settings.retry.as_ref());
        let per_retry = retry.and_then(|retry| retry.per_retry.as_ref());
        report.rule(
            per_retry.is_none_or(|attempt| attempt.timeout.is_none()),
            "Retry timeout is not supported.",
        );
        let on = retry.and_then(|retry| retry.retry_on.as_ref());
        report.rule(
            on.is_none_or(|on| on.http_status_codes.is_none()),
            "HTTPStatusCodes is not supported.",
        );
        self.check_kinds(report);
    }

    fn check_kinds(&self, report: &mut Report) {
        let all = || self.list.into_iter().flatten();
        let kind = |r: &BackendRef| r.kind.as_deref().is_none_or(|kind| KINDS.contains(&kind));
        let group = |r: &BackendRef| {
            r.group
                .as_deref()
                .is_none_or(|group| GROUPS.contains(&group))
        };
        report.rule(
            all().all(kind),
            "BackendRefs only supports Service, ServiceImport, and Backend kind.",
        );
        report.rule(
            all().all(group),
            "BackendRefs only supports Core, multicluster.x-k8s.io, and gateway.envoyproxy.io groups.",
        );
    }
}
