//! The settings in the annotations of one Ingress.

use towergate_core::filter::OriginPattern;

use super::deny_rules::DenyRule;
use super::value::UrlParts;
use crate::objects::ObjectKey;

/// Settings that apply to every location of an Ingress.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct IngressSettings {
    /// Whether HTTP redirects to HTTPS on hosts with TLS (`ssl-redirect`). Default: the ConfigMap's value.
    pub ssl_redirect: bool,
    /// Whether HTTP always redirects to HTTPS (`force-ssl-redirect`). Default: the ConfigMap's value.
    pub force_ssl_redirect: bool,
    /// Whether redirects to HTTPS keep a trailing slash (`preserve-trailing-slash`).
    pub preserve_trailing_slash: bool,
    /// Redirect of all requests (`permanent-redirect` or `temporal-redirect`).
    pub redirect: Option<Redirect>,
    /// Target of a redirect of `/` (`app-root`).
    pub app_root: Option<String>,
    /// Whether the host's name with or without `www.` redirects to the host (`from-to-www-redirect`).
    pub from_to_www: bool,
    /// Further names of the host (`server-alias`).
    pub aliases: Vec<String>,
    /// New path of requests to the backend (`rewrite-target`).
    pub rewrite: Option<String>,
    /// Whether paths are regular expressions (`use-regex`). A rewrite implies it.
    pub use_regex: bool,
    /// Value of `X-Forwarded-Prefix` for the backend (`x-forwarded-prefix`).
    pub forwarded_prefix: Option<String>,
    /// Networks of the allowed clients (`allowlist-source-range`). Default: the ConfigMap's value. Empty: all
    /// clients.
    pub allow: Vec<String>,
    /// Networks of the denied clients (`denylist-source-range`). Default: the ConfigMap's value.
    pub deny: Vec<String>,
    /// Whether one of source range and authentication is sufficient (`satisfy: any`).
    pub satisfy_any: bool,
    /// Basic authentication (`auth-type: basic`).
    pub basic_auth: Option<BasicAuth>,
    /// External authentication (`auth-url`).
    pub external_auth: Option<ExternalAuthSettings>,
    /// CORS settings (`enable-cors`).
    pub cors: Option<CorsSettings>,
    /// `backend-protocol` and other settings of the backend.
    pub backend: BackendSettings,
    /// Timeouts and retries.
    pub proxy: ProxySettings,
    /// Session affinity (`affinity: cookie`).
    pub affinity: Option<Affinity>,
    /// Input of the hash that selects an endpoint (`upstream-hash-by`).
    pub hash_by: Option<HashInput>,
    /// Load balancing algorithm (`load-balance`).
    pub load_balance: Option<String>,
    /// Rate limits (`limit-rps` and `limit-rpm`).
    pub limits: Limits,
    /// Canary settings (`canary`). `None`: the Ingress is not a canary.
    pub canary: Option<Canary>,
    /// Header fields of responses, from `custom-headers` and snippets.
    pub response_headers: Vec<(String, String)>,
    /// Header fields that are removed from responses.
    pub hidden_headers: Vec<String>,
    /// Header fields of requests to the backend, from snippets.
    pub request_headers: Vec<(String, String)>,
    /// Address that receives copies of requests (`mirror-target`).
    pub mirror: Option<UrlParts>,
    /// Statuses whose responses are replaced by an error page (`custom-http-errors`). Default: the
    /// ConfigMap's value.
    pub error_codes: Vec<u16>,
    /// `default-backend`: a Service of the Ingress's namespace, for requests whose own Service has no
    /// endpoints.
    pub default_backend: Option<String>,
    /// Verification of client certificates (`auth-tls-secret`).
    pub client_cert: Option<ClientCert>,
    /// Whether the hosts of the Ingress return 403 for every request, because the CA certificates of
    /// `auth-tls-secret` cannot be used.
    pub refuses_hosts: bool,
    /// Whether TLS is passed through (`ssl-passthrough`), if the controller's flag enables it.
    pub passthrough: bool,
    /// Header fields that are removed from requests to the backend, from snippets.
    pub removed_request_headers: Vec<String>,
    /// Redirects of single paths, from snippets.
    pub locations: Vec<SnippetLocation>,
    /// Requests that snippets reject.
    pub deny_rules: Vec<DenyRule>,
    /// `allow` and `deny` directives of snippets. The first one that matches applies. The networks in the
    /// field `deny` are evaluated before them. If the field `allow` is not empty, nginx ignores the
    /// directives, because the list of the annotation ends with `deny all`.
    pub access_rules: Vec<AccessRule>,
    /// `server-snippet`, which applies to all paths of its hosts.
    pub of_server: Option<Box<IngressSettings>>,
    /// The setting because of which requests to the Ingress's locations receive an error and no backend is
    /// called.
    pub denied: Option<String>,
    /// Whether ingress-nginx also returns 503 for the locations. If `denied` is set and ingress-nginx does
    /// not, the translation is stricter.
    pub nginx_denies: bool,
    /// Whether digest authentication is required (`auth-type: digest`).
    pub digest_auth: bool,
    /// Regular expressions of `server-alias`, without `~`.
    pub alias_patterns: Vec<String>,
    /// Pattern for the subject of client certificates (`auth-tls-match-cn`).
    pub match_subject: Option<String>,
    /// The setting because of which the whole Ingress is ignored.
    pub dropped: Option<String>,
}

