//! HTTPRoute, and what GRPCRoute has of it.

use super::reference::{BackendObjectReference, LocalObjectReference};
use super::route::{BackendRef, RouteSpec};

/// `spec` of an HTTPRoute.
pub type HttpRouteSpec = RouteSpec<HttpRouteRule>;

/// A backend of an HTTPRoute.
pub type HttpBackendRef = BackendRef<HttpRouteFilter>;

objects! {
    /// A rule of an HTTPRoute.
    pub struct HttpRouteRule {
        /// Its name, unique in the route.
        pub name: Option<String>,
        /// Any of these must hold; empty: the path prefix `/`.
        pub matches: Vec<HttpRouteMatch>,
        /// What happens to its requests and responses.
        pub filters: Vec<HttpRouteFilter>,
        /// Where its requests go.
        pub backend_refs: Vec<HttpBackendRef>,
        /// Time limits (GEP-1742).
        pub timeouts: Option<Box<HttpRouteTimeouts>>,
        /// Retries (GEP-1731).
        pub retry: Option<Box<HttpRouteRetry>>,
        /// Session persistence (GEP-1619).
        pub session_persistence: Option<Box<SessionPersistence>>,
    }

    /// What a request must be like; all parts must hold.
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

    /// A path and how it is compared.
    pub struct HttpPathMatch {
        /// `PathPrefix` (the default), `Exact` or `RegularExpression`.
        #[serde(rename = "type")]
        pub kind: Option<String>,
        /// Missing: `/`.
        pub value: Option<String>,
    }

    /// A named value and how it is compared (`HTTPHeaderMatch`, `HTTPQueryParamMatch`).
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
        /// Which of the following it is.
        #[serde(rename = "type")]
        pub kind: String,
        /// `RequestHeaderModifier`.
        pub request_header_modifier: Option<HeaderModifier>,
        /// `ResponseHeaderModifier`.
        pub response_header_modifier: Option<HeaderModifier>,
        /// `RequestMirror`.
        pub request_mirror: Option<RequestMirror>,
        /// `RequestRedirect`.
        pub request_redirect: Option<RequestRedirect>,
        /// `URLRewrite`.
        pub url_rewrite: Option<UrlRewrite>,
        /// `CORS` (GEP-1767).
        pub cors: Option<Cors>,
        /// `ExternalAuth` (GEP-1494).
        pub external_auth: Option<ExternalAuth>,
        /// `ExtensionRef`: a filter of the implementation.
        pub extension_ref: Option<LocalObjectReference>,
    }

    /// Edits of header fields (`HTTPHeaderFilter`).
    pub struct HeaderModifier {
        /// Replaces all values.
        pub set: Vec<Header>,
        /// Adds a value.
        pub add: Vec<Header>,
        /// Removes all values.
        pub remove: Vec<String>,
    }

    /// A header field.
    pub struct Header {
        /// Its name.
        pub name: String,
        /// Its value.
        pub value: String,
    }

    /// Sends a copy elsewhere (`HTTPRequestMirrorFilter`).
    pub struct RequestMirror {
        /// Where to.
        pub backend_ref: BackendObjectReference,
        /// Of a hundred requests.
        pub percent: Option<i32>,
        /// Another share.
        pub fraction: Option<Fraction>,
    }

    /// A share.
    pub struct Fraction {
        /// Of these.
        pub numerator: i32,
        /// Out of these; missing: 100.
        pub denominator: Option<i32>,
    }

    /// Sends the client elsewhere (`HTTPRequestRedirectFilter`).
    pub struct RequestRedirect {
        /// `http` or `https`.
        pub scheme: Option<String>,
        /// The host.
        pub hostname: Option<String>,
        /// The path.
        pub path: Option<PathModifier>,
        /// The port.
        pub port: Option<i32>,
        /// 301, 302 (the default), 303, 307 or 308.
        pub status_code: Option<i32>,
    }

    /// Changes what the backend sees (`HTTPURLRewriteFilter`).
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
        /// The whole path.
        pub replace_full_path: Option<String>,
        /// What replaces the prefix that matched.
        pub replace_prefix_match: Option<String>,
    }

    /// Cross-origin requests (`HTTPCORSFilter`).
    pub struct Cors {
        /// Origins.
        pub allow_origins: Vec<String>,
        /// With credentials.
        pub allow_credentials: Option<bool>,
        /// Methods.
        pub allow_methods: Vec<String>,
        /// Request headers.
        pub allow_headers: Vec<String>,
        /// Response headers.
        pub expose_headers: Vec<String>,
        /// How long the answer holds, in seconds.
        pub max_age: Option<i32>,
    }

    /// Asks a service whether a request may pass (`HTTPExternalAuthFilter`).
    pub struct ExternalAuth {
        /// `GRPC` or `HTTP`.
        pub protocol: String,
        /// The service.
        pub backend_ref: BackendObjectReference,
        /// For `GRPC`.
        pub grpc: Option<GrpcAuth>,
        /// For `HTTP`.
        pub http: Option<HttpAuth>,
        /// Whether the body is sent along.
        pub forward_body: Option<ForwardBody>,
    }

    /// External authorization over gRPC.
    pub struct GrpcAuth {
        /// Headers that are sent along.
        pub allowed_headers: Vec<String>,
    }

    /// External authorization over HTTP.
    pub struct HttpAuth {
        /// Prefix of the path.
        pub path: Option<String>,
        /// Headers that are sent along.
        pub allowed_headers: Vec<String>,
        /// Headers of the answer that are passed on.
        pub allowed_response_headers: Vec<String>,
    }

    /// Whether the body is sent along.
    pub struct ForwardBody {
        /// Bytes at most.
        pub max_size: Option<i32>,
    }

    /// Time limits of a rule (durations as in GEP-2257; `0s`: none).
    pub struct HttpRouteTimeouts {
        /// For the whole request.
        pub request: Option<String>,
        /// For each attempt.
        pub backend_request: Option<String>,
    }

    /// Retries of a rule.
    pub struct HttpRouteRetry {
        /// Statuses that are worth another try.
        pub codes: Vec<i32>,
        /// Tries after the first.
        pub attempts: Option<i32>,
        /// Time between tries (GEP-2257).
        pub backoff: Option<String>,
    }

    /// Keeps a client on one endpoint.
    pub struct SessionPersistence {
        /// Name of the cookie or header.
        pub session_name: Option<String>,
        /// Age at which a session ends.
        pub absolute_timeout: Option<String>,
        /// Idle time after which a session ends.
        pub idle_timeout: Option<String>,
        /// `Cookie` (the default) or `Header`.
        #[serde(rename = "type")]
        pub kind: Option<String>,
        /// For `Cookie`.
        pub cookie_config: Option<CookieConfig>,
    }

    /// How a session's cookie lives.
    pub struct CookieConfig {
        /// `Session` (the default) or `Permanent`.
        pub lifetime_type: Option<String>,
    }
}
