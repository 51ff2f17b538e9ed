//! WebSocket and gRPC, with the `towergate` program and real clients.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::net::SocketAddr;

use common::manifests::{EVERY_REQUEST, app};
use common::{Folder, Towergate};
use futures_util::{SinkExt, StreamExt};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_web::GrpcWebClientLayer;
use tower::Layer;

/// Manifests of a Gateway on port 80, and of a route of `kind` to the Service `app` with one endpoint.
fn manifests(kind: &str, rules: &str, backend: SocketAddr) -> String {
    app(kind, rules, &[backend])
}

fn start(manifest: &str) -> (Folder, Towergate) {
    let folder = Folder::new();
    folder.write("app.yaml", manifest);
    let gateway = Towergate::start(&folder, &[]);
    (folder, gateway)
}

async fn websocket_echo(stream: TcpStream) {
    let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
    while let Some(Ok(message)) = socket.next().await {
        if message.is_close() || socket.send(message).await.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_passes_messages_in_both_directions() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let backend = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(websocket_echo(stream));
        }
    });
    let (_folder, gateway) = start(&manifests("HTTPRoute", EVERY_REQUEST, backend));

    let (mut socket, response) =
        tokio_tungstenite::connect_async(format!("ws://{}/chat", gateway.http))
            .await
            .unwrap();

    assert_eq!(response.status(), 101);
    for text in ["hello", &"long ".repeat(100_000)] {
        socket.send(Message::text(text)).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::text(text));
    }
    socket.close(None).await.unwrap();
}

