//! The effects of settings on an exchange, in addition to its status and its backend.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{AuthCall, IngressNginx, ModelAnswer, ModelRequest, Server, host_name};
use crate::ingress::settings::{IngressSettings, SnippetLocation};

/// The field of `hsts`.
const HSTS: &str = "strict-transport-security";

/// Header edits of the location of a request, and the call that precedes its response.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ModelEffects {
    /// The call of the authentication server.
    pub auth_call: Option<AuthCall>,
    /// Fields that the client receives.
    pub response_headers: Vec<(String, String)>,
    /// Fields of the backend's response that the client does not receive.
    pub hidden_headers: Vec<String>,
    /// Fields that the backend receives.
    pub request_headers: Vec<(String, String)>,
    /// Fields of the client that the backend does not receive.
    pub removed_request_headers: Vec<String>,
}

impl IngressNginx<'_> {
    /// The effects of the settings that apply to a request with the response `answer`. Header fields are edited only
    /// if a backend responds.
    pub fn effects(&self, request: &ModelRequest, answer: &ModelAnswer) -> ModelEffects {
        let auth_call = self.auth_call(request);
        let (ModelAnswer::Proxy { .. }, Some(settings)) = (answer, self.all_settings_of(request))
        else {
            return ModelEffects {
                auth_call,
                ..ModelEffects::default()
            };
        };
        let host = settings.backend.vhost.iter();
        let host = host.map(|name| ("Host".to_owned(), name.clone()));
        let request_headers = host.chain(settings.request_headers.iter().cloned());
        let mut response_headers = settings.response_headers.clone();
        // The model does not determine whether the field of a snippet or that of `hsts` applies.
        response_headers.retain(|(name, _)| !(request.https && name.eq_ignore_ascii_case(HSTS)));
        ModelEffects {
            auth_call,
            response_headers,
            hidden_headers: settings.hidden_headers.clone(),
            request_headers: request_headers.collect(),
            removed_request_headers: settings.removed_request_headers.clone(),
        }
    }

    /// Names of all response fields that at least one Ingress hides from clients.
    pub fn hidden_headers(&self) -> Vec<String> {
        let ingresses = self.servers.ingresses.iter();
        let names = ingresses.flat_map(|read| &read.settings.hidden_headers);
        let names: BTreeSet<String> = names.map(|name| name.to_ascii_lowercase()).collect();
        names.into_iter().collect()
    }

    /// Paths to which a `location` or an `if` of a snippet replies.
    pub(crate) fn snippet_paths<'s>(&'s self, server: &Server) -> impl Iterator<Item = &'s str> {
        let paths = self
            .redirects_of_snippets(server)
            .filter(|location| !location.regex);
        paths.map(|location| location.path.as_str())
    }

    /// Whether ingress-nginx serves a request as a health check.
    pub(crate) fn is_health_check(&self, request: &ModelRequest) -> bool {
        let path = request.target.split('?').next().unwrap_or_default();
        let server = self.server_of(request);
        server.is_some_and(|server| server.host.is_empty()) && super::HEALTH_CHECKS.contains(&path)
    }

    /// Whether a `location` or an `if` of a snippet may reply to a request.
    pub fn has_snippet_for(&self, request: &ModelRequest) -> bool {
        let path = request.target.split('?').next().unwrap_or_default();
        let Some(uri) = super::normalise(path) else {
            return false;
        };
        let Some(server) = self.server_of(request) else {
            return false;
        };
        let mut locations = self.redirects_of_snippets(server);
        locations.any(|location| match (location.regex, location.exact) {
            (true, _) => regex::Regex::new(&location.path).is_ok_and(|regex| regex.is_match(&uri)),
            (false, true) => location.path == uri,
            (false, false) => uri.starts_with(&location.path),
        })
    }

    /// The redirects in the snippets of a server's Ingresses.
    fn redirects_of_snippets<'s>(
        &'s self,
        server: &Server,
    ) -> impl Iterator<Item = &'s SnippetLocation> {
        let ingresses = server.ingresses().into_iter();
        let settings = ingresses.map(|index| &self.servers.ingresses[index].settings);
        settings.flat_map(|settings| {
            let of_server = settings.of_server.as_deref().into_iter();
            let of_server = of_server.flat_map(|settings| &settings.locations);
            settings.locations.iter().chain(of_server)
        })
    }

    /// The settings that apply to a request, with those of its host.
    fn all_settings_of(&self, request: &ModelRequest) -> Option<Arc<IngressSettings>> {
        let (server, location) = (self.server_of(request)?, self.location_of(request)?);
        self.servers.settings_on(server, location)
    }

    /// The server of a request.
    pub(super) fn server_of(&self, request: &ModelRequest) -> Option<&Server> {
        Some(self.server(&host_name(request.header("host")?)))
    }
}
