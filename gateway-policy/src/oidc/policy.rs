//! OpenID Connect as a policy.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::header::{AUTHORIZATION, COOKIE};
use http::{HeaderName, HeaderValue, Uri, request};
use http_body::Body as _;
use towergate_core::policy::{
    BuildContext, BuiltPolicy, FilledFields, PolicyError, PolicyFuture, PolicyRequest,
    WaitingPolicy,
};
use towergate_core::{HeaderList, LocalReply};

use super::failure_log::FailureLog;
use super::gateway_client::GatewayClient;
use super::id_token::{IdTokenRules, subject_of};
use super::jar::CookieJar;
use super::login::{LoginContext, RequestUrl, redirect, with_query};
use super::provider::{ProviderState, now};
use super::session::{
    RefreshToken, SessionSeal, SessionSite, SessionState, UserSession, expiry_of,
};
use super::state::{LoginState, unix};
use super::token_endpoint::{IssuedTokens, TokenGrant};
use super::{IdTokenError, OidcAuthentication, OidcError, ProviderClient, SessionKeys};
use crate::jwt::query_pairs;
use crate::secret::SecretText;

/// Forwards requests with a session, and redirects others to the provider.
#[derive(Debug)]
pub struct OidcPolicy {
    rule: OidcAuthentication,
    keys: SessionKeys,
    provider: Arc<ProviderState>,
    failures: Arc<FailureLog>,
}

/// The next step for a request, after its cookies were read.
enum Step {
    Forward(UserSession),
    Refresh {
        token: RefreshToken,
        id_token: Option<SecretText>,
    },
    Login,
}

impl OidcPolicy {
    /// A policy for `rule` that calls the provider through `client`.
    ///
    /// # Errors
    /// If a session key cannot be used.
    pub fn new(
        rule: OidcAuthentication,
        client: Arc<dyn ProviderClient>,
    ) -> Result<Self, PolicyError> {
        let provider = Arc::new(ProviderState::new(rule.clone(), client));
        let failures = Arc::new(FailureLog::new(&rule.policy_name));
        Self::with(rule, provider, failures)
    }

    /// Builds the policy for a rule of a route. The state of its provider survives a change of the
    /// configuration.
    pub(crate) fn built(
        rule: &OidcAuthentication,
        context: &BuildContext<'_>,
    ) -> Result<BuiltPolicy, PolicyError> {
        let identity = rule.client_identity();
        let identity = identity.map_err(|error| PolicyError::new(error.to_string()))?;
        // The lifetimes are part of the key, because they determine the cookies of refreshed sessions.
        let key = (
            "oidc",
            identity,
            rule.default_token_ttl,
            rule.refresh_token_ttl,
        );
        let provider = context.live.share(key, |_| {
            let client = GatewayClient::new(&rule.provider, context);
            Arc::new(ProviderState::new(rule.clone(), Arc::new(client)))
        });
        let name = &rule.policy_name;
        let failures = ("oidc failures", name.clone());
        let failures = (context.live).share(failures, |_| Arc::new(FailureLog::new(name)));
        Self::with(rule.clone(), provider, failures).map(BuiltPolicy::waiting)
    }

    fn with(
        rule: OidcAuthentication,
        provider: Arc<ProviderState>,
        failures: Arc<FailureLog>,
    ) -> Result<Self, PolicyError> {
        let keys = rule.keys();
        Ok(Self {
            keys: keys.map_err(|error| PolicyError::new(error.to_string()))?,
            provider,
            failures,
            rule,
        })
    }

    async fn admit(&self, request: &mut PolicyRequest<'_>) -> Result<(), LocalReply> {
        let head = &*request.head;
        if self
            .rule
            .pass_through
            .iter()
            .any(|s| !s.find(head).is_empty())
        {
            self.strip(request.head, None);
            return Ok(());
        }
        let url = RequestUrl::of(head).ok_or_else(|| OidcError::NoHost.reply())?;
        if head.uri.path() == self.rule.logout_path {
            return Err(self.log_out(head, &url).await);
        }
        if head.uri.path() == self.rule.redirect_url.path() {
            return Err(self.finish_login(head, &url).await);
        }
        let now = SystemTime::now();
        let state = {
            let jar = CookieJar::of(&head.headers);
            self.seal(&url).read(&jar, now)
        };
        let step = match state {
            SessionState::Valid(session) => Step::Forward(session),
            SessionState::Expired {
                refresh_token,
                id_token,
            } if self.rule.refresh_token_ttl.is_some() => Step::Refresh {
                token: refresh_token,
                id_token,
            },
            SessionState::Expired { .. } | SessionState::None => Step::Login,
        };
        match step {
            Step::Forward(session) => self.forward(request.head, &session),
            Step::Refresh { token, id_token } => match self.refresh(token, id_token).await {
                Ok(session) => {
                    let url = RequestUrl::of(request.head);
                    let url = url.ok_or_else(|| OidcError::NoHost.reply())?;
                    let cookies = self.write(request.head, &url, &session);
                    let cookies = cookies.ok_or_else(|| self.fail(&OidcError::TokenTooLong))?;
                    request.add_response_headers(cookies);
                    self.forward(request.head, &session)
                }
                Err(error @ OidcError::Unavailable(_)) => Err(self.fail(&error)),
                Err(error) => {
                    // The provider may have revoked the refresh token, so the user must log in again.
                    tracing::debug!(%error, "a session could not be refreshed");
                    Err(self.begin_login(request.head).await)
                }
            },
            Step::Login => Err(self.begin_login(request.head).await),
        }
    }

