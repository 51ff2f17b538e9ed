//! Keys of the controller's ConfigMap, its flags, and what differs without any setting.

use self::ConfigRow::{Decide, Differs, Never, Same};
use super::verdict::Aspect::{
    self, Body, Calls, RequestHeaders, RequestPath, ResponseHeaders, Status, Tls,
};

/// The verdict on a key or flag.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ConfigRow {
    Same(&'static str),
    Differs(&'static str, &'static [Aspect]),
    Decide(&'static str, &'static [Aspect]),
    Never(&'static str, &'static [Aspect]),
}

const NGINX: ConfigRow = Same("housekeeping of nginx: nothing corresponds to it");
const LOG: ConfigRow = Differs(
    "the access log has Envoy Gateway's JSON format, or Envoy's text format",
    &[],
);
const CTP: ConfigRow = Same("ClientTrafficPolicy of the listeners");
const BTP: ConfigRow = Differs("BackendTrafficPolicy of the Gateway", &[Status, Calls]);
const ALL: &[Aspect] = &[
    Status,
    ResponseHeaders,
    Body,
    Calls,
    RequestHeaders,
    RequestPath,
];
const SNIPPET: ConfigRow = Never(
    "nginx configuration for all requests: write header edits into the ClientTrafficPolicy and rules into the routes",
    ALL,
);
const AUTH: ConfigRow = Differs(
    "SecurityPolicy `extAuth` of every route; see `auth-url`",
    ALL,
);
const TRACING: ConfigRow = Decide("configure tracing for the gateway", &[]);
const GEOIP: ConfigRow = Never(
    "there is no GeoIP database in the gateway",
    &[RequestHeaders],
);
const WAF: ConfigRow = Never(
    "there is no ModSecurity in the gateway: put a web application firewall in front",
    &[Status],
);

/// Looks up a key.
pub(crate) fn key(name: &str) -> Option<&'static ConfigRow> {
    KEYS.iter()
        .find(|(key, _)| *key == name)
        .map(|(_, row)| row)
}

/// Names of all keys.
pub(crate) fn keys() -> impl Iterator<Item = &'static str> {
    KEYS.iter().map(|(key, _)| *key)
}

/// Looks up a flag.
pub(crate) fn flag(name: &str) -> Option<&'static ConfigRow> {
    FLAGS
        .iter()
        .find(|(flag, _)| *flag == name)
        .map(|(_, row)| row)
}

/// Names of all flags.
pub(crate) fn flags() -> impl Iterator<Item = &'static str> {
    FLAGS.iter().map(|(flag, _)| *flag)
}

/// Behaviour that differs whatever is configured.
pub(crate) const DEFAULTS: &[(&str, &str, &[Aspect])] = &[
    (
        "X-Forwarded-For",
        "the gateway appends the client's address to the field; ingress-nginx replaces it and passes the client's own field as `X-Original-Forwarded-For`",
        &[RequestHeaders],
    ),
    (
        "X-Real-IP and X-Forwarded-Host",
        "backends do not receive them: read the last entry of `X-Forwarded-For`, and `Host`",
        &[RequestHeaders],
    ),
    (
        "redirects to HTTPS",
        "`Location` keeps a trailing slash; ingress-nginx removes one (`/x/` becomes `https://host/x`)",
        &[ResponseHeaders],
    ),
    (
        "error responses",
        "the gateway's own responses have other statuses in some cases: 500 for a Service that does not exist and 503 for a backend that fails, where ingress-nginx answers 503 and 502; malformed requests get 400",
        &[Status, Body, ResponseHeaders],
    ),
    (
        "retries",
        "a request that an endpoint has received is not retried unless a policy says so; ingress-nginx tries GET and HEAD on up to three endpoints",
        &[Status, Calls],
    ),
    (
        "paths",
        "paths are normalised before they are matched and forwarded: `//` and `/../` do not reach the backend",
        &[RequestPath, Calls, Status, ResponseHeaders],
    ),
    (
        "hosts",
        "a wildcard host matches several labels; ingress-nginx matches one. TLS to one host and `Host` of another is answered 421 where the listeners differ",
        &[Status, Calls, Body, ResponseHeaders],
    ),
    (
        "header fields",
        "fields that `Connection` names are removed, field names with `.` or other characters are kept, and `Server` is the gateway's",
        &[RequestHeaders, ResponseHeaders],
    ),
    (
        "protocols",
        "HTTP/0.9, HTTP/1.0 and upgrades are answered as Envoy does",
        &[Status, ResponseHeaders, RequestHeaders, Calls, Body],
    ),
    (
        "TLS",
        "clients without a known server name receive the first certificate of the Gateway; ingress-nginx sends a self-signed one. TLS 1.2 and 1.3 are offered with the ciphers of the gateway",
        &[Tls, Status, ResponseHeaders, Calls, Body],
    ),
    (
        "Strict-Transport-Security",
        "it is sent with every HTTPS response of the shared listener",
        &[ResponseHeaders],
    ),
];

