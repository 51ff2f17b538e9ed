//! HTTPRoute, and types that GRPCRoute shares with it.

use super::reference::{BackendObjectReference, LocalObjectReference};
use super::route::{BackendRef, RouteSpec};

/// `spec` of an HTTPRoute.
pub type HttpRouteSpec = RouteSpec<HttpRouteRule>;

/// A backend of an HTTPRoute.
pub type HttpBackendRef = BackendRef<HttpRouteFilter>;

objects! {
    /// A rule of an HTTPRoute.
    pub struct HttpRouteRule {
        /// Name, unique in the route.
        pub name: Option<String>,
        /// Matches, of which one must apply. Default: the path prefix `/`.
        pub matches: Vec<HttpRouteMatch>,
        /// Filters of requests and responses of the rule.
        pub filters: Vec<HttpRouteFilter>,
        /// Backends of the requests of the rule.
        pub backend_refs: Vec<HttpBackendRef>,
        /// Timeouts (GEP-1742).
        pub timeouts: Option<Box<HttpRouteTimeouts>>,
        /// Retries (GEP-1731).
        pub retry: Option<Box<HttpRouteRetry>>,
        /// Session persistence (GEP-1619).
        pub session_persistence: Option<Box<SessionPersistence>>,
    }

    /// A match of a request. All parts must apply.
    pub struct HttpRouteMatch {
        /// The path.
        pub path: Option<HttpPathMatch>,
        /// Headers.
        pub headers: Vec<HttpValueMatch>,
        /// Query parameters.
        pub query_params: Vec<HttpValueMatch>,
        /// The method.
        pub method: Option<String>,
    }

    /// A match of the path.
    pub struct HttpPathMatch {
        /// `PathPrefix` (the default), `Exact` or `RegularExpression`.
        #[serde(rename = "type")]
        pub kind: Option<String>,
        /// Value to compare with. Default: `/`.
        pub value: Option<String>,
    }

    /// A match of a named value (`HTTPHeaderMatch`, `HTTPQueryParamMatch`).
    pub struct HttpValueMatch {
        /// `Exact` (the default) or `RegularExpression`.
        #[serde(rename = "type")]
        pub kind: Option<String>,
        /// The name.
        pub name: String,
        /// The value.
        pub value: String,
    }

    /// A filter of a rule or a backendRef of an HTTPRoute.
    pub struct HttpRouteFilter {
        /// Type, which names the field that is set.
        #[serde(rename = "type")]
        pub kind: String,
        /// Settings for type `RequestHeaderModifier`.
        pub request_header_modifier: Option<HeaderModifier>,
        /// Settings for type `ResponseHeaderModifier`.
        pub response_header_modifier: Option<HeaderModifier>,
        /// Settings for type `RequestMirror`.
        pub request_mirror: Option<RequestMirror>,
        /// Settings for type `RequestRedirect`.
        pub request_redirect: Option<RequestRedirect>,
        /// Settings for type `URLRewrite`.
        pub url_rewrite: Option<UrlRewrite>,
        /// `CORS` (GEP-1767).
        pub cors: Option<Cors>,
        /// `ExternalAuth` (GEP-1494).
        pub external_auth: Option<ExternalAuth>,
        /// `ExtensionRef`: an implementation-specific filter.
        pub extension_ref: Option<LocalObjectReference>,
    }

    /// Edits of header fields (`HTTPHeaderFilter`).
    pub struct HeaderModifier {
        /// Header fields whose values are replaced.
        pub set: Vec<Header>,
        /// Adds a value.
        pub add: Vec<Header>,
        /// Names of header fields that are removed.
        pub remove: Vec<String>,
    }

    /// A header field.
    pub struct Header {
        /// Name.
        pub name: String,
        /// Value.
        pub value: String,
    }

    /// Sends a copy of the request to another backend (`HTTPRequestMirrorFilter`).
    pub struct RequestMirror {
        /// Backend to which the copies are sent.
        pub backend_ref: BackendObjectReference,
        /// Percentage of requests that are copied.
        pub percent: Option<i32>,
        /// Fraction of requests that are copied.
        pub fraction: Option<Fraction>,
    }

    /// A fraction.
    pub struct Fraction {
        /// Numerator.
        pub numerator: i32,
        /// Denominator. Default: 100.
        pub denominator: Option<i32>,
    }

    /// Redirects the client (`HTTPRequestRedirectFilter`).
    pub struct RequestRedirect {
        /// `http` or `https`.
        pub scheme: Option<String>,
        /// Hostname of the `Location` header.
        pub hostname: Option<String>,
        /// The path.
        pub path: Option<PathModifier>,
        /// The port.
        pub port: Option<i32>,
        /// 301, 302 (the default), 303, 307 or 308.
        pub status_code: Option<i32>,
    }

    /// Rewrites the request to the backend (`HTTPURLRewriteFilter`).
    pub struct UrlRewrite {
        /// The `Host`.
        pub hostname: Option<String>,
        /// The path.
        pub path: Option<PathModifier>,
    }

    /// A change of a path (`HTTPPathModifier`).
    pub struct PathModifier {
        /// `ReplaceFullPath` or `ReplacePrefixMatch`.
        #[serde(rename = "type")]
        pub kind: String,
        /// The new path.
        pub replace_full_path: Option<String>,
        /// Replacement of the matched prefix.
        pub replace_prefix_match: Option<String>,
    }

    /// Cross-origin requests (`HTTPCORSFilter`).
    pub struct Cors {
        /// Origins.
        pub allow_origins: Vec<String>,
        /// Whether credentials are allowed.
        pub allow_credentials: Option<bool>,
        /// Methods.
        pub allow_methods: Vec<String>,
        /// Request headers.
        pub allow_headers: Vec<String>,
        /// Response headers.
        pub expose_headers: Vec<String>,
        /// Lifetime of a preflight response, in seconds. Default: 5.
        pub max_age: Option<i32>,
    }

    /// Authorizes requests by an external service (`HTTPExternalAuthFilter`).
    pub struct ExternalAuth {
        /// `GRPC` or `HTTP`.
        pub protocol: String,
        /// The service.
        pub backend_ref: BackendObjectReference,
        /// Settings for `GRPC`.
        pub grpc: Option<GrpcAuth>,
        /// Settings for `HTTP`.
        pub http: Option<HttpAuth>,
        /// The part of the body that is sent to the service.
        pub forward_body: Option<ForwardBody>,
    }

    /// External authorization over gRPC.
    pub struct GrpcAuth {
        /// Headers that are sent to the service.
        pub allowed_headers: Vec<String>,
    }

    /// External authorization over HTTP.
    pub struct HttpAuth {
        /// Prefix of the path.
        pub path: Option<String>,
        /// Headers that are sent to the service.
        pub allowed_headers: Vec<String>,
        /// Headers of the response that are added to the request.
        pub allowed_response_headers: Vec<String>,
    }

    /// The part of the body that is sent to the service.
    pub struct ForwardBody {
        /// Maximum length, in bytes.
        pub max_size: Option<i32>,
    }

    /// Timeouts of a rule, as GEP-2257 durations. `0s`: no timeout.
    pub struct HttpRouteTimeouts {
        /// Timeout of the whole request.
        pub request: Option<String>,
        /// Timeout of each attempt.
        pub backend_request: Option<String>,
    }

    /// Retries of a rule.
    pub struct HttpRouteRetry {
        /// Statuses that are retried.
        pub codes: Vec<i32>,
        /// Number of retries.
        pub attempts: Option<i32>,
        /// Backoff between retries (GEP-2257).
        pub backoff: Option<String>,
    }

    /// Session persistence: requests of a client go to one endpoint. `session_name` and `cookie_config` are
    /// the fields of Gateway API 1.6; 1.7 has `cookie` and `header` instead.
    pub struct SessionPersistence {
        /// Name of the cookie or header.
        pub session_name: Option<String>,
        /// Maximum age of a session.
        pub absolute_timeout: Option<String>,
        /// Idle timeout of a session.
        pub idle_timeout: Option<String>,
        /// `Cookie` (the default) or `Header`.
        #[serde(rename = "type")]
        pub kind: Option<String>,
        /// Settings for `Cookie`, in Gateway API 1.6.
        pub cookie_config: Option<SessionCookieConfig>,
        /// Settings for `Cookie`.
        pub cookie: Option<SessionCookie>,
        /// Settings for `Header`.
        pub header: Option<SessionHeader>,
    }

    /// Lifetime of a session cookie.
    pub struct SessionCookieConfig {
        /// `Session` (the default) or `Permanent`.
        pub lifetime_type: Option<String>,
    }

    /// The cookie of a session.
    pub struct SessionCookie {
        /// Name. Default: unique for the rule.
        pub name: Option<String>,
        /// `Path` attribute. Default: `/`.
        pub path: Option<String>,
        /// `Session` (the default) or `Permanent`.
        pub lifetime_type: Option<String>,
    }

    /// The header field of a session.
    pub struct SessionHeader {
        /// Name.
        pub name: String,
    }
}
