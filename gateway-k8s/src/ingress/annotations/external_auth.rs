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
    let own_host = own_host(text);
    let Some(parts) = own_host.clone().or_else(|| url(text)) else {
        if text.contains("://") || text.contains(char::is_whitespace) {
            reader.invalid("auth-url", "the value is not a URL");
        } else {
            reader.deny("auth-url", "it has no host");
        }
        return;
    };
    if own_host.is_none() && text.contains('$') {
        deny_variables(reader, text, parts);
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
    let redirect = redirect(reader, own.is_none());
    let method = method(reader, own.is_none());
    cache(reader);
    let signin = signin(reader, own.is_none());
    let always = reader.bool("auth-always-set-cookie");
    let config = reader.config;
    let always_globally = own.is_none() && config.bool("global-auth-always-set-cookie", false);
    reader.settings.external_auth = Some(ExternalAuthSettings {
        url: parts,
        own_host: own_host.is_some(),
        host_header: None,
        signin,
        method,
        redirect,
        always_set_cookies: always.unwrap_or(always_globally),
        response_headers: names,
    });
    let text = match own_host {
        None => {
            "SecurityPolicy `extAuth` with the annotation `towergate.dev/ext-auth-subrequest`: the authentication server receives the same requests as from ingress-nginx, but before Basic authentication"
        }
        Some(_) => {
            "SecurityPolicy `extAuth` with the annotation `towergate.dev/ext-auth-subrequest`: the gateway calls the Service that serves this path of the host; ingress-nginx calls itself. The call precedes Basic authentication"
        }
    };
    reader.found("auth-url", Finding::differs(text, AUTH));
}

/// Makes the paths return 500, because the address contains variables that cannot be translated.
fn deny_variables(reader: &mut AnnotationReader<'_>, text: &str, parts: UrlParts) {
    let names: Vec<&str> = text
        .split('$')
        .skip(1)
        .map(|part| {
            let end = part.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            &part[..end.unwrap_or(part.len())]
        })
        .collect();
    reader.settings.denied = Some("auth-url".to_owned());
    reader.settings.external_auth = Some(ExternalAuthSettings {
        url: parts,
        ..ExternalAuthSettings::default()
    });
    let text = format!(
        "the address has variables of nginx: ${}. The paths return 500: write a fixed address, and let the authentication server read `X-Original-URL` and `X-Original-Method`, which it receives",
        names.join(", $")
    );
    reader.found("auth-url", Finding::impossible(text, AUTH));
}

/// Parses an address whose host is that of the request, such as `https://$host/oauth2/auth`, and that has no
/// other variables. The host of the result is a placeholder.
pub(crate) fn own_host(text: &str) -> Option<UrlParts> {
    let (scheme, rest) = text.split_once("://")?;
    let scheme = match scheme {
        "$scheme" | "$pass_access_scheme" => "https",
        fixed => fixed,
    };
    let path = ["$host/", "$http_host/", "$best_http_host/"]
        .iter()
        .find_map(|variable| rest.strip_prefix(variable))?;
    (!path.contains('$')).then(|| url(&format!("{scheme}://own-host/{path}")))?
}

/// Reads `auth-request-redirect`, or its global equivalent. A value with nginx variables is translated only if it
/// is the default.
fn redirect(reader: &mut AnnotationReader<'_>, global: bool) -> Option<String> {
    let own = reader.text("auth-request-redirect").map(str::trim);
    let configured = reader.config.text("global-auth-request-redirect");
    let text = own.or(configured.filter(|_| global))?;
    if text.contains(['{', '}', ';', '"', ' ']) {
        let why = "the value contains characters that ingress-nginx rejects";
        reader.invalid("auth-request-redirect", why);
        return None;
    }
    if text == "$request_uri" {
        reader.found("auth-request-redirect", Finding::same("it is the default"));
        return None;
    }
    if text.contains('$') {
        let text =
            "the value contains nginx variables: the server receives path and query of the request";
        reader.found(
            "auth-request-redirect",
            Finding::decision(text, &[Aspect::RequestHeaders]),
        );
        return None;
    }
    let same = Finding::same("the authentication server receives it");
    reader.found("auth-request-redirect", same);
    Some(text.to_owned())
}

