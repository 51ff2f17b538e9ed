//! The examples do what they say.

#![allow(
    clippy::unwrap_used,
    clippy::duplicate_mod,
    reason = "a test may panic; each example has the module that they share"
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

const A: &str = "203.0.113.7";
const B: &str = "203.0.113.8";

/// Serves a part of an example in the background; gives its address.
macro_rules! serving {
    ($example:ident, $part:expr) => {{
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::task::spawn_local(async move {
            $example::serve($part, socket).await.unwrap();
        });
        address
    }};
}

/// Runs a test where futures need not be `Send`.
async fn local(test: impl Future<Output = ()>) {
    tokio::task::LocalSet::new().run_until(test).await;
}

/// The status and the whole of the answer to a request for `path`, forwarded for `client`.
async fn ask(at: SocketAddr, path: &str, client: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(at).await.unwrap();
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\nx-forwarded-for: {client}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let status = answer.get(9..12).and_then(|status| status.parse().ok());
    (status.unwrap_or(0), answer)
}

/// Whether a call of a gRPC client, forwarded for `client`, is answered.
async fn call(at: SocketAddr, client: &str) -> bool {
    let channel = Endpoint::from_shared(format!("http://{at}")).unwrap();
    let mut request = tonic::Request::new(HealthCheckRequest::default());
    let forwarded = client.parse().unwrap();
    request.metadata_mut().insert("x-forwarded-for", forwarded);
    let answer = HealthClient::new(channel.connect_lazy())
        .check(request)
        .await;
    match answer {
        Ok(_) => true,
        Err(status) => {
            // 429, for a client of gRPC.
            assert_eq!(status.code(), tonic::Code::Unavailable, "{status:?}");
            false
        }
    }
}

#[tokio::test]
async fn a_rate_limit_counts_its_peers_in_axum_and_in_hyper() {
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
async fn policies_as_written_rule_an_axum_and_a_hyper_service() {
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
async fn tonic_services_have_limits_too() {
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
