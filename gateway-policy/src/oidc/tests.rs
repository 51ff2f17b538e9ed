//! Logins, refreshes and logouts of a browser in front of the policy, with a provider in memory.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use aws_lc_rs::hmac;
use bytes::Bytes;
use data_encoding::BASE64URL_NOPAD;
use http::header::{COOKIE, LOCATION, SET_COOKIE};
use http::{HeaderMap, Request, Response, StatusCode};
use serde_json::{Value, json};
use tower::{Layer, ServiceExt, service_fn};
use towergate_core::Body;
use towergate_core::plan::TextMatch;
use towergate_core::policy::{BuiltPolicy, PolicyLayer};

use super::*;
use crate::jwt::query_pairs;
use crate::secret::SecretText;

const ISSUER: &str = "https://op.test";
const KEY: &[u8] = b"the key of the provider, of 32 bytes or more";

/// A provider that issues the tokens in `answer`, and records the requests to its token endpoint.
#[derive(Debug, Default)]
struct MemoryProvider {
    forms: Mutex<Vec<String>>,
    answer: Mutex<Answer>,
}

#[derive(Clone, Debug, Default)]
struct Answer {
    /// Claims that replace those of a good ID token.
    claims: Vec<(&'static str, Value)>,
    nonce: String,
    refuse: bool,
}

impl ProviderClient for MemoryProvider {
    fn call(&self, request: Request<Bytes>) -> ProviderFuture<'_> {
        let body = match request.uri().path() {
            "/.well-known/openid-configuration" => json!({
                "issuer": ISSUER,
                "authorization_endpoint": format!("{ISSUER}/auth"),
                "token_endpoint": format!("{ISSUER}/token"),
                "end_session_endpoint": format!("{ISSUER}/end?x=1"),
                "jwks_uri": format!("{ISSUER}/jwks"),
            }),
            "/jwks" => json!({"keys": [{"kty": "oct", "k": BASE64URL_NOPAD.encode(KEY)}]}),
            _ => {
                let form = String::from_utf8(request.body().to_vec()).unwrap();
                self.forms.lock().unwrap().push(form);
                self.tokens()
            }
        };
        let refuse = self.answer.lock().unwrap().refuse;
        let status = if refuse { 400 } else { 200 };
        let response = Response::builder().status(status);
        let response = response.body(Bytes::from(body.to_string())).unwrap();
        Box::pin(async move { Ok(response) })
    }
}

impl MemoryProvider {
    fn tokens(&self) -> Value {
        let answer = self.answer.lock().unwrap().clone();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let end = now.unwrap().as_secs() + 300;
        let mut claims = json!({
            "iss": ISSUER, "sub": "ada", "aud": "client", "exp": end, "nonce": answer.nonce,
        });
        for (name, value) in answer.claims {
            claims[name] = value;
        }
        json!({
            "access_token": "access", "token_type": "Bearer", "expires_in": 300,
            "id_token": signed(&claims), "refresh_token": "again",
        })
    }

    fn set(&self, change: impl FnOnce(&mut Answer)) {
        change(&mut self.answer.lock().unwrap());
    }
}

fn signed(claims: &Value) -> String {
    let part = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    let text = format!("{}.{}", part(&json!({"alg": "HS256"})), part(claims));
    let key = hmac::Key::new(hmac::HMAC_SHA256, KEY);
    let signature = hmac::sign(&key, text.as_bytes());
    format!("{text}.{}", BASE64URL_NOPAD.encode(signature.as_ref()))
}

fn rule() -> OidcAuthentication {
    OidcAuthentication {
        cookies: SessionCookies::new("0a"),
        forward_access_token: true,
        ..OidcAuthentication::new("app", ISSUER, "client", "the secret")
    }
}

/// A browser that keeps cookies, in front of one policy.
struct Browser {
    policy: BuiltPolicy,
    provider: Arc<MemoryProvider>,
    jar: Vec<(String, String)>,
}

impl Browser {
    fn of(rule: OidcAuthentication) -> Self {
        let provider = Arc::new(MemoryProvider::default());
        let policy = OidcPolicy::new(rule, provider.clone()).unwrap();
        Self {
            policy: BuiltPolicy::waiting(policy),
            provider,
            jar: Vec::new(),
        }
    }

    /// Sends a request. The response of the backend repeats the fields of the request, with the prefix `x-`.
    async fn get(&mut self, target: &str) -> Response<Body> {
        self.get_from("app.test", target, &[]).await
    }

