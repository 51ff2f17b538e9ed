//! Access to paths: authentication, source ranges, rates, CORS and TLS.

use super::super::verdict::Aspect::{Calls, RequestHeaders, ResponseHeaders, Status, Tls};
use super::Invalid::{AuthOff, Denies, DropsIngress, Ignored};
use super::Risk::{Critical, High, Low, Medium};
use super::Row::{Differs, Never, Nothing, Read};
use super::{AnnotationEntry, row};

const AUTH_POOL: &str = "connections to the authentication server are pooled by the gateway";
const WAF: &str = "ModSecurity is not supported, and the paths are served without it: put a web application firewall in front, or run one as a separate backend";

pub(super) const ROWS: &[AnnotationEntry] = &[
    row(
        "allowlist-source-range",
        Medium,
        Denies,
        Read("SecurityPolicy `authorization`"),
    ),
    row(
        "auth-always-set-cookie",
        Low,
        Ignored,
        Read("cookies of the authentication server are added to every response"),
    ),
    row(
        "auth-cache-duration",
        Medium,
        AuthOff,
        Differs(
            "the authentication server is called for every request",
            &[Calls],
        ),
    ),
    row(
        "auth-cache-key",
        Medium,
        Ignored,
        Differs(
            "the authentication server is called for every request",
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
        Read("without `auth-url`, the setting has no effect"),
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
        Read("without `auth-url`, the setting has no effect"),
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
        Read("without `auth-url`, the setting has no effect"),
    ),
    row(
        "auth-signin-redirect-param",
        Medium,
        Ignored,
        Read("without `auth-url`, the setting has no effect"),
    ),
    row(
        "auth-snippet",
        Critical,
        Ignored,
        Read("without `auth-url`, or with snippets off, the setting has no effect"),
    ),
    row(
        "auth-tls-error-page",
        High,
        DropsIngress,
        Differs(
            "a client without a valid certificate is rejected in the handshake and receives no error page",
            &[Status, ResponseHeaders, Tls],
        ),
    ),
    row(
        "auth-tls-match-cn",
        High,
        DropsIngress,
        Never(
            "the subject of a client certificate cannot be compared: issue client certificates from a separate CA",
            &[Status, Calls],
        ),
    ),
    row(
        "auth-tls-pass-certificate-to-upstream",
        Low,
        Ignored,
        Differs(
            "backends receive the certificate in `ssl-client-cert`; a client's own `ssl-client-cert` is removed; ingress-nginx forwards it",
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
        "denylist-source-range",
        Medium,
        Denies,
        Read("SecurityPolicy `authorization`"),
    ),
    row("enable-cors", Low, Ignored, Read("SecurityPolicy `cors`")),
    row(
        "enable-global-auth",
        Low,
        Ignored,
        Read("without `global-auth-url`, the setting has no effect"),
    ),
    row("enable-modsecurity", Low, Ignored, Never(WAF, &[Status])),
    row(
        "enable-owasp-core-rules",
        Low,
        Ignored,
        Never(WAF, &[Status]),
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
        Never(
            "the throughput of a single response cannot be limited: `bandwidthLimit` of a BackendTrafficPolicy limits all responses of a rule together",
            &[],
        ),
    ),
    row(
        "limit-rate-after",
        Low,
        Ignored,
        Never(
            "the throughput of a single response cannot be limited: `bandwidthLimit` of a BackendTrafficPolicy limits all responses of a rule together",
            &[],
        ),
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
        "modsecurity-snippet",
        Critical,
        Ignored,
        Never(WAF, &[Status]),
    ),
    row("modsecurity-transaction-id", High, Ignored, Never(WAF, &[])),
    row(
        "proxy-ssl-ciphers",
        Medium,
        Ignored,
        Differs(
            "the gateway offers TLS 1.2 and 1.3 with its own ciphers to the backend",
            &[Status, Calls],
        ),
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
        Differs(
            "the gateway offers TLS 1.2 and 1.3 with its own ciphers to the backend",
            &[Status, Calls],
        ),
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
        "satisfy",
        Low,
        Ignored,
        Read("all access restrictions apply"),
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
        "whitelist-source-range",
        Medium,
        Denies,
        Read("SecurityPolicy `authorization`"),
    ),
];
