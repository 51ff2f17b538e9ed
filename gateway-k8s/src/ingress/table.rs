//! All annotations of ingress-nginx 1.15.
//!
//! An annotation that is not in this table is unknown. Each row has the risk that the controller
//! assigns to the annotation and the effect of an invalid value.

use self::Invalid::{AuthOff, Denies, DropsIngress, Ignored};
use self::Risk::{Critical, High, Low, Medium};
use self::Row::{Differs, Never, Nothing, Read};
use super::verdict::Aspect::{Calls, RequestHeaders, ResponseHeaders, Status, Tls};
use super::verdict::{Aspect, Finding};

/// Risk of an annotation, compared with `annotations-risk-level`.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Risk {
    Low,
    Medium,
    High,
    Critical,
}

impl Risk {
    /// The risk of a word of the ConfigMap.
    pub(crate) fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "Low" => Self::Low,
            "Medium" => Self::Medium,
            "High" => Self::High,
            "Critical" => Self::Critical,
            _ => return None,
        })
    }
}

/// What ingress-nginx does if the value is invalid.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Invalid {
    /// The whole Ingress is ignored: 404.
    DropsIngress,
    /// The locations of the Ingress answer 503.
    Denies,
    /// The annotation is ignored or has its default.
    Ignored,
    /// External authentication is off.
    AuthOff,
}

/// The verdict of a row.
#[derive(Clone, Copy, Debug)]
enum Row {
    /// The reader of the family decides; this is the text if it has nothing to add.
    Read(&'static str),
    /// Always the same, without a difference.
    Nothing(&'static str),
    /// Always translated with a difference, or not needed.
    Differs(&'static str, &'static [Aspect]),
    /// Always impossible.
    Never(&'static str, &'static [Aspect]),
}

/// An annotation of ingress-nginx.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AnnotationEntry {
    /// Name without the prefix.
    pub(crate) name: &'static str,
    /// Risk.
    pub(crate) risk: Risk,
    /// Effect of an invalid value.
    pub(crate) invalid: Invalid,
    row: Row,
}

impl AnnotationEntry {
    /// The verdict if the reader of the family has none.
    pub(crate) fn finding(&self) -> Finding {
        match self.row {
            Row::Read(text) | Row::Nothing(text) => Finding::same(text),
            Row::Differs(text, affects) => Finding::differs(text, affects),
            Row::Never(text, affects) => Finding::impossible(text, affects),
        }
    }
}

/// Finds an annotation by its name without the prefix.
pub(crate) fn annotation(name: &str) -> Option<&'static AnnotationEntry> {
    ANNOTATIONS.iter().find(|entry| entry.name == name)
}

/// Names of all annotations.
pub(crate) fn annotation_names() -> impl Iterator<Item = &'static str> {
    ANNOTATIONS.iter().map(|entry| entry.name)
}

const fn row(name: &'static str, risk: Risk, invalid: Invalid, row: Row) -> AnnotationEntry {
    AnnotationEntry {
        name,
        risk,
        invalid,
        row,
    }
}

const BUFFERS: &str = "a buffer of nginx: the gateway streams and bounds its buffers by itself";
const AUTH_POOL: &str = "connections to the authentication server are pooled by the gateway";
const WAF: &str = "there is no ModSecurity in the gateway: put a web application firewall in front, or run it as a backend of its own";
const TRACING: &str = "tracing is configured for the whole gateway, not for a route";

