//! `oidc`: authentication by OpenID Connect (authorization code flow).

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use http::header::COOKIE;
use towergate_core::plan::{Destination, WeightedBackend};

use crate::api_struct::{api_struct, string_enum};
use crate::backend_traffic::ClusterSettings;
use crate::check::Report;
use crate::client_traffic::text_match;
use crate::common::{
    BackendRef, Backends, DNS_NAME, DurationText, ObjectRef, SingleBackendRef, StringMatch,
    StringMatchKind,
};
use crate::field_path::FieldPath;
use crate::jwt::{JwtAuthentication, TokenRequirement, TokenSources};
use crate::oidc::{
    HeaderCondition, OidcAuthentication, OidcProviderSettings, RedirectUrl, SessionCookies,
};
use crate::parse::{duration, forwarded_header_name, header_name, positive_duration};
use crate::secret::SecretText;
use crate::{FieldError, References};

string_enum! {
    /// The attribute `SameSite` of a cookie.
    pub enum SameSite {
        Lax = "Lax",
        Strict = "Strict",
        None = "None",
    }
}

api_struct! {
    /// Authentication by OpenID Connect. Requests without a session are redirected to the provider.
    pub struct Oidc, rules {
        /// OpenID provider.
        provider: OidcProvider = "provider" [Required],
        /// Client ID of the gateway.
        client_id: String = "clientID" [Length(1, 65536)],
        /// Secret with the client ID under `client-id`.
        client_id_ref: ObjectRef = "clientIDRef",
        /// Secret with the client secret under `client-secret`.
        client_secret: ObjectRef = "clientSecret" [Required],
        /// Names of cookies.
        cookie_names: CookieNames = "cookieNames",
        /// Attributes of cookies.
        cookie_config: CookieConfig = "cookieConfig",
        /// Attribute `Domain` of cookies. Default: none, cookies are for the request's host alone.
        cookie_domain: String = "cookieDomain" [Pattern(DNS_NAME)],
        /// Scopes that are requested. `openid` is always added. Default: `openid`.
        scopes: Vec<String> = "scopes",
        /// Resources that are requested (RFC 8707).
        resources: Vec<String> = "resources",
        /// URL to which the provider redirects. Default: `/oauth2/callback` on the request's host.
        redirect_url: String = "redirectURL",
        /// Requests that receive 401 instead of a redirect.
        deny_redirect: DenyRedirect = "denyRedirect",
        /// Path that ends the session. Default: `/logout`.
        logout_path: String = "logoutPath",
        /// Whether the backend receives the access token as `Authorization: Bearer`. Default: `false`.
        forward_access_token: bool = "forwardAccessToken",
        /// ID token that the backend receives. Default: none.
        forward_id_token: ForwardIdToken = "forwardIDToken",
        /// Lifetime of tokens without `expires_in`. Default: 0.
        default_token_ttl: DurationText = "defaultTokenTTL",
        /// Whether tokens are refreshed before they expire. Default: `true`.
        refresh_token: bool = "refreshToken" [DefaultFlag(true)],
        /// Lifetime of refresh tokens without an expiry. Default: 7 days.
        default_refresh_token_ttl: DurationText = "defaultRefreshTokenTTL",
        /// Lifetime of the token against request forgery. Default: 10 minutes.
        csrf_token_ttl: DurationText = "csrfTokenTTL",
        /// Whether requests that contain a token need no login. Default: `false`.
        pass_through_auth_header: bool = "passThroughAuthHeader",
        /// Whether tokens in cookies are not encrypted. Default: `false`.
        disable_token_encryption: bool = "disableTokenEncryption",
    }

    /// An OpenID provider. Endpoints that are absent are discovered.
    pub struct OidcProvider, rules {
        /// Always invalid: `backendRefs` must be used.
        backend_ref: SingleBackendRef = "backendRef",
        /// Backends of the provider. Default: the host of each endpoint.
        backend_refs: Vec<BackendRef> = "backendRefs" [Items(0, 16)],
        /// Settings of the connections to the backends.
        backend_settings: ClusterSettings = "backendSettings",
        /// Issuer: HTTPS URL of the provider, or an HTTP URL of the data plane's own host.
        issuer: String = "issuer" [Required, Length(1, 65536)],
        /// URL of the authorization endpoint.
        authorization_endpoint: String = "authorizationEndpoint",
        /// URL of the token endpoint.
        token_endpoint: String = "tokenEndpoint",
        /// URL of the endpoint for logout.
        end_session_endpoint: String = "endSessionEndpoint",
    }

    /// Names of cookies.
    pub struct CookieNames {
        /// Name of the cookie with the access token. Default: `AccessToken-<uid>`.
        access_token: String = "accessToken",
        /// Name of the cookie with the ID token. Default: `IdToken-<uid>`.
        id_token: String = "idToken",
    }

    /// Attributes of cookies.
    pub struct CookieConfig {
        /// Attribute `SameSite`. Default: none.
        same_site: SameSite = "sameSite",
    }

    /// Requests that receive 401 instead of a redirect.
    pub struct DenyRedirect {
        /// Conditions on headers. One of them must match.
        headers: Vec<DenyRedirectHeader> = "headers" [Required, Items(1, 16)],
    }

    /// A condition on a header.
    pub struct DenyRedirectHeader {
        /// Name of the header.
        name: String = "name" [Required, Length(1, 65536)],
        /// Type of the comparison. Default: `Exact`.
        kind: StringMatchKind = "type" [DefaultText("Exact")],
        /// Text or regular expression to compare with.
        value: String = "value" [Required, Length(1, 1024)],
    }

    /// The ID token that the backend receives.
    pub struct ForwardIdToken {
        /// Name of the header. `Authorization` gets the prefix `Bearer`.
        header: String = "header" [Required, Length(1, 256), Token],
    }
}

