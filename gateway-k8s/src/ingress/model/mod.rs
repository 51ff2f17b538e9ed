//! A model of ingress-nginx that determines the response to a request.
//!
//! The model follows the phases of nginx: server, location, redirects, guards, backend. It uses only the head
//! of the request and is intentionally simple. Tests compare it with recorded responses, and a proof compares
//! the translation with it.
//!
//! Not modelled: rate limits, which depend on earlier requests; the responses of authentication servers and
//! backends; retries, compression, and error pages.

mod access;
mod effects;
mod exchange;
mod external_auth;
mod location;
mod placing;
mod uri;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use towergate_policy::basic_auth::{Credentials, Users};

use self::access::{in_range, rejection};
pub use self::effects::ModelEffects;
pub use self::exchange::{ModelAnswer, ModelCertificate, ModelRequest};
pub use self::external_auth::AuthCall;
pub(crate) use self::external_auth::auth_service;
pub(crate) use self::location::find_location;
pub(crate) use self::uri::normalise;
use super::aliases;
use super::controller::ControllerConfig;
use super::host_names::position;
use super::input::{Manifests, flag};
use super::password_file::PasswordFile;
use super::servers::{self, BackendPort, CanaryBackend, Location, Server, Servers};
use super::settings::{BasicAuth, CorsSettings, IngressSettings};
use super::translate::read_all;
use super::value::size;
use crate::objects::ObjectKey;

/// A controller with its Ingresses.
#[derive(Debug)]
pub struct IngressNginx<'a> {
    manifests: &'a Manifests,
    config: ControllerConfig,
    servers: Servers<'a>,
}

impl<'a> IngressNginx<'a> {
    /// A model of the installation of `manifests`. `flags` are further flags of the controller.
    pub fn new(manifests: &'a Manifests, flags: &[String]) -> Self {
        let flags: Vec<_> = flags.iter().map(|text| flag(text)).collect();
        let config = ControllerConfig::find(manifests, &flags);
        let servers = servers::build(
            read_all(manifests, &config, &mut Vec::new()),
            &config,
            manifests,
        );
        Self {
            manifests,
            config,
            servers,
        }
    }

    /// The servers of the controller: one for each host.
    pub fn servers(&self) -> &[Server] {
        &self.servers.servers
    }

    /// The settings of a location. `None`: the location belongs to no Ingress.
    pub fn settings(&self, location: &Location) -> Option<&IngressSettings> {
        self.servers.settings(location)
    }

    /// The settings that apply to a request.
    pub fn settings_of(&self, request: &ModelRequest) -> Option<&IngressSettings> {
        self.servers.settings(self.location_of(request)?)
    }

    /// The Ingress whose settings apply to a request.
    pub fn ingress_of(&self, request: &ModelRequest) -> Option<&ObjectKey> {
        let ingress = self.location_of(request)?.ingress?;
        Some(&self.servers.ingresses[ingress].ingress.key)
    }

    /// Whether the Service of a request exists. `true` if the request needs no Service.
    pub fn has_backend(&self, request: &ModelRequest) -> bool {
        let backend = self
            .location_of(request)
            .and_then(|one| one.backend.as_ref());
        backend.is_none_or(|port| self.has_service(&port.service))
            || self
                .location_of(request)
                .is_some_and(|one| self.default_backend(one).is_some())
    }

    fn location_of(&self, request: &ModelRequest) -> Option<&Location> {
        let path = request.target.split('?').next().unwrap_or_default();
        let uri = uri::normalise(path)?;
        let server = self.server(&host_name(request.header("host")?));
        Some(find_location(server, &uri).0)
    }

    /// Whether the manifests describe a whole cluster. If so, an object that they do not contain does not
    /// exist.
    pub fn is_complete(&self) -> bool {
        !self.manifests.endpoint_owners.is_empty()
    }

    /// Service that receives the requests of a location while the location's own Service has no endpoints.
    pub fn fallback_of(&self, location: &Location) -> Option<BackendPort> {
        self.default_backend(location)
    }

