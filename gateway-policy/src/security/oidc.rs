//! `oidc`: authentication by OpenID Connect (authorization code flow).

use crate::api_struct::{api_struct, string_enum};
use crate::backend_traffic::ClusterSettings;
use crate::check::Report;
use crate::common::{
    BackendRef, Backends, DNS_NAME, DurationText, ObjectRef, SingleBackendRef, StringMatchKind,
};

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
        /// Requests that are answered 401 and not redirected.
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
        refresh_token: bool = "refreshToken",
        /// Lifetime of refresh tokens without an expiry. Default: 7 days.
        default_refresh_token_ttl: DurationText = "defaultRefreshTokenTTL",
        /// Lifetime of the token against request forgery. Default: 10 minutes.
        csrf_token_ttl: DurationText = "csrfTokenTTL",
        /// Whether requests with a token of their own bypass the flow. Default: `false`.
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
        /// Issuer: HTTPS URL of the provider.
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

    /// Requests that are answered 401 and not redirected.
    pub struct DenyRedirect {
        /// Conditions on headers. One of them must match.
        headers: Vec<DenyRedirectHeader> = "headers" [Required, Items(1, 16)],
    }

    /// A condition on a header.
    pub struct DenyRedirectHeader {
        /// Name of the header.
        name: String = "name" [Required, Length(1, 65536)],
        /// Type of the comparison. Default: `Exact`.
        kind: StringMatchKind = "type",
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
