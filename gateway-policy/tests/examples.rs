//! The examples do what they say.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;

#[allow(dead_code)]
#[path = "../examples/local_rate_limit_axum.rs"]
mod local_rate_limit_axum;
#[allow(dead_code)]
#[path = "../examples/policies_hyper.rs"]
mod policies_hyper;

/// The status and the whole of the answer to a request for `path` with a further header line.
async fn ask(at: SocketAddr, path: &str, line: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(at).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n{line}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let status = answer.get(9..12).and_then(|status| status.parse().ok());
    (status.unwrap_or(0), answer)
}

#[tokio::test]
async fn a_local_rate_limit_in_axum_counts_to_five() {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = socket.local_addr().unwrap();
    tokio::spawn(local_rate_limit_axum::serve_on(socket));

    let mut statuses = Vec::new();
    for _ in 0..6 {
        statuses.push(ask(at, "/", "").await.0);
    }

    assert_eq!(statuses, [200, 200, 200, 200, 200, 429]);
}

#[tokio::test]
async fn policies_as_written_rule_a_hyper_service() {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = socket.local_addr().unwrap();
    let tasks = LocalSet::new();
    tasks.spawn_local(async { policies_hyper::serve_on(socket).await.unwrap() });
    let (a, b) = (
        "x-forwarded-for: 203.0.113.7\r\n",
        "x-forwarded-for: 203.0.113.8\r\n",
    );

    tasks
        .run_until(async {
            let (status, answer) = ask(at, "/", a).await;
            assert_eq!(status, 200);
            assert!(answer.ends_with("hello, 203.0.113.7"), "{answer}");
            assert_eq!(ask(at, "/", a).await.0, 200);
            assert_eq!(ask(at, "/", a).await.0, 429);
            assert_eq!(ask(at, "/", b).await.0, 200);
            assert_eq!(ask(at, "/a%2Fb", b).await.0, 400);
        })
        .await;
}