    /// The reply to a request that fails with `error`. If the provider caused the error, the error is logged.
    fn fail(&self, error: &OidcError) -> LocalReply {
        self.failures.record(error, || self.provider.fault());
        error.reply()
    }

    fn seal<'p>(&'p self, url: &RequestUrl<'p>) -> SessionSeal<'p> {
        let cookies = &self.rule.cookies;
        SessionSeal {
            site: match cookies.domain.as_deref() {
                Some(domain) => SessionSite::Domain(domain),
                None => SessionSite::Host(url.authority),
            },
            cookies,
            keys: &self.keys,
            encrypted: self.rule.encrypt_tokens,
        }
    }

    fn login(&self, now: SystemTime) -> LoginContext<'_> {
        LoginContext {
            rule: &self.rule,
            keys: &self.keys,
            now,
        }
    }

    fn write(
        &self,
        head: &request::Parts,
        url: &RequestUrl<'_>,
        session: &UserSession,
    ) -> Option<HeaderList> {
        let jar = CookieJar::of(&head.headers);
        self.seal(url).write(&jar, session, now())
    }

    /// The reply to a request without a session.
    async fn begin_login(&self, head: &request::Parts) -> LocalReply {
        let mut denied = self.rule.deny_redirect.iter();
        if denied.any(|condition| condition.matches(&head.headers)) {
            return OidcError::RedirectDenied(head.uri.path().to_owned()).reply();
        }
        let endpoints = match self.provider.endpoints().await {
            Ok(endpoints) => endpoints,
            Err(error) => return self.fail(&error),
        };
        let Some(url) = RequestUrl::of(head) else {
            return OidcError::NoHost.reply();
        };
        let begun = self.login(SystemTime::now()).begin(head, &url, &endpoints);
        begun.unwrap_or_else(|| self.fail(&OidcError::Seal))
    }

    /// The reply to a request that ends the session.
    async fn log_out(&self, head: &request::Parts, url: &RequestUrl<'_>) -> LocalReply {
        let jar = CookieJar::of(&head.headers);
        let seal = self.seal(url);
        let id_token = match seal.read(&jar, SystemTime::now()) {
            SessionState::Valid(session) => session.id_token,
            SessionState::Expired { id_token, .. } => id_token,
            SessionState::None => None,
        };
        let end_session = match &self.rule.provider.end_session {
            Some(url) => Some(url.clone()),
            None => {
                let endpoints = self.provider.endpoints().await.ok();
                endpoints.and_then(|endpoints| endpoints.end_session.clone())
            }
        };
        let root = url.root();
        let location = match end_session {
            None => root,
            Some(end) => {
                let hint = id_token.as_ref().map_or("", SecretText::expose);
                let parameters = [
                    ("id_token_hint", hint),
                    ("client_id", &self.rule.client_id),
                    ("post_logout_redirect_uri", &root),
                ];
                with_query(&end, &parameters)
            }
        };
        let reply = redirect(location, "oauth.sign_out", seal.clear(&jar));
        reply.unwrap_or_else(|| OidcError::Seal.reply())
    }

    /// The reply to the callback.
    async fn finish_login(&self, head: &request::Parts, url: &RequestUrl<'_>) -> LocalReply {
        let now = SystemTime::now();
        let jar = CookieJar::of(&head.headers);
        let (code, state) = match self.check_callback(head, &jar, url, now) {
            Ok(callback) => callback,
            Err(error) => return self.fail(&error),
        };
        if let SessionState::Valid(_) = self.seal(url).read(&jar, now) {
            // The login was completed in another tab.
            let reply = redirect(state.url, "oauth.race_redirect", HeaderList::new());
            return reply.unwrap_or_else(|| OidcError::StateUrl.reply());
        }
        let login_cookies = |fields: &mut HeaderList| {
            for name in self.rule.cookies.of_login(&state.flow_id) {
                self.rule.cookies.remove(fields, &jar, &name);
            }
        };
        let finished = match self.exchange(head, &jar, url, &code, &state).await {
            Ok(session) => self.write(head, url, &session),
            Err(error) => {
                let mut reply = self.fail(&error);
                login_cookies(&mut reply.headers);
                return reply;
            }
        };
        let Some(mut fields) = finished else {
            return self.fail(&OidcError::TokenTooLong);
        };
        login_cookies(&mut fields);
        let reply = redirect(state.url.clone(), "oauth.logged_in", fields);
        reply.unwrap_or_else(|| OidcError::StateUrl.reply())
    }

    /// Code and state of a callback that belongs to a login of this browser.
    fn check_callback<'h>(
        &self,
        head: &'h request::Parts,
        jar: &CookieJar<'_>,
        url: &RequestUrl<'_>,
        now: SystemTime,
    ) -> Result<(Cow<'h, str>, LoginState), OidcError> {
        let query = head.uri.query().unwrap_or_default();
        let value = |name: &str| {
            let mut pairs = query_pairs(query);
            pairs.find(|(known, _)| known == name).map(|(_, v)| v)
        };
        if let Some(error) = value("error") {
            let plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
            return Err(OidcError::Provider(
                error.chars().filter(plain).take(64).collect(),
            ));
        }
        if self
            .provider
            .issuer()
            .is_some_and(|own| value("iss").is_some_and(|iss| iss != own))
        {
            // The callback comes from another provider (RFC 9207).
            return Err(OidcError::Issuer);
        }
        let (Some(code), Some(state)) = (value("code"), value("state")) else {
            return Err(OidcError::NoCode);
        };
        let state = LoginState::decode(&state)?;
        let cookie = jar.get(&self.rule.cookies.nonce(&state.flow_id));
        if !state.is_of(cookie) || !state.is_signed(&self.keys, now) {
            return Err(OidcError::Csrf);
        }
        if !self.may_return_to(&state.url, url) {
            return Err(OidcError::StateUrl);
        }
        Ok((code, state))
    }

    /// Whether a login may end at `target`: on the host of the callback or within the domain of the cookies, and not
    /// at the callback itself.
    fn may_return_to(&self, target: &str, url: &RequestUrl<'_>) -> bool {
        let Ok(target) = target.parse::<Uri>() else {
            return false;
        };
        let (Some(authority), Some("http" | "https")) = (target.authority(), target.scheme_str())
        else {
            return false;
        };
        let within = |domain: &String| {
            let domain = domain.trim_start_matches('.');
            let rest = authority.host().strip_suffix(domain);
            rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        let host = authority.as_str().eq_ignore_ascii_case(url.authority);
        (host || self.rule.cookies.domain.as_ref().is_some_and(within))
            && target.path() != self.rule.redirect_url.path()
    }

    async fn exchange(
        &self,
        head: &request::Parts,
        jar: &CookieJar<'_>,
        url: &RequestUrl<'_>,
        code: &str,
        state: &LoginState,
    ) -> Result<UserSession, OidcError> {
        let verifier = self.login(now()).verifier(jar, &state.flow_id);
        let verifier = verifier.ok_or(OidcError::Verifier)?;
        let redirect_uri = self.rule.redirect_url.of(head, url);
        let grant = TokenGrant::Code {
            code,
            redirect_uri: &redirect_uri,
            verifier: &verifier,
        };
        let issued = self.provider.tokens(grant).await?;
        let strict = self.rule.provider.is_strict();
        match &issued.id_token {
            Some(token) => {
                let rules = IdTokenRules {
                    client_id: &self.rule.client_id,
                    issuer: self.provider.issuer(),
                    login: strict.then_some((&self.keys, state.csrf_token())),
                    subject: None,
                    now: now(),
                };
                self.provider.check_id_token(token.expose(), &rules).await?;
            }
            None if strict => return Err(IdTokenError::Missing.into()),
            None => {}
        }
        session_of(&self.rule, issued, None, None)
    }

    async fn refresh(
        &self,
        token: RefreshToken,
        id_token: Option<SecretText>,
    ) -> Result<Arc<UserSession>, OidcError> {
        let provider = self.provider.clone();
        let text = token.text.clone();
        let refresh = || renew(provider, token, id_token);
        self.provider.refreshes.join(text.expose(), refresh).await
    }

    /// Adds the tokens of a session to the request.
    fn forward(&self, head: &mut request::Parts, session: &UserSession) -> Result<(), LocalReply> {
        self.strip(head, Some(session));
        let bearer = |token: &SecretText| {
            let value = HeaderValue::try_from(format!("Bearer {}", token.expose()));
            value.map_err(|_| OidcError::TokenTooLong.reply())
        };
        if self.rule.forward_access_token {
            let value = bearer(&session.access_token)?;
            head.headers.insert(AUTHORIZATION, value);
        }
        if let (Some(name), Some(token)) = (&self.rule.forward_id_token, &session.id_token) {
            let value = if **name == AUTHORIZATION {
                bearer(token)?
            } else {
                let value = HeaderValue::try_from(token.expose());
                value.map_err(|_| OidcError::TokenTooLong.reply())?
            };
            head.headers.insert(&**name, value);
        }
        Ok(())
    }

    /// Whether `jwt` reads tokens from this header field.
    fn is_token_source(&self, name: &HeaderName) -> bool {
        let sources = self.rule.pass_through.iter();
        let mut headers = sources.flat_map(|source| &source.headers);
        headers.any(|header| *header.name == *name)
    }

    /// Removes fields that the client may not send to the backend: the cookies of the gateway, and the header
    /// fields for tokens. The tokens of `session` are added as cookies.
    fn strip(&self, head: &mut request::Parts, session: Option<&UserSession>) {
        let cookies = &self.rule.cookies;
        let mut tokens = Vec::with_capacity(2);
        if let Some(session) = session {
            tokens.push((cookies.access_token.as_str(), session.access_token.expose()));
            let id_token = session.id_token.as_ref();
            tokens.extend(id_token.map(|token| (cookies.id_token.as_str(), token.expose())));
        }
        let jar = CookieJar::of(&head.headers);
        let line = jar.rewritten(|name| !cookies.is_own(name), &tokens);
        head.headers.remove(COOKIE);
        if let Some(line) = line {
            head.headers.insert(COOKIE, line);
        }
        let access = self.rule.forward_access_token.then_some(&AUTHORIZATION);
        for name in access
            .into_iter()
            .chain(self.rule.forward_id_token.as_deref())
        {
            // Without a session, the field may contain the token that `jwt` verifies.
            if session.is_some() || !self.is_token_source(name) {
                FilledFields::reserve(head, name);
            }
        }
    }
}

