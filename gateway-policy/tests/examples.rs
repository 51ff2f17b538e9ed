//! Tests that the examples enforce the limits in their documentation.

#![allow(
    clippy::unwrap_used,
    clippy::duplicate_mod,
    reason = "a test fails by a panic; each example includes the shared module"
)]

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

#[allow(dead_code)]
#[path = "../examples/limits_axum.rs"]
mod in_axum;
#[allow(dead_code)]
#[path = "../examples/limits_hyper.rs"]
mod in_hyper;
#[allow(dead_code)]
#[path = "../examples/limits_tonic.rs"]
mod in_tonic;
#[allow(dead_code)]
#[path = "../examples/oidc_axum.rs"]
mod oidc_in_axum;
#[allow(dead_code)]
#[path = "../examples/oidc_hyper.rs"]
mod oidc_in_hyper;
#[allow(dead_code)]
#[path = "../examples/security_axum.rs"]
mod security_in_axum;
#[allow(dead_code)]
#[path = "../examples/security_hyper.rs"]
mod security_in_hyper;
#[allow(dead_code)]
#[path = "../examples/security_tonic.rs"]
mod security_in_tonic;

const A: &str = "203.0.113.7";
const B: &str = "203.0.113.8";

/// Serves an example in the background and returns its address.
macro_rules! serving {
    ($example:ident, $part:expr) => {{
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let part = $part;
        tokio::task::spawn_local(async move {
            $example::serve(part, socket).await.unwrap();
        });
        address
    }};
}

/// Runs a test whose futures are not `Send`.
async fn local(test: impl Future<Output = ()>) {
    tokio::task::LocalSet::new().run_until(test).await;
}

/// Sends a request for `path`, forwarded for `client`; returns the status and the whole response.
async fn ask(at: SocketAddr, path: &str, client: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(at).await.unwrap();
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\nx-forwarded-for: {client}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    let status = response.get(9..12).and_then(|status| status.parse().ok());
    (status.unwrap_or(0), response)
}

/// Whether a gRPC call, forwarded for `client`, succeeds.
async fn call(at: SocketAddr, client: &str) -> bool {
    let channel = Endpoint::from_shared(format!("http://{at}")).unwrap();
    let mut request = tonic::Request::new(HealthCheckRequest::default());
    let forwarded = client.parse().unwrap();
    request.metadata_mut().insert("x-forwarded-for", forwarded);
    let result = HealthClient::new(channel.connect_lazy())
        .check(request)
        .await;
    match result {
        Ok(_) => true,
        Err(status) => {
            // gRPC clients receive this code instead of 429.
            assert_eq!(status.code(), tonic::Code::Unavailable, "{status:?}");
            false
        }
    }
}

