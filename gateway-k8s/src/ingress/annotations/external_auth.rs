//! External authentication: `auth-url` and its related annotations.

use super::AnnotationReader;
use crate::ingress::settings::ExternalAuthSettings;
use crate::ingress::value::{UrlParts, list, url};
use crate::ingress::verdict::{Aspect, Finding};

const AUTH: &[Aspect] = &[
    Aspect::Status,
    Aspect::ResponseHeaders,
    Aspect::Body,
    Aspect::Calls,
    Aspect::RequestHeaders,
];

pub(super) fn read(reader: &mut AnnotationReader<'_>) {
    let own = reader.text("auth-url").map(str::trim);
    let global = global(reader);
    let Some(text) = own.or(global.as_deref()) else {
        return;
    };
    let Some(parts) = url(text) else {
        if text.contains("://") || text.contains(char::is_whitespace) {
            reader.invalid("auth-url", "it is no URL");
        } else {
            reader.deny("auth-url", "it has no host");
        }
        return;
    };
    if text.contains('$') {
        reader.settings.denied = Some("auth-url".to_owned());
        reader.settings.external_auth = Some(ExternalAuthSettings {
            url: parts,
            ..ExternalAuthSettings::default()
        });
        let text = "the address has variables of nginx. The paths answer 500: write a fixed address, and let the authentication server read the request's own fields";
        reader.found("auth-url", Finding::impossible(text, AUTH));
        return;
    }
    let names = reader.text("auth-response-headers").map(list);
    let names = names.or_else(|| {
        let configured = reader.config.text("global-auth-response-headers");
        configured.filter(|_| own.is_none()).map(list)
    });
    let names = names.unwrap_or_default();
    let token = |name: &String| {
        name.bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    };
    if !names.iter().all(token) {
        reader.invalid("auth-response-headers", "one of them is not a header name");
        return;
    }
    let _ = reader.text("auth-request-redirect").is_some_and(|text| {
        let bad = text.contains(['{', '}', ';', '"', ' ']);
        if bad {
            reader.invalid(
                "auth-request-redirect",
                "it contains characters that ingress-nginx rejects",
            );
        }
        bad
    });
    cache(reader);
    let signin = signin(reader, own.is_none());
    reader.settings.external_auth = Some(ExternalAuthSettings {
        url: parts,
        signin,
        response_headers: names,
    });
    let text = "the authentication server receives the request's method, path `auth-url` and the fields `Authorization`, `Cookie` and `X-Forwarded-*`, without `X-Original-URL` and `X-Auth-Request-Redirect`. Each status other than 2xx is passed on; ingress-nginx answers 500 for others than 401 and 403. The server is asked before Basic authentication and before the source range";
    reader.found("auth-url", Finding::differs(text, AUTH));
}

/// `global-auth-url` of the ConfigMap, unless the Ingress turns it off.
fn global(reader: &mut AnnotationReader<'_>) -> Option<String> {
    let enabled = reader.bool("enable-global-auth").unwrap_or(true);
    let url = reader.config.text("global-auth-url")?.to_owned();
    if !enabled {
        let text = "the routes of this Ingress have no external authentication";
        reader.found("enable-global-auth", Finding::same(text));
    }
    enabled.then_some(url)
}

fn cache(reader: &mut AnnotationReader<'_>) {
    let Some(text) = reader.text("auth-cache-duration") else {
        return;
    };
    let valid = |entry: &str| {
        let mut words = entry.split_whitespace().rev();
        let time = words.next().unwrap_or_default();
        let digits = time.trim_end_matches(['s', 'm', 'h', 'd']);
        !digits.is_empty()
            && digits.bytes().all(|b| b.is_ascii_digit())
            && words.all(|code| code.len() == 3 && code.bytes().all(|b| b.is_ascii_digit()))
    };
    if !text.split(',').all(valid) {
        reader.invalid(
            "auth-cache-duration",
            "it is not a list of statuses and times",
        );
    }
}

fn signin(reader: &mut AnnotationReader<'_>, global: bool) -> Option<UrlParts> {
    let own = reader.text("auth-signin").map(str::trim);
    let configured = reader.config.text("global-auth-signin").filter(|_| global);
    let text = own.or(configured)?;
    let Some(parts) = url(text.split('$').next().unwrap_or_default()) else {
        reader.invalid("auth-signin", "it is no URL");
        return None;
    };
    let finding = Finding::differs(
        "401 becomes a redirect (302) to the path of the sign-in page. The address has no query: the page does not learn where the client came from (`rd`); configure its default redirect",
        &[Aspect::ResponseHeaders, Aspect::Body],
    );
    reader.found("auth-signin", finding);
    Some(parts)
}