async fn grpc_client(gateway: &Towergate) -> HealthClient<tonic::transport::Channel> {
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{}", gateway.http));
    HealthClient::new(endpoint.unwrap().connect().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grpc_call_receives_response_and_trailers() {
    let rules = "{matches: [{method: {service: grpc.health.v1.Health, method: Check}}], \
         backendRefs: [{name: app, port: 80}]}";
    let (_folder, gateway) = start(&manifests(
        "GRPCRoute",
        rules,
        common::grpc::health_server().await,
    ));
    let mut client = grpc_client(&gateway).await;

    let answer = client
        .check(HealthCheckRequest {
            service: String::new(),
        })
        .await
        .unwrap();
    assert_eq!(answer.into_inner().status, 1);

    let unknown = client
        .check(HealthCheckRequest {
            service: "nope".to_owned(),
        })
        .await
        .unwrap_err();
    assert_eq!(
        unknown.code(),
        tonic::Code::NotFound,
        "the backend's own status"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grpc_stream_delivers_messages_without_delay() {
    let (_folder, gateway) = start(&manifests(
        "GRPCRoute",
        EVERY_REQUEST,
        common::grpc::health_server().await,
    ));
    let mut client = grpc_client(&gateway).await;

    let mut stream = client
        .watch(HealthCheckRequest {
            service: String::new(),
        })
        .await
        .unwrap()
        .into_inner();

    assert_eq!(stream.message().await.unwrap().unwrap().status, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grpc_call_that_no_rule_matches_is_unimplemented() {
    let rules =
        "{matches: [{method: {service: other.Service}}], backendRefs: [{name: app, port: 80}]}";
    let (_folder, gateway) = start(&manifests(
        "GRPCRoute",
        rules,
        common::grpc::health_server().await,
    ));
    let mut client = grpc_client(&gateway).await;

    let refused = client
        .check(HealthCheckRequest {
            service: String::new(),
        })
        .await
        .unwrap_err();

    assert_eq!(refused.code(), tonic::Code::Unimplemented);
}

/// The Service has no `appProtocol`, so only the policy can select HTTP/2.
#[tokio::test(flavor = "multi_thread")]
async fn use_client_protocol_carries_grpc_to_a_backend_without_a_protocol() {
    let policy = "---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: {name: app, namespace: team}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: app}]
  useClientProtocol: true
";
    let backend = common::grpc::health_server().await;
    let manifest = manifests("HTTPRoute", EVERY_REQUEST, backend) + policy;
    let (_folder, gateway) = start(&manifest);
    let mut client = grpc_client(&gateway).await;

    let request = HealthCheckRequest {
        service: String::new(),
    };
    let answer = client.check(request).await.unwrap();

    assert_eq!(answer.into_inner().status, 1);
}

/// Calls of a gRPC-Web client over HTTP/1.1: a unary call, its error, and a stream.
#[tokio::test(flavor = "multi_thread")]
async fn a_grpc_web_client_calls_a_grpc_backend() {
    let (_folder, gateway) = start(&manifests(
        "GRPCRoute",
        EVERY_REQUEST,
        common::grpc::health_server().await,
    ));
    let http = Client::builder(TokioExecutor::new()).build_http();
    let service = GrpcWebClientLayer::new().layer(http);
    let origin = format!("http://{}", gateway.http).parse().unwrap();
    let mut client = HealthClient::with_origin(service, origin);
    let request = |service: &str| HealthCheckRequest {
        service: service.to_owned(),
    };

    let answer = client.check(request("")).await.unwrap();
    assert_eq!(answer.into_inner().status, 1);
    let unknown = client.check(request("nope")).await.unwrap_err();
    assert_eq!(unknown.code(), tonic::Code::NotFound);
    let mut stream = client.watch(request("")).await.unwrap().into_inner();
    let first = stream.message().await.unwrap().unwrap();
    assert_eq!(first.status, 1, "while the stream is open");
}

/// Sends a call of the health service in base64. Returns head and body of the response.
fn call_in_text(gateway: &Towergate, text: &str) -> (String, String) {
    let kind = "content-type: application/grpc-web-text";
    let accept = "accept: application/grpc-web-text";
    let url = format!("http://{}/grpc.health.v1.Health/Check", gateway.http);
    let (answer, _) = common::curl(&["-H", kind, "-H", accept, "-d", text, &url]);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_may_send_and_receive_grpc_web_in_base64() {
    let (_folder, gateway) = start(&manifests(
        "GRPCRoute",
        EVERY_REQUEST,
        common::grpc::health_server().await,
    ));

    let (head, body) = call_in_text(&gateway, "AAAAAAA=");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(head.contains("application/grpc-web-text+proto"), "{head}");
    let (message, trailers) = body.split_at(12);
    let decode = |text: &str| data_encoding::BASE64.decode(text.as_bytes()).unwrap();
    assert_eq!(decode(message), b"\0\0\0\0\x02\x08\x01");
    let trailers = decode(trailers);
    assert_eq!(trailers[0], 0x80);
    assert!(trailers[5..].starts_with(b"grpc-status:0\r\n"));

    let (head, _) = call_in_text(&gateway, "!!!");
    assert!(head.starts_with("HTTP/1.1 400"), "{head}");
    assert!(head.contains("grpc-status: 13"), "{head}");
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_web_is_forwarded_as_it_is_without_a_grpc_route_or_if_a_policy_says_so() {
    let backend = common::grpc::health_server().await;
    let http_only = manifests("HTTPRoute", EVERY_REQUEST, backend).replace(
        "spec: {ports: [{port: 80}]}",
        "spec: {ports: [{port: 80, appProtocol: kubernetes.io/h2c}]}",
    );
    let policy = |enabled: bool| {
        format!(
            "---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: ClientTrafficPolicy
metadata: {{name: web, namespace: team}}
spec:
  targetRefs: [{{group: gateway.networking.k8s.io, kind: Gateway, name: shared}}]
  grpc: {{enableWeb: {enabled}}}
"
        )
    };
    let grpc = manifests("GRPCRoute", EVERY_REQUEST, backend);
    for (manifest, translated) in [
        (http_only.clone(), false),
        (http_only + &policy(true), true),
        (grpc.clone() + &policy(false), false),
        (grpc, true),
    ] {
        let (_folder, gateway) = start(&manifest);

        let (head, _) = call_in_text(&gateway, "AAAAAAA=");

        let answered = head.contains("content-type: application/grpc-web-text+proto");
        assert_eq!(answered, translated, "{head}\n{manifest}");
    }
}
