//! A provider at run time: its endpoints, its keys, and calls to it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::ACCEPT;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};

use super::fetched::Fetched;
use super::id_token::{IdTokenRules, check_signature};
use super::refresh::RefreshFlights;
use super::token_endpoint::{IssuedTokens, TokenGrant, read_tokens};
use super::{IdTokenError, OidcAuthentication, OidcError, ProviderEndpoints};
use crate::jwt::{KeySet, UnverifiedToken};

/// Minimum age of keys that are fetched again because they do not verify a token.
const KEY_AGE: Duration = Duration::from_secs(10);

/// Result of a call.
pub type ProviderFuture<'a> =
    Pin<Box<dyn Future<Output = Result<Response<Bytes>, String>> + Send + 'a>>;

/// Calls the endpoints of a provider: discovery document, key set and token endpoint.
pub trait ProviderClient: Send + Sync + 'static {
    /// Sends a request with an absolute URL, and reads the whole response. The implementation limits time and
    /// length, and does not follow redirects.
    fn call(&self, request: Request<Bytes>) -> ProviderFuture<'_>;
}

/// The state of a provider. Rules with equal settings share it.
pub(super) struct ProviderState {
    rule: OidcAuthentication,
    client: Arc<dyn ProviderClient>,
    /// The configured endpoints. `None`: the endpoints are discovered.
    configured: Option<Arc<ProviderEndpoints>>,
    endpoints: Fetched<ProviderEndpoints>,
    keys: Fetched<KeySet>,
    /// Header fields that mark a call as the gateway's own, as in Envoy.
    marks: Vec<(HeaderName, HeaderValue)>,
    pub(super) refreshes: RefreshFlights,
}

impl ProviderState {
    /// The provider of `rule`, which is called through `client`.
    pub(super) fn new(rule: OidcAuthentication, client: Arc<dyn ProviderClient>) -> Self {
        Self {
            configured: rule.provider.configured().map(Arc::new),
            rule,
            client,
            endpoints: Fetched::new(),
            keys: Fetched::new(),
            marks: marks(),
            refreshes: RefreshFlights::default(),
        }
    }

    /// The endpoints, configured or discovered.
    pub(super) async fn endpoints(&self) -> Result<Arc<ProviderEndpoints>, OidcError> {
        let provider = &self.rule.provider;
        if let Some(endpoints) = &self.configured {
            return Ok(endpoints.clone());
        }
        let issuer = &provider.issuer;
        let fetch = async {
            let document = self
                .fetch(&ProviderEndpoints::discovery_url(issuer))
                .await?;
            let mut endpoints = ProviderEndpoints::discovered(issuer, &document)?;
            provider.override_in(&mut endpoints);
            Ok(endpoints)
        };
        let what = format!("the discovery document of {issuer}");
        let endpoints = self.endpoints.load(&what, fetch).await;
        endpoints.ok_or(OidcError::Unavailable(String::new()))
    }

    /// The reason why logins fail at the moment. `None` until an attempt has failed.
    pub(super) fn fault(&self) -> Option<String> {
        self.endpoints.fault().or_else(|| self.keys.fault())
    }

    /// Requests tokens.
    pub(super) async fn tokens(&self, grant: TokenGrant<'_>) -> Result<IssuedTokens, OidcError> {
        let endpoints = self.endpoints().await?;
        let request = grant.request(&self.rule, &endpoints.token);
        let unusable = || OidcError::Unavailable(format!("invalid URL {}", endpoints.token));
        let mut request = request.ok_or_else(unusable)?;
        request.headers_mut().extend(self.marks.iter().cloned());
        let response = self.client.call(request).await;
        read_tokens(&response.map_err(|error| {
            let url = &endpoints.token;
            OidcError::Unavailable(format!(
                "the token endpoint {url} cannot be called: {error}"
            ))
        })?)
    }

    /// Checks an ID token: the claims, and the signature if the provider has a key set.
    pub(super) async fn check_id_token(
        &self,
        text: &str,
        rules: &IdTokenRules<'_>,
    ) -> Result<(), IdTokenError> {
        let token = UnverifiedToken::decode(text)?;
        rules.check(&token.claims)?;
        let endpoints = self.endpoints().await.map_err(|_| IdTokenError::NoKeys)?;
        let Some(url) = &endpoints.keys else {
            return Ok(());
        };
        let first = check_signature(&token, self.keys(url).await.as_deref());
        if first.is_ok() || !self.keys.expire(KEY_AGE) {
            return first;
        }
        check_signature(&token, self.keys(url).await.as_deref())
    }

    async fn keys(&self, url: &str) -> Option<Arc<KeySet>> {
        let fetch = async {
            let text = self.fetch(url).await?;
            KeySet::parse(&text).map_err(|error| error.to_string())
        };
        self.keys.load("the key set of the provider", fetch).await
    }

    async fn fetch(&self, url: &str) -> Result<Bytes, String> {
        let request = Request::get(url).header(ACCEPT, "application/json");
        let request = request.body(Bytes::new()).map_err(|e| e.to_string())?;
        let response = self.client.call(request).await?;
        match response.status() {
            StatusCode::OK => Ok(response.into_body()),
            status => Err(format!("the provider returned {status}")),
        }
    }

    /// The rule for which the provider was created.
    pub(super) fn rule(&self) -> &OidcAuthentication {
        &self.rule
    }

    /// The required `iss` of ID tokens. `None`: not checked.
    pub(super) fn issuer(&self) -> Option<&str> {
        let provider = &self.rule.provider;
        provider.is_strict().then_some(provider.issuer.as_str())
    }
}

impl fmt::Debug for ProviderState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProviderState")
            .field("issuer", &self.rule.provider.issuer)
            .finish_non_exhaustive()
    }
}

fn marks() -> Vec<(HeaderName, HeaderValue)> {
    let mut marks = vec![
        (
            HeaderName::from_static("x-envoy-internal"),
            HeaderValue::from_static("true"),
        ),
        (
            HeaderName::from_static("x-envoy-expected-rq-timeout-ms"),
            HeaderValue::from_static("10000"),
        ),
    ];
    let address = own_address().and_then(|ip| HeaderValue::try_from(ip.to_string()).ok());
    marks.extend(address.map(|ip| (HeaderName::from_static("x-forwarded-for"), ip)));
    marks
}

/// The source address of this host for connections to other hosts. No packet is sent.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    // Only the route to this address is looked up. The address is reserved for documentation (RFC 5737).
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// The current time, read for each call. The start time of the request would be too inexact, because a call
/// can take seconds.
pub(super) fn now() -> SystemTime {
    SystemTime::now()
}