const ANNOTATIONS: [AnnotationEntry; 138] = [
    row("affinity", Low, Ignored, Read("consistent hash by cookie")),
    row(
        "affinity-canary-behavior",
        Low,
        Ignored,
        Differs(
            "a session is not tied to a canary: with `sticky`, a client may change between the main backend and the canary",
            &[Calls],
        ),
    ),
    row(
        "affinity-mode",
        Medium,
        Ignored,
        Read("consistent hash by cookie"),
    ),
    row(
        "allowlist-source-range",
        Medium,
        Denies,
        Read("SecurityPolicy `authorization`"),
    ),
    row(
        "app-root",
        Medium,
        Ignored,
        Read("a redirect of the path `/`"),
    ),
    row(
        "auth-always-set-cookie",
        Low,
        Ignored,
        Differs(
            "cookies of the authentication server reach the client as the gateway's external authorization passes them",
            &[ResponseHeaders],
        ),
    ),
    row(
        "auth-cache-duration",
        Medium,
        AuthOff,
        Differs(
            "the authentication server is asked for every request",
            &[Calls],
        ),
    ),
    row(
        "auth-cache-key",
        Medium,
        Ignored,
        Differs(
            "the authentication server is asked for every request",
            &[Calls],
        ),
    ),
    row("auth-keepalive", Low, Ignored, Nothing(AUTH_POOL)),
    row("auth-keepalive-requests", Low, Ignored, Nothing(AUTH_POOL)),
    row(
        "auth-keepalive-share-vars",
        Low,
        Ignored,
        Nothing(AUTH_POOL),
    ),
    row("auth-keepalive-timeout", Low, Ignored, Nothing(AUTH_POOL)),
    row(
        "auth-method",
        Low,
        Denies,
        Differs(
            "the authentication server receives the method of the request",
            &[Calls],
        ),
    ),
    row(
        "auth-proxy-set-headers",
        Medium,
        Denies,
        Never(
            "fixed header fields cannot be added to requests to the authentication server: let it derive them from the request",
            &[Calls],
        ),
    ),
    row(
        "auth-realm",
        Medium,
        DropsIngress,
        Read("realm of Basic authentication"),
    ),
    row(
        "auth-request-redirect",
        Medium,
        AuthOff,
        Never(
            "the authentication server receives no `X-Auth-Request-Redirect`: configure the address of the application at the server",
            &[Calls],
        ),
    ),
    row(
        "auth-response-headers",
        Medium,
        Denies,
        Read("SecurityPolicy `extAuth.http.headersToBackend`"),
    ),
    row(
        "auth-secret",
        Medium,
        Denies,
        Read("SecurityPolicy `basicAuth`"),
    ),
    row(
        "auth-secret-type",
        Low,
        DropsIngress,
        Read("SecurityPolicy `basicAuth`"),
    ),
    row(
        "auth-signin",
        High,
        Ignored,
        Read("BackendTrafficPolicy `responseOverride` with a redirect"),
    ),
    row(
        "auth-signin-redirect-param",
        Medium,
        Ignored,
        Differs(
            "the redirect to the sign-in page has a fixed address: the sign-in page does not learn where the client came from",
            &[ResponseHeaders],
        ),
    ),
    row(
        "auth-snippet",
        Critical,
        Ignored,
        Read("nginx configuration for requests to the authentication server"),
    ),
    row(
        "auth-tls-error-page",
        High,
        DropsIngress,
        Differs(
            "a client without a valid certificate is rejected in the handshake and sees no page",
            &[Status, ResponseHeaders, Tls],
        ),
    ),
    row(
        "auth-tls-match-cn",
        High,
        DropsIngress,
        Never(
            "the subject of a client certificate cannot be compared: issue client certificates from a CA of their own",
            &[Status, Calls],
        ),
    ),
    row(
        "auth-tls-pass-certificate-to-upstream",
        Low,
        Ignored,
        Differs(
            "the certificate is in `X-Forwarded-Client-Cert` instead of `ssl-client-cert`",
            &[RequestHeaders],
        ),
    ),
    row(
        "auth-tls-secret",
        Medium,
        Denies,
        Read("ClientTrafficPolicy `tls.clientValidation` of a listener for the host"),
    ),
    row(
        "auth-tls-verify-client",
        Medium,
        Ignored,
        Read("ClientTrafficPolicy `tls.clientValidation.optional`"),
    ),
    row(
        "auth-tls-verify-depth",
        Low,
        Ignored,
        Differs(
            "the length of certificate chains is not limited by a number",
            &[Tls],
        ),
    ),
    row(
        "auth-type",
        Low,
        DropsIngress,
        Read("SecurityPolicy `basicAuth`"),
    ),
    row(
        "auth-url",
        High,
        DropsIngress,
        Read("SecurityPolicy `extAuth.http`"),
    ),
    row(
        "backend-protocol",
        Low,
        Ignored,
        Read("protocol of the backend"),
    ),
    row(
        "canary",
        Low,
        Ignored,
        Read("rules and weights of the main route"),
    ),
    row(
        "canary-by-cookie",
        Medium,
        Ignored,
        Read("a match of the `Cookie` field"),
    ),
    row(
        "canary-by-header",
        Medium,
        Ignored,
        Read("a match of the header"),
    ),
    row(
        "canary-by-header-pattern",
        Medium,
        Ignored,
        Read("a match of the header by regular expression"),
    ),
    row(
        "canary-by-header-value",
        Medium,
        Ignored,
        Read("a match of the header"),
    ),
    row(
        "canary-weight",
        Low,
        Ignored,
        Read("weights of backendRefs"),
    ),
    row(
        "canary-weight-total",
        Low,
        Ignored,
        Read("weights of backendRefs"),
    ),
    row(
        "client-body-buffer-size",
        Low,
        DropsIngress,
        Nothing(BUFFERS),
    ),
    row(
        "configuration-snippet",
        Critical,
        DropsIngress,
        Read("nginx configuration"),
    ),
    row(
        "connection-proxy-header",
        Low,
        DropsIngress,
        Differs(
            "the gateway manages `Connection` to the backend by itself",
            &[RequestHeaders],
        ),
    ),
    row(
        "cors-allow-credentials",
        Low,
        Ignored,
        Read("SecurityPolicy `cors`"),
    ),
    row(
        "cors-allow-headers",
        Medium,
        Ignored,
        Read("SecurityPolicy `cors`"),
    ),
    row(
        "cors-allow-methods",
        Medium,
        Ignored,
        Read("SecurityPolicy `cors`"),
    ),
    row(
        "cors-allow-origin",
        Medium,
        Ignored,
        Read("SecurityPolicy `cors`"),
    ),
    row(
        "cors-expose-headers",
        Medium,
        Ignored,
        Read("SecurityPolicy `cors`"),
    ),
    row("cors-max-age", Low, Ignored, Read("SecurityPolicy `cors`")),
    row(
        "custom-headers",
        Medium,
        Denies,
        Read("filter `ResponseHeaderModifier`"),
    ),
    row("custom-http-errors", Low, DropsIngress, Read("error pages")),
    row(
        "default-backend",
        Low,
        Ignored,
        Read("error pages and a backend for Services without endpoints"),
    ),
    row(
        "denylist-source-range",
        Medium,
        Denies,
        Read("SecurityPolicy `authorization`"),
    ),
    row(
        "disable-proxy-intercept-errors",
        Low,
        Ignored,
        Nothing("error pages replace responses only where `custom-http-errors` is translated"),
    ),
    row(
        "enable-access-log",
        Low,
        Ignored,
        Differs("the access log is configured for the whole gateway", &[]),
    ),
    row("enable-cors", Low, Ignored, Read("SecurityPolicy `cors`")),
    row(
        "enable-global-auth",
        Low,
        Ignored,
        Read("SecurityPolicy of the routes instead of the Gateway's"),
    ),
    row("enable-modsecurity", Low, Ignored, Never(WAF, &[Status])),
    row("enable-opentelemetry", Low, Ignored, Differs(TRACING, &[])),
    row(
        "enable-owasp-core-rules",
        Low,
        Ignored,
        Never(WAF, &[Status]),
    ),
    row(
        "enable-rewrite-log",
        Low,
        Ignored,
        Nothing("a log of nginx"),
    ),
    row(
        "fastcgi-index",
        Low,
        Ignored,
        Never(
            "FastCGI is not supported: run a web server with FastCGI in the pod",
            &[Status, Calls],
        ),
    ),
    row(
        "fastcgi-params-configmap",
        Medium,
        Ignored,
        Never(
            "FastCGI is not supported: run a web server with FastCGI in the pod",
            &[Status, Calls],
        ),
    ),
    row(
        "force-ssl-redirect",
        Medium,
        Ignored,
        Read("the redirect route"),
    ),
    row(
        "from-to-www-redirect",
        Low,
        DropsIngress,
        Read("a redirect route for the other name"),
    ),
    row(
        "http2-push-preload",
        Low,
        Ignored,
        Nothing("HTTP/2 push is obsolete: browsers have removed it"),
    ),
    row(
        "limit-allowlist",
        Low,
        DropsIngress,
        Read("`clientSelectors` of the rate limit"),
    ),
    row(
        "limit-burst-multiplier",
        Low,
        Ignored,
        Read("`limit.requests` of the rate limit"),
    ),
    row(
        "limit-connections",
        Low,
        DropsIngress,
        Never(
            "concurrent connections of one client cannot be limited: use `limit-rps`, or a circuit breaker for all clients together",
            &[Status, Calls],
        ),
    ),
    row(
        "limit-rate",
        Low,
        Ignored,
        Never("the throughput of a response cannot be limited", &[]),
    ),
    row(
        "limit-rate-after",
        Low,
        Ignored,
        Never("the throughput of a response cannot be limited", &[]),
    ),
    row(
        "limit-rpm",
        Low,
        DropsIngress,
        Read("BackendTrafficPolicy `rateLimit.local`"),
    ),
    row(
        "limit-rps",
        Low,
        DropsIngress,
        Read("BackendTrafficPolicy `rateLimit.local`"),
    ),
    row(
        "limit-whitelist",
        Low,
        DropsIngress,
        Read("`clientSelectors` of the rate limit"),
    ),
    row(
        "load-balance",
        Low,
        DropsIngress,
        Read("BackendTrafficPolicy `loadBalancer`"),
    ),
    row(
        "mirror-host",
        High,
        Ignored,
        Differs("the copy has the `Host` of the request", &[Calls]),
    ),
    row(
        "mirror-request-body",
        Low,
        Ignored,
        Differs("copies include the body", &[Calls]),
    ),
    row(
        "mirror-target",
        High,
        Ignored,
        Read("filter `RequestMirror`"),
    ),
    row(
        "modsecurity-snippet",
        Critical,
        Ignored,
        Never(WAF, &[Status]),
    ),
    row("modsecurity-transaction-id", High, Ignored, Never(WAF, &[])),
    row(
        "opentelemetry-operation-name",
        Medium,
        Ignored,
        Differs(TRACING, &[]),
    ),
    row(
        "opentelemetry-trust-incoming-span",
        Low,
        Ignored,
        Differs(TRACING, &[]),
    ),
    row(
        "permanent-redirect",
        Medium,
        DropsIngress,
        Read("filter `RequestRedirect`"),
    ),
    row(
        "permanent-redirect-code",
        Low,
        DropsIngress,
        Read("filter `RequestRedirect`"),
    ),
    row(
        "preserve-trailing-slash",
        Medium,
        Ignored,
        Nothing("redirects keep the path as it is"),
    ),
    row(
        "proxy-body-size",
        Medium,
        Ignored,
        Read("limit of request bodies"),
    ),
    row("proxy-buffer-size", Low, Ignored, Nothing(BUFFERS)),
    row("proxy-buffering", Low, Ignored, Nothing(BUFFERS)),
    row("proxy-buffers-number", Low, Ignored, Nothing(BUFFERS)),
    row("proxy-busy-buffers-size", Low, Ignored, Nothing(BUFFERS)),
    row(
        "proxy-connect-timeout",
        Low,
        Ignored,
        Read("BackendTrafficPolicy `timeout.tcp.connectTimeout`"),
    ),
    row(
        "proxy-cookie-domain",
        Medium,
        Ignored,
        Never(
            "attributes of cookies cannot be rewritten: set the domain in the application",
            &[ResponseHeaders],
        ),
    ),
    row(
        "proxy-cookie-path",
        Medium,
        Ignored,
        Never(
            "attributes of cookies cannot be rewritten: set the path in the application",
            &[ResponseHeaders],
        ),
    ),
    row(
        "proxy-http-version",
        Low,
        Ignored,
        Nothing("HTTP/1.1, or HTTP/2 by `appProtocol` of the Service's port"),
    ),
    row("proxy-max-temp-file-size", Low, Ignored, Nothing(BUFFERS)),
    row(
        "proxy-next-upstream",
        Medium,
        Ignored,
        Read("BackendTrafficPolicy `retry`"),
    ),
    row(
        "proxy-next-upstream-timeout",
        Low,
        Ignored,
        Differs(
            "retries are limited by their number, not by a time",
            &[Calls, Status],
        ),
    ),
    row(
        "proxy-next-upstream-tries",
        Low,
        Ignored,
        Read("BackendTrafficPolicy `retry.numRetries`"),
    ),
    row(
        "proxy-read-timeout",
        Low,
        Ignored,
        Read("BackendTrafficPolicy `timeout.http.streamIdleTimeout`"),
    ),
    row(
        "proxy-redirect-from",
        Medium,
        Ignored,
        Read("rewriting of `Location`"),
    ),
    row(
        "proxy-redirect-to",
        Medium,
        Ignored,
        Read("rewriting of `Location`"),
    ),
    row(
        "proxy-request-buffering",
        Low,
        Ignored,
        Read("buffering of request bodies"),
    ),
    row(
        "proxy-send-timeout",
        Low,
        Ignored,
        Read("BackendTrafficPolicy `timeout.http.streamIdleTimeout`"),
    ),
    row(
        "proxy-ssl-ciphers",
        Medium,
        Ignored,
        Read("cipher suites towards the backend"),
    ),
    row(
        "proxy-ssl-name",
        High,
        Ignored,
        Read("BackendTLSPolicy `validation.hostname`"),
    ),
    row(
        "proxy-ssl-protocols",
        Low,
        Ignored,
        Read("TLS versions towards the backend"),
    ),
    row(
        "proxy-ssl-secret",
        Medium,
        Denies,
        Read("BackendTLSPolicy `validation.caCertificateRefs`"),
    ),
    row(
        "proxy-ssl-server-name",
        Low,
        Ignored,
        Read("the server name is always sent"),
    ),
    row("proxy-ssl-verify", Low, Ignored, Read("BackendTLSPolicy")),
    row(
        "proxy-ssl-verify-depth",
        Low,
        Ignored,
        Differs(
            "the length of certificate chains is not limited by a number",
            &[Status],
        ),
    ),
    row(
        "relative-redirects",
        Low,
        DropsIngress,
        Differs(
            "`Location` of the gateway's redirects is always absolute",
            &[ResponseHeaders],
        ),
    ),
    row(
        "rewrite-target",
        Medium,
        Ignored,
        Read("filter `URLRewrite`"),
    ),
    row("satisfy", Low, Ignored, Read("all guards must pass")),
    row(
        "server-alias",
        High,
        DropsIngress,
        Read("further hostnames of the routes"),
    ),
    row(
        "server-snippet",
        Critical,
        DropsIngress,
        Read("nginx configuration"),
    ),
    row(
        "service-upstream",
        Low,
        Ignored,
        Differs(
            "requests go to the endpoints of the Service, not to its cluster address; a service mesh that relies on the cluster address is bypassed",
            &[],
        ),
    ),
    row(
        "session-cookie-change-on-failure",
        Low,
        Ignored,
        Differs(
            "a session moves to another endpoint if its endpoint is gone or ejected",
            &[Calls, ResponseHeaders],
        ),
    ),
    row(
        "session-cookie-conditional-samesite-none",
        Low,
        Ignored,
        Differs(
            "`SameSite=None` is sent to every client: browsers that mistook it are gone",
            &[ResponseHeaders],
        ),
    ),
    row(
        "session-cookie-domain",
        Medium,
        Ignored,
        Read("attribute of the cookie"),
    ),
    row(
        "session-cookie-expires",
        Medium,
        Ignored,
        Read("lifetime of the cookie"),
    ),
    row(
        "session-cookie-max-age",
        Medium,
        Ignored,
        Read("lifetime of the cookie"),
    ),
    row(
        "session-cookie-name",
        Medium,
        Ignored,
        Read("name of the cookie"),
    ),
    row(
        "session-cookie-path",
        Medium,
        Ignored,
        Read("attribute of the cookie"),
    ),
    row(
        "session-cookie-samesite",
        Low,
        Ignored,
        Read("attribute of the cookie"),
    ),
    row(
        "session-cookie-secure",
        Low,
        Ignored,
        Read("attribute of the cookie"),
    ),
    row(
        "ssl-ciphers",
        Low,
        DropsIngress,
        Differs(
            "cipher suites are those of the listener: set `tls.ciphers` in its ClientTrafficPolicy",
            &[Tls],
        ),
    ),
    row(
        "ssl-passthrough",
        Low,
        Ignored,
        Read("TLSRoute and a listener of mode Passthrough"),
    ),
    row(
        "ssl-prefer-server-ciphers",
        Low,
        Ignored,
        Nothing("every cipher suite of the gateway is strong"),
    ),
    row("ssl-redirect", Low, Ignored, Read("the redirect route")),
    row(
        "stream-snippet",
        Critical,
        DropsIngress,
        Never(
            "nginx configuration for TCP and UDP: write a TCPRoute or UDPRoute",
            &[],
        ),
    ),
    row(
        "temporal-redirect",
        Medium,
        DropsIngress,
        Read("filter `RequestRedirect`"),
    ),
    row(
        "temporal-redirect-code",
        Low,
        Ignored,
        Read("filter `RequestRedirect`"),
    ),
    row(
        "upstream-hash-by",
        High,
        DropsIngress,
        Read("BackendTrafficPolicy `loadBalancer.consistentHash`"),
    ),
    row(
        "upstream-hash-by-subset",
        Low,
        Ignored,
        Differs("all endpoints form one set", &[Calls]),
    ),
    row(
        "upstream-hash-by-subset-size",
        Low,
        Ignored,
        Differs("all endpoints form one set", &[Calls]),
    ),
    row(
        "upstream-vhost",
        Low,
        DropsIngress,
        Read("filter `URLRewrite` with a hostname"),
    ),
    row(
        "use-port-in-redirects",
        Low,
        Ignored,
        Differs(
            "redirects name a port only if the listener's is not the scheme's default",
            &[ResponseHeaders],
        ),
    ),
    row(
        "use-regex",
        Low,
        Ignored,
        Read("paths of type RegularExpression"),
    ),
    row(
        "whitelist-source-range",
        Medium,
        Denies,
        Read("SecurityPolicy `authorization`"),
    ),
    row(
        "x-forwarded-prefix",
        Medium,
        DropsIngress,
        Read("filter `RequestHeaderModifier`"),
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_sorted_and_unique() {
        let names: Vec<_> = annotation_names().collect();

        assert!(names.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn every_row_explains_itself() {
        for entry in &ANNOTATIONS {
            assert!(!entry.finding().text.is_empty(), "{}", entry.name);
        }
    }
}
