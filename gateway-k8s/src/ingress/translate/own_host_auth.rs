//! `auth-url` on the host of the request, such as `https://$host/oauth2/auth`.
//!
//! ingress-nginx sends this request to itself, and a path of the same host forwards it to the authentication
//! server. The translation calls the Service of that path directly, with the same `Host` and path. If the
//! settings of that path could change the request or its response, or if the host of the request is not known
//! in advance, the guarded paths return 500.

use std::sync::Arc;

use super::{ANSWER, Translator};
use crate::ingress::model::find_location;
use crate::ingress::servers::{Location, Server};
use crate::ingress::settings::{BackendProtocol, ExternalAuthSettings, IngressSettings};
use crate::ingress::value::UrlParts;
use crate::ingress::verdict::Finding;

impl Translator<'_> {
    /// The settings of a location of an Ingress, with those of its host and the address of `auth-url`.
    pub(super) fn resolved_settings(
        &mut self,
        server: &Server,
        (location, ingress): (&Location, usize),
    ) -> Arc<IngressSettings> {
        let settings = self
            .servers
            .settings_on(server, location)
            .unwrap_or_default();
        let Some(auth) = settings.external_auth.as_ref().filter(|auth| auth.own_host) else {
            return settings;
        };
        let mut resolved = (*settings).clone();
        match self.own_service(server, &auth.url) {
            Ok(url) => {
                resolved.external_auth = Some(ExternalAuthSettings {
                    url,
                    host_header: Some(server.host.clone()),
                    own_host: false,
                    ..auth.clone()
                });
            }
            Err(why) => {
                let text = format!(
                    "{why}. The paths of host `{}` return 500: write the address of the authentication server's Service",
                    server.host
                );
                self.replace_verdict(ingress, "auth-url", Finding::impossible(text, ANSWER));
                resolved.denied = Some("auth-url".to_owned());
            }
        }
        Arc::new(resolved)
    }

    /// The address of the Service that serves the path of `url` on a host.
    fn own_service(&mut self, server: &Server, url: &UrlParts) -> Result<UrlParts, String> {
        let is_pattern = server.host.is_empty() || server.host.starts_with('*');
        if is_pattern || !server.aliases.is_empty() || !server.alias_patterns.is_empty() {
            return Err(
                "the address has the host of the request, and this host has several names"
                    .to_owned(),
            );
        }
        if server.client_cert.is_some() || server.passthrough.is_some() {
            return Err("the address is on a host that needs a client certificate, or on one whose TLS is passed through".to_owned());
        }
        let path = if url.path.is_empty() { "/" } else { &url.path };
        let (location, is_redirected) = find_location(server, path);
        let (Some(backend), Some(ingress)) = (&location.backend, location.ingress) else {
            return Err(format!("no path of the host leads to `{path}`"));
        };
        if is_redirected || !self.is_transparent(server, location) {
            return Err(format!(
                "the path `{path}` of the host has settings, such as authentication or a rewrite, that would also change the requests to the authentication server"
            ));
        }
        let service = &backend.service;
        let spec = self.manifests.services.get(service);
        if spec.is_some_and(|spec| spec.external_name.is_some()) {
            return Err(format!(
                "the path `{path}` of the host leads to a Service of type ExternalName"
            ));
        }
        Ok(UrlParts {
            scheme: "http".to_owned(),
            host: format!("{}.{}.svc", service.name, service.namespace),
            port: Some(self.port_number(backend, ingress)),
            path: path.to_owned(),
            query: url.query.clone(),
        })
    }

    /// Whether the settings of a location change neither requests nor responses.
    fn is_transparent(&self, server: &Server, location: &Location) -> bool {
        let Some(settings) = self.servers.settings_on(server, location) else {
            return false;
        };
        let rewrite = settings.rewrite.as_ref();
        let rewrites = rewrite.is_some_and(|to| server.regex && *to != location.path);
        settings.denied.is_none()
            && settings.redirect.is_none()
            && !rewrites
            && location.replaces_prefix.is_none()
            && location.canary.is_none()
            && settings.external_auth.is_none()
            && settings.basic_auth.is_none()
            && !settings.digest_auth
            && settings.match_subject.is_none()
            && settings.deny_rules.is_empty()
            && !settings.has_source_ranges()
            && settings.limits.per_second + settings.limits.per_minute == 0
            && settings.backend.protocol == BackendProtocol::Http
            && settings.backend.vhost.is_none()
            && settings.request_headers.is_empty()
            && settings.removed_request_headers.is_empty()
            && settings.response_headers.is_empty()
            && settings.hidden_headers.is_empty()
    }
}
