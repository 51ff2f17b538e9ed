//! Names of `server-alias` on hosts that redirect to HTTPS.
//!
//! ingress-nginx redirects a request only if its host name has a certificate. Therefore the redirected names
//! of a host and its other names become separate routes.

use super::{ANSWER, Translator};
use crate::ingress::aliases;
use crate::ingress::servers::Server;
use crate::ingress::verdict::Finding;

impl Translator<'_> {
    /// Separates the aliases whose redirect to HTTPS differs from that of the host. Removes these aliases
    /// from `server`, and returns a host with them. `None`: all aliases behave like the host.
    pub(super) fn aliases_apart(&mut self, server: &mut Server) -> Option<Server> {
        let depends = server.locations.iter().any(|location| {
            let settings = self.servers.settings(location);
            settings.is_some_and(|one| one.ssl_redirect && !one.force_ssl_redirect)
        });
        // A listener for passthrough serves one name only.
        if !depends || server.passthrough.is_some() || server.refused {
            return None;
        }
        let tls = server.tls;
        let differs = |alias: &String| {
            aliases::has_certificate(&self.servers, self.manifests, server, alias) == Some(!tls)
        };
        let (mut apart, kept): (Vec<String>, Vec<String>) =
            server.aliases.iter().cloned().partition(differs);
        // Routes are named after the first alias, so wildcards come last.
        apart.sort_by_key(|name| name.starts_with('*'));
        let first = (!apart.is_empty()).then(|| apart.remove(0))?;
        server.aliases = kept;
        Some(Server {
            host: first,
            aliases: apart,
            alias_patterns: Vec::new(),
            tls: !tls,
            redirect_from: None,
            is_alias: true,
            ..server.clone()
        })
    }

    /// Replaces the verdicts on `server-alias` if the redirects of an alias differ from those of
    /// ingress-nginx, or are unknown.
    pub(super) fn alias_verdicts(&mut self, servers: &[Server]) {
        for server in servers {
            let redirects = server.locations.iter().any(|location| {
                let settings = self.servers.settings(location);
                let forced = settings.is_some_and(|settings| settings.force_ssl_redirect);
                self.redirects(server, location) && !forced
            });
            if !redirects || server.is_alias {
                continue;
            }
            let certificate =
                |alias| aliases::has_certificate(&self.servers, self.manifests, server, alias);
            let found: Vec<(String, Option<bool>)> = server
                .aliases
                .iter()
                .map(|alias| (alias.clone(), certificate(alias)))
                .filter(|(_, certificate)| *certificate != Some(true))
                .collect();
            for ingress in server.ingresses() {
                let own = &self.servers.ingresses[ingress].settings.aliases;
                let names = |of: Option<bool>| {
                    let own = found
                        .iter()
                        .filter(|(name, is)| *is == of && own.contains(name));
                    let names: Vec<String> = own.map(|(name, _)| format!("`{name}`")).collect();
                    (!names.is_empty()).then(|| names.join(", "))
                };
                let text = match (names(Some(false)), names(None)) {
                    (Some(names), _) => format!(
                        "further hostnames of the routes. Plain HTTP of {names} is redirected to HTTPS, where there is no certificate for it; ingress-nginx serves it over plain HTTP. Add the name to a TLS section, or remove it and write an HTTPRoute for it"
                    ),
                    (None, Some(names)) => format!(
                        "further hostnames of the routes. Plain HTTP of {names} is redirected to HTTPS; ingress-nginx redirects it only if the certificate of the host is valid for it, and the files do not contain this certificate. Add its Secret to the files, or add the name to the TLS section"
                    ),
                    (None, None) => continue,
                };
                self.replace_verdict(ingress, "server-alias", Finding::decision(text, ANSWER));
            }
        }
    }
}
