//! `extAuth`: authorization by an external service.

use std::collections::BTreeMap;
use std::sync::Arc;

use towergate_core::plan::{Traffic, WeightedBackend};

use crate::api_struct::{api_struct, string_enum};
use crate::backend_traffic::ClusterSettings;
use crate::check::Report;
use crate::common::{
    BackendRef, Backends, ConfigMapRef, ConfigRef, DurationText, ObjectRef, SingleBackendRef,
};
use crate::ext_auth::{
    AnswerFields, AuthService, DEFAULT_TIMEOUT, ExternalAuth, GrpcAuthService, HttpAuthService,
    LongerBody, SentBody, ServiceFailure, ServicePath,
};
use crate::field_path::FieldPath;
use crate::parse::{forwarded_header_name, header_name, number, positive_duration, status};
use crate::secret::SecretText;
use crate::{FieldError, References};

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
        fail_open: bool = "failOpen" [DefaultFlag(false)],
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
        /// Maximum size of a body in bytes. Larger requests receive 413.
        max_request_bytes: i64 = "maxRequestBytes" [Required, Range(1, 4294967295)],
    }

    /// An additional value that the service receives.
    pub struct ContextExtension, rules {
        /// Name of the value.
        name: String = "name" [Required],
        /// Source of the value. Default: `Value`.
        kind: ContextType = "type" [DefaultText("Value")],
        /// Value as text.
        value: String = "value",
        /// Key of a ConfigMap or Secret with the value.
        value_ref: ConfigRef = "valueRef",
    }
}

impl ExtAuth {
    /// Converts this section of the spec, at `path`.
    pub(super) fn policy(
        &self,
        path: FieldPath<'_>,
        references: &dyn References,
    ) -> Result<ExternalAuth, FieldError> {
        let context = self.context(path.field("contextExtensions"), references)?;
        let (service, backends, traffic) = match (&self.grpc, &self.http) {
            (Some(grpc), _) => {
                let backends = grpc.backends().resolve(path.field("grpc"), references)?;
                let service = GrpcAuthService {
                    context,
                    route_metadata: self.include_route_metadata.unwrap_or(false),
                    ..GrpcAuthService::default()
                };
                let traffic = grpc.backends().traffic(path.field("grpc"))?;
                (AuthService::Grpc(service), backends, traffic)
            }
            (None, Some(http)) => {
                let backends = http.backends().resolve(path.field("http"), references)?;
                let service = http.service(path.field("http"))?;
                let traffic = http.backends().traffic(path.field("http"))?;
                (AuthService::Http(service), backends, traffic)
            }
            (None, None) => {
                let reason = "one of grpc or http must be specified";
                return Err(FieldError::invalid(path, reason));
            }
        };
        let at = path.field("headersToExtAuth");
        let sent = self.headers_to_ext_auth.as_ref().map(|names| {
            let names = names.iter().enumerate();
            let names = names.map(|(index, name)| header_name(at.item(index), name));
            names.collect::<Result<Vec<_>, _>>()
        });
        let body = self.body_to_ext_auth.as_ref();
        let body = body.map(|body| body.sent(path.field("bodyToExtAuth")));
        let on_error = self.status_on_error;
        let on_error = on_error.map(|code| status(path.field("statusOnError"), code));
        let timeout = positive_duration(path.field("timeout"), self.timeout.as_ref())?;
        Ok(ExternalAuth {
            // As in Envoy Gateway, an empty list is treated as absent.
            sent_headers: sent.transpose()?.filter(|names| !names.is_empty()),
            body: body.transpose()?,
            on_failure: match on_error.transpose()? {
                _ if self.fail_open == Some(true) => ServiceFailure::Allow,
                Some(status) => ServiceFailure::Deny(status),
                None => ServiceFailure::default(),
            },
            timeout: timeout.unwrap_or(DEFAULT_TIMEOUT),
            recompute_route: self.recompute_route.unwrap_or(false),
            traffic: Arc::new(traffic),
            ..ExternalAuth::new(service, backends)
        })
    }

