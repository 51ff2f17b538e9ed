//! Local replies of a rule: HTTPRouteFilters with `directResponse`.
//!
//! A `RequestRedirect` keeps the query of the request and omits a port that the scheme implies.
//! ingress-nginx sends the address unchanged, so its redirects become direct responses with a
//! `Location`.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::Translator;
use super::backends::ENVOY;
use super::routes::{Listeners, TranslatedRule};
use crate::ingress::value::literal;

/// The target of a redirect.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum RedirectAddress<'a> {
    /// An absolute address.
    Absolute(&'a str),
    /// A path of the same scheme and host.
    Path(&'a str),
    /// The requested path on another host, with an explicit port.
    Host(&'a str),
}

impl RedirectAddress<'_> {
    /// `Location` on the listener of `scheme`. Literal `%` are doubled, because `%` begins a
    /// command operator.
    fn location(self, scheme: &str) -> String {
        match self {
            Self::Absolute(address) => literal(address),
            Self::Path(path) => {
                let path = literal(path);
                format!("{scheme}://%REQ(:AUTHORITY)%{path}")
            }
            Self::Host(host) => {
                let port = if scheme == "https" { 443 } else { 80 };
                format!("{scheme}://{host}:{port}%REQ(:PATH)%")
            }
        }
    }
}

impl TranslatedRule {
    /// A rule with an HTTPRouteFilter instead of backends. The filter is in the namespace of the route.
    pub(super) fn local(matching: Value, filter: Value) -> Self {
        Self {
            matches: vec![matching],
            filters: vec![filter],
            backends: Vec::new(),
            session: None,
        }
    }
}

impl Translator<'_> {
    /// A reference to a filter that returns `status` without content.
    pub(super) fn status_filter(
        &mut self,
        namespace: &str,
        status: u16,
        comments: &BTreeSet<String>,
    ) -> Value {
        let spec = json!({"directResponse": {"statusCode": status}});
        self.route_filter(namespace, &format!("status-{status}"), spec, comments)
    }

    /// Rules that redirect, each with the listeners to which it applies. If the address is absolute, HTTP and
    /// HTTPS have the same rules; otherwise they have different rules.
    pub(super) fn redirect_rules(
        &mut self,
        namespace: &str,
        matching: &Value,
        (address, status): (RedirectAddress<'_>, u16),
        comments: &BTreeSet<String>,
    ) -> Vec<(Listeners, TranslatedRule)> {
        let schemes: &[(Listeners, &str, &str)] = match address {
            RedirectAddress::Absolute(_) => &[(Listeners::Both, "", "redirect")],
            RedirectAddress::Path(_) | RedirectAddress::Host(_) => &[
                (Listeners::Http, "http", "redirect-http"),
                (Listeners::Https, "https", "redirect-https"),
            ],
        };
        let mut rules = Vec::new();
        for (listeners, scheme, name) in schemes {
            let location = json!({"name": "Location", "value": address.location(scheme)});
            let spec = json!({"directResponse": {
                "statusCode": status,
                "header": {"set": [location]},
            }});
            let filter = self.route_filter(namespace, name, spec, comments);
            rules.push((*listeners, TranslatedRule::local(matching.clone(), filter)));
        }
        rules
    }

    /// A reference to an HTTPRouteFilter of `namespace`. Equal filters are written once.
    pub(super) fn route_filter(
        &mut self,
        namespace: &str,
        name: &str,
        spec: Value,
        comments: &BTreeSet<String>,
    ) -> Value {
        let kind = "HTTPRouteFilter";
        let key = self.equal_or_new(kind, namespace, name, spec, comments);
        let reference = json!({"group": ENVOY, "kind": kind, "name": key.name});
        json!({"type": "ExtensionRef", "extensionRef": reference})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_names_the_address_as_ingress_nginx_does() {
        for (address, scheme, expected) in [
            (
                RedirectAddress::Absolute("https://a.test"),
                "",
                "https://a.test",
            ),
            (RedirectAddress::Absolute("/100%25"), "", "/100%%25"),
            (
                RedirectAddress::Path("/ui"),
                "http",
                "http://%REQ(:AUTHORITY)%/ui",
            ),
            (
                RedirectAddress::Host("a.test"),
                "https",
                "https://a.test:443%REQ(:PATH)%",
            ),
        ] {
            assert_eq!(address.location(scheme), expected);
        }
    }
}
