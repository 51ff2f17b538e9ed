//! `spec` of a SecurityPolicy as it is written, with the limits of its fields.

use super::authorization::Authorization;
use super::jwt::Jwt;
use super::oidc::Oidc;
use crate::api_struct::{api_struct, string_enum};
use crate::backend_traffic::{ClusterSettings, MergeType};
use crate::check::{Report, SchemaViolation, count};
use crate::common::{
    BackendRef, Backends, ConfigRef, Deprecated, DurationText, Fraction, ObjectRef,
    SingleBackendRef, TargetRef, TargetSelector, Targets,
};
use crate::{FieldError, Policy};

string_enum! {
    /// Where a value is.
    pub enum ContextType {
        Value = "Value",
        ValueRef = "ValueRef",
    }
}

api_struct! {
    /// `spec` of a SecurityPolicy.
    pub struct SecurityPolicySpec, rules {
        /// The target (deprecated).
        target_ref: TargetRef = "targetRef",
        /// The targets.
        target_refs: Vec<TargetRef> = "targetRefs",
        /// Further targets, by label.
        target_selectors: Vec<TargetSelector> = "targetSelectors",
        /// How the policy is merged into its parent; not at all if it is not given.
        merge_type: MergeType = "mergeType",
        /// API keys.
        api_key_auth: ApiKeyAuth = "apiKeyAuth",
        /// Requests of pages of other origins.
        cors: Cors = "cors",
        /// Forged requests of pages of other origins.
        csrf: Csrf = "csrf",
        /// Names and passwords.
        basic_auth: BasicAuth = "basicAuth",
        /// Tokens.
        jwt: Jwt = "jwt",
        /// Logins by OpenID Connect.
        oidc: Oidc = "oidc",
        /// A service that decides.
        ext_auth: ExtAuth = "extAuth",
        /// Who may do what.
        authorization: Authorization = "authorization",
    }

    /// API keys.
    pub struct ApiKeyAuth {
        /// The keys.
        credential_refs: Vec<ObjectRef> = "credentialRefs" [Required],
        /// Where requests have theirs.
        extract_from: Vec<ApiKeySource> = "extractFrom" [Required, Items(1, 1024)],
        /// The header that tells the backend whose key it was.
        forward_client_id_header: String = "forwardClientIDHeader",
        /// The key is not sent on.
        sanitize: bool = "sanitize",
    }

    /// Where a request has its key.
    pub struct ApiKeySource, rules {
        /// In these headers.
        headers: Vec<String> = "headers" [Items(1, 1024), Length(1, 65536)],
        /// In these query parameters.
        params: Vec<String> = "params" [Items(1, 1024), Length(1, 65536)],
        /// In these cookies.
        cookies: Vec<String> = "cookies" [Items(1, 1024), Length(1, 65536)],
    }

    /// Requests of pages of other origins.
    pub struct Cors {
        /// Origins.
        allow_origins: Vec<String> = "allowOrigins" [Length(1, 253), Pattern(ORIGIN)],
        /// Methods.
        allow_methods: Vec<String> = "allowMethods",
        /// Headers of requests.
        allow_headers: Vec<String> = "allowHeaders",
        /// Headers of responses.
        expose_headers: Vec<String> = "exposeHeaders",
        /// How long a browser may remember it.
        max_age: DurationText = "maxAge",
        /// Cookies may be sent.
        allow_credentials: bool = "allowCredentials",
    }

    /// Forged requests of pages of other origins.
    pub struct Csrf {
        /// Origins besides the request's own host.
        additional_origins: Vec<String> = "additionalOrigins" [Items(0, 16), Length(1, 253), Pattern(ORIGIN)],
        /// Share of the requests that are only counted.
        shadow_fraction: Fraction = "shadowFraction",
    }

    /// Names and passwords.
    pub struct BasicAuth {
        /// A Secret with a list of users.
        users: ObjectRef = "users" [Required],
        /// The header that tells the backend the name.
        forward_username_header: String = "forwardUsernameHeader",
    }

    /// A service that decides.
    pub struct ExtAuth, rules {
        /// Asked by gRPC.
        grpc: GrpcExtAuth = "grpc",
        /// Asked by HTTP.
        http: HttpExtAuth = "http",
        /// Headers that it sees.
        headers_to_ext_auth: Vec<String> = "headersToExtAuth",
        /// It sees the body.
        body_to_ext_auth: BodyToExtAuth = "bodyToExtAuth",
        /// Further values that it sees.
        context_extensions: Vec<ContextExtension> = "contextExtensions",
        /// Requests pass when it does not answer.
        fail_open: bool = "failOpen",
        /// It sees what is known of the route.
        include_route_metadata: bool = "includeRouteMetadata",
        /// The request is routed once more afterwards.
        recompute_route: bool = "recomputeRoute",
        /// The answer when it does not answer.
        status_on_error: i64 = "statusOnError" [Range(400, 599)],
        /// How long it may take.
        timeout: DurationText = "timeout",
    }

    /// The service, asked by gRPC.
    pub struct GrpcExtAuth, rules {
        /// The service (deprecated).
        backend_ref: SingleBackendRef = "backendRef",
        /// The service.
        backend_refs: Vec<BackendRef> = "backendRefs" [Items(0, 16)],
        /// How it is reached.
        backend_settings: ClusterSettings = "backendSettings",
    }

    /// The service, asked by HTTP.
    pub struct HttpExtAuth, rules {
        /// The service (deprecated).
        backend_ref: SingleBackendRef = "backendRef",
        /// The service.
        backend_refs: Vec<BackendRef> = "backendRefs" [Items(0, 16)],
        /// How it is reached.
        backend_settings: ClusterSettings = "backendSettings",
        /// What stands before the request's path.
        path: String = "path",
        /// What stands in place of the request's path.
        path_override: String = "pathOverride",
        /// Headers of its answer that the backend sees.
        headers_to_backend: Vec<String> = "headersToBackend",
    }

    /// The service sees the body.
    pub struct BodyToExtAuth {
        /// The largest.
        max_request_bytes: i64 = "maxRequestBytes" [Required, Range(1, 4294967295)],
    }

    /// A value that the service sees.
    pub struct ContextExtension, rules {
        /// Its name.
        name: String = "name" [Required],
        /// Where it is.
        kind: ContextType = "type",
        /// The value.
        value: String = "value",
        /// The object that holds it.
        value_ref: ConfigRef = "valueRef",
    }
}