    /// Whether a Service has ready endpoints, according to the manifests.
    pub fn is_ready(&self, service: &ObjectKey) -> bool {
        self.is_alive(&BackendPort {
            service: service.clone(),
            port: String::new(),
        })
    }

    /// Whether the host of a request over TLS requires a client certificate.
    pub fn needs_certificate(&self, request: &ModelRequest) -> bool {
        let host = request.header("host").unwrap_or_default();
        request.https && self.server(&host_name(host)).client_cert.is_some()
    }

    /// Whether the manifests contain a Service.
    pub fn has_service(&self, service: &ObjectKey) -> bool {
        self.manifests.services.contains_key(service)
    }

    /// Answers a request.
    pub fn answer(&self, request: &ModelRequest) -> ModelAnswer {
        let (authority, target) = uri::split_target(&request.target);
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        let Some(uri) = uri::normalise(path) else {
            return ModelAnswer::reply(400);
        };
        let hosts = request
            .headers
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case("host"));
        let host = match (request.header("host"), hosts.count()) {
            (None, _) if request.http10 => "",
            (Some(host), 1) if is_host(host) => authority.unwrap_or(host),
            _ => return ModelAnswer::reply(400),
        };
        if matches!(request.method.as_str(), "TRACE" | "CONNECT") {
            return ModelAnswer::reply(405);
        }
        let name = host_name(host);
        if let Some(other) = self.redirect_of(&name) {
            return self.other_name(request, other);
        }
        let server = self.server(&name);
        if server.host.is_empty() && HEALTH_CHECKS.contains(&uri.as_str()) {
            return ModelAnswer::reply(200);
        }
        if let Some(status) = self.client_certificate(request, server) {
            return ModelAnswer::reply(status);
        }
        if let Some(root) = server.app_root.as_ref().filter(|_| uri == "/") {
            let scheme = if request.https { "https" } else { "http" };
            return ModelAnswer::redirect(302, format!("{scheme}://{host}{root}"));
        }
        let (location, slash) = find_location(server, &uri);
        if slash {
            let query = query.map(|query| format!("?{query}")).unwrap_or_default();
            let scheme = if request.https { "https" } else { "http" };
            let base = match self.config.bool("relative-redirects", false) {
                true => String::new(),
                false => format!("{scheme}://{name}"),
            };
            return ModelAnswer::redirect(301, format!("{base}{}{query}", location.path));
        }
        self.serve(request, server, location, &uri, &name, query)
    }

    /// The phases of a location: redirects, guards, backend.
    fn serve(
        &self,
        request: &ModelRequest,
        server: &Server,
        location: &Location,
        uri: &str,
        name: &str,
        query: Option<&str>,
    ) -> ModelAnswer {
        let settings = self
            .servers
            .settings_on(server, location)
            .unwrap_or_default();
        let settings = &*settings;
        if let Some(status) = rejection(settings, request, (server, uri)) {
            return ModelAnswer::reply(status);
        }
        if let Some(redirect) = &settings.redirect
            && !(location.catch_all && server.host.is_empty())
        {
            let scheme = if request.https { "https" } else { "http" };
            let mut to = match redirect.to.starts_with('/') {
                true => format!("{scheme}://{name}{}", redirect.to),
                false => redirect.to.clone(),
            };
            if let Some(query) = query.filter(|_| redirect.keeps_query) {
                to.push('?');
                to.push_str(query);
            }
            return ModelAnswer::redirect(redirect.code, to);
        }
        if settings.nginx_denies {
            return ModelAnswer::reply(503);
        }
        if let Some(cors) = &settings.cors
            && request.method == "OPTIONS"
            && is_preflight(cors, request)
        {
            return ModelAnswer::reply(204);
        }
        if let Some(answer) = self.to_https(request, server, location, name) {
            return answer;
        }
        let asks = match self.guards(request, location, settings) {
            Ok(asks) => asks,
            Err(status) => return ModelAnswer::reply(status),
        };
        if let Some(reply) = self.auth_reply(request, server, settings, asks) {
            return reply;
        }
        let asks = asks && request.auth_status.is_none();
        let mut backends = self.backends(request, location);
        let Some(main) = &location.backend else {
            return ModelAnswer::reply(404);
        };
        let mut is_served = self.is_alive(main) && !backends.is_empty();
        if let Some(other) = self.default_backend(location).filter(|_| !is_served) {
            let mains = backends.iter_mut().filter(|backend| *backend == main);
            mains.for_each(|backend| other.clone_into(backend));
            is_served = true;
        }
        if !is_served {
            return match asks {
                true => ModelAnswer::Proxy {
                    backends: Vec::new(),
                    target: String::new(),
                    asks,
                },
                false => ModelAnswer::reply(503),
            };
        }
        let rewrite = settings.rewrite.as_ref();
        let rewrite = rewrite.filter(|target| server.regex && **target != location.path);
        let target = match rewrite {
            Some(to) => uri::rewrite(uri, &location.path, to, query),
            None => None,
        };
        ModelAnswer::Proxy {
            backends,
            target: target.unwrap_or_else(|| uri::split_target(&request.target).1.to_owned()),
            asks,
        }
    }

    /// Checks body size, source ranges and authentication, in the order of nginx.
    fn guards(
        &self,
        request: &ModelRequest,
        location: &Location,
        settings: &IngressSettings,
    ) -> Result<bool, u16> {
        let default = self.config.text("proxy-body-size").and_then(size);
        let limit = settings.proxy.body_size.or(default).unwrap_or(1 << 20);
        if limit > 0 && request.body_len > limit {
            return Err(413);
        }
        let open = servers::listed_paths(&self.config, "no-auth-locations", ACME);
        let open =
            !location.catch_all && open.iter().any(|p| location.path.starts_with(p.as_str()));
        let in_range = in_range(request.client, settings);
        if settings.satisfy_any && in_range && !settings.allow.is_empty() {
            return Ok(false);
        }
        if !in_range && !settings.satisfy_any {
            return Err(403);
        }
        if settings.digest_auth {
            return Err(401);
        }
        let basic = settings.basic_auth.as_ref().filter(|_| !open);
        if let Some(basic) = basic
            && !self.is_user(basic, request)
        {
            return Err(401);
        }
        let asks = settings.external_auth.is_some() && !open;
        if settings.satisfy_any && !in_range && basic.is_none() && !asks {
            return Err(403);
        }
        Ok(asks)
    }

    fn is_user(&self, basic: &BasicAuth, request: &ModelRequest) -> bool {
        let Some(given) = request.header("authorization") else {
            return false;
        };
        let Ok(value) = HeaderValue::from_str(given) else {
            return false;
        };
        let headers = HeaderMap::from_iter([(AUTHORIZATION, value)]);
        let Ok(credentials) = Credentials::of(&headers) else {
            return false;
        };
        let Some(secret) = self.manifests.secrets.get(&basic.secret) else {
            return false;
        };
        let file = PasswordFile::of(secret, basic.by_user);
        let users = Users::parse(&file.lines);
        users.is_ok_and(|users| users.verify(&credentials).is_ok())
    }

    /// The redirect of `ssl-redirect` and `force-ssl-redirect`.
    fn to_https(
        &self,
        request: &ModelRequest,
        server: &Server,
        location: &Location,
        name: &str,
    ) -> Option<ModelAnswer> {
        let trusted = self.config.bool("use-forwarded-headers", false);
        let proto = request.header("x-forwarded-proto").filter(|_| trusted);
        let https = proto.map_or(request.https, |proto| proto == "https");
        let open = servers::listed_paths(&self.config, "no-tls-redirect-locations", ACME);
        let open =
            !location.catch_all && open.iter().any(|p| location.path.starts_with(p.as_str()));
        if https || open {
            return None;
        }
        let settings = self.servers.settings(location)?;
        let redirects = settings.force_ssl_redirect
            || settings.ssl_redirect && self.has_certificate(server, name);
        if !redirects {
            return None;
        }
        let mut target = request.target.as_str();
        if !settings.preserve_trailing_slash {
            target = target.strip_suffix('/').unwrap_or(target);
        }
        let code = u16::try_from(self.config.redirect_code()).unwrap_or(308);
        let host = request.header("x-forwarded-host").filter(|_| trusted);
        let host = host.unwrap_or(name);
        Some(ModelAnswer::redirect(
            code,
            format!("https://{host}{target}"),
        ))
    }

    /// Whether a certificate is configured for the request's host name.
    fn has_certificate(&self, server: &Server, name: &str) -> bool {
        if !server.is_alias && (server.host == name || has_label(&server.host, name)) {
            return server.tls;
        }
        let mut aliases = server.alias_names();
        let Some(alias) = aliases.find(|alias| *alias == name || has_label(alias, name)) else {
            return false;
        };
        let found = aliases::has_certificate(&self.servers, self.manifests, server, alias);
        found.unwrap_or(false)
    }

    /// The status with which a host with `auth-tls-secret` rejects the client.
    fn client_certificate(&self, request: &ModelRequest, server: &Server) -> Option<u16> {
        if server.refused {
            return Some(403);
        }
        let settings = &self.servers.ingresses[server.verifier?].settings;
        let client = settings.client_cert.as_ref()?;
        let certificate = request.certificate.as_ref();
        let certificate = certificate.filter(|_| request.https && !client.off);
        let accepted = match certificate {
            None => !request.https || client.optional || client.off,
            Some(certificate) => certificate.valid || client.unverified,
        };
        if !accepted {
            return Some(400);
        }
        let wanted = settings.match_subject.as_ref()?;
        let subject = certificate.map_or("", |certificate| &certificate.subject);
        let regex = regex::Regex::new(wanted);
        let matches = regex.is_ok_and(|regex| regex.is_match(subject));
        (!matches).then_some(403)
    }

    /// The target of a redirect from a name to its `www.` name, or back.
    fn redirect_of(&self, name: &str) -> Option<&str> {
        let mut servers = self.servers.servers.iter();
        let server = servers.find(|server| server.redirect_from.as_deref() == Some(name))?;
        Some(&server.host)
    }

    fn other_name(&self, request: &ModelRequest, other: &str) -> ModelAnswer {
        let trusted = self.config.bool("use-forwarded-headers", false);
        let proto = request.header("x-forwarded-proto").filter(|_| trusted);
        let own = if request.https { "https" } else { "http" };
        let port = if request.https { "443" } else { "80" };
        let target = request.target.strip_suffix('/').unwrap_or(&request.target);
        let code = u16::try_from(self.config.redirect_code()).unwrap_or(308);
        let scheme = proto.unwrap_or(own);
        ModelAnswer::redirect(code, format!("{scheme}://{other}:{port}{target}"))
    }

    fn server(&self, name: &str) -> &Server {
        let servers = &self.servers.servers;
        let exact = servers.iter().find(|server| {
            !name.is_empty() && (server.host == name || server.aliases.iter().any(|a| a == name))
        });
        let wildcard = || {
            let names = servers.iter().flat_map(|server| {
                let names = server
                    .alias_names()
                    .filter_map(|name| name.strip_prefix('*'));
                names.map(move |rest| (rest, server))
            });
            let fitting = names.filter(|(rest, _)| name.len() > rest.len() && name.ends_with(rest));
            let longest = fitting.max_by_key(|(rest, _)| rest.len());
            longest.map(|(_, server)| server)
        };
        let pattern = || {
            let matches = |server: &&Server| {
                let mut patterns = server.alias_patterns.iter();
                !server.is_alias && has_label(&server.host, name)
                    || patterns.any(|pattern| {
                        regex::Regex::new(pattern).is_ok_and(|regex| regex.is_match(name))
                    })
            };
            let matching = servers.iter().filter(matches);
            matching.min_by_key(|server| position(&server.host))
        };
        let found = exact.or_else(wildcard).or_else(pattern);
        found.unwrap_or(&servers[0])
    }

    /// The backends that may receive the request.
    fn backends(&self, request: &ModelRequest, location: &Location) -> Vec<BackendPort> {
        let Some(main) = &location.backend else {
            return Vec::new();
        };
        let Some(canary) = &location.canary else {
            return vec![main.clone()];
        };
        let other = &canary.backend;
        if !self.is_alive(other) {
            return vec![main.clone()];
        }
        match takes(canary, request) {
            Some(true) => vec![other.clone()],
            Some(false) => vec![main.clone()],
            None => vec![main.clone(), other.clone()],
        }
    }

    /// The backend of `default-backend`, if it has an endpoint.
    fn default_backend(&self, location: &Location) -> Option<BackendPort> {
        let service = self.servers.default_backend(location)?;
        let port = String::new();
        Some(BackendPort { service, port }).filter(|backend| self.is_alive(backend))
    }

    /// Whether a Service has ready endpoints. If the manifests contain no EndpointSlices, every Service
    /// counts as ready.
    fn is_alive(&self, port: &BackendPort) -> bool {
        let service = self.manifests.services.get(&port.service);
        let external = service.and_then(|service| service.external_name.as_ref());
        if external.is_some() {
            return !self.config.disables_external_names();
        }
        self.manifests.endpoint_owners.is_empty()
            || service.is_some() && self.manifests.ready.contains(&port.service)
    }
}

