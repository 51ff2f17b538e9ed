//! The endpoints of a provider, and the document from which they are discovered (OpenID Connect Discovery 1.0).

use http::Uri;
use serde::{Deserialize, Serialize};

/// URLs of a provider.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct ProviderEndpoints {
    /// Authorization endpoint, to which browsers are redirected.
    pub authorization: String,
    /// Token endpoint, which the gateway calls.
    pub token: String,
    /// Endpoint for logout, to which browsers are redirected.
    pub end_session: Option<String>,
    /// Key set with which ID tokens are verified.
    pub keys: Option<String>,
}

#[derive(Deserialize)]
struct DiscoveryDocument {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    end_session_endpoint: Option<String>,
    jwks_uri: Option<String>,
}

impl ProviderEndpoints {
    /// URL of the discovery document of an issuer.
    pub fn discovery_url(issuer: &str) -> String {
        let issuer = issuer.trim_end_matches('/');
        format!("{issuer}/.well-known/openid-configuration")
    }

    /// The endpoints in a discovery document.
    ///
    /// # Errors
    /// The document belongs to another issuer, or an endpoint is not a URL, or an endpoint does not use
    /// `https` although the issuer does.
    pub fn discovered(issuer: &str, document: &[u8]) -> Result<Self, String> {
        let document: DiscoveryDocument =
            serde_json::from_slice(document).map_err(|error| format!("no JSON: {error}"))?;
        if document.issuer != issuer {
            return Err(format!(
                "the document belongs to issuer {:?}; set `provider.issuer` to this exact value",
                document.issuer
            ));
        }
        let secure = issuer.starts_with("https://");
        let check = |name: &str, url: String| {
            let uri = url.parse::<Uri>();
            let uri = uri.map_err(|error| format!("{name}: {error}"))?;
            match uri.scheme_str() {
                Some("https") => Ok(url),
                Some("http") if !secure => Ok(url),
                _ => Err(format!("{name} {url:?} must be an https URL")),
            }
        };
        let optional =
            |name: &str, url: Option<String>| url.map(|url| check(name, url)).transpose();
        Ok(Self {
            authorization: check("authorization_endpoint", document.authorization_endpoint)?,
            token: check("token_endpoint", document.token_endpoint)?,
            end_session: optional("end_session_endpoint", document.end_session_endpoint)?,
            keys: optional("jwks_uri", document.jwks_uri)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(issuer: &str, token: &str) -> Vec<u8> {
        let document = serde_json::json!({
            "issuer": issuer,
            "authorization_endpoint": format!("{issuer}/auth"),
            "token_endpoint": token,
            "jwks_uri": format!("{issuer}/jwks"),
        });
        document.to_string().into_bytes()
    }

    #[test]
    fn endpoints_are_those_of_the_document() {
        let document = document("https://op.test", "https://op.test/token");

        let endpoints = ProviderEndpoints::discovered("https://op.test", &document).unwrap();

        assert_eq!(endpoints.authorization, "https://op.test/auth");
        assert_eq!(endpoints.keys.as_deref(), Some("https://op.test/jwks"));
        assert_eq!(endpoints.end_session, None);
    }

    #[test]
    fn a_document_of_another_issuer_or_without_tls_is_refused() {
        let issuer = "https://op.test";
        let other = document("https://evil.test", "https://evil.test/token");
        let plain = document(issuer, "http://op.test/token");

        assert!(ProviderEndpoints::discovered(issuer, &other).is_err());
        let slash = format!("{issuer}/");
        assert!(ProviderEndpoints::discovered(&slash, &document(issuer, issuer)).is_err());
        assert!(ProviderEndpoints::discovered(issuer, &plain).is_err());
        assert!(ProviderEndpoints::discovered(issuer, b"{nonsense").is_err());
    }
}