/// Reads `auth-method`, or its global equivalent.
fn method(reader: &mut AnnotationReader<'_>, global: bool) -> Option<String> {
    const METHODS: [&str; 8] = [
        "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS",
    ];
    let own = reader.text("auth-method").map(str::trim);
    let configured = reader.config.text("global-auth-method");
    let text = own.or(configured.filter(|_| global))?;
    if !METHODS.contains(&text) && text != "TRACE" {
        reader.invalid("auth-method", "the value is not a method");
        return None;
    }
    reader.found(
        "auth-method",
        Finding::same("the method of requests to the authentication server"),
    );
    Some(text.to_owned())
}

/// Reads `global-auth-url` of the ConfigMap. `None`: the key is absent, or the Ingress turns global
/// authentication off.
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
            "the value is not a list of statuses and times",
        );
    }
}

/// `auth-signin` as a template. If the template has no parameter with the address of the request, this
/// parameter is added.
fn signin(reader: &mut AnnotationReader<'_>, global: bool) -> Option<String> {
    let own = reader.text("auth-signin").map(str::trim);
    let configured = reader.config.text("global-auth-signin").filter(|_| global);
    let text = own.or(configured)?;
    let parameter = reader.text("auth-signin-redirect-param").map(str::trim);
    let global_parameter = reader.config.text("global-auth-signin-redirect-param");
    let parameter = parameter
        .or(global_parameter.filter(|_| global))
        .unwrap_or("rd");
    let template = template(text);
    let named = template.as_deref().unwrap_or(text).replace(['{', '}'], "");
    let Some(parts) = url(&named) else {
        reader.invalid("auth-signin", "the value is not a URL");
        return None;
    };
    let Some(mut template) = template else {
        let text = "the value contains nginx variables other than the scheme, the host and the path of the request: clients receive 401";
        reader.found("auth-signin", Finding::decision(text, AUTH));
        return None;
    };
    let query = parts.query.unwrap_or_default();
    let mut names = query.split('&').filter_map(|pair| pair.split('=').next());
    if !names.any(|name| name == parameter) {
        let separator = if query.is_empty() { '?' } else { '&' };
        let address = "{scheme}://{host}{escaped-uri}";
        template.push_str(&format!("{separator}{parameter}={address}"));
    }
    let same =
        Finding::same("401 becomes a redirect to the sign-in page with the address of the request");
    reader.found("auth-signin", same);
    let same =
        Finding::same("the parameter of the sign-in page that contains the address of the request");
    reader.found("auth-signin-redirect-param", same);
    Some(template)
}

/// Whether `auth-signin` can be translated.
pub(crate) fn is_sign_in(text: &str) -> bool {
    template(text).is_some_and(|template| url(&template.replace(['{', '}'], "")).is_some())
}

/// Translates the nginx variables of an address to the placeholders of an address template. `None`: a
/// variable has no placeholder.
fn template(text: &str) -> Option<String> {
    const VARIABLES: [(&str, &str); 7] = [
        ("pass_access_scheme", "{scheme}"),
        ("scheme", "{scheme}"),
        ("host", "{host}"),
        ("http_host", "{host}"),
        ("best_http_host", "{host}"),
        ("request_uri", "{uri}"),
        ("escaped_request_uri", "{escaped-uri}"),
    ];
    if text.contains(['{', '}']) {
        return None;
    }
    let mut parts = text.split('$');
    let mut template = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let (name, rest) = part.split_at(end.unwrap_or(part.len()));
        let (_, placeholder) = VARIABLES.iter().find(|(known, _)| *known == name)?;
        template.push_str(placeholder);
        template.push_str(rest);
    }
    Some(template)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_on_the_host_of_the_request_has_no_other_variables() {
        for (text, target) in [
            ("https://$host/oauth2/auth", Some("/oauth2/auth")),
            ("$scheme://$http_host/check?a=b", Some("/check?a=b")),
            ("https://$host/auth?rd=$request_uri", None),
            ("https://$host:8443/auth", None),
            ("https://$host.auth.test/", None),
            ("https://auth.test/$host/", None),
            ("ftp://$host/", None),
        ] {
            let found = own_host(text).map(|parts| parts.target());
            assert_eq!(found.as_deref(), target, "{text}");
        }
    }

    #[test]
    fn variables_of_nginx_become_placeholders() {
        for (text, expected) in [
            ("https://a.test/start", Some("https://a.test/start")),
            (
                "https://$host/start?rd=$scheme://$http_host$escaped_request_uri",
                Some("https://{host}/start?rd={scheme}://{host}{escaped-uri}"),
            ),
            ("https://a.test/$request_method", None),
            ("https://a.test/{host}", None),
        ] {
            assert_eq!(template(text).as_deref(), expected);
        }
    }
}