    fn context(
        &self,
        path: FieldPath<'_>,
        references: &dyn References,
    ) -> Result<BTreeMap<String, SecretText>, FieldError> {
        let all = self.context_extensions.iter().flatten().enumerate();
        all.map(|(index, extension)| {
            let value = extension.text(path.item(index), references)?;
            let name = extension.name.clone().unwrap_or_default();
            Ok((name, SecretText::new(value)))
        })
        .collect()
    }

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

impl Backends<'_> {
    /// The backends of the section at `path`.
    fn resolve(
        &self,
        path: FieldPath<'_>,
        references: &dyn References,
    ) -> Result<Vec<WeightedBackend>, FieldError> {
        if let Some(list) = self.list.filter(|list| !list.is_empty()) {
            return references.backends(&path.field("backendRefs").to_string(), list);
        }
        let single = self.single.cloned().unwrap_or_default();
        let single = BackendRef {
            group: single.group,
            kind: single.kind,
            name: single.name,
            namespace: single.namespace,
            port: single.port,
            ..BackendRef::default()
        };
        let field = path.field("backendRef").to_string();
        let found = references.backends(&field, &[single]);
        found.map_err(|error| FieldError {
            // `backendRef` is not a list, so the index is removed from the path.
            field: error.field.replacen("[0]", "", 1),
            message: error.message.replacen("[0]", "", 1),
        })
    }

    /// Settings of calls. The timeout is that of `backendSettings`. If it is absent, `timeout` of the section
    /// `extAuth` applies.
    fn traffic(&self, path: FieldPath<'_>) -> Result<Traffic, FieldError> {
        let settings = self.settings.cloned().unwrap_or_default();
        let http = settings
            .timeout
            .as_ref()
            .and_then(|timeout| timeout.http.as_ref());
        let own = http.is_some_and(|http| http.request_timeout.is_some());
        let mut traffic = settings.traffic(path.field("backendSettings"))?;
        if !own {
            traffic.request_timeout = None;
        }
        Ok(traffic)
    }
}

impl BodyToExtAuth {
    fn sent(&self, path: FieldPath<'_>) -> Result<SentBody, FieldError> {
        let max = number(path.field("maxRequestBytes"), self.max_request_bytes)?;
        Ok(SentBody {
            max_bytes: max.unwrap_or_default(),
            longer: LongerBody::Reject,
        })
    }
}

impl GrpcExtAuth {
    fn backends(&self) -> Backends<'_> {
        Backends {
            single: self.backend_ref.as_ref(),
            list: self.backend_refs.as_ref(),
            settings: self.backend_settings.as_ref(),
        }
    }

    fn rules(&self, report: &mut Report) {
        self.backends().check_required(report);
    }
}

impl HttpExtAuth {
    fn service(&self, path: FieldPath<'_>) -> Result<HttpAuthService, FieldError> {
        let at = path.field("headersToBackend");
        let names = self.headers_to_backend.iter().flatten().enumerate();
        let names = names.map(|(index, name)| forwarded_header_name(at.item(index), name));
        let own = match (&self.path, &self.path_override) {
            (_, Some(fixed)) => ServicePath::fixed(fixed)
                .map_err(|error| FieldError::invalid(path.field("pathOverride"), error))?,
            (Some(prefix), None) => ServicePath::prefix(prefix)
                .map_err(|error| FieldError::invalid(path.field("path"), error))?,
            (None, None) => ServicePath::default(),
        };
        Ok(HttpAuthService {
            path: own,
            headers_to_backend: AnswerFields::Listed(names.collect::<Result<_, _>>()?),
        })
    }

    fn backends(&self) -> Backends<'_> {
        Backends {
            single: self.backend_ref.as_ref(),
            list: self.backend_refs.as_ref(),
            settings: self.backend_settings.as_ref(),
        }
    }

    fn rules(&self, report: &mut Report) {
        self.backends().check_required(report);
        report.rule(
            self.path.is_none() || self.path_override.is_none(),
            "only one of path or pathOverride can be specified",
        );
    }
}

impl ContextExtension {
    /// The text of the value.
    fn text(&self, path: FieldPath<'_>, references: &dyn References) -> Result<String, FieldError> {
        let Some(reference) = &self.value_ref else {
            return Ok(self.value.clone().unwrap_or_default());
        };
        let field = path.field("valueRef").to_string();
        let kind = reference.kind.clone().unwrap_or_default();
        let name = reference.name.clone().unwrap_or_default();
        let mut data = if kind == "Secret" {
            let secret = ObjectRef {
                group: reference.group.clone(),
                kind: Some(kind.clone()),
                name: Some(name.clone()),
                ..ObjectRef::default()
            };
            references.secret(&field, &secret)?
        } else {
            let map = ConfigMapRef {
                group: reference.group.clone(),
                kind: Some(kind.clone()),
                name: Some(name.clone()),
            };
            references.config_map(&field, &map)?
        };
        let key = reference.key.as_deref().unwrap_or_default();
        let Some(value) = data.remove(key) else {
            return Err(FieldError::invalid(
                field,
                format_args!("{kind} {name} has no key {key}"),
            ));
        };
        String::from_utf8(value).map_err(|_| {
            FieldError::invalid(field, format_args!("{key} of {kind} {name} is not UTF-8"))
        })
    }

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
