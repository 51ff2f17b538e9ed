//! Keys and flags whose verdict depends on their value, on other keys, or on objects.

use super::{ConfigValue, WAF_TEXT};
use crate::ingress::annotations::{backend, blocked_clients, errors, global_snippets, proxy, waf};
use crate::ingress::controller::object_key;
use crate::ingress::value::{boolean, networks};
use crate::ingress::verdict::Aspect::{Body, Calls, RequestHeaders, ResponseHeaders, Status, Tls};
use crate::ingress::verdict::Finding;

fn no_effect_without(key: &str) -> Finding {
    Finding::same(format!(
        "without `{key}`, the setting has no effect, in ingress-nginx and in the gateway"
    ))
}

/// The verdict on `hsts`.
pub(super) fn hsts(value: &ConfigValue<'_>) -> Finding {
    match boolean(value.text) {
        Some(false) => Finding::same("no listener sends `Strict-Transport-Security`"),
        _ => Finding::same("ClientTrafficPolicy `lateResponseHeaders` of the HTTPS listeners"),
    }
}

/// The verdict on `hsts-*`.
pub(super) fn of_hsts(value: &ConfigValue<'_>) -> Finding {
    match value.config.bool("hsts", true) {
        true => Finding::same("ClientTrafficPolicy `lateResponseHeaders` of the HTTPS listeners"),
        false => no_effect_without("hsts"),
    }
}

/// The verdict on `gzip-min-length`.
pub(super) fn gzip_min_length(value: &ConfigValue<'_>) -> Finding {
    match value.config.bool("use-gzip", false) {
        true => Finding::same("BackendTrafficPolicy `compressor` of the Gateway"),
        false => no_effect_without("use-gzip"),
    }
}

/// The verdict on `gzip-level`, `gzip-types` and `gzip-disable`.
pub(super) fn of_gzip(value: &ConfigValue<'_>) -> Finding {
    match value.config.bool("use-gzip", false) {
        true => Finding::differs(
            "the gateway compresses text, JSON, JavaScript, XML and SVG at level 6",
            &[ResponseHeaders, Body],
        ),
        false => no_effect_without("use-gzip"),
    }
}

/// The verdict on `brotli-*`.
pub(super) fn of_brotli(value: &ConfigValue<'_>) -> Finding {
    match value.config.bool("enable-brotli", false) {
        true => Finding::decision(
            "compression is off: see `enable-brotli`",
            &[ResponseHeaders, Body],
        ),
        false => no_effect_without("enable-brotli"),
    }
}

/// The verdict on `ssl-redirect`.
pub(super) fn ssl_redirect(value: &ConfigValue<'_>) -> Finding {
    match boolean(value.text) {
        Some(false) => Finding::same(
            "hosts with TLS are also served over plain HTTP, unless an annotation redirects them",
        ),
        _ => redirect_route(),
    }
}

/// The verdict on `force-ssl-redirect`.
pub(super) fn force_ssl_redirect(_: &ConfigValue<'_>) -> Finding {
    redirect_route()
}

fn redirect_route() -> Finding {
    Finding::differs(
        "the redirect route; `Location` keeps a trailing slash that ingress-nginx removes",
        &[ResponseHeaders],
    )
}

/// The verdict on `ssl-protocols`.
pub(super) fn ssl_protocols(value: &ConfigValue<'_>) -> Finding {
    let mut versions: Vec<&str> = value.text.split_whitespace().collect();
    versions.sort_unstable();
    match versions.as_slice() {
        ["TLSv1.3"] => Finding::same("ClientTrafficPolicy `tls.minVersion: \"1.3\"`"),
        ["TLSv1.2", "TLSv1.3"] => Finding::same("the versions that the gateway offers"),
        ["TLSv1.2"] => Finding::differs("TLS 1.3 is offered as well", &[Tls, Status]),
        _ => Finding::differs(
            "TLS 1.2 and 1.3 are offered; older versions are not supported",
            &[Tls, Status, ResponseHeaders, Calls, Body],
        ),
    }
}

