//! The start of a login: the redirect to the provider.

use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::BASE64URL_NOPAD;
use http::header::HOST;
use http::{HeaderName, HeaderValue, StatusCode, request};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use towergate_core::{HeaderList, LocalReply};

use super::cookies::SessionCookies;
use super::jar::CookieJar;
use super::seal::random_text;
use super::state::LoginState;
use super::{OidcAuthentication, ProviderEndpoints, SessionKeys};

/// Lifetime of the cookie with the PKCE verifier, as in Envoy.
const VERIFIER_TTL: Duration = Duration::from_secs(600);
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// All characters except the unreserved ones (RFC 3986, section 2.3).
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The URL of a request, from the client's point of view.
#[derive(Clone, Copy, Debug)]
pub(super) struct RequestUrl<'h> {
    /// `http` or `https`.
    pub(super) scheme: &'static str,
    /// Host and port.
    pub(super) authority: &'h str,
    /// Path and query.
    target: &'h str,
}

impl<'h> RequestUrl<'h> {
    /// The URL of a request. `None` if the request has no host.
    pub(super) fn of(head: &'h request::Parts) -> Option<Self> {
        let text = |name: HeaderName| head.headers.get(name).and_then(|value| value.to_str().ok());
        let scheme = text(X_FORWARDED_PROTO).or(head.uri.scheme_str());
        let authority = match head.uri.authority() {
            Some(authority) => authority.as_str(),
            None => text(HOST)?,
        };
        let target = head.uri.path_and_query().map_or("/", |path| path.as_str());
        (!authority.is_empty()).then_some(Self {
            scheme: if scheme == Some("https") {
                "https"
            } else {
                "http"
            },
            authority,
            target,
        })
    }

    /// The complete URL, including path and query.
    fn whole(&self) -> String {
        format!("{}://{}{}", self.scheme, self.authority, self.target)
    }

    /// The URL of the path `/` on the host of the request.
    pub(super) fn root(&self) -> String {
        format!("{}://{}/", self.scheme, self.authority)
    }
}

/// Percent-encodes a value of a query or a form.
pub(super) fn encoded(text: &str) -> impl std::fmt::Display + '_ {
    utf8_percent_encode(text, RESERVED)
}

/// Adds parameters to a URL, which may already have a query.
pub(super) fn with_query(url: &str, parameters: &[(&str, &str)]) -> String {
    let mut text = url.to_owned();
    for (name, value) in parameters {
        text.push(if text.contains('?') { '&' } else { '?' });
        text.push_str(&format!("{name}={}", encoded(value)));
    }
    text
}

/// A redirect of the browser. `None` if `location` is not a valid field value.
pub(super) fn redirect(
    location: String,
    details: &'static str,
    cookies: HeaderList,
) -> Option<LocalReply> {
    let location = HeaderValue::try_from(location).ok()?;
    let mut reply = LocalReply::redirect(StatusCode::FOUND, location, details);
    reply.headers.extend(cookies);
    Some(reply)
}

/// Values from which a login is created.
#[derive(Clone, Copy, Debug)]
pub(super) struct LoginContext<'r> {
    pub(super) rule: &'r OidcAuthentication,
    pub(super) keys: &'r SessionKeys,
    pub(super) now: SystemTime,
}

impl LoginContext<'_> {
    /// Redirects the browser to the provider. `None` if random numbers are not available, or a URL is not a
    /// valid field value.
    pub(super) fn begin(
        &self,
        head: &request::Parts,
        url: &RequestUrl<'_>,
        endpoints: &ProviderEndpoints,
    ) -> Option<LocalReply> {
        let rule = self.rule;
        let state = LoginState::begin(url.whole(), self.keys, self.now, rule.login_ttl)?;
        let verifier = random_text()?;
        let challenge = digest(&SHA256, verifier.as_bytes());
        let challenge = BASE64URL_NOPAD.encode(challenge.as_ref());
        let nonce = self.keys.sign("nonce", state.csrf_token())?;
        let redirect_uri = rule.redirect_url.of(head, url);
        let encoded_state = state.encode()?;
        let scope = rule.scopes.join(" ");
        let mut parameters = vec![
            ("client_id", rule.client_id.as_str()),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ];
        if rule.provider.is_strict() {
            parameters.push(("nonce", &nonce));
        }
        parameters.extend([
            ("redirect_uri", redirect_uri.as_str()),
            ("response_type", "code"),
            ("scope", &scope),
            ("state", &encoded_state),
        ]);
        parameters.extend(rule.resources.iter().map(|r| ("resource", r.as_str())));
        let location = with_query(&endpoints.authorization, &parameters);
        let cookies = self.cookies(head, &state, &verifier)?;
        redirect(location, "oauth.missing_credentials", cookies)
    }

    fn cookies(
        &self,
        head: &request::Parts,
        state: &LoginState,
        verifier: &str,
    ) -> Option<HeaderList> {
        let (names, rule) = (&self.rule.cookies, self.rule);
        let jar = CookieJar::of(&head.headers);
        let flow = &state.flow_id;
        let verifier = self
            .keys
            .seal(&verifier_purpose(flow), verifier.as_bytes())?;
        let mut fields = HeaderList::new();
        names.remove_old_logins(&mut fields, &jar);
        let [nonce, any_nonce, own_verifier, any_verifier] = names.of_login(flow);
        for name in [nonce, any_nonce] {
            names.add(&mut fields, &jar, &name, state.csrf_token(), rule.login_ttl)?;
        }
        for name in [own_verifier, any_verifier] {
            names.add(&mut fields, &jar, &name, &verifier, VERIFIER_TTL)?;
        }
        Some(fields)
    }

    /// The PKCE verifier in the cookie of a login.
    pub(super) fn verifier(&self, jar: &CookieJar<'_>, flow: &str) -> Option<String> {
        let sealed = jar.get(&SessionCookies::verifier(flow))?;
        let opened = self.keys.open(&verifier_purpose(flow), sealed)?;
        String::from_utf8(opened).ok()
    }
}

fn verifier_purpose(flow: &str) -> String {
    format!("verifier {flow}")
}
