//! Differences that no setting affects.

use super::super::verdict::Aspect::{
    self, Body, Calls, RequestHeaders, RequestPath, ResponseHeaders, Status, Tls,
};

/// Differences in behaviour that no setting affects.
pub(crate) const DEFAULTS: &[(&str, &str, &[Aspect])] = &[
    (
        "X-Forwarded-For",
        "the gateway appends the client's address to the field; ingress-nginx replaces it and passes the client's own field as `X-Original-Forwarded-For`",
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
        &[RequestPath, Calls, Status, ResponseHeaders, Body],
    ),
    (
        "hosts",
        "TLS to one host and `Host` of another is answered 421 where the listeners differ",
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
        "TLS 1.2 and 1.3 are offered with the ciphers of the gateway",
        &[Tls, Status, ResponseHeaders, Calls, Body],
    ),
    (
        "Strict-Transport-Security",
        "it is sent with every HTTPS response of the shared listener",
        &[ResponseHeaders],
    ),
    (
        "X-Accel fields",
        "`X-Accel-Redirect` and the like of a backend's response have no effect and reach the client; ingress-nginx acts on them",
        &[Status, Body, ResponseHeaders, Calls],
    ),
    (
        "health checks",
        "`/healthz` and `/nginx_status` of hosts without a rule return 404; ingress-nginx returns 200. Let the load balancer check the health of the gateway's pods",
        &[Status, Body],
    ),
];
