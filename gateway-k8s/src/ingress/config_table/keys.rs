//! Keys of the ConfigMap.

use super::super::verdict::Aspect::{Body, Calls, RequestHeaders, ResponseHeaders, Status, Tls};
use super::ConfigRow::{Decide, Differs, Never, Same};
use super::{ALL, AUTH, BTP, CTP, ConfigRow, GEOIP, LOG, NGINX, SNIPPET, TRACING, WAF};

pub(super) const KEYS: &[(&str, ConfigRow)] = &[
    ("access-log-params", LOG),
    ("access-log-path", LOG),
    (
        "add-headers",
        Same("ClientTrafficPolicy `lateResponseHeaders`, on every response"),
    ),
    (
        "allow-backend-server-header",
        Differs(
            "`Server` of backends is forwarded, as in Envoy",
            &[ResponseHeaders],
        ),
    ),
    (
        "allow-cross-namespace-resources",
        Same("applied when Secrets and ConfigMaps are read"),
    ),
    (
        "allow-snippet-annotations",
        Same("applied when annotations are read"),
    ),
    (
        "annotation-value-word-blocklist",
        Same("applied when annotations are read"),
    ),
    (
        "annotations-risk-level",
        Same("applied when annotations are read"),
    ),
    (
        "block-cidrs",
        Never(
            "addresses cannot be blocked for the whole gateway in addition to the lists of Ingresses: write a SecurityPolicy for the Gateway",
            &[Status, Calls, Body],
        ),
    ),
    (
        "block-referers",
        Never(
            "write a SecurityPolicy with a header rule",
            &[Status, Calls, Body],
        ),
    ),
    (
        "block-user-agents",
        Never(
            "write a SecurityPolicy with a header rule",
            &[Status, Calls, Body],
        ),
    ),
    ("body-size", NGINX),
    (
        "brotli-level",
        Decide("compression is off", &[ResponseHeaders, Body]),
    ),
    (
        "brotli-min-length",
        Decide("compression is off", &[ResponseHeaders, Body]),
    ),
    (
        "brotli-types",
        Decide("compression is off", &[ResponseHeaders, Body]),
    ),
    ("client-body-buffer-size", NGINX),
    (
        "client-body-timeout",
        Decide(
            "set `timeout.http.requestReceivedTimeout` in the ClientTrafficPolicy",
            &[],
        ),
    ),
    ("client-header-buffer-size", NGINX),
    (
        "client-header-timeout",
        Decide(
            "set `timeout.http.requestHeadersReceivedTimeout` in the ClientTrafficPolicy",
            &[],
        ),
    ),
    (
        "compute-full-forwarded-for",
        Same("the gateway always appends to `X-Forwarded-For`"),
    ),
    (
        "custom-http-errors",
        Never(
            "responses cannot be replaced by the page of a Service",
            &[Status, Body, Calls, ResponseHeaders],
        ),
    ),
    ("default-type", NGINX),
    (
        "denylist-source-range",
        Same("SecurityPolicies of all routes without their own list"),
    ),
    ("disable-access-log", LOG),
    ("disable-ipv6", NGINX),
    ("disable-ipv6-dns", NGINX),
    ("enable-access-log-for-default-backend", LOG),
    ("enable-aio-write", NGINX),
    (
        "enable-brotli",
        Decide(
            "compression is off: set `compressor` in the BackendTrafficPolicy of the Gateway",
            &[ResponseHeaders, Body],
        ),
    ),
    ("enable-modsecurity", WAF),
    ("enable-multi-accept", NGINX),
    ("enable-ocsp", Never("there is no OCSP stapling", &[Tls])),
    ("enable-opentelemetry", TRACING),
    ("enable-owasp-modsecurity-crs", WAF),
    ("enable-real-ip", CTP),
    ("enable-serial-reloads", NGINX),
    ("enable-underscores-in-headers", CTP),
    ("error-log-level", NGINX),
    ("error-log-path", NGINX),
    (
        "force-ssl-redirect",
        Differs("the redirect route", &[ResponseHeaders]),
    ),
    (
        "forwarded-for-header",
        Differs(
            "ClientTrafficPolicy `clientIPDetection.customHeader`; backends still receive the address in `X-Forwarded-For` as the gateway appends it",
            &[RequestHeaders],
        ),
    ),
    ("generate-request-id", CTP),
    ("geoip2-autoreload-in-minutes", GEOIP),
    (
        "global-allowed-response-headers",
        Same("applied when `custom-headers` is read"),
    ),
    ("global-auth-always-set-cookie", AUTH),
    ("global-auth-cache-duration", AUTH),
    ("global-auth-cache-key", AUTH),
    ("global-auth-method", AUTH),
    ("global-auth-request-redirect", AUTH),
    ("global-auth-response-headers", AUTH),
    ("global-auth-signin", AUTH),
    ("global-auth-signin-redirect-param", AUTH),
    ("global-auth-snippet", SNIPPET),
    ("global-auth-url", AUTH),
    (
        "global-rate-limit-memcached-host",
        Never("there is no shared counter", &[]),
    ),
    ("grpc-buffer-size-kb", NGINX),
    (
        "gzip-disable",
        Differs(
            "the gateway compresses text, JSON, JavaScript, XML and SVG at level 6",
            &[ResponseHeaders, Body],
        ),
    ),
    (
        "gzip-level",
        Differs(
            "the gateway compresses text, JSON, JavaScript, XML and SVG at level 6",
            &[ResponseHeaders, Body],
        ),
    ),
    (
        "gzip-min-length",
        Same("BackendTrafficPolicy `compressor` of the Gateway"),
    ),
    (
        "gzip-types",
        Differs(
            "the gateway compresses text, JSON, JavaScript, XML and SVG at level 6",
            &[ResponseHeaders, Body],
        ),
    ),
    (
        "hide-headers",
        Same("ClientTrafficPolicy `lateResponseHeaders`"),
    ),
    (
        "hsts",
        Same("ClientTrafficPolicy `lateResponseHeaders` of the HTTPS listener"),
    ),
    (
        "hsts-include-subdomains",
        Same("ClientTrafficPolicy `lateResponseHeaders` of the HTTPS listener"),
    ),
    (
        "hsts-max-age",
        Same("ClientTrafficPolicy `lateResponseHeaders` of the HTTPS listener"),
    ),
    (
        "hsts-preload",
        Same("ClientTrafficPolicy `lateResponseHeaders` of the HTTPS listener"),
    ),
    ("http-access-log-path", LOG),
    ("http-redirect-code", Same("status of the redirect route")),
    ("http-snippet", SNIPPET),
    (
        "http2-max-concurrent-streams",
        Decide(
            "set `http2.maxConcurrentStreams` in the ClientTrafficPolicy",
            &[],
        ),
    ),
    ("http2-max-field-size", NGINX),
    ("http2-max-header-size", NGINX),
    (
        "ignore-invalid-headers",
        Differs(
            "malformed field names are rejected with 400",
            &[Status, RequestHeaders, Calls, Body, ResponseHeaders],
        ),
    ),
    (
        "keep-alive",
        Differs(
            "set `timeout.http.idleTimeout` in the ClientTrafficPolicy; 1 hour by default",
            &[ResponseHeaders],
        ),
    ),
    ("keep-alive-requests", NGINX),
    (
        "large-client-header-buffers",
        Decide(
            "set `headers.maxRequestHeaderLimit` in the ClientTrafficPolicy; 60 KiB by default",
            &[Status, Calls, Body, ResponseHeaders],
        ),
    ),
    (
        "limit-conn-status-code",
        Differs("the status of limited requests is 429", &[Status]),
    ),
    ("limit-conn-zone-variable", NGINX),
    (
        "limit-rate",
        Never("the throughput of a response cannot be limited", &[]),
    ),
    (
        "limit-rate-after",
        Never("the throughput of a response cannot be limited", &[]),
    ),
    (
        "limit-req-status-code",
        Differs("the status of limited requests is 429", &[Status]),
    ),
    ("load-balance", Same("BackendTrafficPolicy `loadBalancer`")),
    ("location-snippet", SNIPPET),
    ("log-format-escape-json", LOG),
    ("log-format-escape-none", LOG),
    ("log-format-stream", LOG),
    ("log-format-upstream", LOG),
    ("main-snippet", NGINX),
    ("map-hash-bucket-size", NGINX),
    ("max-worker-connections", NGINX),
    ("max-worker-open-files", NGINX),
    ("modsecurity-snippet", WAF),
    ("nginx-status-ipv4-whitelist", NGINX),
    ("nginx-status-ipv6-whitelist", NGINX),
    (
        "no-auth-locations",
        Same("paths without external authentication"),
    ),
    (
        "no-tls-redirect-locations",
        Same("paths without the redirect to HTTPS"),
    ),
    ("opentelemetry-config", TRACING),
    ("opentelemetry-operation-name", TRACING),
    ("opentelemetry-trust-incoming-span", TRACING),
    ("otel-max-queuesize", TRACING),
    ("otel-sampler", TRACING),
    ("otel-sampler-parent-based", TRACING),
    ("otel-sampler-ratio", TRACING),
    ("otel-schedule-delay-millis", TRACING),
    ("otel-service-name", TRACING),
    ("otlp-collector-host", TRACING),
    ("otlp-collector-port", TRACING),
    ("plugins", Never("plugins are Lua code of nginx", ALL)),
    (
        "proxy-add-original-uri-header",
        Differs("backends receive no `X-Original-URI`", &[RequestHeaders]),
    ),
    (
        "proxy-body-size",
        Same(
            "the annotation `towergate.dev/max-request-body` of the Gateway's BackendTrafficPolicy",
        ),
    ),
    ("proxy-buffer-size", NGINX),
    ("proxy-buffering", NGINX),
    ("proxy-buffers-number", NGINX),
    ("proxy-busy-buffers-size", NGINX),
    ("proxy-connect-timeout", BTP),
    (
        "proxy-cookie-domain",
        Never(
            "attributes of cookies cannot be rewritten",
            &[ResponseHeaders],
        ),
    ),
    (
        "proxy-cookie-path",
        Never(
            "attributes of cookies cannot be rewritten",
            &[ResponseHeaders],
        ),
    ),
    ("proxy-headers-hash-bucket-size", NGINX),
    ("proxy-headers-hash-max-size", NGINX),
    ("proxy-http-version", NGINX),
    ("proxy-max-temp-file-size", NGINX),
    ("proxy-next-upstream", BTP),
    (
        "proxy-next-upstream-timeout",
        Differs("retries are limited by their number", &[Status, Calls]),
    ),
    ("proxy-next-upstream-tries", BTP),
    ("proxy-protocol-header-timeout", NGINX),
    ("proxy-read-timeout", BTP),
    (
        "proxy-real-ip-cidr",
        Differs(
            "with `use-forwarded-headers`: trusted networks of `X-Forwarded-For`. PROXY headers are accepted from every peer",
            &[Status, RequestHeaders],
        ),
    ),
    (
        "proxy-redirect-from",
        Never(
            "`Location` of backends is not rewritten",
            &[ResponseHeaders],
        ),
    ),
    (
        "proxy-redirect-to",
        Never(
            "`Location` of backends is not rewritten",
            &[ResponseHeaders],
        ),
    ),
    (
        "proxy-request-buffering",
        Differs(
            "bodies are streamed to the backend",
            &[Calls, RequestHeaders],
        ),
    ),
    ("proxy-send-timeout", BTP),
    (
        "proxy-set-headers",
        Never(
            "write the fields as a RequestHeaderModifier of the routes, or as `earlyRequestHeaders` of the ClientTrafficPolicy",
            &[RequestHeaders, Calls],
        ),
    ),
    ("proxy-ssl-location-only", NGINX),
    ("proxy-stream-next-upstream", NGINX),
    ("proxy-stream-next-upstream-timeout", NGINX),
    ("proxy-stream-next-upstream-tries", NGINX),
    ("proxy-stream-responses", NGINX),
    (
        "proxy-stream-timeout",
        Decide(
            "set `timeout.tcp` in a BackendTrafficPolicy of the TCPRoute",
            &[],
        ),
    ),
    (
        "relative-redirects",
        Differs("`Location` is absolute", &[ResponseHeaders]),
    ),
    (
        "retry-non-idempotent",
        Differs("see `proxy-next-upstream`", &[Status, Calls]),
    ),
    ("reuse-port", NGINX),
    ("server-name-hash-bucket-size", NGINX),
    ("server-name-hash-max-size", NGINX),
    ("server-snippet", SNIPPET),
    (
        "server-tokens",
        Same("the gateway does not name its version"),
    ),
    (
        "service-upstream",
        Differs("requests go to the endpoints of the Service", &[]),
    ),
    ("skip-access-log-urls", LOG),
    ("ssl-buffer-size", NGINX),
    (
        "ssl-ciphers",
        Decide("set `tls.ciphers` in the ClientTrafficPolicy", &[Tls]),
    ),
    ("ssl-dh-param", NGINX),
    (
        "ssl-early-data",
        Never(
            "early data (0-RTT) is not accepted: it can be replayed",
            &[],
        ),
    ),
    (
        "ssl-ecdh-curve",
        Decide("set `tls.ecdhCurves` in the ClientTrafficPolicy", &[Tls]),
    ),
    (
        "ssl-protocols",
        Differs(
            "ClientTrafficPolicy `tls.minVersion`; TLS 1.0 and 1.1 are not supported",
            &[Tls, Status],
        ),
    ),
    (
        "ssl-redirect",
        Differs("the redirect route", &[ResponseHeaders]),
    ),
    (
        "ssl-reject-handshake",
        Decide(
            "run the gateway with --refuse-unknown-sni",
            &[Tls, Status, Body, ResponseHeaders],
        ),
    ),
    ("ssl-session-cache", NGINX),
    ("ssl-session-cache-size", NGINX),
    ("ssl-session-ticket-key", NGINX),
    ("ssl-session-tickets", NGINX),
    ("ssl-session-timeout", NGINX),
    ("stream-access-log-path", LOG),
    ("stream-snippet", SNIPPET),
    (
        "strict-validate-path-type",
        Same("the webhook's check; paths are translated according to nginx's matching"),
    ),
    ("syslog-host", LOG),
    ("syslog-port", LOG),
    (
        "upstream-hash-by",
        Differs(
            "BackendTrafficPolicy `loadBalancer.consistentHash`",
            &[Calls],
        ),
    ),
    ("upstream-keepalive-connections", NGINX),
    ("upstream-keepalive-requests", NGINX),
    ("upstream-keepalive-time", NGINX),
    (
        "upstream-keepalive-timeout",
        Decide(
            "set `timeout.http.connectionIdleTimeout` in the BackendTrafficPolicy",
            &[],
        ),
    ),
    (
        "use-forwarded-headers",
        Differs(
            "ClientTrafficPolicy `clientIPDetection.xForwardedFor`. One proxy in front is assumed: set `numTrustedHops` to their number. `X-Forwarded-Host` does not become the backend's `Host`, and redirects depend on the listener, not on `X-Forwarded-Proto`",
            &[RequestHeaders, Status, ResponseHeaders, Calls, Body],
        ),
    ),
    ("use-geoip", GEOIP),
    ("use-geoip2", GEOIP),
    (
        "use-gzip",
        Differs(
            "BackendTrafficPolicy `compressor` of the Gateway",
            &[ResponseHeaders, Body],
        ),
    ),
    (
        "use-http2",
        Differs("HTTP/2 is always offered on HTTPS", &[Tls, Status]),
    ),
    (
        "use-port-in-redirects",
        Differs(
            "redirects contain a port only if it is not the scheme's default",
            &[ResponseHeaders],
        ),
    ),
    (
        "use-proxy-protocol",
        Differs(
            "ClientTrafficPolicy `proxyProtocol`. The scheme is that of the listener; ingress-nginx takes it from the port in the PROXY header",
            &[RequestHeaders, Status, ResponseHeaders, Calls, Body],
        ),
    ),
    ("variables-hash-bucket-size", NGINX),
    ("variables-hash-max-size", NGINX),
    (
        "whitelist-source-range",
        Same("SecurityPolicies of all routes without their own list"),
    ),
    ("worker-cpu-affinity", NGINX),
    ("worker-processes", NGINX),
    (
        "worker-shutdown-timeout",
        Decide("set the drain timeout of the gateway", &[]),
    ),
    ("worker-serial-reloads", NGINX),
];
