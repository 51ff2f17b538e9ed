//! External authorization as a Layer, with a service over real connections.

#![allow(
    clippy::unwrap_used,
    clippy::duplicate_mod,
    reason = "a test fails by a panic; each example includes the shared module"
)]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::response::IntoResponse;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt;
use tokio::net::TcpListener;
use tower::{Layer, ServiceExt, service_fn};
use towergate_core::Body;
use towergate_core::plan::BackendProtocol;
use towergate_core::policy::InternalClient;
use towergate_core::policy::{BuiltPolicy, PolicyLayer};
use towergate_policy::ext_auth::{
    AnswerFields, AuthService, ExternalAuth, ExternalAuthPolicy, GrpcAuthService, HttpAuthService,
    LongerBody, SentBody, ServiceFailure,
};

#[allow(dead_code)]
#[path = "../examples/ext_auth_axum.rs"]
mod in_axum;
#[allow(dead_code)]
#[path = "../examples/ext_auth_hyper.rs"]
mod in_hyper;
#[allow(dead_code)]
#[path = "../examples/ext_auth_tonic.rs"]
mod in_tonic;

/// Decides on requests by their token: allows `good`, responds slowly to `slow`, and denies `long` with a
/// long body. Returns the length of the request body as `x-length`, and the number of token fields as `x-received`.
async fn decide(headers: HeaderMap, body: Bytes) -> impl IntoResponse {
    let token = headers
        .get("authorization")
        .map(|token| token.as_bytes().to_vec());
    match token.as_deref() {
        Some(b"good") => {
            let length = body.len().to_string();
            let tokens = ["x-token", "x_token"];
            let tokens = tokens.iter().filter(|name| headers.contains_key(**name));
            (
                StatusCode::OK,
                [
                    ("x-user", "ada".to_owned()),
                    ("x-length", length),
                    ("x-received", tokens.count().to_string()),
                ],
                "",
            )
                .into_response()
        }
        Some(b"slow") => {
            tokio::time::sleep(Duration::from_secs(5)).await;
            StatusCode::OK.into_response()
        }
        Some(b"long") => (StatusCode::UNAUTHORIZED, vec![b'x'; 2 * 1024 * 1024]).into_response(),
        _ => (StatusCode::UNAUTHORIZED, [("set-cookie", "a=b")], "log in").into_response(),
    }
}

/// Starts the service; returns its address.
async fn start_service() -> SocketAddr {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(socket, Router::new().fallback(decide)).await });
    address
}

/// An address to which no server is bound.
async fn closed_address() -> SocketAddr {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    socket.local_addr().unwrap()
}

fn settings() -> ExternalAuth {
    let service = HttpAuthService {
        headers_to_backend: AnswerFields::Listed(vec![
            http::HeaderName::from_static("x-user").into(),
        ]),
        ..HttpAuthService::default()
    };
    ExternalAuth::new(AuthService::Http(service), Vec::new())
}

/// Sends a request through the Layer. The service behind it replies with `x-user` and the body.
async fn send(
    service: SocketAddr,
    settings: ExternalAuth,
    request: Request<&'static str>,
) -> Response<String> {
    let protocol = match settings.service {
        AuthService::Http(_) | AuthService::Subrequest(_) => BackendProtocol::Http1,
        AuthService::Grpc(_) => BackendProtocol::Http2,
    };
    let provider = towergate_tls::default_provider();
    let client = InternalClient::of_addresses(&[service], protocol, &provider);
    let policy = BuiltPolicy::waiting(ExternalAuthPolicy::new(settings, client));
    let echo = service_fn(|request: Request<Body>| async {
        let (head, body) = request.into_parts();
        let mut response = Response::new(Body::from(body.collect().await.unwrap().to_bytes()));
        for (name, value) in head.headers.iter().filter(|(name, _)| *name == "x-user") {
            response.headers_mut().append(name, value.clone());
        }
        Ok::<_, Infallible>(response)
    });
    let answer = PolicyLayer::new(policy).layer(echo);
    let answer = answer.oneshot(request.map(Body::from)).await.unwrap();
    let (head, body) = answer.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Response::from_parts(head, String::from_utf8(body.to_vec()).unwrap())
}