/// Paths of hosts without a rule that ingress-nginx serves itself.
const HEALTH_CHECKS: [&str; 2] = ["/healthz", "/nginx_status"];

/// Paths of ACME challenges.
const ACME: &str = "/.well-known/acme-challenge";

/// Whether a `Host` field is valid for nginx.
fn is_host(host: &str) -> bool {
    !host.is_empty() && !host.contains(|c: char| c.is_control() || " /\\?#".contains(c))
}

/// The host of a `Host` field: lower case, without port and trailing dot.
pub(crate) fn host_name(host: &str) -> String {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// Whether a wildcard matches a name that has one more label than its parent.
fn has_label(wildcard: &str, name: &str) -> bool {
    let rest = wildcard.strip_prefix('*');
    let label = rest.and_then(|rest| name.strip_suffix(rest));
    label.is_some_and(|label| {
        let mut bytes = label.bytes();
        !label.is_empty() && bytes.all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    })
}

/// Whether a request has method OPTIONS and an allowed origin. With `*`, every origin is allowed.
fn is_preflight(cors: &CorsSettings, request: &ModelRequest) -> bool {
    if cors.origins.iter().any(|origin| origin == "*") {
        return true;
    }
    let Some(origin) = request.header("origin") else {
        return false;
    };
    let origin = &origin.to_ascii_lowercase();
    cors.origins
        .iter()
        .any(|allowed| match allowed.split_once('*') {
            Some((scheme, parent)) => origin
                .strip_prefix(scheme)
                .and_then(|host| host.strip_suffix(parent))
                .is_some_and(is_label),
            None => allowed.eq_ignore_ascii_case(origin),
        })
}

/// Whether a text matches `[A-Za-z0-9\-]+`, the expression of ingress-nginx for a wildcard of an origin.
fn is_label(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// Whether the canary receives the request. `None`: the weight of the canary determines it.
fn takes(backend: &CanaryBackend, request: &ModelRequest) -> Option<bool> {
    let canary = &backend.canary;
    let by_weight = match canary.weight {
        0 => Some(false),
        weight if weight >= canary.total => Some(true),
        _ => None,
    };
    if let Some(value) = canary.header.as_ref().and_then(|name| request.header(name)) {
        match (&canary.value, &canary.pattern) {
            (Some(wanted), _) if wanted == value => return Some(true),
            (None, Some(pattern)) => {
                let regex = regex::Regex::new(pattern);
                if regex.is_ok_and(|regex| regex.is_match(value)) {
                    return Some(true);
                }
            }
            (None, None) if value == "always" => return Some(true),
            (None, None) if value == "never" => return Some(false),
            _ => {}
        }
    }
    if let Some(name) = &canary.cookie {
        let cookies = request.header("cookie").unwrap_or_default();
        let mut pairs = cookies
            .split(';')
            .filter_map(|pair| pair.trim().split_once('='));
        match pairs.find(|(key, _)| key.eq_ignore_ascii_case(name)) {
            Some((_, "always")) => return Some(true),
            Some((_, "never")) => return Some(false),
            _ => {}
        }
    }
    by_weight
}