/// The verdict on `use-http2`.
pub(super) fn http2(value: &ConfigValue<'_>) -> Finding {
    match boolean(value.text) {
        Some(false) => Finding::differs("HTTP/2 is always offered on HTTPS", &[Tls, Status]),
        _ => Finding::same("HTTP/2 is always offered on HTTPS"),
    }
}

/// The verdict on `allow-backend-server-header`.
pub(super) fn backend_server_header(value: &ConfigValue<'_>) -> Finding {
    match value.config.bool("server-tokens", false) {
        true => Finding::same("`Server` of backends is always forwarded"),
        false => Finding::differs(
            "`Server` of backends is always forwarded; ingress-nginx removes it nevertheless without `server-tokens`",
            &[ResponseHeaders],
        ),
    }
}

/// The verdict on `limit-req-status-code`.
pub(super) fn limit_status(value: &ConfigValue<'_>) -> Finding {
    let status = value.text.parse::<u16>().ok();
    match status.filter(|status| (400..600).contains(status)) {
        Some(_) => Finding::same("BackendTrafficPolicy `responseOverride` of limited routes"),
        None => Finding::decision("the value is not an error status: 503 is used", &[Status]),
    }
}

/// The verdict on `load-balance`.
pub(super) fn load_balance(value: &ConfigValue<'_>) -> Finding {
    backend::load_balance(value.text).map_or_else(
        || {
            Finding::decision(
                "the value is neither `round_robin` nor `ewma`: round robin is used",
                &[Calls],
            )
        },
        |(_, finding)| finding,
    )
}

/// The verdict on `upstream-hash-by`.
pub(super) fn hash_by(value: &ConfigValue<'_>) -> Finding {
    backend::hash_by(value.text).1
}

/// The verdict on `proxy-read-timeout` and `proxy-send-timeout`.
pub(super) fn idle_timeout(_: &ConfigValue<'_>) -> Finding {
    proxy::idle_timeout()
}

/// The verdict on `proxy-next-upstream`.
pub(super) fn next_upstream(value: &ConfigValue<'_>) -> Finding {
    let words: Vec<String> = value.text.split_whitespace().map(str::to_owned).collect();
    proxy::next_upstream(&words)
}

/// The verdict on `proxy-next-upstream-tries`.
pub(super) fn tries(value: &ConfigValue<'_>) -> Finding {
    proxy::tries(value.text.parse().unwrap_or(3))
}

/// The verdict on `proxy-request-buffering`.
pub(super) fn request_buffering(value: &ConfigValue<'_>) -> Finding {
    proxy::request_buffering(value.text == "off")
}

/// The verdict on `whitelist-source-range` and `denylist-source-range`.
pub(super) fn source_range(value: &ConfigValue<'_>) -> Finding {
    match networks(value.text) {
        Ok(_) => {
            Finding::same("SecurityPolicies of all routes whose Ingress has no list of its own")
        }
        Err(entry) => Finding::decision(
            format!(
                "`{entry}` is not a network: the paths of Ingresses without their own list return 500 until the value is corrected"
            ),
            &[Status, Calls, Body, ResponseHeaders],
        ),
    }
}

/// The verdict on `block-cidrs`.
pub(super) fn blocked_networks(value: &ConfigValue<'_>) -> Finding {
    match networks(value.text) {
        Ok(_) => Finding::differs(
            "SecurityPolicies of all routes whose Ingress has no list of its own, as in ingress-nginx; requests to unknown hosts receive 404 instead of 403",
            &[Status, Calls, Body],
        ),
        Err(entry) => Finding::decision(
            format!(
                "`{entry}` is not a network: the paths of all Ingresses without a list of their own return 500"
            ),
            &[Status, Calls, Body, ResponseHeaders],
        ),
    }
}

/// The verdict on `block-referers` and `block-user-agents`.
pub(super) fn blocked_clients(value: &ConfigValue<'_>) -> Finding {
    blocked_clients::finding(value.name, value.text)
}

/// The verdict on `modsecurity-snippet`.
pub(super) fn modsecurity(value: &ConfigValue<'_>) -> Finding {
    let closes = waf::finding(value.config, value.text);
    closes.unwrap_or_else(|| Finding::impossible(WAF_TEXT, &[Status]))
}