/// Sends a request with these header fields; returns the status and the last line of the response.
async fn send(at: SocketAddr, method: &str, fields: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(at).await.unwrap();
    let request =
        format!("{method} / HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n{fields}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    let status = response.get(9..12).and_then(|status| status.parse().ok());
    let last = response.lines().last().unwrap_or_default();
    (status.unwrap_or(0), last.to_owned())
}

#[tokio::test]
async fn sections_of_a_security_policy_are_layers_of_axum_and_hyper() {
    local(async {
        for (part, method, fields, status, last) in [
            ("basic-auth", "GET", "", 401, None),
            (
                "basic-auth",
                "GET",
                "authorization: Basic YWxpY2U6d29uZGVybGFuZA==\r\n",
                200,
                Some("hello, alice"),
            ),
            ("api-key", "GET", "x-api-key: guess\r\n", 401, None),
            (
                "api-key",
                "GET",
                "x-api-key: key-of-billing\r\nx-user: root\r\n",
                200,
                Some("hello, billing"),
            ),
            ("jwt", "GET", "", 401, None),
            ("jwt", "GET", "authorization: Bearer a.b.c\r\n", 401, None),
            ("authorization", "GET", "", 200, Some("hello, stranger")),
            (
                "authorization",
                "POST",
                "content-length: 0\r\n",
                403,
                Some("RBAC: access denied"),
            ),
            (
                "cors",
                "GET",
                "origin: https://app.example.com\r\n",
                200,
                None,
            ),
            (
                "csrf",
                "POST",
                "content-length: 0\r\norigin: https://other.test\r\n",
                403,
                None,
            ),
            (
                "csrf",
                "POST",
                "content-length: 0\r\norigin: http://a.test\r\n",
                200,
                None,
            ),
        ] {
            for at in [
                serving!(security_in_axum, part),
                serving!(security_in_hyper, part),
            ] {
                let (found, line) = send(at, method, fields).await;
                assert_eq!(found, status, "{part} {fields}");
                assert!(
                    last.is_none_or(|last| last == line),
                    "{part} {fields} {line}"
                );
            }
        }
    })
    .await;
}

/// The code of a gRPC call with this metadata.
async fn call_with(at: SocketAddr, metadata: Option<(&'static str, &str)>) -> tonic::Code {
    let channel = Endpoint::from_shared(format!("http://{at}")).unwrap();
    let mut request = tonic::Request::new(HealthCheckRequest::default());
    if let Some((name, value)) = metadata {
        request.metadata_mut().insert(name, value.parse().unwrap());
    }
    let result = HealthClient::new(channel.connect_lazy())
        .check(request)
        .await;
    result.map_or_else(|status| status.code(), |_| tonic::Code::Ok)
}

#[tokio::test]
async fn sections_of_a_security_policy_are_layers_of_tonic() {
    use tonic::Code;

    const ALICE: &str = "Basic YWxpY2U6d29uZGVybGFuZA==";
    local(async {
        for (section, metadata, code) in [
            ("basic-auth", None, Code::Unauthenticated),
            ("basic-auth", Some(("authorization", ALICE)), Code::Ok),
            (
                "api-key",
                Some(("x-api-key", "guess")),
                Code::Unauthenticated,
            ),
            ("api-key", Some(("x-api-key", "key-of-billing")), Code::Ok),
            ("jwt", None, Code::Unauthenticated),
            // gRPC calls use POST, but the example allows only GET.
            ("authorization", None, Code::PermissionDenied),
        ] {
            let at = serving!(security_in_tonic, section);
            assert_eq!(
                call_with(at, metadata).await,
                code,
                "{section} {metadata:?}"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn a_rate_limit_counts_requests_per_peer_in_axum_and_hyper() {
    local(async {
        for at in [
            serving!(in_axum, "rate-limit"),
            serving!(in_hyper, "rate-limit"),
        ] {
            let (status, answer) = ask(at, "/", A).await;
            assert_eq!(status, 200);
            assert!(answer.ends_with("hello, 127.0.0.1\n"), "{answer}");
            assert_eq!(ask(at, "/", B).await.0, 200);
            let (status, answer) = ask(at, "/", B).await;
            assert_eq!(status, 429);
            assert!(answer.contains("x-ratelimit-remaining: 0"), "{answer}");
        }
    })
    .await;
}

#[tokio::test]
async fn converted_policies_apply_to_axum_and_hyper_services() {
    local(async {
        for at in [
            serving!(in_axum, "policies"),
            serving!(in_hyper, "policies"),
        ] {
            let (status, answer) = ask(at, "/", A).await;
            assert_eq!(status, 200);
            assert!(answer.ends_with("hello, 203.0.113.7\n"), "{answer}");
            assert_eq!(ask(at, "/", A).await.0, 200);
            assert_eq!(ask(at, "/", A).await.0, 429);
            assert_eq!(ask(at, "/", B).await.0, 200);
            assert_eq!(ask(at, "/a%2Fb", B).await.0, 400);
        }
    })
    .await;
}

#[tokio::test]
async fn rate_limits_and_policies_apply_to_tonic_services() {
    local(async {
        let at = serving!(in_tonic, "rate-limit");
        let answered = [call(at, A).await, call(at, B).await, call(at, B).await];
        assert_eq!(answered, [true, true, false]);

        let at = serving!(in_tonic, "policies");
        let answered = [call(at, A).await, call(at, A).await, call(at, A).await];
        assert_eq!(answered, [true, true, false]);
        assert!(call(at, B).await);
    })
    .await;
}

/// Starts a provider without a login page, whose token endpoint accepts every code. Returns
/// `http://127.0.0.1:PORT`.
async fn provider() -> String {
    use axum::routing::{get, post};

    const TOKENS: &str = r#"{"access_token": "access", "token_type": "Bearer", "expires_in": 60}"#;
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let issuer = format!("http://{}", socket.local_addr().unwrap());
    let document = format!(
        r#"{{"issuer": "{issuer}", "authorization_endpoint": "{issuer}/auth", "token_endpoint": "{issuer}/token"}}"#
    );
    let app = axum::Router::new()
        .route(
            "/.well-known/openid-configuration",
            get(|| async { document }),
        )
        .route("/token", post(|| async { TOKENS }));
    tokio::task::spawn_local(async move {
        axum::serve(socket, app).await.unwrap();
    });
    issuer
}

#[tokio::test]
async fn a_login_in_front_of_axum_and_hyper_discovers_the_provider_and_admits_the_browser() {
    use towergate_policy::oidc::OidcAuthentication;

    local(async {
        let issuer = provider().await;
        let discovered = OidcAuthentication::new("example", &*issuer, "client", "secret");
        let mut rule = discovered.clone();
        for at in [
            serving!(oidc_in_axum, discovered.clone()),
            serving!(oidc_in_hyper, discovered),
        ] {
            let (status, answer) = ask(at, "/", A).await;
            assert_eq!(status, 302);
            assert!(
                answer.contains(&format!("location: {issuer}/auth?client_id=client&")),
                "{answer}"
            );
        }

        // The provider issues no ID token. This is only accepted if the endpoints of the provider are
        // configured.
        rule.provider.authorization = Some(format!("{issuer}/auth"));
        rule.provider.token = Some(format!("{issuer}/token"));
        for at in [
            serving!(oidc_in_axum, rule.clone()),
            serving!(oidc_in_hyper, rule),
        ] {
            let (_, answer) = ask(at, "/", A).await;
            let state = answer.split("&state=").nth(1).unwrap();
            let state = state.split_whitespace().next().unwrap();
            let callback = format!("/oauth2/callback?code=x&state={state}");
            let (status, finished) = ask_with(at, &callback, &cookies(&answer)).await;
            assert_eq!(status, 302, "{finished}");
            assert!(
                finished.contains("location: http://a.test/\r\n"),
                "{finished}"
            );
            let (status, page) = ask_with(at, "/", &cookies(&finished)).await;
            assert_eq!(status, 200);
            assert!(page.ends_with("hello, you have 1 tokens\n"), "{page}");
        }
    })
    .await;
}

/// The cookies that a response sets, as a `Cookie` value.
fn cookies(response: &str) -> String {
    let lines = response.lines();
    let values = lines.filter_map(|line| line.strip_prefix("set-cookie: "));
    let pairs = values.filter_map(|value| value.split(';').next());
    pairs.collect::<Vec<_>>().join("; ")
}

/// Sends a request with these cookies.
async fn ask_with(at: SocketAddr, path: &str, cookies: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(at).await.unwrap();
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\ncookie: {cookies}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    let status = response.get(9..12).and_then(|status| status.parse().ok());
    (status.unwrap_or(0), response)
}
