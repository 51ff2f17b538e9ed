//! `extAuth`: authorization by an external service.

use crate::api_struct::{api_struct, string_enum};
use crate::backend_traffic::ClusterSettings;
use crate::check::Report;
use crate::common::{BackendRef, Backends, ConfigRef, DurationText, SingleBackendRef};

string_enum! {
    /// The source of a context value.
    pub enum ContextType {
        Value = "Value",
        ValueRef = "ValueRef",
    }
}

api_struct! {
    /// Authorization by an external service. Either `grpc` or `http` must be set.
    pub struct ExtAuth, rules {
        /// Service with the gRPC protocol of Envoy (`envoy.service.auth.v3.Authorization`).
        grpc: GrpcExtAuth = "grpc",
        /// Service with HTTP: status 200 allows the request.
        http: HttpExtAuth = "http",
        /// Request headers that the service receives. Default: all (gRPC); `Host`, `Method`, `Path`,
        /// `Content-Length` and `Authorization` (HTTP).
        headers_to_ext_auth: Vec<String> = "headersToExtAuth",
        /// Request body that the service receives. Default: none.
        body_to_ext_auth: BodyToExtAuth = "bodyToExtAuth",
        /// Additional values that the service receives.
        context_extensions: Vec<ContextExtension> = "contextExtensions",
        /// Whether requests are allowed while the service is unavailable. Default: `false`.
        fail_open: bool = "failOpen",
        /// Whether the service receives the metadata of the route. Default: `false`.
        include_route_metadata: bool = "includeRouteMetadata",
        /// Whether the request is routed again after the service has changed it. Default: `false`.
        recompute_route: bool = "recomputeRoute",
        /// Status of the response while the service is unavailable. Default: 403.
        status_on_error: i64 = "statusOnError" [Range(400, 599)],
        /// Time limit of the service. Default: 10 seconds.
        timeout: DurationText = "timeout",
    }

    /// A service with the gRPC protocol of Envoy.
    pub struct GrpcExtAuth, rules {
        /// Backend of the service. Superseded by `backendRefs`.
        backend_ref: SingleBackendRef = "backendRef",
        /// Backends of the service.
        backend_refs: Vec<BackendRef> = "backendRefs" [Items(0, 16)],
        /// Settings of the connections to the service.
        backend_settings: ClusterSettings = "backendSettings",
    }

    /// A service with HTTP.
    pub struct HttpExtAuth, rules {
        /// Backend of the service. Superseded by `backendRefs`.
        backend_ref: SingleBackendRef = "backendRef",
        /// Backends of the service.
        backend_refs: Vec<BackendRef> = "backendRefs" [Items(0, 16)],
        /// Settings of the connections to the service.
        backend_settings: ClusterSettings = "backendSettings",
        /// Prefix that is added to the path of the request.
        path: String = "path",
        /// Path that replaces that of the request.
        path_override: String = "pathOverride",
        /// Headers of the service's response that the backend receives.
        headers_to_backend: Vec<String> = "headersToBackend",
    }

    /// The request body that the service receives.
    pub struct BodyToExtAuth {
        /// Maximum size of a body in bytes. Larger requests are answered 413.
        max_request_bytes: i64 = "maxRequestBytes" [Required, Range(1, 4294967295)],
    }

    /// An additional value that the service receives.
    pub struct ContextExtension, rules {
        /// Name of the value.
        name: String = "name" [Required],
        /// Source of the value. Default: `Value`.
        kind: ContextType = "type",
        /// Value as text.
        value: String = "value",
        /// Key of a ConfigMap or Secret with the value.
        value_ref: ConfigRef = "valueRef",
    }
}

impl ExtAuth {
    fn rules(&self, report: &mut Report) {
        report.rule(
            self.grpc.is_some() || self.http.is_some(),
            "one of grpc or http must be specified",
        );
        report.rule(
            self.grpc.is_none() || self.http.is_none(),
            "only one of grpc or http can be specified",
        );
    }
}

impl GrpcExtAuth {
    fn rules(&self, report: &mut Report) {
        Backends {
            single: self.backend_ref.as_ref(),
            list: self.backend_refs.as_ref(),
            settings: self.backend_settings.as_ref(),
        }
        .check_required(report);
    }
}

impl HttpExtAuth {
    fn rules(&self, report: &mut Report) {
        Backends {
            single: self.backend_ref.as_ref(),
            list: self.backend_refs.as_ref(),
            settings: self.backend_settings.as_ref(),
        }
        .check_required(report);
        report.rule(
            self.path.is_none() || self.path_override.is_none(),
            "only one of path or pathOverride can be specified",
        );
    }
}

impl ContextExtension {
    fn rules(&self, report: &mut Report) {
        let by_reference = self.kind == Some(ContextType::ValueRef);
        report.rule(
            self.value_ref.is_some() == by_reference && self.value.is_some() != by_reference,
            "Exactly one of value or valueRef must be set with correct type.",
        );
        let kind = self.value_ref.as_ref().and_then(|v| v.kind.as_deref());
        report.rule(
            kind.is_none_or(|kind| matches!(kind, "ConfigMap" | "Secret")),
            "Only a reference to an object of kind ConfigMap or Secret belonging to default v1 API group is supported.",
        );
    }
}