impl Oidc {
    fn rules(&self, report: &mut Report) {
        report.rule(
            self.client_id.is_some() != self.client_id_ref.is_some(),
            "only one of clientID or clientIDRef must be set",
        );
        let header = self
            .forward_id_token
            .as_ref()
            .and_then(|f| f.header.as_deref());
        let is = |name: &str| header.is_some_and(|header| header.eq_ignore_ascii_case(name));
        report.rule(
            self.forward_access_token != Some(true) || !is("Authorization"),
            "forwardAccessToken cannot be true when forwardIDToken.header is Authorization",
        );
        report.rule(!is("Host"), "header cannot be the Host header");
    }
}

impl OidcProvider {
    fn rules(&self, report: &mut Report) {
        Backends {
            single: self.backend_ref.as_ref(),
            list: self.backend_refs.as_ref(),
            settings: self.backend_settings.as_ref(),
        }
        .check_fetched(report);
    }
}

/// Key of the client ID in its Secret.
const CLIENT_ID: &str = "client-id";
/// Key of the client secret in its Secret.
const CLIENT_SECRET: &str = "client-secret";
/// Scope that every OpenID Connect request must have.
const OPENID: &str = "openid";
/// Default path that ends a session.
const LOGOUT: &str = "/logout";

impl Oidc {
    /// Converts this section of the spec, at `path`. `jwt` is the section of the same policy.
    pub(super) fn policy(
        &self,
        path: FieldPath<'_>,
        references: &dyn References,
        jwt: Option<&JwtAuthentication>,
    ) -> Result<OidcAuthentication, FieldError> {
        let client_secret = self.client_secret.clone().unwrap_or_default();
        let at = path.field("clientSecret");
        let client_secret = secret_value(at, &client_secret, CLIENT_SECRET, references)?;
        let at = path.field("clientIDRef");
        let client_id = match (&self.client_id, &self.client_id_ref) {
            (Some(id), _) => id.clone(),
            (None, Some(reference)) => secret_value(at, reference, CLIENT_ID, references)?,
            (None, None) => {
                let reason = "either clientID or clientIDRef must be set";
                return Err(FieldError::invalid(path, reason));
            }
        };
        let provider = self.provider.clone().unwrap_or_default();
        let converted = OidcAuthentication {
            provider: provider.convert(path.field("provider"), references)?,
            client_id,
            client_secret: SecretText::new(client_secret),
            session_keys: references.session_keys()?,
            policy_name: references.policy_name().to_owned(),
            cookies: self.cookies(path, references.policy_name())?,
            redirect_url: self.redirect_url(path.field("redirectURL"))?,
            logout_path: self
                .logout_path
                .clone()
                .unwrap_or_else(|| LOGOUT.to_owned()),
            scopes: self.scopes(),
            resources: self.resources.clone().unwrap_or_default(),
            deny_redirect: self.conditions(path.field("denyRedirect"))?,
            forward_access_token: self.forward_access_token.unwrap_or(false),
            forward_id_token: match &self.forward_id_token {
                Some(forward) => Some(forward.convert(path.field("forwardIDToken"))?),
                None => None,
            },
            pass_through: self.pass_through(path.field("passThroughAuthHeader"), jwt)?,
            default_token_ttl: self.default_token_ttl(path)?,
            refresh_token_ttl: self.refresh_token_ttl(path)?,
            login_ttl: positive_duration(path.field("csrfTokenTTL"), self.csrf_token_ttl.as_ref())?
                .unwrap_or(Duration::from_secs(600)),
            encrypt_tokens: self.disable_token_encryption != Some(true),
        };
        self.check_logout_path(path, &converted)?;
        converted
            .keys()
            .map_err(|error| FieldError::invalid(path, error))?;
        Ok(converted)
    }