/// An origin, `*`, or an origin with a wildcard host.
pub(crate) const ORIGIN: &str = r"^(\*|https?:\/\/(\*|(\*\.)?(([\w-]+\.?)+)?[\w-]+)(:\d{1,5})?)$";

const KINDS: [&str; 5] = [
    "Gateway",
    "ListenerSet",
    "HTTPRoute",
    "GRPCRoute",
    "TCPRoute",
];

impl SecurityPolicySpec {
    /// What the policy is attached to.
    pub fn targets(&self) -> Targets<'_> {
        Targets {
            single: self.target_ref.as_ref(),
            list: self.target_refs.as_deref().unwrap_or_default(),
            selectors: self.target_selectors.as_deref().unwrap_or_default(),
        }
    }

    /// Everything that the API server would refuse; empty: valid.
    pub fn validate(&self) -> Vec<SchemaViolation> {
        Report::of(self)
    }

    /// The deprecated fields that are given; also of a policy that is refused.
    pub fn deprecated(&self) -> Vec<Deprecated> {
        let given = self.target_ref.is_some().then_some(Deprecated {
            field: "spec.targetRef",
            instead: "spec.targetRefs",
        });
        given.into_iter().collect()
    }

    /// The policies that enforce this spec: none, since it asks for nothing.
    ///
    /// # Errors
    /// The first field that asks for something: nothing of this kind is enforced yet.
    pub fn policies(&self) -> Result<Vec<Policy>, FieldError> {
        let Self {
            target_ref: _,
            target_refs: _,
            target_selectors: _,
            merge_type,
            api_key_auth,
            cors,
            csrf,
            basic_auth,
            jwt,
            oidc,
            ext_auth,
            authorization,
        } = self;
        for (field, given) in [
            ("spec.mergeType", merge_type.is_some()),
            ("spec.apiKeyAuth", api_key_auth.is_some()),
            ("spec.cors", cors.is_some()),
            ("spec.csrf", csrf.is_some()),
            ("spec.basicAuth", basic_auth.is_some()),
            ("spec.jwt", jwt.is_some()),
            ("spec.oidc", oidc.is_some()),
            ("spec.extAuth", ext_auth.is_some()),
            ("spec.authorization", authorization.is_some()),
        ] {
            FieldError::require(!given, field)?;
        }
        Ok(Vec::new())
    }

    fn rules(&self, report: &mut Report) {
        self.targets().check(&KINDS, report);
        report.rule(
            self.merge_type != Some(MergeType::Replace),
            "Replace is not a valid MergeType for SecurityPolicy",
        );
        report.rule(
            self.merge_type.is_none() || self.targets_routes(),
            "MergeType can only be set when targeting xRoute resources",
        );
        let rules = self.authorization.as_ref().and_then(|a| a.rules.as_ref());
        let only_networks = rules.is_none_or(|rules| rules.iter().all(|r| r.is_only_networks()));
        let others = [
            self.api_key_auth.is_some(),
            self.cors.is_some(),
            self.csrf.is_some(),
            self.basic_auth.is_some(),
            self.jwt.is_some(),
            self.oidc.is_some(),
            self.ext_auth.is_some(),
        ];
        let tcp = (self.targets().refs()).any(|t| t.kind.as_deref() == Some("TCPRoute"));
        report.rule(
            !tcp || only_networks && count(&others) == 0,
            "a policy of a TCPRoute can only have authorization rules with clientCIDRs",
        );
    }

    fn targets_routes(&self) -> bool {
        let route = |kind: &str| kind.ends_with("Route");
        self.targets()
            .refs()
            .all(|t| t.kind.as_deref().is_none_or(route))
            && self
                .targets()
                .selectors
                .iter()
                .all(|s| s.kind.as_deref().is_none_or(route))
    }
}

impl ApiKeySource {
    fn rules(&self, report: &mut Report) {
        let given = [
            self.headers.is_some(),
            self.params.is_some(),
            self.cookies.is_some(),
        ];
        report.rule(
            count(&given) == 1,
            "exactly one of headers, params, or cookies must be specified",
        );
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
        .check_given(report);
    }
}

impl HttpExtAuth {
    fn rules(&self, report: &mut Report) {
        Backends {
            single: self.backend_ref.as_ref(),
            list: self.backend_refs.as_ref(),
            settings: self.backend_settings.as_ref(),
        }
        .check_given(report);
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