const KEYS: &[(&str, ConfigRow)] = &[
    ("access-log-params", LOG),
    ("access-log-path", LOG),
    (
        "add-headers",
        Same("ClientTrafficPolicy `lateResponseHeaders`, on every response"),
    ),
    (
        "allow-backend-server-header",
        Differs(
            "`Server` of backends is passed on as Envoy does",
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
            "addresses cannot be blocked for the whole gateway beside the lists of Ingresses: write a SecurityPolicy for the Gateway",
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
        Same("SecurityPolicies of all routes without a list of their own"),
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
            "malformed field names are answered 400",
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
        Same("the webhook's check; paths are translated as nginx matches them"),
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
            "redirects name a port only if it is unusual",
            &[ResponseHeaders],
        ),
    ),
    (
        "use-proxy-protocol",
        Differs(
            "ClientTrafficPolicy `proxyProtocol`. The scheme is that of the listener; ingress-nginx takes it from the port in the PROXY header",
            &[RequestHeaders, Status, ResponseHeaders, Calls],
        ),
    ),
    ("variables-hash-bucket-size", NGINX),
    ("variables-hash-max-size", NGINX),
    (
        "whitelist-source-range",
        Same("SecurityPolicies of all routes without a list of their own"),
    ),
    ("worker-cpu-affinity", NGINX),
    ("worker-processes", NGINX),
    (
        "worker-shutdown-timeout",
        Decide("set the drain timeout of the gateway", &[]),
    ),
    ("worker-serial-reloads", NGINX),
];

const FLAGS: &[(&str, ConfigRow)] = &[
    (
        "annotations-prefix",
        Same("applied when annotations are read"),
    ),
    ("apiserver-host", NGINX),
    ("bucket-factor", NGINX),
    ("certificate-authority", NGINX),
    ("configmap", Same("the ConfigMap that is translated")),
    (
        "controller-class",
        Same("applied when Ingresses are selected"),
    ),
    ("deep-inspect", NGINX),
    (
        "default-backend-service",
        Differs(
            "a route for all hosts that no Ingress names; requests for other paths of a host get 404 unless its oldest Ingress has no rule for `/`",
            &[Status, Calls, Body, ResponseHeaders],
        ),
    ),
    ("default-server-port", NGINX),
    (
        "default-ssl-certificate",
        Same("the first certificate of the shared listener"),
    ),
    ("disable-catch-all", Same("applied when Ingresses are read")),
    ("disable-full-test", NGINX),
    ("disable-leader-election", NGINX),
    (
        "disable-svc-external-name",
        Decide(
            "Services of type ExternalName are translated: remove them",
            &[Status, Calls, Body, ResponseHeaders],
        ),
    ),
    ("disable-sync-events", NGINX),
    ("dynamic-configuration-retries", NGINX),
    ("election-id", NGINX),
    ("election-ttl", NGINX),
    (
        "enable-annotation-validation",
        Same("annotations are read with validation"),
    ),
    ("enable-metrics", NGINX),
    ("enable-ssl-chain-completion", NGINX),
    (
        "enable-ssl-passthrough",
        Same("applied when `ssl-passthrough` is read"),
    ),
    ("enable-topology-aware-routing", NGINX),
    ("exclude-socket-metrics", NGINX),
    ("health-check-path", NGINX),
    ("health-check-timeout", NGINX),
    ("healthz-host", NGINX),
    ("healthz-port", NGINX),
    ("http-port", Decide("the listener has port 80", &[])),
    ("https-port", Decide("the listener has port 443", &[])),
    ("ingress-class", Same("applied when Ingresses are selected")),
    (
        "ingress-class-by-name",
        Same("applied when Ingresses are selected"),
    ),
    ("internal-logger-address", NGINX),
    ("kubeconfig", NGINX),
    ("length-buckets", NGINX),
    ("maxmind-edition-ids", GEOIP),
    ("maxmind-license-key", GEOIP),
    ("maxmind-mirror", GEOIP),
    ("maxmind-retries-count", GEOIP),
    ("maxmind-retries-timeout", GEOIP),
    ("metrics-per-host", NGINX),
    ("metrics-per-undefined-host", NGINX),
    ("monitor-max-batch-size", NGINX),
    ("post-shutdown-grace-period", NGINX),
    ("profiler-address", NGINX),
    ("profiler-port", NGINX),
    ("profiling", NGINX),
    ("publish-service", NGINX),
    ("publish-status-address", NGINX),
    ("report-node-internal-ip-address", NGINX),
    ("report-status-classes", NGINX),
    ("shutdown-grace-period", NGINX),
    ("size-buckets", NGINX),
    ("skip_headers", NGINX),
    ("ssl-passthrough-proxy-port", NGINX),
    ("status-port", NGINX),
    ("status-update-interval", NGINX),
    ("stream-port", NGINX),
    ("sync-period", NGINX),
    ("sync-rate-limit", NGINX),
    (
        "tcp-services-configmap",
        Differs("listeners and TCPRoutes", &[]),
    ),
    ("time-buckets", NGINX),
    (
        "udp-services-configmap",
        Differs("listeners and UDPRoutes", &[]),
    ),
    ("update-status", NGINX),
    ("update-status-on-shutdown", NGINX),
    ("v", NGINX),
    ("validating-webhook", NGINX),
    ("validating-webhook-certificate", NGINX),
    ("validating-webhook-key", NGINX),
    ("version", NGINX),
    (
        "watch-ingress-without-class",
        Same("applied when Ingresses are selected"),
    ),
    (
        "watch-namespace",
        Decide(
            "Ingresses of all namespaces are translated: pass only those of the watched namespace",
            &[],
        ),
    ),
    (
        "watch-namespace-selector",
        Decide(
            "Ingresses of all namespaces are translated: pass only those of the watched namespaces",
            &[],
        ),
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_flags_are_unique() {
        for mut names in [keys().collect::<Vec<_>>(), flags().collect()] {
            let number = names.len();
            names.sort_unstable();
            names.dedup();

            assert_eq!(names.len(), number);
        }
    }
}