    fn cookies(&self, path: FieldPath<'_>, policy: &str) -> Result<SessionCookies, FieldError> {
        let mut cookies = SessionCookies::of_policy(policy);
        cookies.domain.clone_from(&self.cookie_domain);
        let config = self.cookie_config.as_ref();
        cookies.same_site = config.and_then(|config| config.same_site.clone());
        if let Some(SameSite::Other(word)) = &cookies.same_site {
            let at = path.field("cookieConfig");
            return Err(FieldError::unknown_value(at.field("sameSite"), word));
        }
        let at = path.field("cookieNames");
        let names = self.cookie_names.clone().unwrap_or_default();
        let given = [
            ("accessToken", names.access_token, &mut cookies.access_token),
            ("idToken", names.id_token, &mut cookies.id_token),
        ];
        for (field, name, own) in given {
            let Some(name) = name.filter(|name| !name.is_empty()) else {
                continue;
            };
            let at = at.field(field);
            // The name of a cookie has the same syntax as the name of a header field (RFC 6265, section
            // 4.1.1).
            if http::HeaderName::from_bytes(name.as_bytes()).is_err() {
                return Err(FieldError::invalid(at, "is not a name of a cookie"));
            }
            if name.starts_with("__Host-") && self.cookie_domain.is_some() {
                let reason = "a cookie with the prefix __Host- cannot have a cookieDomain";
                return Err(FieldError::invalid(at, reason));
            }
            *own = name;
        }
        if cookies.access_token == cookies.id_token {
            return Err(FieldError::invalid(at, "the names must differ"));
        }
        Ok(cookies)
    }

    fn redirect_url(&self, path: FieldPath<'_>) -> Result<RedirectUrl, FieldError> {
        let text = self.redirect_url.as_deref().unwrap_or(RedirectUrl::DEFAULT);
        RedirectUrl::parse(text).map_err(|error| FieldError::invalid(path, error))
    }

    fn check_logout_path(
        &self,
        path: FieldPath<'_>,
        converted: &OidcAuthentication,
    ) -> Result<(), FieldError> {
        let at = path.field("logoutPath");
        let logout = &converted.logout_path;
        if !logout.starts_with('/') || logout.contains(['?', '#']) {
            let reason = "must be a path that starts with / and has no query";
            return Err(FieldError::invalid(at, reason));
        }
        if logout == converted.redirect_url.path() {
            let reason = "must differ from the path of redirectURL";
            return Err(FieldError::invalid(at, reason));
        }
        Ok(())
    }

    fn scopes(&self) -> Vec<String> {
        let mut scopes = self.scopes.clone().unwrap_or_default();
        if !scopes.iter().any(|scope| scope == OPENID) {
            scopes.push(OPENID.to_owned());
        }
        scopes
    }

    fn conditions(&self, path: FieldPath<'_>) -> Result<Vec<HeaderCondition>, FieldError> {
        let at = path.field("headers");
        let headers = self.deny_redirect.iter().flat_map(|deny| &deny.headers);
        let headers = headers.flatten().enumerate().map(|(index, header)| {
            let at = at.item(index);
            let condition = StringMatch {
                kind: header.kind.clone(),
                value: header.value.clone(),
            };
            Ok(HeaderCondition {
                name: header_name(at.field("name"), header.name.as_deref().unwrap_or(""))?,
                value: text_match(at.field("value"), &condition)?,
            })
        });
        headers.collect()
    }

    /// Sources of tokens that bypass the login. `jwt` verifies these tokens, so the policy must have a `jwt`
    /// section that rejects invalid ones.
    fn pass_through(
        &self,
        path: FieldPath<'_>,
        jwt: Option<&JwtAuthentication>,
    ) -> Result<Vec<TokenSources>, FieldError> {
        if self.pass_through_auth_header != Some(true) {
            return Ok(Vec::new());
        }
        let verifying = jwt.filter(|jwt| jwt.requirement != TokenRequirement::FailOpen);
        let Some(jwt) = verifying else {
            let reason = "requires spec.jwt without failOpen, which verifies the token";
            return Err(FieldError::invalid(path, reason));
        };
        let sources = jwt.providers.iter().map(|provider| TokenSources {
            headers: provider.sources.headers.clone(),
            params: Vec::new(),
            cookies: Vec::new(),
        });
        Ok(sources
            .filter(|source| !source.headers.is_empty())
            .collect())
    }

    fn default_token_ttl(&self, path: FieldPath<'_>) -> Result<Duration, FieldError> {
        let at = path.field("defaultTokenTTL");
        Ok(duration(at, self.default_token_ttl.as_ref())?.unwrap_or_default())
    }

