//! Differences in behaviour that no setting affects.

use super::client_address::AddressSource;
use crate::ingress::controller::ControllerConfig;
use crate::ingress::verdict::Aspect::{
    Body, Calls, RequestHeaders, RequestPath, ResponseHeaders, Status, Tls,
};
use crate::ingress::verdict::Finding;

/// Properties of an installation that determine its differences.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DefaultFacts<'a> {
    /// The controller's settings.
    pub(crate) config: &'a ControllerConfig,
    /// Whether `Location` is equal on both sides: redirects of ingress-nginx also keep a trailing slash
    /// (`preserve-trailing-slash`), or no Ingress redirects.
    pub(crate) keeps_slashes: bool,
    /// Whether hosts have HTTPS listeners of their own.
    pub(crate) has_own_listeners: bool,
    /// Whether `app-root` or `from-to-www-redirect` redirects.
    pub(crate) redirects_by_server: bool,
}

/// The differences of an installation, with their names.
pub(crate) fn defaults(facts: &DefaultFacts<'_>) -> Vec<(&'static str, Finding)> {
    let mut all = vec![forwarded_for(facts.config)];
    if !facts.keeps_slashes {
        let text = "`Location` keeps a trailing slash; ingress-nginx removes one (`/x/` becomes `https://host/x`)";
        let finding = Finding::differs(text, &[ResponseHeaders]);
        all.push(("redirects to HTTPS", finding));
    }
    all.push(("error responses", error_responses()));
    if facts.config.text("proxy-next-upstream") != Some("off") {
        let text = "a request that an endpoint has received is retried only if a policy configures it; ingress-nginx tries GET and HEAD on up to three endpoints";
        all.push(("retries", Finding::differs(text, &[Status, Calls])));
    }
    all.push(("paths", paths()));
    all.push(("hosts", hosts(facts.has_own_listeners)));
    all.extend(of_protocols(facts.config));
    if facts.redirects_by_server && facts.config.bool("hsts", true) {
        let text = "redirects of `app-root` and `from-to-www-redirect` over HTTPS have the field; ingress-nginx omits the field in these redirects";
        let finding = Finding::differs(text, &[ResponseHeaders]);
        all.push(("Strict-Transport-Security", finding));
    }
    let text = "`X-Accel-Redirect` and similar fields of a backend's response have no effect and reach the client; ingress-nginx acts on them";
    let affects = &[Status, Body, ResponseHeaders, Calls];
    all.push(("X-Accel fields", Finding::differs(text, affects)));
    let text = "`/healthz` and `/nginx_status` of hosts without a rule return 404; ingress-nginx returns 200. Let the load balancer check the health of the gateway's pods";
    all.push(("health checks", Finding::differs(text, &[Status, Body])));
    all
}

fn forwarded_for(config: &ControllerConfig) -> (&'static str, Finding) {
    let text = match (AddressSource::of(config), config.replaces_forwarded_for()) {
        (AddressSource::Peer, _) | (_, true) => {
            "backends receive the client's address alone, as from ingress-nginx; ingress-nginx also passes the client's own field as `X-Original-Forwarded-For`"
        }
        (_, false) => {
            "the gateway appends the address of the peer to `X-Forwarded-For`, as ingress-nginx does; ingress-nginx also passes the client's own field as `X-Original-Forwarded-For`"
        }
    };
    let finding = Finding::differs(text, &[RequestHeaders]);
    ("X-Forwarded-For", finding)
}

/// Differences in responses to errors. A failed backend gives 502 on both sides, because the
/// BackendTrafficPolicy of the Gateway sets this status.
fn error_responses() -> Finding {
    Finding::differs(
        "a rule whose Service does not exist returns 500, where ingress-nginx returns 503; malformed requests return 400. The gateway's own responses have no HTML page",
        &[Status, Body, ResponseHeaders],
    )
}

fn hosts(has_own_listeners: bool) -> Finding {
    let dot = "a `Host` that ends with a dot matches no host; ingress-nginx ignores the dot";
    let text = match has_own_listeners {
        true => format!(
            "{dot}. Over TLS, a request returns 421 if its `Host` belongs to another listener than its server name; ingress-nginx returns 421 only if one of the hosts verifies client certificates"
        ),
        false => dot.to_owned(),
    };
    Finding::differs(text, &[Status, Calls, Body, ResponseHeaders])
}

fn paths() -> Finding {
    Finding::differs(
        "paths are normalised before they are matched and forwarded: `//` and `/../` do not reach the backend",
        &[RequestPath, Calls, Status, ResponseHeaders, Body],
    )
}

fn of_protocols(config: &ControllerConfig) -> [(&'static str, Finding); 3] {
    let fields = "fields that `Connection` lists are removed, and field names with `.` or other characters are kept. `Server` of backends is forwarded; ingress-nginx removes it";
    let protocols = "HTTP/0.9, HTTP/1.0 and upgrades are handled as by Envoy";
    let tls = match config.text("ssl-protocols") {
        Some("TLSv1.3") => "TLS 1.3 is offered with the ciphers of the gateway",
        _ => "TLS 1.2 and 1.3 are offered with the ciphers of the gateway",
    };
    [
        (
            "header fields",
            Finding::differs(fields, &[RequestHeaders, ResponseHeaders]),
        ),
        (
            "protocols",
            Finding::differs(
                protocols,
                &[Status, ResponseHeaders, RequestHeaders, Calls, Body],
            ),
        ),
        (
            "TLS",
            Finding::differs(tls, &[Tls, Status, ResponseHeaders, Calls, Body]),
        ),
    ]
}
