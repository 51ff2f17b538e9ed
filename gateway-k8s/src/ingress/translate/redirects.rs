//! Redirects of whole hosts: to HTTPS, and to another name.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::Translator;
use super::local_replies::RedirectAddress;
use super::matches::path_match;
use super::routes::{Listeners, MAX_MATCHES, add_header_match, of_hostnames, one_label};
use crate::ingress::servers::{Location, Server};
use crate::ingress::value::url;

/// Hosts that share redirect routes.
#[derive(Debug, Default)]
pub(super) struct Redirects {
    /// Hosts that redirect to HTTPS. An empty name: all other hosts.
    pub(super) hosts: BTreeSet<String>,
    /// Hosts that redirect some of their paths to HTTPS.
    pub(super) paths: Vec<(Vec<String>, Vec<Value>)>,
    /// Names that redirect to another name.
    pub(super) names: Vec<(String, String)>,
}

impl Translator<'_> {
    pub(super) fn redirect_to_https(&mut self, server: &Server, redirects: &mut Redirects) {
        let mut names = vec![server.host.clone()];
        names.extend(server.aliases.iter().cloned());
        // A redirect of the location itself takes precedence over the redirect to HTTPS.
        let answered = |location: &Location| {
            let settings = self.servers.settings(location);
            settings.is_some_and(|settings| settings.redirect.is_some())
        };
        // A redirect rule for all paths is matched last. If a location did not redirect, its rule would therefore
        // match requests that ingress-nginx redirects.
        let whole = server
            .locations
            .iter()
            .all(|location| self.redirects(server, location) && !answered(location));
        let one_label = one_label(server);
        if whole && one_label.is_none() {
            redirects.hosts.extend(names);
            return;
        }
        let paths: Vec<Value> = server
            .locations
            .iter()
            .filter(|location| self.redirects(server, location) && !answered(location))
            .map(|location| {
                let mut matching = json!({"path": path_match(location, server.regex)});
                if let Some(host) = &one_label {
                    add_header_match(&mut matching, host);
                }
                matching
            })
            .collect();
        if !paths.is_empty() {
            redirects.paths.push((names, paths));
        }
    }

    /// Adds the redirect of `from-to-www-redirect`.
    pub(super) fn redirect_other_name(&mut self, server: &Server, redirects: &mut Redirects) {
        if let Some(other) = &server.redirect_from {
            redirects.names.push((other.clone(), server.host.clone()));
        }
    }

    /// The redirect routes, in the namespace of the Gateway.
    pub(super) fn write_redirects(&mut self, redirects: Redirects) {
        let code = self.config.redirect_code();
        let namespace = self.options.gateway.namespace.clone();
        let to_https = json!({"scheme": "https", "statusCode": code});
        let filters = json!([{"type": "RequestRedirect", "requestRedirect": to_https}]);
        let parents = json!([self.parent(Some("http"))]);
        let why = BTreeSet::from([
            "Hosts of Ingresses with TLS: ssl-redirect, force-ssl-redirect".to_owned(),
        ]);
        let (named, all): (Vec<String>, Vec<String>) = redirects
            .hosts
            .into_iter()
            .partition(|host| !host.is_empty());
        let spec = json!({"parentRefs": parents, "rules": [{"filters": filters}]});
        // A route without hostnames does not replace that of a name, because a wildcard host would precede it.
        let mut specs = match named.is_empty() {
            true => Vec::new(),
            false => of_hostnames(spec.clone(), &named),
        };
        specs.extend(all.first().map(|_| spec));
        for spec in specs {
            let name = "https-redirect";
            let key = self.output.free_name("HTTPRoute", &namespace, name);
            self.output.add("HTTPRoute", &key, spec, &why);
        }
        for (names, paths) in redirects.paths {
            let name = format!("https-redirect-{}", self.host_slugs.of(&names[0]));
            let names: Vec<String> = names.into_iter().filter(|name| !name.is_empty()).collect();
            for matches in paths.chunks(MAX_MATCHES) {
                let rules = json!([{"matches": matches, "filters": filters}]);
                let spec = json!({"parentRefs": parents, "rules": rules});
                for spec in of_hostnames(spec, &names) {
                    let key = self.output.free_name("HTTPRoute", &namespace, &name);
                    self.output.add("HTTPRoute", &key, spec, &why);
                }
            }
        }
        for (from, to) in redirects.names {
            let why = BTreeSet::from(["from-to-www-redirect".to_owned()]);
            let matching = json!({"path": {"type": "PathPrefix", "value": "/"}});
            let status = u16::try_from(code).unwrap_or(308);
            let address = (RedirectAddress::Host(&to), status);
            let rules = self.redirect_rules(&namespace, &matching, address, &why);
            for (listeners, rule) in rules {
                let section = match listeners {
                    Listeners::Https => "https",
                    Listeners::Both | Listeners::Http => "http",
                };
                let name = format!("redirect-{section}-{}", self.host_slugs.of(&from));
                let key = self.output.free_name("HTTPRoute", &namespace, &name);
                let listener = match section {
                    "https" => self.https_section(&from),
                    _ => section.to_owned(),
                };
                let spec = json!({
                    "parentRefs": [self.parent(Some(&listener))],
                    "hostnames": [from],
                    "rules": [rule.json()],
                });
                self.output.add("HTTPRoute", &key, spec, &why);
            }
        }
    }
}

/// A redirect to an address or a path.
pub(super) fn redirect_target(to: &str, code: u16) -> Value {
    let code = if matches!(code, 301 | 302 | 303 | 307 | 308) {
        code
    } else {
        302
    };
    let (path, mut redirect) = match url(to) {
        Some(parts) => {
            let mut redirect = json!({"scheme": parts.scheme, "hostname": parts.host});
            if let Some(port) = parts.port {
                redirect["port"] = port.into();
            }
            (parts.path, redirect)
        }
        None => {
            let path = to.split(['?', '#']).next().unwrap_or_default();
            (path.to_owned(), json!({}))
        }
    };
    let path = if path.is_empty() {
        "/".to_owned()
    } else {
        path
    };
    redirect["path"] = json!({"type": "ReplaceFullPath", "replaceFullPath": path});
    redirect["statusCode"] = code.into();
    redirect
}
