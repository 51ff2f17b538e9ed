//! Redirects: to HTTPS, to other addresses, of the root, between a name and its `www.` name.

use super::AnnotationReader;
use crate::ingress::settings::Redirect;
use crate::ingress::value::{list, url};
use crate::ingress::verdict::{Aspect, Finding};

pub(super) fn read(reader: &mut AnnotationReader<'_>) {
    to_https(reader);
    to_address(reader);
    let root = reader.text("app-root").map(str::trim);
    match root {
        Some(root) if root.starts_with('/') => {
            reader.settings.app_root = Some(root.to_owned());
            let text = "a direct response (302) for the path `/` of the host";
            let finding = match reader.config.bool("hsts", true) {
                true => Finding::differs(
                    format!(
                        "{text}; over HTTPS the response has `Strict-Transport-Security`, which ingress-nginx omits"
                    ),
                    &[Aspect::ResponseHeaders],
                ),
                false => Finding::same(text),
            };
            reader.found("app-root", finding);
        }
        Some(_) => reader.invalid("app-root", "the value is not a path"),
        None => {}
    }
    reader.settings.from_to_www = reader.bool("from-to-www-redirect").unwrap_or(false);
    if reader.settings.from_to_www {
        let text = "a redirect route for the other name. `Location` has the port of the scheme, as in ingress-nginx, and keeps a trailing slash";
        let rules = reader.ingress.spec.rules.iter();
        let mut hosts = rules.filter_map(|rule| rule.host.as_deref());
        let finding = match hosts.find(|host| host.starts_with("*.")) {
            None => Finding::differs(text, &[Aspect::ResponseHeaders]),
            Some(host) => Finding::decision(
                format!(
                    "no redirect for host `{host}`: its other name would be `www.{host}`, which nginx rejects. Other hosts have a redirect route"
                ),
                &[Aspect::ResponseHeaders],
            ),
        };
        reader.found("from-to-www-redirect", finding);
    }
    if let Some(names) = reader.text("server-alias").map(list) {
        aliases(reader, names);
    }
}

fn to_https(reader: &mut AnnotationReader<'_>) {
    let config = reader.config;
    let ssl = reader.bool("ssl-redirect");
    let force = reader.bool("force-ssl-redirect");
    reader.settings.ssl_redirect = ssl.unwrap_or_else(|| config.bool("ssl-redirect", true));
    reader.settings.force_ssl_redirect =
        force.unwrap_or_else(|| config.bool("force-ssl-redirect", false));
    reader.settings.preserve_trailing_slash =
        reader.bool("preserve-trailing-slash").unwrap_or(false);
    let differs =
        "the redirect route; `Location` keeps a trailing slash that ingress-nginx removes";
    let has_tls = !reader.ingress.spec.tls.is_empty();
    for (name, value) in [("ssl-redirect", ssl), ("force-ssl-redirect", force)] {
        match value {
            Some(true) if name == "ssl-redirect" && !has_tls => {
                let text = "hosts with a TLS section are redirected; this Ingress has none";
                reader.found(name, Finding::same(text));
            }
            Some(false) if name == "force-ssl-redirect" => {
                reader.found(name, Finding::same("hosts without TLS are not redirected"));
            }
            Some(true) if reader.settings.preserve_trailing_slash => {
                reader.found(name, Finding::same("the redirect route"));
            }
            Some(true) => reader.found(name, Finding::differs(differs, &[Aspect::ResponseHeaders])),
            Some(false) => reader.found(
                name,
                Finding::same(match reader.settings.force_ssl_redirect {
                    true => "`force-ssl-redirect` takes precedence",
                    false => "the routes are attached to both listeners",
                }),
            ),
            None => {}
        }
    }
}

/// Reads `temporal-redirect` and `permanent-redirect`. `temporal-redirect` takes precedence.
fn to_address(reader: &mut AnnotationReader<'_>) {
    for (name, code_name, default) in [
        ("permanent-redirect", "permanent-redirect-code", 301),
        ("temporal-redirect", "temporal-redirect-code", 302),
    ] {
        let code = reader.number(code_name);
        let Some(to) = reader.text(name).map(str::trim) else {
            continue;
        };
        let valid = code.filter(|code| (300..=308).contains(code));
        let code = match (code, valid) {
            (_, Some(code)) => u16::try_from(code).unwrap_or(default),
            (None, None) => default,
            (Some(_), None) => {
                let text = format!(
                    "the value is not a redirect status; {default} is used, as in ingress-nginx"
                );
                reader.found(code_name, Finding::same(text));
                default
            }
        };
        if to.contains('$') {
            let why = "the value must not contain nginx variables";
            reader.drop_ingress(name, why);
            continue;
        }
        if url(to).is_none() && !to.starts_with('/') {
            reader.invalid(name, "the value is neither an absolute URL nor a path");
            continue;
        }
        reader.settings.redirect = Some(Redirect {
            to: to.to_owned(),
            code,
            keeps_query: false,
        });
        let text = "a direct response with the address as written, for the path. If this Ingress is the oldest of the host, also for all other paths of the host";
        let finding = match to.starts_with('/') {
            false => Finding::same(text),
            true => Finding::differs(
                format!("{text}. A port in `Host` is kept in `Location`; ingress-nginx drops it"),
                &[Aspect::ResponseHeaders],
            ),
        };
        reader.found(name, finding);
    }
}

fn aliases(reader: &mut AnnotationReader<'_>, names: Vec<String>) {
    let (plain, odd): (Vec<String>, Vec<String>) = names.into_iter().partition(|name| {
        let name = name.strip_prefix("*.").unwrap_or(name);
        !name.is_empty()
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'))
    });
    reader.settings.aliases = plain.into_iter().map(|n| n.to_ascii_lowercase()).collect();
    let patterns = odd.iter().filter_map(|name| name.strip_prefix('~'));
    reader.settings.alias_patterns = patterns.map(str::to_owned).collect();
    if odd.iter().any(|name| !name.starts_with('~')) {
        reader.invalid("server-alias", "the value is not a host name");
    } else if odd.is_empty() {
        reader.found(
            "server-alias",
            Finding::same("further hostnames of the routes"),
        );
    } else {
        let text = format!(
            "a regular expression ({}) cannot be a hostname: list the names",
            odd.join(", ")
        );
        reader.found(
            "server-alias",
            Finding::impossible(
                text,
                &[
                    Aspect::Status,
                    Aspect::Body,
                    Aspect::Calls,
                    Aspect::ResponseHeaders,
                ],
            ),
        );
    }
}