/// Renews a session.
async fn renew(
    provider: Arc<ProviderState>,
    token: RefreshToken,
    last_id_token: Option<SecretText>,
) -> Result<Arc<UserSession>, OidcError> {
    let grant = TokenGrant::Refresh(token.text.expose());
    let issued = provider.tokens(grant).await?;
    if let Some(id_token) = &issued.id_token {
        let subject = last_id_token.as_ref().and_then(|t| subject_of(t.expose()));
        let rules = IdTokenRules {
            client_id: &provider.rule().client_id,
            issuer: provider.issuer(),
            // The ID token of a refresh may lack the nonce (OpenID Connect Core, section 12.2).
            login: None,
            subject: subject.as_deref(),
            now: now(),
        };
        provider.check_id_token(id_token.expose(), &rules).await?;
    }
    let session = session_of(provider.rule(), issued, Some(token), last_id_token)?;
    Ok(Arc::new(session))
}

/// The session with new tokens. If the provider does not issue a token again, the previous token is kept
/// while it is valid.
fn session_of(
    rule: &OidcAuthentication,
    issued: IssuedTokens,
    last_refresh: Option<RefreshToken>,
    last_id_token: Option<SecretText>,
) -> Result<UserSession, OidcError> {
    let lifetime = issued.expires_in.map(Duration::from_secs);
    let lifetime = lifetime.unwrap_or(rule.default_token_ttl);
    if lifetime < Duration::from_secs(1) {
        return Err(OidcError::NoLifetime);
    }
    let time = unix(now());
    let is_valid = |token: &SecretText| expiry_of(token.expose()).is_some_and(|end| end > time);
    let refresh_token = rule.refresh_token_ttl.and_then(|ttl| {
        let issued = issued.refresh_token.map(|text| RefreshToken {
            end: expiry_of(text.expose()).unwrap_or(time.saturating_add(ttl.as_secs())),
            text,
        });
        issued.or(last_refresh)
    });
    Ok(UserSession {
        access_token: issued.access_token,
        id_token: issued.id_token.or(last_id_token.filter(is_valid)),
        lifetime,
        refresh_token,
    })
}

impl WaitingPolicy for OidcPolicy {
    fn fault(&self) -> Option<String> {
        self.provider.fault()
    }

    fn run<'a>(&'a self, request: &'a mut PolicyRequest<'_>) -> PolicyFuture<'a> {
        Box::pin(async move {
            let admitted = self.admit(request).await;
            // As in Envoy, the gateway replies without reading the request body. If the body is not empty, the
            // connection cannot be reused and is closed.
            admitted.map_err(|reply| match request.body.is_end_stream() {
                true => reply,
                false => reply.closing(),
            })
        })
    }
}