    async fn get_from(
        &mut self,
        host: &str,
        target: &str,
        fields: &[(&str, &str)],
    ) -> Response<Body> {
        let pairs: Vec<String> = self.jar.iter().map(|(n, v)| format!("{n}={v}")).collect();
        let mut request = Request::get(target)
            .header("host", host)
            .header("x-forwarded-proto", "https");
        if !pairs.is_empty() {
            request = request.header(COOKIE, pairs.join("; "));
        }
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let backend = service_fn(|request: Request<Body>| async move {
            let mut response = Response::new(Body::empty());
            for (name, value) in request.headers() {
                let name = http::HeaderName::try_from(format!("x-{name}")).unwrap();
                response.headers_mut().append(name, value.clone());
            }
            Ok::<_, Infallible>(response)
        });
        let service = PolicyLayer::new(self.policy.clone()).layer(backend);
        let response = service.oneshot(request.body(Body::empty()).unwrap()).await;
        let response = response.unwrap();
        self.keep(response.headers());
        response
    }

    fn keep(&mut self, headers: &HeaderMap) {
        for line in headers.get_all(SET_COOKIE) {
            let text = line.to_str().unwrap();
            let (name, rest) = text.split_once('=').unwrap();
            let value = rest.split(';').next().unwrap();
            self.jar.retain(|(known, _)| known != name);
            if value != "deleted" {
                self.jar.push((name.to_owned(), value.to_owned()));
            }
        }
    }

    fn forget(&mut self, name: &str) {
        self.jar.retain(|(known, _)| !known.starts_with(name));
    }

    /// Follows the redirect to the provider, which records the nonce. Returns the request target of the callback.
    fn at_provider(&self, response: &Response<Body>) -> String {
        let location = location(response);
        let query = location.split_once('?').unwrap().1;
        let value = |name: &str| {
            let mut pairs = query_pairs(query);
            pairs.find(|(n, _)| n == name).unwrap().1.into_owned()
        };
        self.provider.set(|answer| answer.nonce = value("nonce"));
        format!("/oauth2/callback?code=the-code&state={}", value("state"))
    }

    async fn log_in(&mut self, target: &str) -> Response<Body> {
        let response = self.get(target).await;
        let callback = self.at_provider(&response);
        self.get(&callback).await
    }
}

fn location(response: &Response<Body>) -> &str {
    response.headers()[LOCATION].to_str().unwrap()
}

#[tokio::test]
async fn a_login_returns_to_its_page_and_the_backend_receives_the_tokens() {
    let mut browser = Browser::of(rule());

    let finished = browser.log_in("/page?x=1").await;
    assert_eq!(finished.status(), StatusCode::FOUND);
    assert_eq!(location(&finished), "https://app.test/page?x=1");
    let page = browser.get("/page").await;

    assert_eq!(page.status(), StatusCode::OK);
    assert_eq!(page.headers()["x-authorization"], "Bearer access");
    let cookie = page.headers()["x-cookie"].to_str().unwrap();
    assert!(
        cookie.starts_with("AccessToken-0a=access; IdToken-0a=ey"),
        "{cookie}"
    );
    assert!(
        !cookie.contains("Oauth") && !cookie.contains("Refresh"),
        "{cookie}"
    );
    let forms = browser.provider.forms.lock().unwrap().clone();
    assert!(forms[0].starts_with("grant_type=authorization_code&code=the-code&redirect_uri="));
}