/// The verdict on `location-snippet`, `server-snippet` and `http-snippet`.
pub(super) fn snippet(value: &ConfigValue<'_>) -> Finding {
    global_snippets::finding(value.config, value.manifests, value.name, value.text)
}

/// The verdict on `custom-http-errors`.
pub(super) fn error_pages(value: &ConfigValue<'_>) -> Finding {
    let affects = &[Status, Body, Calls, ResponseHeaders];
    let Some(codes) = errors::statuses(value.text) else {
        return Finding::decision(
            "the value is not a list of statuses and is not translated",
            affects,
        );
    };
    if !errors::statuses_without_page(value.config, value.manifests).is_empty() {
        return Finding::differs(
            "BackendTrafficPolicy `responseOverride` of the Gateway: these responses become 500, as in ingress-nginx without a Service for error pages. The content differs. To keep the responses of backends, remove the override",
            &[Body, ResponseHeaders],
        );
    }
    errors::pages(
        &codes,
        Some(
            value
                .config
                .flag("default-backend-service")
                .unwrap_or("of the annotation `default-backend`"),
        ),
    )
}

/// The verdict on `add-headers`.
pub(super) fn added_headers(value: &ConfigValue<'_>) -> Finding {
    let key = object_key(value.text, "ingress-nginx");
    match value.manifests.config_maps.contains_key(&key) {
        true => Finding::same("ClientTrafficPolicy `lateResponseHeaders`, on every response"),
        false => Finding::decision(
            format!("ConfigMap {key} is not among the files: its header fields are not translated"),
            &[ResponseHeaders],
        ),
    }
}

/// The verdict on `proxy-set-headers`.
pub(super) fn set_headers(value: &ConfigValue<'_>) -> Finding {
    let key = object_key(value.text, "ingress-nginx");
    let Some(fields) = value.manifests.config_maps.get(&key) else {
        return Finding::decision(
            format!("ConfigMap {key} is not among the files: its header fields are not translated"),
            &[RequestHeaders],
        );
    };
    let dynamic = fields
        .values
        .iter()
        .filter(|(_, field)| field.text.contains('$'));
    let dynamic: Vec<_> = dynamic.map(|(name, _)| format!("`{name}`")).collect();
    match dynamic.is_empty() {
        true => Finding::same("ClientTrafficPolicy `earlyRequestHeaders`, on every request"),
        false => Finding::decision(
            format!(
                "ClientTrafficPolicy `earlyRequestHeaders`; {}, whose values have variables, are removed from requests: set them in a RequestHeaderModifier",
                dynamic.join(", ")
            ),
            &[RequestHeaders],
        ),
    }
}

/// The verdict on `configmap`.
pub(super) fn config_map(value: &ConfigValue<'_>) -> Finding {
    match value.config.object.starts_with("ConfigMap ") {
        true => Finding::same("the ConfigMap that is translated"),
        false => Finding::decision(
            "the ConfigMap is not among the files: its settings are not translated, and the defaults of ingress-nginx apply",
            &[Status, ResponseHeaders, RequestHeaders, Body, Calls],
        ),
    }
}

/// The verdict on `tcp-services-configmap` and `udp-services-configmap`.
pub(super) fn stream_services(value: &ConfigValue<'_>) -> Finding {
    let key = object_key(value.text, "ingress-nginx");
    if !value.manifests.config_maps.contains_key(&key) {
        let text = format!("ConfigMap {key} is not among the files: its ports are not translated");
        return Finding::decision(text, &[Status, Calls, Body]);
    }
    let kind = match value.name.starts_with("tcp") {
        true => "TCPRoutes",
        false => "UDPRoutes",
    };
    Finding::differs(
        format!("listeners and {kind}, which need the experimental channel of Gateway API"),
        &[],
    )
}

/// The verdict on `http-port` and `https-port`.
pub(super) fn port(value: &ConfigValue<'_>) -> Finding {
    let default = match value.name {
        "https-port" => "443",
        _ => "80",
    };
    match value.text == default {
        true => Finding::same(format!("the port of the listener is {default}")),
        false => Finding::decision(
            format!(
                "the port of the listener is {default}: change the port if clients do not connect through a Service that maps the port"
            ),
            &[],
        ),
    }
}