impl IngressSettings {
    /// Whether requests to the locations of both Ingresses pass the same checks: source ranges,
    /// authentication, limits.
    pub(crate) fn has_guards_of(&self, other: &Self) -> bool {
        let guards = |of: &Self| {
            (
                of.allow.clone(),
                of.deny.clone(),
                of.satisfy_any,
                of.basic_auth.clone(),
                of.external_auth.clone(),
                of.digest_auth,
                of.match_subject.clone(),
                of.limits.clone(),
                of.denied.clone(),
                (of.deny_rules.clone(), of.access_rules.clone()),
            )
        };
        guards(self) == guards(other)
    }

    /// Whether the Ingress has source ranges, of annotations or snippets.
    pub(crate) fn has_source_ranges(&self) -> bool {
        !self.allow.is_empty() || !self.deny.is_empty() || !self.access_rules.is_empty()
    }

    /// Status that the locations of the Ingress return without calling a backend. `None`: the backend is
    /// called. 503 and 403 are the statuses of ingress-nginx; with 500, the translation is stricter.
    pub fn denied_status(&self) -> Option<u16> {
        let name = self.denied.as_deref()?;
        Some(match (self.nginx_denies, name) {
            (true, _) => 503,
            (false, "auth-tls-secret") => 403,
            (false, _) => 500,
        })
    }
}

/// A redirect to a fixed address.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Redirect {
    /// Address as written.
    pub to: String,
    /// Status of the redirect.
    pub code: u16,
    /// Whether the query of the request is kept.
    pub keeps_query: bool,
}

/// A redirect of some paths, from a snippet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SnippetLocation {
    /// Path, or regular expression.
    pub path: String,
    /// Whether only the path itself matches.
    pub exact: bool,
    /// Whether the path is a regular expression.
    pub regex: bool,
    /// The redirect.
    pub redirect: Redirect,
}

/// `allow` or `deny` of a snippet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AccessRule {
    /// Whether clients of the network are allowed.
    pub allow: bool,
    /// Network of the clients.
    pub network: String,
}

/// Basic authentication.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct BasicAuth {
    /// Secret with the users.
    pub secret: ObjectKey,
    /// Whether the Secret has a key for each user (`auth-map`); otherwise the users are in `auth`.
    pub by_user: bool,
    /// Realm of the challenge (`auth-realm`).
    pub realm: String,
}

/// External authentication.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ExternalAuthSettings {
    /// Address of the authentication server (`auth-url`). If `own_host` is set, its host is a placeholder.
    pub url: UrlParts,
    /// Whether the host of `auth-url` is that of the request (`$host`).
    pub own_host: bool,
    /// `Host` of a request to the authentication server. `None`: the host of `url`.
    pub host_header: Option<String>,
    /// Sign-in page with its parameter (`auth-signin`), as an
    /// [`AddressTemplate`](towergate_policy::ext_auth::AddressTemplate).
    pub signin: Option<String>,
    /// Method of requests to the authentication server (`auth-method`).
    pub method: Option<String>,
    /// Value of `X-Auth-Request-Redirect` (`auth-request-redirect`).
    pub redirect: Option<String>,
    /// Whether cookies of the authentication server are added to every response (`auth-always-set-cookie`).
    pub always_set_cookies: bool,
    /// Header fields of the authentication server's response that the backend receives
    /// (`auth-response-headers`).
    pub response_headers: Vec<String>,
}

/// CORS.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct CorsSettings {
    /// Allowed origins (`cors-allow-origin`).
    pub origins: Vec<String>,
    /// Allowed methods (`cors-allow-methods`).
    pub methods: Vec<String>,
    /// Allowed request header fields (`cors-allow-headers`).
    pub headers: Vec<String>,
    /// Response header fields that scripts may read (`cors-expose-headers`).
    pub expose: Vec<String>,
    /// Whether requests may contain credentials (`cors-allow-credentials`).
    pub credentials: bool,
    /// Lifetime of preflight responses in seconds (`cors-max-age`).
    pub max_age: u64,
}

impl BackendSettings {
    /// Whether the connection to the backend has TLS.
    pub(crate) fn has_tls(&self) -> bool {
        matches!(
            self.protocol,
            BackendProtocol::Https | BackendProtocol::Grpcs
        )
    }

    /// The TLS settings, if the backend's certificate is verified.
    pub(crate) fn verified(&self) -> Option<&ProxySsl> {
        let ssl = self.ssl.as_ref();
        ssl.filter(|ssl| ssl.verify && self.has_tls())
    }
}