#[tokio::test]
async fn logins_in_two_tabs_do_not_affect_each_other() {
    let mut browser = Browser::of(rule());
    let one = browser.get("/one").await;
    let two = browser.get("/two").await;

    let two = browser.at_provider(&two);
    let two = browser.get(&two).await;
    let one = browser.at_provider(&one);
    let one = browser.get(&one).await;

    assert_eq!(location(&two), "https://app.test/two");
    assert_eq!(location(&one), "https://app.test/one");
    assert_eq!(browser.provider.forms.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_callback_without_the_cookies_of_its_login_is_refused() {
    let mut browser = Browser::of(rule());
    let begun = browser.get("/").await;
    let callback = browser.at_provider(&begun);

    for gone in ["OauthNonce", "CodeVerifier"] {
        let mut other = Browser::of(rule());
        other.jar = browser.jar.clone();
        other.forget(gone);
        let refused = other.get(&callback).await;
        assert_eq!(refused.status(), StatusCode::UNAUTHORIZED, "{gone}");
        assert!(other.provider.forms.lock().unwrap().is_empty());
    }
    let other_issuer = format!("{callback}&iss=https://evil.test");
    for target in [
        "/oauth2/callback",
        "/oauth2/callback?code=x&state=e30",
        "/oauth2/callback?error=access_denied&state=x",
        other_issuer.as_str(),
    ] {
        let refused = browser.get(target).await;
        assert_eq!(refused.status(), StatusCode::UNAUTHORIZED, "{target}");
    }
}

#[tokio::test]
async fn a_login_does_not_return_to_another_host() {
    let mut browser = Browser::of(rule());
    let begun = browser.get_from("evil.test", "/", &[]).await;
    let callback = browser.at_provider(&begun);

    let refused = browser.get_from("app.test", &callback, &[]).await;

    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    assert!(!refused.headers().contains_key(LOCATION));
}

#[tokio::test]
async fn a_login_may_return_to_another_host_within_the_domain_of_the_cookies() {
    let mut cookies = SessionCookies::new("0a");
    cookies.domain = Some("test".to_owned());
    let mut browser = Browser::of(OidcAuthentication { cookies, ..rule() });
    let begun = browser.get_from("one.test", "/x", &[]).await;
    let callback = browser.at_provider(&begun);

    let finished = browser.get_from("login.test", &callback, &[]).await;

    assert_eq!(location(&finished), "https://one.test/x");
}

#[tokio::test]
async fn an_id_token_that_is_not_valid_ends_the_login() {
    for (name, value) in [
        ("iss", json!("https://evil.test")),
        ("aud", json!("other")),
        ("exp", json!(1)),
        ("nonce", json!("other")),
    ] {
        let mut browser = Browser::of(rule());
        browser
            .provider
            .set(|answer| answer.claims = vec![(name, value)]);

        let refused = browser.log_in("/").await;

        assert_eq!(refused.status(), StatusCode::UNAUTHORIZED, "{name}");
        assert_eq!(browser.get("/").await.status(), StatusCode::FOUND, "{name}");
    }
}

#[tokio::test]
async fn a_session_that_has_ended_is_refreshed_and_the_new_cookies_are_set() {
    let mut browser = Browser::of(rule());
    browser.log_in("/").await;
    browser.forget("OauthHMAC");

    let page = browser.get("/later").await;

    assert_eq!(page.status(), StatusCode::OK);
    assert_eq!(page.headers().get_all(SET_COOKIE).iter().count(), 5);
    let forms = browser.provider.forms.lock().unwrap().clone();
    assert_eq!(forms[1], "grant_type=refresh_token&refresh_token=again");
    assert_eq!(browser.get("/again").await.status(), StatusCode::OK);
    assert_eq!(browser.provider.forms.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn a_refresh_that_fails_or_is_of_another_user_leads_to_a_login() {
    for change in [
        (|answer| answer.refuse = true) as fn(&mut Answer),
        |answer| answer.claims = vec![("sub", json!("eve"))],
    ] {
        let mut browser = Browser::of(rule());
        browser.log_in("/").await;
        browser.forget("OauthHMAC");
        browser.provider.set(change);

        let page = browser.get("/later").await;

        assert_eq!(page.status(), StatusCode::FOUND);
        assert!(location(&page).starts_with("https://op.test/auth?"));
    }
}

#[tokio::test]
async fn changed_cookies_are_not_renewed() {
    let mut browser = Browser::of(rule());
    browser.log_in("/").await;
    for (name, value) in &mut browser.jar {
        if name.starts_with("OauthExpires") {
            "4102444800".clone_into(value);
        }
    }

    let page = browser.get("/").await;

    assert_eq!(page.status(), StatusCode::FOUND);
    assert_eq!(browser.provider.forms.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_logout_deletes_the_session_and_ends_that_of_the_provider() {
    let mut browser = Browser::of(rule());
    browser.log_in("/").await;

    let out = browser.get("/logout").await;

    let to = location(&out);
    assert!(
        to.starts_with("https://op.test/end?x=1&id_token_hint=ey"),
        "{to}"
    );
    let end = "&client_id=client&post_logout_redirect_uri=https%3A%2F%2Fapp.test%2F";
    assert!(to.ends_with(end), "{to}");
    assert_eq!(browser.jar, []);
    assert_eq!(browser.get("/").await.status(), StatusCode::FOUND);
}

#[tokio::test]
async fn a_request_that_may_not_be_redirected_is_answered_401() {
    let condition = HeaderCondition {
        name: http::HeaderName::from_static("accept").into(),
        value: TextMatch::Prefix("application/json".to_owned()),
    };
    let deny_redirect = vec![condition];
    let mut browser = Browser::of(OidcAuthentication {
        deny_redirect,
        ..rule()
    });

    let script = [("accept", "application/json, */*")];
    let denied = browser.get_from("app.test", "/", &script).await;
    let page = browser.get("/").await;

    assert_eq!(denied.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(page.status(), StatusCode::FOUND);
}

#[tokio::test]
async fn a_token_that_jwt_verifies_passes_without_the_cookies_of_the_client() {
    let pass_through = vec![crate::jwt::TokenSources::default()];
    let mut browser = Browser::of(OidcAuthentication {
        pass_through,
        ..rule()
    });
    let own = ("AccessToken-0a".to_owned(), "forged".to_owned());
    browser.jar = vec![own, ("mine".to_owned(), "1".to_owned())];

    let token = [("authorization", "Bearer x.y.z")];
    let passed = browser.get_from("app.test", "/", &token).await;
    let basic = [("authorization", "Basic eA==")];
    let other = browser.get_from("app.test", "/", &basic).await;

    assert_eq!(passed.status(), StatusCode::OK);
    assert_eq!(passed.headers()["x-cookie"], "mine=1");
    assert_eq!(other.status(), StatusCode::FOUND);
}

#[tokio::test]
async fn a_client_sets_no_header_in_which_the_backend_receives_tokens() {
    let id_token = || Some(http::HeaderName::from_static("x-id").into());
    let of_header = |name: &'static str| crate::jwt::TokenSources {
        headers: vec![crate::jwt::TokenHeader {
            name: http::HeaderName::from_static(name).into(),
            prefix: String::new(),
        }],
        params: Vec::new(),
        cookies: Vec::new(),
    };
    let sent = [
        ("authorization", "Bearer x.y.z"),
        ("x-id", "of the client"),
        ("x-jwt", "x.y.z"),
    ];
    // Source of the token, and the values of `authorization` and `x-id` that the backend receives.
    for (source, kept) in [
        ("authorization", [Some("Bearer x.y.z"), None]),
        ("x-id", [None, Some("of the client")]),
        ("x-jwt", [None, None]),
    ] {
        let mut browser = Browser::of(OidcAuthentication {
            forward_id_token: id_token(),
            pass_through: vec![of_header(source)],
            ..rule()
        });

        let passed = browser.get_from("app.test", "/", &sent).await;

        assert_eq!(passed.status(), StatusCode::OK, "{source}");
        let received = ["x-authorization", "x-x-id"].map(|name| {
            let value = passed.headers().get(name);
            value.map(|value| value.to_str().unwrap())
        });
        assert_eq!(received, kept, "{source}");
    }
}

#[tokio::test]
async fn tokens_of_a_session_replace_the_fields_of_the_client() {
    let mut browser = Browser::of(OidcAuthentication {
        forward_id_token: Some(http::HeaderName::from_static("x-id").into()),
        pass_through: vec![crate::jwt::TokenSources::default()],
        ..rule()
    });
    browser.log_in("/").await;

    let sent = [
        ("authorization", "Basic eA=="),
        ("x-id", "one"),
        ("x-id", "two"),
    ];
    let page = browser.get_from("app.test", "/", &sent).await;

    assert_eq!(page.headers()["x-authorization"], "Bearer access");
    let mut lines = page.headers().get_all("x-x-id").iter();
    let line = lines.next().unwrap().to_str().unwrap();
    assert!(line.starts_with("ey") && lines.next().is_none(), "{line}");
}

#[tokio::test]
async fn a_session_of_one_policy_is_no_session_of_another() {
    let session_keys = || vec![SecretText::new("a key of 32 bytes, same for policies")];
    for keys in [Vec::new(), session_keys()] {
        let of_policy = |name: &str| {
            Browser::of(OidcAuthentication {
                policy_name: name.to_owned(),
                session_keys: keys.clone(),
                ..rule()
            })
        };
        let mut own = of_policy("apps/a");
        own.log_in("/").await;
        for (name, status) in [("apps/a", StatusCode::OK), ("apps/b", StatusCode::FOUND)] {
            for expired in [false, true] {
                let mut browser = of_policy(name);
                browser.jar = own.jar.clone();
                if expired {
                    browser.forget("OauthHMAC");
                }

                let page = browser.get("/").await;

                assert_eq!(page.status(), status, "{name}, expired: {expired}");
                let refreshes = usize::from(expired && name == "apps/a");
                assert_eq!(browser.provider.forms.lock().unwrap().len(), refreshes);
            }
        }
    }
}

#[tokio::test]
async fn a_login_that_one_policy_began_does_not_end_at_another() {
    let of_policy = |policy_name: &str| {
        Browser::of(OidcAuthentication {
            policy_name: policy_name.to_owned(),
            ..rule()
        })
    };
    let (mut own, mut other) = (of_policy("apps/a"), of_policy("apps/b"));
    let begun = own.get("/").await;
    let callback = own.at_provider(&begun);
    other.jar = own.jar.clone();

    let refused = other.get(&callback).await;

    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    assert!(other.provider.forms.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_provider_that_is_down_is_reported_and_asked_again() {
    let mut browser = Browser::of(rule());
    browser.provider.set(|answer| answer.refuse = true);

    let down = browser.get("/").await;

    assert_eq!(down.status(), StatusCode::SERVICE_UNAVAILABLE);
}

/// Collects log lines.
#[derive(Clone, Default)]
struct LogLines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for LogLines {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(text)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_log_names_the_policy_and_the_cause_of_a_failed_login_but_no_token_or_secret() {
    let lines = LogLines::default();
    let writer = lines.clone();
    let log = tracing_subscriber::fmt().with_ansi(false);
    let log = log.with_writer(move || writer.clone()).finish();
    let _guard = tracing::subscriber::set_default(log);

    for _ in 0..2 {
        let mut browser = Browser::of(rule());
        browser.provider.set(|answer| answer.refuse = true);
        browser.get("/").await;
    }
    let mut browser = Browser::of(rule());
    for _ in 0..2 {
        let begun = browser.get("/").await;
        let callback = browser.at_provider(&begun);
        browser.provider.set(|answer| answer.refuse = true);
        browser.get(&callback).await;
        browser.provider.set(|answer| {
            answer.refuse = false;
            answer.claims = vec![("aud", json!("other"))];
        });
        browser.log_in("/").await;
        browser.get("/oauth2/callback?code=x&state=e30").await;
    }

    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let failed: Vec<&str> = text.lines().collect();
    assert_eq!(
        failed.len(),
        4,
        "two policies without documents, two kinds of another: {text}"
    );
    assert!(
        failed.iter().all(|line| line.contains(r#"policy="app""#)),
        "{text}"
    );
    let discovery = "the discovery document of https://op.test could not be fetched: \
                     the provider returned 400 Bad Request";
    assert!(failed[0].contains(discovery), "{text}");
    assert!(
        failed[2].contains("Failed to get access token: response code: 400"),
        "{text}"
    );
    assert!(
        failed[3].contains("ID token is invalid: it was issued to another client"),
        "{text}"
    );
    for hidden in ["the-code", "the secret", "access_token", "eyJ", "again"] {
        assert!(!text.contains(hidden), "{hidden}: {text}");
    }
}

#[test]
fn a_rule_survives_its_transfer_to_a_data_plane() {
    let mut rule = rule();
    rule.cookies.same_site = Some(crate::security::SameSite::Lax);
    rule.session_keys = vec![SecretText::new("key")];

    let text = serde_json::to_string(&rule).unwrap();

    assert_eq!(
        serde_json::from_str::<OidcAuthentication>(&text).unwrap(),
        rule
    );
}

#[test]
fn debug_output_of_a_rule_has_no_secret() {
    let session_keys = vec![SecretText::new("a key of 32 bytes, which is hidden")];
    let rule = OidcAuthentication {
        session_keys,
        ..rule()
    };

    let text = format!("{rule:?} {:?}", Browser::of(rule.clone()).policy);

    assert!(
        !text.contains("the secret") && !text.contains("hidden"),
        "{text}"
    );
    let keys = rule.keys().unwrap();
    assert_eq!(format!("{keys:?}"), "SessionKeys(1)");
}
