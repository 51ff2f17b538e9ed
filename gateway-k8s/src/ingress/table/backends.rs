//! How backends are selected and called.

use super::super::verdict::Aspect::{Calls, RequestHeaders, ResponseHeaders, Status};
use super::Invalid::{DropsIngress, Ignored};
use super::Risk::{High, Low, Medium};
use super::Row::{Differs, Never, Nothing, Read};
use super::{AnnotationEntry, row};

const BUFFERS: &str = "a buffer of nginx: the gateway streams bodies and limits its own buffers";

pub(super) const ROWS: &[AnnotationEntry] = &[
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
        "connection-proxy-header",
        Low,
        DropsIngress,
        Differs(
            "the gateway itself manages `Connection` to the backend",
            &[RequestHeaders],
        ),
    ),
    row("custom-http-errors", Low, DropsIngress, Read("error pages")),
    row(
        "default-backend",
        Low,
        Ignored,
        Read("error pages and a backend for Services without endpoints"),
    ),
    row(
        "disable-proxy-intercept-errors",
        Low,
        Ignored,
        Nothing("error pages replace responses only where `custom-http-errors` is translated"),
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
        Never(
            "`Location` of backends is not rewritten: let the application write its public address",
            &[ResponseHeaders],
        ),
    ),
    row(
        "proxy-redirect-to",
        Medium,
        Ignored,
        Never(
            "`Location` of backends is not rewritten: let the application write its public address",
            &[ResponseHeaders],
        ),
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
        "service-upstream",
        Low,
        Ignored,
        Differs(
            "requests go to the endpoints of the Service, not to its cluster address, and bypass a service mesh that relies on that address: set `routingType: Service` in the BackendTrafficPolicy",
            &[],
        ),
    ),
    row(
        "session-cookie-change-on-failure",
        Low,
        Ignored,
        Differs(
            "a session moves to another endpoint if its endpoint is removed or ejected",
            &[Calls, ResponseHeaders],
        ),
    ),
    row(
        "session-cookie-conditional-samesite-none",
        Low,
        Ignored,
        Differs(
            "`SameSite=None` is sent to every client: browsers that misinterpret it are obsolete",
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
];
