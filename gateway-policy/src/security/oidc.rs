//! `oidc` of a SecurityPolicy as it is written.

use crate::api_struct::{api_struct, string_enum};
use crate::backend_traffic::ClusterSettings;
use crate::check::Report;
use crate::common::{
    BackendRef, Backends, DNS_NAME, DurationText, ObjectRef, SingleBackendRef, StringMatchKind,
};

string_enum! {
    /// To whom browsers send a cookie.
    pub enum SameSite {
        Lax = "Lax",
        Strict = "Strict",
        None = "None",
    }
}

api_struct! {
    /// Logins by OpenID Connect.
    pub struct Oidc, rules {
        /// Who knows the users.
        provider: OidcProvider = "provider" [Required],
        /// The name of the gateway there.
        client_id: String = "clientID" [Length(1, 65536)],
        /// Or the Secret that holds it.
        client_id_ref: ObjectRef = "clientIDRef",
        /// The Secret with the gateway's password there.
        client_secret: ObjectRef = "clientSecret" [Required],
        /// Names of cookies.
        cookie_names: CookieNames = "cookieNames",
        /// Attributes of cookies.
        cookie_config: CookieConfig = "cookieConfig",
        /// The domain of cookies.
        cookie_domain: String = "cookieDomain" [Pattern(DNS_NAME)],
        /// What is asked for.
        scopes: Vec<String> = "scopes",
        /// For what it is asked.
        resources: Vec<String> = "resources",
        /// Where the provider sends users back.
        redirect_url: String = "redirectURL",
        /// Which requests are refused and not sent to the provider.
        deny_redirect: DenyRedirect = "denyRedirect",
        /// Where users log out.
        logout_path: String = "logoutPath",
        /// The backend gets the access token.
        forward_access_token: bool = "forwardAccessToken",
        /// The backend gets the ID token.
        forward_id_token: ForwardIdToken = "forwardIDToken",
        /// The lifetime of tokens that have none.
        default_token_ttl: DurationText = "defaultTokenTTL",
        /// Tokens are renewed.
        refresh_token: bool = "refreshToken",
        /// The lifetime of refresh tokens that have none.
        default_refresh_token_ttl: DurationText = "defaultRefreshTokenTTL",
        /// The lifetime of the token against forged requests.
        csrf_token_ttl: DurationText = "csrfTokenTTL",
        /// Requests with a token of their own pass.
        pass_through_auth_header: bool = "passThroughAuthHeader",
        /// Cookies hold plain tokens.
        disable_token_encryption: bool = "disableTokenEncryption",
    }

    /// Who knows the users.
    pub struct OidcProvider, rules {
        /// Not allowed here.
        backend_ref: SingleBackendRef = "backendRef",
        /// Where the provider is, if not at its own host.
        backend_refs: Vec<BackendRef> = "backendRefs" [Items(0, 16)],
        /// How it is reached.
        backend_settings: ClusterSettings = "backendSettings",
        /// Its name.
        issuer: String = "issuer" [Required, Length(1, 65536)],
        /// Where users log in.
        authorization_endpoint: String = "authorizationEndpoint",
        /// Where tokens are given.
        token_endpoint: String = "tokenEndpoint",
        /// Where users log out.
        end_session_endpoint: String = "endSessionEndpoint",
    }

    /// Names of cookies.
    pub struct CookieNames {
        /// Of the access token's.
        access_token: String = "accessToken",
        /// Of the ID token's.
        id_token: String = "idToken",
    }

    /// Attributes of cookies.
    pub struct CookieConfig {
        /// To whom browsers send them.
        same_site: SameSite = "sameSite",
    }

    /// Which requests are refused.
    pub struct DenyRedirect {
        /// Those with one of these headers.
        headers: Vec<DenyRedirectHeader> = "headers" [Required, Items(1, 16)],
    }

    /// A header and its value.
    pub struct DenyRedirectHeader {
        /// Its name.
        name: String = "name" [Required, Length(1, 65536)],
        /// How its value is compared.
        kind: StringMatchKind = "type",
        /// What it is compared with.
        value: String = "value" [Required, Length(1, 1024)],
    }

    /// The backend gets the ID token.
    pub struct ForwardIdToken {
        /// In this header.
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
