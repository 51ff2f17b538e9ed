//! Keys of the ConfigMap.

use super::super::verdict::Aspect::{Body, Calls, RequestHeaders, ResponseHeaders, Status, Tls};
use super::ConfigRow::{By, Decide, Differs, Never, Same};
use super::{
    ALL, AUTH, ConfigRow, GEOIP, LOG, NGINX, SNIPPET, TRACING, WAF, by_value, client_address,
};

pub(super) const KEYS: &[(&str, ConfigRow)] = &[
    ("access-log-params", LOG),
    ("access-log-path", LOG),
    ("add-headers", By(by_value::added_headers)),
    (
        "allow-backend-server-header",
        By(by_value::backend_server_header),
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
    ("block-cidrs", By(by_value::blocked_networks)),
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
    ("brotli-level", By(by_value::of_brotli)),
    ("brotli-min-length", By(by_value::of_brotli)),
    ("brotli-types", By(by_value::of_brotli)),
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
    ("compute-full-forwarded-for", By(client_address::full)),
    ("custom-http-errors", By(by_value::error_pages)),
    ("default-type", NGINX),
    ("denylist-source-range", By(by_value::source_range)),
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
    ("enable-real-ip", By(client_address::detection)),
    ("enable-serial-reloads", NGINX),
    (
        "enable-underscores-in-headers",
        Same("ClientTrafficPolicy `headers.withUnderscoresAction`"),
    ),
    ("error-log-level", NGINX),
    ("error-log-path", NGINX),
    ("force-ssl-redirect", By(by_value::force_ssl_redirect)),
    ("forwarded-for-header", By(client_address::header)),
    (
        "generate-request-id",
        Same("ClientTrafficPolicy `headers.requestID`"),
    ),
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
        Never(
            "counts are not shared between gateways: use `rateLimit.global` with a rate limit service",
            &[],
        ),
    ),
    ("grpc-buffer-size-kb", NGINX),
    ("gzip-disable", By(by_value::of_gzip)),
    ("gzip-level", By(by_value::of_gzip)),
    ("gzip-min-length", By(by_value::gzip_min_length)),
    ("gzip-types", By(by_value::of_gzip)),
    (
        "hide-headers",
        Same("ClientTrafficPolicy `lateResponseHeaders`"),
    ),
    ("hsts", By(by_value::hsts)),
    ("hsts-include-subdomains", By(by_value::of_hsts)),
    ("hsts-max-age", By(by_value::of_hsts)),
    ("hsts-preload", By(by_value::of_hsts)),
    ("http-access-log-path", LOG),
    ("http-redirect-code", Same("status of the redirect route")),
    ("http-snippet", By(by_value::snippet)),
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
        Decide(
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
        Same("it has no effect: `limit-connections` is not translated"),
    ),
    ("limit-conn-zone-variable", NGINX),
    (
        "limit-rate",
        Never("the throughput of a single response cannot be limited", &[]),
    ),
    (
        "limit-rate-after",
        Never("the throughput of a single response cannot be limited", &[]),
    ),
    ("limit-req-status-code", By(by_value::limit_status)),
    ("load-balance", By(by_value::load_balance)),
    ("location-snippet", By(by_value::snippet)),
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
    (
        "proxy-connect-timeout",
        Same("BackendTrafficPolicy `timeout.tcp.connectTimeout` of the Gateway"),
    ),
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
    ("proxy-next-upstream", By(by_value::next_upstream)),
    (
        "proxy-next-upstream-timeout",
        Differs("retries are limited by their number", &[Status, Calls]),
    ),
    ("proxy-next-upstream-tries", By(by_value::tries)),
    ("proxy-protocol-header-timeout", NGINX),
    ("proxy-read-timeout", By(by_value::idle_timeout)),
    ("proxy-real-ip-cidr", By(client_address::trusted_networks)),
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
    ("proxy-request-buffering", By(by_value::request_buffering)),
    ("proxy-send-timeout", By(by_value::idle_timeout)),
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
        Differs(
            "requests that a backend has received are not retried: add `reset` to `retry.retryOn.triggers` in the BackendTrafficPolicy of the Gateway",
            &[Status, Calls],
        ),
    ),
    ("reuse-port", NGINX),
    ("server-name-hash-bucket-size", NGINX),
    ("server-name-hash-max-size", NGINX),
    ("server-snippet", By(by_value::snippet)),
    (
        "server-tokens",
        Differs(
            "`Server` never names the version of the gateway",
            &[ResponseHeaders],
        ),
    ),
    (
        "service-upstream",
        Differs(
            "requests go to the endpoints of the Service: set `routingType: Service` in the BackendTrafficPolicy",
            &[],
        ),
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
    ("ssl-protocols", By(by_value::ssl_protocols)),
    ("ssl-redirect", By(by_value::ssl_redirect)),
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
    ("upstream-hash-by", By(by_value::hash_by)),
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
    ("use-forwarded-headers", By(client_address::detection)),
    ("use-geoip", GEOIP),
    ("use-geoip2", GEOIP),
    (
        "use-gzip",
        Differs(
            "BackendTrafficPolicy `compressor` of the Gateway",
            &[ResponseHeaders, Body],
        ),
    ),
    ("use-http2", By(by_value::http2)),
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
    ("whitelist-source-range", By(by_value::source_range)),
    ("worker-cpu-affinity", NGINX),
    ("worker-processes", NGINX),
    (
        "worker-shutdown-timeout",
        Decide("set the drain timeout of the gateway", &[]),
    ),
    ("worker-serial-reloads", NGINX),
];
