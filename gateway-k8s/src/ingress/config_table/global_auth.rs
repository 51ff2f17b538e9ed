//! `global-auth-*`: external authentication of all Ingresses.

use super::{ALL, ConfigValue};
use crate::ingress::annotations::external_auth::{is_sign_in, own_host};
use crate::ingress::value::url as parse_url;
use crate::ingress::verdict::Aspect::Calls;
use crate::ingress::verdict::Finding;

/// The verdict on one of the keys `global-auth-*`.
pub(super) fn finding(value: &ConfigValue<'_>) -> Finding {
    if value.name == "global-auth-url" {
        return url(value.text);
    }
    if value.config.text("global-auth-url").is_none() {
        return Finding::same(
            "without `global-auth-url`, the setting has no effect, in ingress-nginx and in the gateway",
        );
    }
    let policy = "the annotation `towergate.dev/ext-auth-subrequest` of the SecurityPolicies";
    match value.name {
        "global-auth-cache-duration" | "global-auth-cache-key" => Finding::differs(
            "the authentication server is called for every request",
            &[Calls],
        ),
        "global-auth-response-headers" => {
            Finding::same("SecurityPolicy `extAuth.http.headersToBackend`")
        }
        "global-auth-request-redirect" if value.text.contains('$') => Finding::decision(
            "the value has variables of nginx: the authentication server receives path and query of the request",
            &[Calls],
        ),
        "global-auth-signin" if !is_sign_in(value.text) => Finding::decision(
            "the value has variables of nginx besides the scheme, the host and the path of the request, or is not a URL: clients receive the 401",
            ALL,
        ),
        _ => Finding::same(policy),
    }
}

fn url(text: &str) -> Finding {
    if own_host(text).is_some() {
        return Finding::differs(
            "SecurityPolicy `extAuth` of every route whose Ingress has neither `auth-url` nor `enable-global-auth: \"false\"`: the gateway calls the Service that serves this path of the host. If no Service serves it, the paths return 500",
            ALL,
        );
    }
    if text.contains('$') {
        return Finding::impossible(
            "the address has variables of nginx: the paths of every Ingress without its own `auth-url` return 500. Write a fixed address",
            ALL,
        );
    }
    if parse_url(text).is_none() {
        return Finding::decision(
            "the value is not a URL: Ingresses without their own `auth-url` are not served until the value is corrected",
            ALL,
        );
    }
    Finding::differs(
        "SecurityPolicy `extAuth` of every route whose Ingress has neither `auth-url` nor `enable-global-auth: \"false\"`. The authentication server is called before Basic authentication",
        ALL,
    )
}
