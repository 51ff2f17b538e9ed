//! Hosts, paths, redirects, header fields, snippets and logs.

use super::super::verdict::Aspect::ResponseHeaders;
use super::Invalid::{Denies, DropsIngress, Ignored};
use super::Risk::{Critical, High, Low, Medium};
use super::Row::{Differs, Never, Nothing, Read};
use super::{AnnotationEntry, row};

const TRACING: &str = "tracing is configured for the whole gateway, not for a route";

pub(super) const ROWS: &[AnnotationEntry] = &[
    row(
        "app-root",
        Medium,
        Ignored,
        Read("a redirect of the path `/`"),
    ),
    row(
        "configuration-snippet",
        Critical,
        DropsIngress,
        Read("nginx configuration"),
    ),
    row(
        "custom-headers",
        Medium,
        Denies,
        Read("filter `ResponseHeaderModifier`"),
    ),
    row(
        "enable-access-log",
        Low,
        Ignored,
        Differs("the access log is configured for the whole gateway", &[]),
    ),
    row("enable-opentelemetry", Low, Ignored, Differs(TRACING, &[])),
    row(
        "enable-rewrite-log",
        Low,
        Ignored,
        Nothing("a log of nginx"),
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
        Read("a direct response"),
    ),
    row(
        "permanent-redirect-code",
        Low,
        DropsIngress,
        Read("status of the direct response"),
    ),
    row(
        "preserve-trailing-slash",
        Medium,
        Ignored,
        Nothing("redirects keep the path unchanged"),
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
        Read("a direct response"),
    ),
    row(
        "temporal-redirect-code",
        Low,
        Ignored,
        Read("status of the direct response"),
    ),
    row(
        "use-port-in-redirects",
        Low,
        Ignored,
        Differs(
            "redirects contain a port only if the listener's is not the scheme's default",
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
        "x-forwarded-prefix",
        Medium,
        DropsIngress,
        Read("filter `RequestHeaderModifier`"),
    ),
];
