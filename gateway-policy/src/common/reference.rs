//! References to other objects.

use crate::api_struct::api_struct;
use crate::backend_traffic::ClusterSettings;
use crate::check::Report;

api_struct! {
    /// A Secret, ConfigMap or ClusterTrustBundle.
    pub struct ObjectRef {
        /// Its group; empty by default.
        group: String = "group" [Length(0, 253)],
        /// Its kind; `Secret` by default.
        kind: String = "kind" [Length(1, 63)],
        /// Its name.
        name: String = "name" [Required, Length(1, 253)],
        /// Its namespace; that of the policy by default.
        namespace: String = "namespace" [Length(1, 63)],
    }

    /// A ConfigMap in the policy's namespace.
    pub struct ConfigMapRef {
        /// Its group.
        group: String = "group" [Length(0, 253)],
        /// Its kind.
        kind: String = "kind" [Required, Length(1, 63)],
        /// Its name.
        name: String = "name" [Required, Length(1, 253)],
    }

    /// A key of a ConfigMap or Secret in the policy's namespace.
    pub struct ConfigRef {
        /// Its group.
        group: String = "group" [Length(0, 253)],
        /// Its kind.
        kind: String = "kind" [Required, Length(1, 63)],
        /// Its name.
        name: String = "name" [Required, Length(1, 253)],
        /// The key.
        key: String = "key" [Required],
    }

    /// The backend that a policy itself talks to (deprecated: a list took its place).
    pub struct SingleBackendRef {
        /// Its group; empty by default.
        group: String = "group" [Length(0, 253)],
        /// Its kind; `Service` by default.
        kind: String = "kind" [Length(1, 63)],
        /// Its name.
        name: String = "name" [Required, Length(1, 253)],
        /// Its namespace; that of the policy by default.
        namespace: String = "namespace" [Length(1, 63)],
        /// The port of a Service.
        port: i64 = "port" [Range(1, 65535)],
    }

    /// One of the backends that a policy itself talks to.
    pub struct BackendRef {
        /// Its group; empty by default.
        group: String = "group" [Length(0, 253)],
        /// Its kind; `Service` by default.
        kind: String = "kind" [Length(1, 63)],
        /// Its name.
        name: String = "name" [Required, Length(1, 253)],
        /// Its namespace; that of the policy by default.
        namespace: String = "namespace" [Length(1, 63)],
        /// The port of a Service.
        port: i64 = "port" [Range(1, 65535)],
        /// Used only when the others fail.
        fallback: bool = "fallback",
        /// Its share of the requests.
        weight: i64 = "weight" [Range(0, 1000000)],
    }
}

/// What several policies say about the backends that they talk to themselves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backends<'a> {
    /// `backendRef` (deprecated).
    pub(crate) single: Option<&'a SingleBackendRef>,
    /// `backendRefs`.
    pub(crate) list: Option<&'a Vec<BackendRef>>,
    /// `backendSettings`.
    pub(crate) settings: Option<&'a ClusterSettings>,
}

impl Backends<'_> {
    /// Rules where a backend must be given.
    pub(crate) fn check_given(&self, report: &mut Report) {
        report.rule(
            self.single.is_some() || self.list.is_some_and(|list| !list.is_empty()),
            "backendRef or backendRefs needs to be set",
        );
        self.check_kinds(report);
    }

    /// Rules where something is fetched from a backend.
    pub(crate) fn check_fetched(&self, report: &mut Report) {
        report.rule(
            self.single.is_none(),
            "BackendRefs must be used, backendRef is not supported.",
        );
        let retry = self.settings.and_then(|settings| settings.retry.as_ref());
        let per_retry = retry.and_then(|retry| retry.per_retry.as_ref());
        report.rule(
            per_retry.is_none_or(|each| each.timeout.is_none()),
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
        let kinds = ["Service", "ServiceImport", "Backend"];
        let groups = ["", "multicluster.x-k8s.io", "gateway.envoyproxy.io"];
        report.rule(
            all().all(|r| r.kind.as_deref().is_none_or(|kind| kinds.contains(&kind))),
            "BackendRefs only supports Service, ServiceImport, and Backend kind.",
        );
        report.rule(
            all().all(|r| r.group.as_deref().is_none_or(|group| groups.contains(&group))),
            "BackendRefs only supports Core, multicluster.x-k8s.io, and gateway.envoyproxy.io groups.",
        );
    }
}