    fn refresh_token_ttl(&self, path: FieldPath<'_>) -> Result<Option<Duration>, FieldError> {
        let at = path.field("defaultRefreshTokenTTL");
        let ttl = positive_duration(at, self.default_refresh_token_ttl.as_ref())?;
        let week = Duration::from_secs(7 * 24 * 3600);
        Ok((self.refresh_token != Some(false)).then_some(ttl.unwrap_or(week)))
    }
}

/// The text under `key` of a Secret, without a final line break.
fn secret_value(
    path: FieldPath<'_>,
    reference: &ObjectRef,
    key: &str,
    references: &dyn References,
) -> Result<String, FieldError> {
    let at = path.to_string();
    let mut data = references.secret(&at, reference)?;
    let value = data.remove(key).map(String::from_utf8);
    let value = value.and_then(Result::ok).unwrap_or_default();
    let value = value.trim_end_matches(['\r', '\n']);
    if value.is_empty() {
        let name = reference.name.as_deref().unwrap_or_default();
        let message = format!("Secret {name} has no text under {key}");
        return Err(FieldError::invalid(at, message));
    }
    Ok(value.to_owned())
}

impl ForwardIdToken {
    fn convert(
        &self,
        path: FieldPath<'_>,
    ) -> Result<towergate_core::plan::Text<http::HeaderName>, FieldError> {
        let at = path.field("header");
        let name = forwarded_header_name(at, self.header.as_deref().unwrap_or(""))?;
        if *name == COOKIE {
            let reason = "must not be Cookie, in which the backend receives the token anyway";
            return Err(FieldError::invalid(at, reason));
        }
        Ok(name)
    }
}

impl OidcProvider {
    fn convert(
        &self,
        path: FieldPath<'_>,
        references: &dyn References,
    ) -> Result<OidcProviderSettings, FieldError> {
        let issuer = self.issuer.clone().unwrap_or_default();
        let secure_issuer = is_https(path.field("issuer"), &issuer)?;
        if !secure_issuer && !is_loopback(&issuer) {
            let reason =
                "must be an https URL, or an http URL of this host, such as http://localhost:8080";
            return Err(FieldError::invalid(path.field("issuer"), reason));
        }
        let endpoints = [
            ("authorizationEndpoint", &self.authorization_endpoint),
            ("endSessionEndpoint", &self.end_session_endpoint),
        ];
        for (field, url) in endpoints {
            if let Some(url) = url {
                is_https(path.field(field), url)?;
            }
        }
        let secure_tokens = match &self.token_endpoint {
            Some(url) => is_https(path.field("tokenEndpoint"), url)?,
            None => secure_issuer,
        };
        // The discovery document determines the token endpoint and the keys that verify tokens, so it must
        // come over TLS.
        let discovers = self.authorization_endpoint.is_none() || self.token_endpoint.is_none();
        let tls = secure_tokens || secure_issuer && discovers;
        let refs = self.backend_refs.as_deref().unwrap_or_default();
        let field = path.field("backendRefs").to_string();
        let backends = references.backends(&field, refs)?;
        let plain = |backend: &WeightedBackend| match &backend.destination {
            Destination::Backend(backend) => backend.tls.is_none(),
            _ => true,
        };
        if tls && backends.iter().any(plain) {
            let reason = "a backend of an https URL requires a BackendTLSPolicy";
            return Err(FieldError::invalid(field, reason));
        }
        let settings = self.backend_settings.clone().unwrap_or_default();
        Ok(OidcProviderSettings {
            authorization: self.authorization_endpoint.clone(),
            token: self.token_endpoint.clone(),
            end_session: self.end_session_endpoint.clone(),
            traffic: Arc::new(settings.traffic(path.field("backendSettings"))?),
            backends,
            issuer,
        })
    }
}

/// Whether a URL has TLS.
fn is_https(path: FieldPath<'_>, url: &str) -> Result<bool, FieldError> {
    let uri: Result<Uri, _> = url.parse();
    let uri = uri.map_err(|error| FieldError::invalid(path, error))?;
    match (uri.scheme_str(), uri.host()) {
        (Some("https"), Some(_)) => Ok(true),
        (Some("http"), Some(_)) => Ok(false),
        _ => Err(FieldError::invalid(path, "must be an http or https URL")),
    }
}

/// Whether the host of a URL is the host on which the data plane runs. Data sent to this URL never leaves the
/// host.
fn is_loopback(url: &str) -> bool {
    let uri: Option<Uri> = url.parse().ok();
    let host = uri.as_ref().and_then(Uri::host).unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    let is_loopback = |address: IpAddr| address.is_loopback();
    host.eq_ignore_ascii_case("localhost") || address.parse().is_ok_and(is_loopback)
}