impl CorsSettings {
    /// The origins that `cors.allowOrigins` can express with equal meaning, and the others: those with another
    /// scheme than `http` and `https`, `null`, and wildcards, which match one label.
    pub(crate) fn split_origins(&self) -> (Vec<&str>, Vec<&str>) {
        let is_common = |origin: &&str| {
            let web = origin.starts_with("http://") || origin.starts_with("https://");
            *origin == "*"
                || web && !origin.contains('*') && origin.parse::<OriginPattern>().is_ok()
        };
        self.origins.iter().map(String::as_str).partition(is_common)
    }
}

/// Protocol of a backend.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum BackendProtocol {
    /// HTTP without TLS.
    #[default]
    Http,
    /// HTTP over TLS.
    Https,
    /// gRPC without TLS.
    Grpc,
    /// gRPC over TLS.
    Grpcs,
    /// FastCGI.
    Fcgi,
}

/// TLS to backends: `proxy-ssl-secret` with the annotations beside it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ProxySsl {
    /// Secret with the CA certificates.
    pub secret: ObjectKey,
    /// Whether the backend's certificate is verified (`proxy-ssl-verify`).
    pub verify: bool,
    /// Server name of the backend's certificate (`proxy-ssl-name`).
    pub name: Option<String>,
}

/// Settings of a backend.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct BackendSettings {
    /// Protocol of the backend (`backend-protocol`).
    pub protocol: BackendProtocol,
    /// `Host` of requests to the backend (`upstream-vhost`). `None`: the host of the request.
    pub vhost: Option<String>,
    /// TLS settings of the Ingress. `None`: the TLS settings of another Ingress of the host apply.
    pub ssl: Option<ProxySsl>,
}

/// Timeouts, retries and sizes. `None`: the default of the whole gateway.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ProxySettings {
    /// Connect timeout in seconds (`proxy-connect-timeout`).
    pub connect_timeout: Option<u64>,
    /// Idle timeout in seconds: the longer of `proxy-read-timeout` and `proxy-send-timeout`.
    pub idle_timeout: Option<u64>,
    /// Maximum length of request bodies in bytes (`proxy-body-size`). 0: no limit.
    pub body_size: Option<u64>,
    /// Conditions for retries (`proxy-next-upstream`).
    pub retry_on: Option<Vec<String>>,
    /// Maximum number of tries (`proxy-next-upstream-tries`). 0: no limit.
    pub tries: Option<u64>,
}

/// Session affinity by a cookie.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Affinity {
    /// Name of the cookie.
    pub name: String,
    /// `Max-Age` of the cookie in seconds.
    pub max_age: Option<u64>,
    /// `Path` of the cookie. `None`: the path of the location.
    pub path: Option<String>,
    /// `Domain` of the cookie.
    pub domain: Option<String>,
    /// `SameSite` of the cookie.
    pub same_site: Option<String>,
    /// Whether `Secure` is set on plain HTTP as well.
    pub secure: bool,
    /// `affinity-mode: persistent`: the cookie names the endpoint, so that a session keeps its endpoint when
    /// others are added.
    pub persistent: bool,
}

/// Input of a consistent hash.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum HashInput {
    /// Address of the client.
    SourceIp,
    /// A header field.
    Header(String),
    /// A cookie.
    Cookie(String),
    /// A query parameter.
    Query(String),
}

/// Rate limits of each client.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Limits {
    /// Requests per second. 0: no limit.
    pub per_second: u64,
    /// Requests per minute. 0: no limit.
    pub per_minute: u64,
    /// Burst as a multiple of the limit (`limit-burst-multiplier`).
    pub burst: u64,
    /// Networks without a limit.
    pub allow: Vec<String>,
}

/// A canary Ingress.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Canary {
    /// Share of the requests for the canary, of `total` (`canary-weight`).
    pub weight: u64,
    /// Sum of the weights (`canary-weight-total`). Default: 100.
    pub total: u64,
    /// Header field that selects the canary (`canary-by-header`).
    pub header: Option<String>,
    /// Value of the header field that selects the canary (`canary-by-header-value`).
    pub value: Option<String>,
    /// Regular expression for the header field's value (`canary-by-header-pattern`).
    pub pattern: Option<String>,
    /// Cookie that selects the canary (`canary-by-cookie`).
    pub cookie: Option<String>,
}

/// Verification of client certificates.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ClientCert {
    /// Secret with the CA certificates.
    pub secret: ObjectKey,
    /// Whether no certificate is requested (`auth-tls-verify-client: off`).
    pub off: bool,
    /// Whether clients without a certificate are accepted.
    pub optional: bool,
    /// Whether ingress-nginx accepts certificates that chain to no configured CA.
    pub unverified: bool,
    /// Whether backends receive the client certificate (`auth-tls-pass-certificate-to-upstream`).
    pub passes_certificate: bool,
}