fn request(token: &str, body: &'static str) -> Request<&'static str> {
    let request = Request::post("http://app.test/a?b=c").header("authorization", token);
    request.header("x-user", "root").body(body).unwrap()
}

#[tokio::test]
async fn an_allowed_request_reaches_the_service_behind_with_the_user_and_its_body() {
    let service = start_service().await;

    let response = send(service, settings(), request("good", "text")).await;

    assert_eq!(
        (response.status(), response.body().as_str()),
        (StatusCode::OK, "text")
    );
    let users: Vec<_> = response.headers().get_all("x-user").iter().collect();
    assert_eq!(users, ["ada"]);
}

#[tokio::test]
async fn fields_of_later_policies_are_not_sent_to_the_service_and_are_kept() {
    let service = start_service().await;
    let later = vec![http::HeaderName::from_static("x-token")];
    let ask = async |later| {
        let request = request("good", "").map(Body::from);
        let (mut head, body) = request.into_parts();
        for name in ["x-token", "x_token"] {
            head.headers.insert(name, "forged".parse().unwrap());
        }
        let name = |name| http::HeaderName::from_static(name).into();
        let mut settings = ExternalAuth::new(
            AuthService::Http(HttpAuthService {
                headers_to_backend: AnswerFields::Listed(vec![name("x-received")]),
                ..HttpAuthService::default()
            }),
            Vec::new(),
        );
        settings.sent_headers = Some(["authorization", "x-token", "x_token"].map(name).into());
        let provider = towergate_tls::default_provider();
        let client = InternalClient::of_addresses(&[service], BackendProtocol::Http1, &provider);
        let policy = ExternalAuthPolicy::new(settings, client).withholding(later);
        let echo = service_fn(|request: Request<Body>| async move {
            let mut response = Response::new(Body::empty());
            *response.headers_mut() = request.headers().clone();
            Ok::<_, Infallible>(response)
        });
        let layer = PolicyLayer::new(BuiltPolicy::waiting(policy)).layer(echo);
        let response = layer
            .oneshot(Request::from_parts(head, body))
            .await
            .unwrap();
        let value = |name: &str| Some(response.headers().get(name)?.to_str().unwrap().to_owned());
        (value("x-received"), value("x-token"), value("x_token"))
    };
    let (forged, received) = (Some("forged".to_owned()), |count: &str| {
        Some(count.to_owned())
    });

    assert_eq!(
        ask(Vec::new()).await,
        (received("2"), forged.clone(), forged.clone())
    );
    assert_eq!(ask(later).await, (received("0"), forged.clone(), forged));
}

#[tokio::test]
async fn a_denied_request_gets_the_response_of_the_service() {
    let service = start_service().await;

    let response = send(service, settings(), request("bad", "")).await;

    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(response.headers()["set-cookie"], "a=b");
    assert_eq!(response.body(), "log in");
}

#[tokio::test]
async fn a_service_that_cannot_be_reached_or_is_slow_denies_or_opens_as_configured() {
    let (down, up) = (closed_address().await, start_service().await);
    let closed = ExternalAuth {
        timeout: Duration::from_millis(100),
        ..settings()
    };
    let teapot = ExternalAuth {
        on_failure: ServiceFailure::Deny(503),
        ..closed.clone()
    };
    let open = ExternalAuth {
        on_failure: ServiceFailure::Allow,
        ..closed.clone()
    };

    for service in [down, up] {
        let status = send(service, closed.clone(), request("slow", ""))
            .await
            .status();
        assert_eq!(status, StatusCode::FORBIDDEN);
        let status = send(service, teapot.clone(), request("slow", ""))
            .await
            .status();
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        let response = send(service, open.clone(), request("slow", "text")).await;
        assert_eq!(
            (response.status(), response.body().as_str()),
            (StatusCode::OK, "text")
        );
        assert!(
            !response.headers().contains_key("x-user"),
            "a forged user does not pass"
        );
    }
    let denied = send(up, open, request("bad", "")).await;
    assert_eq!(
        denied.status(),
        StatusCode::UNAUTHORIZED,
        "a denial is no failure"
    );
}

#[tokio::test]
async fn a_denial_whose_body_is_too_long_denies_without_it() {
    let open = ExternalAuth {
        on_failure: ServiceFailure::Allow,
        ..settings()
    };

    let response = send(start_service().await, open, request("long", "text")).await;

    assert_eq!(
        (response.status(), response.body().as_str()),
        (StatusCode::UNAUTHORIZED, "")
    );
}

#[tokio::test]
async fn a_body_over_the_limit_is_rejected_also_if_failures_open() {
    let service = start_service().await;
    let sent = |max_bytes| ExternalAuth {
        body: Some(SentBody {
            max_bytes,
            longer: LongerBody::Reject,
        }),
        on_failure: ServiceFailure::Allow,
        ..settings()
    };

    let fits = send(service, sent(4), request("good", "text")).await;
    let too_long = send(service, sent(3), request("good", "text")).await;

    assert_eq!(
        (fits.status(), fits.body().as_str()),
        (StatusCode::OK, "text")
    );
    assert_eq!(too_long.status(), StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn a_service_that_does_not_speak_grpc_denies() {
    let service = AuthService::Grpc(GrpcAuthService {
        authority: "checker.test".to_owned(),
        ..GrpcAuthService::default()
    });
    let settings = ExternalAuth::new(service, Vec::new());

    let response = send(start_service().await, settings, request("good", "")).await;

    assert_eq!(response.status(), StatusCode::FORBIDDEN);
}

/// A socket for an example, and its address.
async fn example_socket() -> (TcpListener, SocketAddr) {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// Status and body of the response to a request with this token.
async fn ask(address: SocketAddr, token: &str) -> (u16, Bytes) {
    let provider = towergate_tls::default_provider();
    let client = InternalClient::of_addresses(&[address], BackendProtocol::Http1, &provider);
    let request = Request::get("/")
        .header("host", "a.test")
        .header("authorization", token)
        .header("x-user", "root")
        .body(Body::empty())
        .unwrap();
    let response = client.send_collected(request, 1024).await.unwrap();
    (response.status().as_u16(), response.into_body().data)
}

#[tokio::test]
async fn the_axum_and_hyper_examples_admit_whom_the_service_allows() {
    let service = start_service().await;
    let ((axum_socket, axum), (hyper_socket, hyper)) =
        (example_socket().await, example_socket().await);
    let test = async {
        for address in [axum, hyper] {
            assert_eq!(ask(address, "good").await, (200, "hello ada".into()));
            assert_eq!(ask(address, "bad").await, (401, "log in".into()));
        }
    };

    tokio::select! {
        result = in_axum::serve(service, axum_socket) => panic!("{result:?}"),
        result = in_hyper::serve(service, hyper_socket) => panic!("{result:?}"),
        () = test => {}
    }
}

#[tokio::test]
async fn the_tonic_example_admits_whom_the_service_allows() {
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_client::HealthClient;

    let service = start_service().await;
    let (socket, address) = example_socket().await;
    let call = async |token: &'static str| {
        let channel = tonic::transport::Endpoint::from_shared(format!("http://{address}"));
        let mut request = tonic::Request::new(HealthCheckRequest::default());
        let token = tonic::metadata::MetadataValue::from_static(token);
        request.metadata_mut().insert("authorization", token);
        let mut client = HealthClient::new(channel.unwrap().connect_lazy());
        client.check(request).await.map_err(|status| status.code())
    };
    let test = async {
        assert!(call("good").await.is_ok());
        assert_eq!(call("bad").await.unwrap_err(), tonic::Code::Unauthenticated);
    };

    tokio::select! {
        result = in_tonic::serve(service, socket) => panic!("{result:?}"),
        () = test => {}
    }
}
